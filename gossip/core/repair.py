"""Anti-entropy: pulling what differs, of state and of who is alive, from one partner at a time.

The asker drives a conversation over one call: `Sync` → the partner's `Entries` → `Want`s until all that is newer there is
here → `Entries` as an offer of what is newer here → what the partner wants of them → a last `Want()` as the fence. It can
break off anywhere: what was applied stays, the next one finds the rest. The answerer keeps no state but who asks.
Scuttlebutt (van Renesse, Dumitriu, Gough, Thomas 2008, section 3) with whole logs per origin instead of single keys.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import ClassVar

from ..model import EventKind, MemberState
from ..values import dataclass, field
from .author import Author
from .bounds import RATE_BURST_S, Bucket
from .effects import Answer, Call, HangUp
from .local import Local
from .merge import Merger
from .messages import (
    BUCKETS,
    Accusation,
    Belief,
    Charge,
    Delta,
    Done,
    Entries,
    Entry,
    Evidence,
    Incarnation,
    Message,
    Revoked,
    Sync,
    Want,
)
from .origin import Origin, Outcome

WANTS_PER_FRAME = 64
ENTRIES_PER_FRAME = 256
ASKERS_MAX = 1024
PARTNERS_MAX = 1024
NEVER = float("inf")
_NEW: Incarnation = (0, 0)


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
    wants: deque[Entry] = field(default_factory=deque)
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
    """Owns my conversations and the memory of who asks me."""

    def __init__(
        self,
        local: Local,
        merger: Merger,
        author: Author,
        *,
        new_call: Callable[[], int],
        accuse: Callable[[list[Charge], float], Accusation | None],
        charges_against: Callable[[str], list[Charge]],
        tell: Callable[[list[Charge]], Accusation | None],
        hear: Callable[[Accusation, bytes, float], None],
        hear_revoked: Callable[[tuple[bytes, ...], float], None],
        on_end: Callable[[Ended, float], None],
    ) -> None:
        self._local, self._merger, self._author = local, merger, author
        self._new_call = new_call
        self._accuse, self._charges_against, self._tell, self._hear = accuse, charges_against, tell, hear
        self._hear_revoked = hear_revoked
        self._on_end = on_end
        self.conversations: dict[int, Conversation] = {}
        self._asked_for: dict[str, int] = {}  # origin -> the call it is being pulled by: never one from two
        self._waits: OrderedDict[str, tuple[float, float]] = OrderedDict()  # endpoint -> (not before, last wait)
        self._askers: OrderedDict[bytes, str] = OrderedDict()  # token -> id, to know a first-hand word
        limits = local.config.limits
        self._syncs = Bucket(limits.syncs_per_s, RATE_BURST_S * limits.syncs_per_s)
        self._answers = Bucket(limits.answer_bytes_per_s, limits.answer_bytes_per_s)
        self._disputed: OrderedDict[tuple[str, Incarnation, int], None] = OrderedDict()

    # asking -----------------------------------------------------------------------------------------------------------

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
        self._send(talk, self.sync(), now)
        if not local.synced:
            for frame in self._author.state_frames(local.me):
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
        talk.wants.append(self._want(id))
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

    def _send(self, talk: Conversation, message: Message, now: float) -> None:
        self._local.out.append(Call(talk.call, talk.endpoint, self._local.codec.encode(message)))

    def _want(self, id: str) -> Entry:
        origin = self._local.table.origins.get(id)
        if origin is None:
            return Entry(id, _NEW, 0, 0)
        return Entry(id, origin.incarnation, origin.version, origin.header.pulse)

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
            if message.revoked != self._local.authority.digest:  # what it knew more came before this
                for told in self._local.authority.messages():
                    self._push(talk, self._local.codec.encode(told))
            self._next_step(talk, now)

    def _on_delta(self, talk: Conversation, delta: Delta, frame: bytes, now: float) -> None:
        me = self._local.me.id, self._local.me.incarnation
        taken = self._merger.take(delta, frame, now)
        talk.moved += taken.outcome in (Outcome.APPLIED, Outcome.PARTIAL)
        if me != (self._local.me.id, self._local.me.incarnation):  # I rose above a life of mine that was known here
            self._push_myself(talk)
        if delta.origin == talk.partner and self._local.synced:
            self.spread(taken.news)

    def _on_want(self, talk: Conversation, message: Want, frame: bytes, now: float) -> None:
        for entry in _distinct(message.entries):
            answers = self._state_for(entry)
            if not self._may_send(answers, talk.endpoint, now):
                self._end(talk, now, ok=False)
                return
            for answer in answers:
                self._push(talk, answer)
        talk.pushed, talk.fenced = False, True
        self._send(talk, Want(()), now)

    def _on_accusation(self, talk: Conversation, message: Accusation, frame: bytes, now: float) -> None:
        self._hear(message, frame, now)
        if any(charge.subject == self._local.me.id for charge in message.charges):
            self._push_myself(talk)

    def _push_myself(self, talk: Conversation) -> None:
        """I refuted: say so right here, my neighbours may be cut off from the accuser."""
        for frame in self._author.state_frames(self._local.me):
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
            held = table.origins.get(entry.origin)
            known = held or table.floors.get(entry.origin)
            if known is None or (entry.incarnation, entry.version) > (known.incarnation, known.version):
                talk.wants.append(self._want(entry.origin))
            if (
                known is not None
                and (held is None or held.state is MemberState.DEAD)
                and known.life >= (entry.incarnation, entry.pulse)
            ):
                disputed.append(self._dispute_of(entry.origin, known.life))
        self._hand_over_goodbyes(talk)
        buckets = {bucket for bucket in range(BUCKETS) if talk.buckets[bucket >> 3] >> (bucket & 7) & 1}
        for mine in table.entries(buckets):
            theirs = talk.theirs.get(mine.origin)
            if theirs is None or (theirs.incarnation, theirs.version) < (mine.incarnation, mine.version):
                talk.offers.append(mine)
        self._dispute(talk, disputed, now)

    def _dispute_of(self, id: str, life: tuple[Incarnation, int]) -> Charge:
        """Somebody is dead here: at all that is held against it, or what it refutes would not suffice."""
        held = [(charge.incarnation, charge.pulse) for charge in self._charges_against(id)]
        return Charge(id, *max((life, *held)), Evidence.SILENT)

    def _hand_over_goodbyes(self, talk: Conversation) -> None:
        """Those they hold alive and I saw leave: hand over the goodbye at once."""
        for entry in talk.theirs.values():
            held = self._local.table.origins.get(entry.origin)
            if held is not None and held.state is MemberState.LEFT and held.version > entry.version:
                for frame in self._state_for(entry):
                    self._push(talk, frame)

    def _dispute(self, talk: Conversation, charges: list[Charge], now: float) -> None:
        """Dead here, alive there: an accusation, told once on my side and once to the partner for his."""
        fresh = [c for c in charges if (c.subject, c.incarnation, c.pulse) not in self._disputed or c.subject == talk.partner]
        for charge in fresh:
            self._disputed[charge.subject, charge.incarnation, charge.pulse] = None
        while len(self._disputed) > self._local.config.limits.members_max:
            self._disputed.popitem(last=False)
            self._local.bounds.hit("disputes_forgotten", self._local.me.id, "more lives are disputed than members may live", now)
        partners = [charge for charge in fresh if charge.subject == talk.partner]
        others = [charge for charge in fresh if charge.subject != talk.partner]
        told = self._tell(partners or (self._charges_against(talk.partner) if talk.partner else []))
        accused = [self._accuse(others[start : start + 64], now) for start in range(0, len(others), 64)]
        for accusation in (told, *accused):
            if accusation is not None:
                self._push(talk, self._local.codec.encode(accusation))

    def _next_step(self, talk: Conversation, now: float) -> None:
        """Want what is left to want, then offer what is left to offer, then make sure that it arrived, then end."""
        wants: list[Entry] = []
        while talk.wants and len(wants) < WANTS_PER_FRAME:
            id = talk.wants.popleft().origin
            if self._asked_for.setdefault(id, talk.call) == talk.call:
                wants.append(self._want(id))
            else:
                talk.left_out.append(id)
        if wants:
            talk.wanted = {entry.origin for entry in wants}
            self._send(talk, Want(tuple(wants)), now)
        elif talk.offers:
            offer = tuple(talk.offers.popleft() for _ in range(min(len(talk.offers), ENTRIES_PER_FRAME)))
            self._send(talk, Entries(self._local.me.id, self._local.synced, bytes(BUCKETS // 8), offer, False), now)
        elif talk.pushed and not talk.fenced:
            talk.pushed, talk.fenced = False, True
            self._send(talk, Want(()), now)
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

    # answering --------------------------------------------------------------------------------------------------------

    def asked(self, token: bytes, message: Message, frame: bytes, now: float) -> None:
        """A frame of an asker."""
        reply = self._REPLIES.get(type(message))
        if reply is not None:
            reply(self, token, message, frame, now)

    def asker(self, token: bytes) -> str | None:
        """Who asks over this connection."""
        return self._askers.get(token)

    def _answer(self, token: bytes, message: Message) -> None:
        self._local.out.append(Answer(token, self._local.codec.encode(message)))

    def _on_sync(self, token: bytes, message: Sync, frame: bytes, now: float) -> None:
        if not self._syncs.take(1, now):
            self._local.bounds.hit("syncs_refused", message.asker, "others ask for my view more often than it can be told", now)
            return
        authority = self._local.authority
        if message.version and message.revoked != authority.digest:
            told = [self._local.codec.encode(one) for one in authority.messages()]
            if self._may_send(told, message.asker, now):
                self._local.out += [Answer(token, frame) for frame in told]
        if authority.names_revoked(message.asker):
            return  # that is all it is told
        self._askers[token] = message.asker
        if len(self._askers) > ASKERS_MAX:
            self._askers.popitem(last=False)
            self._local.bounds.hit("askers_forgotten", message.asker, f"more than {ASKERS_MAX} ask at once", now)
        buckets = self._local.table.differing(message.sums)
        bitmap = bytearray(BUCKETS // 8)
        for bucket in buckets:
            bitmap[bucket >> 3] |= 1 << (bucket & 7)
        entries = self._local.table.entries(buckets)
        me, synced = self._local.me.id, self._local.synced
        for start in range(0, max(1, len(entries)), ENTRIES_PER_FRAME):
            chunk = tuple(entries[start : start + ENTRIES_PER_FRAME])
            more = start + ENTRIES_PER_FRAME < len(entries)
            self._answer(token, Entries(me, synced, bytes(bitmap), chunk, more, authority.digest))
        if not message.version:  # an observer, who has no log and hears of no accusation
            for origin in self._local.table.alive():
                if origin.state is MemberState.SUSPECTED:
                    self._answer(token, Belief(origin.id, EventKind.MEMBER_SUSPECTED, f"{origin.id} is suspected at {me}"))
        self._dispute_with_asker(token, message)

    def _dispute_with_asker(self, token: bytes, message: Sync) -> None:
        """The obituary: whoever speaks and is held dead, or is accused, hears it, and refutes."""
        life = message.incarnation, message.pulse
        charges = [charge for charge in self._charges_against(message.asker) if (charge.incarnation, charge.pulse) >= life]
        accusation = self._tell(charges)
        if accusation is not None:
            self._answer(token, accusation)

    def _on_pushed(self, token: bytes, delta: Delta, frame: bytes, now: float) -> None:
        taken = self._merger.take(delta, frame, now)
        if delta.origin == self._askers.get(token):
            self.spread(taken.news)

    def _on_wanted(self, token: bytes, message: Want, frame: bytes, now: float) -> None:
        for entry in _distinct(message.entries)[:WANTS_PER_FRAME]:
            answers = self._state_for(entry)
            if not self._may_send(answers, self._askers.get(token, ""), now):
                return  # no `Done`: what was sent stays, and the asker comes again later
            self._local.out += [Answer(token, answer) for answer in answers]
        self._answer(token, Done(self._local.me.id))

    def _on_offer(self, token: bytes, message: Entries, frame: bytes, now: float) -> None:
        """Compare an offer: give what I know better, name the dead, want the rest."""
        table = self._local.table
        wants, charges = [], []
        for entry in _distinct(message.entries):
            held = table.origins.get(entry.origin)
            known = held or table.floors.get(entry.origin)
            theirs = (entry.incarnation, entry.version)
            if held is not None and (held.incarnation, held.version) > theirs:
                answers = self._state_for(entry)
                if self._may_send(answers, self._askers.get(token, ""), now):
                    self._local.out += [Answer(token, answer) for answer in answers]
            elif known is None or (known.incarnation, known.version) < theirs:
                wants.append(self._want(entry.origin))
            if (
                known is not None
                and (held is None or held.state is MemberState.DEAD)
                and known.life >= (entry.incarnation, entry.pulse)
            ):
                charges.append(self._dispute_of(entry.origin, known.life))
        for start in range(0, len(charges), 64):
            accusation = self._accuse(charges[start : start + 64], now)
            if accusation is not None:
                self._answer(token, accusation)
        self._answer(token, Want(tuple(wants)))

    def _on_accused(self, token: bytes, message: Accusation, frame: bytes, now: float) -> None:
        self._hear(message, frame, now)
        if any(charge.subject == self._local.me.id for charge in message.charges):
            for answer in self._author.state_frames(self._local.me):
                self._local.out.append(Answer(token, answer))

    def _on_told_revoked(self, token: bytes, message: Revoked, frame: bytes, now: float) -> None:
        self._hear_revoked(message.revocations, now)

    _REPLIES: ClassVar[dict[type, Callable[..., None]]] = {
        Revoked: _on_told_revoked,
        Sync: _on_sync,
        Delta: _on_pushed,
        Want: _on_wanted,
        Entries: _on_offer,
        Accusation: _on_accused,
    }

    # both -------------------------------------------------------------------------------------------------------------

    def _state_for(self, entry: Entry) -> list[bytes]:
        """What brings somebody from this entry to what I hold: the deltas if they are still in the log, else the state."""
        origin: Origin | None = self._local.table.origins.get(entry.origin)
        if origin is None or not origin.version:
            return []
        deltas = origin.deltas_since(entry.incarnation, entry.version)
        if deltas is not None:
            return list(deltas)
        if (entry.incarnation, entry.version) >= (origin.incarnation, origin.version):
            return []
        return self._author.state_frames(origin)

    def _may_send(self, frames: list[bytes], asker: str, now: float) -> bool:
        """A small question may have a large answer: all of them together have a rate."""
        if self._answers.take(sum(map(len, frames)), now):
            return True
        rate = self._local.config.limits.answer_bytes_per_s
        why = f"others ask for more than {rate} bytes a second; they have to wait"
        self._local.bounds.hit("answers_refused", asker or self._local.me.id, why, now)
        return False

    def spread(self, news: tuple[bytes, ...]) -> None:
        """Broadcast what I heard first-hand and what changes who lives."""
        for frame in news:
            self._local.broadcast(frame)


def _distinct(entries: tuple[Entry, ...]) -> list[Entry]:
    """Nobody honest wants, or offers, one origin twice at once."""
    return list({entry.origin: entry for entry in entries}.values())
