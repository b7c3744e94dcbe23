"""Alerts to webhooks, in the shape of Alertmanager's version 4. Exactly one gateway sends each: the ring decides.

    condition true ──▶ firing at all gateways ──▶ locate("gossip-alerts", fingerprint) is me? ──▶ POST, until taken
                                                  the labels of my own registration say what I have sent

All gateways that alert register as `gossip-alerts`, and publish the fingerprints they have told. When one dies, the ring names
another, which knows from those labels what was told already. Invariant: while the gateways see each other, an alert is told
once, and its end once; a webhook that took it and did not say so is told again. Each side of a split tells it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import httpx

from .. import AsyncPeer, AsyncRegistration, Event, GossipError, Instance, PeerClosed, PeerState
from .rules import Alert, AlertSettings, Rules

logger = logging.getLogger("gossip.gateway")

SERVICE_OF_ALERTERS = "gossip-alerts"
TICK_S = 0.25
PUBLISHED_MAX = 48  # fingerprints in the labels of one registration; what is beyond may be told twice after a death
HEARD_MAX = 1024  # fingerprints that others told, remembered
HEARD_S = 60.0  # so long after the other's end
ALERTS_MAX = 256  # at once; what is beyond waits
POST_TIMEOUT_S = 5.0
RETRY_MIN_S, RETRY_MAX_S = 0.25, 30.0
NEVER = "0001-01-01T00:00:00Z"


@dataclass(slots=True)
class Case:
    """One alert, from its beginning to the delivery of its end."""

    alert: Alert
    begun_at: float  # wall time, for the message
    active: bool = True
    told: set[str] = field(default_factory=set)  # the webhooks that took that it fires, from whomever, and not its end yet
    delivery: asyncio.Task[None] | None = None


class Alerts:
    """All cases of one gateway, and their deliveries."""

    def __init__(
        self, peer: AsyncPeer, settings: AlertSettings, rules: Rules, url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._peer, self._settings, self._rules, self._url, self._clock = peer, settings, rules, url, clock
        self._cases: dict[str, Case] = {}
        self._published: frozenset[str] = frozenset()
        self._heard: OrderedDict[str, float] = OrderedDict()  # told by others; until when that counts
        self.failed = 0  # deliveries that were not taken at the first try

    async def run(self, host: str, port: int) -> None:
        """Until it is cancelled, or the peer closes."""
        mine: AsyncRegistration | None = None
        async with httpx.AsyncClient(timeout=POST_TIMEOUT_S, trust_env=False) as client:
            try:
                while True:
                    await asyncio.sleep(TICK_S)
                    try:
                        if mine is None:
                            mine = await self._peer.register(SERVICE_OF_ALERTERS, host=host, port=port, id=self._peer.id)
                        if self._peer.state is PeerState.JOINING:
                            continue
                        self._look(client)
                        await self._publish(mine)
                    except PeerClosed:
                        return
                    except GossipError as error:  # too busy for now
                        logger.warning("! alerts: %s; tried again", error)
            finally:
                deliveries = [case.delivery for case in self._cases.values() if case.delivery is not None]
                for delivery in deliveries:
                    delivery.cancel()
                await asyncio.gather(*deliveries, return_exceptions=True)

    def hear(self, event: Event, now: float) -> None:
        """What another says it has told counts at once, and for a while after its death: also for what is no case here yet."""
        before, after = event.before, event.after
        known = after or before
        if not isinstance(known, Instance) or known.service != SERVICE_OF_ALERTERS or known.id == self._peer.id:
            return
        told_before = set(before.labels) if isinstance(before, Instance) else set()
        told_now = set(after.labels) if isinstance(after, Instance) else set()
        for fingerprint in told_before - told_now:
            if after is None:
                self._heard[fingerprint] = now + HEARD_S
            else:
                self._heard.pop(fingerprint, None)  # its end was told, or it is another's
        for fingerprint in told_now:
            self._heard[fingerprint] = math.inf
            if fingerprint in self._cases:
                self._cases[fingerprint].told.update(self._settings.webhooks)
        while len(self._heard) > HEARD_MAX:
            self._heard.popitem(last=False)

    def _look(self, client: httpx.AsyncClient) -> None:
        now = self._clock()
        firing = self._rules.firing(now)
        others = self._told_by_others()
        for fingerprint, alert in firing.items():
            case = self._cases.get(fingerprint)
            if case is None:
                if len(self._cases) >= ALERTS_MAX:
                    continue
                case = self._cases[fingerprint] = Case(alert, time.time())
                if self._heard.pop(fingerprint, 0.0) > now:
                    case.told.update(self._settings.webhooks)
            case.active = True
        for fingerprint, case in tuple(self._cases.items()):
            case.active = fingerprint in firing
            if fingerprint in others:
                case.told.update(self._settings.webhooks)
            self._settle(fingerprint, case, fingerprint in others, client)

    def _settle(self, fingerprint: str, case: Case, told_by_other: bool, client: httpx.AsyncClient) -> None:
        """What is to be done for one case now."""
        if case.delivery is not None and case.delivery.done():
            case.delivery = None
        if case.delivery is not None:
            return
        owner = self._owns(case.alert)
        if case.active and owner and not case.told.issuperset(self._settings.webhooks):
            case.delivery = asyncio.ensure_future(self._deliver(client, fingerprint, case, "firing"))
        elif not case.active and owner and case.told:
            case.delivery = asyncio.ensure_future(self._deliver(client, fingerprint, case, "resolved"))
        elif not case.active and not (told_by_other and case.told):  # nobody was told, or its owner told the end
            del self._cases[fingerprint]

    def _owns(self, alert: Alert) -> bool:
        if alert.mine:
            return True
        try:
            return self._peer.locate(SERVICE_OF_ALERTERS, alert.fingerprint).id == self._peer.id
        except GossipError:
            return True  # nobody but me, and my own registration is not there yet

    def _told_by_others(self) -> frozenset[str]:
        others = (one for one in self._peer.lookup(SERVICE_OF_ALERTERS) if one.id != self._peer.id)
        return frozenset(fingerprint for one in others for fingerprint in one.labels)

    async def _publish(self, mine: AsyncRegistration) -> None:
        told = [name for name, case in self._cases.items() if case.told and self._owns(case.alert)]
        wanted = frozenset(sorted(told)[:PUBLISHED_MAX])
        if wanted != self._published:
            await mine.update(labels=dict.fromkeys(wanted, "1"))
            self._published = wanted

    # delivery ---------------------------------------------------------------------------------------------------------

    async def _deliver(self, client: httpx.AsyncClient, fingerprint: str, case: Case, status: str) -> None:
        """POST until every webhook took it, the condition changed, or it became another's. Only who was told hears the end."""
        fires, pause = status == "firing", RETRY_MIN_S
        body = self._message(fingerprint, case, status)
        note = case.told.add if fires else case.told.discard
        while waiting := [url for url in self._settings.webhooks if (url in case.told) is not fires]:
            for url in waiting:
                if case.active is not fires or not self._owns(case.alert):
                    return
                if await self._taken(client, url, body):
                    note(url)
            if any((url in case.told) is not fires for url in waiting):
                self.failed += 1
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_MAX_S)
        if not fires:
            self._cases.pop(fingerprint, None)

    async def _taken(self, client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> bool:
        try:
            answer = await client.post(url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            what = type(error).__name__  # the rest may repeat the URL
            logger.warning("! the webhook at %s did not take an alert, it is tried again: %s", place_of(url), what)
            return False
        if not answer.is_success:
            logger.warning("! the webhook at %s answered %d, it is tried again", place_of(url), answer.status_code)
        return bool(answer.is_success)

    def _message(self, fingerprint: str, case: Case, status: str) -> dict[str, Any]:
        labels, name = dict(case.alert.labels), dict(case.alert.labels)["alertname"]
        annotations = {"summary": case.alert.summary}
        one = {
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": _written(case.begun_at),
            "endsAt": NEVER if status == "firing" else _written(time.time()),
            "generatorURL": self._url,
            "fingerprint": fingerprint,
        }
        return {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{name}"}}',
            "truncatedAlerts": 0,
            "status": status,
            "receiver": "gossip",
            "groupLabels": {"alertname": name},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": self._url,
            "alerts": [one],
        }


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat().replace("+00:00", "Z")


def place_of(url: str) -> str:
    """A webhook as a log may tell it: who knows the rest of its URL can often post to it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…"
