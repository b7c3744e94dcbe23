"""What a caller may write as bind and advertise, what it means, and what is refused with a way out."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from gossip import ConfigError, InsecureWarning, Peer
from gossip.bus.addresses import Endpoint, parse_advertise, parse_bind, resolve, resolve_all

Parse = Any
BOTH = pytest.mark.parametrize("parse", [parse_bind, parse_advertise])


@pytest.mark.parametrize(
    ("text", "host", "port", "publisher_port"),
    [
        ("127.0.0.1:7400", "127.0.0.1", 7400, None),
        ("10.0.0.5:7400,7500", "10.0.0.5", 7400, 7500),
        (" host.internal:0 ", "host.internal", 0, None),
        ("localhost:7400", "127.0.0.1", 7400, None),
        ("LocalHost:7400", "127.0.0.1", 7400, None),
        ("[::1]:7400", "::1", 7400, None),
        ("[::1]:7400,7500", "::1", 7400, 7500),
        ("[::1]:7400, 7500", "::1", 7400, 7500),
        ("[2001:DB8:0:0::1]:7400", "2001:db8::1", 7400, None),
        ("[0:0:0:0:0:0:0:1]:0", "::1", 0, None),
        ("[::ffff:127.0.0.1]:7400", "127.0.0.1", 7400, None),
    ],
)
@BOTH
def test_an_address_is_read_in_its_one_spelling(
    parse: Parse, text: str, host: str, port: int, publisher_port: int | None
) -> None:
    assert parse(text) == Endpoint(host, port, publisher_port)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8:0:0:0:0:0:7400", "2001:db8::7400"),
        ("::1", "::1"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
    ],
)
def test_what_is_advertised_may_leave_the_port_to_bind_and_then_the_brackets_too(text: str, host: str) -> None:
    assert parse_advertise(text) == Endpoint(host, 0)


def test_a_bound_address_may_be_every_address_of_the_machine_of_either_family() -> None:
    assert parse_bind("0.0.0.0:7400").unspecified
    assert parse_bind("[::]:7400").unspecified
    assert parse_bind("[::ffff:0.0.0.0]:7400").unspecified


@pytest.mark.parametrize("text", ["fd00::5:7400", "::1:7400", "fd00::5:7400,7500", "10.0.0.5:7400:7401", "a:b:c"])
@BOTH
def test_a_port_behind_an_ipv6_address_without_brackets_is_ambiguous_and_told_so(parse: Parse, text: str) -> None:
    with pytest.raises(ConfigError, match=r"Write the address in brackets: '\[2001:db8::1\]:7400'"):
        parse(text)


@pytest.mark.parametrize("text", ["[fe80::1%eth0]:7400", "[fe80::1]:7400", "[fd00::5%eth0]:7400"])
@BOTH
def test_an_address_that_means_another_machine_at_each_peer_is_refused(parse: Parse, text: str) -> None:
    with pytest.raises(ConfigError, match=r"link-local.*unique local address"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no address or name"),
        (":7400", "no address or name"),
        ("two words:7400", "no address or name"),
        ("a" * 254 + ":1", "no address or name"),
        ("[::1:7400", "after the brackets"),
        ("[::1]7400", "after the brackets"),
        ("[]:7400", "no IPv6 address"),
        ("[10.0.0.5]:7400", "no IPv6 address"),
        ("[::1::]:7400", "no IPv6 address"),
        ("[::1]:", "not a number"),
        ("h:", "not a number"),
        ("h:7_400", "not a number"),
        ("h:-1", "not a number"),
        ("h:٧٤٠٠", "not a number"),
        ("h:65536", "not between 0 and 65535"),
        ("[::1]:1,2,3", "more than two"),
        (7400, "not a text"),
        (None, "not a text"),
    ],
)
@BOTH
def test_what_is_no_address_is_refused_with_the_reason(parse: Parse, text: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(text)


@pytest.mark.parametrize(
    ("text", "advice"), [("10.0.0.5", r"bind='10\.0\.0\.5:7400'"), ("::1", r"bind='\[::1\]:7400'"), ("[::1]", r"'\[::1\]:7400'")]
)
def test_a_bind_without_a_port_is_shown_with_one(text: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=f"names no port. Say .*{advice}"):
        parse_bind(text)


@pytest.mark.parametrize("text", ["0.0.0.0", "0.0.0.0:7400", "::", "[::]:7400"])
def test_nobody_is_told_to_dial_every_address(text: str) -> None:
    with pytest.raises(ConfigError, match="nobody can dial that address"):
        parse_advertise(text)


# reach ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "127.1.2.3:0", "localhost:0", "[::1]:0", "[::ffff:127.0.0.1]:0"])
def test_what_only_this_machine_reaches_needs_no_word(bind: str) -> None:
    Peer("a", bind=bind, seeds=["[::1]:7400", "[::ffff:127.0.0.1]:7400", "localhost:7400", "dns:localhost:7400", "file:x"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"bind": "[2001:db8::1]:7400"}, "bind 2001:db8::1"),
        ({"bind": "[::]:7400", "advertise": "2001:db8::1"}, "bind ::, advertise 2001:db8::1"),
        ({"bind": "[::1]:7400", "advertise": "[2001:db8::1]:80"}, "advertise 2001:db8::1"),
        ({"bind": "127.0.0.1:0", "seeds": ["[2001:db8::1]:7400"]}, "seeds 2001:db8::1"),
        ({"bind": "127.0.0.1:0", "seeds": ["[::ffff:10.0.0.5]:7400"]}, "seeds 10.0.0.5"),
        ({"bind": "127.0.0.1:0", "seeds": ["dns:gossip:7400"]}, "seeds gossip"),
        ({"bind": "127.0.0.1:0", "seeds": ["dns:10.0.0.5:7400"]}, "seeds 10.0.0.5"),
    ],
)
def test_what_other_machines_reach_needs_insecure_and_warns(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named}: beyond this machine"):
        Peer("a", **arguments)
    with pytest.warns(InsecureWarning, match=f"^{named}: this peer is open"):
        Peer("a", **arguments, insecure=True)


def test_every_ipv6_address_needs_one_that_others_can_dial() -> None:
    with pytest.raises(ConfigError, match="bind: :: is every address of this machine"):
        Peer("a", bind="[::]:7400", insecure=True)


# names ------------------------------------------------------------------------------------------------------------------


def answering(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name resolve to these."""
    answers = [(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answers)


def test_a_name_stands_for_its_first_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "2001:db8::1", "10.0.0.5", "10.0.0.6")
    assert resolve("both.internal") == "10.0.0.5"


def test_a_name_without_ipv4_stands_for_its_first_ipv6_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "fe80::1%2", "2001:db8:0::1", "2001:db8::2")
    assert resolve("six.internal") == "2001:db8::1"


def test_all_addresses_of_a_name_are_told_once_ipv4_first(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "2001:db8::1", "10.0.0.6", "fe80::1%2", "10.0.0.5", "10.0.0.6", "::ffff:10.0.0.5")
    assert resolve_all("many.internal") == ["10.0.0.6", "10.0.0.5", "2001:db8::1"]


def test_a_name_of_link_local_addresses_only_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "fe80::1%2")
    with pytest.raises(OSError, match="no address that other machines could use"):
        resolve("near.internal")


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".internal"])
def test_a_name_that_cannot_be_one_is_an_os_error(name: str) -> None:
    with pytest.raises(OSError, match="no possible name"):
        resolve(name)
