"""Laws of the ring: one answer everywhere, and as few moves as can be."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from uhashring import HashRing

from gossip.catalogue.catalogue import Catalogue
from gossip.catalogue.ring import RING_VNODES, Ring, position
from gossip.core.effects import Changed
from gossip.model import Instance

KEYS = [f"key-{n}" for n in range(200)]

weights = st.dictionaries(st.integers(0, 15).map("host-{}:80".format), st.integers(1, 3), min_size=1, max_size=12)
histories = st.lists(weights, min_size=1, max_size=6)
few = settings(max_examples=40)


def instances(table: dict[str, int]) -> list[Instance]:
    return [Instance("cache", name, "h", 80, weight=weight) for name, weight in sorted(table.items())]


def owners(ring: Ring) -> dict[str, str]:
    return {key: ring.locate(key).id for key in KEYS}


@few
@given(histories, st.randoms(use_true_random=False))
def test_answers_do_not_depend_on_history(tables: list[dict[str, int]], random) -> None:  # type: ignore[no-untyped-def]
    ring = None
    for table in tables:
        ring = Ring.of(instances(table), ring)
    assert ring is not None
    fresh = Ring.of(instances(tables[-1]))
    assert (ring._points, len(ring._owners)) == (fresh._points, len(fresh._owners))
    for key in KEYS[:50]:
        assert ring.preference_list(key, 12) == fresh.preference_list(key, 12)

    changes, now = [], dict[str, Instance]()
    for table in tables:
        after = {one.id: one for one in instances(table)}
        names = sorted(now.keys() | after.keys())
        random.shuffle(names)
        changes.append([Changed(now.get(name), after.get(name), "") for name in names])
        now = after
    eager, lazy = Catalogue(), Catalogue()
    for batch in changes:
        eager.apply(batch)
        eager.views["cache"].ring()
        for change in batch:
            lazy.apply([change])
    assert owners(eager.views["cache"].ring()) == owners(lazy.views["cache"].ring()) == owners(fresh)


@few
@given(weights)
def test_locate_is_get_node_of_uhashring_and_the_head_of_the_preference_list(table: dict[str, int]) -> None:
    nodes = {name: {"weight": weight, "vnodes": RING_VNODES} for name, weight in table.items()}
    ring, theirs = Ring.of(instances(table)), HashRing(nodes=nodes, hash_fn=position)
    for key in KEYS:
        assert ring.locate(key).id == theirs.get_node(key) == ring.preference_list(key, 1)[0].id


@few
@given(weights, st.data())
def test_only_the_keys_of_one_who_leaves_move_and_to_the_next_in_their_lists(table: dict[str, int], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(table)))
    left = {name: weight for name, weight in table.items() if name != gone}
    if not left:
        return
    before = Ring.of(instances(table))
    after = Ring.of(instances(left), before)
    for key in KEYS:
        owner, *others = before.preference_list(key, 2)
        expected = others[0] if owner.id == gone else owner
        assert after.locate(key) == expected


@few
@given(weights, st.integers(1, 3))
def test_keys_move_only_to_one_who_comes(table: dict[str, int], weight: int) -> None:
    before = Ring.of(instances(table))
    after = owners(Ring.of(instances(table | {"newcomer:80": weight}), before))
    old = owners(before)
    assert {after[key] for key in KEYS if after[key] != old[key]} <= {"newcomer:80"}


@few
@given(weights, st.integers(0, 12), st.integers(0, 12))
def test_a_shorter_preference_list_is_the_head_of_a_longer(table: dict[str, int], n: int, m: int) -> None:
    ring = Ring.of(instances(table))
    for key in KEYS[:20]:
        longer = ring.preference_list(key, n + m)
        assert ring.preference_list(key, n) == longer[:n]
        assert len(set(longer)) == len(longer) == min(n + m, len(table))


def test_shares_follow_weights() -> None:
    table = {f"host-{n}:80": n % 4 + 1 for n in range(20)}
    ring = Ring.of(instances(table))
    counts = Counter(ring.locate(f"user:{n}").id for n in range(40_000))
    total = sum(table.values())
    for name, weight in table.items():
        assert 0.7 < counts[name] / 40_000 / (weight / total) < 1.3
