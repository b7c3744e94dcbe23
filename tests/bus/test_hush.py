from __future__ import annotations

import logging

import pytest

from gossip.bus.hush import HUSH_S, Hush


def test_every_case_is_counted_and_one_a_minute_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    hush = Hush()
    with caplog.at_level(logging.WARNING, "gossip"):
        spoken = [
            hush.tell("garbage", second, "a stranger sent garbage") for second in (0.0, 1.0, HUSH_S - 1, HUSH_S, HUSH_S + 1)
        ]
    assert spoken == [True, False, False, True, False]
    assert hush.counters == {"garbage": 5}
    assert [record.getMessage() for record in caplog.records] == [
        "a stranger sent garbage",
        "a stranger sent garbage (2 more since the last such line)",
    ]


def test_a_bound_is_counted_each_time_and_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    hush = Hush()
    told = []
    for second in (0.0, 1.0, HUSH_S):
        hush.full("calls_refused", second, "no room")
        told.append(hush.notices)
        hush.notices = []
    assert [len(notices) for notices in told] == [1, 0, 1]
    assert told[0][0].startswith("no room")
    assert hush.counters == {"calls_refused": 3}
    assert not caplog.records  # the notice is logged by whoever gets it


def test_the_first_line_does_not_speak_of_one_before_it() -> None:
    hush = Hush()
    hush.count("strangers_refused", 3)
    hush.notice("strangers_refused", 0.0, "a stranger was turned away")
    assert hush.notices == ["a stranger was turned away (3 more before)"]


def test_causes_of_one_kind_do_not_silence_each_other() -> None:
    hush = Hush()
    for second, name, cause in ((0.0, "a", "none"), (1.0, "b", "another"), (2.0, "c", "none"), (61.0, "d", "none")):
        hush.notice("strangers_refused", second, name, cause=cause)
    assert hush.notices == ["a", "b", "d (1 more since the last such line)"]
    assert hush.counters == {"strangers_refused": 4}


def test_kinds_do_not_silence_each_other() -> None:
    hush = Hush()
    assert hush.tell("one", 0.0, "one")
    assert hush.tell("two", 0.0, "two")


def test_a_counted_case_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    hush = Hush()
    hush.count("drops", 3)
    hush.count("drops")
    assert hush.counters == {"drops": 4}
    assert not caplog.records


def test_a_broken_log_handler_does_no_harm() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("disk full")

    logger, broken = logging.getLogger("gossip"), Broken()
    logger.addHandler(broken)
    try:
        assert Hush().tell("fault", 0.0, "text")
    finally:
        logger.removeHandler(broken)
