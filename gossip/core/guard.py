"""Guard: what becomes of those who send what is no message of ours, or what its origin did not sign.

Whatever a stranger sends is dropped, counted, and told once a minute. Who sends too much of it within `STANDING_S` is cut
off: a link, a conversation, or an asker's connection. A relay is not blamed for a body it had no time to read. Once somebody
forged, nothing is passed on unverified for as long (`until`), and whoever brought a forgery is named.
"""

from __future__ import annotations

from .answers import Answers
from .bounds import Told
from .effects import Answered, Asked, Blame, Blamed, Heard, Input, Shun, TurnOut
from .local import Local
from .repair import Repair
from .signatures import Forged
from .standing import Standing

STANDING_S = 60.0  # bad frames are counted for so long, and their sender is shunned for so long
NAMED_MAX = 256  # members remembered as named for a forgery lately


class Guard:
    """Owns the standing of all sources, and how long forgers are feared. `repair` and `answers` know who talks over what."""

    def __init__(self, local: Local, repair: Repair, answers: Answers) -> None:
        self._local, self._repair, self._answers = local, repair, answers
        self.until = 0.0
        self._standing = Standing(local.config.limits.bad_frames_max, STANDING_S)
        self._forgery = ""  # the last, for those who are named
        self._named = Told(NAMED_MAX)

    def shuns(self, token: bytes, now: float) -> bool:
        """Whether this asker is cut off. O(1)."""
        return self._standing.shunned(token, now)

    def complain(self, why: str, now: float) -> None:
        """A frame is dropped, and held against nobody."""
        local = self._local
        local.bounds.hit("frames_dropped", local.me.id, f"dropped a frame that is no message of ours ({why})", now)

    def drop(self, input: Input, why: str, now: float) -> None:
        """A frame that is no message of ours."""
        self.complain(why, now)
        self._hold_against(input, why, now)

    def meet_forgery(self, input: Input, forged: Forged, now: float) -> None:
        """It is not stored, it counts against whoever brought it, and for a while I verify before I pass on."""
        self.until = now + STANDING_S
        self._local.bounds.tell("forgeries_refused", forged.origin, f"{forged}; it is not taken in", now)
        self._forgery = str(forged)
        if isinstance(input, Answered):
            self._name(self._repair.partner_at(input.call), now)
        elif isinstance(input, Asked):
            self._name(self._answers.asker(input.token), now)
        self._hold_against(input, str(forged), now)  # `Blamed` tells over which link one came, if it did

    def _hold_against(self, input: Input, why: str, now: float) -> None:
        """Whoever sent this is to be cut off, if it goes on."""
        local = self._local
        if isinstance(input, Heard) and input.source is not None:
            local.out.append(Blame(input.source))
        elif isinstance(input, Answered):
            self._repair.garbled(input.call, now)
        elif isinstance(input, Asked) and self._standing.misbehaved(input.token, now):
            local.bounds.hit("connections_shunned", local.me.id, "an asker's connection is cut off: " + why, now)
            if input.source is not None:
                local.out.append(TurnOut(input.token, input.source))

    def blamed(self, input: Blamed, now: float) -> None:
        """The shell tells over which link a bad frame came."""
        local, endpoint = self._local, input.endpoint
        if now < self.until:
            self._name(next((origin.id for origin in local.table.alive() if origin.publisher == endpoint), None), now)
        if self._standing.misbehaved(endpoint, now):
            why = f"the link to {endpoint} carries what is no message of ours; it is cut for {STANDING_S:g} s"
            local.bounds.hit("links_shunned", local.me.id, why, now)
            local.out.append(Shun(endpoint, STANDING_S))

    def _name(self, id: str | None, now: float) -> None:
        """Tell who brought the last forgery."""
        if id is not None and self._named.is_news(id, now):
            self._local.notice(id, f"it came from {id}, which made it or passed it on, once a minute at most: {self._forgery}")
