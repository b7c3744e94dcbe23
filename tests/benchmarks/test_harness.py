"""The harness: its statistics, what it calls noisy or worse, what it writes, and that wrong answers fail. Nothing is timed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks.absorb import deltas
from benchmarks.harness import results as stored
from benchmarks.harness.compare import changes
from benchmarks.harness.figures import Figure, digits, quantile, shown
from benchmarks.harness.page import page, readme_table, summary
from benchmarks.harness.results import Results
from benchmarks.harness.run import AbsentError, Case, Run, Sheet, WrongAnswerError
from benchmarks.harness.targets import TARGETS, Bound, Target
from benchmarks.join import CLUSTER, build, frames
from benchmarks.visibility import hop_counts, to_all
from gossip.core.codec import Codec
from gossip.core.messages import Delta

ROOT = Path(__file__).parents[2]


def figure(*rounds: list[float], name: str = "mine", anchor: str | None = None, more: bool = False, unit: str = "s") -> Figure:
    return Figure(name, unit, anchor, more, [list(one) for one in rounds])


def results(*figures: Figure, benchmark: str = "lookup") -> Results:
    return Results("2026-11-25T00:00:00Z", sheets={benchmark: Sheet(benchmark, {one.name: one for one in figures})})


def quiet_run(name: str = "some") -> Run:
    return Run(name, quick=True, tell=lambda line: None)


# statistics -----------------------------------------------------------------------------------------------------------


def test_a_quantile_is_the_nearest_rank() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]
    assert [quantile(hundred, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert math.isnan(quantile([], 0.5))


def test_a_ratio_is_the_median_of_the_ratios_within_rounds() -> None:
    mine, anchor = figure([2.0], [20.0], [6.0]), figure([1.0], [10.0], [2.0])
    assert mine.ratio(anchor) == 2.0  # of the medians alone it would be 3
    assert mine.ratio(figure([3.0])) == 2.0  # where the rounds do not match


def test_halves_that_differ_by_more_than_a_quarter_are_noise() -> None:
    assert figure([1.0], [1.0], [1.2], [1.2]).noise() == pytest.approx(0.2)
    assert figure([1.0], [1.0], [1.3], [1.3]).noise() == pytest.approx(0.3)
    assert figure([1.0, 1.0, 1.5, 1.5]).noise() == pytest.approx(0.5)


def test_a_slow_moment_that_met_the_anchor_too_is_no_noise() -> None:
    mine, anchor = figure([2.0], [2.0], [4.0], [4.0]), figure([1.0], [1.0], [2.0], [2.0])
    assert mine.noise(anchor) == 0.0
    assert mine.noise() == 1.0


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.234e-7, "s", "123 ns"),
        (0.00123, "s", "1.23 ms"),
        (31.0, "s", "31 s"),
        (1536.0, "B", "1.5 KiB"),
        (600.0, "B/s", "600 B/s"),
        (50_000.0, "1/s", "50,000 /s"),
        (0.5, "%", "0.5 %"),
        (2.0, "1", "2"),
        (math.nan, "s", "–"),
    ],
)
def test_values_are_shown_in_units_for_people(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_few_digits_are_shown() -> None:
    assert [digits(value) for value in (0.12345, 12.345, 1234.5)] == ["0.123", "12.3", "1,234"]


# running --------------------------------------------------------------------------------------------------------------


def test_rounds_are_interleaved_and_warm_ones_not_kept() -> None:
    order: list[str] = []

    def take(name: str, value: float) -> list[float]:
        order.append(name)
        return [value]

    run = quiet_run()
    run.interleave([Case("a", lambda: take("a", 1.0)), Case("b", lambda: take("b", 2.0), "a")], rounds=2)
    assert order == ["a", "b"] * 3
    assert run.sheet.figures["b"].rounds == [[2.0], [2.0]]
    assert run.sheet.figures["b"].ratio(run.sheet.figures["a"]) == 2.0


def test_an_absent_anchor_is_shown_as_absent_and_asked_once() -> None:
    asked: list[None] = []

    def start() -> None:
        asked.append(None)
        raise AbsentError("serf is not installed")

    run = quiet_run()
    assert run.attempt("serf", start) is None
    assert run.attempt("serf", start) is None
    assert len(asked) == 1
    assert "absent" in summary(Results("2026-11-25T00:00:00Z", sheets={"some": run.sheet}))


def test_an_absent_case_leaves_the_others() -> None:
    def absent() -> list[float]:
        raise AbsentError("not here")

    run = quiet_run()
    run.interleave([Case("gone", absent), Case("here", lambda: [1.0])], rounds=2)
    assert list(run.sheet.figures) == ["here"]
    assert run.sheet.absent == {"gone": "not here"}


def test_a_wrong_answer_is_an_error() -> None:
    with pytest.raises(WrongAnswerError, match="3 of 4 saw it"):
        quiet_run("visibility").check(False, "3 of 4 saw it")


@pytest.mark.parametrize(
    ("error", "told"),
    [(WrongAnswerError("a lookup disagreed"), "wrong answer: a lookup disagreed"), (OSError("no"), "OSError: no")],
)
def test_a_benchmark_that_raises_fails_the_run(monkeypatch: pytest.MonkeyPatch, error: Exception, told: str) -> None:
    def measure(run: Run) -> None:
        run.record("before", [1.0])
        raise error

    monkeypatch.setattr("benchmarks.lookup.measure", measure)
    sheet = program.run_here("lookup", quick=True)
    assert sheet.failure == told
    assert list(sheet.figures) == ["before"]


def test_all_benchmarks_are_found_by_their_measure() -> None:
    assert {"absorb", "detection", "footprint", "join", "lookup", "scale", "visibility"} <= set(program.known())


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["lookups"]) == 2
    assert "known are" in capsys.readouterr().err


# what decides whether an answer is right ------------------------------------------------------------------------------


def test_a_change_that_missed_one_receiver_has_no_time() -> None:
    started = {"a": 1.0, "b": 2.0}
    seen_by = [{"a": 1.5, "b": 2.25}, {"a": 1.75}]
    assert to_all(started, seen_by, receivers=2) == ([0.75], 1)


def test_hops_are_counted_back_to_the_origin() -> None:
    a, b, c, change = b"a", b"b", b"c", (b"a", 7)
    assert hop_counts({a: {}, b: {change: a}, c: {change: b}}) == {1: 1, 2: 1}


def test_states_hold_as_many_instances_as_asked() -> None:
    assert build(frames(100)) == 100
    assert build(frames(1_000)) == 1_000


def test_the_deltas_of_a_round_follow_those_of_the_last() -> None:
    codec = Codec(CLUSTER)

    def versions(round: int) -> Iterator[tuple[str, int, int]]:
        for frame in deltas(codec, 400, 1, round):
            delta = codec.decode(frame)
            assert isinstance(delta, Delta)
            yield delta.origin, delta.since, delta.version

    held: dict[str, int] = {}
    for round in (0, 1):
        for origin, since, version in versions(round):
            assert held.get(origin, 1) == since
            held[origin] = version
    assert set(held.values()) == {9}


# results --------------------------------------------------------------------------------------------------------------


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    made = results(figure([1.0, 2.0], [3.0], anchor="other"), figure([1.0], name="other"))
    made.sheets["lookup"].absent["etcd"] = "not installed"
    path = tmp_path / "made.json"
    made.write(path)
    assert stored.read(path) == made
    plain = json.loads(path.read_text(encoding="utf-8"))
    assert plain["benchmarks"]["lookup"]["figures"]["mine"]["rounds"] == [[1.0, 2.0], [3.0]]


def test_what_is_no_results_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no results"):
        stored.read(path)


def test_only_a_whole_thorough_run_takes_the_plain_name() -> None:
    whole = Results("2026-11-25T00:00:00Z", sheets={name: Sheet(name) for name in program.known()})
    assert program.path_of(whole).name == "2026-11-25.json"
    whole.quick = True
    assert program.path_of(whole).name == "2026-11-25-quick.json"
    assert program.path_of(results()).name == "2026-11-25-lookup.json"


def test_what_is_measured_anew_takes_its_place_and_says_when() -> None:
    whole = Results("2026-11-25T00:00:00Z", "aaa", sheets={name: Sheet(name) for name in ("absorb", "lookup")})
    anew = Results("2026-11-26T00:00:00Z", "bbb", sheets={"absorb": Sheet("absorb", took_s=3.0)})
    found = program.put_into(whole, anew)
    assert list(found.sheets) == ["absorb", "lookup"]
    assert found.sheets["absorb"].took_s == 3.0
    assert "2026-11-26T00:00:00Z, commit `bbb`" in page(found)
    assert found.sheets["lookup"].notes == []


def test_a_quick_run_has_no_place_in_a_whole_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["absorb", "--quick", "--into", "whole.json"]) == 2
    assert "Leave out --quick" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--compare", "--into", "--page"])
@pytest.mark.parametrize("content", [None, "{}", "no JSON"])
def test_results_that_cannot_be_used_are_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, content: str | None
) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert program.main(["absorb", option, str(path)]) == 2
    assert "Name a file that python -m benchmarks wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "more", "worse"),
    [(1.0, 1.5, False, True), (1.0, 0.5, False, False), (1.0, 0.5, True, True), (1.0, 1.04, False, False)],
)
def test_what_got_worse_is_marked(before: float, after: float, more: bool, worse: bool) -> None:
    (change,) = changes(results(figure([before], [before], more=more)), results(figure([after], [after], more=more)))
    assert change.worse is worse
    assert ("WORSE" in str(change)) is worse


def test_a_change_within_the_noise_of_either_run_is_none() -> None:
    (change,) = changes(results(figure([1.0], [1.6])), results(figure([1.5], [1.5])))
    assert not change.worse


def test_ratios_are_compared_where_there_are_anchors() -> None:
    before = results(figure([2.0], [2.0], anchor="other"), figure([1.0], [1.0], name="other"))
    after = results(figure([4.0], [4.0], anchor="other"), figure([2.0], [2.0], name="other"))  # a slower machine
    assert (changes(before, after)[0].before, changes(before, after)[0].after) == (2.0, 2.0)


# targets and the page -------------------------------------------------------------------------------------------------


def test_a_target_is_met_missed_or_not_measured() -> None:
    target = Target("job", "aim", "lookup", (Bound("mine", by="other", most=3),))
    other = figure([1.0], name="other")
    assert target.verdict(results(figure([2.0]), other)) == "met"
    assert target.verdict(results(figure([4.0]), other)) == "shortfall"
    assert target.verdict(results(other)) == "not measured"


def test_a_bound_may_say_how_many_times_faster() -> None:
    bound = Bound("mine", by="serf", least=50, inverse=True)
    figures = {one.name: one for one in (figure([0.01]), figure([0.4], name="serf"))}
    assert bound.value(figures) == pytest.approx(40)
    assert bound.kept(figures) is False


def test_the_page_shows_every_target_and_tells_of_noise_and_failures() -> None:
    made = results(figure([1.0], [2.0], name="lookup, 10 instances"))
    made.sheets["lookup"].failure = "wrong answer: it was"
    shows = page(made)
    assert all(f"| {target.job} |" in shows for target in TARGETS)
    assert "too noisy to quote" in shows
    assert "wrong answer: it was" in shows
    assert "lookup, 10 instances" in shows


def test_the_readme_shows_only_what_was_measured() -> None:
    assert "Redis GET" not in readme_table(results(figure([1e-7], name="lookup, 10 instances")))
    assert "100 ns" in readme_table(results(figure([1e-7], name="lookup, 10 instances")))


def test_every_target_names_figures_that_its_benchmark_makes() -> None:
    latest = max((ROOT / "benchmarks" / "results").glob("20*-*-[0-9][0-9].json"), default=None)
    if latest is None:
        pytest.skip("no results of a whole run lie in benchmarks/results")
    made = stored.read(latest)
    for target in TARGETS:
        if target.benchmark in made.sheets and not made.sheets[target.benchmark].failure:
            known = made.sheets[target.benchmark].figures
            assert {bound.figure for bound in target.bounds} <= set(known), target.job


def test_a_quick_run_of_the_cheapest_benchmark_ends_well(tmp_path: Path) -> None:
    told = tmp_path / "sheet.json"
    command = [sys.executable, "-m", "benchmarks", "absorb", "--quick", "--here", str(told)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    sheet = stored.read(told).sheets["absorb"]
    assert sheet.failure is None
    assert {"changes taken in, singly", "changes taken in, batched"} <= set(sheet.figures)
