"""A service registry that lives inside its users: no server, lookups from memory, changes told over ZeroMQ.

    from gossip import Peer

    with Peer("orders-1") as peer:
        peer.register("orders", port=8080, routes=["/orders"])
        peer.lookup("payments")
"""

import logging

from .catalogue.events import Watch
from .catalogue.reads import Lookups
from .catalogue.static import StaticPeer
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

__version__ = "0.1.0"

__all__ = [
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
