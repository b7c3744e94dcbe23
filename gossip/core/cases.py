"""Cases: what is held against each accused, and the verdict, which everyone reaches alike from the same accusations.

SWIM (Das, Gupta, Motivala 2002, section 4.2): suspicion, and refutation by a number that only the subject raises. Lifeguard
(Dadgar, Phillips, Currey 2018, section IV.B): the suspicion shortens with each independent accuser.

    `closed` from three, or from all living others that are not accused ──▶ dead now
    otherwise a suspicion of 5 s, down to 1 s as accusers confirm it     ──▶ dead, unless most fell silent at once

Invariant: only a higher `(incarnation, pulse)` of the subject, or its goodbye, voids a case or a verdict.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from ..model import MemberState
from ..values import dataclass, field
from .effects import ProbeOutcome
from .hold import Hold
from .local import Local
from .membership import Membership
from .messages import Charge, Evidence, Incarnation
from .mutes import Mutes
from .origin import Origin
from .probes import Probes, Reason

CASES_MAX = 8192
ACCUSERS_MAX = 64  # remembered of one case; watchers are 8
FLIPS_MAX = 2  # refuted deaths of one subject within `FLIP_WINDOW_S`; after that, silence alone waits
FLIP_WINDOW_S = 60.0
REVIVED_MAX = 4096
NEVER = float("inf")


@dataclass(slots=True)
class Case:
    """What is held against one life of one subject: each accuser's best evidence."""

    life: tuple[Incarnation, int]
    opened_at: float
    accusers: dict[str, Evidence] = field(default_factory=dict)
    relayed: int = 0
    confirmed: bool = False  # I found myself that its links are closed
    condemned: bool = False
    due: float = 0.0  # when the suspicion runs out, as of the last judgement


