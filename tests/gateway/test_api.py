"""The API under /v1: each call of a peer, over HTTP."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gossip import Peer
from gossip.cli.main import main

from .conftest import DEADLINE_S, ROOT, Door, Street, clean_environment, end, problem, until


def held(door: Door, service: str, port: int, **more: object) -> dict[str, object]:
    body = {"service": service, "host": "127.0.0.1", "port": port, **more}
    answer = door.post("/v1/register", body)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def test_register_says_what_is_new(door: Door) -> None:
    body = {"service": "fresh", "host": "127.0.0.1", "port": 8080, "labels": {"version": "2"}, "weight": 3}
    first, second = door.post("/v1/register", body), door.post("/v1/register", body | {"weight": 4})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == {
        "service": "fresh",
        "id": "127.0.0.1:8080",
        "host": "127.0.0.1",
        "port": 8080,
        "weight": 3,
        "labels": {"version": "2"},
        "routes": ["/fresh"],
        "zone": "",
        "origin": door.id,
        "state": "UP",
        "address": "127.0.0.1:8080",
    }
    assert second.json()["weight"] == 4


def test_instances_are_filtered(door: Door) -> None:
    held(door, "many", 1, labels={"version": "1", "tier": "a"})
    held(door, "many", 2, labels={"version": "2", "tier": "a"})
    held(door, "many", 3, labels={"version": "2", "tier": "b"})

    def ports(query: str) -> list[int]:
        return [one["port"] for one in door.get(f"/v1/instances?service=many&{query}").json()["instances"]]

    assert ports("label=version:2") == [2, 3]
    assert ports("label=version:2&label=tier:b") == [3]
    assert ports("zone=elsewhere") == []
    assert ports(f"origin={door.id}") == [1, 2, 3]
    door.post("/v1/drain", {"service": "many", "id": "127.0.0.1:2"})
    assert (ports("state=DRAINING"), ports("state=any"), ports("")) == ([2], [1, 2, 3], [1, 3])


def test_a_drained_one_leaves_picks_and_comes_back_when_registered_again(door: Door) -> None:
    held(door, "drained", 1)
    assert door.post("/v1/drain", {"service": "drained", "id": "127.0.0.1:1"}).json()["state"] == "DRAINING"
    problem(door.get("/v1/pick?service=drained"), 404)
    assert held(door, "drained", 1)["state"] == "UP"
    assert door.get("/v1/pick?service=drained").json()["port"] == 1


def test_renewing_keeps_an_instance_and_ends_with_it(door: Door) -> None:
    named = {"service": "renewed", "id": "127.0.0.1:1"}
    held(door, "renewed", 1, ttl=0.3)
    assert door.post("/v1/renew", named).status_code == 200
    until(lambda: door.get("/v1/pick?service=renewed").status_code == 404, "the end of its time to live")
    problem(door.post("/v1/renew", named), 404)
    assert held(door, "renewed", 1, ttl=60)["state"] == "UP"


def test_a_key_has_the_same_owner_at_every_door(street: Street) -> None:
    first, second = street.open(), street.open()
    for port in range(1, 6):
        held(first, "sessions", port)
    until(lambda: len(second.get("/v1/instances?service=sessions").json()["instances"]) == 5, "all at the second door")
    for key in ("user:1", "user:2", "ü"):
        query = {"service": "sessions", "key": key}
        owners = [door.get("/v1/locate", params=query).json()["id"] for door in (first, second)]
        listed = first.get("/v1/preference-list", params=query | {"n": "3"}).json()["instances"]
        assert owners[0] == owners[1] == listed[0]["id"]
        assert len({one["id"] for one in listed}) == 3


def test_a_path_goes_to_the_longest_prefix(door: Door) -> None:
    held(door, "api", 1, routes=["/api"])
    held(door, "api-v2", 2, routes=["/api/v2"])
    assert door.get("/v1/route?path=/api/v2/x").json()["service"] == "api-v2"
    assert door.get("/v1/route?path=/api/v1").json()["service"] == "api"


def test_the_cluster_is_told(door: Door) -> None:
    assert [one["id"] for one in door.get("/v1/members").json()["members"]] == [door.id]
    status = door.get("/v1/status").json()
    assert (status["id"], status["state"]) == (door.id, "ready")
    held(door, "told", 1)
    assert [event["kind"] for event in door.get("/v1/why?name=told").json()["events"]] == ["ADDED"]
    services = {one["service"]: one for one in door.get("/v1/services").json()["services"]}
    assert services["told"] == {"service": "told", "instances": 1, "up": 1}


def test_an_unknown_name_is_told_as_such_with_the_nearest_known(door: Door) -> None:
    held(door, "sessions", 1)
    unknown = door.get("/v1/why?name=session")
    assert unknown.status_code == 404
    told = problem(unknown, 404)
    assert told["field"] == "name"
    assert "Nearest known: 'sessions'" in told["detail"]
    assert "GET /v1/members" in told["detail"]
    assert door.get(f"/v1/why?name={'x' * 5000}").status_code == 404
    for known in ("sessions", door.id, "127.0.0.1:1"):
        assert door.get("/v1/why", params={"name": known}).status_code == 200


def test_a_gateway_cut_off_from_all_others_answers_from_its_cache_and_says_so(street: Street) -> None:
    door = street.open("--preset", "local")
    others = []
    try:
        for name in ("far-1", "far-2"):
            command = [sys.executable, "-m", "gossip.cli.main", "run", name, "--port", "80", "--bind", "127.0.0.1:0"]
            others.append(
                subprocess.Popen(
                    [*command, "--seed", door.seed, "--cluster", street.cluster],
                    cwd=ROOT,
                    stdout=subprocess.DEVNULL,
                    env=clean_environment(),
                )
            )
        for name in ("far-1", "far-2"):
            until(lambda name=name: door.get(f"/discover?name={name}").status_code == 200, name)
        assert door.get("/healthz").headers["gossip-state"] == "ready"
        for other in others:
            os.kill(other.pid, signal.SIGSTOP)
        until(lambda: door.get("/healthz").headers["gossip-state"] == "isolated", "that it is isolated")
        assert [door.get(f"/discover?name={name}").status_code for name in ("far-1", "far-2")] == [200, 200]
    finally:
        for other in others:
            os.kill(other.pid, signal.SIGCONT)
            end(other)


def test_a_gateway_shares_the_cluster_s_secret_and_reads_it_anew(street: Street, tmp_path: Path) -> None:
    old, new, file = secrets.token_hex(32), secrets.token_hex(32), tmp_path / "secret"
    file.write_text(old + "\n")
    file.chmod(0o600)
    door = street.open("--secret-file", str(file), "--probe", "0.2")
    with Peer("old", cluster=street.cluster, bind="127.0.0.1:0", seeds=[door.seed], secret=old) as peer:
        door.register("orders", 1)
        peer.wait_for("orders", timeout=DEADLINE_S)
        until(lambda: "gossip_visibility_seconds_count 1" in door.get("/metrics").text, "that the probe is let in")
    file.write_text(f"{new}\n{old}\n")
    door.process.send_signal(signal.SIGHUP)
    with Peer("new", cluster=street.cluster, bind="127.0.0.1:0", seeds=[door.seed], secret=new) as peer:
        peer.wait_for("orders", timeout=DEADLINE_S)


def test_a_taken_port_is_one_line_on_stderr(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", "--listen", door.url.removeprefix("http://"), "--cluster", "test-gw-taken"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("gossip gateway: error: listen 127.0.0.1:")
    assert error.count("\n") == 1


def test_without_the_extra_the_error_names_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["gateway"]) == 1
    assert "pip install 'gossip-registry[http]', or '.[http]' in a clone" in capsys.readouterr().err


def test_the_package_without_the_gateway_imports_nothing_of_the_extra() -> None:
    extra = ("starlette", "uvicorn", "httpx", "prometheus_client", "asyncio")
    probe = f"import sys, gossip.cli.main; print([name for name in {extra} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
