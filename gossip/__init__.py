"""A service registry that lives inside its users: no server, lookups from memory, changes told over ZeroMQ.

    from gossip import Peer

    with Peer("orders-1") as peer:
        peer.register("orders", port=8080, routes=["/orders"])
        peer.lookup("payments")
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from .bus.keys import new_secret as new_secret  # these four are for launchers, such as the command line
from .bus.keys import private_lines as private_lines
from .bus.keys import read_secrets as read_secrets
from .bus.keys import write_secret as write_secret
from .catalogue.events import Watch
from .catalogue.reads import Lookups
from .catalogue.static import StaticPeer
from .checks import Check
from .config import Config
from .errors import (
    ConfigError,
    GossipError,
    InsecureWarning,
    NoInstances,
    PeerClosed,
    PeerForked,
    RegistrationError,
    WireError,
)
from .model import Event, EventKind, Instance, InstanceState, Labels, Member, MemberState, PeerState, Route, Status
from .peer import Peer
from .registration import Registration
from .signing import new_signing_key as new_signing_key  # for launchers, too

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .aio import AsyncPeer, AsyncRegistration, AsyncWatch
    from .observer import Observer
else:  # who embeds a Peer does not pay for asyncio and for what reads a cluster from outside (PEP 562)
    _HOMES = {"AsyncPeer": "aio", "AsyncRegistration": "aio", "AsyncWatch": "aio", "Observer": "observer"}

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return found


__all__ = [
    "AsyncPeer",
    "AsyncRegistration",
    "AsyncWatch",
    "Check",
    "Config",
    "ConfigError",
    "Event",
    "EventKind",
    "GossipError",
    "InsecureWarning",
    "Instance",
    "InstanceState",
    "Labels",
    "Lookups",
    "Member",
    "MemberState",
    "NoInstances",
    "Observer",
    "Peer",
    "PeerClosed",
    "PeerForked",
    "PeerState",
    "Registration",
    "RegistrationError",
    "Route",
    "StaticPeer",
    "Status",
    "Watch",
    "WireError",
    "__version__",
]

logging.getLogger("gossip").addHandler(logging.NullHandler())
