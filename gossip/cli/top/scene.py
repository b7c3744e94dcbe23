"""What is known at one moment, as values: the only thing that `gossip top` shows. Pure: times are arguments.

Events and members that ended are kept for a while, so that what happened a moment ago is still to be seen, with its reason.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ... import Event, EventKind, Instance, Member, MemberState, Status

EVENTS_MAX = 1000
ENDED_MAX = 256
ENDED_SHOWN_S = 120.0  # a member that died or left is listed so long after
RATE_WINDOW_S = 10.0
CHANGES = frozenset({EventKind.ADDED, EventKind.CHANGED, EventKind.REMOVED})
ENDS = frozenset({EventKind.MEMBER_DEAD, EventKind.MEMBER_LEFT})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the peer that is followed said when asked why; `events` None while it has not answered, `fault` if nobody did."""

    name: str
    events: tuple[Event, ...] | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that can be shown. `services` holds all instances of each, draining ones too; `events` the newest last.

    The rates are per second over the last `RATE_WINDOW_S`, None before anything was observed. `alone_since` is the time at
    which the source was lost, None while one is followed.
    """

    at: float
    cluster: str
    source: str
    status: Status
    members: tuple[Member, ...]
    services: Mapping[str, tuple[Instance, ...]] = field(hash=False)
    events: tuple[Event, ...] = ()
    told: Mapping[str, Event] = field(default_factory=dict, hash=False)  # the last event about a member, by id
    links: Mapping[str, int] = field(default_factory=dict, hash=False)  # of each living member, as the ring gives them, by id
    events_per_s: float | None = None
    changes_per_s: float | None = None
    alone_since: float | None = None
    answer: Answer | None = None

    @property
    def instances(self) -> int:
        """How many there are, whatever their state. O(services)."""
        return sum(map(len, self.services.values()))

    @property
    def living(self) -> int:
        """Members that are alive or suspected."""
        return sum(1 for member in self.members if member.state in (MemberState.ALIVE, MemberState.SUSPECTED))

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, for JSON."""
        return {
            "at": self.at,
            "cluster": self.cluster,
            "source": self.source,
            "state": str(self.status.state),
            "agreement": self.status.agreement,
            "links": sum(self.links.values()),
            "events_per_s": self.events_per_s,
            "changes_per_s": self.changes_per_s,
            "members": [dataclasses.asdict(one) | {"links": self.links.get(one.id, 0)} for one in self.members],
            "services": [
                {"service": name, "instances": len(known), "up": sum(one.state == "UP" for one in known)}
                for name, known in self.services.items()
            ],
            "events": [dataclasses.asdict(event) for event in self.events],
        }


class Story:
    """What happened while one looked: the events, the rates, who ended. Every table has a bound."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._recent: deque[tuple[float, int, int]] = deque()  # when, how many events, how many changes
        self._told: dict[str, Event] = {}
        self._ended: dict[str, tuple[float, Member]] = {}
        self.resyncs = 0

    def add(self, events: Iterable[Event], now: float) -> int:
        """These events came now; how many there were."""
        known = list(events)
        for event in known:
            self.events.append(event)
            self.resyncs += event.kind is EventKind.RESYNC
            member = event.after or event.before
            if isinstance(member, Member):
                self._about(member, event, now)
        if known:
            self._recent.append((now, len(known), sum(event.kind in CHANGES for event in known)))
        return len(known)

    def _about(self, member: Member, event: Event, now: float) -> None:
        self._told[member.id] = event
        if event.kind in ENDS:
            state = MemberState.LEFT if event.kind is EventKind.MEMBER_LEFT else MemberState.DEAD
            self._ended[member.id] = (now, dataclasses.replace(member, state=state))
            if len(self._ended) > ENDED_MAX:
                self._ended.pop(next(iter(self._ended)))
        elif event.kind is not EventKind.MEMBER_SUSPECTED:
            self._ended.pop(member.id, None)

    def rates(self, now: float) -> tuple[float | None, float | None]:
        """Events and changes a second; None in the first moment, when nothing can be said."""
        while self._recent and self._recent[0][0] <= now - RATE_WINDOW_S:
            self._recent.popleft()
        window = min(RATE_WINDOW_S, now - self._began)
        if window < 1.0:
            return None, None
        return sum(events for _, events, _ in self._recent) / window, sum(changes for *_, changes in self._recent) / window

    def members(self, living: Iterable[Member], now: float) -> tuple[Member, ...]:
        """The living, and those who ended lately, by id."""
        found = {member.id: member for member in living}
        self._ended = {
            id: (at, member) for id, (at, member) in self._ended.items() if now - at < ENDED_SHOWN_S and id not in found
        }
        found |= {id: member for id, (_, member) in self._ended.items()}
        return tuple(sorted(found.values(), key=lambda member: member.id))

    def told(self, members: Iterable[Member]) -> dict[str, Event]:
        """The last event about each of these; the others' are forgotten."""
        ids = {member.id for member in members}
        self._told = {id: event for id, event in self._told.items() if id in ids}
        return dict(self._told)
