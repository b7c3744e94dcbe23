"""Failure detection: the ring watches; accusations are told to all; everyone reaches the same verdict from the same ones.

Sources: SWIM (Das, Gupta, Motivala 2002, section 4.2) for suspicion and refutation by a number only the subject raises;
Lifeguard (Dadgar, Phillips, Currey 2018, sections IV.B, IV.C) for the suspicion that shortens with each independent
accuser and for the doubt in oneself. Evidence:

    closed    the kernel closed the link, and a TCP connect is refused or another id answers there    accuse at once
    silent    no heartbeat for 3 of the subject's intervals, and three pings unanswered                 accuse
    reported  a caller could not reach an instance                                                      ping now

Invariant: only a higher `(incarnation, pulse)` of the subject voids a case or a verdict.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ..model import MemberState
from .bounds import RATE_BURST_S, Bucket
from .effects import Probe, ProbeOutcome
from .local import Local
from .membership import Membership
from .messages import Accusation, Charge, Evidence, IdHash, Incarnation
from .origin import Origin
from .standing import Standing

CASES_MAX = 8192
MUTES_MAX = 4096
CHARGES_PER_FRAME = 128
DOUBT_LINKS_MIN = 4  # with fewer links, half of them silent says nothing about me
DOUBT_PINGS = 3
ACCUSERS_MAX = 64  # remembered of one case; watchers are 8
DOUBLINGS_MAX = 16
REPROBES_S = (0.03, 0.1, 0.3)  # a dying process closes its links before its listening socket: knock again
SILENCE_LOOK_S = 1.25  # watches are looked at so often at least: cases end and pings return in between
SILENCE_EARLY_S = 0.5  # or when there is a tick anyway, so that an idle peer wakes once an interval, not twice
PINGS = 3  # over connections of their own: where a fifth of the packets is lost, one alone fails every second time
FLIPS_MAX = 2  # refuted deaths of one subject within `FLIP_WINDOW_S`; after that, silence alone waits
FLIP_WINDOW_S = 60.0
ACCUSED_MAX = 4  # refuted accusations of me by one accuser within `ACCUSED_S`; then it is named, where others sign
ACCUSED_S = 60.0
NEVER = float("inf")


@dataclass(slots=True)
class Watch:
    """A member I watch. `quiet_since`: when I last heard it, or began to listen."""

    quiet_since: float
    pinged: bool = False  # an answer is awaited
    missed: int = 0  # pings in a row that nobody answered

    def spoke(self, now: float) -> None:
        """It lives, or is listened to anew."""
        self.quiet_since, self.pinged, self.missed = now, False, 0


@dataclass(slots=True)
class _Reprobe:
    """A closed link whose endpoint still answered: when to knock again."""

    times: int = 0
    due: float = NEVER


@dataclass(slots=True)
class Case:
    """What is held against one life of one subject: each accuser's best evidence."""

    life: tuple[Incarnation, int]
    opened_at: float
    accusers: dict[str, Evidence] = field(default_factory=dict)
    relayed: int = 0
    asked: bool = False  # whether I am finding out myself if its links are closed
    confirmed: bool = False  # and found that they are
    condemned: bool = False
    due: float = 0.0  # when the suspicion runs out, as of the last judgement


@dataclass(slots=True)
class Mute:
    """An accuser that was refuted by this subject: not believed at once for a while, longer each time."""

    times: int
    until: float


