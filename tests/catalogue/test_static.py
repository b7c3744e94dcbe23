"""`StaticPeer`: what users write into their unit tests."""

from __future__ import annotations

import pytest

from gossip.catalogue.reads import Lookups
from gossip.catalogue.static import StaticPeer
from gossip.errors import ConfigError, RegistrationError
from gossip.model import Instance


def test_it_meets_the_protocol() -> None:
    assert isinstance(StaticPeer(), Lookups)
    assert not isinstance(object(), Lookups)


def test_addresses_become_instances() -> None:
    peer = StaticPeer({"payments": ["127.0.0.1:9", "[::1]:9", "db.internal:65535"]})
    assert [one.address for one in peer.lookup("payments")] == ["127.0.0.1:9", "[::1]:9", "db.internal:65535"]
    assert {one.id for one in peer.lookup("payments")} == {"127.0.0.1:9", "[::1]:9", "db.internal:65535"}


def test_mappings_become_instances() -> None:
    fields = {"port": 9, "host": "h", "id": "x", "weight": 2, "labels": {"v": "2"}, "routes": ["/a//b/"], "zone": "eu"}
    peer = StaticPeer({"payments": [fields, {"port": 10}]})
    other, full = peer.lookup("payments")
    assert (full.address, full.id, full.weight, full.labels, full.zone) == ("h:9", "x", 2, {"v": "2"}, "eu")
    assert peer.route("/a/b/c") == full
    assert other.address == "127.0.0.1:10"


def test_instances_are_taken_with_routes_and_labels_made_proper() -> None:
    made = Instance("web", "a", "h", 80, labels={"v": "2"}, routes=("/a/",))  # type: ignore[arg-type]
    peer = StaticPeer({"web": [made]})
    assert hash(peer.pick("web", labels={"v": "2"}))
    assert peer.route("/a/x").id == "a"


def test_proper_instances_are_given_back_as_they_came() -> None:
    made = Instance("web", "a", "h", 80, routes=("/a",))
    assert StaticPeer({"web": [made]}).pick("web") is made


def test_set_replaces_all_instances_of_one_service() -> None:
    peer = StaticPeer({"web": ["h:1", "h:2"], "db": ["h:3"]})
    peer.set("web", ["h:2", {"port": 4, "host": "h", "routes": ["/x"]}])
    assert [one.address for one in peer.lookup("web")] == ["h:2", "h:4"]
    peer.set("web", [])
    assert peer.services() == ("db",)
    assert peer.routes("/x") == ()


def test_a_refused_set_changes_nothing() -> None:
    peer = StaticPeer({"web": ["h:1"]})
    with pytest.raises(ConfigError):
        peer.set("web", ["h:2", "nonsense"])
    assert [one.address for one in peer.lookup("web")] == ["h:1"]


def test_it_is_a_context_manager() -> None:
    with StaticPeer({"web": ["h:1"]}) as peer:
        assert peer.pick("web").port == 1
    assert peer.pick("web").port == 1


def test_report_failure_works() -> None:
    peer = StaticPeer({"web": ["h:1", "h:2"]})
    peer.report_failure(peer.lookup("web")[0])
    assert {peer.pick("web").port for _ in range(5)} == {2}


@pytest.mark.parametrize("address", ["h", "h:", ":9", "h:p", "::1:9", "h:-1", "h:99999999", "[::1]", ""])
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ConfigError, match="write 'host:port'"):
        StaticPeer({"web": [address]})


@pytest.mark.parametrize("listed", ["h:1", b"h:1", {"port": 1}, 5, None, Instance("web", "a", "h", 1)])
def test_what_is_no_list_is_refused_with_an_example(listed: object) -> None:
    with pytest.raises(ConfigError, match="pass a list"):
        StaticPeer({"web": listed})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (5, "pass 'host:port', an Instance, or a mapping"),
        ({"host": "h"}, "has no port"),
        ({"port": 1, "wieght": 2}, r"unknown fields \['wieght'\]: the fields are port, host"),
        ({"port": 1, "zone": "a b"}, "zone"),
        (Instance("db", "a", "h", 1), "is of service 'db'"),
    ],
)
def test_a_wrong_entry_is_refused_with_what_to_do(entry: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        StaticPeer({"web": [entry]})  # type: ignore[list-item]


@pytest.mark.parametrize("entry", [{"port": 0}, {"port": 1, "weight": 0}, {"port": 1, "routes": "/a"}, "h:0", "h:99999"])
def test_a_wrong_field_is_refused_as_in_a_registration(entry: str | dict[str, object]) -> None:
    with pytest.raises(RegistrationError):
        StaticPeer({"web": [entry]})


def test_two_of_one_id_are_refused() -> None:
    with pytest.raises(RegistrationError, match="two instances 'h:1'"):
        StaticPeer({"web": ["h:1", "h:1"]})


def test_other_arguments_of_no_use_are_refused() -> None:
    with pytest.raises(ConfigError, match="a mapping of services"):
        StaticPeer(["h:1"])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="zone"):
        StaticPeer(zone="a b")
    with pytest.raises(ConfigError, match="service 5"):
        StaticPeer({5: []})  # type: ignore[dict-item]
