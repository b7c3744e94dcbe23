"""One connect to an endpoint at a time, its outcome for all who ask, and again where somebody still listens."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.effects import Probe
from gossip.core.probes import REPROBES_S, Probes, Reason

LINK, CASE = Reason.LINK, Reason.CASE


@pytest.fixture
def probes(bench: Any) -> Probes:
    return Probes(bench.local)


def test_one_connect_answers_all_who_ask(bench: Any, probes: Probes) -> None:
    for id, reason in (("b", LINK), ("a", LINK), ("a", CASE)):
        probes.ask("x:1", id, reason)
    assert bench.effects() == [Probe("x:1")]
    assert (probes.ended("x:1", LINK), probes.ended("x:1", CASE)) == (["a", "b"], ["a"])
    assert (probes.ended("x:1", LINK), probes.ended("x:1", CASE)) == ([], [])


def test_what_was_answered_may_be_asked_again(bench: Any, probes: Probes) -> None:
    probes.ask("x:1", "a", CASE)
    probes.ended("x:1", CASE)
    probes.ask("x:1", "a", CASE)
    assert bench.effects() == [Probe("x:1")] * 2


def test_it_is_knocked_again_ever_later_and_then_no_more(probes: Probes) -> None:
    now, waits = 10.0, []
    probes.knock_later("x:1", now)
    while (at := probes.next_deadline()) < float("inf"):
        assert probes.due(at - 0.001) == []
        assert probes.due(at) == ["x:1"]
        assert probes.due(at) == []
        waits.append(round(at - now, 6))
        now = at
        probes.knock_later("x:1", now)
    assert tuple(waits) == REPROBES_S


def test_who_is_settled_is_not_knocked_at(probes: Probes) -> None:
    probes.knock_later("x:1", 10.0)
    probes.settle("x:1")
    probes.settle("y:1")
    assert (probes.due(99.0), probes.next_deadline()) == ([], float("inf"))