class Detector:
    """Owns watches, cases, mutes and my accusations. `ping` asks a member, `refute` answers for me."""

    def __init__(
        self,
        local: Local,
        membership: Membership,
        *,
        ping: Callable[[Origin, float], bool],
        refute: Callable[[Incarnation, int, float], None],
    ) -> None:
        self._local = local
        self._membership = membership
        self._ping, self._refute = ping, refute
        self.watches: dict[str, Watch] = {}
        self.cases: dict[str, Case] = {}
        self._mutes: OrderedDict[tuple[str, str], Mute] = OrderedDict()
        self._seen: OrderedDict[tuple[str, Incarnation, int], None] = OrderedDict()
        self._gathered: dict[str, Charge] = {}
        self._gather_until = NEVER
        self._rejudge_at = NEVER  # a new accusation may weigh on other cases: its subject no longer counts as a witness
        self._counter = 0
        self._mine = b""  # my last accusation
        rate = local.config.limits.charges_per_s
        self._charges = Bucket(rate, RATE_BURST_S * rate)
        self._silence_due = NEVER  # nobody I watch is silent earlier
        self._probes: dict[str, set[str]] = {}  # endpoint -> ids whose link closed there
        self._confirming: dict[str, set[str]] = {}  # the same for ids of whom others say so
        self._accusers = Standing(ACCUSED_MAX, ACCUSED_S)  # of me, who live
        self._reprobes: dict[str, _Reprobe] = {}  # by endpoint
        self._doubt_until = 0.0  # my own health: until then I hold accusations by silence
        self._doubt_pings: set[str] = set()
        self._asked_in_doubt: set[str] = set()  # whose one ping is still under way, also when another ended the doubt
        self._next_doubt_at = 0.0
        self._hold_until: float | None = None  # mass failure: until then no verdict by silence
        self._held_once = False
        self._revived: OrderedDict[str, tuple[float, ...]] = OrderedDict()  # when its last deaths by silence were refuted
        self._silenced: OrderedDict[str, float] = OrderedDict()  # subjects of cases by silence, for the mass rule

    # watching -------------------------------------------------------------------------------------------------------

    def watch(self, subjects: set[str], now: float) -> None:
        """These are the members I watch from now on; silence counts from when one became watched."""
        for id in [id for id in self.watches if id not in subjects]:
            del self.watches[id]
        for id in sorted(subjects):
            self.watches.setdefault(id, Watch(now))
        self._silence_due = now  # intervals may have changed too: look again

    def heard(self, id: str, now: float) -> None:
        """A sign of life from the peer itself."""
        watch = self.watches.get(id)
        if watch is not None:
            watch.spoke(now)
        if self._gathered and (charge := self._gathered.get(id)) is not None and charge.evidence is Evidence.SILENT:
            del self._gathered[id]  # held back while I doubted myself, and rightly
        if id in self._doubt_pings:  # somebody answers me: I am not the sick one
            self._doubt_pings.clear()
            self._doubt_until = now
            self._gather_until = now if self._gathered else NEVER

    @property
    def doubting(self) -> bool:
        """Whether I wait for somebody's answer to know that I am not the sick one."""
        return bool(self._doubt_pings)

    def link_closed(self, hash: IdHash, endpoint: str) -> None:
        """The link to a member broke. If I watch it, find out whether its process is gone."""
        origin = self._local.table.by_hash.get(hash)
        if origin is None or not origin.alive or origin.id not in self.watches:
            return
        if endpoint not in self._probes:
            self._local.out.append(Probe(endpoint))
        self._probes.setdefault(endpoint, set()).add(origin.id)

    def probed(self, endpoint: str, outcome: ProbeOutcome, now: float) -> None:
        """What a TCP connect to a closed link's endpoint found."""
        self._confirm(endpoint, outcome, now)
        for id in sorted(self._probes.pop(endpoint, ())):
            origin = self._local.table.origins.get(id)
            if origin is None or not origin.alive or origin.publisher != endpoint:
                continue
            if outcome is ProbeOutcome.REFUSED:
                self.accuse(origin, Evidence.CLOSED, now)
                self._reprobes.pop(endpoint, None)
            else:  # somebody listens: the same peer, another on its port, or the kernel for a process that is ending
                self._ping_once(origin, now)
                self._probe_again(endpoint, now)

    def _confirm(self, endpoint: str, outcome: ProbeOutcome, now: float) -> None:
        """What I found where others say that links closed."""
        for id in sorted(self._confirming.pop(endpoint, ())):
            origin, case = self._local.table.origins.get(id), self.cases.get(id)
            if origin is None or case is None or not origin.alive or origin.publisher != endpoint:
                continue
            case.asked, case.confirmed = False, outcome is ProbeOutcome.REFUSED
            if case.confirmed:
                self._judge(origin, case, now)

    def _probe_again(self, endpoint: str, now: float) -> None:
        again = self._reprobes.setdefault(endpoint, _Reprobe())
        if again.times < len(REPROBES_S):
            again.due = now + REPROBES_S[again.times]
            again.times += 1
        else:
            del self._reprobes[endpoint]

    def _send_reprobes(self, now: float) -> None:
        for endpoint, again in list(self._reprobes.items()):
            if now < again.due:
                continue
            again.due = NEVER
            ids = {id for id in self.watches if (o := self._local.table.origins.get(id)) and o.publisher == endpoint}
            if not ids:
                del self._reprobes[endpoint]
            elif endpoint not in self._probes:
                self._probes[endpoint] = ids
                self._local.out.append(Probe(endpoint))

    def reported(self, origin: Origin, now: float) -> None:
        """A caller could not reach an instance of it."""
        self._ping_once(origin, now)

    def _ping_once(self, origin: Origin, now: float) -> None:
        """There is a reason to ask besides silence: one ping decides."""
        watch = self.watches.get(origin.id)
        if watch is not None:
            watch.missed = PINGS - 1
        self._ping(origin, now)

    def answered_as(self, expected: Origin, id: str | None, now: float) -> None:
        """A ping to a member's contact was answered under this id; None for a peer of another cluster."""
        if id is not None and (id == expected.id or not self._local.seal.doubts_claims_of(id)):
            self.heard(id, now)
        self._asked_in_doubt.discard(expected.id)
        watch = self.watches.get(expected.id)
        if watch is not None:
            watch.spoke(now)
        self._reprobes.pop(expected.publisher, None)
        if id != expected.id and expected.alive:
            self.accuse(expected, Evidence.CLOSED, now)

    def unanswered(self, origin: Origin, now: float) -> None:
        """A ping to it ran out. Whoever spoke by another way meanwhile is not accused: that ping alone was lost."""
        about_me = origin.id in self._asked_in_doubt  # one ping that asks whether I am well is no evidence against another
        self._asked_in_doubt.discard(origin.id)
        watch = self.watches.get(origin.id)
        if watch is not None:
            if watch.quiet_since > now - self._local.config.detection.ping_timeout_s:
                watch.pinged, watch.missed = False, 0
                return
            watch.pinged, watch.missed = False, watch.missed + 1
            if watch.missed < PINGS:
                self._silence_due = now
                return
            watch.spoke(now)
        elif about_me:
            return
        if origin.alive:
            self.accuse(origin, Evidence.SILENT, now)

    def paused(self, now: float) -> None:
        """My own process stood still: nobody's silence counts, and I doubt myself for a while."""
        for watch in self.watches.values():
            watch.spoke(now)
        for id in [id for id, charge in self._gathered.items() if charge.evidence is Evidence.SILENT]:
            del self._gathered[id]
        for case in self.cases.values():  # refutations may wait unread
            case.due += now - case.opened_at
            case.opened_at = now
        self._local.counters["pauses"] += 1

    def _check_silence(self, now: float) -> None:
        if now < self._silence_due - SILENCE_EARLY_S:
            return
        silent, due = [], now + SILENCE_LOOK_S
        for id, watch in self.watches.items():
            origin = self._local.table.origins.get(id)
            if origin is None or not origin.alive or watch.pinged or id in self.cases:
                continue
            at = self._ping_at(watch, origin)
            if now >= at:
                silent.append((origin, watch))
            elif at < due:
                due = at
        self._silence_due = due
        if any(now >= self._silent_at(watch, origin) for origin, watch in silent):
            self._doubt_myself(now)
        for origin, watch in silent:
            watch.pinged = self._ping(origin, now)
            if not watch.pinged:  # too many pings are under way
                self._silence_due = min(self._silence_due, now + self._local.config.detection.ping_timeout_s)

    def _quiet(self, now: float) -> int:
        """How many of those I watch are silent, or will be within an interval unless they speak."""
        origins = self._local.table.origins
        watched = [(watch, origin) for id, watch in self.watches.items() if (origin := origins.get(id)) is not None]
        return sum(1 for watch, origin in watched if self._silent_at(watch, origin) - origin.interval_s <= now)

    def _ping_at(self, watch: Watch, origin: Origin) -> float:
        """The last of the pings goes out when it counts as silent, the others before that."""
        return self._silent_at(watch, origin) - (PINGS - 1 - watch.missed) * self._local.config.detection.ping_timeout_s

    def _silent_at(self, watch: Watch, origin: Origin) -> float:
        return watch.quiet_since + self._local.config.detection.silence_intervals * origin.interval_s

    def _doubt_myself(self, now: float) -> None:
        """Lifeguard: if half of those I watch fell silent at once, ask three others before I accuse anybody.

        At once is within one interval: heartbeats are spread over it.
        """
        config = self._local.config.detection
        if len(self.watches) < DOUBT_LINKS_MIN or 2 * self._quiet(now) < len(self.watches) or now < self._next_doubt_at:
            return
        others = [o for o in self._local.table.alive() if o.id not in self.watches and o is not self._local.me]
        if len(others) < DOUBT_PINGS:
            return
        self._doubt_pings.clear()
        self._asked_in_doubt.clear()
        self._doubt_until = now + config.hold_max_s
        self._next_doubt_at = now + 2 * config.hold_max_s
        for _ in range(DOUBT_PINGS):
            origin = others.pop(int(self._local.chance.random() * len(others)))
            self._doubt_pings.add(origin.id)
            self._asked_in_doubt.add(origin.id)
            self._ping(origin, now)
        self._local.counters["doubts"] += 1

    # accusing -------------------------------------------------------------------------------------------------------

    def accuse(self, origin: Origin, evidence: Evidence, now: float) -> None:
        """Hold something against a member; it travels with others of the same moment."""
        mute = self._mutes.get((self._local.me.id, origin.id))
        if origin is self._local.me or (mute is not None and mute.until > now and evidence is not Evidence.CLOSED):
            return
        charge = Charge(origin.id, origin.incarnation, origin.header.pulse, evidence)
        former = self._gathered.get(origin.id)
        if former is None or former.evidence < evidence:
            self._gathered[origin.id] = charge
        self._gather_until = min(self._gather_until, now + self._local.config.detection.gather_s)

    def accuse_of_death(self, charges: list[Charge], now: float) -> Accusation | None:
        """Dead here, alive elsewhere: told once, so that a living subject refutes (design, section 5)."""
        return self._publish(charges, now) if charges else None

    def told_to_its_face(self, charges: list[Charge]) -> Accusation | None:
        """What others hold against the one I talk to, for it alone, so that it refutes. It makes no accuser of me."""
        return self._next(charges) if charges else None

    def _send_gathered(self, now: float) -> None:
        held_back = self._doubt_until > now
        ready = [c for c in self._gathered.values() if c.evidence is Evidence.CLOSED or not held_back]
        for charge in ready:
            del self._gathered[charge.subject]
        self._gather_until = self._doubt_until if self._gathered else NEVER
        for start in range(0, len(ready), CHARGES_PER_FRAME):
            self._publish(ready[start : start + CHARGES_PER_FRAME], now)

    def _publish(self, charges: list[Charge], now: float) -> Accusation:
        accusation = self._next(charges)
        self._local.counters["accusations_made"] += len(charges)
        self._mine = self._local.codec.encode(accusation)
        self.hear(accusation, self._mine, now)
        return accusation

    def _next(self, charges: list[Charge]) -> Accusation:
        me = self._local.me
        self._counter += 1
        return Accusation(me.id, me.incarnation, self._counter, tuple(charges))

    def hear(self, accusation: Accusation, frame: bytes, now: float) -> None:
        """An accusation, mine or another's: judge its charges, pass it on if it is new."""
        name = accusation.accuser, accusation.incarnation, accusation.counter
        if name in self._seen:
            return
        if accusation.accuser == self._local.me.id and frame is not self._mine and self._local.seal.verifies:
            self._disown(accusation, now)
            return
        self._seen[name] = None
        if len(self._seen) > self._local.config.limits.accusations_seen_max:
            self._seen.popitem(last=False)
            self._local.bounds.hit("accusations_forgotten", accusation.accuser, "more accusations than are remembered", now)
        if accusation.accuser != self._local.me.id and not self._charges.take(len(accusation.charges), now):
            self._local.bounds.hit("charges_refused", accusation.accuser, "others accuse more than can be judged", now)
            return
        fresh = [self._charge(accusation.accuser, charge, now) for charge in accusation.charges]
        if any(fresh):
            self._local.flood(frame)

    def _disown(self, accusation: Accusation, now: float) -> None:
        """Not one that I made, at least in this life."""
        me = self._local.me
        if accusation.incarnation == me.incarnation:
            self._local.bounds.tell("accusations_in_my_name", me.id, f"somebody accuses others in the name of {me.id}", now)

    def _charge(self, accuser: str, charge: Charge, now: float) -> bool:
        """Take one charge in; whether it deserves to be passed on."""
        local = self._local
        me = local.me
        life = charge.incarnation, charge.pulse
        if charge.subject == me.id:
            if life >= me.life and not self._is_never_mine(charge):
                self._name_accuser(accuser, now)
                if charge.incarnation == me.incarnation:  # not a former life, of which it is true
                    self._tell_what_is_said(accuser, charge.evidence, now)
                self._refute(*life, now)
            return False
        origin = local.table.origins.get(charge.subject)
        if origin is None or life < origin.life or origin.state is MemberState.LEFT:
            return False
        if self._leaps(origin, charge, now):
            why = f"{accuser} accuses a life of {origin.id} far above the known one"
            local.bounds.hit("charges_doubted", origin.id, why, now)
            return False
        case = self.cases.get(charge.subject)
        if case is None or case.life < life:
            if case is None and len(self.cases) >= CASES_MAX:
                local.bounds.hit("cases_refused", origin.id, f"{CASES_MAX} members are accused at once", now)
                return False
            condemned = case is not None and case.condemned  # its refutation of that is still on its way here
            case = self.cases[charge.subject] = Case(life, now, condemned=condemned)
            if origin.alive:
                self._membership.suspect(origin, f"{accuser} says that {origin.id} is {charge.evidence.name.lower()}")
        if case.life > life:
            return False
        settled = not origin.alive and charge.evidence is Evidence.CLOSED  # what convinced me was passed on
        evidence = self._believed(accuser, charge, now)
        known = case.accusers.get(accuser)
        if known is not None and known >= evidence:
            return False
        if known is None and len(case.accusers) >= ACCUSERS_MAX:
            local.bounds.hit("accusers_refused", origin.id, f"more than {ACCUSERS_MAX} accuse {origin.id}", now)
            return False
        case.accusers[accuser] = evidence
        if evidence is Evidence.SILENT:
            self._silenced[charge.subject] = now
        if origin.alive:
            self._judge(origin, case, now)
            self._rejudge_at = min(self._rejudge_at, now + local.config.detection.gather_s)
        case.relayed += 1
        return not settled and case.relayed <= local.config.detection.accusations_relayed_max

    def _is_never_mine(self, charge: Charge) -> bool:
        """A pulse that I did not sign nobody believes. A later life may be one of mine, from before the clock went back."""
        me = self._local.me
        return self._local.seal.required and charge.incarnation == me.incarnation and charge.pulse > me.header.pulse

    def _name_accuser(self, accuser: str, now: float) -> None:
        """Accusations are claims that nobody signs: who makes me refute them again and again is told."""
        if self._local.seal.verifies and self._accusers.misbehaved(accuser, now):
            why = f"{accuser}, or whoever speaks in its name, accused this living peer {ACCUSED_MAX} times within {ACCUSED_S:g} s"
            self._local.notice(accuser, f"{why}; accusations are unsigned claims, and this peer refuted them")

    def _tell_what_is_said(self, accuser: str, evidence: Evidence, now: float) -> None:
        """Whoever is heard by nobody hears all others, and would show a cluster at peace that holds it dead."""
        me = self._local.me
        why = (
            f"{accuser} says that this peer is {evidence.name.lower()}: it was not reached at {me.contact} or {me.publisher}. "
            "Should those be unreachable, others hide what is registered here: check advertise= and the firewall"
        )
        self._local.bounds.tell("accusations_of_me", me.id, why, now)

    def _leaps(self, origin: Origin, charge: Charge, now: float) -> bool:
        """No life or pulse that the subject could only refute by leaping itself."""
        if self._local.seal.doubts_claims_of(origin.id):
            return (charge.incarnation, charge.pulse) > origin.life  # it would have signed that, and nobody else can
        if charge.incarnation == origin.incarnation:
            return self._local.is_leap_of_version(origin.header.pulse, charge.pulse)
        return self._local.is_leap_of_life(origin.incarnation[0], charge.incarnation[0], now)

    def _believed(self, accuser: str, charge: Charge, now: float) -> Evidence:
        mute = self._mutes.get((accuser, charge.subject))
        return Evidence.SILENT if mute is not None and mute.until > now else charge.evidence

    # refuted --------------------------------------------------------------------------------------------------------

    def reconcile(self, origin: Origin, now: float) -> None:
        """The subject's log moved on: a higher incarnation or pulse voids the case and mutes its accusers."""
        case = self.cases.get(origin.id)
        if case is None or (not self.voids(origin) and origin.state is not MemberState.LEFT):
            return
        del self.cases[origin.id]
        self._silenced.pop(origin.id, None)
        self._gathered.pop(origin.id, None)
        self._membership.clear(origin, f"{origin.id} refuted")
        if case.condemned:
            self._note_revival(origin.id, now)
        if origin.incarnation == case.life[0] and origin.state is not MemberState.LEFT:
            for accuser in case.accusers:
                self._mute(accuser, origin.id, now)
        watch = self.watches.get(origin.id)
        if watch is not None:
            watch.spoke(now)

    def _note_revival(self, id: str, now: float) -> None:
        self._revived[id] = (*self._revived.pop(id, ()), now)[-FLIPS_MAX:]
        if len(self._revived) > MUTES_MAX:
            self._revived.popitem(last=False)

    def _not_before(self, id: str) -> float:
        """Whoever was held dead in error twice within a minute is half deaf, not dead: it is not to flap."""
        times = self._revived.get(id, ())
        return times[0] + FLIP_WINDOW_S if len(times) == FLIPS_MAX else 0.0

    def voids(self, origin: Origin) -> bool:
        """Whether its life is above all that is held against it."""
        case = self.cases.get(origin.id)
        return case is None or origin.life > case.life

    def _mute(self, accuser: str, subject: str, now: float) -> None:
        config = self._local.config.detection
        former = self._mutes.pop((accuser, subject), None)
        times = former.times + 1 if former is not None and now - former.until < config.mute_max_s else 0
        self._mutes[accuser, subject] = Mute(times, now + min(config.mute_max_s, config.mute_s * 2 ** min(times, DOUBLINGS_MAX)))
        if len(self._mutes) > MUTES_MAX:
            self._mutes.popitem(last=False)
            self._local.bounds.hit("mutes_forgotten", subject, f"more than {MUTES_MAX} accusations were refuted", now)

    # verdicts -------------------------------------------------------------------------------------------------------

    def _standing(self, case: Case) -> dict[str, Evidence]:
        """The accusations that count: those of living peers that are not themselves accused by others."""
        table = self._local.table
        return {
            accuser: evidence
            for accuser, evidence in case.accusers.items()
            if (known := table.origins.get(accuser)) is not None and known.state is MemberState.ALIVE
        }

    def _judge(self, origin: Origin, case: Case, now: float) -> None:
        """Dead now, dead later, or not yet. The same at everyone who holds the same accusations."""
        standing = self._standing(case)
        closed = [accuser for accuser, evidence in standing.items() if evidence is Evidence.CLOSED]
        enough = self._local.config.detection.closed_accusers
        case.due = max(self._deadline(origin, case, standing), self._not_before(origin.id))
        at_once = closed and (len(closed) >= enough or self._are_all(len(closed), origin))
        if at_once and self._found_closed(origin, case):
            self._condemn(origin, f"{origin.id} is gone: its links closed at {', '.join(sorted(closed))}", now)
        elif now >= case.due and not self._holding(origin, now):
            accusers = ", ".join(sorted(standing or case.accusers))
            self._condemn(origin, f"{origin.id} is silent: accused by {accusers} and did not refute", now)

    def _found_closed(self, origin: Origin, case: Case) -> bool:
        """Accusations are unsigned. Where names must be proven I look myself before I believe that links closed."""
        if not self._local.seal.doubts_claims_of(origin.id):
            return True
        if case.confirmed or case.accusers.get(self._local.me.id) is Evidence.CLOSED:
            return True
        if not case.asked:
            case.asked = True
            if origin.publisher not in self._confirming:
                self._local.out.append(Probe(origin.publisher))
            self._confirming.setdefault(origin.publisher, set()).add(origin.id)
        return False

    def _are_all(self, accusers: int, subject: Origin) -> bool:
        """Whether so many are all living others not themselves accused. O(1) while they are surely not."""
        table = self._local.table
        if accusers < table.living - 1 - len(self.cases):
            return False
        return accusers >= sum(1 for o in table.alive() if o.state is MemberState.ALIVE and o is not subject)

    def _deadline(self, origin: Origin, case: Case, standing: dict[str, Evidence]) -> float:
        """Lifeguard, section IV.B: from the longest suspicion to the shortest as independent accusers confirm it."""
        config = self._local.config.detection
        by_hash = self._local.table.by_hash
        watchers = [by_hash.get(hash) for hash in self._local.overlay.watchers(origin.hash)]
        live = sum(1 for watcher in watchers if watcher is not None and watcher.state is MemberState.ALIVE)
        wanted = max(1, min(config.suspicion_accusers, live))
        confirmed = max(1, len(standing))
        if confirmed >= wanted:
            return case.opened_at + config.suspicion_min_s
        share = math.log(confirmed) / math.log(wanted)
        return case.opened_at + config.suspicion_max_s - share * (config.suspicion_max_s - config.suspicion_min_s)

    def _condemn(self, origin: Origin, reason: str, now: float) -> None:
        case = self.cases.get(origin.id)
        if case is not None:
            case.condemned = True
        self._membership.settle(origin, MemberState.DEAD, reason, now)
        self._gathered.pop(origin.id, None)

    # mass failure ---------------------------------------------------------------------------------------------------

    @property
    def holding(self) -> bool:
        """Whether verdicts by silence are held because most members fell silent at once."""
        return self._hold_until is not None

    def _holding(self, origin: Origin, now: float) -> bool:
        """More than half silent within one suspicion: rather a split than deaths. Serve on for a bounded time."""
        config = self._local.config.detection
        if self._hold_until is not None:
            return now < self._hold_until
        window = config.suspicion_max_s + config.silence_intervals * origin.interval_s
        origins = self._local.table.origins
        silent = [id for id, at in self._silenced.items() if now - at <= window]
        gone = sum(1 for id in silent if (known := origins.get(id)) is None or not known.alive)
        members = self._local.table.living + gone  # as many as there were
        if self._held_once or len(silent) <= config.mass_share * members:
            return False
        self._hold_until, self._held_once = now + config.isolated_hold_s, True
        self._local.notice(
            self._local.me.id,
            f"{len(silent)} of {members} members fell silent at once: serving the last known view "
            f"for at most {config.isolated_hold_s:g} s",
        )
        return True

    def _end_hold(self, now: float) -> None:
        silent = any(self._local.table.origins[id].alive for id in self.cases if id in self._local.table.origins)
        if self._hold_until is not None and (now >= self._hold_until or not silent):
            self._hold_until = None
        if self._held_once and not silent:
            self._held_once = False

    # time -----------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Silence, gathered accusations, suspicions that ran out."""
        if now >= self._doubt_until:
            self._doubt_pings.clear()
        self._check_silence(now)
        self._send_reprobes(now)
        if now >= self._gather_until:
            self._send_gathered(now)
        again = now >= self._rejudge_at
        if again:
            self._rejudge_at = NEVER
        for id, case in list(self.cases.items()):
            origin = self._local.table.origins.get(id)
            if origin is None:
                del self.cases[id]
            elif origin.alive and (again or now >= case.due):
                self._judge(origin, case, now)
        self._end_hold(now)
        while self._silenced and now - next(iter(self._silenced.values())) > 60:
            self._silenced.popitem(last=False)

    def next_deadline(self) -> float:
        """When `tick` has something to do; may be early. O(cases)."""
        found = self._silence_due if self.watches else NEVER
        if self._gather_until < found:
            found = self._gather_until
        if self._rejudge_at < found:
            found = self._rejudge_at
        for again in self._reprobes.values():
            found = min(found, again.due)
        if not self.cases:
            return found
        origins = self._local.table.origins
        for id, case in self.cases.items():
            origin = origins.get(id)
            if origin is not None and origin.alive:
                found = min(found, max(case.due, self._hold_until or 0.0))
        return found

    def why_suspected(self, id: str) -> list[Charge]:
        """The charges that stand against an id, to be told to itself when it shows up."""
        case = self.cases.get(id)
        origin = self._local.table.origins.get(id)
        if case is not None and origin is not None and case.life >= origin.life:
            return [Charge(id, *case.life, max(case.accusers.values(), default=Evidence.SILENT))]
        if origin is not None and origin.state is MemberState.DEAD:
            return [Charge(id, *origin.life, Evidence.SILENT)]
        return []


