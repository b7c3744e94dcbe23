"""The machine of an observer: it sees what a peer sees and is no member, so nobody counts, watches or dials it.

    SEEKING ──Sync to all candidates──▶ the first synced one that answers is the source
    TALKING ──Entries, Want…, Delta…, Done──▶ holds what the source holds: synced
    FOLLOWING  linked to the source's publisher, topic `+`: its deltas, its beliefs, its heartbeats, in its order
       │ a heartbeat of another digest, a gap ──▶ TALKING again, with what is held
       └ the link broke, silence, goodbye ──▶ SEEKING, among all members that are known

Invariant: who lives is the source's word alone; there are no accusations and no verdicts here. How a conversation is read is
told in `comparison.py`, when the next one comes in `following.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar

from ..config import Config
from ..errors import WireError
from ..model import PeerState
from ..values import dataclass, field
from .candidates import Candidates
from .codec import TOPIC_OBSERVERS, WIRE_VERSION, ForeignCluster, UnknownKind
from .comparison import Comparison
from .dialer import RENDEZVOUS_HOST, RENDEZVOUS_PORTS, SYNCED
from .effects import Answered, Call, Effect, HangUp, Heard, Input, LinkClosed, Listen, Refused, Unreached
from .expulsion import Expulsion
from .following import Following, Source
from .local import Chance, Local
from .membership import Membership
from .merge import Merger
from .messages import Belief, Delta, Done, Entries, Header, Heartbeat, History, InstanceKey, Message, Revoked, Sync, Want
from .origin import Outcome
from .recollection import Recollections
from .signatures import Forged, Signing

UNSYNCED_RETRY_S = 0.2  # until a candidate that is not synced yet is asked again; it will be, within 2 s
EXPIRE_INTERVAL_S = 60.0
NEVER = float("inf")


@dataclass(slots=True)
class Talk:
    """One call: a candidate's, until it answers, then the conversation with the source."""

    endpoint: str
    deadline: float
    ends_at: float  # however busy it is
    resort: bool = False  # whether it was asked though it is passed over
    view: Comparison = field(default_factory=Comparison)


