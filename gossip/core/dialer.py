"""Finding the others: seeds, the common port of zero configuration, and members that were lost.

Without dialling the dead, a healed split never merges. `synced` is decided here: one whole conversation with a synced
peer (`joined`); at once when there is nobody to ask; else after a deadline, with an event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

from ..model import MemberState
from .effects import Bind
from .local import Local
from .past import Past
from .repair import Ended, Repair

RENDEZVOUS_HOST = "127.0.0.1"
RENDEZVOUS_PORTS = (7400, *range(7402, 7419, 2))
RENDEZVOUS_MISSES_MAX = 2  # unanswered dials after which a port is held to be another program's
SYNCED = "is synced"  # how the notice ends
MASS_LOSS_S = 60.0  # so long after a mass loss the dead are dialled every second
NEVER = float("inf")


class Rendezvous:
    """Zero configuration: everybody dials the common port, and binds it as a further contact while nobody answers."""

    def __init__(self, local: Local, dial: Callable[[str, float], bool]) -> None:
        self._local = local
        self._dial = dial
        self._index = 0
        self._misses = 0
        self._binding = False
        self.holding = False  # the port is mine
        self._keeper: str | None = None  # who answered there
        self._next = 0.0

    @property
    def endpoint(self) -> str:
        """The common port tried now."""
        return f"{RENDEZVOUS_HOST}:{RENDEZVOUS_PORTS[self._index]}"

    def tick(self, now: float) -> None:
        """Bind the port if it is free; else see who is there, unless that is known and alive."""
        if now < self._next or self.holding or self._binding:
            return
        self._next = now + self._pause()
        keeper = self._local.table.origins.get(self._keeper) if self._keeper else None
        if keeper is None or not keeper.alive:
            self._binding = True
            self._local.out.append(Bind(self.endpoint))

    def _pause(self) -> float:
        config = self._local.config.joining
        return config.rendezvous_min_s + (config.rendezvous_max_s - config.rendezvous_min_s) * self._local.chance.random()

    def bound(self, ok: bool, now: float) -> None:
        """Whether the port is mine now; if not, somebody is there to be asked."""
        self._binding = False
        self.holding = ok
        if not ok:
            self._dial(self.endpoint, now)

    def ended(self, end: Ended, now: float) -> None:
        """A dial of the common port succeeded, met a stranger, or nobody."""
        if end.ok:
            partner = end.conversation.partner
            self._keeper, self._misses = None if partner == self._local.me.id else partner, 0
            return
        self._misses += 1
        if end.foreign or self._misses >= RENDEZVOUS_MISSES_MAX:
            self._index = (self._index + 1) % len(RENDEZVOUS_PORTS)
            self._misses = 0
            self._next = now
            if self._index == 0:
                self._local.notice(
                    self._local.me.id,
                    f"all ports of zero configuration, {RENDEZVOUS_PORTS[0]} … {RENDEZVOUS_PORTS[-1]}, belong to others: "
                    "name seeds, or end other clusters on this machine; they are tried on",
                )

    def earlier(self) -> list[str]:
        """While a later port is mine: the ones before it, where others may meet by now."""
        return [f"{RENDEZVOUS_HOST}:{port}" for port in RENDEZVOUS_PORTS[: self._index]] if self.holding else []

    def next_deadline(self) -> float:
        """When the port is looked at again."""
        return NEVER if self.holding or self._binding else self._next


class Dialer:
    """Owns the seeds and the question whether this peer is synced."""

    def __init__(
        self, local: Local, repair: Repair, past: Past, *, seeds: Sequence[str] | None, zero_configuration: bool
    ) -> None:
        self._local = local
        self._past = past
        self._repair = repair
        self._unresolved = seeds is None  # they are names whose addresses come later
        self._seeds = [seed for seed in seeds or () if seed != local.me.contact]
        self._myself: set[str] = {local.me.contact}
        self.rendezvous = Rendezvous(local, self.dial) if zero_configuration else None
        self._started_at = 0.0
        self._next_dial = NEVER
        self._mass_loss_until = 0.0
        self._answered = False
        self.joined = False  # all that a synced peer holds was once here: it told so, or has my digest

    def start(self, now: float) -> None:
        """Dial the seeds, as many as may be at once, the first ones first; with nobody to ask, be synced."""
        self._started_at = now
        self._past.begin(now)
        if self.rendezvous is not None:
            self._meet(self.rendezvous, now)
        if self.rendezvous is None or self._seeds or self._past.contacts:
            self._dial_all(now)
        self._next_dial = now + self._pause(now)

    def _dial_all(self, now: float) -> None:
        for places in zip_longest(self._seeds, self._some_of_the_past()):  # in turns: either may be dead by now
            for endpoint in filter(None, places):
                self.dial(endpoint, now)  # beyond `pulls_max` at once it does nothing
        if not self.expects_others:
            self._become_synced()

    def _some_of_the_past(self) -> list[str]:
        """A few contacts of an earlier life, drawn."""
        rest, chance = [contact for contact in self._past.contacts if contact not in self._seeds], self._local.chance
        some = min(self._local.config.repair.pulls_max, len(rest))
        return [rest.pop(int(chance.random() * len(rest))) for _ in range(some)]

    def set_seeds(self, seeds: Sequence[str], now: float, *, pending: bool) -> None:
        """The addresses of the seeds, as far as they are known now; `pending`: there are names that nobody has told yet."""
        self._unresolved = pending
        self._seeds = [seed for seed in seeds if seed != self._local.me.contact]
        if self._local.alone:
            self._dial_all(now)

    def _meet(self, rendezvous: Rendezvous, now: float) -> None:
        if rendezvous.endpoint == self._local.me.contact and not rendezvous.holding:
            self.bound(rendezvous.endpoint, True, now)  # the common port is my own contact
        else:
            rendezvous.tick(now)

    @property
    def expects_others(self) -> bool:
        """Whether there are seeds that are not myself, or others of an earlier life."""
        return self._unresolved or any(seed not in self._myself for seed in self._seeds) or self._past.expects_others

    def dial(self, endpoint: str, now: float) -> bool:
        """Start a conversation with whoever is there."""
        return self._repair.converse(endpoint, now, dialled=True)

    def bound(self, endpoint: str, ok: bool, now: float) -> None:
        """The common port was bound by me, or is somebody's."""
        if self.rendezvous is None:
            return
        self.rendezvous.bound(ok, now)
        if ok:
            self._myself.add(endpoint)
            if self._local.alone and not self.expects_others:
                self._become_synced()

    def ended(self, end: Ended, now: float) -> None:
        """A conversation ended."""
        talk, me = end.conversation, self._local.me
        if end.ok and talk.partner == me.id:
            if me.id not in talk.theirs:  # else another process has my id
                self._myself.add(talk.endpoint)
        elif end.ok and talk.whole:
            self._answered = True
            if talk.partner_synced and end.complete:  # else whoever pulls the rest ends later
                self.join()
                self._become_synced()
        if self.rendezvous is not None and talk.endpoint == self.rendezvous.endpoint:
            self.rendezvous.ended(end, now)
        if not self._local.synced and not self.rendezvous and not self.expects_others:
            self._become_synced()

    def join(self) -> None:
        """All that a synced peer holds is here, or was once."""
        if not self.joined:
            self.joined = True
            self._past.end()

    def _become_synced(self) -> None:
        if not self._local.synced:
            self._local.synced = True
            self._local.notice(self._local.me.id, f"{self._local.me.id} {SYNCED}")  # whoever waits for it is woken by events

    def mass_loss(self, now: float) -> None:
        """Most members vanished: look for them every second for a while."""
        self._mass_loss_until = now + MASS_LOSS_S
        self._next_dial = min(self._next_dial, now + self._pause(now))

    def tick(self, now: float) -> None:
        """Dial when it is time; stop waiting for a synced peer when its time is over."""
        self._past.tick(now)
        if self.rendezvous is not None:
            self._meet(self.rendezvous, now)
        if not self._local.synced and now >= self._deadline():
            self._local.notice(
                self._local.me.id,
                "no synced peer answered in time: serving what is known here"
                + ("" if self._answered else "; check that the seeds are right and reachable, they are dialled on"),
            )
            self._become_synced()
        if now >= self._next_dial:
            self._next_dial = now + self._pause(now)
            self._dial_somebody(now)

    def _deadline(self) -> float:
        """Until when a synced peer is waited for: one that is telling all that it holds is heard out."""
        return max(self._started_at + self._local.config.joining.synced_deadline_s, self._repair.told_until())

    def _pause(self, now: float) -> float:
        local, config = self._local, self._local.config.joining
        if local.alone or not local.synced or now < self._mass_loss_until:
            return local.jittered(config.alone_interval_s)
        living = local.table.living
        few = config.alone_interval_s * living / 2  # two dials a second in all: who comes back knowing nobody waits to be found
        return local.jittered(min(few, config.dial_interval_s) * max(1.0, living / 50))

    def _dial_somebody(self, now: float) -> None:
        """One seed that is no living member, or common port before mine; and one dead member: neither waits for the other."""
        table = self._local.table
        lost: set[str] = set()
        if len(table.origins) > table.living:
            lost = {origin.contact for origin in table.settled() if origin.state is MemberState.DEAD}
        lost.update(table.floors.contacts())
        lost.update(self._past.contacts)
        meeting = {*self._seeds, *(self.rendezvous.earlier() if self.rendezvous is not None else ())}
        if not (meeting or lost):
            return
        living = {origin.contact for origin in table.alive()} | self._myself
        for candidates in (sorted(meeting - living), sorted(lost - meeting - living)):
            if candidates:
                self.dial(candidates[int(self._local.chance.random() * len(candidates))], now)

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        found = min(self._next_dial, self._past.next_deadline())
        if not self._local.synced:
            found = min(found, self._deadline())
        return min(found, self.rendezvous.next_deadline()) if self.rendezvous is not None else found
