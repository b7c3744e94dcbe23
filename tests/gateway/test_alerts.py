"""Alerts reach the webhook once, from one gateway, and are taken up by another when that dies."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gossip import GossipError, PeerClosed, PeerState
from gossip.cli.main import main
from gossip.gateway.alerts import Alerts

from .conftest import Street, end, until


class Hook:
    """A webhook: what it took, and how many of the next posts it refuses."""

    def __init__(self) -> None:
        self.took: list[dict[str, Any]] = []
        self.refused = 0
        self.refuse = 0
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if hook.refuse > 0:
                    hook.refuse -= 1
                    hook.refused += 1
                    self.send_response(503)
                else:
                    hook.took.append(body)
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def of(self, name: str) -> list[dict[str, Any]]:
        return [message for message in self.took if message["groupLabels"]["alertname"] == name]


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook."""
    yield from served(Hook())


@pytest.fixture
def deaf() -> Iterator[Hook]:
    """Another one, to refuse."""
    yield from served(Hook())


def served(hook: Hook) -> Iterator[Hook]:
    thread = threading.Thread(target=hook.server.serve_forever, args=(0.01,))
    thread.start()
    yield hook
    hook.server.shutdown()
    thread.join()
    hook.server.server_close()


def options(hook: Hook, *services: str, after: str = "0.2") -> list[str]:
    return ["--webhook", hook.url, "--alert-after", after, *(f"--alert-below={service}=1" for service in services)]


def told(hook: Hook) -> list[tuple[str, str]]:
    """Service and status of each message about a service, in order."""
    return [(message["commonLabels"]["service"], message["status"]) for message in hook.of("GossipServiceBelow")]


def test_an_alert_has_the_shape_of_alertmanager_fires_once_and_is_resolved_once(street: Street, hook: Hook) -> None:
    door = street.open(*options(hook, "orders"))
    until(lambda: hook.took, "the alert")
    (message,) = hook.took
    (alert,) = message["alerts"]
    assert (message["version"], message["status"], message["receiver"]) == ("4", "firing", "gossip")
    assert message["groupLabels"] == {"alertname": "GossipServiceBelow"}
    assert alert["labels"] == message["commonLabels"] == {"alertname": "GossipServiceBelow", "service": "orders"}
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    assert alert["startsAt"].endswith("Z")
    assert len(alert["fingerprint"]) == 16
    door.register("orders", 1)
    until(lambda: len(hook.took) == 2, "its end")
    assert told(hook) == [("orders", "firing"), ("orders", "resolved")]
    assert hook.took[1]["alerts"][0]["fingerprint"] == alert["fingerprint"]
    assert hook.took[1]["alerts"][0]["endsAt"] > alert["startsAt"]


def test_a_webhook_that_refuses_is_tried_again(street: Street, hook: Hook) -> None:
    hook.refuse = 2
    street.open(*options(hook, "orders"))
    until(lambda: hook.took, "the alert")
    assert (hook.refused, told(hook)) == (2, [("orders", "firing")])


