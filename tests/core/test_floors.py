"""What is read of a floor is what was put in, though it is kept as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.core.fields import NONCE_MAX, NUMBER_MAX
from gossip.core.floors import Floor, Floors

numbers = st.integers(0, NUMBER_MAX)
contacts = st.sampled_from(["", "10.0.0.3:7400", "[fe80::1:2]:65535"])
any_floor = st.builds(
    Floor,
    st.tuples(numbers, st.integers(0, NONCE_MAX)),
    numbers,
    numbers,
    st.floats(0, allow_infinity=False),
    contacts,
)


@pytest.fixture
def floors() -> Floors:
    floors = Floors()
    floors["left"] = Floor((1, 2), 3, 4, 5.0)
    floors["dead"] = Floor((6, 7), 8, 9, 10.0, "10.0.0.3:7400")
    return floors


@given(any_floor)
def test_every_floor_comes_back_as_it_was(floor: Floor) -> None:
    floors = Floors()
    floors["a"] = floor
    assert (floors["a"], floors.get("a"), floors.settled_at("a")) == (floor, floor, floor.settled_at)


def test_it_is_a_mapping(floors: Floors) -> None:
    assert (list(floors), len(floors), "dead" in floors, "other" in floors) == (["left", "dead"], 2, True, False)
    assert floors.get("other") is None
    assert floors.pop("left").life == ((1, 2), 4)
    with pytest.raises(KeyError):
        floors["left"]
    floors.clear()
    assert floors == {}


def test_only_the_dead_have_a_contact_and_all_have_a_time(floors: Floors) -> None:
    assert list(floors.contacts()) == ["10.0.0.3:7400"]
    assert sorted(floors, key=floors.settled_at) == ["left", "dead"]


def test_a_copy_does_not_change_with_the_original(floors: Floors) -> None:
    copied = floors.copy()
    del floors["dead"]
    assert (list(copied), list(floors)) == (["left", "dead"], ["left"])