class ObserverNode:
    """One observer's protocol; driven by the same shell as `Node`. `seeds`: None while they are being resolved."""

    protocol = WIRE_VERSION

    def __init__(
        self,
        id: str,
        *,
        name: str,
        cluster: str,
        zone: str,
        config: Config,
        chance: Chance,
        seeds: Sequence[str] | None,
        zero_configuration: bool = False,
        signing: Signing | None = None,
        wall_ms: int = 0,
    ) -> None:
        nowhere = Header(name, "0.0.0.0", 1, 1, boot_ms=wall_ms)
        life = (0, chance.getrandbits(64))
        self.local = local = Local(
            id=id, cluster=cluster, zone=zone, header=nowhere, incarnation=life, config=config, chance=chance, signing=signing
        )
        self._membership = Membership(local)
        self._expulsion = Expulsion(local, self._membership)
        self._merger = Merger(
            local,
            self._membership,
            about_me=lambda delta, now: None,
            moved_on=lambda origin, now: None,
            voids=lambda origin: False,
        )
        common = [f"{RENDEZVOUS_HOST}:{port}" for port in RENDEZVOUS_PORTS]
        self._candidates = Candidates(local, common if zero_configuration else seeds or ())
        self._talks: dict[int, Talk] = {}
        self._talking: int | None = None  # the call among them that answered
        self._following = Following(local)
        self._recollections = Recollections(local, new_call=self._new_call, source=self._contact)
        self._calls = 0
        self._seek_at = NEVER
        self._next_expiry = NEVER
        self.met: Counter[str] = Counter()  # what the candidates answered, to tell why nobody did
        self._ended = False

    # what is so -------------------------------------------------------------------------------------------------------

    @property
    def source(self) -> Source | None:
        """Who is followed; None while it seeks."""
        return self._following.source

    @property
    def id(self) -> str:
        """The name under which it asks; nobody keeps it."""
        return self.local.me.id

    @property
    def state(self) -> PeerState:
        """`joining` until it holds a view, `isolated` while it follows nobody, else `ready`."""
        if self.isolated:
            return PeerState.ISOLATED
        return PeerState.READY if self.local.synced else PeerState.JOINING

    @property
    def synced(self) -> bool:
        """Whether it holds, or once held, the whole view of a peer."""
        return self.local.synced

    @property
    def isolated(self) -> bool:
        """Whether its view is served on though nobody is followed."""
        return self.local.synced and self.source is None

    @property
    def agreement(self) -> float:
        """1.0 while the view equals the source's, as of its last heartbeat; 0.0 before the first."""
        source = self.source  # other threads ask
        return 1.0 if source is not None and source.agrees else 0.0

    @property
    def left(self) -> bool:
        """An observer has nobody to say goodbye to."""
        return self._ended

    # the shell --------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """The first effects: the subscription, and a question to every candidate."""
        self.local.started_at = now
        self.local.out.append(Listen(TOPIC_OBSERVERS))
        self._next_expiry = now + EXPIRE_INTERVAL_S
        self._seek(now)
        return self._effects()

    def handle(self, input: Input, now: float) -> list[Effect]:
        """One input. Nothing that a stranger sends raises."""
        handler = self._HANDLERS.get(type(input))
        try:
            if handler is not None:
                handler(self, input, now)
        except ForeignCluster:
            self.local.counters["frames_foreign"] += 1
            if isinstance(input, Answered):
                self._give_up(input.call, "peers of another cluster", now)
        except UnknownKind:
            self.local.counters["frames_unknown"] += 1
        except Forged as error:
            self.local.bounds.tell("forgeries_refused", error.origin, f"{error}; it is not taken in", now)
        except WireError:
            self.local.counters["frames_dropped"] += 1
        return self._effects()

    def tick(self, now: float) -> list[Effect]:
        """All that is due."""
        for call in [call for call, talk in self._talks.items() if talk.deadline <= now]:
            self._give_up(call, "no answer", now)
        self._recollections.tick(now)
        self._expulsion.tick(now)
        if self.source is not None and self._following.is_silent(now):
            self._miss_source(self.source, now)
        if now >= self._seek_at:
            self._seek(now)
        if self._talking is None and self.source is not None and self._following.to_compare(now):
            self._ask(self.source.contact, now)
        if now >= self._next_expiry:
            self._next_expiry = now + EXPIRE_INTERVAL_S
            self._merger.expire(now)
        return self._effects()

    def next_deadline(self) -> float:
        """When `tick` is due."""
        calls = [talk.deadline for talk in self._talks.values()]
        following = self._following.next_deadline(talking=self._talking is not None)
        others = self._recollections.next_deadline(), self._expulsion.next_deadline()
        return min([*calls, *others, following, self._seek_at, self._next_expiry])

    def leave(self, now: float) -> list[Effect]:
        """End."""
        self._ended = True
        return []

    def _effects(self) -> list[Effect]:
        effects, self.local.out = self.local.out, []
        return effects

    # commands ---------------------------------------------------------------------------------------------------------

    def set_seeds(self, seeds: Sequence[str], now: float, *, pending: bool = False) -> list[Effect]:
        """The addresses of the seeds were found, or moved; `pending` or not, it seeks on until somebody is found."""
        self._candidates.seeds = list(seeds)
        if self.source is None:
            self._seek(now)
        return self._effects()

    def report_failure(self, key: InstanceKey, now: float) -> list[Effect]:
        """An observer has no say in who lives."""
        return []

    def recall(self, name: str, now: float, patience_s: float) -> tuple[list[Effect], int]:
        """Ask the source what happened to somebody; `Recollected` of the returned number tells the answer, or that none came."""
        number = self._recollections.ask(name, now, patience_s)
        return self._effects(), number

    def revoke(self, revocation: bytes, now: float, patience_s: float) -> tuple[list[Effect], int]:
        """Tell the source that a certificate was taken back; `Recollected` as for `recall` tells that it heard it."""
        told = self.local.codec.encode(Revoked((revocation,)))
        number = self._recollections.ask(self.local.me.id, now, patience_s, told)
        return self._effects(), number

    def forget(self, number: int, now: float) -> list[Effect]:
        """Nobody waits any more for this recollection."""
        self._recollections.forget(number)
        return self._effects()

    def _contact(self) -> str | None:
        return self.source.contact if self.source is not None else None

    # seeking ----------------------------------------------------------------------------------------------------------

    def _seek(self, now: float) -> None:
        """Ask every candidate that is not being asked; whoever answers first is followed."""
        self._seek_at = now + self.local.jittered(self.local.config.joining.alone_interval_s)
        if self._talking is None and self.source is None:
            for endpoint in self._candidates.next({talk.endpoint for talk in self._talks.values()}, now):
                self._ask(endpoint, now)

    def _ask(self, endpoint: str, now: float) -> None:
        local, call = self.local, self._new_call()
        config = local.config
        patience = config.repair.timeout_s if self.source is not None else config.links.connect_timeout_s
        resort = self._candidates.passes_over(endpoint, now)
        self._talks[call] = Talk(endpoint, now + patience, now + config.repair.conversation_max_s, resort)
        me = local.me
        self._send(call, endpoint, Sync(me.id, me.incarnation, 0, 0, local.synced, local.table.packed_sums()))

    def _new_call(self) -> int:
        self._calls += 1
        return self._calls

    def _send(self, call: int, endpoint: str, message: Message) -> None:
        self.local.out.append(Call(call, endpoint, self.local.codec.encode(message)))

    def _give_up(self, call: int, why: str, now: float) -> None:
        talk = self._talks.get(call)
        if talk is None:
            return
        self.met[why] += 1
        self._hang_up(call)
        if talk.view.partner:  # it answered, and came to no end
            self.local.counters["conversations_lost"] += 1
            for key in (talk.view.partner, talk.endpoint):
                self._candidates.pass_over(key, now)
            self._candidates.begin()
        if self.source is None:
            if self._candidates.waiting(now):  # there is room for the next
                self._seek_at = now
            elif not self._talks:
                self._seek_at = min(self._seek_at, now + self.local.jittered(self.local.config.joining.rendezvous_max_s))
        elif talk.endpoint == self.source.contact:  # it answers no questions: somebody else may
            self._lose_source(now)

    def _hang_up(self, call: int) -> None:
        del self._talks[call]
        if self._talking == call:
            self._talking = None
        self.local.out.append(HangUp(call))

    # talking ----------------------------------------------------------------------------------------------------------

    def _on_answered(self, input: Answered, now: float) -> None:
        message = self.local.codec.decode(input.frame)
        if isinstance(message, History):
            self._recollections.answered(input.call, message)
            return
        talk = self._talks.get(input.call)
        step = self._STEPS.get(type(message))
        if talk is not None and step is not None:
            talk.deadline = min(now + self.local.config.repair.timeout_s, talk.ends_at)
            step(self, input.call, talk, message, input.frame, now)
            self._bound(input.call, talk, now)

    def _bound(self, call: int, talk: Talk, now: float) -> None:
        """Nobody tells of more than may live."""
        most = 2 * self.local.config.limits.members_max
        if talk.view.size > most:
            partner = talk.view.partner
            self.local.bounds.hit("entries_refused", partner, f"{partner} tells of more than {most} members", now)
            self._give_up(call, "more members than config.limits.members_max", now)

    def _on_entries(self, call: int, talk: Talk, message: Entries, frame: bytes, now: float) -> None:
        if self._talking not in (None, call):
            self._hang_up(call)
            return
        if not message.synced:  # it would show but a part
            self._hang_up(call)
            if self.source is None:
                self._seek_at = now + UNSYNCED_RETRY_S
            else:
                self._following.compare_within(UNSYNCED_RETRY_S, now)
            return
        if self._candidates.passes_over(message.sender, now) and not talk.resort:  # the same under another address
            self._candidates.pass_over(talk.endpoint, now)
            self._hang_up(call)
            return
        self._talking = call
        for other in [other for other in self._talks if other != call]:
            self._hang_up(other)
        if talk.view.take(message, self.local.table):
            self._next_step(call, talk, now)

    def _on_delta(self, call: int, talk: Talk, delta: Delta, frame: bytes, now: float) -> None:
        talk.view.moved |= self._merger.take(delta, frame, now).outcome in (Outcome.APPLIED, Outcome.PARTIAL)

    def _on_told(self, call: int, talk: Talk, belief: Belief, frame: bytes, now: float) -> None:
        talk.view.suspected[belief.subject] = belief

    def _on_done(self, call: int, talk: Talk, message: Done, frame: bytes, now: float) -> None:
        if talk.view.listed:
            self._next_step(call, talk, now)

    _STEPS: ClassVar[dict[type, Callable[..., None]]] = {Entries: _on_entries, Delta: _on_delta, Belief: _on_told, Done: _on_done}

    def _next_step(self, call: int, talk: Talk, now: float) -> None:
        """Want what is left to want, then believe what the source believes, and follow it."""
        wants = talk.view.next_wants(self.local.table)
        if wants:
            self._send(call, talk.endpoint, Want(wants))
            return
        for belief in talk.view.beliefs(self.local.table):
            self._membership.believe(belief, now)
        self._hang_up(call)
        self._follow(talk.view, now)
        if not self.local.synced:
            self.local.synced = True
            self.local.notice(self.local.me.id, f"{self.local.me.id} {SYNCED}")

    # following --------------------------------------------------------------------------------------------------------

    def _follow(self, view: Comparison, now: float) -> None:
        """Link to whoever answered."""
        self._following.compared(moved=view.moved)
        origin = self.local.table.origins.get(view.partner)
        if origin is None or not origin.alive:  # it was refused: there is nobody to follow, the view is as of now
            self._seek_at = now + self.local.jittered(self.local.config.joining.dial_interval_s)
            return
        self._seek_at = NEVER
        self._following.follow(origin, now)

    def _miss_source(self, source: Source, now: float) -> None:
        """It fell silent, or was never heard: then others are asked before it, for a while."""
        if not source.heard:
            why = f"{source.id} answers at {source.contact}, but nothing is heard from {source.publisher}"
            if self._candidates.pass_over(source.id, now):
                self.local.notice(source.id, f"{why}: is that port closed? Asking others")
            self._candidates.pass_over(source.contact, now)
        self._lose_source(now)

    def _lose_source(self, now: float) -> None:
        """Follow somebody else; what is held is served meanwhile."""
        self.local.counters["sources_lost"] += 1
        for call in list(self._talks):
            self._hang_up(call)
        self._following.lose()
        self._recollections.source_lost(now)
        self._candidates.begin()
        self._seek(now)

    def _on_refused(self, input: Refused, now: float) -> None:
        self._give_up(input.call, "somebody with another secret", now)

    def _on_unreached(self, input: Unreached, now: float) -> None:
        self._give_up(input.call, "no answer", now)

    def _on_link_closed(self, input: LinkClosed, now: float) -> None:
        if self.source is not None and self.source.publisher == input.endpoint:
            self._lose_source(now)

    def _on_heard(self, input: Heard, now: float) -> None:
        if self.source is None or input.frame[:1] != TOPIC_OBSERVERS:
            return
        frame = input.frame[1:]
        message = self.local.codec.decode(frame)
        if isinstance(message, Delta):
            lived = self._lives(message.origin)
            self._on_news(message, frame, now)
            if self._lives(message.origin) != lived:
                self._note(message.origin, None, now)
        elif isinstance(message, Belief):
            self._membership.believe(message, now)
            self._note(message.subject, message, now)
        elif isinstance(message, Heartbeat):
            self._on_heartbeat(message, now)
        self._look_at_source(now)

    def _look_at_source(self, now: float) -> None:
        """It may have told its own end."""
        if self.source is not None and not self._lives(self.source.id):
            self._lose_source(now)

    def _lives(self, id: str) -> bool:
        origin = self.local.table.origins.get(id)
        return origin is not None and origin.alive

    def _note(self, id: str, belief: Belief | None, now: float) -> None:
        """Who is told of while views are compared: the entries may be older than that."""
        for call, talk in list(self._talks.items()):
            talk.view.news[id] = belief
            self._bound(call, talk, now)

    def _on_news(self, delta: Delta, frame: bytes, now: float) -> None:
        if self._merger.take(delta, frame, now).outcome is Outcome.GAP:
            self._following.compare_within(self.local.config.repair.reorder_s, now)

    def _on_heartbeat(self, beat: Heartbeat, now: float) -> None:
        source, origin = self.source, self.local.table.by_hash.get(beat.sender)
        if source is None or origin is None or origin.id != source.id:
            return
        if self._following.heard(source, beat, now):
            self._candidates.pardon(source.id, source.contact)

    _HANDLERS: ClassVar[dict[type, Callable[..., None]]] = {
        Heard: _on_heard,
        Answered: _on_answered,
        Refused: _on_refused,
        Unreached: _on_unreached,
        LinkClosed: _on_link_closed,
    }
