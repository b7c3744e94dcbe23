"""The read calls: signatures, answers, and errors that say what to do."""

from __future__ import annotations

import difflib
import inspect
import math
from collections import Counter

import pytest

from gossip.catalogue.catalogue import ForkedCatalogue
from gossip.catalogue.reads import NAMES_COMPARED_MAX, TEXT_SHOWN_MAX, Lookups, Reads
from gossip.catalogue.static import StaticPeer
from gossip.catalogue.view import RANDOM
from gossip.errors import ConfigError, NoInstances, PeerForked
from gossip.model import Instance, InstanceState, Labels

CALLS = "lookup pick route routes locate preference_list services calling".split()


def instance(name: str, **fields: object) -> Instance:
    return Instance("web", name, "127.0.0.1", 80, **fields)  # type: ignore[arg-type]


OLD, NEW = Labels(version="1"), Labels(version="2")
A = instance("a", labels=OLD, zone="eu", routes=("/shop", "/"))
B = instance("b", labels=NEW, zone="us", routes=("/shop", "/shop/cart"))
C = instance("c", labels=NEW, zone="us", state=InstanceState.DRAINING, routes=("/shop/cart/old",))


@pytest.fixture
def peer() -> StaticPeer:
    return StaticPeer({"web": [A, B, C], "payments": ["10.0.0.1:9"], "drained": []}, zone="eu")


@pytest.mark.parametrize("call", CALLS)
def test_the_protocol_has_the_signatures_of_the_reads(call: str) -> None:
    assert inspect.signature(getattr(Lookups, call)) == inspect.signature(getattr(Reads, call))


def test_lookup_gives_those_up_sorted_and_the_others_when_asked(peer: StaticPeer) -> None:
    assert peer.lookup("web") == (A, B)
    assert peer.lookup("web", include_draining=True) == (A, B, C)


def test_lookup_of_the_unknown_is_empty_with_and_without_filters(peer: StaticPeer) -> None:
    assert peer.lookup("nothing") == ()
    assert peer.lookup("nothing", labels=NEW, zone="eu", include_draining=True) == ()


def test_lookup_filters_by_labels_and_zone(peer: StaticPeer) -> None:
    assert peer.lookup("web", labels={"version": "2"}) == (B,)
    assert peer.lookup("web", labels={"version": "2"}, include_draining=True) == (B, C)
    assert peer.lookup("web", labels={"version": "2"}, zone="eu") == ()
    assert peer.lookup("web", labels={}) == (A, B)
    assert peer.lookup("web", zone="") == ()


def test_lookup_without_filters_gives_the_same_object_each_time(peer: StaticPeer) -> None:
    assert peer.lookup("web") is peer.lookup("web")


@pytest.mark.parametrize("service", ["web", "nothing"])
def test_a_filter_that_is_none_is_refused_whether_or_not_the_service_is_known(peer: StaticPeer, service: str) -> None:
    with pytest.raises(ConfigError, match="labels must map"):
        peer.lookup(service, labels={"version": 2})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="zone is"):
        peer.lookup(service, zone=5)  # type: ignore[arg-type]


def test_pick_takes_turns(peer: StaticPeer) -> None:
    assert Counter(peer.pick("web").id for _ in range(10)) == {"a": 5, "b": 5}


def test_pick_filters_and_excludes(peer: StaticPeer) -> None:
    assert {peer.pick("web", labels=NEW) for _ in range(5)} == {B}
    assert {peer.pick("web", zone="eu") for _ in range(5)} == {A}
    assert {peer.pick("web", exclude=[A]) for _ in range(5)} == {B}


def test_two_filters_used_in_turn_starve_nobody() -> None:
    blue, green = Labels(colour="blue"), Labels(colour="green")
    both = [instance(f"{labels['colour']}-{n}", labels=labels) for labels in (blue, green) for n in range(2)]
    peer = StaticPeer({"web": both})
    counts = Counter(peer.pick("web", labels=labels).id for _ in range(10) for labels in (blue, green))
    assert set(counts.values()) == {5}


