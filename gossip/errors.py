"""Every error this library raises, and nothing else.

One tree: the caller's mistakes (`ConfigError`, `RegistrationError`) are also `ValueError`; `NoInstances` is also
`LookupError`; a stranger's mistakes (`WireError`) are data inside the library and never reach a caller.
Each message says what was wrong, where, why it matters, and what to do.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "GossipError",
    "InsecureWarning",
    "NoInstances",
    "PeerClosed",
    "PeerForked",
    "RegistrationError",
    "WireError",
]


class GossipError(Exception):
    """The root of all errors of this library."""


class ConfigError(GossipError, ValueError):
    """A peer was asked for something it cannot be: an argument, an address or an option is wrong. Nothing was started."""


class RegistrationError(GossipError, ValueError):
    """A registration was refused; nothing changed."""


class NoInstances(GossipError, LookupError):
    """No instance answers the question. The message names the nearest known services."""


class PeerClosed(GossipError, RuntimeError):
    """The peer does not run: it was not started yet, or it was closed."""


class PeerForked(PeerClosed):
    """The peer was inherited through `fork`; its sockets and thread belong to the parent process."""


class WireError(GossipError):
    """Bytes from the network that are not a message. Counted and dropped, never raised to a caller."""


class InsecureWarning(UserWarning):
    """The peer is reachable from other machines without a secret."""
