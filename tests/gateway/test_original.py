"""The HTTP surface of the service this project replaces, word for word, in a shell and through several doors."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest

from .conftest import DEADLINE_S, ROOT, Door, Street, clean_environment, end, problem, until

PROVIDER = """
import sys, time
from gossip import Peer
with Peer("provider", cluster=sys.argv[1], bind="127.0.0.1:0", seeds=[sys.argv[2]]) as peer:
    peer.register("orders", port=8099)
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_two_commands_of_the_original_print_what_they_always_printed(door: Door) -> None:
    def shell(command: str) -> str:
        return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout

    register = """curl -X POST -H "Content-Type: application/json" """
    register += """-d '{"name": "serviceA", "address": "127.0.0.1", "port": "8080"}' """ + f"{door.url}/register"
    assert shell(register) == '{"status": "success"}'
    assert shell(f'curl -X GET "{door.url}/discover?name=serviceA"') == '{"address": "127.0.0.1:8080"}'
    for more in ("&by=route", "&by=hash&key=user:42"):
        found = shell(f'curl -X GET "{door.url}/discover?name=serviceA{more}"')
        assert found == '{"address": "127.0.0.1", "port": "8080"}'
    found = shell(f'curl -X GET "{door.url}/discover?by=route&path=/serviceA/x"')
    assert found == '{"address": "127.0.0.1", "port": "8080"}'


def test_a_port_may_be_a_number(door: Door) -> None:
    door.register("numbered", 8081)
    assert door.get("/discover?name=numbered").json() == {"address": "127.0.0.1:8081"}


def test_registering_the_same_again_changes_nothing_and_other_data_replaces_it(door: Door) -> None:
    for _ in range(2):
        door.register("again", 8082, id="again-1")
    one = door.get("/v1/instances?service=again").json()["instances"]
    assert [(found["id"], found["port"]) for found in one] == [("again-1", 8082)]
    door.register("again", 9082, id="again-1", weight=7)
    moved = door.get("/v1/instances?service=again").json()["instances"]
    assert [(found["port"], found["weight"]) for found in moved] == [(9082, 7)]


def test_a_refused_change_leaves_what_was_registered(door: Door) -> None:
    door.register("kept", 8083, id="kept-1")
    refused = door.post("/register", {"name": "kept", "address": "127.0.0.1", "port": 8084, "id": "kept-1", "ttl": -1})
    problem(refused, 400)
    assert door.get("/discover?name=kept").json() == {"address": "127.0.0.1:8083"}


@pytest.mark.parametrize(
    ("strategy", "share"), [("round_robin", (0.75, 0.75)), ("weighted", (0.6, 0.9)), ("random", (0.35, 0.65))]
)
def test_a_strategy_shares_the_requests_out(door: Door, strategy: str, share: tuple[float, float]) -> None:
    name = f"shared-{strategy}"
    door.register(name, 1, weight=3)
    door.register(name, 2, weight=1)
    told = Counter(door.get(f"/discover?name={name}&strategy={strategy}").json()["address"] for _ in range(400))
    assert share[0] <= told["127.0.0.1:1"] / 400 <= share[1], told


def test_a_time_to_live_runs_out(door: Door) -> None:
    door.register("brief", ttl=0.2)
    until(lambda: door.get("/discover?name=brief").status_code == 404, "the end of its time to live")


def test_what_fails_its_health_check_is_discovered_no_more_and_still_listed(door: Door) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        check = {"target": "tcp", "interval": 0.05, "fail_after": 1, "pass_after": 1}
        port = listener.getsockname()[1]
        door.register("sick", port, check=check)
        door.register("plain", port, check="tcp")
        assert door.get("/discover?name=sick").status_code == 200
    until(lambda: door.get("/discover?name=sick").status_code == 404, "that it is critical")
    (one,) = door.get("/v1/instances?service=sick&state=CRITICAL").json()["instances"]
    assert one["port"] == port
    until(lambda: door.get("/discover?name=plain").status_code == 404, "the same with the defaults")
    refused = door.post("/register", {"name": "x", "address": "127.0.0.1", "port": 1, "check": {"target": "udp"}})
    assert "check" in problem(refused, 400)["detail"]


def test_a_registration_is_found_at_every_door_and_in_every_embedded_peer(street: Street) -> None:
    first, second = street.open(), street.open()
    peer = street.peer("embedded")
    first.register("anywhere", 8080, labels={"version": "2"})
    assert until(lambda: second.get("/discover?name=anywhere").status_code == 200, "the registration at the second door")
    (found,) = peer.wait_for("anywhere", timeout=DEADLINE_S)
    assert (found.address, found.labels, found.routes) == ("127.0.0.1:8080", {"version": "2"}, ("/anywhere",))
    peer.register("embedded-service", port=8090)
    until(lambda: first.get("/discover?name=embedded-service").status_code == 200, "the embedded one at the first door")


def test_one_id_taken_by_two_doors_lives_until_the_last_of_them_ends(street: Street) -> None:
    first, second, third = street.open(), street.open(), street.open()
    for one in (first, second):
        one.register("twice", 8080, id="twice-1")
    until(lambda: third.get("/discover?name=twice").status_code == 200, "the registration at the third door")
    assert len(third.get("/v1/instances?service=twice").json()["instances"]) == 1
    end(first.process)
    until(lambda: len(third.get("/v1/members").json()["members"]) == 2, "the end of the first door")
    assert third.get("/discover?name=twice").json() == {"address": "127.0.0.1:8080"}
    end(second.process)
    until(lambda: third.get("/discover?name=twice").status_code == 404, "the end of the second door")


def test_a_killed_process_behind_an_embedded_registration_is_soon_discovered_no_more(street: Street) -> None:
    door = street.open()
    provider = subprocess.Popen(
        [sys.executable, "-c", PROVIDER, street.cluster, door.seed],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    try:
        assert provider.stdout is not None
        assert provider.stdout.readline() == "up\n"
        until(lambda: door.get("/discover?name=orders").status_code == 200, "the registration")
        provider.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: door.get("/discover?name=orders").status_code == 404, "the end of the killed one")
        print(f"gone after {1000 * (time.monotonic() - killed):.0f} ms")
        until(lambda: door.get("/healthz").headers["gossip-state"] == "alone", "that it says it is alone")
    finally:
        end(provider)


def test_only_the_door_that_took_a_registration_changes_it_and_the_others_say_which(street: Street) -> None:
    first, second = street.open(), street.open()
    first.register("mine", 8080, id="mine-1")
    until(lambda: second.get("/discover?name=mine").status_code == 200, "the registration at the second door")
    until(lambda: len(second.get("/v1/instances?service=gossip-gateway").json()["instances"]) == 2, "both doors")
    told: dict[str, Any] = problem(second.post("/v1/deregister", {"service": "mine", "id": "mine-1"}), 409)
    assert (told["origin"], told["gateway"]) == (first.id, first.url)
    assert first.post("/v1/deregister", {"service": "mine", "id": "mine-1"}).status_code == 200
    until(lambda: second.get("/discover?name=mine").status_code == 404, "its end at the second door")
