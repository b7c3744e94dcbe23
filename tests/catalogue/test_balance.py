"""Strategies, calls under way, back-off after failures."""

from __future__ import annotations

import threading
from collections import Counter, deque

import pytest

from gossip.catalogue.balance import FAILURES_MAX, STRATEGIES, Balance, Choice, located_in_bounds
from gossip.catalogue.ring import Ring
from gossip.catalogue.view import RANDOM, View
from gossip.config import Balancing
from gossip.errors import ConfigError
from gossip.model import Instance

A, B, C, D = (Instance("web", name, "127.0.0.1", 80, weight=weight) for name, weight in zip("abcd", (1, 1, 2, 4), strict=True))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def balance(clock: Clock) -> Balance:
    return Balance(Balancing(failure_backoff_s=1.0, failure_backoff_max_s=5.0), clock)


@pytest.fixture(autouse=True)
def seeded(seed: int) -> None:
    RANDOM.seed(seed)


def choice(strategy: str = "round_robin", **asked: object) -> Choice:
    return Choice(strategy, **{"labels": None, "zone": None, "near": "", "exclude": (), **asked})  # type: ignore[arg-type]


def picks(asked: Choice, view: View, balance: Balance, number: int) -> Counter[str]:
    return Counter(found.id for _ in range(number) if (found := asked.among(view, balance)))


def test_round_robin_is_exact_by_weight(balance: Balance) -> None:
    assert picks(choice(), View.of((A, B, C, D)), balance, 80) == {"a": 10, "b": 10, "c": 20, "d": 40}


def test_round_robin_without_the_excluded_is_exact_by_weight(balance: Balance) -> None:
    assert picks(choice(exclude=D), View.of((A, B, C, D)), balance, 80) == {"a": 20, "b": 20, "c": 40}


def test_retries_without_the_first_choice_leave_the_rotation_of_first_choices_alone(balance: Balance) -> None:
    view, firsts = View.of((A, B)), Counter[str]()
    for _ in range(20):
        first = choice().among(view, balance)
        assert first is not None
        firsts[first.id] += 1
        retry = choice(exclude=first).among(view, balance)
        assert retry not in (first, None)
    assert firsts == {"a": 10, "b": 10}


