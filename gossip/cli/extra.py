"""The extra `cli`: what only people at a terminal need, imported when it is used."""

from __future__ import annotations

from importlib import import_module

from .. import ConfigError


def need(*modules: str) -> None:
    """Raise `ConfigError` naming the extra, if it is not installed."""
    for name in modules:
        try:
            import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"this command needs {name}, which is not installed here ({error}). "
                "Install the extra: pip install 'gossip-registry[cli]', or '.[cli]' in a clone. Nothing was started."
            ) from error
