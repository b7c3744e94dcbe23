"""The experiments of the literature at small sizes."""

from __future__ import annotations

import pytest

from gossip.core.node import Node

from .papers import RAPID, lifeguard, rapid, scale, section


def test_a_crash_leaves_one_size_of_view_and_hides_no_healthy_peer() -> None:
    found = rapid("crash", 40, seconds=12)
    assert found["even_from_s"] is not None
    assert found["last"] == [39]
    assert found["hidden"] == 0


@pytest.mark.parametrize("kind", ["loss", "flip-flop"])
def test_peers_that_hear_badly_get_no_healthy_peer_hidden(kind: str) -> None:
    assert rapid(kind, 40, seconds=40)["hidden"] == 0


def test_without_local_health_no_late_tick_is_noticed_and_it_is_put_back_afterwards() -> None:
    notice = Node._notice_a_pause
    without, kept = (lifeguard(20, local_health=local_health, seconds=30) for local_health in (False, True))
    assert Node._notice_a_pause is notice
    assert without["late_ticks_noticed"] == 0
    assert kept["late_ticks_noticed"] > 0
    assert kept["hidden_at_healthy"] == kept["hidden_at_slow"] == 0


def test_those_that_read_late_accuse_less_when_they_doubt_themselves() -> None:
    without, kept = (lifeguard(40, local_health=local_health, how="late", seconds=30) for local_health in (False, True))
    assert kept["hidden_at_healthy"] == 0
    assert 3 * kept["accusations_by_slow"] < without["accusations_by_slow"]


def test_the_section_shows_what_was_measured_and_what_was_not() -> None:
    crash = rapid("crash", 20, seconds=3)
    text = "\n".join(section({"crash": crash, "scale": {"10": scale(10)}}))
    assert RAPID["crash"] in text
    assert "1,000 peers were not measured" in text
    assert RAPID["loss"] not in text