def test_near_prefers_the_own_zone_and_falls_back_to_all(peer: StaticPeer) -> None:
    assert {peer.pick("web", near=True) for _ in range(5)} == {A}
    assert {peer.pick("web", near=True, exclude=A) for _ in range(5)} == {B}
    assert peer.pick("payments", near=True).address == "10.0.0.1:9"


def test_near_prefers_another_zone_to_a_failing_instance(peer: StaticPeer) -> None:
    peer.report_failure(A)
    assert {peer.pick("web", near=True) for _ in range(5)} == {B}
    peer.report_failure(B)
    assert {peer.pick("web", near=True) for _ in range(5)} == {A}


def test_near_means_nothing_to_a_peer_without_a_zone() -> None:
    peer = StaticPeer({"web": [instance("a"), instance("b", zone="eu")]})
    assert {peer.pick("web", near=True).id for _ in range(4)} == {"a", "b"}


def test_a_reported_instance_is_picked_no_more_but_still_looked_up_and_located(peer: StaticPeer) -> None:
    owners = [peer.locate("web", str(n)) for n in range(50)]
    peer.report_failure(A)
    assert {peer.pick("web") for _ in range(5)} == {B}
    assert {peer.route("/shop") for _ in range(5)} == {B}
    assert peer.lookup("web") == (A, B)
    assert [peer.locate("web", str(n)) for n in range(50)] == owners


def test_route_takes_the_longest_prefix_with_an_eligible_instance(peer: StaticPeer) -> None:
    assert peer.route("/shop/cart/1?q=/") is B
    assert peer.route("/shop/cart/old/2") is B
    assert peer.route("/elsewhere") is A
    assert peer.route("/shop/cart", exclude="b") is A
    assert peer.route("/shop/cart", labels=OLD) is A
    assert peer.route("/shop/cart", zone="eu") is A
    assert peer.route("/shop/cart", near=True) is B


def test_route_balances_over_the_services_of_a_prefix() -> None:
    peer = StaticPeer({"one": [{"port": 1, "routes": ["/x"]}], "two": [{"port": 2, "routes": ["/x"], "weight": 2}]})
    assert Counter(peer.route("/x/y").service for _ in range(9)) == {"one": 3, "two": 6}


def test_a_longer_prefix_of_failing_instances_comes_before_a_shorter_one(peer: StaticPeer) -> None:
    peer.report_failure(B)
    assert peer.route("/shop/cart") is B


def test_routes_tells_all_matching_prefixes_that_are_up(peer: StaticPeer) -> None:
    found = peer.routes("/shop/cart/old")
    assert [(route.prefix, route.instances) for route in found] == [("/shop/cart", (B,)), ("/shop", (A, B)), ("/", (A,))]
    assert StaticPeer().routes("/x") == ()


def test_locate_is_the_head_of_the_preference_list(peer: StaticPeer) -> None:
    for n in range(50):
        listed = peer.preference_list("web", f"key-{n}", 2)
        assert listed[0] is peer.locate("web", f"key-{n}".encode())
        assert set(listed) == {A, B}


def test_with_nothing_under_way_a_bounded_locate_is_the_plain_one(peer: StaticPeer) -> None:
    with peer.calling(peer.pick("payments")):
        for n in range(50):
            assert peer.locate("web", f"key-{n}", bounded=1.25) is peer.locate("web", f"key-{n}")


def test_a_bounded_locate_passes_those_without_room_in_the_order_of_the_preference_list() -> None:
    peer = StaticPeer({"web": [instance(name) for name in "abcd"]})
    first, second, third, _ = peer.preference_list("web", "key", 4)
    with peer.calling(first):  # of 2 calls, 1.25 × 2 / 4 each, hence 1
        assert peer.locate("web", "key", bounded=1.25) is second
        assert peer.locate("web", "key") is first
        with peer.calling(second):
            assert peer.locate("web", "key", bounded=1.25) is third
            assert peer.locate("web", "key", bounded=1.4) is first  # of 3 calls, 1.4 × 3 / 4 each, hence 2
    assert peer.locate("web", "key", bounded=1.25) is first


