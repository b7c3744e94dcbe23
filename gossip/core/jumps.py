"""Leaps of numbers: a life or a version far above what is known is believed only from its origin's own mouth.

Numbers decide every merge here, so who inflates one hides the honest origin behind it. A leap is a life that began more
than a day after both what is known of the origin and my own clock, or a version more than a million above what is known.
Then the origin is asked where it is known to live, and only if nobody with that id answers there, where the claim says it
lives: an ordinary ping. What it says itself is believed, and pulled from there. So a restart after a quiet week, or with a
clock that is years ahead, costs a round trip; a forged leap is dropped, and remembered for a moment.

Invariant: no clock but the origin's decides what is true; mine only decides when to ask. Questions and answers are bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ..values import dataclass
from .effects import Call, HangUp
from .local import Local
from .messages import Delta, Incarnation, Ping, Pong

QUESTIONS_MAX = 64  # under way, or refuted and remembered
REFUTED_S = 10.0  # a claim about an origin is not looked into again so soon
VOUCHED_MAX = 1024  # origins whose own word is remembered until it was pulled
NEVER = float("inf")


@dataclass(slots=True)
class _Question:
    """One origin being asked about one claim; `call` is None once it is settled."""

    claim: tuple[Incarnation, int]
    contacts: list[str]
    deadline: float
    call: int | None = None
    contact: str = ""


class Jumps:
    """Owns the questions and what was vouched for. `missed` has an origin pulled from a contact."""

    def __init__(self, local: Local, *, new_call: Callable[[], int], missed: Callable[[str, str, float], None]) -> None:
        self._local = local
        self._new_call = new_call
        self._missed = missed
        self._questions: dict[str, _Question] = {}
        self._calls: dict[int, str] = {}
        self._vouched: OrderedDict[str, tuple[Incarnation, int]] = OrderedDict()

    def doubts(self, delta: Delta, now: float) -> bool:
        """Whether this delta must not be taken in yet; its origin is asked, if that is not under way. O(1)."""
        table, local = self._local.table, self._local
        known = table.origins.get(delta.origin) or table.floors.get(delta.origin)
        if known is not None and known.incarnation == delta.incarnation:
            leap = local.is_leap_of_version(known.version, delta.version)
        else:
            start = known.incarnation[0] if known is not None else 0
            leap = local.is_leap_of_life(start, delta.incarnation[0], now) or local.is_leap_of_version(0, delta.version)
        if not leap or self._vouched.get(delta.origin, ((0, 0), 0)) >= (delta.incarnation, delta.version):
            return False
        self._ask_origin(delta, known.contact if known is not None else "", now)
        return True

    def _ask_origin(self, delta: Delta, known_at: str, now: float) -> None:
        if delta.origin in self._questions:
            return
        if len(self._questions) >= QUESTIONS_MAX:
            self._local.bounds.hit("jumps_unasked", delta.origin, "too many origins' numbers leap at once", now)
            return
        claimed = [] if delta.header is None else [self._local.contact_of(delta.header)]
        contacts = [at for at in dict.fromkeys((known_at, *claimed)) if at and at != self._local.me.contact]
        question = self._questions[delta.origin] = _Question((delta.incarnation, delta.version), contacts, now)
        self._ask_next(delta.origin, question, now)

    def _ask_next(self, id: str, question: _Question, now: float) -> None:
        if not question.contacts:
            self._refuse(id, question, now)
            return
        local, me = self._local, self._local.me
        question.call, question.contact = self._new_call(), question.contacts.pop(0)
        question.deadline = now + local.config.detection.ping_timeout_s
        self._calls[question.call] = id
        ping = Ping(me.id, me.incarnation, me.header.pulse)
        local.out.append(Call(question.call, question.contact, local.codec.encode(ping)))

    def _refuse(self, id: str, question: _Question, now: float) -> None:
        question.call, question.deadline = None, now + REFUTED_S
        self._local.bounds.hit(
            "jumps_refused", id, f"somebody says of {id} what it does not say itself: a number far above what is known", now
        )

    def answered(self, call: int, pong: Pong, now: float) -> bool:
        """The word of whoever lives there; whether this call was one of mine."""
        id = self._calls.get(call)
        if id is None:
            return False
        question = self._hang_up(call)
        if pong.id != id:
            self._ask_next(id, question, now)
            return True
        said = pong.incarnation, pong.version
        self._vouched[id] = said
        self._vouched.move_to_end(id)
        if len(self._vouched) > VOUCHED_MAX:
            self._vouched.popitem(last=False)
        if said >= question.claim:
            del self._questions[id]
        else:
            self._refuse(id, question, now)
        known = self._local.table.origins.get(id)
        if known is None or (known.incarnation, known.version) < said:
            self._missed(id, question.contact, now)
        return True

    def stranger_answered(self, call: int, now: float) -> None:
        """Somebody of another cluster lives there."""
        id = self._calls.get(call)
        if id is not None:
            self._ask_next(id, self._hang_up(call), now)

    def _hang_up(self, call: int) -> _Question:
        self._local.out.append(HangUp(call))
        return self._questions[self._calls.pop(call)]

    def tick(self, now: float) -> None:
        """No answer: ask at the next place, or drop the claim. Forget what was settled."""
        for id, question in [item for item in self._questions.items() if item[1].deadline <= now]:
            if question.call is None:
                del self._questions[id]
            else:
                self._ask_next(id, self._hang_up(question.call), now)

    def next_deadline(self) -> float:
        """When `tick` is due. O(questions)."""
        return min(question.deadline for question in self._questions.values()) if self._questions else NEVER
