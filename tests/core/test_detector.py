"""Who is accused, who refutes, and who is dead: the same for everyone who holds the same accusations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.cases import ACCUSERS_MAX, CASES_MAX
from gossip.core.effects import Happened, Probe, ProbeOutcome, Publish
from gossip.core.messages import Accusation, Charge, Evidence, HeaderFlags
from gossip.core.origin import Outcome
from gossip.core.watches import PINGS
from gossip.model import EventKind, MemberState

SILENT, CLOSED = Evidence.SILENT, Evidence.CLOSED
OTHERS = tuple("bcdefgh")


@pytest.fixture
def bench(bench: Any) -> Any:
    """I, the subject a, and b to h."""
    bench.join("a", *OTHERS)
    return bench


def made(bench: Any, make: Any) -> list[Accusation]:
    """The accusations flooded since the last time."""
    frames = [effect.frame for effect in bench.effects(Publish) if effect.frame[:1] == b"*"]
    return [make.codec.decode(frame[1:]) for frame in frames]


def state_of(bench: Any, id: str = "a") -> MemberState:
    return bench.table.origins[id].state


def watchers(bench: Any, subject: str) -> list[str]:
    """Of b to h, those who watch it."""
    hashes = bench.local.overlay.watchers(bench.table.origins[subject].hash)
    return [id for id in OTHERS if bench.table.origins[id].hash in hashes]


def dies(bench: Any, id: str, since: float, until: float) -> float | None:
    """When a member is condemned, in steps of 10 ms; None if not by then."""
    for step in range(round((until - since) * 100) + 1):
        bench.detector.tick(since + step / 100)
        if state_of(bench, id) is MemberState.DEAD:
            return since + step / 100
    return None


# silence ----------------------------------------------------------------------------------------------------------------


def test_two_intervals_of_silence_lead_to_a_ping_and_no_more(bench: Any) -> None:
    bench.detector.watches.only({"a"}, 10.0)
    bench.detector.tick(10.0)
    assert bench.detector.next_deadline() <= 12.0
    bench.detector.tick(11.99)
    assert bench.detector.next_deadline() == 12.0
    assert bench.pinged == []
    bench.detector.tick(12.0)
    bench.detector.tick(12.1)
    assert bench.pinged == ["a"]
    assert bench.detector.next_deadline() > 12.1


def test_three_pings_one_after_the_other_must_fail(bench: Any, make: Any) -> None:
    subject = bench.table.origins["a"]
    bench.detector.watches.only({"a"}, 10.0)
    for at in (12.0, 12.5, 13.0):
        bench.detector.tick(at)
        assert made(bench, make) == []
        bench.detector.unanswered(subject, at + 0.5)
    assert bench.pinged == ["a"] * 3
    bench.detector.tick(13.6)
    assert [c.subject for c in made(bench, make)[0].charges] == ["a"]


def test_who_spoke_while_a_ping_was_lost_is_not_accused(bench: Any, make: Any) -> None:
    bench.detector.watches.only({"a"}, 10.0)
    bench.detector.reported(bench.table.origins["a"], 11.0)
    bench.detector.heard("a", 11.2)
    bench.detector.unanswered(bench.table.origins["a"], 11.5)
    bench.detector.tick(12.0)
    assert made(bench, make) == []


def test_a_report_needs_no_second_ping(bench: Any, make: Any) -> None:
    bench.detector.watches.only({"a"}, 10.0)
    bench.detector.reported(bench.table.origins["a"], 11.0)
    bench.detector.unanswered(bench.table.origins["a"], 11.5)
    bench.detector.tick(11.6)
    assert [c.subject for c in made(bench, make)[0].charges] == ["a"]


def test_who_refuted_two_deaths_within_a_minute_is_not_buried_by_silence_a_third_time(bench: Any, make: Any) -> None:
    def buried(at: float, pulse: int) -> float | None:
        for accuser in watchers(bench, "a")[-3:]:
            charge = Charge("a", make.life, pulse, SILENT)
            bench.detector.accusations.hear(Accusation(accuser, make.life, pulse + 1, (charge,)), b"", at)
        return dies(bench, "a", at, at + 7.0)

    for pulse, at in enumerate((10.0, 20.0)):
        assert buried(at, pulse) == at + 1.0
        bench.refutes("a", at + 2.0, pulse=pulse + 1)
        assert state_of(bench) is MemberState.ALIVE
    assert buried(30.0, 2) is None
    bench.detector.tick(71.9)
    assert state_of(bench) is MemberState.SUSPECTED
    bench.detector.tick(72.1)
    assert state_of(bench) is MemberState.DEAD


def test_an_endpoint_that_still_answers_after_its_link_closed_is_knocked_at_again(bench: Any, make: Any) -> None:
    subject = bench.table.origins["a"]
    bench.detector.watches.only({"a"}, 10.0)
    bench.detector.link_closed(subject.hash, subject.publisher)
    bench.effects()
    bench.detector.probed(subject.publisher, ProbeOutcome.OPEN, 10.0)
    bench.detector.tick(10.0)
    bench.detector.tick(bench.detector.next_deadline())
    assert bench.effects(Probe) == [Probe(subject.publisher)]
    refused_at_both(bench, subject, 10.05)
    bench.detector.tick(10.1)
    assert [c.evidence for c in made(bench, make)[0].charges] == [CLOSED]


def test_a_contact_that_answers_where_the_publisher_met_nobody_is_knocked_at_again(bench: Any, make: Any) -> None:
    subject = bench.table.origins["a"]
    bench.detector.watches.only({"a"}, 10.0)
    bench.detector.link_unreached(subject.hash)
    assert bench.effects(Probe) == [Probe(subject.contact)]
    bench.detector.probed(subject.contact, ProbeOutcome.OPEN, 10.0)
    assert bench.pinged == ["a"]
    bench.detector.tick(10.0)
    bench.detector.tick(bench.detector.next_deadline())
    assert bench.effects(Probe) == [Probe(subject.contact)]
    bench.detector.probed(subject.contact, ProbeOutcome.REFUSED, 10.05)
    bench.detector.tick(10.1)
    assert [c.evidence for c in made(bench, make)[0].charges] == [CLOSED]


def test_a_pong_ends_the_knocking_at_a_contact(bench: Any) -> None:
    subject = bench.table.origins["a"]
    bench.detector.watches.only({"a"}, 10.0)
    bench.detector.link_unreached(subject.hash)
    bench.detector.probed(subject.contact, ProbeOutcome.OPEN, 10.0)
    bench.detector.answered_as(subject, "a", 10.01)
    bench.effects()
    bench.detector.tick(10.5)
    assert bench.effects(Probe) == []


def test_knocking_ends_after_some_times_or_when_the_peer_answers(bench: Any) -> None:
    subject = bench.table.origins["a"]
    bench.detector.watches.only({"a"}, 10.0)
    for pongs, knocks in ((False, 3), (True, 0)):
        bench.detector.link_closed(subject.hash, subject.publisher)
        bench.effects()
        bench.detector.probed(subject.publisher, ProbeOutcome.OPEN, 10.0)
        if pongs:
            bench.detector.answered_as(subject, "a", 10.0)
        seen, now = 0, 10.0
        while now < 10.9:
            now += 0.01
            bench.detector.tick(now)
            for probe in bench.effects(Probe):
                seen += 1
                bench.detector.probed(probe.endpoint, ProbeOutcome.OPEN, now)
        assert seen == knocks


def test_silence_is_judged_by_the_subjects_own_interval(bench: Any) -> None:
    slow = bench.table.origins["a"]
    slow.header = dataclasses.replace(slow.header, interval_ms=5_000)
    bench.detector.watches.only({"a"}, 10.0)
    bench.detector.tick(23.9)
    assert bench.pinged == []
    bench.detector.tick(24.0)
    assert bench.pinged == ["a"]


def test_a_sign_of_life_ends_the_silence(bench: Any) -> None:
    bench.detector.watches.only({"a"}, 10.0)
    bench.detector.heard("a", 12.0)
    bench.detector.tick(13.9)
    assert bench.pinged == []


def test_silence_counts_from_when_one_became_watched(bench: Any) -> None:
    bench.detector.watches.only({"a"}, 10.0)
    bench.detector.watches.only({"a", "b"}, 12.0)
    bench.detector.tick(13.0)
    assert bench.pinged == ["a"]
    bench.detector.watches.only({"b"}, 14.0)
    bench.detector.tick(99.0)
    assert bench.pinged == ["a", "b"]


def test_an_unanswered_ping_accuses_once_the_moment_is_gathered(bench: Any, make: Any) -> None:
    for id in "ab":
        bench.detector.unanswered(bench.table.origins[id], 10.0)
    bench.detector.tick(10.01)
    assert made(bench, make) == []
    bench.detector.tick(10.02)
    (accusation,) = made(bench, make)
    assert [(c.subject, c.evidence) for c in accusation.charges] == [("a", SILENT), ("b", SILENT)]
    assert accusation.accuser == "me"
    assert state_of(bench) is MemberState.SUSPECTED


def test_a_reported_member_is_pinged(bench: Any) -> None:
    bench.detector.reported(bench.table.origins["a"], 10.0)
    assert bench.pinged == ["a"]


def test_another_id_at_the_contact_is_evidence_that_the_former_is_gone(bench: Any, make: Any) -> None:
    bench.detector.answered_as(bench.table.origins["a"], "stranger", 10.0)
    bench.detector.tick(10.1)
    assert [c.evidence for c in made(bench, make)[0].charges] == [CLOSED]
    bench.detector.answered_as(bench.table.origins["b"], "b", 11.0)
    bench.detector.tick(11.1)
    assert made(bench, make) == []


# closed links -----------------------------------------------------------------------------------------------------------


def refused_at_both(bench: Any, subject: Any, now: float) -> None:
    """Connects to the publisher and to the contact of a peer are refused, as where its process is gone."""
    for endpoint in (subject.publisher, subject.contact):
        bench.detector.probed(endpoint, ProbeOutcome.REFUSED, now)


def test_a_closed_link_is_probed_and_who_is_refused_at_both_ports_accuses(bench: Any, make: Any) -> None:
    a = bench.table.origins["a"]
    bench.detector.watches.only({"a"}, 0.0)
    bench.detector.link_closed(a.hash, a.publisher)
    bench.detector.link_closed(a.hash, a.publisher)
    assert bench.effects() == [Probe(a.publisher)]
    bench.detector.probed(a.publisher, ProbeOutcome.REFUSED, 1.0)
    bench.detector.tick(1.1)
    assert bench.effects() == [Probe(a.contact)]
    bench.detector.probed(a.contact, ProbeOutcome.REFUSED, 1.2)
    bench.detector.tick(1.3)
    assert [(c.subject, c.evidence) for c in made(bench, make)[0].charges] == [("a", CLOSED)]


def test_a_publisher_that_a_firewall_refuses_is_no_death_while_the_contact_answers(bench: Any, make: Any) -> None:
    a = bench.table.origins["a"]
    bench.detector.watches.only({"a"}, 0.0)
    bench.detector.link_closed(a.hash, a.publisher)
    bench.detector.probed(a.publisher, ProbeOutcome.REFUSED, 1.0)
    bench.detector.probed(a.contact, ProbeOutcome.OPEN, 1.0)
    assert bench.pinged == ["a"]
    bench.detector.answered_as(a, "a", 1.1)
    bench.detector.tick(2.0)
    assert made(bench, make) == []


@pytest.mark.parametrize("outcome", [ProbeOutcome.OPEN, ProbeOutcome.UNKNOWN])
def test_a_probe_that_is_no_refusal_leads_to_a_ping(bench: Any, outcome: ProbeOutcome) -> None:
    a = bench.table.origins["a"]
    bench.detector.watches.only({"a"}, 0.0)
    bench.detector.link_closed(a.hash, a.publisher)
    bench.detector.probed(a.publisher, outcome, 1.0)
    assert bench.pinged == ["a"]
    assert bench.detector.accusations.gathered == {}


def test_a_closed_link_to_one_i_do_not_watch_is_not_my_business(bench: Any) -> None:
    a = bench.table.origins["a"]
    bench.detector.link_closed(a.hash, a.publisher)
    bench.detector.link_closed(b"stranger", "10.9.9.9:1")
    assert bench.effects() == []


def test_a_refusal_at_an_endpoint_it_moved_away_from_proves_nothing(bench: Any, make: Any) -> None:
    a = bench.table.origins["a"]
    former = a.publisher
    bench.detector.watches.only({"a"}, 0.0)
    bench.detector.link_closed(a.hash, former)
    a.header = dataclasses.replace(a.header, publisher_port=9)
    bench.detector.probed(former, ProbeOutcome.REFUSED, 1.0)
    bench.detector.tick(1.1)
    assert made(bench, make) == []


def test_a_refusal_that_a_former_life_met_is_nothing_against_the_next_which_is_looked_for_anew(bench: Any, make: Any) -> None:
    a = bench.table.origins["a"]
    bench.detector.watches.only({"a"}, 0.0)
    bench.detector.link_closed(a.hash, a.publisher)
    a.incarnation = a.incarnation[0] + 1, 0  # it came back at the same port while I was busy
    bench.effects()
    for now, accused in ((1.0, []), (2.0, ["a"])):
        refused_at_both(bench, a, now)
        bench.detector.tick(now + 0.1)
        assert [c.subject for one in made(bench, make) for c in one.charges] == accused


# verdicts ---------------------------------------------------------------------------------------------------------------


def test_closed_from_three_is_death_at_once(bench: Any) -> None:
    for accuser in "bc":
        bench.hear(bench.accusation(accuser, CLOSED, "a"), 1.0)
    assert state_of(bench) is MemberState.SUSPECTED
    bench.hear(bench.accusation("d", CLOSED, "a"), 1.0)
    assert state_of(bench) is MemberState.DEAD
    assert "closed at b, c, d" in bench.effects(Happened)[-1].reason


def test_one_accuser_three_times_is_one(bench: Any) -> None:
    for counter in (1, 2, 3):
        bench.hear(bench.accusation("b", CLOSED, "a", counter=counter), 1.0)
    assert state_of(bench) is MemberState.SUSPECTED


def test_closed_from_all_living_others_that_are_not_accused_is_death(bench_of: Callable[[Config], Any]) -> None:
    bench = bench_of(Config())
    bench.join("a", "b")
    bench.detector.accuse(bench.table.origins["a"], CLOSED, 1.0)
    bench.detector.tick(1.02)
    assert state_of(bench, "a") is MemberState.SUSPECTED  # b might know better
    bench.detector.accuse(bench.table.origins["b"], CLOSED, 1.03)
    bench.detector.tick(1.05)
    bench.detector.tick(bench.detector.next_deadline())
    assert (state_of(bench, "a"), state_of(bench, "b")) == (MemberState.DEAD, MemberState.DEAD)


@pytest.mark.parametrize(("accusers", "after"), [(1, 5.0), (2, 2.476), (3, 1.0), (4, 1.0)])
def test_a_suspicion_by_silence_shortens_with_each_watcher_that_accuses(bench: Any, accusers: int, after: float) -> None:
    for accuser in watchers(bench, "a")[:accusers]:
        bench.hear(bench.accusation(accuser, SILENT, "a"), 10.0)
    assert dies(bench, "a", 10.0, 20.0) == pytest.approx(10.0 + after, abs=0.011)


def test_however_many_repeat_a_verdict_of_their_side_the_accused_has_all_the_time_to_refute(bench: Any) -> None:
    repeating = [id for id in OTHERS if id not in watchers(bench, "a")]
    assert len(repeating) >= 2
    for accuser in repeating:
        bench.hear(bench.accusation(accuser, SILENT, "a"), 10.0)
    assert dies(bench, "a", 10.0, 20.0) == pytest.approx(15.0, abs=0.011)


def test_a_verdict_by_silence_comes_at_the_deadline_that_was_announced(bench: Any) -> None:
    bench.hear(bench.accusation("b", SILENT, "a"), 10.0)
    bench.detector.tick(bench.detector.next_deadline())  # others may have to be judged anew
    at = bench.detector.next_deadline()
    bench.detector.tick(at - 0.001)
    assert state_of(bench) is MemberState.SUSPECTED
    bench.detector.tick(at)
    assert state_of(bench) is MemberState.DEAD
    assert bench.detector.next_deadline() == float("inf")


def test_the_word_of_an_accused_or_dead_accuser_does_not_count(bench: Any) -> None:
    for accuser in "bc":
        bench.hear(bench.accusation(accuser, CLOSED, "a"), 1.0)
    bench.hear(bench.accusation("e", SILENT, "d"), 1.0)
    bench.hear(bench.accusation("d", CLOSED, "a"), 1.0)
    assert state_of(bench) is MemberState.SUSPECTED


def test_an_accusation_opens_no_case_against_a_stranger_or_one_who_left(bench: Any) -> None:
    stranger = Charge("stranger", (1, 1), 0, CLOSED)
    bench.hear(Accusation("b", (1, 1), 1, (stranger,)), 1.0)
    bench.give(dataclasses.replace(bench.make.delta("a", 1, 2), header=bench.make.header(5, flags=HeaderFlags.LEAVING)))
    bench.hear(bench.accusation("b", CLOSED, "a", counter=2), 1.0)
    assert bench.detector.cases.of == {}


def test_an_accusation_of_an_earlier_life_is_void(bench: Any) -> None:
    bench.refutes("a", 1.0, pulse=3)
    bench.hear(bench.accusation("b", CLOSED, "a", pulse=2), 1.0)
    assert bench.detector.cases.of == {}


# the flood --------------------------------------------------------------------------------------------------------------


def test_a_new_accusation_is_passed_on_as_the_same_bytes_and_once(bench: Any, make: Any) -> None:
    accusation = bench.accusation("b", SILENT, "a")
    bench.hear(accusation, 1.0)
    assert bench.effects(Publish) == [Publish(b"*" + make.codec.encode(accusation))]
    bench.hear(accusation, 1.1)
    assert bench.effects(Publish) == []


def test_four_accusations_of_one_life_are_passed_on(bench: Any, make: Any) -> None:
    for accuser in OTHERS:
        bench.hear(bench.accusation(accuser, SILENT, "a"), 1.0)
    assert len(made(bench, make)) == 4


def test_what_is_told_of_closed_links_after_the_verdict_is_not_passed_on(bench: Any, make: Any) -> None:
    for accuser in OTHERS:
        bench.hear(bench.accusation(accuser, CLOSED, "a"), 1.0)
    assert state_of(bench) is MemberState.DEAD
    assert len(made(bench, make)) == 3


def test_the_memory_of_the_flood_is_bounded(bench_of: Callable[[Config], Any]) -> None:
    bench = bench_of(Config(limits=Limits(accusations_seen_max=10)))
    bench.join("a")
    for counter in range(50):
        bench.hear(bench.accusation("b", SILENT, "a", counter=counter), 1.0)
    assert len(bench.detector.accusations) == 10


def test_accusers_of_one_case_are_bounded(bench: Any) -> None:
    for n in range(ACCUSERS_MAX + 50):
        bench.hear(Accusation(f"stranger{n}", (1, 1), 1, bench.accusation("b", SILENT, "a").charges), 1.0)
    assert len(bench.detector.cases.of["a"].accusers) == ACCUSERS_MAX


def test_cases_are_bounded(bench: Any) -> None:
    bench.detector.cases.of.update((f"o{n}", None) for n in range(CASES_MAX))
    bench.hear(bench.accusation("b", SILENT, "a"), 1.0)
    assert "a" not in bench.detector.cases.of
    assert bench.local.counters["cases_refused"] == 1


# refutation -------------------------------------------------------------------------------------------------------------


def test_a_charge_against_me_is_answered_and_not_passed_on(bench: Any, make: Any) -> None:
    charge = Charge("me", bench.local.me.incarnation, 3, SILENT)
    bench.hear(Accusation("b", (1, 1), 1, (charge,)), 1.0)
    assert bench.accused == [charge]
    assert made(bench, make) == []


def test_a_higher_pulse_refutes_an_accusation(bench: Any) -> None:
    bench.hear(bench.accusation("b", SILENT, "a"), 1.0)
    bench.effects()
    bench.refutes("a", 1.5)
    assert [effect.kind for effect in bench.effects(Happened)] == [EventKind.MEMBER_REFUTED]
    assert bench.detector.cases.of == {}
    assert dies(bench, "a", 1.5, 8.0) is None


def test_a_refutation_holds_though_what_came_before_it_is_missing(bench: Any, make: Any) -> None:
    """It is pulled in a while; the verdict, meanwhile, would be false."""
    bench.hear(bench.accusation("b", SILENT, "a"), 1.0)
    refutation = make.delta("a", 2, 3, header=make.header(1, pulse=1))
    assert bench.give(refutation, 1.5).outcome is Outcome.GAP
    assert (state_of(bench), bench.table.origins["a"].version) == (MemberState.ALIVE, 1)
    bench.hear(bench.accusation("c", SILENT, "a", pulse=0, counter=2), 1.6)  # has not heard it yet
    assert dies(bench, "a", 1.5, 8.0) is None
    bench.detector.accuse(bench.table.origins["a"], CLOSED, 9.0)  # of what it said last, or nobody could ever accuse it
    bench.detector.tick(9.1)
    (charge,) = made(bench, make)[-1].charges
    assert charge.pulse == 1
    bench.give(make.delta("a", 1, 2), 9.2)
    assert bench.table.origins["a"].header.pulse == 1


def test_a_refutation_of_a_death_shows_who_was_dead_as_soon_as_nothing_is_missing(bench: Any, make: Any) -> None:
    bench.hear(bench.accusation("b", SILENT, "a"), 1.0)
    assert dies(bench, "a", 1.0, 8.0) is not None
    bench.give(make.delta("a", 2, 3, header=make.header(1, pulse=1)), 8.5)
    assert state_of(bench) is MemberState.DEAD
    bench.give(make.delta("a", 1, 2), 8.6)
    assert state_of(bench) is MemberState.ALIVE


def test_another_delta_of_the_accused_refutes_nothing(bench: Any, make: Any) -> None:
    bench.hear(bench.accusation("b", SILENT, "a"), 1.0)
    bench.give(make.delta("a", 1, 2, put=("i1",)), 1.5)
    assert state_of(bench) is MemberState.SUSPECTED
    assert dies(bench, "a", 1.5, 8.0) is not None


def test_a_pulse_below_a_case_of_a_higher_life_refutes_nothing(bench: Any) -> None:
    bench.hear(bench.accusation("b", SILENT, "a", pulse=5), 1.0)
    bench.refutes("a", 1.5, pulse=5)
    assert state_of(bench) is MemberState.SUSPECTED
    bench.refutes("a", 1.6, pulse=6)
    assert state_of(bench) is MemberState.ALIVE


def test_a_charge_of_a_higher_life_replaces_the_case(bench: Any) -> None:
    for accuser in "bc":
        bench.hear(bench.accusation(accuser, CLOSED, "a"), 1.0)
    bench.hear(bench.accusation("d", CLOSED, "a", pulse=1), 1.0)
    assert list(bench.detector.cases.of["a"].accusers) == ["d"]
    bench.hear(bench.accusation("e", CLOSED, "a", pulse=0), 1.0)
    assert list(bench.detector.cases.of["a"].accusers) == ["d"]


def test_a_goodbye_closes_the_case_and_mutes_nobody(bench: Any) -> None:
    bench.hear(bench.accusation("b", SILENT, "a"), 1.0)
    bench.give(dataclasses.replace(bench.make.delta("a", 1, 2), header=bench.make.header(5, flags=HeaderFlags.LEAVING)), 1.5)
    assert bench.detector.cases.of == {}
    assert len(bench.detector.cases.mutes) == 0


def test_the_closed_of_a_refuted_accuser_counts_as_silent_for_a_while(bench: Any) -> None:
    for accuser in "bcd":
        bench.hear(bench.accusation(accuser, SILENT, "a"), 1.0)
    bench.refutes("a", 1.1)
    for accuser in "bcd":
        bench.hear(bench.accusation(accuser, CLOSED, "a", counter=2), 1.2)
    assert state_of(bench) is MemberState.SUSPECTED
    bench.refutes("a", 1.3, pulse=2)
    for accuser in "bcd":
        bench.hear(bench.accusation(accuser, CLOSED, "a", counter=3), 99.0)
    assert state_of(bench) is MemberState.DEAD


def test_a_refuted_accuser_keeps_silent_about_that_subject(bench: Any, make: Any) -> None:
    a = bench.table.origins["a"]
    bench.detector.accuse(a, SILENT, 1.0)
    bench.detector.tick(1.1)
    bench.refutes("a", 1.2)
    bench.effects()
    bench.detector.accuse(a, SILENT, 6.1)
    bench.detector.tick(6.2)
    assert made(bench, make) == []
    bench.detector.accuse(a, SILENT, 6.3)
    bench.detector.tick(6.4)
    assert len(made(bench, make)) == 1


def test_an_accuser_refuted_without_end_does_no_harm(bench: Any) -> None:
    for pulse in range(1, 2000):
        bench.hear(bench.accusation("b", CLOSED, "a", counter=pulse), pulse / 100)
        bench.refutes("a", pulse / 100, pulse=pulse)
    assert state_of(bench) is MemberState.ALIVE


def test_what_stands_against_one_is_told_when_it_shows_up(bench: Any, make: Any) -> None:
    assert bench.detector.cases.against("a") == []
    bench.hear(bench.accusation("b", CLOSED, "a", pulse=2), 1.0)
    assert bench.detector.cases.against("a") == [Charge("a", make.life, 2, CLOSED)]
    bench.membership.settle(bench.table.origins["c"], MemberState.DEAD, "", 1.0)
    assert bench.detector.cases.against("c") == [Charge("c", make.life, 0, SILENT)]
    assert bench.detector.cases.against("stranger") == []


def test_the_case_of_a_forgotten_origin_ends(bench: Any) -> None:
    for accuser in "bcd":
        bench.hear(bench.accusation(accuser, CLOSED, "a"), 1.0)
    bench.merger.expire(700.0)
    bench.detector.tick(700.0)
    assert bench.detector.cases.of == {}


# my own health ----------------------------------------------------------------------------------------------------------


def test_after_a_pause_of_mine_nobodys_silence_counts(bench: Any, make: Any) -> None:
    bench.detector.watches.only({"a", "b"}, 0.0)
    bench.detector.accuse(bench.table.origins["a"], SILENT, 2.9)
    bench.detector.paused(60.0)
    bench.detector.tick(60.0)
    bench.detector.tick(60.1)
    assert made(bench, make) == []
    assert bench.pinged == []


def test_after_a_pause_of_mine_suspicions_begin_anew(bench: Any) -> None:
    bench.hear(bench.accusation("b", SILENT, "a"), 1.0)
    bench.detector.paused(60.0)
    bench.detector.tick(60.0)
    assert state_of(bench) is MemberState.SUSPECTED  # its refutation may wait at my sockets
    assert dies(bench, "a", 60.0, 70.0) == pytest.approx(65.0, abs=0.011)


def test_a_closed_link_outweighs_a_pause(bench: Any, make: Any) -> None:
    bench.detector.accuse(bench.table.origins["a"], CLOSED, 2.9)
    bench.detector.paused(60.0)
    bench.detector.tick(60.0)
    assert len(made(bench, make)) == 1


@pytest.fixture
def doubtful(bench: Any) -> Any:
    """Four of the seven others are watched, and all of these fall silent in one tick."""
    bench.detector.watches.only(set("abcd"), 0.0)
    bench.detector.tick(3.0)
    return bench


def test_if_half_of_the_watched_fall_silent_at_once_three_others_are_asked(doubtful: Any) -> None:
    asked = [id for id in doubtful.pinged if id not in "abcd"]
    assert len(set(asked)) == 3
    assert sorted(set(doubtful.pinged) - set(asked)) == list("abcd")
    assert doubtful.local.counters["doubts"] == 1


def test_one_lost_ping_of_a_doubt_that_another_ended_accuses_nobody(doubtful: Any, make: Any) -> None:
    answered, lost, *_ = [id for id in doubtful.pinged if id not in "abcd"]
    doubtful.detector.heard(answered, 3.1)
    doubtful.detector.unanswered(doubtful.table.origins[lost], 3.6)
    doubtful.detector.tick(3.7)
    assert made(doubtful, make) == []


def test_in_doubt_silence_is_held_back_and_told_when_the_doubt_ends(doubtful: Any, make: Any) -> None:
    for id in "abcd":
        doubtful.detector.watches.of[id].missed = PINGS - 1
        doubtful.detector.unanswered(doubtful.table.origins[id], 3.5)
    doubtful.detector.tick(3.6)
    assert made(doubtful, make) == []
    assert 3.6 < doubtful.detector.next_deadline() <= 6.5  # they are asked again meanwhile
    doubtful.detector.tick(8.0)
    assert len(made(doubtful, make)) == 1


def test_who_spoke_while_i_doubted_myself_is_not_accused(doubtful: Any, make: Any) -> None:
    asked = next(id for id in doubtful.pinged if id not in "abcd")
    for id in "ab":
        doubtful.detector.watches.of[id].missed = PINGS - 1
        doubtful.detector.unanswered(doubtful.table.origins[id], 3.5)
    doubtful.detector.heard(asked, 3.7)
    doubtful.detector.heard("a", 3.7)
    doubtful.detector.tick(3.7)
    assert [charge.subject for charge in made(doubtful, make)[0].charges] == ["b"]


def test_an_answer_ends_the_doubt_and_what_was_held_back_is_told(doubtful: Any, make: Any) -> None:
    asked = next(id for id in doubtful.pinged if id not in "abcd")
    doubtful.detector.watches.of["a"].missed = PINGS - 1
    doubtful.detector.unanswered(doubtful.table.origins["a"], 3.5)
    doubtful.detector.tick(3.6)
    doubtful.detector.heard(asked, 3.7)
    assert doubtful.detector.next_deadline() <= 3.7
    doubtful.detector.tick(3.7)
    assert [c.subject for c in made(doubtful, make)[0].charges] == ["a"]


def test_who_was_asked_in_doubt_is_accused_by_later_silence(doubtful: Any, make: Any) -> None:
    asked = next(id for id in doubtful.pinged if id not in "abcd")
    doubtful.detector.unanswered(doubtful.table.origins[asked], 3.5)
    doubtful.detector.tick(8.1)
    assert made(doubtful, make) == []
    doubtful.detector.unanswered(doubtful.table.origins[asked], 20.0)
    doubtful.detector.tick(20.1)
    assert [c.subject for c in made(doubtful, make)[0].charges] == [asked]


def test_in_doubt_a_closed_link_is_told(doubtful: Any, make: Any) -> None:
    doubtful.detector.accuse(doubtful.table.origins["a"], CLOSED, 3.5)
    doubtful.detector.tick(3.6)
    assert len(made(doubtful, make)) == 1


def test_silences_spread_over_an_interval_are_one_doubt(bench: Any, make: Any) -> None:
    watched = [f"m{n}" for n in range(8)]
    bench.join(*watched, "x", "y", "z")
    bench.detector.watches.only(set(watched), 0.0)
    for n, id in enumerate(watched):
        bench.detector.heard(id, 1.0 + n / 8)
    bench.detector.tick(4.0)
    assert bench.local.counters["doubts"] == 1


def test_one_silent_of_four_raises_no_doubt(bench: Any) -> None:
    bench.detector.watches.only(set("abcd"), 0.0)
    for id in "bcd":
        bench.detector.heard(id, 2.0)
    bench.detector.tick(3.0)
    assert bench.pinged == ["a"]


# mass failure -----------------------------------------------------------------------------------------------------------


def silence(bench: Any, subjects: str, now: float) -> None:
    for counter, accuser in enumerate(id for id in ("me", *OTHERS) if id not in subjects):
        bench.hear(bench.accusation(accuser, SILENT, *subjects, counter=counter + 100), now)


def test_if_most_fall_silent_at_once_the_last_view_is_served_on_for_a_while(bench: Any) -> None:
    silence(bench, "abcde", 10.0)  # five of nine
    assert dies(bench, "a", 10.0, 40.9) is None
    assert bench.detector.holding
    assert [e.subject for e in bench.effects(Happened) if e.kind is EventKind.NOTICE] == ["me"]
    assert dies(bench, "a", 40.9, 41.5) is not None
    assert {state_of(bench, id) for id in "abcde"} == {MemberState.DEAD}
    assert not bench.detector.holding


def test_less_than_half_that_fall_silent_at_once_are_dead(bench: Any) -> None:
    silence(bench, "abcd", 10.0)  # four of nine
    bench.detector.tick(11.0)
    assert {state_of(bench, id) for id in "abcd"} == {MemberState.DEAD}
    assert not bench.detector.holding


def test_refutations_end_the_hold(bench: Any) -> None:
    silence(bench, "abcde", 10.0)
    bench.detector.tick(11.0)
    assert bench.detector.holding
    for id in "abcde":
        bench.refutes(id, 12.0)
    bench.detector.tick(12.0)
    assert not bench.detector.holding


def test_closed_links_outweigh_the_hold(bench: Any) -> None:
    silence(bench, "abcde", 10.0)
    bench.detector.tick(11.0)
    for accuser in "fgh":
        bench.hear(bench.accusation(accuser, CLOSED, "a", counter=7), 11.1)
    assert state_of(bench) is MemberState.DEAD
