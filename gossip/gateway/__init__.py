"""The HTTP face of a peer: for other languages and for operators. An extra: `pip install 'gossip-registry[http]'`.

    curl, browsers, Prometheus ──HTTP──▶ door ──▶ original | api | stream | metrics ──▶ AsyncPeer ──▶ everybody

A gateway is a peer like any other, made of the public API alone. Several are several equal doors, not a centre.
Invariant: whatever a client sends, it gets an answer or is hung up on; nothing it sends is half carried out.
"""

from __future__ import annotations

from importlib import import_module

from .. import ConfigError

NEEDED = ("starlette", "uvicorn", "prometheus_client", "httpx")


def need_extra() -> None:
    """Raise `ConfigError` naming the extra, if what it brings is not installed."""
    for name in NEEDED:
        try:
            import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"the gateway needs {name}, which is not installed here ({error}). "
                "Install the extra: pip install 'gossip-registry[http]', or '.[http]' in a clone. Nothing was started."
            ) from error
