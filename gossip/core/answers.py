"""Answers: what an asker is told of my view, and what it tells me. The other side of `repair.py`; the arrows stand there.

Invariant: nothing is kept of a conversation but who asks, to know a word that comes first-hand; so nothing can be left behind
by whoever breaks off. How often my view is told, and how much of it a second, is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar

from ..model import EventKind, MemberState
from .bounds import RATE_BURST_S, Bucket
from .disputes import Disputes
from .effects import Answer
from .local import Local
from .merge import Merger
from .messages import BUCKETS, Accusation, Belief, Delta, Done, Entries, Message, Revoked, Sync, Want
from .supply import ENTRIES_PER_FRAME, WANTS_PER_FRAME, Supply, distinct

ASKERS_MAX = 1024


class Answers:
    """Owns the memory of who asks me."""

    def __init__(
        self,
        local: Local,
        merger: Merger,
        supply: Supply,
        disputes: Disputes,
        *,
        hear: Callable[[Accusation, bytes, float], None],
        hear_revoked: Callable[[tuple[bytes, ...], float], None],
    ) -> None:
        self._local, self._merger, self._supply, self._disputes = local, merger, supply, disputes
        self._hear, self._hear_revoked = hear, hear_revoked
        self._askers: OrderedDict[bytes, str] = OrderedDict()  # token -> id
        rate = local.config.limits.syncs_per_s
        self._syncs = Bucket(rate, RATE_BURST_S * rate)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._askers)

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
        if message.version:
            told = [self._local.codec.encode(one) for one in authority.untold(message.revoked)]
            if told and self._supply.may_send(told, message.asker, now):
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
        obituary = self._disputes.obituary(message)
        if obituary is not None:
            self._answer(token, obituary)

    def _on_pushed(self, token: bytes, delta: Delta, frame: bytes, now: float) -> None:
        taken = self._merger.take(delta, frame, now)
        if delta.origin == self._askers.get(token):
            self._local.spread(taken.news)

    def _on_wanted(self, token: bytes, message: Want, frame: bytes, now: float) -> None:
        for entry in distinct(message.entries)[:WANTS_PER_FRAME]:
            answers = self._supply.beyond(entry)
            if not self._supply.may_send(answers, self._askers.get(token, ""), now):
                return  # no `Done`: what was sent stays, and the asker comes again later
            self._local.out += [Answer(token, answer) for answer in answers]
        self._answer(token, Done(self._local.me.id))

    def _on_offer(self, token: bytes, message: Entries, frame: bytes, now: float) -> None:
        """Compare an offer: give what I know better, name the dead, want the rest."""
        table = self._local.table
        wants, charges = [], []
        for entry in distinct(message.entries):
            held, known = table.origins.get(entry.origin), table.known(entry.origin)
            theirs = (entry.incarnation, entry.version)
            if held is not None and (held.incarnation, held.version) > theirs:
                answers = self._supply.beyond(entry)
                if self._supply.may_send(answers, self._askers.get(token, ""), now):
                    self._local.out += [Answer(token, answer) for answer in answers]
            elif known is None or (known.incarnation, known.version) < theirs:
                wants.append(table.entry_of(entry.origin))
            if charge := self._disputes.over(entry):
                charges.append(charge)
        for accusation in self._disputes.accuse(charges, now):
            self._answer(token, accusation)
        self._answer(token, Want(tuple(wants)))

    def _on_accused(self, token: bytes, message: Accusation, frame: bytes, now: float) -> None:
        self._hear(message, frame, now)
        if any(charge.subject == self._local.me.id for charge in message.charges):
            for answer in self._supply.myself():
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
