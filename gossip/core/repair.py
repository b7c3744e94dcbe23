"""Anti-entropy: pulling what differs, of state and of who is alive, from one partner at a time.

The asker drives a conversation over one call: `Sync` → the partner's `Entries` → `Want`s until all that is newer there is
here → `Entries` as an offer of what is newer here → what the partner wants of them → a last `Want()` as the fence. It can
break off anywhere: what was applied stays, the next one finds the rest. The other side is `answers.py`.
Scuttlebutt (van Renesse, Dumitriu, Gough, Thomas 2008, section 3) with whole logs per origin instead of single keys.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import ClassVar

from ..model import MemberState
from ..values import dataclass, field
from .disputes import Disputes
from .effects import Call, HangUp
from .local import Local
from .merge import Merger
from .messages import (
    BUCKETS,
    Accusation,
    Charge,
    Delta,
    Done,
    Entries,
    Entry,
    Message,
    Revoked,
    Sync,
    Want,
)
from .origin import Outcome
from .supply import ENTRIES_PER_FRAME, WANTS_PER_FRAME, Supply, distinct

PARTNERS_MAX = 1024
NEVER = float("inf")


@dataclass(slots=True)
class Conversation:
    """One call of mine, from `Sync` or a single `Want` to the last `Done`."""

    call: int
    endpoint: str
    deadline: float
    ends_at: float  # however busy it is
    dialled: bool  # at a seed or a dead member's address: failure is no news, success may end the solitude
    whole: bool  # compares whole views; else it only pulls one origin
    partner: str | None = None
    partner_synced: bool = False
    theirs: dict[str, Entry] = field(default_factory=dict)
    buckets: bytes = b""
    wants: deque[str] = field(default_factory=deque)
    offers: deque[Entry] = field(default_factory=deque)
    wanted: set[str] = field(default_factory=set)  # asked for in the last `Want`
    left_out: list[str] = field(default_factory=list)  # wanted here too, but being pulled by another call
    planned: bool = False
    pushed: bool = False  # something was sent that no answer has confirmed yet
    fenced: bool = False  # a `Want()` is out, to be answered when all before it arrived
    moved: int = 0  # deltas that changed something here, or were sent to change something there


@dataclass(slots=True)
class Ended:
    """How a conversation ended."""

    conversation: Conversation
    ok: bool
    foreign: bool = False
    complete: bool = False  # all that the partner had is here, and not still on its way by another call


class Repair:
    """Owns my conversations, and when to talk to whom again."""

    def __init__(
        self,
        local: Local,
        merger: Merger,
        supply: Supply,
        disputes: Disputes,
        *,
        new_call: Callable[[], int],
        hear: Callable[[Accusation, bytes, float], None],
        hear_revoked: Callable[[tuple[bytes, ...], float], None],
        on_end: Callable[[Ended, float], None],
    ) -> None:
        self._local, self._merger, self._supply, self._disputes = local, merger, supply, disputes
        self._new_call = new_call
        self._hear, self._hear_revoked = hear, hear_revoked
        self._on_end = on_end
        self.conversations: dict[int, Conversation] = {}
        self._asked_for: dict[str, int] = {}  # origin -> the call it is being pulled by: never one from two
        self._waits: OrderedDict[str, tuple[float, float]] = OrderedDict()  # endpoint -> (not before, last wait)

    def converse(self, endpoint: str, now: float, *, dialled: bool, urgent: bool = False) -> bool:
        """Compare views with whoever is there; False if too much is under way, or it is too early for this one.

        `urgent`: somebody who is held dead spoke; only the shortest wait keeps it from being told so.
        """
        local = self._local
        if any(talk.whole and talk.endpoint == endpoint for talk in self.conversations.values()):
            return False
        not_before, wait = self._waits.get(endpoint, (0.0, 0.0))
        if urgent:
            not_before -= max(0.0, wait - local.config.repair.backoff_s)
        if not self._has_room(dialled=dialled) or (not dialled and now < not_before):
            return False
        talk = self._open(endpoint, now, dialled=dialled, whole=True)
        self._send(talk, self.sync())
        if not local.synced:
            for frame in self._supply.myself():
                local.out.append(Call(talk.call, endpoint, frame))
        return True

    def sync(self) -> Sync:
        """How I open a conversation: who I am, and what my view is."""
        local, me = self._local, self._local.me
        sums, revoked = local.table.packed_sums(), local.authority.digest
        return Sync(me.id, me.incarnation, me.version, me.header.pulse, local.synced, sums, revoked)

    def pull(self, id: str, endpoint: str, now: float) -> bool:
        """Ask one peer for what is missing of one origin; False if it must be tried again later."""
        if id in self._asked_for:
            return True
        if not self._has_room(dialled=False):
            return False
        talk = self._open(endpoint, now, dialled=False, whole=False)
        talk.planned = True
        talk.wants.append(id)
        self._next_step(talk, now)
        return True

    def _has_room(self, *, dialled: bool) -> bool:
        """Dials often meet nobody and take their time; they must not keep pulls waiting."""
        return self.under_way(dialled=dialled) < self._local.config.repair.pulls_max

    def under_way(self, *, dialled: bool) -> int:
        """How many conversations with dialled ones, or with the others, are under way."""
        return sum(1 for talk in self.conversations.values() if talk.dialled == dialled)

    def told_until(self) -> float:
        """When the last conversation in which a synced peer tells me its whole view is given up, at its present pace."""
        return max((talk.deadline for talk in self.conversations.values() if talk.whole and talk.partner_synced), default=0.0)

    def _open(self, endpoint: str, now: float, *, dialled: bool, whole: bool) -> Conversation:
        call = self._new_call()
        config = self._local.config.repair
        talk = Conversation(call, endpoint, now + config.timeout_s, now + config.conversation_max_s, dialled, whole)
        self.conversations[call] = talk
        self._local.counters["conversations"] += 1
        return talk

    def _send(self, talk: Conversation, message: Message) -> None:
        self._local.out.append(Call(talk.call, talk.endpoint, self._local.codec.encode(message)))

    def answered(self, call: int, message: Message, frame: bytes, now: float) -> None:
        """A frame of the partner."""
        talk = self.conversations.get(call)
        if talk is None:
            return
        talk.deadline = min(now + self._local.config.repair.timeout_s, talk.ends_at)
        step = self._STEPS.get(type(message))
        if step is not None:
            step(self, talk, message, frame, now)

    def _on_entries(self, talk: Conversation, message: Entries, frame: bytes, now: float) -> None:
        talk.partner, talk.partner_synced, talk.buckets = message.sender, message.synced, message.buckets
        talk.theirs.update((entry.origin, entry) for entry in message.entries)
        if len(talk.theirs) > 2 * self._local.config.limits.members_max:
            self._local.bounds.hit("entries_refused", message.sender, f"{message.sender} lists more members than may live", now)
            self._end(talk, now, ok=False)
        elif not message.more and not talk.planned:
            self._plan(talk, now)
            for told in self._local.authority.untold(message.revoked):  # what it knew more came before this
                self._push(talk, self._local.codec.encode(told))
            self._next_step(talk, now)

    def _on_delta(self, talk: Conversation, delta: Delta, frame: bytes, now: float) -> None:
        me = self._local.me.id, self._local.me.incarnation
        taken = self._merger.take(delta, frame, now)
        talk.moved += taken.outcome in (Outcome.APPLIED, Outcome.PARTIAL)
        if me != (self._local.me.id, self._local.me.incarnation):  # I rose above a life of mine that was known here
            self._push_myself(talk)
        if delta.origin == talk.partner and self._local.synced:
            self._local.spread(taken.news)

    def _on_want(self, talk: Conversation, message: Want, frame: bytes, now: float) -> None:
        for entry in distinct(message.entries):
            answers = self._supply.beyond(entry)
            if not self._supply.may_send(answers, talk.endpoint, now):
                self._end(talk, now, ok=False)
                return
            for answer in answers:
                self._push(talk, answer)
        talk.pushed, talk.fenced = False, True
        self._send(talk, Want(()))

    def _on_accusation(self, talk: Conversation, message: Accusation, frame: bytes, now: float) -> None:
        self._hear(message, frame, now)
        if any(charge.subject == self._local.me.id for charge in message.charges):
            self._push_myself(talk)

    def _push_myself(self, talk: Conversation) -> None:
        """I refuted: say so right here, my neighbours may be cut off from the accuser."""
        for frame in self._supply.myself():
            self._push(talk, frame)

    def _push(self, talk: Conversation, frame: bytes) -> None:
        self._local.out.append(Call(talk.call, talk.endpoint, frame))
        talk.pushed = True
        talk.moved += 1

    def _on_done(self, talk: Conversation, message: Done, frame: bytes, now: float) -> None:
        for id in talk.wanted:
            self._asked_for.pop(id, None)
        talk.wanted.clear()
        talk.fenced = False
        self._next_step(talk, now)

    def _on_revoked(self, talk: Conversation, message: Revoked, frame: bytes, now: float) -> None:
        self._hear_revoked(message.revocations, now)

    _STEPS: ClassVar[dict[type, Callable[..., None]]] = {
        Revoked: _on_revoked,
        Entries: _on_entries,
        Delta: _on_delta,
        Want: _on_want,
        Accusation: _on_accusation,
        Done: _on_done,
    }

    def _plan(self, talk: Conversation, now: float) -> None:
        """Compare both views: what to want, what to offer, whose death or life is disputed."""
        table = self._local.table
        talk.planned = True
        disputed: list[Charge] = []
        for entry in talk.theirs.values():
            known = table.known(entry.origin)
            if known is None or (entry.incarnation, entry.version) > (known.incarnation, known.version):
                talk.wants.append(entry.origin)
            if charge := self._disputes.over(entry):
                disputed.append(charge)
        self._hand_over_goodbyes(talk)
        buckets = {bucket for bucket in range(BUCKETS) if talk.buckets[bucket >> 3] >> (bucket & 7) & 1}
        for mine in table.entries(buckets):
            theirs = talk.theirs.get(mine.origin)
            if theirs is None or (theirs.incarnation, theirs.version) < (mine.incarnation, mine.version):
                talk.offers.append(mine)
        for accusation in self._disputes.with_partner(talk.partner or "", disputed, now):
            self._push(talk, self._local.codec.encode(accusation))

    def _hand_over_goodbyes(self, talk: Conversation) -> None:
        """Those they hold alive and I saw leave: hand over the goodbye at once."""
        for entry in talk.theirs.values():
            held = self._local.table.origins.get(entry.origin)
            if held is not None and held.state is MemberState.LEFT and held.version > entry.version:
                for frame in self._supply.beyond(entry):
                    self._push(talk, frame)

    def _next_step(self, talk: Conversation, now: float) -> None:
        """Want what is left to want, then offer what is left to offer, then make sure that it arrived, then end."""
        wants: list[Entry] = []
        while talk.wants and len(wants) < WANTS_PER_FRAME:
            id = talk.wants.popleft()
            if self._asked_for.setdefault(id, talk.call) == talk.call:
                wants.append(self._local.table.entry_of(id))
            else:
                talk.left_out.append(id)
        if wants:
            talk.wanted = {entry.origin for entry in wants}
            self._send(talk, Want(tuple(wants)))
        elif talk.offers:
            offer = tuple(talk.offers.popleft() for _ in range(min(len(talk.offers), ENTRIES_PER_FRAME)))
            self._send(talk, Entries(self._local.me.id, self._local.synced, bytes(BUCKETS // 8), offer, False))
        elif talk.pushed and not talk.fenced:
            talk.pushed, talk.fenced = False, True
            self._send(talk, Want(()))
        else:
            self._end(talk, now, ok=True)

    def _end(self, talk: Conversation, now: float, *, ok: bool, foreign: bool = False) -> None:
        self._local.out.append(HangUp(talk.call))
        del self.conversations[talk.call]
        for id in [id for id, call in self._asked_for.items() if call == talk.call]:
            del self._asked_for[id]
        self._space_out(talk, now, fruitful=ok and bool(talk.moved))
        complete = ok and not any(id in self._asked_for for id in talk.left_out)
        self._on_end(Ended(talk, ok, foreign, complete), now)

    def _space_out(self, talk: Conversation, now: float, *, fruitful: bool) -> None:
        """A pull that brought nothing doubles the wait for that partner."""
        config = self._local.config.repair
        former = self._waits.pop(talk.endpoint, (0.0, 0.0))[1]
        wait = 0.0 if fruitful else min(config.backoff_max_s, max(config.backoff_s, 2 * former))
        self._waits[talk.endpoint] = now + wait, wait
        if len(self._waits) > PARTNERS_MAX:
            self._waits.popitem(last=False)
            self._local.bounds.hit("partners_forgotten", self._local.me.id, f"more than {PARTNERS_MAX} partners", now)

    def foreign(self, call: int, now: float) -> None:
        """The partner belongs to another cluster."""
        talk = self.conversations.get(call)
        if talk is not None:
            self._end(talk, now, ok=False, foreign=True)

    def unreached(self, call: int, now: float) -> None:
        """Nobody listens at the partner's contact."""
        talk = self.conversations.get(call)
        if talk is not None:
            self._local.counters["conversations_lost"] += 1
            self._end(talk, now, ok=False)

    def partner_at(self, call: int) -> str | None:
        """Whom I talk to: the member that lives there, else who it says it is."""
        talk = self.conversations.get(call)
        if talk is None:
            return None
        lives = (origin.id for origin in self._local.table.alive() if origin.contact == talk.endpoint)
        return next(lives, talk.partner)

    def garbled(self, call: int, now: float) -> None:
        """The partner answers what is no message: there is nothing to talk about."""
        talk = self.conversations.get(call)
        if talk is not None:
            self._end(talk, now, ok=False)

    def tick(self, now: float) -> None:
        """Give up conversations without progress."""
        for talk in [talk for talk in self.conversations.values() if talk.deadline <= now]:
            self._local.counters["conversations_lost"] += 1
            self._end(talk, now, ok=False)

    def next_deadline(self) -> float:
        """When the next conversation is given up."""
        return min(talk.deadline for talk in self.conversations.values()) if self.conversations else NEVER
