"""`/metrics` for Prometheus: what the peer says of itself, and what the gateway measured. Nothing is kept between two scrapes
but two histograms and the counters of the gateway's own bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from starlette.requests import Request
from starlette.responses import Response

from .. import AsyncPeer, MemberState
from .door import Door
from .holdings import Holdings
from .stream import Streams

SERVICES_MAX = 1000  # told one by one; the instances of further ones under service=""
BOUNDS = ("_refused", "_dropped")  # how the counters of bounds that were hit end
LINK_CHANGES = ("dialled", "up", "broken", "overdue", "refused", "shunned")  # counted by the peer
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """All metrics of one gateway, in a registry of their own."""

    def __init__(self, peer: AsyncPeer, door: Door, holdings: Holdings, streams: Streams) -> None:
        self._peer, self._door, self._holdings, self._streams = peer, door, holdings, streams
        self._connections_refused = 0
        self._registry = CollectorRegistry()
        text = "Seconds from the first suspicion of a member, as heard here, to its death"
        self.detection = Histogram("gossip_detection_seconds", text, buckets=SECONDS, registry=self._registry)
        text = "Seconds from a change here until a random member, asked by this gateway on its own clock, holds it"
        self.visibility = Histogram("gossip_visibility_seconds", text, buckets=SECONDS, registry=self._registry)
        self._registry.register(cast(Any, self))
        ProcessCollector(registry=self._registry)

    async def serve(self, request: Request) -> Response:
        """The page. O(members + instances)."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Any]:
        """What is so now."""
        status = self._peer.status()
        yield from self._gauges(status)
        yield self._members()
        yield self._instances()
        yield from self._deltas(status.counters)
        yield from self._counters(status.counters)

    def _gauges(self, status: Any) -> Iterator[Any]:
        for name, text, value in (
            ("gossip_up", "1 while the peer is in sync and hears others", float(status.state == "ready")),
            ("gossip_isolated", "1 while most members are silent and the last view is served on", float(status.isolated)),
            ("gossip_alone", "1 if it knew others and has none left", float(self._door.state == b"alone")),
            ("gossip_digest_agreement", "Share of the neighbours whose digest is this peer's", status.agreement),
            ("gossip_loop_lag_seconds", "How late the bus thread's last turn was", status.loop_lag_s),
            ("gossip_uptime_seconds", "Since the peer started", status.uptime_s),
            ("gossip_registrations_held", "That live with this gateway", float(len(self._holdings))),
            ("gossip_viewers", "Of /v1/watch", float(len(self._streams))),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        links = GaugeMetricFamily("gossip_links", "Links to other peers", labels=["state"])
        links.add_metric(["up"], status.links)
        yield links
        text = "Links to other peers, by what became of them"
        fates = CounterMetricFamily("gossip_link_changes", text, labels=["change"])
        for change in LINK_CHANGES:
            fates.add_metric([change], status.counters.get(f"links_{change}", 0))
        yield fates

    def _members(self) -> Any:
        family = GaugeMetricFamily("gossip_members", "Members as this peer sees them, itself included", labels=["state"])
        counted = Counter(member.state for member in self._peer.members(include_dead=True))
        for state in MemberState:
            family.add_metric([str(state).lower()], counted[state])
        return family

    def _instances(self) -> Any:
        family = GaugeMetricFamily("gossip_instances", "Instances of a service", labels=["service", "state"])
        rest: Counter[str] = Counter()
        for place, service in enumerate(self._peer.services()):
            counted = Counter(str(one.state).lower() for one in self._peer.lookup(service, include_draining=True))
            if place >= SERVICES_MAX:
                rest += counted
                continue
            for state in ("up", "draining", "critical", "stale"):
                family.add_metric([service, state], counted[state])
        for state, number in rest.items():
            family.add_metric(["", state], number)
        return family

    def _deltas(self, counters: Any) -> Iterator[Any]:
        me = next((member.version for member in self._peer.members() if member.id == self._peer.id), 0)
        received = {name.removeprefix("deltas_"): number for name, number in counters.items() if name.startswith("deltas_")}
        family = CounterMetricFamily("gossip_deltas", "Changes, by what became of them", labels=["outcome"])
        family.add_metric(["sent"], me)
        for outcome in sorted({"applied", "duplicate", *received}):
            family.add_metric([outcome], received.get(outcome, 0))
        yield family
        family = CounterMetricFamily("gossip_repairs", "Conversations in which views are compared and mended", labels=["outcome"])
        family.add_metric(["begun"], counters.get("conversations", 0))
        family.add_metric(["lost"], counters.get("conversations_lost", 0))
        yield family

    def _counters(self, counters: Any) -> Iterator[Any]:
        text = "How often something was refused or dropped for a bound"
        bounds = CounterMetricFamily("gossip_bounds_hit", text, labels=["bound"])
        for name, number in self.bounds_hit(counters).items():
            bounds.add_metric([name], number)
        yield bounds
        every = CounterMetricFamily("gossip_events", "All counters of the peer, by their own names", labels=["name"])
        for name, number in counters.items():
            every.add_metric([name], number)
        yield every
        answers = CounterMetricFamily("gossip_http_answers", "Answers of this gateway, by status", labels=["status"])
        for status, number in sorted(self._door.answers.items()):
            answers.add_metric([str(status)], number)
        yield answers

    def bounds_hit(self, counters: Any) -> dict[str, int]:
        """How often each bound was hit, the gateway's own included."""
        found = {name: number for name, number in counters.items() if name.endswith(BOUNDS)}
        found |= {"gateway_registrations": self._holdings.refused, "gateway_viewers": self._streams.refused}
        return found | {"gateway_connections": self._connections_refused}

    def refuse_connection(self) -> None:
        """One more was beyond the bound."""
        self._connections_refused += 1
