"""Whatever a client sends, it gets a problem document and nothing is registered; and who is slow is hung up on."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from .conftest import Door, Street, problem

GOOD = {"name": "bad-input", "address": "127.0.0.1", "port": 8080}


@pytest.fixture(autouse=True)
def nothing_is_registered(door: Door) -> Any:
    yield
    assert [one["service"] for one in door.get("/v1/services").json()["services"]] == ["gossip-gateway"]
    assert door.get("/v1/status").json()["held"] == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": None}, "'name'"),
        ({"address": None}, "'address'"),
        ({"port": None}, "'port'"),
        ({"name": 7}, "not a text"),
        ({"name": "a b"}, "service name"),
        ({"name": "ü" * 3}, "service name"),
        ({"name": ""}, "service name"),
        ({"address": "0.0.0.0"}, "host"),
        ({"address": "\ud800"}, "host"),
        ({"address": ["127.0.0.1"]}, "not a text"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"port": "http"}, "port"),
        ({"port": "٨٠"}, "port"),
        ({"port": 80.5}, "port"),
        ({"port": True}, "port"),
        ({"weight": 0}, "weight"),
        ({"weight": "3"}, "whole number"),
        ({"ttl": "soon"}, "not a number"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": 1e300}, "ttl"),
        ({"labels": {"version": 2}}, "object of texts"),
        ({"labels": []}, "object of texts"),
        ({"routes": "/a"}, "list of texts"),
        ({"routes": ["a"]}, "route"),
        ({"id": "a b"}, "id"),
        ({"check": 7}, "text or an object"),
        ({"wieght": 3}, "'wieght'"),
    ],
    ids=repr,
)
def test_a_wrong_field_is_named(door: Door, change: dict[str, object], told: str) -> None:
    body = {name: value for name, value in (GOOD | change).items() if value is not None}
    assert told in problem(door.post("/register", body), 400)["detail"]


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"name": NaN}', "application/json", 400),
        (b'{"name": "a", "name": "b"}', "application/json", 400),
        (b'["name"]', "application/json", 400),
        (b"null", "application/json", 400),
        (b"9" * 60_000, "application/json", 400),
        (b"name=a&address=b&port=1", "application/x-www-form-urlencoded", 415),
        (b"{}", "", 415),
        (b'"' + b"x" * 70_000 + b'"', "application/json", 413),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_body_is_refused(door: Door, content: bytes, media_type: str, status: int) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    problem(door.http.post("/register", content=content, headers=headers), status)


def test_a_body_without_a_length_has_the_same_bound(door: Door) -> None:
    def parts() -> Any:
        for _ in range(70):
            yield b" " * 1024

    problem(door.http.post("/register", content=parts(), headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/discover", 400),
        ("/discover?name=nobody", 404),
        ("/discover?name=gossip-gateway&by=magic", 400),
        ("/discover?name=gossip-gateway&strategy=best", 400),
        ("/discover?name=gossip-gateway&by=hash", 400),
        ("/discover?name=gossip-gateway&key=k", 400),
        ("/discover?name=gossip-gateway&by=hash&key=k&strategy=random", 400),
        ("/discover?name=a&name=b", 400),
        ("/discover?nmae=a", 400),
        ("/discover?by=route", 400),
        ("/discover?by=route&path=/nowhere", 404),
        ("/discover?by=route&name=nobody", 404),
        ("/discover?name=%ff%00", 404),
        ("/v1/pick?service=gossip-gateway&label=x", 400),
        ("/v1/pick?service=gossip-gateway&zone=a%20b", 404),
        ("/v1/preference-list?service=gossip-gateway&key=k&n=-1", 400),
        ("/v1/watch?since=yesterday", 400),
        ("/v1/nothing", 404),
        ("/register", 405),
    ],
)
def test_a_wrong_question_is_answered_by_a_problem(door: Door, path: str, status: int) -> None:
    problem(door.get(path), status)


@pytest.mark.parametrize("raw", [b"\x16\x03\x01\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a" * 99_999])
def test_what_is_no_http_is_answered_by_a_problem(door: Door, raw: bytes) -> None:
    assert b"400" in spoken(door, raw).splitlines()[0]


def spoken(door: Door, raw: bytes) -> bytes:
    """All that comes back for raw bytes, until the gateway hangs up."""
    place = urlsplit(door.url)
    with socket.create_connection((place.hostname, place.port), timeout=30) as client:
        client.sendall(raw)
        received = b""
        while part := client.recv(65536):
            received += part
    return received


@pytest.fixture(scope="module")
def hasty() -> Any:
    """A gateway without patience."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield Street(stack).open("--patience", "0.3")


@pytest.mark.parametrize(
    "raw",
    [b"", b"GET /discover?name=a HTTP/1.1\r\nHost: localhost\r\n", b"POST /register HTTP/1.1\r\nHost: localhost\r\n"],
    ids=["silent", "half a head", "half a head of a POST"],
)
def test_a_client_that_does_not_finish_its_head_is_hung_up_on(hasty: Door, raw: bytes) -> None:
    answer = spoken(hasty, raw)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer


def test_a_client_that_does_not_finish_its_body_is_hung_up_on(hasty: Door) -> None:
    head = b"POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    answer = spoken(hasty, head + b'{"name": ')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer


def test_a_client_may_take_its_time_between_two_requests(hasty: Door) -> None:
    place = urlsplit(hasty.url)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=30) as client:
        for _ in range(2):
            client.sendall(request)
            received = b""
            while not received.endswith(b'{"status": "ok"}'):
                received += client.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 ")
            client.settimeout(0.8)  # more than the patience with a head
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(30)


def test_beyond_this_machine_a_token_is_needed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from gossip.cli.main import main

    monkeypatch.delenv("GOSSIP_GATEWAY_TOKEN", raising=False)
    assert main(["gateway", "--listen", "0.0.0.0:0"]) == 1
    assert "--token-file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "text", "said"),
    [(0o644, "open-sesame-1\n", "chmod 600"), (0o600, "open-sesame-1\nother\n", "2 lines"), (0o600, "", "0 lines")],
)
def test_a_token_file_that_others_may_read_or_that_holds_no_one_token_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, text: str, said: str
) -> None:
    from gossip.cli.main import main

    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    assert main(["gateway", "--listen", "127.0.0.1:0", "--token-file", str(file)]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "sesame" not in told


def test_a_token_may_come_from_a_file(street: Street, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("# of the house\nopen-sesame-1\n", encoding="utf-8")
    file.chmod(0o600)
    door = street.open("--token-file", str(file), token="open-sesame-1")
    assert door.get("/v1/services").status_code == 200
    problem(httpx.get(f"{door.url}/v1/services", trust_env=False), 401)


def test_a_token_is_asked_for_by_every_call_but_the_health_of_the_gateway(street: Street) -> None:
    door = street.open(environment={"GOSSIP_GATEWAY_TOKEN": "open-sesame-1"}, token="open-sesame-1")
    assert door.get("/v1/services").status_code == 200
    for wrong in ("", "Bearer nonsense", "Basic open-sesame-1"):
        told = door.get("/v1/services", headers={"Authorization": wrong})
        assert "token" in problem(told, 401)["detail"]
        assert told.headers["www-authenticate"] == "Bearer"
    assert door.get("/healthz", headers={"Authorization": ""}).status_code == 200
