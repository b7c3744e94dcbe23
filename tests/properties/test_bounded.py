"""Laws of bounded loads: nobody is over the bound, somebody always has room, and only the keys of the full move."""

from __future__ import annotations

from contextlib import ExitStack
from math import ceil, nextafter

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.catalogue.static import StaticPeer
from gossip.model import Instance

KEYS = [f"key-{n}" for n in range(60)]

weights = st.dictionaries(st.integers(0, 15).map("host-{}:80".format), st.integers(1, 5), min_size=1, max_size=10)
bounds = st.sampled_from([nextafter(1, 2), 1.01, 1.25, 1.5, 2, 10, 1e308])
calls = st.lists(st.integers(0, 9), max_size=60)  # to the instance of that index, however it was chosen
few = settings(max_examples=60)


def peer_of(table: dict[str, int]) -> StaticPeer:
    return StaticPeer({"cache": [Instance("cache", name, "h", 80, weight=weight) for name, weight in table.items()]})


def busy(peer: StaticPeer, under_way: list[int], stack: ExitStack) -> dict[str, int]:
    """Begin these calls; returns how many each instance has."""
    listed = peer.lookup("cache")
    loads = dict.fromkeys((one.id for one in listed), 0)
    for at in under_way:
        loads[stack.enter_context(peer.calling(listed[at % len(listed)])).id] += 1
    return loads


def full(peer: StaticPeer, loads: dict[str, int], bounded: float) -> set[str]:
    listed = peer.lookup("cache")
    total, due = sum(one.weight for one in listed), bounded * (sum(loads.values()) + 1)
    return {one.id for one in listed if loads[one.id] * total >= due * one.weight}


@few
@given(weights, bounds, st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=80))
def test_who_chooses_by_it_never_exceeds_the_bound(
    table: dict[str, int], bounded: float, history: list[tuple[str, bool]]
) -> None:
    peer, total = peer_of(table), sum(table.values())
    loads = dict.fromkeys(table, 0)
    open_calls = []
    for key, ends in history:
        if ends and open_calls:
            chosen, ended = open_calls.pop(0)
            ended.close()
            loads[chosen] -= 1
        call = ExitStack()
        chosen = call.enter_context(peer.calling(peer.locate("cache", key, bounded=bounded))).id
        open_calls.append((chosen, call))
        loads[chosen] += 1
        due = bounded * sum(loads.values()) * table[chosen] / total
        assert due > 1e300 or loads[chosen] <= ceil(due * (1 + 1e-12))


@few
@given(weights, bounds, calls)
def test_somebody_always_has_room_however_calls_were_placed(table: dict[str, int], bounded: float, under_way: list[int]) -> None:
    peer = peer_of(table)
    with ExitStack() as stack:
        loads = busy(peer, under_way, stack)
        without = full(peer, loads, bounded)
        assert len(without) < len(table)
        assert not {peer.locate("cache", key, bounded=bounded).id for key in KEYS} & without


@few
@given(weights, bounds, calls)
def test_only_the_keys_of_the_full_move_and_to_the_next_in_their_lists(
    table: dict[str, int], bounded: float, under_way: list[int]
) -> None:
    peer = peer_of(table)
    with ExitStack() as stack:
        without = full(peer, busy(peer, under_way, stack), bounded)
        for key in KEYS:
            listed = peer.preference_list("cache", key, len(table))
            expected = next(one for one in listed if one.id not in without)
            assert peer.locate("cache", key, bounded=bounded) == expected == peer.locate("cache", key, bounded=bounded)
    for key in KEYS:
        assert peer.locate("cache", key, bounded=bounded) == peer.locate("cache", key)


def test_calls_for_one_key_are_shared_out_by_weight() -> None:
    peer = peer_of({f"host-{n}:80": n % 4 + 1 for n in range(12)})
    with ExitStack() as stack:
        loads = dict.fromkeys((one.id for one in peer.lookup("cache")), 0)
        for _ in range(600):
            loads[stack.enter_context(peer.calling(peer.locate("cache", "hot", bounded=1.25))).id] += 1
        for one in peer.lookup("cache"):
            assert loads[one.id] <= ceil(1.25 * 600 * one.weight / 30)