def test_a_webhook_may_come_from_a_file_and_no_log_tells_more_than_its_host(
    street: Street, hook: Hook, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "webhooks"
    file.write_text(f"{hook.url}?key=very-secret\n", encoding="utf-8")
    file.chmod(0o600)
    street.open("--webhook-file", str(file), "--alert-below", "orders=1", "--alert-after", "0.2")
    until(lambda: hook.took, "the alert is taken")

    async def refused() -> bool:
        alerts = Alerts(None, None, None, "")  # type: ignore[arg-type]
        hook.refuse = 1
        async with httpx.AsyncClient(trust_env=False) as client:
            return await alerts._taken(client, f"{hook.url}?key=very-secret", {})

    assert not asyncio.run(refused())
    (said,) = [record.getMessage() for record in caplog.records if record.name == "gossip.gateway"]
    assert said.startswith("! the webhook at http://127.0.0.1/… answered 503")


def test_each_alert_is_sent_by_one_of_several_gateways(street: Street, hook: Hook) -> None:
    services = [f"service-{number}" for number in range(8)]
    doors = [street.open(*options(hook, *services, after="3")) for _ in range(3)]
    until(lambda: len(doors[0].get("/v1/instances?service=gossip-alerts").json()["instances"]) == 3, "that all know of all")
    until(lambda: {service for service, _ in told(hook)} == set(services), "all alerts")
    for service in services:
        doors[0].register(service, 1)
    until(lambda: len([status for _, status in told(hook) if status == "resolved"]) == len(services), "all ends")
    assert sorted(told(hook)) == sorted((service, status) for service in services for status in ("firing", "resolved"))
    senders = {message["externalURL"] for message in hook.took}
    assert len(senders) > 1, "eight alerts over a ring of three went by one"


def test_when_the_sender_dies_another_takes_over_and_repeats_nothing(street: Street, hook: Hook) -> None:
    first, second = (street.open(*options(hook, "orders", after="2")) for _ in range(2))
    until(lambda: told(hook), "the alert")
    (message,) = hook.of("GossipServiceBelow")
    sender, other = (first, second) if message["externalURL"] == f"{first.url}/" else (second, first)
    fingerprint = message["alerts"][0]["fingerprint"]

    def published() -> bool:
        found = other.get("/v1/instances?service=gossip-alerts").json()["instances"]
        return any(one["id"] == sender.id and fingerprint in one["labels"] for one in found)

    until(published, "that the other knows what was told")
    sender.process.kill()

    def taken_over() -> bool:
        found = other.get("/v1/instances?service=gossip-alerts").json()["instances"]
        return [(one["id"], fingerprint in one["labels"]) for one in found] == [(other.id, True)]

    until(taken_over, "that the other has taken over")
    assert told(hook) == [("orders", "firing")]
    other.register("orders", 1)
    until(lambda: len(told(hook)) == 2, "its end, from the other")
    assert told(hook)[1] == ("orders", "resolved")
    assert hook.of("GossipServiceBelow")[1]["externalURL"] == f"{other.url}/"


def test_a_gateway_that_lost_all_others_and_one_whose_bound_was_hit_say_so(street: Street, hook: Hook) -> None:
    door = street.open(*options(hook), "--viewers", "1")
    second = street.open()
    until(lambda: len(door.get("/v1/members").json()["members"]) == 2, "the other")
    end(second.process)
    until(lambda: hook.of("GossipIsolated"), "that it is alone")
    assert hook.of("GossipIsolated")[0]["commonLabels"]["gateway"] == door.id
    with door.http.stream("GET", "/v1/watch") as one:
        next(lines := one.iter_lines())
        assert door.get("/v1/watch").status_code == 503
        until(lambda: hook.of("GossipBoundHit"), "that a bound was hit")
        del lines
    assert hook.of("GossipBoundHit")[0]["commonLabels"]["bound"] == "gateway_viewers"


def test_an_instance_that_comes_and_goes_is_flapping(street: Street, hook: Hook) -> None:
    door = street.open(*options(hook))
    for _ in range(4):
        door.register("orders", 1, id="orders-1")
        door.post("/v1/deregister", {"service": "orders", "id": "orders-1"})
    until(lambda: hook.of("GossipFlapping"), "that it flaps")
    assert hook.of("GossipFlapping")[0]["commonLabels"]["instance"] == "orders/orders-1"


@pytest.mark.parametrize(
    "arguments",
    [["--alert-below", "orders=2"], ["--webhook", "http://x", "--alert-below", "orders=many"], ["--webhook", "nowhere"]],
)
def test_wrong_alert_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", "--listen", "127.0.0.1:0", *arguments]) in (1, 2)
    assert "webhook" in (told := capsys.readouterr().err) or "alert-below" in told


def test_a_webhook_that_took_an_alert_hears_its_end_whatever_another_does(street: Street, hook: Hook, deaf: Hook) -> None:
    deaf.refuse = 1_000_000
    door = street.open(*options(hook, "orders"), "--webhook", deaf.url)
    until(lambda: hook.took and deaf.refused > 1, "the alert, at one of the two")
    door.register("orders", 1)
    until(lambda: len(hook.took) == 2, "its end")
    assert told(hook) == [("orders", "firing"), ("orders", "resolved")]


def test_a_peer_that_was_too_busy_once_does_not_end_the_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy:
        id, state = "me", PeerState.READY

        async def register(self, *_: object, **__: object) -> None:
            return None

    looks: list[Exception] = [GossipError("too busy"), PeerClosed("closed")]

    def look(*_: object) -> None:
        raise looks.pop(0)

    peer: Any = Busy()
    alerts = Alerts(peer, None, None, "")  # type: ignore[arg-type]
    monkeypatch.setattr(alerts, "_look", look)
    asyncio.run(alerts.run("127.0.0.1", 1))
    assert looks == []