def test_a_heavier_instance_has_more_room() -> None:
    peer = StaticPeer({"web": [instance("a", weight=3), instance("b")]})
    a, b = peer.lookup("web")
    key = next(key for key in map(str, range(100)) if peer.locate("web", key) is a)
    with peer.calling(a), peer.calling(a):  # of 3 calls, 1.25 × 3 × 3/4 = 2.8 for a
        assert peer.locate("web", key, bounded=1.25) is a
        with peer.calling(a):  # of 4 calls, 1.25 × 4 × 3/4 = 3.75 for a
            assert peer.locate("web", key, bounded=1.25) is a
            with peer.calling(a):  # of 5 calls, 1.25 × 5 × 3/4 = 4.7 for a
                assert peer.locate("web", key, bounded=1.25) is a
                with peer.calling(a):  # of 6 calls, 1.25 × 6 × 3/4 = 5.6 for a
                    assert peer.locate("web", key, bounded=1.25) is a
                assert peer.locate("web", key, bounded=1.01) is b  # 1.01 × 5 × 3/4 = 3.8


def test_failures_reported_do_not_touch_a_bounded_locate(peer: StaticPeer) -> None:
    with peer.calling(A):
        before = [peer.locate("web", str(n), bounded=1.25) for n in range(50)]
        peer.report_failure(B)
        assert [peer.locate("web", str(n), bounded=1.25) for n in range(50)] == before
    assert set(before) == {A, B}


@pytest.mark.parametrize("service", ["web", "nothing"])
@pytest.mark.parametrize("bounded", [1, 1.0, 0.5, -2, 0, True, math.inf, math.nan, "1.25", (2,)])
def test_a_bound_that_is_none_is_refused_whether_or_not_the_service_is_known(
    peer: StaticPeer, service: str, bounded: object
) -> None:
    with pytest.raises(ConfigError, match="a finite number above 1, such as"):
        peer.locate(service, "key", bounded=bounded)  # type: ignore[arg-type]


@pytest.mark.parametrize("bounded", [2, 10**400, 1e308, math.nextafter(1, 2)])
def test_every_finite_bound_above_1_is_taken(peer: StaticPeer, bounded: float) -> None:
    with peer.calling(A), peer.calling(A), peer.calling(B):
        assert peer.locate("web", "key", bounded=bounded) in (A, B)


def test_a_bounded_locate_of_the_unknown_or_of_a_key_that_is_none_is_refused_as_a_plain_one(peer: StaticPeer) -> None:
    with pytest.raises(NoInstances, match="'paymets' is known here"):
        peer.locate("paymets", "key", bounded=1.25)
    with peer.calling(A), pytest.raises(ConfigError, match="neither str nor bytes"):
        peer.locate("web", 7, bounded=1.25)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [-1, 1.5, "2", None, True])
def test_a_preference_list_of_no_number_is_refused(peer: StaticPeer, n: object) -> None:
    with pytest.raises(ConfigError, match="n is how many"):
        peer.preference_list("web", "key", n)  # type: ignore[arg-type]


@pytest.mark.parametrize("known", ["web", "nothing"])
def test_an_unknown_strategy_is_refused_with_the_known_ones(peer: StaticPeer, known: str) -> None:
    for strategy in ("best", ["random"], None):
        with pytest.raises(ConfigError, match="least_loaded") as caught:
            peer.pick(known, strategy=strategy)  # type: ignore[arg-type]
        assert isinstance(caught.value, ValueError)
        with pytest.raises(ConfigError, match="least_loaded"):
            peer.route("/shop", strategy=strategy)  # type: ignore[arg-type]


def test_services_are_sorted_and_have_instances(peer: StaticPeer) -> None:
    assert peer.services() == ("payments", "web")


@pytest.mark.parametrize("call", ["pick", "locate", "preference_list"])
def test_an_unknown_service_is_answered_with_the_nearest_known(peer: StaticPeer, call: str) -> None:
    rest = {"pick": (), "locate": ("k",), "preference_list": ("k", 2)}[call]
    with pytest.raises(NoInstances, match=r"'paymets' is known here.*'payments'") as caught:
        getattr(peer, call)("paymets", *rest)
    assert isinstance(caught.value, LookupError)


