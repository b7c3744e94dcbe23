"""Putting out: members whose certificate expired or was revoked, and what a peer tells its user of its own.

Invariant: who is put out is hidden as one that left, in one batch, and nobody dials, accuses or disputes it. It may come back
with another certificate, by a higher pulse or life, as anybody who was away.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import WireError
from ..model import MemberState
from .certificates import Certificate, in_words
from .local import Local
from .membership import Membership
from .messages import Revoked

WARN_S = 7 * 86400.0  # before its end, or a quarter of its time: a peer tells its user
NEVER = float("inf")


class Expulsion:
    """Puts out members whose certificate ended, and tells a peer of the end of its own."""

    def __init__(self, local: Local, membership: Membership) -> None:
        self._local = local
        self._membership = membership
        self._told = ""  # of my own certificate: the last that my user heard
        self._told_for = b""
        self._tell_at_s = 0.0 if local.me.header.certificate else NEVER

    def hear(self, revocations: Iterable[bytes], now: float) -> None:
        """What somebody says was revoked. What is news is flooded, and counts from now on. Raises `Forged`, after all is done."""
        authority, local = self._local.authority, self._local
        if not authority.judges:
            return
        wall_s, news, forged = local.wall_s(now), [], None
        for raw in revocations:
            try:
                if authority.learn(raw, wall_s, now):
                    news.append(raw)
            except WireError as error:
                forged = error
        if news:
            told = Revoked(tuple(news))
            local.flood(local.codec.encode(told))  # first: whom it is about is to hear it as well
            local.show_message(told)
            self._put_out(now)
        if forged is not None:
            raise forged

    def certified(self) -> None:
        """My certificate is another one."""
        self._tell_at_s = 0.0

    def tick(self, now: float) -> None:
        """Look round when a certificate or a revocation ends."""
        wall_s, authority = self._local.wall_s(now), self._local.authority
        if wall_s >= self._tell_at_s:
            self._tell_of_mine(wall_s)
        if wall_s >= authority.next_end_s:
            authority.forget(wall_s)
            self._put_out(now)

    def next_deadline(self) -> float:
        """When `tick` is due."""
        return self._local.at_wall_s(min(self._tell_at_s, self._local.authority.next_end_s))

    def _put_out(self, now: float) -> None:
        """O(members), when something ended."""
        local, authority = self._local, self._local.authority
        wall_s = local.wall_s(now)
        ends = [float(one.until) for one in authority.revocations.values()]
        for origin in list(local.table.alive()):
            if origin is local.me:
                continue
            why = authority.ended(origin.header, wall_s)
            if why:
                local.counters["members_put_out"] += 1
                self._membership.settle(origin, MemberState.LEFT, f"{origin.id} is put out: {why}", now)
                if authority.revoked(origin.header.key):
                    local.fan.remove(origin.hash)
            else:
                ends.append(authority.end_of(origin.header))
        authority.next_end_s = min((end for end in ends if end > wall_s), default=NEVER)
        if authority.revoked(local.me.header.key):
            self._tell("the authority revoked the certificate of this peer: others take nothing of it in any more")

    def _tell_of_mine(self, wall_s: float) -> None:
        try:
            mine = Certificate.of_bytes(self._local.me.header.certificate)
        except WireError:
            self._tell_at_s = NEVER
            return
        warn_at = mine.not_after - min(WARN_S, (mine.not_after - mine.not_before) / 4)
        advice = "give it a new one: Peer.renew_certificate, or a restart"
        if wall_s >= mine.not_after:
            self._tell_at_s = NEVER
            self._tell(f"the certificate of this peer expired: others show nothing of it any more; {advice}")
        elif wall_s >= warn_at:
            self._tell_at_s = mine.not_after
            self._tell(f"the certificate of this peer expires in {in_words(mine.not_after - wall_s)}; {advice}")
        else:
            self._tell_at_s = warn_at

    def _tell(self, what: str) -> None:
        if (what, self._local.me.header.certificate) != (self._told, self._told_for):
            self._told, self._told_for = what, self._local.me.header.certificate
            self._local.notice(self._local.me.id, what)
