"""Failure detection: the ring watches. What each piece of evidence leads to; the nouns live next door.

    closed    the kernel closed the link, and TCP connects are refused, or another id answers there   accuse at once
    silent    no heartbeat for 3 of the subject's intervals, and three pings unanswered                 accuse
    reported  a caller could not reach an instance                                                      ping now

    `watches`, `probes`, pings ──evidence──▶ `accusations` ──charges of everybody──▶ `cases` ──verdict──▶ membership
          `doubt` in myself holds silence back ──┘      └── of me ──▶ selfhood refutes

Sources: SWIM (Das, Gupta, Motivala 2002) and Lifeguard (Dadgar, Phillips, Currey 2018); the sections stand in the parts.
Invariant: an accusation of mine rests on what I observed myself of somebody I watch or pinged.
"""

from __future__ import annotations

from collections.abc import Callable

from .accusations import Accusations
from .cases import Cases
from .doubt import Doubt
from .effects import ProbeOutcome
from .local import Local
from .membership import Membership
from .messages import Charge, Evidence, IdHash
from .origin import Origin
from .probes import Probes, Reason
from .watches import Watches


class Detector:
    """Owns the parts of failure detection. `ping` asks a member; `accused` answers a charge against me."""

    def __init__(
        self,
        local: Local,
        membership: Membership,
        *,
        ping: Callable[[Origin, float], bool],
        accused: Callable[[str, Charge, float], None],
    ) -> None:
        self._local = local
        self._ping, self._accused = ping, accused
        self._probes = Probes(local)
        self._doubt = Doubt(local)
        self.watches = Watches(local)
        self.cases = Cases(local, membership, self._probes)
        self.accusations = Accusations(local, judge=self._charge)

    @property
    def holding(self) -> bool:
        """Whether verdicts by silence wait, because most members fell silent at once."""
        return self.cases.hold.until is not None

    def doubting(self, now: float) -> bool:
        """Whether I wait for somebody's answer to know that I am not the sick one."""
        return now < self._doubt.until

    # signs of life ----------------------------------------------------------------------------------------------------

    def heard(self, id: str, now: float) -> None:
        """A sign of life from the peer itself."""
        watch = self.watches.of.get(id)
        if watch is not None:
            watch.spoke(now)
        if self.accusations.gathered:
            self.accusations.spoke(id)
        if now < self._doubt.until and self._doubt.ends(id, now):
            self.accusations.hurry(now)

    def reconcile(self, origin: Origin, now: float) -> None:
        """The subject's log moved on: a refutation, a new life or a goodbye voids what is held against it."""
        if origin.id in self.cases.of and self.cases.reconcile(origin, now):
            self.accusations.withdraw(origin.id)
            self.watches.spoke(origin.id, now)

    def paused(self, now: float) -> None:
        """My own process stood still: nobody's silence counts, and answers may wait unread."""
        self.watches.paused(now)
        self.accusations.paused()
        self.cases.paused(now)
        self._local.counters["pauses"] += 1

    # closed links -----------------------------------------------------------------------------------------------------

    def link_closed(self, hash: IdHash, endpoint: str) -> None:
        """The link to a member broke. If I watch it, find out whether its process is gone."""
        origin = self._watched(hash)
        if origin is not None:
            self._probes.ask(endpoint, origin.id, Reason.LINK)

    def link_unreached(self, hash: IdHash) -> None:
        """It could not be made at all. A firewall may do that to a publisher for good; the contact of who lives answers."""
        origin = self._watched(hash)
        if origin is not None:
            self._probes.ask(origin.contact, origin.id, Reason.LINK)

    def _watched(self, hash: IdHash) -> Origin | None:
        origin = self._local.table.by_hash.get(hash)
        return origin if origin is not None and origin.alive and origin.id in self.watches.of else None

    def probed(self, endpoint: str, outcome: ProbeOutcome, now: float) -> None:
        """What a TCP connect to where a link closed, or could not be made, found."""
        self.cases.probed(endpoint, outcome, now)
        for id in self._probes.ended(endpoint, Reason.LINK):
            origin = self._local.table.origins.get(id)
            if origin is None or not origin.alive or not origin.listens_at(endpoint):
                continue
            if outcome is ProbeOutcome.REFUSED:
                self._probes.settle(endpoint)
                if endpoint == origin.contact:
                    self.accuse(origin, Evidence.CLOSED, now)
                else:  # a firewall may refuse one port of who lives; of who is gone the kernel refuses both
                    self._probes.ask(origin.contact, id, Reason.LINK)
            else:  # somebody listens: the same peer, another on its port, or the kernel for a process that is ending
                self._ping_once(origin, now)
                self._probes.knock_later(endpoint, now)

    def _knock_again(self, now: float) -> None:
        for endpoint in self._probes.due(now):
            watched = [id for id in self.watches.of if (o := self._local.table.origins.get(id)) and o.listens_at(endpoint)]
            if not watched:
                self._probes.settle(endpoint)
            for id in watched:
                self._probes.ask(endpoint, id, Reason.LINK)

    # pings ------------------------------------------------------------------------------------------------------------

    def reported(self, origin: Origin, now: float) -> None:
        """A caller could not reach an instance of it."""
        self._ping_once(origin, now)

    def _ping_once(self, origin: Origin, now: float) -> None:
        """There is a reason to ask besides silence: one ping decides."""
        self.watches.one_ping_decides(origin.id)
        self._ping(origin, now)

    def answered_as(self, expected: Origin, id: str | None, now: float) -> None:
        """A ping to a member's contact was answered under this id; None for a peer of another cluster."""
        if id is not None and (id == expected.id or not self._local.seal.doubts_claims_of(id)):
            self.heard(id, now)
        self._doubt.ping_ended(expected.id)
        self.watches.spoke(expected.id, now)
        self._probes.settle(expected.publisher)
        self._probes.settle(expected.contact)
        if id != expected.id and expected.alive:
            self.accuse(expected, Evidence.CLOSED, now)

    def unanswered(self, origin: Origin, now: float) -> None:
        """A ping to it ran out: evidence against whom I watch after the last of them, against others at once."""
        about_me = self._doubt.ping_ended(origin.id)  # one that asked whether I am well is no evidence against another
        watch = self.watches.of.get(origin.id)
        silent = not about_me if watch is None else self.watches.missed(watch, now)
        if silent and origin.alive:
            self.accuse(origin, Evidence.SILENT, now)

    def _ask_the_silent(self, now: float) -> None:
        due = self.watches.due(self.cases.of, now)
        if any(now >= self.watches.silent_at(watch, origin) for origin, watch in due):
            self._doubt_myself(now)
        for origin, watch in due:
            self.watches.pinged(watch, now, sent=self._ping(origin, now))

    def _doubt_myself(self, now: float) -> None:
        """If half of those I watch fell silent at once, ask others. At once: within an interval, as heartbeats are spread."""
        watched = self.watches.of
        if not self._doubt.may_begin(len(watched), now) or 2 * self.watches.quiet(now) < len(watched):
            return
        others = [o for o in self._local.table.alive() if o.id not in watched and o is not self._local.me]
        for origin in self._doubt.begin(others, now):
            self._ping(origin, now)

    # accusations ------------------------------------------------------------------------------------------------------

    def accuse(self, origin: Origin, evidence: Evidence, now: float) -> None:
        """Hold something against a member, unless it refuted me lately."""
        me = self._local.me
        muted = evidence is not Evidence.CLOSED and self.cases.mutes.holds(me.id, origin.id, now)
        if origin is not me and not muted:
            self.accusations.gather(origin, evidence, now)

    def _charge(self, accuser: str, charge: Charge, now: float) -> bool:
        """Take one charge in; whether it deserves to be passed on."""
        if charge.subject == self._local.me.id:
            self._accused(accuser, charge, now)
            return False
        return self.cases.charge(accuser, charge, now)

    # time -------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Silence, connects to repeat, accusations that were gathered, suspicions that ran out."""
        self._ask_the_silent(now)
        self._knock_again(now)
        self.accusations.tick(now, silence_from=self._doubt.until)
        self.cases.tick(now)

    def next_deadline(self) -> float:
        """When `tick` has something to do; may be early. O(cases)."""
        return min(
            self.watches.next_deadline(),
            self._probes.next_deadline(),
            self.accusations.next_deadline(),
            self.cases.next_deadline(),
        )