class Cases:
    """Owns the cases, `of` has them by subject; who is muted (`mutes`); and whether verdicts wait (`hold`)."""

    def __init__(self, local: Local, membership: Membership, probes: Probes) -> None:
        self._local, self._membership, self._probes = local, membership, probes
        self.of: dict[str, Case] = {}
        self.mutes = Mutes(local)
        self.hold = Hold(local)
        self._rejudge_at = NEVER  # a new accusation may weigh on other cases: its subject no longer counts as a witness
        self._revived: OrderedDict[str, tuple[float, ...]] = OrderedDict()  # when its last deaths by silence were refuted

    # charges ----------------------------------------------------------------------------------------------------------

    def charge(self, accuser: str, charge: Charge, now: float) -> bool:
        """Take in one charge against another; whether it deserves to be passed on."""
        local = self._local
        origin = local.table.origins.get(charge.subject)
        life = charge.incarnation, charge.pulse
        if origin is None or life < origin.heard_life or origin.state is MemberState.LEFT:
            return False
        if self._leaps(origin, charge, now):
            why = f"{accuser} accuses a life of {origin.id} far above the known one"
            local.bounds.hit("charges_doubted", origin.id, why, now)
            return False
        case = self._case(origin, accuser, charge, now)
        if case is None or case.life > life:
            return False
        settled = not origin.alive and charge.evidence is Evidence.CLOSED  # what convinced me was passed on
        if not self._add(case, accuser, charge, now):
            return False
        if origin.alive:
            self._judge(origin, case, now)
            self._rejudge_at = min(self._rejudge_at, now + local.config.detection.gather_s)
        case.relayed += 1
        return not settled and case.relayed <= local.config.detection.accusations_relayed_max

    def _leaps(self, origin: Origin, charge: Charge, now: float) -> bool:
        """No life or pulse that the subject could only refute by leaping itself."""
        if self._local.seal.doubts_claims_of(origin.id):
            return (charge.incarnation, charge.pulse) > origin.heard_life  # it would have signed that, and nobody else can
        if charge.incarnation == origin.incarnation:
            return self._local.is_leap_of_version(origin.header.pulse, charge.pulse)
        return self._local.is_leap_of_life(origin.incarnation[0], charge.incarnation[0], now)

    def _case(self, origin: Origin, accuser: str, charge: Charge, now: float) -> Case | None:
        """The case against this life, or a higher one; opened if there is none. None if there is no room."""
        life = charge.incarnation, charge.pulse
        former = self.of.get(origin.id)
        if former is not None and former.life >= life:
            return former
        if former is None and len(self.of) >= CASES_MAX:
            self._local.bounds.hit("cases_refused", origin.id, f"{CASES_MAX} members are accused at once", now)
            return None
        condemned = former is not None and former.condemned  # its refutation of that is still on its way here
        case = self.of[origin.id] = Case(life, now, condemned=condemned)
        if origin.alive:
            self._membership.suspect(origin, f"{accuser} says that {origin.id} is {charge.evidence.name.lower()}")
        return case

    def _add(self, case: Case, accuser: str, charge: Charge, now: float) -> bool:
        """One more accuser, or better evidence of one; False if that is nothing new."""
        evidence = Evidence.SILENT if self.mutes.holds(accuser, charge.subject, now) else charge.evidence
        known = case.accusers.get(accuser)
        if known is not None and known >= evidence:
            return False
        if known is None and len(case.accusers) >= ACCUSERS_MAX:
            subject = charge.subject
            self._local.bounds.hit("accusers_refused", subject, f"more than {ACCUSERS_MAX} accuse {subject}", now)
            return False
        case.accusers[accuser] = evidence
        if evidence is Evidence.SILENT:
            self.hold.silenced(charge.subject, now)
        return True

    def against(self, id: str) -> list[Charge]:
        """The charges that stand against an id, to be told to itself when it shows up."""
        case = self.of.get(id)
        origin = self._local.table.origins.get(id)
        if case is not None and origin is not None and case.life >= origin.heard_life:
            return [Charge(id, *case.life, max(case.accusers.values(), default=Evidence.SILENT))]
        if origin is not None and origin.state is MemberState.DEAD:
            return [Charge(id, *origin.life, Evidence.SILENT)]
        return []

    # refuted ----------------------------------------------------------------------------------------------------------

    def voids(self, origin: Origin) -> bool:
        """Whether its life is above all that is held against it."""
        case = self.of.get(origin.id)
        return case is None or origin.life > case.life

    def reconcile(self, origin: Origin, now: float) -> bool:
        """Its log moved on: a higher life, or a goodbye, voids the case; a refutation mutes the accusers. Whether it did."""
        case, left = self.of.get(origin.id), origin.state is MemberState.LEFT
        if case is None or (origin.heard_life <= case.life and not left):
            return False
        del self.of[origin.id]
        self.hold.refuted(origin.id)
        self._membership.clear(origin, f"{origin.id} refuted")
        if case.condemned:
            self._note_revival(origin.id, now)
        if origin.heard_life[0] == case.life[0] and not left:
            for accuser in case.accusers:
                self.mutes.add(accuser, origin.id, now)
        return True

    def _note_revival(self, id: str, now: float) -> None:
        self._revived[id] = (*self._revived.pop(id, ()), now)[-FLIPS_MAX:]
        if len(self._revived) > REVIVED_MAX:
            self._revived.popitem(last=False)

    def _not_before(self, id: str) -> float:
        """Whoever was held dead in error twice within a minute is half deaf, not dead: it is not to flap."""
        times = self._revived.get(id, ())
        return times[0] + FLIP_WINDOW_S if len(times) == FLIPS_MAX else 0.0

    # verdicts ---------------------------------------------------------------------------------------------------------

    def _judge(self, origin: Origin, case: Case, now: float) -> None:
        """Dead now, dead later, or not yet. The same at everyone who holds the same accusations."""
        standing = self._standing(case)
        closed = [accuser for accuser, evidence in standing.items() if evidence is Evidence.CLOSED]
        enough = self._local.config.detection.closed_accusers
        case.due = max(self._deadline(origin, case, standing), self._not_before(origin.id))
        at_once = closed and (len(closed) >= enough or self._are_all(len(closed), origin))
        if at_once and self._found_closed(origin, case):
            self._condemn(origin, case, f"{origin.id} is gone: its links closed at {', '.join(sorted(closed))}", now)
        elif now >= case.due and not self.hold.covers(origin, now):
            accusers = ", ".join(sorted(standing or case.accusers))
            self._condemn(origin, case, f"{origin.id} is silent: accused by {accusers} and did not refute", now)

    def _standing(self, case: Case) -> dict[str, Evidence]:
        """The accusations that count: those of living peers that are not themselves accused by others."""
        table = self._local.table
        return {
            accuser: evidence
            for accuser, evidence in case.accusers.items()
            if (known := table.origins.get(accuser)) is not None and known.state is MemberState.ALIVE
        }

    def _are_all(self, accusers: int, subject: Origin) -> bool:
        """Whether so many are all living others not themselves accused. O(1) while they are surely not."""
        table = self._local.table
        if accusers < table.living - 1 - len(self.of):
            return False
        return accusers >= sum(1 for o in table.alive() if o.state is MemberState.ALIVE and o is not subject)

    def _found_closed(self, origin: Origin, case: Case) -> bool:
        """Accusations are unsigned. Where names must be proven I look myself before I believe that links closed."""
        if not self._local.seal.doubts_claims_of(origin.id):
            return True
        if case.confirmed or case.accusers.get(self._local.me.id) is Evidence.CLOSED:
            return True
        self._probes.ask(origin.publisher, origin.id, Reason.CASE)
        return False

    def probed(self, endpoint: str, outcome: ProbeOutcome, now: float) -> None:
        """What I found where others say that links closed."""
        for id in self._probes.ended(endpoint, Reason.CASE):
            origin, case = self._local.table.origins.get(id), self.of.get(id)
            if origin is None or case is None or not origin.alive:
                continue
            if not origin.listens_at(endpoint):  # it moved: that proves nothing, and judging looks where it is now
                self._judge(origin, case, now)
            elif outcome is ProbeOutcome.REFUSED and endpoint == origin.contact:
                case.confirmed = True
                self._judge(origin, case, now)
            elif outcome is ProbeOutcome.REFUSED:  # as for links of my own: refused means both ports
                self._probes.ask(origin.contact, id, Reason.CASE)

    def _deadline(self, origin: Origin, case: Case, standing: dict[str, Evidence]) -> float:
        """Lifeguard, section IV.B: from the longest suspicion to the shortest as independent accusers confirm it.

        Those are its watchers. After a split many more say that it is dead, who all repeat one verdict of their side.
        """
        config = self._local.config.detection
        by_hash = self._local.table.by_hash
        watchers = [by_hash.get(hash) for hash in self._local.overlay.watchers(origin.hash)]
        live = [watcher.id for watcher in watchers if watcher is not None and watcher.state is MemberState.ALIVE]
        wanted = max(1, min(config.suspicion_accusers, len(live)))
        confirmed = max(1, sum(1 for watcher in live if watcher in standing))
        if confirmed >= wanted:
            return case.opened_at + config.suspicion_min_s
        share = math.log(confirmed) / math.log(wanted)
        return case.opened_at + config.suspicion_max_s - share * (config.suspicion_max_s - config.suspicion_min_s)

    def _condemn(self, origin: Origin, case: Case, reason: str, now: float) -> None:
        case.condemned = True
        self._membership.settle(origin, MemberState.DEAD, reason, now)

    # time -------------------------------------------------------------------------------------------------------------

    def paused(self, now: float) -> None:
        """I stood still: refutations may wait unread, so every suspicion begins anew."""
        for case in self.of.values():
            case.due += now - case.opened_at
            case.opened_at = now

    def tick(self, now: float) -> None:
        """Judge where a suspicion ran out, or everybody where a new accusation weighs on others."""
        again = now >= self._rejudge_at
        if again:
            self._rejudge_at = NEVER
        origins = self._local.table.origins
        for id, case in list(self.of.items()):
            origin = origins.get(id)
            if origin is None:
                del self.of[id]
            elif origin.alive and (again or now >= case.due):
                self._judge(origin, case, now)
        self.hold.tick(now, accused=any(origins[id].alive for id in self.of if id in origins))

    def next_deadline(self) -> float:
        """When `tick` has something to do; may be early. O(cases)."""
        found = self._rejudge_at
        for id, case in self.of.items():
            origin = self._local.table.origins.get(id)
            if origin is not None and origin.alive:
                found = min(found, max(case.due, self.hold.until or 0.0))
        return found
