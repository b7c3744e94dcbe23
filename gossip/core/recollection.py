"""What happened to somebody: an observer's question to its source, and a peer's ration of answers.

    observer ──Recall(name)──▶ peer ──Remember──▶ its shell, which keeps the events
    observer ◀──History…────── peer ◀─Remembered──┘

Invariants: a question ends with exactly one `Recollected`, or by `forget`, at its own time, whatever is answered; a peer looks
its memory up so often a second and no oftener, and once a second for one connection, so that no asker crowds out another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..model import Event
from ..values import dataclass, field
from .bounds import Bucket
from .codec import EVENTS_MAX
from .effects import Answer, Call, HangUp, Recollected, Remember
from .local import Local
from .messages import History, Recall

RECALLS_MAX = 64  # questions of one observer at once
SOURCE_LOOK_S = 0.2  # until it is looked again whether there is a source to ask
WINDOW_S = 1.0  # one connection is answered once in it
NEVER = float("inf")


@dataclass(slots=True)
class Question:
    """What was asked, and until when an answer is waited for; `call` is its present call, 0 without one."""

    name: str
    until: float
    again_at: float
    call: int = 0
    before: bytes = b""  # what the one asked is told first: an answer then shows that it heard that
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))


class Recollections:
    """Owns the questions of one observer. `source`: the contact of whom it follows; None while there is nobody."""

    def __init__(self, local: Local, *, new_call: Callable[[], int], source: Callable[[], str | None]) -> None:
        self._local = local
        self._new_call = new_call
        self._source = source
        self._questions: dict[int, Question] = {}

    def ask(self, name: str, now: float, patience_s: float, before: bytes = b"") -> int:
        """Ask, and again of whoever is followed then, until the answer or the end of the patience. Returns a number."""
        number = self._new_call()
        if len(self._questions) >= RECALLS_MAX:
            self._local.bounds.hit("recalls_unasked", self._local.me.id, f"{RECALLS_MAX} questions are open", now)
            self._local.out.append(Recollected(number, "", ()))
        else:
            self._questions[number] = question = Question(name, now + patience_s, now, before=before)
            self._send(question, now)
        return number

    def _send(self, question: Question, now: float) -> None:
        self._hang_up(question)
        contact = self._source()
        if contact is None:
            question.again_at = now + SOURCE_LOOK_S
            return
        question.call, question.again_at = self._new_call(), now + self._local.config.repair.timeout_s
        if question.before:
            self._local.out.append(Call(question.call, contact, question.before))
        self._local.out.append(Call(question.call, contact, self._local.codec.encode(Recall(question.name))))

    def _hang_up(self, question: Question) -> None:
        if question.call:
            self._local.out.append(HangUp(question.call))
        question.call = 0
        question.events.clear()

    def answered(self, call: int, history: History) -> None:
        """A part of an answer."""
        for number, question in self._questions.items():
            if question.call == call:
                question.events.extend(history.events)
                if not history.more:
                    self._end(number, history.sender)
                return

    def source_lost(self, now: float) -> None:
        """Whom I asked will not answer: ask the next."""
        for question in self._questions.values():
            self._hang_up(question)
            question.again_at = now + SOURCE_LOOK_S

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        question = self._questions.pop(number, None)
        if question is not None:
            self._hang_up(question)

    def _end(self, number: int, sender: str) -> None:
        question = self._questions.pop(number)
        told = tuple(question.events) if sender else ()
        self._hang_up(question)
        self._local.out.append(Recollected(number, sender, told))

    def tick(self, now: float) -> None:
        """End what took too long, ask again what was not answered."""
        for number in [number for number, question in self._questions.items() if question.until <= now]:
            self._end(number, "")
        for question in self._questions.values():
            if question.again_at <= now:
                self._send(question, now)

    def next_deadline(self) -> float:
        """When `tick` is due."""
        return min((min(question.until, question.again_at) for question in self._questions.values()), default=NEVER)


class Ration:
    """How many questions a peer answers; beyond it an asker hears nothing, and asks again."""

    def __init__(self, local: Local) -> None:
        self._local = local
        limit = local.config.limits.recalls_per_second_max
        self._rate = Bucket(limit, limit)
        self._answered: set[bytes] = set()  # in this window
        self._window_ends = -NEVER

    def asked(self, token: bytes, name: str, now: float) -> None:
        """Have the shell look it up, if the ration allows. O(1)."""
        local = self._local
        if now >= self._window_ends:
            self._window_ends = now + WINDOW_S
            self._answered.clear()
        if token in self._answered or not self._rate.take(1.0, now):
            local.bounds.hit("recalls_refused", local.me.id, "too many ask what happened here", now)
            return
        self._answered.add(token)
        local.out.append(Remember(token, name))

    def remembered(self, token: bytes, events: tuple[Event, ...]) -> None:
        """What the shell remembers goes to whoever asked, in as many frames as it needs."""
        local = self._local
        for frame in local.codec.encode_history(local.me.id, events, local.config.limits.frame_bytes_max):
            local.out.append(Answer(token, frame))
