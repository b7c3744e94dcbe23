"""Catalogue and views: what readers find after changes, and what they never find."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest

from gossip.catalogue.balance import Balance
from gossip.catalogue.catalogue import Catalogue, ForkedCatalogue
from gossip.catalogue.reads import Reads
from gossip.catalogue.ring import Ring
from gossip.catalogue.view import FILTERED_MAX, SCHEDULE_SLOTS_MAX, View, checked_filter, schedule_of
from gossip.config import Balancing
from gossip.core.effects import Changed
from gossip.errors import PeerForked
from gossip.model import Instance, InstanceState, Labels


def instance(name: str, service: str = "web", **fields: object) -> Instance:
    return Instance(service, name, "127.0.0.1", 80, **fields)  # type: ignore[arg-type]


def added(*instances: Instance) -> list[Changed]:
    return [Changed(None, after, "test") for after in instances]


def removed(*instances: Instance) -> list[Changed]:
    return [Changed(before, None, "test") for before in instances]


def ids(instances: tuple[Instance, ...]) -> str:
    return " ".join(found.id for found in instances)


class Swaps(dict[str, View]):
    """Counts assignments."""

    count = 0

    def __setitem__(self, key: str, value: View) -> None:
        self.count += 1
        super().__setitem__(key, value)


def test_instances_are_sorted_by_id() -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("c"), instance("a")))
    catalogue.apply(added(instance("b")))
    assert ids(catalogue.views["web"].instances) == "a b c"


def test_one_apply_swaps_each_changed_service_once_and_no_other() -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("a"), instance("x", "db"), instance("y", "mq")))
    untouched = catalogue.views["mq"]
    catalogue.views = Swaps(catalogue.views)
    catalogue.apply(added(*(instance(f"b{n}") for n in range(9)), instance("z", "db")) + removed(instance("a")))
    assert catalogue.views.count == 2
    assert catalogue.views["mq"] is untouched


def test_a_view_taken_before_a_change_stays_as_it_was() -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("a"), instance("b")))
    taken = catalogue.views["web"]
    catalogue.apply(removed(instance("a")))
    assert ids(taken.up) == "a b"


def test_a_service_goes_with_its_last_instance() -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("a"), instance("b")))
    catalogue.apply(removed(instance("a"), instance("b")))
    assert catalogue.views == {}


def test_the_last_of_several_changes_to_an_instance_wins() -> None:
    catalogue = Catalogue()
    one, two, three = (instance("a", weight=weight) for weight in (1, 2, 3))
    catalogue.apply([Changed(None, one, ""), Changed(one, two, ""), Changed(two, None, ""), Changed(None, three, "")])
    assert catalogue.views["web"].up == (three,)


def test_a_removal_of_the_unknown_changes_nothing() -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("b")))
    catalogue.apply(removed(instance("a"), instance("c"), instance("x", "db")))
    assert ids(catalogue.views["web"].instances) == "b"
    assert list(catalogue.views) == ["web"]


@pytest.mark.parametrize(
    ("state", "up"), [("UP", True), ("STALE", True), ("DRAINING", False), ("CRITICAL", False)]
)
def test_up_are_those_up_or_stale(state: str, up: bool) -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("a"), instance("b", state=InstanceState(state))))
    view = catalogue.views["web"]
    assert ids(view.instances) == "a b"
    assert ids(view.up) == ("a b" if up else "a")


def test_draining_and_back_leaves_and_reenters_up() -> None:
    catalogue = Catalogue()
    up, draining = instance("a"), instance("a", state=InstanceState.DRAINING)
    catalogue.apply(added(up, instance("b")))
    catalogue.apply([Changed(up, draining, "")])
    assert ids(catalogue.views["web"].up) == "b"
    catalogue.apply([Changed(draining, up, "")])
    view = catalogue.views["web"]
    assert ids(view.up) == "a b"
    assert view.up is view.instances


def test_a_service_of_draining_instances_only_is_known_and_not_up() -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("a", state=InstanceState.DRAINING)))
    view = catalogue.views["web"]
    assert (view.up, view.schedule()) == ((), ())
    assert ids(view.instances) == "a"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_many_changes_and_few_give_the_same_order(size: int) -> None:
    at_once, one_by_one = Catalogue(), Catalogue()
    changes = added(*(instance(f"i{n * 7919 % size:04}") for n in range(size)))
    at_once.apply(changes)
    for change in changes:
        one_by_one.apply([change])
    assert at_once.views["web"].up == one_by_one.views["web"].up
    assert len(at_once.views["web"].up) == size


def test_a_batch_may_add_replace_and_remove_anywhere_in_a_large_service() -> None:
    table = {f"i{n:04}": instance(f"i{n:04}") for n in range(0, 2000, 2)}
    catalogue = Catalogue()
    catalogue.apply(added(*table.values()))
    batch = []
    for n in (0, 1, 2, 3, 500, 501, 502, 1001, 1500, 1502, 1997, 1998, 1999):
        before = table.pop(f"i{n:04}", None)
        if n % 4 or before is None:
            table[f"i{n:04}"] = instance(f"i{n:04}", weight=2)
        batch.append(Changed(before, table.get(f"i{n:04}"), "test"))
    catalogue.apply(batch)
    assert catalogue.views["web"].up == tuple(sorted(table.values(), key=lambda one: one.id))


def test_sub_views_filter_by_all_labels_and_zone() -> None:
    new = Labels(version="2", tier="gold")
    catalogue = Catalogue()
    catalogue.apply(
        added(instance("a", labels=new), instance("b", labels=Labels(version="2")), instance("c", labels=new, zone="eu"))
    )
    view = catalogue.views["web"]
    assert ids(view.filtered(checked_filter({"version": "2"}, None)).up) == "a b c"
    assert ids(view.filtered(checked_filter({"version": "2", "tier": "gold"}, None)).up) == "a c"
    assert ids(view.filtered(checked_filter(new, "eu")).up) == "c"
    assert ids(view.filtered(checked_filter(None, "")).up) == "a b"


def test_sub_views_are_kept_up_to_a_bound() -> None:
    view = View.of((instance("a"),))
    wanted = checked_filter(None, "eu")
    assert view.filtered(wanted) is view.filtered(wanted)
    for n in range(3 * FILTERED_MAX):
        view.filtered(checked_filter(None, f"zone-{n}"))
    assert len(view._filtered) <= FILTERED_MAX
    assert len(view._turns) <= FILTERED_MAX


def test_a_schedule_gives_each_its_weight_evenly_spread() -> None:
    assert ids(schedule_of((instance("a", weight=2), instance("b"), instance("c")))) == "a b a c"
    assert ids(schedule_of((instance("a", weight=50), instance("b", weight=25)))) == "a b a"
    assert ids(schedule_of((instance("a", weight=5), instance("b"), instance("c")))) == "a b a a a c a"


@pytest.mark.parametrize("number", [1, 3, 50])
def test_equal_weights_take_turns_in_order_of_id(number: int) -> None:
    view = View.of(tuple(instance(f"i{n:02}", weight=7) for n in range(number)))
    assert view.schedule() is view.up
    assert schedule_of(view.up) == view.up


def test_no_two_turns_of_one_instance_are_further_apart_than_twice_its_share() -> None:
    instances = tuple(instance(f"i{n:02}", weight=n % 5 + 1) for n in range(20))
    slots = schedule_of(instances)
    assert Counter(slots) == {one: one.weight for one in instances}
    for one in instances:
        turns = [at for at, other in enumerate(slots * 2) if other is one]
        assert max(b - a for a, b in pairwise(turns)) <= 2 * len(slots) / one.weight


def test_a_schedule_of_too_many_slots_is_scaled_down_and_forgets_nobody() -> None:
    instances = tuple(instance(f"i{n:05}", weight=(1, 99, 100)[n % 3]) for n in range(3000))
    counts = Counter(found.weight for found in schedule_of(instances))
    assert sum(counts.values()) <= SCHEDULE_SLOTS_MAX + len(instances)
    assert counts[1] == 1000
    assert counts[100] == pytest.approx(counts[99], rel=0.05)


def test_the_rotation_goes_on_where_it_was_after_a_change() -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("a")))
    before, wanted = catalogue.views["web"], checked_filter(None, "")
    turn = before.filtered(wanted).turn
    catalogue.apply(added(instance("b")))
    after = catalogue.views["web"]
    assert after.turn is before.turn
    assert after.filtered(wanted).turn is turn
    assert turn is not after.turn


def test_a_ring_is_made_once_per_view_and_feeds_the_next() -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("a"), instance("b")))
    first = catalogue.views["web"].ring()
    assert catalogue.views["web"].ring() is first
    catalogue.apply([Changed(instance("a"), instance("a", zone="eu"), "")])
    catalogue.apply([Changed(instance("b"), instance("b", zone="eu"), "")])
    second = catalogue.views["web"].ring()
    assert second._points is first._points
    assert {second.locate(str(n)).zone for n in range(50)} == {"eu"}


def test_a_burst_of_changes_makes_one_ring_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[str]] = []
    of = Ring.of

    def counted(instances: Sequence[Instance], base: Ring | None = None) -> Ring:
        made.append([one.id for one in instances])
        return of(instances, base)

    monkeypatch.setattr(Ring, "of", counted)
    catalogue = Catalogue()
    catalogue.apply(added(*(instance(f"old-{n}") for n in range(5))))
    catalogue.views["web"].ring()
    for n in range(20):
        catalogue.apply(added(instance(f"new-{n:02}")))
    assert len(made) == 1
    for n in range(20):
        catalogue.views["web"].ring().locate(f"key-{n}")
    assert made[1:] == [[f"new-{n:02}" for n in range(20)] + [f"old-{n}" for n in range(5)]]


def test_two_threads_that_ask_for_a_new_ring_at_once_both_get_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # Both are held until both are building; then each has a ring of its own, and either is right.
    both, of = threading.Barrier(2, timeout=60), Ring.of

    def held(instances: Sequence[Instance], base: Ring | None = None) -> Ring:
        both.wait()
        return of(instances, base)

    listed = [instance(f"i{n}", weight=n % 3 + 1) for n in range(9)]
    expected = [of(listed).locate(f"key-{n}").id for n in range(200)]
    catalogue = Catalogue()
    catalogue.apply(added(*listed))
    monkeypatch.setattr(Ring, "of", held)
    reader, found = Reader(catalogue), []

    def ask() -> None:
        found.append([reader.locate("web", f"key-{n}").id for n in range(200)])

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected, expected]


def test_draining_instances_are_on_no_ring() -> None:
    catalogue = Catalogue()
    catalogue.apply(added(instance("a"), instance("b", state=InstanceState.DRAINING)))
    assert ids(catalogue.views["web"].ring().preference_list("k", 5)) == "a"


def test_a_forked_catalogue_raises_whatever_is_read() -> None:
    forked = ForkedCatalogue("forked: make a new peer")
    for read in (lambda: forked.views, lambda: forked.routes, lambda: forked.apply(added(instance("a")))):
        with pytest.raises(PeerForked, match="make a new peer"):
            read()


def test_the_read_side_imports_neither_asyncio_nor_difflib() -> None:
    program = "import sys, gossip.catalogue.static; sys.exit(bool({'asyncio', 'difflib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class Reader(Reads):
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue, self._zone, self._balance = catalogue, "eu", Balance(Balancing())


def test_readers_never_see_half_of_a_change_nor_an_exception() -> None:
    # A pair is always replaced together, on the service and on its route; readers look for a mixed or broken pair.
    def pair(generation: int) -> list[Instance]:
        labels = Labels(generation=str(generation))
        prefix = "/a/b" if generation % 2 else "/a"
        names = ("left", "right") if generation % 3 else (f"left-{generation}", f"right-{generation}")
        return [instance(name, labels=labels, routes=(prefix,), weight=generation % 2 + 1) for name in names]

    catalogue = Catalogue()
    held = pair(0)
    catalogue.apply(added(*held))
    reader, done, faults, rounds = Reader(catalogue), threading.Event(), [], Counter[str]()

    def reading(name: str) -> None:
        try:
            while not done.is_set() or rounds[name] < 100:
                found = reader.lookup("web")
                assert len(found) == 2, found
                assert found[0].labels == found[1].labels, found
                owners = reader.preference_list("web", "key", 2)
                assert {one.labels["generation"] for one in owners} == {owners[0].labels["generation"]}, owners
                assert len(reader.lookup("web", labels=found[0].labels)) in (0, 2)
                reader.pick("web")
                reader.pick("web", strategy="least_loaded", near=True, exclude={"nobody"})
                reader.locate("web", name)
                with reader.calling(reader.locate("web", name, bounded=1.25)):
                    reader.locate("web", name, bounded=1.25)
                reader.route("/a/b/c")
                reader.services()
                rounds[name] += 1
        except BaseException as fault:  # noqa: BLE001  (told to the test's own thread)
            faults.append(fault)
            done.set()

    threads = [threading.Thread(target=reading, args=(f"reader-{n}",)) for n in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for generation in range(1, 3000):
            if done.is_set():
                break
            new = pair(generation)
            catalogue.apply(removed(*held) + added(*new, instance(f"other-{generation}", f"other-{generation % 50}")))
            held = new
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert not faults, faults
    assert len(rounds) == 4
