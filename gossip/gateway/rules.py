"""What is worth an alert: conditions looked at again and again, each true for a while before it fires.

A condition of the cluster looks the same from every gateway, so any of them may tell it; one of this gateway itself is told
by itself alone. Pure but for the peer it reads.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .. import AsyncPeer, ConfigError, Event, EventKind, Instance, Member

FLAPPING_TRACKED_MAX = 1024  # subjects whose comings and goings are counted at once
COMINGS = (EventKind.ADDED, EventKind.REMOVED, EventKind.MEMBER_JOINED, EventKind.MEMBER_DEAD)


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is wrong. Its labels are its identity, at every gateway."""

    labels: tuple[tuple[str, str], ...]
    summary: str
    mine: bool  # about this gateway itself

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the labels."""
        text = "\0".join(part for pair in self.labels for part in pair)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """When a gateway alerts, and whom. Durations are seconds. Raises `ConfigError`."""

    webhooks: tuple[str, ...] = ()
    below: tuple[tuple[str, int], ...] = ()  # a service, and the fewest instances it should have
    for_s: float = 10.0  # how long something must be so; more: calmer, later
    disagreement_s: float = 30.0  # the same for digests that differ
    flaps_max: int = 6  # comings and goings of one instance or member within the window; more: calmer
    window_s: float = 60.0  # for flapping, and for bounds that were hit; more: they stay alerts for longer

    def __post_init__(self) -> None:
        for url in self.webhooks:
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"webhook {url!r} is no URL, such as http://127.0.0.1:9093/hook. Nothing was started.")


class Rules:
    """All conditions of one gateway."""

    def __init__(
        self,
        peer: AsyncPeer,
        settings: AlertSettings,
        *,
        cut_off: Callable[[], bool],
        bounds_hit: Callable[[], Mapping[str, int]],
    ) -> None:
        self._peer, self._settings, self._cut_off, self._bounds_hit = peer, settings, cut_off, bounds_hit
        self._since: dict[Alert, float] = {}
        self._flaps: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._bounds: dict[str, tuple[int, float]] = {name: (number, float("-inf")) for name, number in bounds_hit().items()}

    def see(self, event: Event, now: float) -> None:
        """For flapping."""
        known = event.after or event.before
        if event.kind not in COMINGS or known is None:
            return
        subject = ("instance", f"{known.service}/{known.id}") if isinstance(known, Instance) else ("member", _name(known))
        times = self._flaps.setdefault(subject, deque(maxlen=self._settings.flaps_max))
        self._flaps.move_to_end(subject)
        times.append(now)
        if len(self._flaps) > FLAPPING_TRACKED_MAX:
            self._flaps.popitem(last=False)

    def firing(self, now: float) -> dict[str, Alert]:
        """By fingerprint, what has been so for long enough. O(rules)."""
        found = dict(self._true_now(now))
        self._since = {alert: self._since.get(alert, now) for alert in found}
        return {alert.fingerprint: alert for alert, patience in found.items() if now - self._since[alert] >= patience}

    def _true_now(self, now: float) -> Iterator[tuple[Alert, float]]:
        status = self._peer.status()
        for service, fewest in self._settings.below:
            count = len(self._peer.lookup(service))
            if count < fewest:
                text = f"{service} has fewer than {fewest} usable instances"
                yield _alert("GossipServiceBelow", text, service=service), self._settings.for_s
        if self._cut_off():
            yield self._mine("GossipIsolated", "hears no other peer and answers from its cache"), self._settings.for_s
        if status.agreement < 1.0:
            yield self._mine("GossipDisagreement", "and its neighbours hold different views"), self._settings.disagreement_s
        for (kind, name), times in self._flaps.items():
            if len(times) == times.maxlen and now - times[0] <= self._settings.window_s:
                yield _alert("GossipFlapping", f"the {kind} {name} comes and goes", mine=False, **{kind: name}), 0.0
        for bound, number in self._bounds_hit().items():
            before, at = self._bounds.get(bound, (0, float("-inf")))
            self._bounds[bound] = (number, now if number > before else at)
            if now - self._bounds[bound][1] <= self._settings.window_s:
                yield self._mine("GossipBoundHit", f"hit the bound {bound}", bound=bound), 0.0

    def _mine(self, name: str, what: str, **labels: str) -> Alert:
        return _alert(name, f"the gateway {self._peer.id} {what}", mine=True, gateway=self._peer.id, **labels)


def _alert(name: str, summary: str, *, mine: bool = False, **labels: str) -> Alert:
    return Alert(tuple(sorted({"alertname": name, **labels}.items())), summary, mine)


def _name(member: Member) -> str:
    return member.name  # a process that restarts again and again has a new id each time
