"""Who brings what is no message, or what nobody signed: told, named, and cut off if it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.effects import Answered, Asked, Blame, Blamed, Happened, Heard, Shun, TurnOut
from gossip.core.guard import STANDING_S, Guard
from gossip.core.signatures import Forged

FORGED = Forged("x", "a delta of x that x did not sign")


class Repair:
    """I converse with b over call 7, and c asks over the connection `t`."""

    def __init__(self) -> None:
        self.ended: list[int] = []

    def partner_at(self, call: int) -> str | None:
        return "b" if call == 7 else None

    def asker(self, token: bytes) -> str | None:
        return "c" if token == b"t" else None

    def garbled(self, call: int, now: float) -> None:
        self.ended.append(call)


@pytest.fixture
def repair() -> Repair:
    return Repair()


@pytest.fixture
def guard(bench: Any, repair: Any) -> Guard:
    bench.join("a")
    return Guard(bench.local, repair, repair)


def named(bench: Any) -> list[str]:
    """Who was told to have brought a forgery."""
    return [told.subject for told in bench.effects(Happened) if told.reason.startswith("it came from")]


def test_a_bad_frame_is_held_against_whoever_sent_it(bench: Any, guard: Guard, repair: Repair) -> None:
    source = object()
    guard.drop(Heard(b"?", source), "why", 1.0)
    guard.drop(Answered(7, b"?"), "why", 1.0)
    assert [effect.source for effect in bench.effects(Blame)] == [source]
    assert repair.ended == [7]
    assert bench.local.counters["frames_dropped"] == 2


def test_an_asker_that_goes_on_is_turned_out_and_shunned_for_a_while(bench: Any, guard: Guard) -> None:
    source, most = object(), bench.local.config.limits.bad_frames_max
    for _ in range(most):
        assert not guard.shuns(b"t", 1.0)
        guard.drop(Asked(b"t", b"?", source), "why", 1.0)
    assert bench.effects(TurnOut) == [TurnOut(b"t", source)]
    assert [guard.shuns(b"t", now) for now in (1.0, 1.0 + STANDING_S)] == [True, False]


def test_a_relay_is_told_of_and_not_blamed(bench: Any, guard: Guard) -> None:
    guard.complain("why", 1.0)
    assert bench.effects(Blame, TurnOut, Shun) == []
    assert bench.local.counters["frames_dropped"] == 1


def test_after_a_forgery_i_am_on_guard_for_a_while(guard: Guard) -> None:
    assert guard.until <= 0.0
    guard.meet_forgery(Heard(b"?"), FORGED, 5.0)
    assert guard.until == 5.0 + STANDING_S


@pytest.mark.parametrize(("brought", "by"), [(Answered(7, b"?"), "b"), (Asked(b"t", b"?"), "c")])
def test_whoever_brings_a_forgery_in_a_conversation_is_named_once_a_minute(
    bench: Any, guard: Guard, brought: Answered | Asked, by: str
) -> None:
    for _ in range(3):
        guard.meet_forgery(brought, FORGED, 5.0)
    assert named(bench) == [by]
    guard.meet_forgery(brought, FORGED, 66.0)
    assert named(bench) == [by]


def test_whoever_brings_one_over_a_link_is_named_while_i_am_on_guard(bench: Any, guard: Guard) -> None:
    link = Blamed(bench.table.origins["a"].publisher)
    guard.blamed(link, 1.0)
    assert named(bench) == []
    guard.meet_forgery(Heard(b"?", object()), FORGED, 5.0)
    guard.blamed(link, 5.0)
    guard.blamed(Blamed("nobody:1"), 5.0)
    assert named(bench) == ["a"]
