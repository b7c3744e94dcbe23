"""Nobody else's word about me stands, unless the id is theirs by right."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gossip.core.effects import Happened, Listen, Unlisten
from gossip.core.fields import NUMBER_MAX
from gossip.core.messages import Charge, Delta, Evidence
from gossip.core.selfhood import RISE_START_MAX, RISE_WINDOW_S, RISES_MAX, RISES_PER_MINUTE, RISES_SUSPICIOUS, Selfhood
from gossip.model import EventKind

SILENT = Evidence.SILENT
BOOT_MS = 5_000  # when I started
OLDER_MS, YOUNGER_MS = BOOT_MS - 1, BOOT_MS + 1


@pytest.fixture
def selfhood(bench: Any) -> Selfhood:
    me = bench.local.me
    me.header = dataclasses.replace(me.header, boot_ms=BOOT_MS, boot_nonce=1)
    return Selfhood(bench.local, bench.author)


def word(bench: Any, start: int, **header: Any) -> Delta:
    """A state under my id, of a life that began then."""
    boot = {"boot_ms": BOOT_MS, "boot_nonce": 1}
    delta: Delta = bench.make.state("me", life=(start, 0), header=bench.make.header(9, **(boot | header)))
    return delta


def claim(bench: Any, selfhood: Selfhood, times: int, *, every_s: float = 1.0, **header: Any) -> list[str]:
    """Another speaks as me so many times, each time above me; the notices."""
    for number in range(times):
        selfhood.hear(word(bench, bench.local.me.incarnation[0] + 100, **header), number * every_s)
    return [told.reason for told in bench.effects(Happened) if told.kind is EventKind.NOTICE]


# accusations ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pulse", [0, 4])
def test_an_accusation_is_answered_by_a_pulse_above_it_in_the_same_life(bench: Any, selfhood: Selfhood, pulse: int) -> None:
    life = bench.local.me.incarnation
    selfhood.refute(life, pulse, 0.0)
    assert bench.local.me.life == (life, pulse + 1)


def test_an_accusation_of_an_earlier_life_is_answered_by_a_pulse_too(bench: Any, selfhood: Selfhood) -> None:
    life = bench.local.me.incarnation
    selfhood.refute((life[0] - 1, 0), 3, 0.0)
    assert bench.local.me.life == (life, 4)


def test_an_accusation_of_a_life_i_never_had_is_answered_by_a_higher_one(bench: Any, selfhood: Selfhood) -> None:
    selfhood.refute((50_000, 9), 3, 0.0)
    assert bench.local.me.incarnation > (50_000, 9)
    assert bench.local.me.header.pulse == 0


def test_a_charge_of_an_earlier_life_of_mine_needs_no_answer(bench: Any, selfhood: Selfhood) -> None:
    me = bench.local.me
    selfhood.accused("b", Charge("me", me.incarnation, 3, SILENT), 1.0)
    assert me.header.pulse == 4
    selfhood.accused("b", Charge("me", (0, 0), 9, SILENT), 1.0)
    assert me.header.pulse == 4


def test_the_accused_tells_its_user_where_it_was_not_reached_once_a_minute(bench: Any, selfhood: Selfhood) -> None:
    me = bench.local.me
    for now, times in ((1.0, 1), (2.0, 0), (62.0, 1)):
        bench.effects(Happened)
        selfhood.accused("b", Charge("me", *me.life, Evidence.CLOSED), now)
        told = [event.reason for event in bench.effects(Happened) if event.kind is EventKind.NOTICE and event.subject == "me"]
        assert len(told) == times
        assert all("b says that this peer is closed" in text and me.contact in text and me.publisher in text for text in told)


# former lives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before_ms", [0, 1])
def test_an_echo_of_my_life_or_an_earlier_one_changes_nothing(bench: Any, selfhood: Selfhood, before_ms: int) -> None:
    start, nonce = bench.local.me.incarnation
    for now in range(5):
        selfhood.hear(dataclasses.replace(word(bench, 0), incarnation=(start - before_ms, nonce)), now)
    assert bench.local.me.incarnation == (start, nonce)
    assert bench.effects() == []


def test_i_rise_above_a_higher_life_and_hold_all_i_registered(bench: Any, selfhood: Selfhood) -> None:
    bench.author.register(bench.make.instance(origin="me"), None, 0.0)
    selfhood.hear(word(bench, 50_000), 1.0)
    assert bench.local.me.incarnation > (50_000, 0)
    assert bench.shown() == bench.make.instance(origin="me")


def test_a_former_life_of_this_process_is_no_twin_however_often_it_returns(bench: Any, selfhood: Selfhood) -> None:
    assert claim(bench, selfhood, 2 * RISES_MAX) == []
    assert bench.local.me.id == "me"


@pytest.mark.parametrize("way", ["deltas", "accusations"])
def test_forged_lives_do_not_make_me_rise_without_bound(bench: Any, selfhood: Selfhood, way: str) -> None:
    for number in range(600):  # in a minute
        life = bench.local.me.incarnation[0] + 1_000_000, 0
        if way == "deltas":
            selfhood.hear(word(bench, life[0]), number * 0.1)
        else:
            selfhood.refute(life, 0, number * 0.1)
    assert bench.local.me.incarnation[0] <= 1000 + (2 * RISES_PER_MINUTE) * 1_000_001
    assert bench.local.counters["lives_refused"] >= 588
    assert len(bench.effects(Happened)) == 1


def test_a_forged_life_at_the_end_of_numbers_is_not_answered(bench: Any, selfhood: Selfhood) -> None:
    former = bench.local.me.incarnation
    selfhood.hear(word(bench, NUMBER_MAX), 0.0)
    selfhood.refute((RISE_START_MAX + 1, 0), 0, 0.0)
    assert bench.local.me.incarnation == former


def test_a_delta_that_does_not_say_whose_it_is_is_no_twin(bench: Any, selfhood: Selfhood) -> None:
    for now in range(2 * RISES_MAX):
        selfhood.hear(dataclasses.replace(word(bench, 50_000 + 100 * now), header=None), now)
    assert bench.local.me.id == "me"
    assert bench.effects(Happened) == []


# twins ----------------------------------------------------------------------------------------------------------------


def test_one_who_speaks_as_me_again_is_told_once(bench: Any, selfhood: Selfhood) -> None:
    assert claim(bench, selfhood, RISES_SUSPICIOUS - 1, boot_ms=YOUNGER_MS) == []
    (notice,) = claim(bench, selfhood, 1, boot_ms=YOUNGER_MS)
    assert notice.startswith("DuplicatePeerId")
    assert "10.0.0.9:7400" in notice
    assert claim(bench, selfhood, 2 * RISES_MAX - RISES_SUSPICIOUS, boot_ms=YOUNGER_MS) == []


def test_the_younger_of_two_takes_a_new_id_and_goes_on_with_its_instances(bench: Any, selfhood: Selfhood) -> None:
    bench.author.register(bench.make.instance(origin="me"), None, 0.0)
    bench.effects()
    former = bench.local.me
    for number in range(RISES_MAX):
        selfhood.hear(word(bench, 50_000 + 100 * number, boot_ms=OLDER_MS), float(number))
    me = bench.local.me
    assert me.id != "me"
    assert me.id.startswith(f"{former.header.name}-")
    assert bench.effects(Unlisten, Listen) == [Unlisten(b"@" + former.hash), Listen(b"@" + me.hash)]
    assert "me" not in bench.table.origins
    assert bench.shown().origin == me.id


def test_the_older_of_two_keeps_the_id(bench: Any, selfhood: Selfhood) -> None:
    claim(bench, selfhood, 3 * RISES_MAX, boot_ms=YOUNGER_MS)
    assert bench.local.me.id == "me"


@pytest.mark.parametrize(("nonce", "renamed"), [(0, True), (2, False)])
def test_of_two_that_started_in_one_millisecond_the_nonce_decides(
    bench: Any, selfhood: Selfhood, nonce: int, renamed: bool
) -> None:
    claim(bench, selfhood, RISES_MAX, boot_nonce=nonce)
    assert (bench.local.me.id != "me") is renamed


def test_once_in_a_while_is_no_twin(bench: Any, selfhood: Selfhood) -> None:
    assert claim(bench, selfhood, 3 * RISES_MAX, every_s=RISE_WINDOW_S, boot_ms=OLDER_MS) == []
    assert bench.local.me.id == "me"


def test_after_a_new_id_the_count_begins_anew(bench: Any, selfhood: Selfhood) -> None:
    claim(bench, selfhood, RISES_MAX, boot_ms=OLDER_MS)
    taken = bench.local.me.id
    claim(bench, selfhood, RISES_MAX - 1, boot_ms=OLDER_MS)
    assert bench.local.me.id == taken


# leaving --------------------------------------------------------------------------------------------------------------


def test_a_leaver_answers_nothing(bench: Any, selfhood: Selfhood) -> None:
    selfhood.leaving = True
    life = bench.local.me.life
    selfhood.refute(*life, 0.0)
    selfhood.refute((50_000, 0), 0, 0.0)
    claim(bench, selfhood, 3 * RISES_MAX, boot_ms=OLDER_MS)
    assert (bench.local.me.id, bench.local.me.life) == ("me", life)
    assert bench.effects() == []
