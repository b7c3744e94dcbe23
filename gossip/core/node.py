"""The machine of one peer: inputs, ticks and commands in, effects out. Dispatch and order; the nouns live next door.

    shell ──handle(input, now)──▶ Node ──▶ [effects in the order to carry them out]
    shell ──tick(now)───────────▶ Node     at `next_deadline()`, or at most an interval later
    user  ──register, leave …───▶ Node

Invariant: nothing a stranger sends raises; it is dropped, counted, and told once a minute. Time is whatever clock the
shell passes, one that goes on while the machine sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from ..config import Config
from ..errors import WireError
from ..model import Instance, MemberState, PeerState
from .answers import Answers
from .author import Author
from .bounds import RATE_BURST_S, Bucket
from .certificates import Certificate
from .codec import TOPIC_ALL, TOPIC_BYTES, TOPIC_OBSERVERS, TOPIC_SELF, WIRE_VERSION, DeltaHead, ForeignCluster, UnknownKind
from .detector import Detector
from .dialer import Dialer
from .digests import Digests
from .disputes import Disputes
from .effects import (
    Answer,
    Answered,
    Asked,
    Blamed,
    Bound,
    Effect,
    Heard,
    Input,
    LinkClosed,
    LinkUnreached,
    Listen,
    Probed,
    Refused,
    Remembered,
    Subscribed,
    Unreached,
    Unsubscribed,
)
from .expulsion import Expulsion
from .farewell import Farewell
from .guard import Guard
from .heartbeats import Heartbeats
from .jumps import Jumps
from .linking import Linker
from .local import Chance, Local
from .membership import Membership
from .merge import Merger
from .mesh import Mesh
from .messages import (
    Accusation,
    Delta,
    DialBack,
    Foreign,
    Header,
    HeaderFlags,
    Heartbeat,
    IdHash,
    InstanceKey,
    Ping,
    Pong,
    Reached,
    Recall,
    Revoked,
    Sync,
    Want,
)
from .origin import Origin, Outcome
from .past import Past
from .pings import Pings
from .reach import Reach
from .recollection import Ration
from .refutations import Refutations
from .repair import Ended, Repair
from .selfhood import Identity, Selfhood
from .signatures import Forged, Signing
from .supply import Supply

EXPIRE_INTERVAL_S = 60.0
RESUME_DIALS = 2
NEVER = float("inf")
_AT = TOPIC_SELF[0]
_ENVELOPE_KIND = ord("D")


class Node:
    """One peer's protocol. Single-threaded: its shell calls it from one thread.

    `seeds` are contacts `ip:port`; None if they are names that are being resolved (`set_seeds` follows). `check_reach`: have
    the first partner of a conversation dial back what this peer advertises. `signing`: sign, and verify what others say; the
    identity's id must then be one of that key. `revoked`: revocations that an earlier life knew. `past`: contacts of an earlier
    life, whose view readers are served; None if there was none.
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
        check_reach: bool = False,
        signing: Signing | None = None,
        revoked: Sequence[bytes] = (),
        past: Sequence[str] | None = None,
    ) -> None:
        signs = signing is not None and signing.sign is not None
        header = Header(
            identity.name,
            identity.host,
            identity.contact_port,
            identity.publisher_port,
            interval_ms=round(config.heartbeats.interval_s * 1000),
            boot_ms=identity.wall_ms,
            boot_nonce=identity.nonce,
            key=signing.public if signing is not None else b"",
            certificate=signing.certificate if signing is not None else b"",
            flags=HeaderFlags.SIGNED_ONLY if signing is not None and signs and signing.required else HeaderFlags.NONE,
        )
        self.local = local = Local(
            id=identity.id,
            cluster=identity.cluster,
            zone=identity.zone,
            header=header,
            incarnation=identity.incarnation,
            config=config,
            chance=chance,
            signing=signing,
            revoked=revoked,
        )
        self._seal = local.seal
        self._membership = Membership(local)
        self._author = Author(local, self._membership)
        self._expulsion = Expulsion(local, self._membership)
        self._self = Selfhood(local, self._author)
        self._pings = Pings(local, new_call=self._new_call)
        self._detector = Detector(local, self._membership, ping=self._pings.send, accused=self._self.accused)
        self._jumps = Jumps(local, new_call=self._new_call, missed=self._missed)
        self._merger = Merger(
            local,
            self._membership,
            about_me=self._self.hear,
            moved_on=self._detector.reconcile,
            voids=self._detector.cases.voids,
            doubts=self._jumps.doubts,
        )
        self._refutations = Refutations(local, self._merger)
        heard = self._detector.accusations
        supply = Supply(local, self._author)
        disputes = Disputes(
            local, publish=heard.of_death, to_its_face=heard.to_its_face, charges_against=self._detector.cases.against
        )
        self._answers = Answers(
            local, self._merger, supply, disputes, hear=heard.hear, hear_revoked=self._expulsion.hear
        )
        self._repair = Repair(
            local,
            self._merger,
            supply,
            disputes,
            new_call=self._new_call,
            hear=heard.hear,
            hear_revoked=self._expulsion.hear,
            on_end=self._conversation_ended,
        )
        self._guard = Guard(local, self._repair, self._answers)
        self._farewell = Farewell(local, self._author, self._repair)
        self._past = Past(local, past)
        self._dialer = Dialer(local, self._repair, self._past, seeds=seeds, zero_configuration=zero_configuration)
        self._reach = Reach(local, new_call=self._new_call, sync=self._repair.sync, wanted=check_reach)
        self._ration = Ration(local)
        self._heartbeats = Heartbeats(local)
        self._digests = Digests(config.heartbeats)
        self.mesh = Mesh()
        self._linker = Linker(local, self.mesh)
        self._deadlines = (
            self._author.next_deadline,
            self._merger.next_deadline,
            self._digests.next_deadline,
            self._repair.next_deadline,
            self._detector.next_deadline,
            self._linker.next_deadline,
            self._pings.next_deadline,
            self._reach.next_deadline,
            self._jumps.next_deadline,
            self._self.next_deadline,
            self._expulsion.next_deadline,
        )
        self._calls = 0
        limits = config.limits
        self._pings_heard = Bucket(limits.pings_per_s, RATE_BURST_S * limits.pings_per_s)
        self._peak = 1
        self._next_expiry = 0.0
        self._last_tick = 0.0
        self._forget_at = NEVER
        self._due: float | None = None  # the next deadline, None if it may have moved

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
    def joined(self) -> bool:
        """Whether all that some synced peer holds was once here; `synced` may also mean that nobody was to be found."""
        return self._dialer.joined

    @property
    def isolated(self) -> bool:
        """Whether I hear nobody though I should: most fell silent at once, no seed answers, or a past is all I have."""
        expecting = self._past.held or (self.local.synced and self._dialer.expects_others)
        return self._detector.holding or (self.local.alone and expecting)

    @property
    def holds_past(self) -> bool:
        """Whether the view of an earlier life is still to be served."""
        return self._past.held

    @property
    def looks_back(self) -> bool:
        """Whether others of an earlier life are still looked for."""
        return bool(self._past.contacts)

    @property
    def agreement(self) -> float:
        """The share of neighbours whose digest is mine."""
        return self._digests.agreement()

    @property
    def left(self) -> bool:
        """After `leave`: nobody is linked to me or hears my goodbye any more, or I waited long enough for them."""
        return self._self.leaving and self._farewell.is_over(self._last_tick)

    # the shell ------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """The first effects: subscriptions, dials."""
        local = self.local
        self._last_tick = local.started_at = now
        self._heard_somebody(now)
        local.out += [Listen(TOPIC_SELF + local.me.hash), Listen(TOPIC_ALL)]
        self._author.begin()
        self._heartbeats.begin(now)
        self._next_expiry = now + EXPIRE_INTERVAL_S
        self._dialer.start(now)
        return self._effects(now)

    def handle(self, input: Input, now: float) -> list[Effect]:
        """One input. A handler that returns True moved no deadline."""
        calm: bool | None = False
        if now >= self._forget_at:
            self._due = None
            self._forget_others(now)
        try:
            calm = self._HANDLERS[type(input)](self, input, now)
        except ForeignCluster:
            self._meet_foreigner(input, now)
        except UnknownKind:
            self.local.counters["frames_unknown"] += 1
        except Forged as error:
            self._guard.meet_forgery(input, error, now)
        except WireError as error:
            self._guard.drop(input, str(error), now)
        return self._effects(now, calm=calm is True)

    def tick(self, now: float) -> list[Effect]:
        """All that is due."""
        if now >= self._forget_at:
            self._forget_others(now)
        self._notice_a_pause(now)
        self._last_tick = now
        self._heartbeats.tick(now)
        self._expulsion.tick(now)
        self._author.expire(now)
        self._author.rest(now)
        self._pull_what_is_missing(now)
        for origin in self._pings.overdue(now):
            self._detector.unanswered(origin, now)
        self._repair.tick(now)
        self._reach.tick(now)
        self._jumps.tick(now)
        self._self.tick(now)
        self._detector.tick(now)
        if not self._self.leaving:
            self._dialer.tick(now)
        if now >= self._next_expiry:
            self._next_expiry = now + EXPIRE_INTERVAL_S
            self._merger.expire(now)
        self._notice_mass_loss(now)
        if self._linker.due(now):
            self._relink(now)
        return self._effects(now)

    def next_deadline(self) -> float:
        """When `tick` is due; may be early. O(1) unless something happened since it was asked last."""
        if self._due is None:
            self._due = self._find_deadline()
        return self._due

    def _find_deadline(self) -> float:
        found = min(self._heartbeats.next_at, self._next_expiry)
        for deadline in self._deadlines:
            due = deadline()
            if due < found:
                found = due
        leaving = self._self.leaving
        return min(found, self._farewell.next_deadline(self._last_tick) if leaving else self._dialer.next_deadline())

    def _effects(self, now: float, calm: bool = False) -> list[Effect]:
        if not calm:
            self._due = None
        local, digests = self.local, self._digests
        if local.table.digest != digests.current:
            digests.now_is(local.table.digest, now)
        effects = local.out
        if effects:
            local.out = []
            return effects
        return []

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

    def registration_of(self, key: InstanceKey) -> int | None:
        """The number of the registration that holds this key; None if nothing of mine does."""
        return self._author.number_of(key)

    def certify(self, certificate: Certificate, now: float) -> list[Effect]:
        """Show this certificate from now on. Raises `RegistrationError`, nothing changed."""
        self._author.certify(certificate)
        self._expulsion.certified()
        self._ask_around(now)
        return self._effects(now)

    def revoke(self, revocation: bytes, now: float) -> tuple[list[Effect], bool]:
        """The authority took a certificate back; whether that is news. Raises `WireError` if it did not."""
        known = self.local.authority.digest
        self._expulsion.hear((revocation,), now)
        return self._effects(now), self.local.authority.digest != known

    def report_failure(self, key: InstanceKey, now: float) -> list[Effect]:
        """A caller could not reach it: ping those who hold it."""
        for id in self.local.directory.holders(key):
            origin = self.local.table.origins.get(id)
            if origin is not None and origin is not self.local.me:
                self._detector.reported(origin, now)
        return self._effects(now)

    def set_seeds(self, seeds: Sequence[str], now: float, *, pending: bool = False) -> list[Effect]:
        """The addresses of the seeds that are known, if `seeds` was None at the start, or when they moved.

        `pending`: there are names that nobody could resolve yet, so somebody may be there all the same.
        """
        self._dialer.set_seeds(seeds, now, pending=pending)
        return self._effects(now)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye; relay on until `left`."""
        if not self._self.leaving:
            self._self.leaving = True
            self._farewell.begin(now)
        return self._effects(now)

    # PUB/SUB --------------------------------------------------------------------------------------------------------

    def _on_heard(self, input: Heard, now: float) -> bool:
        frame = input.frame
        if len(frame) > TOPIC_BYTES + 1 and frame[0] == _AT:
            if frame[TOPIC_BYTES + 1] != _ENVELOPE_KIND:
                return self._on_told(frame[TOPIC_BYTES:], now)
            return self._on_delegated(frame, now)
        if frame[:1] == TOPIC_ALL:
            message = self.local.codec.decode(frame[1:])
            if isinstance(message, Accusation):
                self._detector.accusations.hear(message, frame[1:], now)
            elif isinstance(message, Delta):
                self._refutations.hear(message, frame[1:], now)
            elif isinstance(message, Revoked):
                self._expulsion.hear(message.revocations, now)
        else:
            raise WireError("a frame without a topic of ours")
        return False

    def _on_delegated(self, frame: bytes, now: float) -> bool:
        """The relay path: pass the range on whatever becomes of the frame here; then merge it if it is new, or True."""
        local = self.local
        delegated = local.codec.open_envelope(frame, TOPIC_BYTES)
        if delegated is None or delegated.ring >= len(local.overlay.rings):
            raise WireError("a broken envelope")
        local.counters["broadcasts_received"] += 1
        body = delegated.frame
        head = local.codec.delta_head(body)
        if self._seal.verifies and head is not None and not self._may_pass(head, body, now):
            local.counters["ranges_not_passed_on"] += 1
        else:
            local.delegate(delegated.ring, delegated.limit, body)
        if head is None:
            local.counters["frames_unknown"] += 1
        elif self._merger.is_duplicate(head.origin, head.incarnation, head.version):
            local.counters["deltas_duplicate"] += 1
        else:
            return self._merge_broadcast(body, delegated.sender, now)
        return True

    def _may_pass(self, head: DeltaHead, frame: bytes, now: float) -> bool:
        """Ranges are passed on at once; but while somebody forges, only what is verified is. Raises `Forged`."""
        if self._seal.refuses_unread(frame):
            return False
        return now >= self._guard.until or self._merger.is_genuine(head.origin, frame, now)

    def _merge_broadcast(self, frame: bytes, sender: IdHash, now: float) -> bool:
        """Whether it changed nothing but instances."""
        try:
            delta = self.local.codec.decode_delta(frame)
        except WireError as error:  # who carried it had no time to read it, as I had not: nobody is blamed
            self._guard.complain(str(error), now)
            return False
        known = self.local.table.origins.get(delta.origin)
        pulse = known.header.pulse if known is not None and known.incarnation == delta.incarnation else None
        alone = known is not None and not known.early and delta.header is None
        outcome = self._merger.take(delta, frame, now).outcome
        if outcome is Outcome.APPLIED and pulse is not None and delta.header is not None and delta.header.pulse > pulse:
            self._refutations.pass_on(frame, now)
        if outcome is Outcome.GAP:
            carrier = self.local.table.by_hash.get(sender)
            if carrier is not None and carrier is not self.local.me:
                self._merger.missed(delta.origin, carrier.contact, now)
        return outcome is Outcome.APPLIED and alone

    def _missed(self, id: str, contact: str, now: float) -> None:
        self._merger.missed(id, contact, now)

    def _on_told(self, body: bytes, now: float) -> bool:
        message = self.local.codec.decode(body)
        if isinstance(message, Heartbeat):
            return self._on_heartbeat(message, body, now)
        if isinstance(message, Delta):
            self._merger.take(message, body, now)
        return False

    def _on_heartbeat(self, beat: Heartbeat, frame: bytes, now: float) -> bool:
        """Whether it told nothing but that its sender lives and holds what I hold, as nearly all of them do."""
        local, digests, detector = self.local, self._digests, self._detector
        origin = local.table.by_hash.get(beat.sender)
        if origin is None or origin is local.me:
            local.counters["heartbeats_of_strangers"] += 1
            return False
        signs = self._seal.verifies and self._seal.doubts_claims_of(origin.id)
        if signs and not self._heartbeats.is_its_own(beat, frame, origin):
            return True
        agrees = beat.digest == digests.current
        quiet = agrees and not beat.linked and origin.state is MemberState.ALIVE and not detector.doubting(now)
        if self.mesh.came_up(beat.sender):
            local.links_dirty, quiet = True, False
        if beat.incarnation < origin.incarnation:
            return False
        if origin.state is not MemberState.ALIVE:
            self._dial_member(origin, now)
        detector.heard(origin.id, now)
        self._heard_somebody(now)
        if beat.version != origin.version or beat.incarnation != origin.incarnation:
            quiet = False
            if (beat.incarnation, beat.version) > (origin.incarnation, origin.version):
                self._merger.missed(origin.id, origin.contact, now)
        if beat.synced and beat.digest == digests.current:
            self._dialer.join()  # as good as a conversation, and there will be none
        # one who is not watched may never speak again: only a link that came up is compared, once
        once = beat.linked and local.synced
        if origin.alive and (once or origin.id in detector.watches.of):
            digests.heard(beat.sender, beat.digest, now, urgent=once)
        return quiet

    def _on_subscribed(self, input: Subscribed, now: float) -> None:
        """A link to me is up: say at once how far I am, so that nothing falls between joining and listening."""
        if input.topic == TOPIC_OBSERVERS:
            self.local.observed = True
            self._heartbeats.greet_observers()
        hash = _subscriber(input.topic)
        if hash is None:
            return
        fan = self.local.fan
        known = self.local.table.by_hash.get(hash)
        if known is not None and self.local.authority.revoked(known.header.key):
            return
        full = hash not in fan.subscribers and len(fan.subscribers) >= self.local.config.limits.subscribers_max
        if full and not self._make_room_for(hash, now):
            return
        fan.add(hash)
        self._linker.subscribed()
        self._heartbeats.greet(hash)
        origin = self.local.table.by_hash.get(hash)
        if origin is not None and origin.state is MemberState.DEAD:
            self._dial_member(origin, now)

    def _make_room_for(self, hash: IdHash, now: float) -> bool:
        """Too many subscribe: a member comes before those whom nobody knows."""
        local = self.local
        subscribers, known = local.fan.subscribers, local.table.by_hash
        why = f"{len(subscribers)} ids subscribe here, which is the limit; raise limits.subscribers_max"
        local.bounds.hit("subscribers_refused", local.me.id, why, now)
        stranger = min((other for other in subscribers if other not in known), default=None) if hash in known else None
        if stranger is None:
            return False
        local.fan.remove(stranger)
        return True

    def _on_unsubscribed(self, input: Unsubscribed, now: float) -> None:
        if input.topic == TOPIC_OBSERVERS:
            self.local.observed = False
        hash = _subscriber(input.topic)
        if hash is not None:
            self.local.fan.remove(hash)

    def _heard_claim(self, id: str, now: float) -> None:
        """Somebody asks under this id, which is a sign of its life where ids are believed."""
        if not self._seal.doubts_claims_of(id):
            self._detector.heard(id, now)

    # conversations --------------------------------------------------------------------------------------------------

    def _on_asked(self, input: Asked, now: float) -> None:
        if self._guard.shuns(input.token, now):
            self.local.counters["asks_shunned"] += 1
            return
        message = self.local.codec.decode(input.frame)
        if isinstance(message, Ping):
            if not self._pings_heard.take(1, now):
                self.local.bounds.hit("pings_unanswered", message.asker, "others ping me more often than I answer", now)
                return
            self._heard_claim(message.asker, now)
            self.local.out.append(Answer(input.token, self.local.codec.encode(self._pong(message))))
            return
        if isinstance(message, DialBack):
            self._reach.asked(input.token, message, self._answers.asker(input.token), now)
            return
        if isinstance(message, Recall):
            self._ration.asked(input.token, message.name, now)
            return
        if isinstance(message, Sync):
            self._heard_claim(message.asker, now)
        self._answers.asked(input.token, message, input.frame, now)
        if self._reach.wanted and isinstance(message, Want):
            self._have_dialled_back(self._answers.asker(input.token), now)

    def _have_dialled_back(self, partner: str | None, now: float) -> None:
        """The first who converses with me, in either direction, is asked whether it reaches me."""
        origin = self.local.table.origins.get(partner or "")
        if origin is not None and origin.alive and origin is not self.local.me:
            self._reach.ask_soon(origin.contact, now)

    def _pong(self, ping: Ping) -> Pong:
        me = self.local.me
        charges = self._detector.cases.against(ping.asker)
        held_alive = not any((c.incarnation, c.pulse) >= (ping.incarnation, ping.pulse) for c in charges)
        return Pong(me.id, me.incarnation, me.header.pulse, me.version, held_alive)

    def _on_answered(self, input: Answered, now: float) -> None:
        message = self.local.codec.decode(input.frame)
        if isinstance(message, Pong):
            if self._jumps.answered(input.call, message, now):
                return
            self._on_pong(input.call, message, now)
        elif isinstance(message, Reached):
            self._reach.answered(input.call, message, now)
        else:
            self._repair.answered(input.call, message, input.frame, now)

    def _on_pong(self, call: int, pong: Pong, now: float) -> None:
        origin, me = self._pings.answered(call), self.local.me
        if origin is None:
            return
        self._detector.answered_as(origin, pong.id, now)
        if pong.id == origin.id and (pong.incarnation, pong.version) > (origin.incarnation, origin.version):
            self._merger.missed(origin.id, origin.contact, now)
        if not pong.held_alive:
            self._self.refute(me.incarnation, me.header.pulse, now)
            self._repair.converse(origin.contact, now, dialled=True)

    def _on_remembered(self, input: Remembered, now: float) -> None:
        self._ration.remembered(input.token, input.events)

    def _on_refused(self, input: Refused, now: float) -> None:
        """Whoever is there is none of us. A ping proves nothing by it: while a secret is replaced it may be bad luck."""
        self._repair.foreign(input.call, now)
        self._jumps.stranger_answered(input.call, now)

    def _on_unreached(self, input: Unreached, now: float) -> None:
        """A conversation ends and makes room for the next dial. The deadlines of pings and checks stand: they are evidence."""
        self._repair.unreached(input.call, now)

    def _meet_foreigner(self, input: Input, now: float) -> None:
        """A frame of another cluster: say so to whoever asks, hang up on whoever answers."""
        self.local.counters["frames_foreign"] += 1
        if isinstance(input, Asked):
            self.local.out.append(Answer(input.token, self.local.codec.encode(Foreign())))
        elif isinstance(input, Answered):
            origin = self._pings.answered(input.call)
            if origin is not None:  # another's process lives where this member did
                self._detector.answered_as(origin, None, now)
            self._repair.foreign(input.call, now)
            self._jumps.stranger_answered(input.call, now)

    def _conversation_ended(self, end: Ended, now: float) -> None:
        self._dialer.ended(end, now)
        if end.ok and end.conversation.partner is not None:
            self._heard_somebody(now)
            partner = self.local.table.origins.get(end.conversation.partner)
            if partner is not None and partner.contact == end.conversation.endpoint:
                self._detector.heard(partner.id, now)
            else:
                self._heard_claim(end.conversation.partner, now)
            if self._reach.wanted and end.conversation.partner != self.local.me.id:
                self._reach.ask(end.conversation.endpoint, now)
        self._farewell.tell_unlinked(now)

    def _new_call(self) -> int:
        self._calls += 1
        return self._calls

    def _dial_member(self, origin: Origin, now: float) -> None:
        """Whoever speaks and is held dead or accused is to hear so; its contact knows the way."""
        self._repair.converse(origin.contact, now, dialled=False, urgent=True)

    # links ----------------------------------------------------------------------------------------------------------

    def _on_link_closed(self, input: LinkClosed, now: float) -> None:
        for hash in self.mesh.broke(input.endpoint):
            self._detector.link_closed(hash, input.endpoint)

    def _on_link_unreached(self, input: LinkUnreached, now: float) -> None:
        for hash in self.mesh.broke(input.endpoint):
            self._detector.link_unreached(hash)

    def _on_probed(self, input: Probed, now: float) -> None:
        self._detector.probed(input.endpoint, input.outcome, now)
        self._reach.probed(input.endpoint, input.outcome)

    def _on_bound(self, input: Bound, now: float) -> None:
        self._dialer.bound(input.endpoint, input.ok, now)

    def _on_blamed(self, input: Blamed, now: float) -> None:
        self._guard.blamed(input, now)

    def _relink(self, now: float) -> None:
        watched = self._linker.relink(now)
        self._detector.watches.only({self.local.table.by_hash[hash].id for hash in watched}, now)
        self._digests.forget(watched)

    # time -----------------------------------------------------------------------------------------------------------

    def _pull_what_is_missing(self, now: float) -> None:
        for id, contact in self._merger.due_gaps(now):
            if not self._repair.pull(id, contact, now):
                self._merger.missed(id, contact, now)
        for hash in self._digests.differing(now):
            origin = self.local.table.by_hash.get(hash)
            if origin is not None and origin.alive:
                self._repair.converse(origin.contact, now, dialled=False, urgent=True)

    def _heard_somebody(self, now: float) -> None:
        self._forget_at = now + self.local.config.joining.retention_s / 2

    def _forget_others(self, now: float) -> None:
        """I heard nobody for so long that others may have forgotten who died: what I know of them could be ghosts."""
        self._heard_somebody(now)
        self._past.forget()
        if len(self.local.table.origins) + len(self.local.table.floors) > 1:
            hours = self.local.config.joining.retention_s / 7200
            self._membership.forget_others(f"nobody was heard for {hours:g} h; what was known of others is forgotten", now)

    def _notice_a_pause(self, now: float) -> None:
        """A tick far too late: I stood still. Nobody else's silence counts, and others may have given me up."""
        local, config = self.local, self.local.config
        pause = now - self._last_tick
        if pause < config.heartbeats.interval_s + config.detection.late_tick_s:
            return
        self._detector.paused(now)
        self._pings.paused(now)
        if pause >= config.detection.silence_intervals * config.heartbeats.interval_s and not local.alone:
            local.notice(local.me.id, f"this process stood still for {pause:.1f} s; telling the others that it lives")
            self._author.refute(local.me.header.pulse)
            self._ask_around(now)

    def _ask_around(self, now: float) -> None:
        """Some others may have hidden me: have them hear that I live."""
        others = [origin for origin in self.local.table.alive() if origin is not self.local.me]
        for _ in range(min(RESUME_DIALS, len(others))):
            origin = others.pop(int(self.local.chance.random() * len(others)))
            self._repair.converse(origin.contact, now, dialled=True)

    def _notice_mass_loss(self, now: float) -> None:
        living = self.local.table.living
        self._peak = max(self._peak, living)
        if self._detector.holding or 2 * living <= self._peak:
            self._peak = living
            self._dialer.mass_loss(now)

    _HANDLERS: ClassVar[dict[type, Callable[..., bool | None]]] = {
        Heard: _on_heard,
        Subscribed: _on_subscribed,
        Unsubscribed: _on_unsubscribed,
        Asked: _on_asked,
        Answered: _on_answered,
        Refused: _on_refused,
        Unreached: _on_unreached,
        LinkClosed: _on_link_closed,
        LinkUnreached: _on_link_unreached,
        Probed: _on_probed,
        Bound: _on_bound,
        Remembered: _on_remembered,
        Blamed: _on_blamed,
    }


def _subscriber(topic: bytes) -> IdHash | None:
    """Whose subscription this is, None if it is not one of a peer's own topic."""
    return IdHash(topic[1:]) if len(topic) == TOPIC_BYTES and topic[0] == _AT else None


