"""One instance however many origins hold it: the highest (incarnation, origin) is shown, and it goes with the last."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.directory import Directory
from gossip.core.effects import Changed


@pytest.fixture
def lives() -> dict[str, tuple[int, int]]:
    return {"a": (1, 0), "b": (2, 0), "c": (3, 0)}


@pytest.fixture
def directory(lives: dict[str, tuple[int, int]]) -> Directory:
    return Directory(lives.__getitem__)


def test_a_first_holder_adds_and_a_last_one_removes(directory: Directory, make: Any) -> None:
    record = make.instance()
    assert directory.put(record, "why") == Changed(None, record, "why")
    assert directory.put(record, "again") is None
    assert directory.drop(record.key, "a", "gone") == Changed(record, None, "gone")
    assert directory.drop(record.key, "a", "again") is None
    assert (directory.count, directory.shown(record.key), directory.holders(record.key)) == (0, None, ())


def test_an_update_by_its_holder_is_a_change(directory: Directory, make: Any) -> None:
    directory.put(make.instance(), "")
    assert directory.put(make.instance(weight=2), "w") == Changed(make.instance(), make.instance(weight=2), "w")


def test_the_record_of_the_highest_life_is_shown(directory: Directory, make: Any) -> None:
    low, high = make.instance(origin="a"), make.instance(origin="b")
    directory.put(low, "")
    assert directory.put(high, "rises") == Changed(low, high, "rises")
    assert directory.put(make.instance(origin="a", weight=9), "hidden") is None
    assert sorted(directory.holders(low.key)) == ["a", "b"]
    assert directory.count == 1


def test_among_equal_lives_the_higher_id_is_shown(directory: Directory, make: Any, lives: dict[str, Any]) -> None:
    lives["a"] = lives["b"]
    for origin in "ba":
        directory.put(make.instance(origin=origin), "")
    assert directory.shown(make.key()) == make.instance(origin="b")


def test_it_goes_when_the_last_holder_does(directory: Directory, make: Any) -> None:
    for origin in "abc":
        directory.put(make.instance(origin=origin), "")
    a, b, c = (make.instance(origin=origin) for origin in "abc")
    assert directory.drop(c.key, "c", "") == Changed(c, b, "")
    assert directory.drop(c.key, "a", "") is None
    assert directory.drop(c.key, "stranger", "") is None
    assert directory.drop(c.key, "b", "") == Changed(b, None, "")
    assert a != b


def test_the_change_tells_what_readers_saw_though_a_holder_began_a_new_life(
    directory: Directory, make: Any, lives: dict[str, Any]
) -> None:
    a, b = make.instance(origin="a"), make.instance(origin="b")
    directory.put(a, "")
    directory.put(b, "")
    lives["a"] = (9, 0)
    assert directory.put(a, "a is new") == Changed(b, a, "a is new")
    assert directory.shown(a.key) == a


def test_a_holder_that_drops_it_in_its_new_life_changes_nothing_that_was_shown(
    directory: Directory, make: Any, lives: dict[str, Any]
) -> None:
    for origin in "ab":
        directory.put(make.instance(origin=origin), "")
    lives["a"] = (9, 0)
    assert directory.drop(make.key(), "a", "") is None
    assert directory.shown(make.key()) == make.instance(origin="b")
