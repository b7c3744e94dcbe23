"""DNS rebinding: a gateway on loopback answers to names of this machine alone, whatever is asked of it."""

from __future__ import annotations

import socket

import pytest

from gossip import ConfigError
from gossip.gateway.settings import Settings

from .conftest import Door, Street, problem

MINE = ["localhost", "localhost:1234", "LocalHost.", "127.0.0.1:80", "127.0.0.2", "[::1]", "[::1]:5000"]
OTHERS = ["rebound.example.com", "localhost.example.com", "127.0.0.1.example.com:5000", "10.0.0.5", "[fe80::1]:80", "", "0.0.0.0"]


@pytest.mark.parametrize("name", MINE)
def test_names_of_this_machine_are_answered(door: Door, name: str) -> None:
    assert door.get("/v1/services", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize("name", OTHERS)
def test_other_names_are_refused(door: Door, name: str) -> None:
    assert problem(door.get("/v1/services", headers={"Host": name}), 421)["field"] == "Host"


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/healthz", "/metrics", "/v1/watch", "/v1/nothing", "/discover?name=a"])
def test_no_path_is_open_to_a_rebound_name(door: Door, path: str) -> None:
    problem(door.get(path, headers={"Host": "rebound.example.com"}), 421)


def test_a_rebound_name_registers_nothing(door: Door) -> None:
    body = '{"service": "planted", "host": "127.0.0.1", "port": 1}'
    headers = {"Content-Type": "application/json", "Host": "rebound.example.com"}
    problem(door.http.post("/v1/register", content=body, headers=headers), 421)
    assert "planted" not in door.get("/v1/services").text


def test_a_request_of_old_without_a_host_is_answered(door: Door) -> None:
    host, port = door.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert sock.recv(64).startswith(b"HTTP/1.1 200 ")


def test_a_proxy_may_say_the_names_it_was_told(street: Street) -> None:
    door = street.open("--host-name", "gossip.example.com", "--host-name", "other.example.com")
    for name in ("Gossip.Example.com", "other.example.com:443", "localhost"):
        assert door.get("/healthz", headers={"Host": name}).status_code == 200
    problem(door.get("/healthz", headers={"Host": "third.example.com"}), 421)


def test_beyond_loopback_the_token_decides(street: Street) -> None:
    door = street.open("--listen", "0.0.0.0:0", environment={"GOSSIP_GATEWAY_TOKEN": "of-the-house"}, token="of-the-house")
    url = door.url.replace("0.0.0.0", "127.0.0.1")
    assert door.http.get(f"{url}/v1/services", headers={"Host": "anything.example.com"}).status_code == 200


@pytest.mark.parametrize("name", ["", "*", "a b", "http://gossip.example.com", "gossip.example.com:443"])
def test_a_name_that_is_none_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ConfigError, match="host-name"):
        Settings(names=(name,))
