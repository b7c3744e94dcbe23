"""Dial-back: does anybody reach what I advertise? Asked of a partner of my first conversation, who tries both ports.

Behind a NAT, a container's network or a firewall a peer can join, and yet never be heard: the others dial what it
advertises. Whoever converses first is asked, in either direction, so a peer without seeds asks too. Who cannot check now
says so, and another member is asked; a partner too old to know the question never answers, and nothing follows from that.

Invariant: for others at most `CHECK_RATE_PER_S` checks are made, and one a member and `CHECK_INTERVAL_S`, of what it
advertises to all, and only for the one who opened this very connection with a `Sync` under its id. Whoever is let in may
still name a third party's address: two connects a check are what it can cause there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ..values import dataclass, field
from .bounds import Bucket
from .effects import Answer, Call, HangUp, Probe, ProbeOutcome
from .local import Local
from .messages import DialBack, Reached, Sync

CHECKS_MAX = 16  # under way for others, two probes each
CHECK_RATE_PER_S = 1.0  # for all others together, after a burst of CHECKS_MAX
CHECK_INTERVAL_S = 10.0  # between two checks for one member
CHECKED_MAX = 1024  # members whose last check is remembered
ASK_PAUSE_S = 0.2  # before who asked me is asked: my state has to arrive there first
ASKS_MAX = 3  # of mine, if those asked cannot check or do not answer
NEVER = float("inf")
_FOUND = {ProbeOutcome.OPEN: True, ProbeOutcome.REFUSED: False, ProbeOutcome.UNKNOWN: None, ProbeOutcome.UNTRIED: None}
_TOLD = {False: "the connection is refused", None: "no answer"}


@dataclass(slots=True)
class _Check:
    """One check for somebody else: what was found at each endpoint so far."""

    token: bytes
    contact: str
    publisher: str
    found: dict[str, ProbeOutcome] = field(default_factory=dict)


class Reach:
    """Owns my question, and the checks that I make for others. `wanted` until somebody was asked."""

    def __init__(self, local: Local, *, new_call: Callable[[], int], sync: Callable[[], Sync], wanted: bool) -> None:
        self._local = local
        self._new_call = new_call
        self._sync = sync
        self.wanted = wanted
        self._asks = 0
        self._call: int | None = None
        self._deadline = NEVER
        self._again_at = NEVER
        self._partner: str | None = None  # contact of whom to ask then; None: any member
        self._for_others: list[_Check] = []
        self._rate = Bucket(CHECK_RATE_PER_S, CHECKS_MAX)
        self._checked: OrderedDict[str, float] = OrderedDict()  # member -> when it was last checked

    # asking -----------------------------------------------------------------------------------------------------------

    def ask(self, contact: str, now: float) -> None:
        """Have the peer at this contact dial me. The `Sync` says under which id I ask; its answer is not needed."""
        local, config = self._local, self._local.config
        self._call, self.wanted, self._again_at = self._new_call(), False, NEVER
        self._asks += 1
        local.counters["dial_backs"] += 1
        self._deadline = now + config.detection.probe_timeout_s + config.detection.ping_timeout_s + config.links.connect_timeout_s
        for message in (self._sync(), DialBack(local.me.id)):
            local.out.append(Call(self._call, contact, local.codec.encode(message)))

    def ask_soon(self, contact: str, now: float) -> None:
        """The same in a moment: it is only learning of me."""
        self._partner, self._again_at, self.wanted = contact, now + ASK_PAUSE_S, False

    def answered(self, call: int, reached: Reached, now: float) -> None:
        """Tell the user at once what does not answer; what could not be checked is asked again elsewhere."""
        if call != self._call:
            return
        self._hang_up()
        self._local.counters["dial_backs_answered"] += 1
        me = self._local.me
        for what, endpoint, found, tried in (
            ("contact", me.contact, reached.contact, reached.contact_tried),
            ("publisher", me.publisher, reached.publisher, reached.publisher_tried),
        ):
            if tried and found is not True:
                self._local.counters["unreachable"] += 1
                self._local.notice(
                    me.id,
                    f"{reached.sender} cannot connect to my {what} at {endpoint}, which I advertise: {_TOLD[found]}. Others will "
                    "take me for dead; advertise an address and ports that they reach, or open the ports",
                )
        if not (reached.contact_tried and reached.publisher_tried):
            self._local.counters["dial_backs_unchecked"] += 1
            self._ask_later(now)

    def tick(self, now: float) -> None:
        """No answer (an older peer, or one that just ended, or does not know me yet), or time to ask another."""
        if now >= self._deadline:
            self._hang_up()
            self._ask_later(now)
        if now >= self._again_at:
            self._again_at = NEVER
            others = [origin.contact for origin in self._local.table.alive() if origin is not self._local.me]
            if self._partner is not None or others:
                self.ask(self._partner or others[int(self._local.chance.random() * len(others))], now)
            self._partner = None

    def _ask_later(self, now: float) -> None:
        if self._asks < ASKS_MAX:
            self._again_at = now + self._local.jittered(CHECK_INTERVAL_S)

    def _hang_up(self) -> None:
        if self._call is not None:
            self._local.out.append(HangUp(self._call))
        self._call, self._deadline = None, NEVER

    def next_deadline(self) -> float:
        """When my question is given up, or asked again."""
        return min(self._deadline, self._again_at)

    # answering --------------------------------------------------------------------------------------------------------

    def asked(self, token: bytes, message: DialBack, asker: str | None, now: float) -> None:
        """Dial a member back, at the endpoints that it advertises to all. `asker`: who opened this connection with a `Sync`."""
        origin = self._local.table.origins.get(message.asker)
        if asker != message.asker or origin is None or origin is self._local.me:
            self._local.counters["dial_backs_of_strangers"] += 1
        elif self._may_check(origin.id, now):
            check = _Check(token, origin.contact, origin.publisher)
            self._for_others.append(check)
            self._local.out += [Probe(check.contact), Probe(check.publisher)]
        else:
            self._local.bounds.hit("dial_backs_refused", origin.id, "too many members want to be dialled back", now)
            self._tell(token, ProbeOutcome.UNTRIED, ProbeOutcome.UNTRIED)

    def _may_check(self, id: str, now: float) -> bool:
        if len(self._for_others) >= CHECKS_MAX or now - self._checked.get(id, -NEVER) < CHECK_INTERVAL_S:
            return False
        if not self._rate.take(1, now):
            return False
        self._checked[id] = now
        self._checked.move_to_end(id)
        if len(self._checked) > CHECKED_MAX:
            self._checked.popitem(last=False)
        return True

    def probed(self, endpoint: str, outcome: ProbeOutcome) -> None:
        """What a TCP connect found: the answer for whoever waits for it."""
        for check in list(self._for_others):
            if endpoint in (check.contact, check.publisher):
                check.found.setdefault(endpoint, outcome)
                if len(check.found) == len({check.contact, check.publisher}):
                    self._for_others.remove(check)
                    self._tell(check.token, check.found[check.contact], check.found[check.publisher])

    def _tell(self, token: bytes, contact: ProbeOutcome, publisher: ProbeOutcome) -> None:
        tried = (contact is not ProbeOutcome.UNTRIED, publisher is not ProbeOutcome.UNTRIED)
        answer = Reached(self._local.me.id, _FOUND[contact], _FOUND[publisher], *tried)
        self._local.out.append(Answer(token, self._local.codec.encode(answer)))
