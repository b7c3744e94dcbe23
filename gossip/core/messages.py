"""What peers say to each other. Values only; `codec.py` turns them into bytes and back.

    PUB/SUB, one way, may be lost                     ROUTER/DEALER, a conversation

    origin ──Delta (from, to]──▶ everyone             asker ──Ping──────────────▶ answerer
        carried by Delegated envelopes, two trees     asker ◀─Pong─────────────── answerer
    subject ──Heartbeat──▶ its watchers
    accuser ──Accusation──▶ everyone, flooded         asker ──Sync [+ own Delta]▶ answerer     what is my view
                                                      asker ◀─Entries…─────────── answerer     what differs in yours
                                                      asker ──Want──────────────▶ answerer     send me those
                                                      asker ◀─Delta… Done──────── answerer
                                                      asker ──Entries (an offer)▶ answerer     this is what I have more
                                                      asker ◀─Delta… Accusation Want ──        I know better / send me those
                                                      asker ──Delta… Want()─────▶ answerer     here they are; did they arrive?
                                                      asker ◀─Done─────────────── answerer     yes; the asker hangs up

    peer ──Delta, Belief, Heartbeat──▶ its observers  newcomer ──Sync DialBack──▶ answerer     do you reach me?
                                                      newcomer ◀─Reached───────── answerer
                                                      observer ──Recall─────────▶ answerer     what happened to this one?
                                                      observer ◀─History…──────── answerer

A whole state is the delta `(0, v]`, in one or more parts. Joining, restarting, re-issuing and answering a pull are
therefore one message, and one `Origin.apply`. Every message names its cluster; one of another cluster is answered
with `Foreign` where there is somebody to answer, and dropped elsewhere.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NewType

from ..model import Event, EventKind, Instance
from ..values import dataclass, field

IdHash = NewType("IdHash", bytes)
"""8 bytes: blake2b of cluster and peer id. Fixed size, so no topic is a prefix of another."""

Incarnation = tuple[int, int]
"""(start in wall milliseconds, 64 random bits of the process); compared as a pair."""

InstanceKey = tuple[str, str]
"""(service, instance id)."""


class HeaderFlags(IntFlag):
    """What a header says of its origin."""

    NONE = 0
    LEAVING = 1
    SIGNED_ONLY = 2  # it takes in nobody who does not sign


@dataclass(frozen=True, slots=True)
class Header:
    """An origin's word about itself: where it is reached, and how often it speaks."""

    name: str
    host: str  # an IP address
    contact_port: int  # ROUTER
    publisher_port: int  # XPUB
    pulse: int = 0
    flags: HeaderFlags = HeaderFlags.NONE
    interval_ms: int = 1000
    boot_ms: int = 0  # wall milliseconds at the start of the process; settles who is the younger of two with one id
    boot_nonce: int = 0
    key: bytes = b""  # the public key with which it signs; its fingerprint ends the id
    certificate: bytes = b""  # what an authority allows that key (`certificates.py`); none without a key
    extra: tuple[object, ...] = ()  # fields of later wire versions, kept and passed on


@dataclass(slots=True)
class Delta:
    """The changes `(since, version]` of one life of one origin; a whole state if `since` is 0.

    `zone` is fixed for a life and stands in every delta, so that its instances are built in one step.
    """

    origin: str
    zone: str
    incarnation: Incarnation
    since: int
    version: int
    header: Header | None
    put: tuple[Instance, ...] = ()
    removed: tuple[InstanceKey, ...] = ()
    part: int = 0
    parts: int = 1
    extras: dict[InstanceKey, tuple[object, ...]] = field(default_factory=dict)  # of instances, as `Header.extra`
    signed: bool = False  # whether its frame ends in a signature; whether that is true is for `signatures.py` to say


@dataclass(slots=True)
class Heartbeat:
    """I live, this is my version, and this is the digest of all I hold alive (design: anti-entropy)."""

    sender: IdHash
    incarnation: Incarnation
    version: int
    pulse: int
    digest: int
    linked: bool = False  # the answer to a subscription: the link is up
    synced: bool = True
    number: int = 0  # of a signed one: counts the heartbeats of this process, so that none counts twice


class Evidence(IntEnum):
    """Why somebody is accused; a higher grade is stronger."""

    SILENT = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True)
class Charge:
    """One subject of an accusation. A higher incarnation or pulse of the subject voids it (SWIM, section 4.2)."""

    subject: str
    incarnation: Incarnation
    pulse: int
    evidence: Evidence


@dataclass(slots=True)
class Accusation:
    """What one accuser saw, told to all. `(accuser, incarnation, counter)` names it in the flood."""

    accuser: str
    incarnation: Incarnation
    counter: int
    charges: tuple[Charge, ...]


@dataclass(slots=True)
class Ping:
    """Who are you? Sent over a fresh connection."""

    asker: str
    incarnation: Incarnation
    pulse: int


@dataclass(slots=True)
class Pong:
    """The answer. `held_alive` is false if the answerer holds the asker dead or accused at that pulse."""

    id: str
    incarnation: Incarnation
    pulse: int
    version: int
    held_alive: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """How far one peer knows one living origin."""

    origin: str
    incarnation: Incarnation
    version: int
    pulse: int


BUCKETS = 256


@dataclass(slots=True)
class Sync:
    """Opens a conversation: the asker, and 256 sums over what it holds alive (8 bytes each)."""

    asker: str
    incarnation: Incarnation
    version: int
    pulse: int
    synced: bool
    sums: bytes
    revoked: int = 0  # the digest of the revocations it knows; 0: it knows no authority


@dataclass(slots=True)
class Entries:
    """What the sender holds alive in the buckets that differ; from the asker: an offer of what the other lacks.

    `buckets` is a bitmap of 256 bits; `more` says that another message with the rest follows.
    """

    sender: str
    synced: bool
    buckets: bytes
    entries: tuple[Entry, ...]
    more: bool
    revoked: int = 0  # as in `Sync`


@dataclass(slots=True)
class Want:
    """Send me these, from these versions on (0: all). An empty one asks only for the `Done`."""

    entries: tuple[Entry, ...]


@dataclass(slots=True)
class Done:
    """All that was wanted has been sent."""

    sender: str


@dataclass(slots=True)
class Foreign:
    """You asked a peer of another cluster."""


@dataclass(slots=True)
class DialBack:
    """Do my endpoints answer you? From a newcomer, who may advertise what nobody reaches."""

    asker: str


@dataclass(slots=True)
class Reached:
    """What plain TCP connects to the asker's two endpoints found; None: no answer in time, or none was made."""

    sender: str
    contact: bool | None
    publisher: bool | None
    contact_tried: bool = True
    publisher_tried: bool = True


@dataclass(slots=True)
class Revoked:
    """Certificates that their authority took back, each as it signed that (`certificates.py`). Flooded, and in conversations."""

    revocations: tuple[bytes, ...]


@dataclass(slots=True)
class Belief:
    """To observers: what became of one member in my view (a MEMBER_* kind), and why."""

    subject: str
    kind: EventKind
    reason: str


@dataclass(slots=True)
class Recall:
    """What happened to the member, instance or service of this name?"""

    name: str


@dataclass(slots=True)
class History:
    """The last events about it; `more` says that another message with the rest follows."""

    sender: str
    events: tuple[Event, ...]
    more: bool


Message = (
    Delta
    | Heartbeat
    | Accusation
    | Ping
    | Pong
    | Sync
    | Entries
    | Want
    | Done
    | Foreign
    | DialBack
    | Reached
    | Revoked
    | Belief
    | Recall
    | History
)
