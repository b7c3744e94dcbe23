"""Dial-back: does anybody reach what I advertise? Asked once of a partner of the join, who tries both ports.

Behind a NAT, a container's network or a firewall a peer can join, and yet never be heard: the others dial what it
advertises. Asker and answerer keep at most `REACH_MAX` checks; a partner too old to know the question never answers, and
nothing is concluded from that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .effects import Answer, Call, HangUp, Probe, ProbeOutcome
from .local import Local
from .messages import DialBack, Reached

REACH_MAX = 16  # two probes each; a shell that has too many under way says UNKNOWN at once
NEVER = float("inf")
_FOUND = {ProbeOutcome.OPEN: True, ProbeOutcome.REFUSED: False, ProbeOutcome.UNKNOWN: None}
_TOLD = {False: "the connection is refused", None: "no answer"}


@dataclass(slots=True)
class _Check:
    """One check for somebody else: which endpoints still have no answer."""

    token: bytes
    contact: str
    publisher: str
    found: dict[str, bool | None] = field(default_factory=dict)


class Reach:
    """Owns my one check, and those I make for others. `wanted` until somebody answered mine."""

    def __init__(self, local: Local, *, new_call: Callable[[], int], wanted: bool) -> None:
        self._local = local
        self._new_call = new_call
        self.wanted = wanted
        self._call: int | None = None
        self._deadline = NEVER
        self._for_others: list[_Check] = []

    # asking -----------------------------------------------------------------------------------------------------------

    def ask(self, contact: str, now: float) -> None:
        """Have the peer at this contact dial me."""
        local, config = self._local, self._local.config
        self._call, self.wanted = self._new_call(), False
        local.counters["dial_backs"] += 1
        self._deadline = now + config.detection.probe_timeout_s + config.detection.ping_timeout_s + config.links.connect_timeout_s
        local.out.append(Call(self._call, contact, local.codec.encode(DialBack(local.me.id))))

    def answered(self, call: int, reached: Reached) -> None:
        """Tell the user at once what does not answer."""
        if call != self._call:
            return
        self._hang_up()
        self._local.counters["dial_backs_answered"] += 1
        me = self._local.me
        for what, endpoint, found in (("contact", me.contact, reached.contact), ("publisher", me.publisher, reached.publisher)):
            if found is not True:
                self._local.counters["unreachable"] += 1
                self._local.notice(
                    me.id,
                    f"{reached.sender} cannot connect to my {what} at {endpoint}, which I advertise: {_TOLD[found]}. Others will "
                    "take me for dead; advertise an address and ports that they reach, or open the ports",
                )

    def tick(self, now: float) -> None:
        """No answer: an older peer, or one that just ended."""
        if now >= self._deadline:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._call is not None:
            self._local.out.append(HangUp(self._call))
        self._call, self._deadline = None, NEVER

    def next_deadline(self) -> float:
        """When my question is given up."""
        return self._deadline

    # answering --------------------------------------------------------------------------------------------------------

    def asked(self, token: bytes, message: DialBack) -> None:
        """Dial a member back, at the endpoints that it advertises to all: a stranger cannot have others dialled."""
        origin = self._local.table.origins.get(message.asker)
        if origin is None or origin is self._local.me:
            return
        if len(self._for_others) >= REACH_MAX:
            self._local.counters["dial_backs_refused"] += 1
            return
        check = _Check(token, origin.contact, origin.publisher)
        self._for_others.append(check)
        self._local.out += [Probe(check.contact), Probe(check.publisher)]

    def probed(self, endpoint: str, outcome: ProbeOutcome) -> None:
        """What a TCP connect found: the answer for whoever waits for it."""
        for check in list(self._for_others):
            if endpoint in (check.contact, check.publisher):
                check.found.setdefault(endpoint, _FOUND[outcome])
                if len(check.found) == len({check.contact, check.publisher}):
                    self._for_others.remove(check)
                    answer = Reached(self._local.me.id, check.found[check.contact], check.found[check.publisher])
                    self._local.out.append(Answer(check.token, self._local.codec.encode(answer)))