def test_an_unknown_service_is_answered_at_any_size_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(difflib, "get_close_matches", lambda word, names, _: compared.append((len(word), len(names))))
    peer = StaticPeer({f"service-{n}": ["h:1"] for n in range(2 * NAMES_COMPARED_MAX)})
    with pytest.raises(NoInstances) as caught:
        peer.pick("x" * 10**6)
    assert len(str(caught.value)) < 500
    assert compared == [(TEXT_SHOWN_MAX, NAMES_COMPARED_MAX)]
    with pytest.raises(NoInstances, match="Nothing is known yet"):
        StaticPeer().pick("web")


def test_a_path_where_services_have_no_routes_is_told_that_and_not_that_nothing_is_known() -> None:
    with pytest.raises(NoInstances, match="No service known here has routes: register one with routes="):
        StaticPeer({"web": ["127.0.0.1:1"]}).route("/web")


@pytest.mark.parametrize("service", [None, 5, b"web"])
def test_a_service_that_is_no_text_is_refused(peer: StaticPeer, service: object) -> None:
    with pytest.raises(ConfigError, match="is not a str"):
        peer.pick(service)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"labels": {"version": "3"}}, r"3 known, 2 up, 0 after labels=\{'version': '3'\}. Loosen"),
        ({"labels": NEW, "zone": "eu"}, r"3 known, 2 up, 1 after labels=\{'version': '2'\}, 0 after zone='eu'. Loosen"),
        ({"zone": "us", "exclude": [A, B]}, "3 known, 2 up, 1 after zone='us', 0 after exclude. Loosen"),
    ],
)
def test_filters_that_leave_none_are_named_with_counts(peer: StaticPeer, asked: dict[str, object], match: str) -> None:
    with pytest.raises(NoInstances, match=match):
        peer.pick("web", **asked)  # type: ignore[arg-type]


def test_a_service_of_which_none_is_up_says_so(peer: StaticPeer) -> None:
    peer.set("web", [C])
    for call in (lambda: peer.pick("web"), lambda: peer.locate("web", "k"), lambda: peer.pick("web", exclude="c")):
        with pytest.raises(NoInstances, match="1 known, 0 up; the others are draining or critical"):
            call()


def test_a_path_without_route_is_answered_with_the_nearest_prefixes() -> None:
    peer = StaticPeer({"web": [instance("a", routes=("/orders", "/shop"))]})
    with pytest.raises(NoInstances, match=r"route '/order' is known here.*'/orders'"):
        peer.route("/order")
    with pytest.raises(NoInstances, match=r"route '/orders' is left: 1 known, 1 up, 0 after exclude"):
        peer.route("/orders/1", exclude="a")
    with pytest.raises(ConfigError, match="is not a str"):
        peer.route(None)  # type: ignore[arg-type]


def test_after_a_fork_every_read_call_raises(peer: StaticPeer) -> None:
    peer._catalogue = ForkedCatalogue("this peer was inherited through fork")
    calls = [
        lambda: peer.lookup("web"),
        lambda: peer.lookup("web", labels=NEW),
        lambda: peer.pick("web"),
        lambda: peer.route("/"),
        lambda: peer.routes("/"),
        lambda: peer.locate("web", "k"),
        lambda: peer.locate("web", "k", bounded=1.25),
        lambda: peer.preference_list("web", "k", 1),
        peer.services,
        lambda: peer.calling(A),
        lambda: peer.report_failure(A),
    ]
    for call in calls:
        with pytest.raises(PeerForked, match="inherited"):
            call()


def test_calls_under_way_steer_least_loaded(peer: StaticPeer) -> None:
    with peer.calling(A) as called:
        assert called is A
        assert {peer.pick("web", strategy="least_loaded") for _ in range(20)} == {B}


def test_the_random_strategies_are_ours_to_seed_not_the_users(peer: StaticPeer, seed: int) -> None:
    RANDOM.seed(seed)
    one = [peer.pick("web", strategy="random") for _ in range(30)]
    RANDOM.seed(seed)
    assert [peer.pick("web", strategy="random") for _ in range(30)] == one
