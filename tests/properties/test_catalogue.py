"""However changes come, the catalogue is the one built at once from what is left."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gossip.catalogue.catalogue import Catalogue
from gossip.catalogue.view import schedule_of
from gossip.core.effects import Changed
from gossip.model import Instance, InstanceState

Key = tuple[str, str]

prefixes = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/d"])
records = st.builds(
    Instance,
    service=st.sampled_from(["web", "db"]),
    id=st.integers(0, 30).map("i{}".format),
    host=st.just("h"),
    port=st.just(80),
    weight=st.integers(1, 4),
    routes=st.lists(prefixes, max_size=3, unique=True).map(tuple),
    zone=st.sampled_from(["", "eu"]),
    state=st.sampled_from(InstanceState),
)
steps = st.tuples(records, st.booleans())  # a record to put, or to remove
batches = st.lists(st.lists(steps, max_size=60), max_size=8)


# Among so many a small batch is spliced in, a large one sorted in.
CROWD = [(Instance("web", f"i{n}", "h", 80, weight=n % 3 + 1), True) for n in range(100)]


def played(catalogue: Catalogue, table: dict[Key, Instance], batch: list[tuple[Instance, bool]]) -> None:
    changes = []
    for record, put in batch:
        before = table.pop(record.key, None)
        if put:
            table[record.key] = record
        if put or before:
            changes.append(Changed(before, record if put else None, "test"))
    catalogue.apply(changes)


def rebuilt(table: dict[Key, Instance]) -> Catalogue:
    catalogue = Catalogue()
    catalogue.apply([Changed(None, record, "test") for record in table.values()])
    return catalogue


def content(catalogue: Catalogue) -> dict[tuple[str, str], tuple[object, ...]]:
    views = {("service", name): view for name, view in catalogue.views.items()}
    views |= {("route", prefix): view for prefix, view in catalogue.routes.views.items()}
    return {name: (view.instances, view.up, view.schedule(), view._weights) for name, view in views.items()}


@given(st.booleans(), batches)
def test_step_by_step_equals_at_once(crowded: bool, batches: list[list[tuple[Instance, bool]]]) -> None:
    catalogue, table = Catalogue(), {}
    for batch in [CROWD, *batches] if crowded else batches:
        played(catalogue, table, batch)
        assert content(catalogue) == content(rebuilt(table))


@given(batches)
def test_views_are_what_the_records_say(batches: list[list[tuple[Instance, bool]]]) -> None:
    catalogue, table = Catalogue(), {}
    for batch in batches:
        played(catalogue, table, batch)
    for service in ("web", "db"):
        known = sorted((one for one in table.values() if one.service == service), key=lambda one: one.id)
        view = catalogue.views.get(service)
        assert (list(view.instances) if view else []) == known
        assert (list(view.up) if view else []) == [one for one in known if one.state in ("UP", "STALE")]
    serving = {prefix for one in table.values() for prefix in one.routes}
    assert set(catalogue.routes.views) == serving
    for prefix, view in catalogue.routes.views.items():
        assert list(view.instances) == sorted((one for one in table.values() if prefix in one.routes), key=lambda one: one.key)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40))
def test_a_round_holds_each_instance_in_proportion_to_its_weight(weights: list[int]) -> None:
    instances = tuple(Instance("web", f"i{n:02}", "h", 80, weight=weight) for n, weight in enumerate(weights))
    counts = Counter(schedule_of(instances))
    assert len(counts) == len(instances)
    assert len({one.weight / counts[one] for one in instances}) == 1
