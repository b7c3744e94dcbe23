"""What others say about me: accusations to refute, former lives that outlived me, another process with my id.

Invariant: nobody else's word about me stands: a higher pulse answers an accusation, a higher incarnation a claimed life.
Three times in a minute, by another boot: the id is shared, and the younger process takes a new one.
"""

from __future__ import annotations

from ..values import dataclass
from .author import Author
from .bounds import Bucket
from .local import Local
from .messages import Charge, Delta, Evidence, Header, Incarnation
from .standing import Standing

RISE_WINDOW_S = 60.0
RISES_SUSPICIOUS = 2  # twice in a minute somebody else spoke as me: tell the user
RISES_PER_MINUTE = 6.0  # no more new lives than this, however many higher ones others claim
RISE_START_MAX = 1 << 53  # nobody's clock says so: a claim above it is forged, and room is needed above what is not
REFUTATIONS_PER_S = 4.0  # of mine, after `REFUTATIONS_AT_ONCE`: each costs everybody a message, and accusing costs nothing
REFUTATIONS_AT_ONCE = 16
ACCUSED_MAX = 4  # refuted accusations of me by one accuser within `ACCUSED_S`; then it is named, where others sign
ACCUSED_S = 60.0
NEVER = float("inf")
RISES_MAX = 3  # three times: the younger of us takes a new id


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is when it starts. `wall_ms` and `nonce` make its first incarnation, above a life that was saved."""

    id: str
    name: str
    cluster: str
    zone: str
    host: str
    contact_port: int
    publisher_port: int
    wall_ms: int
    nonce: int
    saved_start: int = -1  # of the latest life under this id that was saved

    @property
    def incarnation(self) -> Incarnation:
        """The first one: the clock may have gone back since the last life."""
        return max(self.wall_ms, self.saved_start + 1), self.nonce


class Selfhood:
    """Owns the memory of how often another spoke as me, and of who accuses me. `leaving` ends all answers."""

    def __init__(self, local: Local, author: Author) -> None:
        self._local = local
        self._author = author
        self._rises: list[float] = []
        self._rate = Bucket(RISES_PER_MINUTE / 60, RISES_PER_MINUTE)
        self._refutations = Bucket(REFUTATIONS_PER_S, REFUTATIONS_AT_ONCE)
        self._accusers = Standing(ACCUSED_MAX, ACCUSED_S)
        self._accused_pulse = 0  # the highest that waits to be refuted
        self._refute_at = NEVER
        self.leaving = False

    def accused(self, accuser: str, charge: Charge, now: float) -> None:
        """A charge against me: tell my user, name who makes a habit of it, and refute. One of an earlier pulse is answered."""
        me, life = self._local.me, (charge.incarnation, charge.pulse)
        if life < me.life or self._is_never_mine(charge):
            return
        self._name_accuser(accuser, now)
        if charge.incarnation == me.incarnation:  # not a former life, of which it is true
            self._tell_what_is_said(accuser, charge.evidence, now)
        self.refute(*life, now)

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

    def refute(self, incarnation: Incarnation, pulse: int, now: float) -> None:
        """Somebody accuses me, or holds me dead, at this life or a higher one."""
        if self.leaving:
            return
        if incarnation > self._local.me.incarnation:
            self._rise_above(incarnation, now)
        elif self._refutations.take(1, now):
            self._author.refute(pulse)
        else:
            self._accused_pulse = max(self._accused_pulse, pulse)
            self._refute_at = min(self._refute_at, now + 1 / REFUTATIONS_PER_S)
            me = self._local.me.id
            self._local.bounds.hit("refutations_delayed", me, f"others accuse {me} more often than it refutes at once", now)

    def tick(self, now: float) -> None:
        """Refute what waits."""
        if now >= self._refute_at:
            pulse, self._accused_pulse, self._refute_at = self._accused_pulse, 0, NEVER
            if pulse >= self._local.me.header.pulse:
                self.refute(self._local.me.incarnation, pulse, now)

    def next_deadline(self) -> float:
        """When `tick` is due."""
        return self._refute_at

    def _rise_above(self, incarnation: Incarnation, now: float) -> None:
        """Bounded: others ask me before they believe such a claim, so most of them need no answer."""
        if incarnation[0] > RISE_START_MAX or not self._rate.take(1, now):
            me = self._local.me.id
            self._local.bounds.hit("lives_refused", me, f"others claim ever higher lives of {me}, which it never began", now)
        else:
            self._author.rise_above(incarnation)

    def hear(self, delta: Delta, now: float) -> None:
        """A delta under my id: an echo, a former life that outlived me, or another process with my id."""
        if delta.incarnation <= self._local.me.incarnation or self.leaving:
            return
        self._rises = [*(at for at in self._rises if now - at < RISE_WINDOW_S), now][-RISES_MAX:]
        if not self._step_aside(delta.header):
            self._rise_above(delta.incarnation, now)

    def _step_aside(self, other: Header | None) -> bool:
        """Whether the id is another's by right, and I took a new one."""
        me = self._local.me
        if other is None or (other.boot_ms, other.boot_nonce) == (me.header.boot_ms, me.header.boot_nonce):
            return False
        if len(self._rises) == RISES_SUSPICIOUS:
            self._local.notice(
                me.id,
                f"DuplicatePeerId: another living process, at {other.host}:{other.contact_port}, also calls itself {me.id}; "
                "give each its own id. The younger one takes a new id",
            )
        younger = (me.header.boot_ms, me.header.boot_nonce) > (other.boot_ms, other.boot_nonce)
        if not younger or len(self._rises) < RISES_MAX:
            return False
        self._rises = []
        stem = f"{me.header.name}-{self._local.chance.getrandbits(48):012x}"
        self._author.take_new_id(self._local.seal.own_id(stem))
        return True
