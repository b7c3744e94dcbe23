"""My own log: what I register, change and remove, one numbered delta each; my header; my refutations and my lives.

Invariant: only this module writes my origin. Each change is version + 1 in one delta, applied here as everywhere else,
and broadcast; a new life re-issues everything as the state `(0, 1]`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from ..errors import RegistrationError, WireError
from ..model import Instance
from ..values import replace
from .certificates import Certificate
from .codec import TOPIC_SELF
from .effects import Listen, Unlisten
from .fields import NUMBER_MAX, PULSE_MAX
from .local import Local
from .membership import Membership
from .messages import Delta, Header, HeaderFlags, Incarnation, InstanceKey
from .origin import LOG_BYTES_MAX, STATE_OVERHEAD_BYTES, Origin, record_bytes

REMOVALS_PER_DELTA = 128  # so that one frame holds them, whatever their names
STATES_BYTES_MAX = 4 << 20  # of encoded states kept for those who ask next: newcomers ask for the same ones
REISSUE_DELTAS_MIN = 64  # of mine that others keep before I, signing, say all anew; more where that weighs more than they do
REISSUE_BYTES_MAX = LOG_BYTES_MAX // 2  # what they weigh at most then, besides what the state before them did
REISSUE_QUIET_S = 2.0  # without a change; then I say all anew if I said so many deltas since the last time,
REISSUE_QUIET_MIN = 8
REISSUE_QUIET_SHARE = 8  # and they weigh at least such a part of it: so much more, at most, is sent for later joins
STALE_MAX = 64  # renewed times to live that the heap still holds


class Author:
    """Writes `local.me`. Times to live are counted here, by the origin alone."""

    def __init__(self, local: Local, membership: Membership) -> None:
        self._local = local
        self._membership = membership
        self._ttl: dict[InstanceKey, float] = {}
        self._expiry: dict[InstanceKey, float] = {}
        self._due: list[tuple[float, InstanceKey]] = []  # a heap; entries that no longer match `_expiry` are stale
        self._numbers: dict[InstanceKey, int] = {}  # which registration holds the key: a handle of an earlier one is stale
        self._registrations = 0
        self._bytes = 0  # what my instances weigh, for the bound
        self._states: dict[str, tuple[Incarnation, int, list[bytes]]] = {}  # origin -> (incarnation, version, its frames)
        self._states_bytes = 0
        self._said = self._said_bytes = 0  # deltas since I last said all; others keep them, if I sign
        self._said_before = 0  # what my instances weighed then
        self._said_at_tick, self._quiet_since = 0, 0.0

    @property
    def _me(self) -> Origin:
        return self._local.me

    # lives ------------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first delta of my first life: my header."""
        local = self._local
        first = self._delta(since=0, header=self._me.header)
        self._me.apply(first, b"", log_deltas_min=local.config.repair.log_deltas_min)
        self._me.base = ()  # nobody's words but mine: I can say all anew at any time
        self._membership.admit(self._me)

    def rise_above(self, incarnation: Incarnation) -> None:
        """Somebody speaks of a higher life of mine: begin one above it, re-issuing everything in one step."""
        if incarnation[0] >= NUMBER_MAX:  # nobody would understand a number above it
            self._local.counters["lives_refused"] += 1
            return
        self._relive((incarnation[0] + 1, self._me.incarnation[1]))

    def _relive(self, incarnation: Incarnation) -> None:
        me = self._me
        self._renumber(incarnation, 1, replace(me.header, pulse=0))
        self._membership.show(me, me.instances, f"{me.id} began a new life")  # it may now come before other holders
        self._spread_state()

    def _renumber(self, incarnation: Incarnation, version: int, header: Header) -> None:
        local, me = self._local, self._me
        local.table.before_change(me)
        me.incarnation, me.version, me.header = incarnation, version, header
        me.log.clear()
        me.log_bytes = 0
        local.table.after_change(me)

    def _say_all_anew(self) -> None:
        """As one more version, so that whoever misses it finds out. From here on nobody needs what I said before."""
        me = self._me
        self._renumber(me.incarnation, me.version + 1, me.header)
        self._spread_state()

    def _spread_state(self) -> None:
        self._said, self._said_bytes, self._said_before = 0, 0, self._bytes
        frames = self.state_frames(self._me)
        self._local.show(*frames)
        for frame in frames:
            self._local.broadcast(frame)

    def take_new_id(self, id: str) -> None:
        """Go on as another peer, with all my instances: the id belongs to an older process."""
        local, former = self._local, self._me
        local.out.append(Unlisten(TOPIC_SELF + former.hash))
        for key in former.instances:
            changed = local.directory.drop(key, former.id, f"{former.id} takes the id {id}")
            if changed is not None:
                local.out.append(changed)
        local.table.remove(former)
        local.overlay.remove(former.hash)
        me = Origin(id, local.codec.hash(id), former.incarnation, replace(former.header, pulse=0), former.zone)
        me.instances = {key: replace(instance, origin=id) for key, instance in former.instances.items()}
        me.version = 1
        local.me = me
        local.overlay.me = me.hash
        local.fan.turn_to(me.hash)
        local.out.append(Listen(TOPIC_SELF + me.hash))
        self._membership.admit(me)
        self._membership.show_end(former, f"{former.id} takes the id {id}")
        self._spread_state()

    def state_frames(self, origin: Origin) -> list[bytes]:
        """An origin's whole state at its present version, cut into frames. O(1) if it was asked for lately, else O(size).

        Of another that signs: its own words, a state and the deltas that follow it. O(log).
        """
        if origin.base:
            return [*origin.base, *(frame for _, _, frame in origin.log)]
        kept = self._states.get(origin.id)
        if kept is not None and kept[0] == origin.incarnation and kept[1] == origin.version:
            return kept[2]
        frames = self._encode_state(origin)
        if origin is not self._me:
            self._keep_state(origin, frames)
        return frames

    def _keep_state(self, origin: Origin, frames: list[bytes]) -> None:
        former = self._states.pop(origin.id, None)
        if former is not None:
            self._states_bytes -= sum(map(len, former[2]))
        size = sum(map(len, frames))
        if self._states_bytes + size > STATES_BYTES_MAX:
            self._states.clear()
            self._states_bytes = 0
        if size <= STATES_BYTES_MAX:
            self._states[origin.id] = origin.incarnation, origin.version, frames
            self._states_bytes += size

    def _encode_state(self, origin: Origin) -> list[bytes]:
        local = self._local
        return local.codec.encode_state(
            origin.id,
            origin.zone,
            origin.incarnation,
            origin.version,
            origin.header,
            origin.instances.values(),
            origin.extras,
            local.config.limits.state_part_bytes_max,
            local.seal.signed if origin is self._me and local.seal.signs else None,
        )

    # header -----------------------------------------------------------------------------------------------------------

    def refute(self, pulse: int) -> None:
        """Raise my pulse above an accusation's (SWIM's incarnation number, section 4.2)."""
        self._local.counters["refutations"] += 1
        raised = max(pulse, self._me.header.pulse) + 1
        if raised > PULSE_MAX:
            self.rise_above(self._me.incarnation)
        else:
            self._change(header=replace(self._me.header, pulse=raised), flooded=True)

    def certify(self, certificate: Certificate) -> None:
        """Show this certificate from now on. Raises `RegistrationError`, nothing changed.

        All is said anew, since others may have refused what was said under the former one; and with a higher pulse, since they
        may have put me out.
        """
        held = sorted({service for service, _ in self._me.instances if not certificate.covers(service)})
        if held:
            raise RegistrationError(
                f"renew_certificate: this peer has registered {', '.join(held)}, and the certificate allows "
                f"{', '.join(certificate.services)}. Deregister what it does not cover, or have one issued that does. "
                "Nothing was changed."
            )
        me = self._me
        pulse = min(me.header.pulse + 1, PULSE_MAX)
        header = replace(me.header, certificate=certificate.raw, pulse=pulse)
        self._renumber(me.incarnation, me.version + 1, header)
        self._spread_state()

    def say_goodbye(self) -> None:
        """My last delta."""
        header = self._me.header
        self._change(header=replace(header, flags=header.flags | HeaderFlags.LEAVING))

    # instances --------------------------------------------------------------------------------------------------------

    def register(self, instance: Instance, ttl_s: float | None, now: float) -> None:
        """A new instance. Raises `RegistrationError` with nothing changed."""
        me, limits = self._me, self._local.config.limits
        self._check_allowed(instance.service)
        if instance.key in me.instances:
            raise RegistrationError(
                f"cannot register {instance.service!r}: this peer already registered the instance {instance.id!r}. "
                "Update or deregister that registration, or pass another id=. Nothing was changed."
            )
        if len(me.instances) >= limits.instances_max:
            raise RegistrationError(
                f"cannot register {instance.service!r}: this peer already has {limits.instances_max} instances, the limit. "
                "Raise Config.limits.instances_max on every peer of the cluster, or use more peers. Nothing was changed."
            )
        if instance.origin != me.id:  # I took a new id since it was made
            instance = replace(instance, origin=me.id)
        size = self._room_for(instance, None)
        self._change(put=(instance,))
        self._bytes = size
        self._registrations += 1
        self._numbers[instance.key] = self._registrations
        if ttl_s is not None:
            self._ttl[instance.key] = ttl_s
            self.renew(instance.key, now)

    def _check_allowed(self, service: str) -> None:
        """Raises `RegistrationError`."""
        if self._me.header.certificate:
            Certificate.of_bytes(self._me.header.certificate).refuse_uncovered(service)

    def replace(self, instance: Instance, reason: str | None = None) -> bool:
        """Another record under the same key; False if it is no longer registered."""
        current = self._me.instances.get(instance.key)
        if current is None:
            return False
        if current != instance:
            size = self._room_for(instance, current)
            self._change(put=(instance,), reason=reason)
            self._bytes = size
        return True

    def _room_for(self, instance: Instance, former: Instance | None) -> int:
        """What my instances weigh with this one. Raises `RegistrationError`."""
        limit = self._local.config.limits.origin_bytes_max
        size = self._bytes + record_bytes(instance) - (record_bytes(former) if former is not None else 0)
        if size > limit:
            raise RegistrationError(
                f"cannot register {instance.service!r}: this peer's registrations would weigh some {size} bytes, more than "
                f"{limit}. Shorten labels and routes, or raise Config.limits.origin_bytes_max on every peer. Nothing was changed."
            )
        return size

    def remove(self, keys: Iterable[InstanceKey], reason: str | None = None) -> bool:
        """Instances go; False if none of them was there."""
        gone = tuple(dict.fromkeys(key for key in keys if key in self._me.instances))
        for key in gone:
            self._ttl.pop(key, None)
            self._expiry.pop(key, None)
            self._numbers.pop(key, None)
            self._bytes -= record_bytes(self._me.instances[key])
        for start in range(0, len(gone), REMOVALS_PER_DELTA):
            self._change(removed=gone[start : start + REMOVALS_PER_DELTA], reason=reason)
        return bool(gone)

    def number_of(self, key: InstanceKey) -> int | None:
        """Which registration of mine holds this key now."""
        return self._numbers.get(key)

    def renew(self, key: InstanceKey, now: float) -> bool:
        """Start the instance's time to live anew; sends nothing. False if it is no longer registered."""
        if key not in self._me.instances:
            return False
        ttl_s = self._ttl.get(key)
        if ttl_s is not None:
            self._expiry[key] = now + ttl_s
            heapq.heappush(self._due, (now + ttl_s, key))
            if len(self._due) > 2 * len(self._expiry) + STALE_MAX:
                self._due = [(at, live) for live, at in self._expiry.items()]
                heapq.heapify(self._due)
        return True

    def expire(self, now: float) -> None:
        """Remove what was not renewed in time: an ordinary removal."""
        while self._due and self._due[0][0] <= now:
            at, key = heapq.heappop(self._due)
            if self._expiry.get(key) == at:
                self.remove((key,), f"its time to live of {self._ttl[key]:g} s ran out")

    def next_deadline(self) -> float:
        """When the next time to live may run out."""
        return self._due[0][0] if self._due else float("inf")

    # deltas -----------------------------------------------------------------------------------------------------------

    def _delta(
        self,
        *,
        since: int,
        header: Header | None,
        put: tuple[Instance, ...] = (),
        removed: tuple[InstanceKey, ...] = (),
    ) -> Delta:
        me = self._me
        return Delta(me.id, me.zone, me.incarnation, since, since + 1, header, put, removed)

    def _checked(self, delta: Delta) -> bytes:
        """The frame, if others will understand it: what they cannot read would hide all that follows it."""
        codec = self._local.codec
        try:
            frame = codec.encode_delta(delta, self._local.seal.signed if self._local.seal.signs else None)
            codec.decode(frame)
        except WireError as error:
            names = ", ".join(f"{instance.service}/{instance.id}" for instance in delta.put)
            raise RegistrationError(
                f"cannot register {names}: other peers would not understand it ({error}). Shorten or simplify what you pass. "
                "Nothing was changed."
            ) from error
        return frame

    def _change(
        self,
        put: tuple[Instance, ...] = (),
        removed: tuple[InstanceKey, ...] = (),
        header: Header | None = None,
        reason: str | None = None,
        flooded: bool = False,
    ) -> None:
        local, me = self._local, self._me
        delta = self._delta(since=me.version, header=header, put=put, removed=removed)
        frame = self._checked(delta)
        local.table.before_change(me)
        me.apply(delta, frame, log_deltas_min=local.config.repair.log_deltas_min)
        local.table.after_change(me)
        self._membership.change(me, put, removed, reason)
        local.show(frame)
        local.broadcast(frame)
        if flooded:  # as the accusation was: what voids it must not be slower, or lost more easily
            local.flood(frame)
        if local.seal.signs and not me.leaving:
            self._said, self._said_bytes = self._said + 1, self._said_bytes + len(frame)
            if self._said_enough():
                self._say_all_anew()

    def rest(self, now: float) -> None:
        """Call with every tick: once I am quiet I say all anew, so that who comes later verifies a state, not its history."""
        if self._said != self._said_at_tick:
            self._said_at_tick, self._quiet_since = self._said, now
            return
        quiet = self._said >= REISSUE_QUIET_MIN and now - self._quiet_since >= REISSUE_QUIET_S and not self._me.leaving
        if quiet and self._said_bytes * REISSUE_QUIET_SHARE > STATE_OVERHEAD_BYTES + self._bytes:
            self._say_all_anew()

    def _said_enough(self) -> bool:
        """Whether what others keep of my deltas outweighs what a whole state would, or nears their bound."""
        if self._said_bytes > REISSUE_BYTES_MAX + self._said_before:
            return True
        return self._said >= REISSUE_DELTAS_MIN and self._said_bytes > STATE_OVERHEAD_BYTES + self._bytes
