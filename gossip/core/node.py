"""The machine of one peer: inputs, ticks and commands in, effects out. Dispatch and order; the nouns live next door.

    shell ──handle(input, now)──▶ Node ──▶ [effects in the order to carry them out]
    shell ──tick(now)───────────▶ Node     at `next_deadline()`, or at most an interval later
    user  ──register, leave …───▶ Node

Invariant: nothing a stranger sends raises; it is dropped, counted, and told once a minute. Time is whatever clock the
shell passes, one that goes on while the machine sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..config import Config
from ..errors import WireError
from ..model import Instance, MemberState, PeerState
from .author import Author
from .codec import TOPIC_ALL, TOPIC_BYTES, TOPIC_SELF, WIRE_VERSION, ForeignCluster, UnknownKind
from .detector import Detector
from .dialer import Dialer
from .digests import Digests
from .effects import (
    Answer,
    Answered,
    Asked,
    Bound,
    Call,
    Effect,
    HangUp,
    Heard,
    Input,
    LinkClosed,
    Listen,
    Probed,
    Subscribed,
    Unsubscribed,
)
from .local import Chance, Local
from .membership import Membership
from .merge import Merger
from .mesh import Mesh
from .messages import (
    Accusation,
    Delta,
    Foreign,
    Header,
    Heartbeat,
    IdHash,
    Incarnation,
    InstanceKey,
    Ping,
    Pong,
    Sync,
)
from .origin import Origin, Outcome
from .repair import Ended, Repair

PINGS_MAX = 64
EXPIRE_INTERVAL_S = 60.0
COMPLAINT_INTERVAL_S = 60.0
RISE_WINDOW_S = 60.0
RISES_SUSPICIOUS = 2  # twice in a minute somebody else spoke as me: tell the user
RISES_MAX = 3  # three times: the younger of us takes a new id
RESUME_DIALS = 2
NEVER = float("inf")
_AT, _STAR = TOPIC_SELF[0], TOPIC_ALL[0]
_ENVELOPE_KIND = ord("D")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is when it starts. `wall_ms` and `nonce` make its first incarnation."""

    id: str
    name: str
    cluster: str
    zone: str
    host: str
    contact_port: int
    publisher_port: int
    wall_ms: int
    nonce: int


@dataclass(slots=True)
class _Ping:
    origin: str
    deadline: float


