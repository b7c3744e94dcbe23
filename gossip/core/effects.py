"""What crosses the border of the pure core: inputs the shell tells it, effects it asks of the shell.

The shell (`bus/thread.py` with real sockets, `simulation/` with a virtual network) calls `Node.handle(input, now)`,
`Node.tick(now)` or a command, and then carries out the returned effects in order. Values only; a list of effects is
the whole consequence of one input.
"""

from __future__ import annotations

from enum import Enum

from ..model import Event, EventKind, Instance, Member
from ..values import dataclass, field

# Inputs -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Heard:
    """A message arrived on the SUB socket: topic and body as one run of bytes.

    `source` is whatever tells the shell later which link it came over; the core hands it back in `Blame`.
    """

    frame: bytes
    source: object = field(default=None, compare=False)


@dataclass(slots=True)
class Subscribed:
    """A subscriber's subscription arrived at the XPUB: its link is up. Told for every one, equal ones too."""

    topic: bytes


@dataclass(slots=True)
class Unsubscribed:
    """The last subscription to this topic ended, by wish or because the link closed."""

    topic: bytes


@dataclass(slots=True)
class Asked:
    """A frame arrived at the ROUTER. `token` names the asker's connection for `Answer`; it has no other meaning.

    `source` is whatever lets the shell end that connection; the core hands it back in `TurnOut`.
    """

    token: bytes
    frame: bytes
    source: object = field(default=None, compare=False)


@dataclass(slots=True)
class Answered:
    """A frame arrived on the DEALER of a call of ours."""

    call: int
    frame: bytes


@dataclass(slots=True)
class Refused:
    """The other end of a call of ours turned us away before a word: it has another secret, or is no peer."""

    call: int


@dataclass(slots=True)
class Unreached:
    """A call of ours came to nobody: its dial was refused, or ran out. Whether a process lives there it does not prove."""

    call: int


@dataclass(slots=True)
class LinkClosed:
    """The SUB's connection to this endpoint, which had been up, broke."""

    endpoint: str


@dataclass(slots=True)
class LinkUnreached:
    """A dial of this endpoint met nobody, or one who ended at once: its peer may be gone before a link to it was up.

    Told once after each `Connect`, only until the link is up, and not of a dial that ran out of time.
    """

    endpoint: str


class ProbeOutcome(Enum):
    """What a plain TCP connect found."""

    OPEN = "open"
    REFUSED = "refused"
    UNKNOWN = "unknown"  # no answer in time, or an error that says nothing about the process
    UNTRIED = "untried"  # no connect was made: too many are under way, no descriptor, or no address to dial


@dataclass(slots=True)
class Probed:
    """The answer to `Probe`."""

    endpoint: str
    outcome: ProbeOutcome


@dataclass(slots=True)
class Bound:
    """The answer to `Bind`."""

    endpoint: str
    ok: bool


@dataclass(slots=True)
class Remembered:
    """The answer to `Remember`."""

    token: bytes
    events: tuple[Event, ...]


@dataclass(slots=True)
class Blamed:
    """The answer to `Blame`: the link to this endpoint carried a bad frame."""

    endpoint: str


Input = (
    Heard
    | Subscribed
    | Unsubscribed
    | Asked
    | Answered
    | Refused
    | Unreached
    | LinkClosed
    | LinkUnreached
    | Probed
    | Bound
    | Remembered
    | Blamed
)

# Effects ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Publish:
    """Send on the XPUB: topic and body as one run of bytes."""

    frame: bytes


@dataclass(slots=True)
class Connect:
    """Link the SUB to a peer's XPUB at `ip:port`, and keep dialling until `Disconnect`. Never asked twice in a row."""

    endpoint: str


@dataclass(slots=True)
class Disconnect:
    """Drop that link."""

    endpoint: str


@dataclass(slots=True)
class Listen:
    """Subscribe the SUB to this topic (at the start, and when the peer takes a new id)."""

    topic: bytes


@dataclass(slots=True)
class Unlisten:
    """Unsubscribe the SUB from this topic."""

    topic: bytes


@dataclass(slots=True)
class Call:
    """Send a frame on call number `call`, a DEALER to the ROUTER at `ip:port`; opened by its first frame."""

    call: int
    endpoint: str
    frame: bytes


@dataclass(slots=True)
class HangUp:
    """Close that call's DEALER. Every call ends with one."""

    call: int


@dataclass(slots=True)
class Answer:
    """Send a frame from the ROUTER to whoever `token` names; dropped if gone."""

    token: bytes
    frame: bytes


@dataclass(slots=True)
class Probe:
    """Try a plain TCP connect to `ip:port`, close it at once, and tell `Probed`."""

    endpoint: str


@dataclass(slots=True)
class Bind:
    """Bind the ROUTER to this `ip:port` too, and tell `Bound`."""

    endpoint: str


@dataclass(slots=True)
class Remember:
    """Look up the events about this name, which the shell keeps, and tell `Remembered`."""

    token: bytes
    name: str


@dataclass(slots=True)
class Blame:
    """What came with this `Heard.source` was no message of ours: find out over which link, and tell `Blamed`."""

    source: object


@dataclass(slots=True)
class Shun:
    """Cut the link to this endpoint, though it is wanted, and dial it again only after so long."""

    endpoint: str
    seconds: float


@dataclass(slots=True)
class TurnOut:
    """End the connection of this asker, and throw away what waits of it."""

    token: bytes
    source: object


@dataclass(slots=True)
class Recollected:
    """What a peer remembers arrived: the answer to the command `recall` of this number."""

    call: int
    sender: str
    events: tuple[Event, ...]


@dataclass(slots=True)
class Changed:
    """One instance as readers see it changed: added (`before` None), removed (`after` None), or replaced.

    Feeds the catalogue and becomes an ADDED, CHANGED or REMOVED event.
    """

    before: Instance | None
    after: Instance | None
    reason: str


@dataclass(slots=True)
class Happened:
    """Something about a member, or a NOTICE. `subject` is the id or service it is about, for `Peer.why`."""

    kind: EventKind
    subject: str
    before: Member | None
    after: Member | None
    reason: str


Effect = (
    Publish
    | Connect
    | Disconnect
    | Listen
    | Unlisten
    | Call
    | HangUp
    | Answer
    | Probe
    | Bind
    | Remember
    | Blame
    | Shun
    | TurnOut
    | Recollected
    | Changed
    | Happened
)
