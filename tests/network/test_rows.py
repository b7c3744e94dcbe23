"""The N rows of the fault matrix: five peers in network namespaces, with a secret, one to a host.

The short scenes run with every test run; the long ones (`make faults`) are the same at the length the matrix asks for.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Play

Hold = Callable[[int, str, str], None]

pytestmark = pytest.mark.timeout(600)  # scenes wait for each other


def long(play: Play) -> object:
    """A scene for `make faults`."""
    return pytest.param(play, marks=[pytest.mark.faults, pytest.mark.timeout(3 * 3600)], id=str(play))


@pytest.mark.parametrize("play", [Play("loss", 40), long(Play("loss", 300))], ids=str)
def test_where_a_fifth_of_all_packets_is_lost_nobody_is_hidden_and_changes_get_through(play: Play, hold: Hold) -> None:
    asked = "0 false deaths; p99 visibility ≤ 3 s; equal ≤ 10 s after"
    hold(2, f"20 % loss on all links for {play.seconds} s, a registration a second", asked)


@pytest.mark.parametrize(
    "play",
    [Play("partition", 10, writes) for writes in ("both", "one", "none")]
    + [long(Play("partition", seconds, writes)) for seconds in (60, 1800) for writes in ("both", "one", "none")],
    ids=str,
)
def test_a_split_of_three_and_two_heals_whoever_wrote_meanwhile(play: Play, hold: Hold) -> None:
    writers = {"both": "on both sides", "one": "on the larger side", "none": "on none"}[play.writes]
    hold(5, f"3 : 2 cut from each other for {play.seconds} s, writes {writers}", "equal ≤ 15 s after the heal")


@pytest.mark.parametrize("play", [Play("blackhole", 6), long(Play("blackhole", 300))], ids=str)
def test_a_host_that_falls_into_a_black_hole_is_noticed_and_is_back_after_the_repair(play: Play, hold: Hold) -> None:
    asked = "link down seen ≤ 5 s, up ≤ 6 s after the repair"
    hold(17, f"one of five hosts reaches nobody, and nobody it, for {play.seconds} s", asked)


@pytest.mark.parametrize("play", [Play("one_way", 12), long(Play("one_way", 120))], ids=str)
def test_hosts_of_which_one_does_not_reach_the_other_hear_of_each_other_through_the_rest(play: Play, hold: Hold) -> None:
    asked = "0 false deaths; p99 visibility ≤ 5 s, by repair; equal ≤ 10 s after"
    hold(17, f"nothing passes from one host to one other for {play.seconds} s; back it does", asked)


@pytest.mark.parametrize("play", [Play("delay", 12, preset="wan"), long(Play("delay", 120, preset="wan"))], ids=str)
def test_delay_and_jitter_hide_nobody_and_lose_nothing(play: Play, hold: Hold) -> None:
    asked = "0 false deaths; p99 visibility ≤ 3 s; equal ≤ 10 s after"
    hold(2, f"50 ± 20 ms on all ways for {play.seconds} s, preset wan, a registration a second", asked)


@pytest.mark.parametrize("play", [Play("resets", 20), long(Play("resets", 120))], ids=str)
def test_a_firewall_that_resets_all_links_between_two_halves_makes_nobody_flap(play: Play, hold: Hold) -> None:
    asked = "nobody hidden twice a minute; ≤ 10 accusations per peer and minute"
    hold(30, f"all links between 3 : 2 reset every 2 s for {play.seconds} s", asked)
