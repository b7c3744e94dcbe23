"""What is remembered about each member after the common history has forgotten it, and how much of it."""

from __future__ import annotations

from gossip.catalogue.events import GONE_MAX, WHY_MAX, EventLog
from gossip.config import Limits
from gossip.core.effects import Happened
from gossip.model import EventKind, Member, MemberState

SHORT = Limits(history_max=1)  # nothing is found there that is asked for below


def happened(id: str, state: MemberState, reason: str = "") -> Happened:
    kinds = {MemberState.ALIVE: EventKind.MEMBER_JOINED, MemberState.LEFT: EventKind.MEMBER_LEFT}
    member = Member(id, id, "10.0.0.5:7400", "", state, (1, 1), 1, 0)
    return Happened(kinds.get(state, EventKind.MEMBER_DEAD), id, None, member, reason)


def told(log: EventLog, id: str) -> list[str]:
    return [event.reason for event in log.why({id})]


def test_who_lives_is_told_of_however_many_came_and_went_since() -> None:
    log = EventLog(SHORT)
    log.record((), [happened("steady", MemberState.ALIVE, "came")])
    for number in range(GONE_MAX + 10):
        for state in (MemberState.ALIVE, (MemberState.LEFT, MemberState.DEAD)[number % 2]):
            log.record((), [happened(f"n{number}", state, state)])
    assert told(log, "steady") == ["came"]
    assert told(log, "n9") == []
    assert told(log, "n10") == ["ALIVE", "LEFT"]


def test_who_comes_back_is_told_of_as_one() -> None:
    log = EventLog(SHORT)
    for state in (MemberState.ALIVE, MemberState.DEAD, MemberState.ALIVE):
        log.record((), [happened("back", state, state), happened("other", MemberState.ALIVE)])
    assert told(log, "back") == ["ALIVE", "DEAD", "ALIVE"]
    for number in range(GONE_MAX + 1):
        log.record((), [happened(f"n{number}", MemberState.DEAD)])
    assert told(log, "back") == ["ALIVE", "DEAD", "ALIVE"]


def test_a_notice_about_who_is_gone_brings_nobody_back() -> None:
    log = EventLog(SHORT)
    for number in range(GONE_MAX + 1):
        notice = Happened(EventKind.NOTICE, f"n{number}", None, None, "late news")
        log.record((), [happened(f"n{number}", MemberState.DEAD, "died"), notice])
    assert told(log, "n0") == []
    assert told(log, f"n{GONE_MAX}") == ["died", "late news"]


def test_the_last_events_of_one_are_kept() -> None:
    log = EventLog(SHORT)
    for number in range(WHY_MAX + 5):
        log.record((), [happened("restless", MemberState.ALIVE, str(number))])
    assert told(log, "restless") == [str(number) for number in range(5, WHY_MAX + 5)]