class Node:
    """One peer's protocol. Single-threaded: its shell calls it from one thread.

    `seeds` are contacts `ip:port`; None if they are names that are being resolved (`set_seeds` follows).
    """

    protocol = WIRE_VERSION

    def __init__(
        self,
        identity: Identity,
        *,
        config: Config,
        chance: Chance,
        seeds: Sequence[str] | None = (),
        zero_configuration: bool = False,
    ) -> None:
        header = Header(
            identity.name,
            identity.host,
            identity.contact_port,
            identity.publisher_port,
            interval_ms=round(config.heartbeats.interval_s * 1000),
            boot_ms=identity.wall_ms,
            boot_nonce=identity.nonce,
        )
        self.local = local = Local(
            id=identity.id,
            cluster=identity.cluster,
            zone=identity.zone,
            header=header,
            incarnation=(identity.wall_ms, identity.nonce),
            config=config,
            chance=chance,
        )
        self._membership = Membership(local)
        self._author = Author(local, self._membership)
        self._detector = Detector(
            local, self._membership, ping=self._ping, dial=self._dial_member, refute=self._refute
        )
        self._merger = Merger(
            local,
            self._membership,
            about_me=self._hear_of_myself,
            moved_on=self._detector.reconcile,
            voids=self._detector.voids,
        )
        self._repair = Repair(
            local,
            self._merger,
            self._author,
            new_call=self._new_call,
            accuse=self._detector.accuse_of_death,
            charges_against=self._detector.why_suspected,
            hear=self._detector.hear,
            on_end=self._conversation_ended,
        )
        self._dialer = Dialer(local, self._repair, seeds=seeds, zero_configuration=zero_configuration)
        self._digests = Digests(config.heartbeats)
        self.mesh = Mesh()
        self._calls = 0
        self._pings: dict[int, _Ping] = {}
        self._rises: list[float] = []
        self._complained: dict[str, float] = {}
        self._peak = 1
        self._was_alone = True
        self._newcomer_since: float | None = None
        self._next_heartbeat = self._next_relink = self._next_expiry = 0.0
        self._last_tick = 0.0
        self._leave_until: float | None = None

    # what is so -----------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """My id; it changes only when an older process turns out to have it."""
        return self.local.me.id

    @property
    def state(self) -> PeerState:
        """`joining`, `ready` or `isolated`."""
        if self.isolated:
            return PeerState.ISOLATED
        return PeerState.READY if self.local.synced else PeerState.JOINING

    @property
    def synced(self) -> bool:
        """Whether one whole conversation with a synced peer took place, or there was nobody to ask."""
        return self.local.synced

    @property
    def isolated(self) -> bool:
        """Whether I hear nobody though I should: most fell silent at once, or no seed answers."""
        return self._detector.holding or (self.local.synced and self.local.alone and self._dialer.expects_others)

    @property
    def agreement(self) -> float:
        """The share of neighbours whose digest is mine."""
        return self._digests.agreement()

    @property
    def suspects(self) -> int:
        """How many members are accused."""
        return sum(1 for origin in self.local.table.origins.values() if origin.state is MemberState.SUSPECTED)

    @property
    def left(self) -> bool:
        """After `leave`: my subscribers are gone, or I waited long enough for them."""
        return self._leave_until is not None and (not self.local.fan.subscribers or self._last_tick >= self._leave_until)

    # the shell ------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """The first effects: subscriptions, dials."""
        local = self.local
        self._last_tick = now
        local.out += [Listen(TOPIC_SELF + local.me.hash), Listen(TOPIC_ALL)]
        self._author.begin(now)
        self._next_heartbeat = now + local.jittered(local.config.heartbeats.interval_s) / 2
        self._next_expiry = now + EXPIRE_INTERVAL_S
        self._dialer.start(now)
        return self._effects(now)

    def handle(self, input: Input, now: float) -> list[Effect]:
        """One input."""
        try:
            self._HANDLERS[type(input)](self, input, now)
        except ForeignCluster:
            self._meet_foreigner(input, now)
        except UnknownKind:
            self.local.counters["frames_unknown"] += 1
        except WireError as error:
            self._drop(str(error), now)
        return self._effects(now)

    def tick(self, now: float) -> list[Effect]:
        """All that is due."""
        local = self.local
        self._notice_a_pause(now)
        self._last_tick = now
        if now >= self._next_heartbeat:
            self._send_heartbeats(now)
        self._author.expire(now)
        self._pull_what_is_missing(now)
        self._give_up_pings(now)
        self._repair.tick(now)
        self._detector.tick(now)
        if self._leave_until is None:
            self._dialer.tick(now)
        if now >= self._next_expiry:
            self._next_expiry = now + EXPIRE_INTERVAL_S
            self._merger.expire(now)
        self._notice_mass_loss(now)
        if (local.links_dirty and now >= self._next_relink) or now >= self.mesh.next_deadline():
            self._relink(now)
        return self._effects(now)

    def next_deadline(self) -> float:
        """When `tick` is due."""
        found = min(
            self._next_heartbeat,
            self._next_expiry,
            self._author.next_deadline(),
            self._merger.next_deadline(),
            self._digests.next_deadline(),
            self._repair.next_deadline(),
            self._detector.next_deadline(),
            self._dialer.next_deadline() if self._leave_until is None else self._linger(self._leave_until),
            self.mesh.next_deadline(),
            min((ping.deadline for ping in self._pings.values()), default=NEVER),
        )
        return min(found, self._next_relink) if self.local.links_dirty else found

    def _linger(self, until: float) -> float:
        return until if self._last_tick < until else NEVER

    def _effects(self, now: float) -> list[Effect]:
        local = self.local
        self._digests.now_is(local.table.digest, now)
        effects, local.out = local.out, []
        return effects

    # commands -------------------------------------------------------------------------------------------------------

    def register(self, instance: Instance, ttl_s: float | None, now: float) -> list[Effect]:
        """A new instance of mine. Raises `RegistrationError`, nothing changed."""
        self._author.register(instance, ttl_s, now)
        return self._effects(now)

    def replace(self, instance: Instance, now: float, reason: str | None = None) -> list[Effect]:
        """Another record under the key of one of mine; nothing if it is gone."""
        self._author.replace(instance, reason)
        return self._effects(now)

    def renew(self, key: InstanceKey, now: float) -> list[Effect]:
        """Its time to live starts anew."""
        self._author.renew(key, now)
        return self._effects(now)

    def deregister(self, keys: Iterable[InstanceKey], now: float, reason: str | None = None) -> list[Effect]:
        """Instances of mine go."""
        self._author.remove(keys, reason)
        return self._effects(now)

    def mine(self, key: InstanceKey) -> Instance | None:
        """My record under a key."""
        return self.local.me.instances.get(key)

    def report_failure(self, key: InstanceKey, now: float) -> list[Effect]:
        """A caller could not reach it: ping those who hold it."""
        for id in self.local.directory.holders(key):
            origin = self.local.table.origins.get(id)
            if origin is not None and origin is not self.local.me:
                self._detector.reported(origin, now)
        return self._effects(now)

    def set_seeds(self, seeds: Sequence[str], now: float) -> list[Effect]:
        """The addresses of the seeds, if `seeds` was None at the start, or when they moved."""
        self._dialer.set_seeds(seeds, now)
        return self._effects(now)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye; relay on until `left`."""
        if self._leave_until is None:
            self._leave_until = now + self.local.config.overlay.leave_linger_s
            self._author.say_goodbye()
        return self._effects(now)

    # PUB/SUB --------------------------------------------------------------------------------------------------------

    def _on_heard(self, input: Heard, now: float) -> None:
        frame = input.frame
        if len(frame) > TOPIC_BYTES + 1 and frame[0] == _AT:
            if frame[TOPIC_BYTES + 1] == _ENVELOPE_KIND:
                self._on_delegated(frame, now)
            else:
                self._on_told(frame[TOPIC_BYTES:], now)
        elif frame[:1] == TOPIC_ALL:
            message = self.local.codec.decode(frame[1:])
            if isinstance(message, Accusation):
                self._detector.hear(message, frame[1:], now)
        else:
            raise WireError("a frame without a topic of ours")

    def _on_delegated(self, frame: bytes, now: float) -> None:
        """The relay path: pass the range on whatever becomes of the frame here; then merge it if it is new."""
        local = self.local
        delegated = local.codec.open_envelope(frame, TOPIC_BYTES)
        if delegated is None or delegated.ring >= len(local.overlay.rings):
            raise WireError("a broken envelope")
        local.counters["broadcasts_received"] += 1
        body = delegated.frame
        local.delegate(delegated.ring, delegated.limit, body)
        head = local.codec.delta_head(body)
        if head is None:
            local.counters["frames_unknown"] += 1
        elif self._merger.is_duplicate(head.origin, head.incarnation, head.version):
            local.counters["deltas_duplicate"] += 1
        else:
            self._merge_broadcast(body, delegated.sender, now)

    def _merge_broadcast(self, frame: bytes, sender: IdHash, now: float) -> None:
        delta = self.local.codec.decode(frame)
        if isinstance(delta, Delta) and self._merger.take(delta, frame, now).outcome is Outcome.GAP:
            carrier = self.local.table.by_hash.get(sender)
            if carrier is not None and carrier is not self.local.me:
                self._merger.missed(delta.origin, carrier.contact, now)

    def _on_told(self, body: bytes, now: float) -> None:
        message = self.local.codec.decode(body)
        if isinstance(message, Heartbeat):
            self._on_heartbeat(message, now)
        elif isinstance(message, Delta):
            self._merger.take(message, body, now)

    def _on_heartbeat(self, beat: Heartbeat, now: float) -> None:
        local = self.local
        origin = local.table.by_hash.get(beat.sender)
        if origin is None or origin is local.me:
            local.counters["heartbeats_of_strangers"] += 1
            return
        if self.mesh.came_up(beat.sender):
            local.links_dirty = True
        if beat.incarnation < origin.incarnation:
            return
        if origin.state is not MemberState.ALIVE:
            self._dial_member(origin, now)
        self._detector.heard(origin.id, now)
        if (beat.incarnation, beat.version) > (origin.incarnation, origin.version):
            self._merger.missed(origin.id, origin.contact, now)
        if origin.alive:
            self._digests.heard(beat.sender, beat.digest, now, urgent=beat.linked and local.synced)

    def _on_subscribed(self, input: Subscribed, now: float) -> None:
        """A link to me is up: say at once how far I am, so that nothing falls between joining and listening."""
        hash = _subscriber(input.topic)
        if hash is None:
            return
        fan = self.local.fan
        if hash not in fan.subscribers and len(fan.subscribers) >= self.local.config.limits.subscribers_max:
            self.local.counters["subscribers_refused"] += 1
            return
        fan.add(hash)
        if self._newcomer_since is not None:
            self.local.links_dirty = True
        self.local.tell(hash, self.local.codec.encode(self._heartbeat(linked=True)))
        origin = self.local.table.by_hash.get(hash)
        if origin is not None and origin.state is MemberState.DEAD:
            self._dial_member(origin, now)

    def _on_unsubscribed(self, input: Unsubscribed, now: float) -> None:
        hash = _subscriber(input.topic)
        if hash is not None:
            self.local.fan.remove(hash)

    def _heartbeat(self, *, linked: bool) -> Heartbeat:
        me = self.local.me
        return Heartbeat(
            me.hash, me.incarnation, me.version, me.header.pulse, self.local.table.digest, linked, self.local.synced
        )

    def _send_heartbeats(self, now: float) -> None:
        local = self.local
        self._next_heartbeat = max(now, self._next_heartbeat + local.config.heartbeats.interval_s)
        frame = local.codec.encode(self._heartbeat(linked=False))
        for hash in sorted(local.overlay.watchers(local.me.hash)):
            if hash in local.fan.subscribers:
                local.tell(hash, frame)

    # conversations --------------------------------------------------------------------------------------------------

    def _on_asked(self, input: Asked, now: float) -> None:
        message = self.local.codec.decode(input.frame)
        if isinstance(message, Ping):
            self._detector.heard(message.asker, now)
            self.local.out.append(Answer(input.token, self.local.codec.encode(self._pong(message))))
            return
        if isinstance(message, Sync):
            self._detector.heard(message.asker, now)
        self._repair.asked(input.token, message, input.frame, now)

    def _pong(self, ping: Ping) -> Pong:
        me = self.local.me
        charges = self._detector.why_suspected(ping.asker)
        held_alive = not any((c.incarnation, c.pulse) >= (ping.incarnation, ping.pulse) for c in charges)
        return Pong(me.id, me.incarnation, me.header.pulse, me.version, held_alive)

    def _on_answered(self, input: Answered, now: float) -> None:
        message = self.local.codec.decode(input.frame)
        if isinstance(message, Pong):
            self._on_pong(input.call, message, now)
        else:
            self._repair.answered(input.call, message, input.frame, now)

    def _on_pong(self, call: int, pong: Pong, now: float) -> None:
        ping = self._pings.pop(call, None)
        if ping is None:
            return
        local = self.local
        local.out.append(HangUp(call))
        origin = local.table.origins.get(ping.origin)
        if origin is None:
            return
        self._detector.answered_as(origin, pong.id, now)
        if pong.id == origin.id and (pong.incarnation, pong.version) > (origin.incarnation, origin.version):
            self._merger.missed(origin.id, origin.contact, now)
        if not pong.held_alive:
            self._refute(local.me.incarnation, local.me.header.pulse)
            self._repair.converse(origin.contact, now, dialled=True)

    def _meet_foreigner(self, input: Input, now: float) -> None:
        """A frame of another cluster: say so to whoever asks, hang up on whoever answers."""
        self.local.counters["frames_foreign"] += 1
        if isinstance(input, Asked):
            self.local.out.append(Answer(input.token, self.local.codec.encode(Foreign())))
        elif isinstance(input, Answered):
            if self._pings.pop(input.call, None) is not None:
                self.local.out.append(HangUp(input.call))
            self._repair.foreign(input.call, now)

    def _conversation_ended(self, end: Ended, now: float) -> None:
        self._dialer.ended(end, now)
        if end.ok and end.conversation.partner is not None:
            self._detector.heard(end.conversation.partner, now)

    def _new_call(self) -> int:
        self._calls += 1
        return self._calls

    def _dial_member(self, origin: Origin, now: float) -> None:
        """Whoever speaks and is held dead or accused is to hear so; its contact knows the way."""
        self._repair.converse(origin.contact, now, dialled=False)

    # pings ----------------------------------------------------------------------------------------------------------

    def _ping(self, origin: Origin, now: float) -> bool:
        """Ask a member over a fresh connection whether it lives; False if too many are under way."""
        if any(ping.origin == origin.id for ping in self._pings.values()):
            return True
        if len(self._pings) >= PINGS_MAX:
            return False
        local = self.local
        call = self._new_call()
        self._pings[call] = _Ping(origin.id, now + local.config.detection.ping_timeout_s)
        me = local.me
        local.out.append(Call(call, origin.contact, local.codec.encode(Ping(me.id, me.incarnation, me.header.pulse))))
        return True

    def _give_up_pings(self, now: float) -> None:
        for call, ping in [(call, ping) for call, ping in self._pings.items() if ping.deadline <= now]:
            del self._pings[call]
            self.local.out.append(HangUp(call))
            origin = self.local.table.origins.get(ping.origin)
            if origin is not None:
                self._detector.unanswered(origin, now)

    # links ----------------------------------------------------------------------------------------------------------

    def _on_link_closed(self, input: LinkClosed, now: float) -> None:
        for hash in self.mesh.broke(input.endpoint):
            self._detector.link_closed(hash, input.endpoint)

    def _on_probed(self, input: Probed, now: float) -> None:
        self._detector.probed(input.endpoint, input.outcome, now)

    def _on_bound(self, input: Bound, now: float) -> None:
        self._dialer.bound(input.endpoint, input.ok, now)

    def _relink(self, now: float) -> None:
        """Aim at the links that follow from the members now; watch whom I am to watch."""
        local, config = self.local, self.local.config.overlay
        local.links_dirty = False
        if not local.alone:  # the first links of a newcomer need not wait
            self._next_relink = now + config.relink_interval_s
        by_hash = local.table.by_hash
        near_only = self._is_newcomer(now)
        wanted = {hash: by_hash[hash].publisher for hash in sorted(local.overlay.links(near_only=near_only))}
        local.out += self.mesh.aim(wanted, local.overlay.members, now, timeout_s=config.link_timeout_s)
        watched = local.overlay.watched()
        self._detector.watch({by_hash[hash].id for hash in watched}, now)
        self._digests.forget(watched)
        if near_only:
            local.links_dirty = True
            self._next_relink = now + config.relink_interval_s

    def _is_newcomer(self, now: float) -> bool:
        """A range delegated to me before I have subscribers of my own would be lost: take far links later."""
        local, config = self.local, self.local.config.overlay
        if local.alone:
            self._was_alone, self._newcomer_since = True, None
            return False
        if self._was_alone:
            self._was_alone, self._newcomer_since = False, now
        if self._newcomer_since is None:
            return False
        subscribers = len(local.fan.subscribers)
        if now - self._newcomer_since >= config.newcomer_wait_s or 2 * subscribers >= len(local.overlay.links(near_only=False)):
            self._newcomer_since = None
            return False
        return True

    # time -----------------------------------------------------------------------------------------------------------

    def _pull_what_is_missing(self, now: float) -> None:
        for id, contact in self._merger.due_gaps(now):
            if not self._repair.pull(id, contact, now):
                self._merger.missed(id, contact, now)
        for hash in self._digests.differing(now):
            origin = self.local.table.by_hash.get(hash)
            if origin is not None and origin.alive:
                self._repair.converse(origin.contact, now, dialled=False)

    def _notice_a_pause(self, now: float) -> None:
        """A tick far too late: I stood still. Nobody else's silence counts, and others may have given me up."""
        local, config = self.local, self.local.config
        pause = now - self._last_tick
        if pause < config.heartbeats.interval_s + config.detection.late_tick_s:
            return
        self._detector.paused(now)
        for ping in self._pings.values():  # its answer may wait unread
            ping.deadline = now + config.detection.ping_timeout_s
        if pause >= config.detection.silence_intervals * config.heartbeats.interval_s and not local.alone:
            local.notice(local.me.id, f"this process stood still for {pause:.1f} s; telling the others that it lives")
            self._author.refute(local.me.header.pulse)
            others = [origin for origin in local.table.alive() if origin is not local.me]
            for _ in range(min(RESUME_DIALS, len(others))):
                origin = others.pop(int(local.chance.random() * len(others)))
                self._repair.converse(origin.contact, now, dialled=True)

    def _notice_mass_loss(self, now: float) -> None:
        living = self.local.table.living
        self._peak = max(self._peak, living)
        if self._detector.holding or 2 * living <= self._peak:
            self._peak = living
            self._dialer.mass_loss(now)

    # myself ---------------------------------------------------------------------------------------------------------

    def _refute(self, incarnation: Incarnation, pulse: int) -> None:
        """Somebody accuses me, or holds me dead, at this life or a higher one."""
        if self._leave_until is not None:
            return
        if incarnation > self.local.me.incarnation:
            self._author.rise_above(incarnation)
        else:
            self._author.refute(pulse)

    def _hear_of_myself(self, delta: Delta, now: float) -> None:
        """A delta under my id: an echo, a former life that outlived me, or another process with my id."""
        me = self.local.me
        if delta.incarnation <= me.incarnation or self._leave_until is not None:
            return
        self._rises = [*(at for at in self._rises if now - at < RISE_WINDOW_S), now][-RISES_MAX:]
        other = delta.header
        shared = other is not None and (other.boot_ms, other.boot_nonce) != (me.header.boot_ms, me.header.boot_nonce)
        if len(self._rises) >= RISES_SUSPICIOUS and shared and other is not None:
            younger = (me.header.boot_ms, me.header.boot_nonce) > (other.boot_ms, other.boot_nonce)
            if len(self._rises) == RISES_SUSPICIOUS:
                self.local.notice(
                    me.id,
                    f"DuplicatePeerId: another living process, at {other.host}:{other.contact_port}, also calls itself {me.id}; "
                    "give each its own id. The younger one takes a new id",
                )
            if younger and len(self._rises) >= RISES_MAX:
                self._rises = []
                self._author.take_new_id(f"{me.header.name}-{self.local.chance.getrandbits(48):012x}", now)
                return
        self._author.rise_above(delta.incarnation)

    # strangers ------------------------------------------------------------------------------------------------------

    def _drop(self, why: str, now: float) -> None:
        self.local.counters["frames_dropped"] += 1
        if now - self._complained.get("dropped", -NEVER) >= COMPLAINT_INTERVAL_S:
            self._complained["dropped"] = now
            self.local.notice(self.local.me.id, f"dropped a frame that is no message of ours ({why}); more are only counted")

    _HANDLERS: ClassVar[dict[type, Callable[..., None]]] = {
        Heard: _on_heard,
        Subscribed: _on_subscribed,
        Unsubscribed: _on_unsubscribed,
        Asked: _on_asked,
        Answered: _on_answered,
        LinkClosed: _on_link_closed,
        Probed: _on_probed,
        Bound: _on_bound,
    }


def _subscriber(topic: bytes) -> IdHash | None:
    """Whose subscription this is, None if it is not one of a peer's own topic."""
    return IdHash(topic[1:]) if len(topic) == TOPIC_BYTES and topic[0] == _AT else None


