"""The route table: longest prefix of whole segments first, in bounded work."""

from __future__ import annotations

import pytest

from gossip.catalogue.catalogue import Catalogue
from gossip.catalogue.routes import PATH_CHARS_MAX, ROUTE_CHARS_MAX, Routes
from gossip.catalogue.view import View
from gossip.core.effects import Changed
from gossip.errors import ConfigError
from gossip.model import ROUTE_PATTERN, ROUTE_SEGMENTS_MAX, Instance, InstanceState


def instance(name: str, *routes: str, service: str = "web", **fields: object) -> Instance:
    return Instance(service, name, "127.0.0.1", 80, routes=routes, **fields)  # type: ignore[arg-type]


def table(*prefixes: str) -> Routes:
    return Routes().changed((), [instance(f"i{n}", prefix) for n, prefix in enumerate(prefixes)])


def matches(routes: Routes, path: str) -> list[str]:
    return [prefix for prefix, _ in routes.along(path)]


class Counting(dict[str, View]):
    """Counts reads."""

    reads = 0

    def get(self, *args: object) -> View | None:  # type: ignore[override]
        self.reads += 1
        return super().get(*args)  # type: ignore[call-overload, no-any-return]


ALL = table("/", "/a", "/a/b", "/a/b/c", "/ab")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a/b/c/d", ["/a/b/c", "/a/b", "/a", "/"]),
        ("/a/b", ["/a/b", "/a", "/"]),
        ("/a/bc", ["/a", "/"]),
        ("/ab/x", ["/ab", "/"]),
        ("//a///b//", ["/a/b", "/a", "/"]),
        ("a/b", ["/a/b", "/a", "/"]),
        ("/a?x=/a/b", ["/a", "/"]),
        ("/a#/b", ["/a", "/"]),
        ("/%61/b", ["/"]),
        ("/A", ["/"]),
        ("/a/../ab", ["/a", "/"]),
        ("/", ["/"]),
        ("", ["/"]),
        ("?", ["/"]),
    ],
)
def test_prefixes_match_whole_segments_longest_first(path: str, found: list[str]) -> None:
    assert matches(ALL, path) == found


def test_without_a_root_route_the_rest_matches_nothing() -> None:
    assert matches(table("/a"), "/b") == []


@pytest.mark.parametrize("path", [None, b"/a", 5, ["/a"]])
def test_a_path_that_is_no_text_is_refused(path: object) -> None:
    with pytest.raises(ConfigError, match="is not a str"):
        matches(ALL, path)  # type: ignore[arg-type]


def test_the_longest_route_that_can_be_registered_is_found() -> None:
    longest = "/" + "x" * (ROUTE_CHARS_MAX - 1)
    deepest = "/x" * ROUTE_SEGMENTS_MAX
    assert ROUTE_PATTERN.match(longest)
    assert not ROUTE_PATTERN.match(longest + "x")
    for prefix in (longest, deepest):
        for tail in ("", "/y", "/y" * 5000, "?" + "q" * 9000):
            assert matches(table(prefix), prefix + tail) == [prefix]
    assert matches(table(longest), longest + "x") == []


def test_a_path_cut_for_its_length_matches_no_half_segment() -> None:
    assert matches(table("/a"), "/" * (PATH_CHARS_MAX - 1) + "ab") == []
    assert matches(table("/a"), "/" * (PATH_CHARS_MAX - 2) + "a?" + "c" * 100) == ["/a"]


def test_the_work_of_a_route_is_bounded_by_segments_not_by_routes_or_length() -> None:
    routes = table(*(f"/r{n}" for n in range(500)))
    routes.views = Counting(routes.views)
    assert matches(routes, "/r7/1/2") == ["/r7"]
    assert routes.views.reads == 4
    routes.views.reads = 0
    assert matches(routes, "/r7" + "/s" * 10**6) == ["/r7"]
    assert routes.views.reads <= ROUTE_SEGMENTS_MAX + 1


def test_services_that_share_a_prefix_stand_together_sorted() -> None:
    catalogue = Catalogue()
    both = [instance("b", "/x"), instance("a", "/x", service="web2"), instance("a", "/x")]
    catalogue.apply([Changed(None, one, "") for one in both])
    assert [one.key for one in catalogue.routes.views["/x"].up] == [("web", "a"), ("web", "b"), ("web2", "a")]


def test_a_prefix_goes_with_its_last_instance() -> None:
    one = instance("a", "/x", "/y")
    catalogue = Catalogue()
    catalogue.apply([Changed(None, one, "")])
    catalogue.apply([Changed(one, instance("a", "/y"), "")])
    assert list(catalogue.routes.views) == ["/y"]
    catalogue.apply([Changed(one, None, "")])
    assert catalogue.routes.views == {}


def test_what_is_taken_away_is_what_was_held_whatever_the_change_claims() -> None:
    catalogue = Catalogue()
    catalogue.apply([Changed(None, instance("a", "/x"), "")])
    catalogue.apply([Changed(instance("a", "/elsewhere"), None, "")])
    assert catalogue.routes.views == {}


def test_draining_leaves_the_prefix_known_but_not_up() -> None:
    catalogue = Catalogue()
    catalogue.apply([Changed(None, instance("a", "/x", state=InstanceState.DRAINING), "")])
    assert catalogue.routes.views["/x"].up == ()


def test_changes_without_routes_leave_the_table_as_it_is() -> None:
    catalogue = Catalogue()
    before = catalogue.routes
    catalogue.apply([Changed(None, instance("a"), "")])
    assert catalogue.routes is before


def test_a_move_between_prefixes_is_seen_whole_by_a_reader_on_its_way() -> None:
    here, there = instance("a", "/x"), instance("a", "/x/y")
    catalogue = Catalogue()
    catalogue.apply([Changed(None, here, ""), Changed(None, instance("z", "/"), "")])
    on_its_way = catalogue.routes.along("/x/y/z")
    catalogue.apply([Changed(here, there, "")])
    assert [prefix for prefix, _ in on_its_way] == ["/x", "/"]
    assert matches(catalogue.routes, "/x/y/z") == ["/x/y", "/"]


def test_the_rotation_of_a_prefix_survives_changes() -> None:
    first = table("/a")
    assert first.changed((), [instance("new", "/a")]).views["/a"].turn is first.views["/a"].turn