def test_round_robin_is_exact_across_threads(balance: Balance) -> None:
    view, counts = View.of((A, B, C)), []
    threads = [threading.Thread(target=lambda: counts.append(picks(choice(), view, balance, 400))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts, Counter()) == {"a": 400, "b": 400, "c": 800}


def test_rotations_start_anywhere() -> None:
    many = tuple(Instance("web", f"i{n:03}", "h", 80) for n in range(500))
    starts = {STRATEGIES["round_robin"](View.of(many), Balance(Balancing())) for _ in range(30)}
    assert len(starts) > 10


def test_random_follows_weights_and_uniform_does_not(balance: Balance) -> None:
    view = View.of((A, B, C, D))
    by_weight = picks(choice("random"), view, balance, 8000)
    assert by_weight["d"] / by_weight["a"] == pytest.approx(4, rel=0.3)
    evenly = picks(choice("uniform"), view, balance, 8000)
    assert evenly["d"] / evenly["a"] == pytest.approx(1, rel=0.3)


def test_least_loaded_takes_the_other_of_two(balance: Balance) -> None:
    view = View.of((A, B))
    with balance.calling(A):
        assert picks(choice("least_loaded"), view, balance, 50) == {"b": 50}
        with balance.calling(B), balance.calling(B):
            assert picks(choice("least_loaded"), view, balance, 50) == {"a": 50}


def test_least_loaded_counts_calls_per_weight(balance: Balance) -> None:
    with balance.calling(A), balance.calling(D), balance.calling(D), balance.calling(D):
        assert picks(choice("least_loaded"), View.of((A, D)), balance, 50) == {"d": 50}
        with balance.calling(D), balance.calling(D):
            assert picks(choice("least_loaded"), View.of((A, D)), balance, 50) == {"a": 50}


def test_least_loaded_of_one_is_that_one(balance: Balance) -> None:
    assert picks(choice("least_loaded"), View.of((A,)), balance, 3) == {"a": 3}


def test_a_call_counts_from_enter_to_exit_also_when_it_raises(balance: Balance) -> None:
    seen = []

    def fail() -> None:
        with balance.calling(A) as called:
            seen.append((called, balance.load(A)))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [(A, 1)]
    assert balance.load(A) == 0


def test_the_load_of_a_service_is_that_of_its_instances(balance: Balance) -> None:
    elsewhere = Instance("db", "a", "h", 80)
    with balance.calling(A), balance.calling(A), balance.calling(B), balance.calling(elsewhere):
        assert (balance.load(A), balance.load(B), balance.load(C)) == (2, 1, 0)
        assert (balance.load_of("web"), balance.load_of("db"), balance.load_of("none")) == (3, 1, 0)
    assert balance.load_of("web") == 0


def test_a_load_that_was_read_while_it_changed_costs_a_choice_and_no_error(balance: Balance) -> None:
    ring, crowded = Ring.of([A, B]), [balance.calling(one) for one in (A, B) for _ in range(9)]
    for call in crowded:
        call.__enter__()
    balance._calls["web"] = deque([None])  # what a thread reads that was held up between the two counts
    assert located_in_bounds(ring, "web", "key", 1.25, balance) is ring.locate("key")


def test_the_table_of_calls_is_empty_when_all_have_ended(balance: Balance) -> None:
    def call_often() -> None:
        for _ in range(3000):
            with balance.calling(A), balance.calling(B):
                pass

    threads = [threading.Thread(target=call_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert balance._calls == {}


def test_calling_takes_an_instance(balance: Balance) -> None:
    with pytest.raises(ConfigError, match="pass the Instance"):
        balance.calling("a")  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_instance_in_back_off_is_skipped_by_every_strategy(balance: Balance, clock: Clock, strategy: str) -> None:
    balance.note_failure(A, clock.now)
    assert picks(choice(strategy), View.of((A, B, C)), balance, 100)["a"] == 0
    clock.now += 1.0
    assert picks(choice(strategy), View.of((A, B, C)), balance, 200)["a"] > 0


def test_when_all_are_in_back_off_one_is_tried(balance: Balance, clock: Clock) -> None:
    balance.note_failure(A, clock.now)
    balance.note_failure(B, clock.now)
    assert picks(choice(), View.of((A, B)), balance, 10) == {"a": 5, "b": 5}


def test_the_excluded_are_not_tried_even_when_the_rest_is_in_back_off(balance: Balance, clock: Clock) -> None:
    balance.note_failure(A, clock.now)
    assert picks(choice(exclude=["b"]), View.of((A, B)), balance, 10) == {"a": 10}
    assert choice(exclude=["a", "b"]).among(View.of((A, B)), balance) is None


def test_each_report_after_a_back_off_doubles_it_up_to_the_maximum(balance: Balance, clock: Clock) -> None:
    lasted = []
    for _ in range(5):
        balance.note_failure(A, clock.now)
        lasted.append(balance.failures[A.key].until - clock.now)
        clock.now = balance.failures[A.key].until
    assert lasted == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_reports_during_a_back_off_change_nothing(balance: Balance, clock: Clock) -> None:
    for _ in range(50):
        balance.note_failure(A, clock.now)
        clock.now += 0.01
    assert balance.failures[A.key].until == 101.0


def test_an_instance_that_stays_unreported_starts_afresh_and_is_forgotten(balance: Balance, clock: Clock) -> None:
    balance.note_failure(A, clock.now)
    clock.now += 1.0
    balance.note_failure(A, clock.now)
    clock.now += 4.0
    balance.note_failure(A, clock.now)
    assert balance.failures[A.key].backoff_s == 1.0
    clock.now += 2.0
    picks(choice(), View.of((A, B)), balance, 2)
    assert balance.failures == {}


def test_the_table_of_failures_is_bounded_and_keeps_the_newest(balance: Balance, clock: Clock) -> None:
    many = [Instance("web", f"i{n}", "h", 80) for n in range(2 * FAILURES_MAX)]
    for one in many:
        balance.note_failure(one, clock.now)
    assert len(balance.failures) <= FAILURES_MAX
    assert balance.failing(many[-1], clock.now)


def test_report_failure_takes_an_instance(balance: Balance) -> None:
    with pytest.raises(ConfigError, match="pass the Instance"):
        balance.note_failure("a", 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("exclude", [A, "a", ["a"], {A}, (one for one in [A]), [Instance("web", "a", "old", 1)]])
def test_exclude_takes_instances_of_any_age_and_ids_alone_or_many(balance: Balance, exclude: object) -> None:
    assert picks(choice(exclude=exclude), View.of((A, B)), balance, 10) == {"b": 10}


def test_an_instance_excludes_none_of_that_id_in_another_service(balance: Balance) -> None:
    other = Instance("db", "a", "h", 80)
    assert picks(choice(exclude=[other]), View.of((A,)), balance, 1) == {"a": 1}


def test_one_left_of_many_is_found(balance: Balance) -> None:
    many = tuple(Instance("web", f"i{n:03}", "h", 80) for n in range(500))
    assert picks(choice("random", exclude=many[1:]), View.of(many), balance, 20) == {"i000": 20}


def test_few_left_of_many_all_get_their_turn(balance: Balance) -> None:
    many = tuple(Instance("web", f"i{n:03}", "h", 80) for n in range(500))
    counts = picks(choice(exclude=many[3:]), View.of(many), balance, 300)
    assert len(counts) == 3
    assert min(counts.values()) > 50


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"strategy": "best"}, "'round_robin', 'random', 'uniform', 'least_loaded'"),
        ({"strategy": ["random"]}, "unknown strategy"),
        ({"exclude": 5}, "exclude is 5"),
        ({"exclude": [5]}, "exclude is"),
        ({"labels": "v2"}, "labels must map"),
        ({"labels": {"version": 2}}, "labels must map"),
        ({"zone": 5}, "zone is 5"),
    ],
)
def test_an_argument_that_is_none_is_refused(asked: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        choice(**asked)  # type: ignore[arg-type]
