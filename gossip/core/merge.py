"""Taking in what others say: one delta at a time, whoever carried it.

Invariant: merging is idempotent and never goes back; a word of a dead peer's present life changes its state but not its
death: only a higher incarnation or pulse does (SWIM, section 4.2). A delta that lacks its predecessors waits briefly,
because paths reorder, and then its origin is pulled from whoever carried it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..model import Instance, MemberState
from ..values import dataclass
from .bounds import Bucket
from .local import Local
from .membership import Membership
from .messages import Delta, HeaderFlags, IdHash, Incarnation, InstanceKey
from .origin import Origin, Outcome
from .signatures import Forged, names_a_key

ARRIVING_MAX = 64  # unknown origins whose states are arriving in parts
GAPS_MAX = 1024  # origins waiting for a pull
WEIGHT_SLACK = 2  # an author counts its instances, we count frames: twice the bound is surely beyond it
NEVER = float("inf")
DEAD_STATE_S = 600.0  # a dead origin keeps its state so long, then only its floor


@dataclass(slots=True)
class Taken:
    """What became of a delta. `news`: the frames that changed who lives here, to be broadcast if heard first-hand."""

    outcome: Outcome
    news: tuple[bytes, ...] = ()


class Merger:
    """Owns the early deltas and the gaps; changes origins through `Origin.apply` alone."""

    def __init__(
        self,
        local: Local,
        membership: Membership,
        *,
        about_me: Callable[[Delta, float], None],
        moved_on: Callable[[Origin, float], None],
        voids: Callable[[Origin], bool],
        doubts: Callable[[Delta, float], bool] = lambda delta, now: False,
    ) -> None:
        self._local = local
        self._membership = membership
        self._about_me = about_me
        self._moved_on = moved_on  # told of every origin whose log advanced, or that claimed a life of which that lacks a part
        self._voids = voids  # whether an origin's life is above all that is held against it
        self._doubts = doubts  # whether its origin must be asked first
        limits = local.config.limits
        self._joins = Bucket(limits.joins_per_s, limits.members_max)
        self._arriving: dict[str, Origin] = {}
        self.gaps: dict[str, tuple[float, str]] = {}  # origin id -> (when to pull it, contact of whom to ask)

    def take(self, delta: Delta, frame: bytes, now: float) -> Taken:
        """Merge one delta, and those that waited for it. Raises `Forged` where signatures are verified."""
        seal = self._local.seal
        if seal.verifies and not self._is_authentic(delta, frame):
            self._refuse_unsigned(delta, now)
            return Taken(Outcome.UNSIGNED)
        if delta.origin == self._local.me.id:
            self._about_me(delta, now)
            return Taken(Outcome.DUPLICATE)
        origin = self._local.table.origins.get(delta.origin)
        if not (seal.verifies and names_a_key(delta.origin)) and self._doubts(delta, now):
            taken = Taken(Outcome.DOUBTED)
        elif origin is None:
            taken = self._take_unknown(delta, frame, now)
        else:
            taken = self._take_known(origin, delta, frame, now)
        self._local.counters[taken.outcome.counter] += 1
        if taken.outcome is Outcome.APPLIED:
            origin = self._local.table.origins[delta.origin]
            if origin.early:
                self._take_early(origin, now)
            if not origin.early:
                self.gaps.pop(origin.id, None)
        return taken

    def missed(self, id: str, contact: str, now: float) -> None:
        """Something of this origin is missing; unless it arrives in a moment, pull it from there."""
        if id in self.gaps:
            return
        if len(self.gaps) < GAPS_MAX:
            self.gaps[id] = now + self._local.config.repair.reorder_s, contact
        else:
            self._local.bounds.hit("gaps_refused", id, f"{GAPS_MAX} origins have gaps at once", now)

    def is_duplicate(self, hash: IdHash, incarnation: Incarnation, version: int) -> bool:
        """Whether a delta with this head would change nothing; asked before it is decoded. O(1)."""
        origin = self._local.table.by_hash.get(hash)
        if origin is None or hash == self._local.me.hash:
            return False
        return incarnation < origin.incarnation or (incarnation == origin.incarnation and version <= origin.version)

    # signatures -----------------------------------------------------------------------------------------------------

    def _is_authentic(self, delta: Delta, frame: bytes) -> bool:
        """Verify what would be stored, once; what is a duplicate, or will be refused anyway, is not worth it. Raises `Forged`."""
        local = self._local
        if delta.origin == local.me.id:
            return delta.incarnation <= local.me.incarnation or local.seal.accepts(delta, frame, local.me.header.key)
        origin = local.table.origins.get(delta.origin)
        if origin is None:
            origin = self._arriving.get(delta.origin)
            if origin is None and (delta.header is None or delta.since):
                return True  # nothing of it is kept
        elif origin.judge(delta.incarnation, delta.since, delta.version) in (Outcome.DUPLICATE, Outcome.OLD_LIFE):
            return True
        if origin is not None and self._is_held(origin, delta, frame):
            return True
        return local.seal.accepts(delta, frame, origin.header.key if origin is not None else b"")

    def _is_held(self, origin: Origin, delta: Delta, frame: bytes) -> bool:
        """Whether these bytes already wait here, verified."""
        kept = origin.parts.get(delta.part) if delta.parts > 1 else origin.early.get(delta.since)
        return kept is not None and kept[1] == frame

    def is_genuine(self, hash: IdHash, frame: bytes, now: float) -> bool:
        """Whether an origin surely said just this, also long ago, and may. Raises `WireError`. O(log)."""
        origin = self._local.table.by_hash.get(hash)
        if origin is not None and (frame in origin.base or any(kept == frame for _, _, kept in reversed(origin.log))):
            return True
        delta = self._local.codec.decode(frame)
        if not isinstance(delta, Delta) or (origin is None and delta.header is None):
            return False
        if not self._local.seal.accepts(delta, frame, origin.header.key if origin is not None else b""):
            return False
        early = origin is not None and delta.since and origin.judge(delta.incarnation, delta.since, delta.version) is Outcome.GAP
        return early or self._is_certified(origin, delta, now)

    def _is_certified(self, origin: Origin | None, delta: Delta, now: float) -> bool:
        """Whether the certificate of an origin allows what is about to be applied. Raises `Forged`."""
        local = self._local
        if not local.authority.judges:
            return True
        if origin is not None and any(kept.header != delta.header for kept, _ in _other_parts(origin, delta)):
            raise Forged(delta.origin, f"{delta.origin} says one state under two headers, each with a certificate, perhaps")
        why = local.authority.refusal(delta, origin, local.wall_s(now))
        if not why:
            return True
        what = f"{delta.origin} is not taken in: {why}. The clocks of both hosts count, too"
        local.bounds.tell("uncertified_refused", delta.origin, what, now)
        return False

    def _refuse_unsigned(self, delta: Delta, now: float) -> None:
        self._local.counters[Outcome.UNSIGNED.counter] += 1
        why = f"{delta.origin} is not taken in: it does not sign; give it a signing_key, or this peer signed='optional'"
        if names_a_key(delta.origin):
            why = f"what somebody says of {delta.origin} is not taken in: it signs, and this is not signed"
        self._local.bounds.tell("unsigned_refused", delta.origin, why, now)

    def _meet_signer(self, origin: Origin, now: float) -> None:
        local = self._local
        if origin.header.flags & HeaderFlags.SIGNED_ONLY and not local.seal.signs and local.me.version:  # no observer
            why = f"{origin.id} takes in nobody who does not sign, and so does not see this peer: give it a signing_key"
            local.bounds.tell("signers_met", origin.id, why, now)

    # unknown origins ------------------------------------------------------------------------------------------------

    def _take_unknown(self, delta: Delta, frame: bytes, now: float) -> Taken:
        local = self._local
        floor = local.table.floors.get(delta.origin)
        origin = self._arriving.get(delta.origin)
        if delta.header is None or delta.since:
            if origin is not None:
                self._keep_early(origin, delta, frame, now)
            below = floor is not None and delta.incarnation <= floor.incarnation and delta.version <= floor.version
            return Taken(Outcome.OLD_LIFE if below else Outcome.GAP)
        if floor is not None and (delta.incarnation, delta.header.pulse) <= floor.life:
            local.counters["ghosts_refused"] += 1
            return Taken(Outcome.OLD_LIFE)
        if not self._is_certified(origin, delta, now):
            return Taken(Outcome.UNCERTIFIED)
        if not self._has_room(delta, origin, now):
            return Taken(Outcome.OLD_LIFE)
        if origin is None:
            origin = Origin(delta.origin, local.codec.hash(delta.origin), delta.incarnation, delta.header, delta.zone)
        if self._would_overflow(origin, delta, frame, now):
            self._stop_arriving(origin)
            return Taken(Outcome.OLD_LIFE)
        frames = self._frames(origin, delta, frame)
        outcome = origin.apply(delta, frame, log_deltas_min=local.config.repair.log_deltas_min)
        local.table.recount(origin)
        if outcome is Outcome.PARTIAL:
            self._arriving[origin.id] = origin
            if len(self._arriving) > ARRIVING_MAX:
                self._stop_arriving(next(iter(self._arriving.values())))
                local.bounds.hit("arriving_dropped", origin.id, f"{ARRIVING_MAX} unknown origins arrive in parts at once", now)
        if outcome is not Outcome.APPLIED:
            return Taken(outcome)
        self._arriving.pop(origin.id, None)
        if origin.leaving:
            local.table.release(origin)
            return Taken(Outcome.OLD_LIFE)
        local.show(*frames)
        self._membership.admit(origin)
        self._meet_signer(origin, now)
        return Taken(Outcome.APPLIED, frames)

    def _stop_arriving(self, origin: Origin) -> None:
        self._arriving.pop(origin.id, None)
        self._local.table.release(origin)

    def _is_full(self, id: str, now: float) -> bool:
        """Whether there is no room for one more living member."""
        limit = self._local.config.limits.members_max
        if self._local.table.living < limit:
            return False
        why = f"{id} is not taken in: {limit} members is the limit; raise limits.members_max"
        self._local.bounds.hit("members_refused", id, why, now)
        return True

    def _has_room(self, delta: Delta, arriving: Origin | None, now: float) -> bool:
        local, limits = self._local, self._local.config.limits
        if self._is_full(delta.origin, now):
            return False
        if arriving is None and not self._joins.take(1, now):
            why = f"{delta.origin} is not taken in yet: more than {limits.joins_per_s:g} new members a second"
            local.bounds.hit("joins_refused", delta.origin, why, now)
            return False
        return True

    def _keep_early(self, origin: Origin, delta: Delta, frame: bytes, now: float) -> None:
        local, limits = self._local, self._local.config.limits
        full = local.table.waiting_bytes + len(frame) > limits.waiting_bytes_max
        if full or not origin.keep_early(delta, frame, local.config.repair.reorder_max, limits.origin_bytes_max):
            why = f"too many deltas came before their predecessors, of {origin.id} last"
            local.bounds.hit("early_refused", origin.id, why, now)
        local.table.recount(origin)

    def _frames(self, origin: Origin, delta: Delta, frame: bytes) -> tuple[bytes, ...]:
        """All frames of the state that this one completes."""
        if delta.parts == 1:
            return (frame,)
        return (*(kept for part, (_, kept) in sorted(origin.parts.items()) if part != delta.part), frame)

    # known origins --------------------------------------------------------------------------------------------------

    def _take_known(self, origin: Origin, delta: Delta, frame: bytes, now: float) -> Taken:
        local = self._local
        outcome = origin.judge(delta.incarnation, delta.since, delta.version)
        if outcome is Outcome.GAP:
            self._keep_early(origin, delta, frame, now)
            if delta.header is not None:  # a refutation, perhaps: that holds at once, what else it says has to wait
                self._moved_on(origin, now)
        if outcome is not Outcome.APPLIED:
            return Taken(outcome)
        if not self._is_certified(origin, delta, now):
            return Taken(Outcome.UNCERTIFIED)
        if self._would_overflow(origin, delta, frame, now):
            return Taken(Outcome.OLD_LIFE)
        life, former, table = origin.life, origin.instances, local.table
        frames = (frame,) if delta.parts == 1 else self._frames(origin, delta, frame)
        publisher = origin.publisher if delta.header is not None else ""
        table.before_change(origin)
        outcome = origin.take(delta, frame, log_deltas_min=local.config.repair.log_deltas_min)
        table.after_change(origin)
        table.recount(origin)
        if outcome is not Outcome.APPLIED:
            return Taken(outcome)
        local.show(*frames)
        news = self._follow(origin, delta, life, former, now)
        if origin.incarnation != life[0] and origin.publisher != publisher and origin.hash in local.fan.subscribers:
            for part in frames:  # somebody still listens to me under this id: if it is another process, it must know
                local.tell(origin.hash, part)
        self._moved_on(origin, now)
        return Taken(outcome, frames if news else ())

    def _would_overflow(self, origin: Origin, delta: Delta, frame: bytes, now: float) -> bool:
        """Whether an origin would hold more than one may, or all together; if so it is refused, counted, and told."""
        limits, table = self._local.config.limits, self._local.table
        if delta.put and table.held_bytes + len(frame) > limits.table_bytes_max:
            why = f"{origin.id} is not followed: all registrations weigh {table.held_bytes} bytes; raise limits.table_bytes_max"
            self._local.bounds.hit("table_refused", origin.id, why, now)
            return True
        if delta.parts > 1 and table.waiting_bytes + len(frame) > limits.waiting_bytes_max:
            why = f"{table.waiting_bytes} bytes of states in parts wait for their rest; {origin.id} has to be pulled later"
            self._local.bounds.hit("parts_refused", origin.id, why, now)
            return True
        if delta.parts == 1 and not origin.base and self._is_small(origin, delta, frame):
            return False
        if self._too_many(origin, delta, limits.instances_max):
            bound = f"more than {limits.instances_max} instances; raise limits.instances_max"
        elif self._too_heavy(origin, delta, frame, WEIGHT_SLACK * limits.origin_bytes_max):
            bound = f"it weighs more than {limits.origin_bytes_max} bytes; raise limits.origin_bytes_max"
        elif delta.since and origin.outgrows_its_log(len(frame)):
            bound = "it signs, and does not say all anew when its changes outweigh its state"
        else:
            return False
        self._local.bounds.hit("origins_refused", origin.id, f"{origin.id} is not followed: {bound}", now)
        return True

    def _is_small(self, origin: Origin, delta: Delta, frame: bytes) -> bool:
        """Whether an origin stays within its bounds, whatever this one replaces. O(1)."""
        limits = self._local.config.limits
        few = len(delta.put) + len(origin.instances) <= limits.instances_max
        return few and origin.weight + len(frame) <= WEIGHT_SLACK * limits.origin_bytes_max

    def _too_many(self, origin: Origin, delta: Delta, limit: int) -> bool:
        """Count only what is new: an update of all instances is no growth."""
        if delta.parts == 1 and len(delta.put) + len(origin.instances) <= limit:
            return False
        known = () if delta.since == 0 else origin.instances.keys()
        grown = len(set(known).difference(delta.removed).union(instance.key for instance in delta.put))
        arriving = sum(len(kept.put) for kept, _ in _other_parts(origin, delta))
        return grown + arriving > limit or delta.parts > limit + 1

    def _too_heavy(self, origin: Origin, delta: Delta, frame: bytes, limit: int) -> bool:
        if delta.since == 0:
            return len(frame) + sum(len(kept) for _, kept in _other_parts(origin, delta)) > limit
        return origin.weight + len(frame) > limit and origin.weigh() + len(frame) > limit

    def _follow(
        self, origin: Origin, delta: Delta, life: tuple[Incarnation, int], former: dict[InstanceKey, Instance], now: float
    ) -> bool:
        """What a change of an origin's log means for its liveness and for readers; whether it changed who lives."""
        membership = self._membership
        if origin.alive:
            if delta.header is None:  # the one kind of change that is frequent
                membership.change(origin, delta.put, delta.removed, None)
                return False
            if origin.leaving:
                membership.settle(origin, MemberState.LEFT, f"{origin.id} left", now, (*former, *delta.removed))
                return True
            if origin.life != life:
                self._local.links_dirty = True  # a new life may have other endpoints
            if delta.since == 0:
                membership.show(origin, former, f"registered by {origin.id}")
            else:
                membership.change(origin, delta.put, delta.removed, None)
            return origin.incarnation != life[0]
        if origin.leaving or origin.life <= life or not self._voids(origin):
            self._local.counters["late_deltas"] += 1
            return False
        if self._is_full(origin.id, now):
            return False
        put_out = origin.state is MemberState.LEFT  # and shows a new certificate: it had not died, to refute that
        membership.restore(origin, again=origin.incarnation > life[0] or put_out)
        return True

    def _take_early(self, origin: Origin, now: float) -> None:
        while (early := origin.next_early()) is not None:
            delta, frame = early
            try:
                self._take_known(origin, delta, frame, now)
            except Forged as error:  # who carries the present one is not to blame for it
                self._local.bounds.tell("forgeries_refused", error.origin, f"{error}; it is not taken in", now)
        self._local.table.recount(origin)

    # time -----------------------------------------------------------------------------------------------------------

    def due_gaps(self, now: float) -> list[tuple[str, str]]:
        """(origin id, contact) of all whose missing deltas did not arrive in time."""
        if not self.gaps:
            return []
        due = [(id, contact) for id, (at, contact) in self.gaps.items() if at <= now]
        for id, _ in due:
            del self.gaps[id]
        return due

    def next_deadline(self) -> float:
        """When the next gap is to be pulled."""
        return min(at for at, _ in self.gaps.values()) if self.gaps else NEVER

    def expire(self, now: float) -> None:
        """Old deaths become floors, old floors end."""
        config = self._local.config
        ended = self._local.table.expire(
            now, state_s=DEAD_STATE_S, retention_s=config.joining.retention_s, floors_max=config.limits.floors_max
        )
        self._local.counters["floors_ended"] += len(ended)
        if ended and len(self._local.table.floors) >= config.limits.floors_max:
            why = f"more than {config.limits.floors_max} ended members; the oldest are forgotten early; raise limits.floors_max"
            self._local.bounds.hit("floors_dropped", self._local.me.id, why, now)


def _other_parts(origin: Origin, delta: Delta) -> list[tuple[Delta, bytes]]:
    """The parts of the same state that are here already."""
    if delta.parts == 1:
        return []
    return [
        (kept, frame)
        for number, (kept, frame) in origin.parts.items()
        if number != delta.part and (kept.incarnation, kept.version) == (delta.incarnation, delta.version)
    ]
