"""What `gossip top` shows, without a terminal: keys make views, a scene and a view make lines."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from typing import Any

import pytest

from gossip import Event, EventKind, Instance, InstanceState, Labels, Member, MemberState, PeerState, Status
from gossip.cli.top import layout
from gossip.cli.top.keys import keys_of
from gossip.cli.top.layout import LISTINGS, cells_of, lines, listed, name_at_cursor, page_of
from gossip.cli.top.scene import ENDED_MAX, ENDED_SHOWN_S, EVENTS_MAX, Answer, Scene, Story
from gossip.cli.top.view import ORDERS, PANES, Pane, View, press

STATUS = Status(
    "me", "", "default", PeerState.READY, True, 1.0, False, 3, 0, 3, 1, 0.0, 9.0, 1, {}
)  # of an observer that follows somebody


def instance(service: str, id: str, **fields: Any) -> Instance:
    return Instance(service, id, **{"host": "10.0.0.5", "port": 80, **fields})


def member(id: str, state: MemberState = MemberState.ALIVE, instances: int = 1, zone: str = "") -> Member:
    return Member(id, id, "10.0.0.5:7400", zone, state, (1, 1), 1, instances)


def event(seq: int, kind: EventKind, about: Instance | Member | None, reason: str = "") -> Event:
    ends = kind in (EventKind.REMOVED, EventKind.MEMBER_DEAD, EventKind.MEMBER_LEFT)
    service = about.service if isinstance(about, Instance) else None
    return Event(seq, 1000.0 + seq, kind, service, about if ends else None, None if ends else about, reason)


def scene(instances: Iterable[Instance] = (), members: Iterable[Member] = (), **fields: Any) -> Scene:
    services: dict[str, tuple[Instance, ...]] = {}
    for one in instances:
        services[one.service] = (*services.get(one.service, ()), one)
    return Scene(at=1000.0, cluster="default", source="a", status=STATUS, members=tuple(members), services=services, **fields)


def shown(of: Scene, view: View, width: int = 80, height: int = 24) -> str:
    return "\n".join("".join(text for text, _ in line) for line in lines(of, view, width, height))


def after(keys: Iterable[str], view: View | None = None, rows: int = 100, page: int = 10) -> View:
    view = view or View()
    for key in keys:
        view = press(view, key, rows, page)
    return view


TOWN = scene(
    [
        instance("orders", "o-2", weight=3, zone="b", origin="b", routes=("/orders",)),
        instance("orders", "o-1", state=InstanceState.CRITICAL, zone="a", origin="a"),
        instance("payments", "p-1", port=9, state=InstanceState.DRAINING, origin="c"),
    ],
    [member("a", instances=2), member("b", MemberState.SUSPECTED, 1, "z"), member("c", instances=0)],
    events=(event(1, EventKind.ADDED, instance("orders", "o-2")), event(2, EventKind.MEMBER_DEAD, member("d"), "d is gone: why")),
)


# keys -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "pane"),
    [
        (["1"], Pane.SERVICES),
        (["2"], Pane.INSTANCES),
        (["3"], Pane.MEMBERS),
        (["4"], Pane.EVENTS),
        (["tab"], Pane.INSTANCES),
        (["right", "right"], Pane.MEMBERS),
        (["left"], Pane.EVENTS),
        (["backtab", "tab"], Pane.SERVICES),
    ],
)
def test_a_number_or_an_arrow_shows_another_pane(keys: list[str], pane: Pane) -> None:
    assert after(keys).pane is pane


@pytest.mark.parametrize(
    ("keys", "cursor"),
    [
        (["down", "j"], 2),
        (["down", "down", "up"], 1),
        (["up"], 0),
        (["k"], 0),
        (["pagedown"], 10),
        (["pagedown", "pagedown", "pageup"], 10),
        (["end"], 99),
        (["end", "down"], 99),
        (["end", "home"], 0),
    ],
)
def test_the_cursor_moves_within_the_rows(keys: list[str], cursor: int) -> None:
    assert after(keys).cursor == cursor


def test_the_cursor_stays_at_the_top_of_an_empty_list() -> None:
    assert after(["down", "end", "pagedown"], rows=0).cursor == 0


def test_s_goes_through_all_orders_of_the_pane_and_r_turns_the_order_round() -> None:
    for pane in PANES:
        view = View(pane=pane)
        seen = []
        for _ in ORDERS[pane]:
            seen.append(view.sorted_by)
            view = press(view, "s", 1, 1)
        assert (tuple(seen), view.sorted_by) == (ORDERS[pane], ORDERS[pane][0])
        assert (pane in press(view, "r", 1, 1).backwards) is not (pane in view.backwards)


def test_a_filter_is_typed_kept_and_dropped() -> None:
    assert after(["/", *"q1"]) == dataclasses.replace(View(), typing=True, filter="q1")
    assert after(["/", *"orx", "backspace", "enter"]) == dataclasses.replace(View(), filter="or")
    assert after(["/", *"or", "escape"]) == View()
    assert after(["/", *"or", "enter", "escape"]) == View()
    assert len(after(["/", *"x" * 1000]).filter) < 100


@pytest.mark.parametrize("key", ["p", " "])
def test_pause_is_turned_on_and_off(key: str) -> None:
    assert after([key]).paused
    assert not after([key, key]).paused


@pytest.mark.parametrize("key", ["?", "h"])
def test_help_covers_the_pane_until_a_key_closes_it(key: str) -> None:
    assert "pause, and go on" in shown(TOWN, after([key]))
    assert after([key, "s", "3"]).help
    assert after([key, "q"]) == after([key, "escape"]) == View()


def test_q_quits() -> None:
    assert after(["q"]).done


def test_a_key_without_meaning_changes_nothing() -> None:
    assert after(["x", "é", "\x00", "[", "f12"]) == View()


def test_the_bytes_of_a_terminal_are_the_keys_pressed() -> None:
    sent = "q\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[Z\t\r\x7f\x1b[1;5C\x1b[24~é\x1b"
    assert list(keys_of(sent)) == "q up down pageup pagedown backtab tab enter backspace é escape".split()


# what is listed -------------------------------------------------------------------------------------------------------


def ids(pane: Pane, *keys: str, of: Scene = TOWN) -> list[str]:
    rows = listed(of, after(keys, View(pane=pane, backwards=frozenset())))
    return [getattr(row, "id", None) or getattr(row, "name", "") for row in rows]


def test_each_pane_is_sorted_by_each_of_its_columns() -> None:
    assert ids(Pane.SERVICES) == ["orders", "payments"]
    assert ids(Pane.SERVICES, "s") == ["payments", "orders"]  # up: 0, 1
    assert ids(Pane.INSTANCES) == ["o-1", "o-2", "p-1"]
    assert ids(Pane.INSTANCES, "s", "s", "s") == ["o-1", "p-1", "o-2"]  # state: the worst first
    assert ids(Pane.INSTANCES, "s", "s", "s", "s", "r") == ["o-2", "p-1", "o-1"]  # weight, the other way round
    assert ids(Pane.MEMBERS, "s") == ["b", "a", "c"]  # state
    assert ids(Pane.MEMBERS, "s", "s") == ["c", "b", "a"]  # instances
    for pane in PANES:
        for turns in range(len(ORDERS[pane])):
            assert len(listed(TOWN, after("s" * turns, View(pane=pane)))) == len(list(LISTINGS[pane].rows(TOWN)))


def test_a_filter_leaves_the_rows_that_hold_it() -> None:
    assert ids(Pane.INSTANCES, "/", *"CRIT") == ["o-1"]
    assert ids(Pane.INSTANCES, "/", *"payM") == ["p-1"]
    assert ids(Pane.MEMBERS, "/", *"susp") == ["b"]
    assert ids(Pane.SERVICES, "/", *"nobody") == []
    assert "nothing here that has 'nobody'" in shown(TOWN, after(["/", *"nobody"]))
    assert [one.seq for one in listed(TOWN, View(pane=Pane.EVENTS, filter="why"))] == [2]


def test_the_newest_event_comes_first_and_stands_in_full_below() -> None:
    screen = shown(TOWN, View(pane=Pane.EVENTS)).splitlines()
    assert "d is gone: why" in screen[4]
    assert "MEMBER_DEAD      d at 10.0.0.5:7400 (d is gone: why)" in "\n".join(screen[18:])


def test_under_another_pane_stand_the_newest_events_with_their_reasons() -> None:
    below = shown(TOWN, View(pane=Pane.MEMBERS)).partition("newest events")[2]
    assert "MEMBER_DEAD      d is gone: why" in below


def test_enter_asks_about_the_row_at_the_cursor_and_the_answer_covers_the_pane() -> None:
    asked = {Pane.SERVICES: "payments", Pane.INSTANCES: "orders/o-2", Pane.MEMBERS: "b", Pane.EVENTS: "orders/o-2"}
    for pane, name in asked.items():
        assert name_at_cursor(TOWN, View(pane=pane, cursor=1)) == name
    view = after(["enter"])
    assert "asking" in shown(TOWN, view)
    told = dataclasses.replace(TOWN, answer=Answer("d", (event(7, EventKind.MEMBER_DEAD, member("d"), "d is gone: said so"),)))
    assert "(d is gone: said so)" in shown(told, view)
    assert "remembers nothing about d" in shown(dataclasses.replace(TOWN, answer=Answer("d", ())), view)
    assert "nobody told" in shown(dataclasses.replace(TOWN, answer=Answer("d", fault="nobody told")), view)
    assert after(["escape"], view) == after(["q"], view) == View()
    assert name_at_cursor(scene(), View()) == ""


def test_the_loss_of_the_source_is_said() -> None:
    lost = dataclasses.replace(TOWN, alone_since=990.0)
    assert "NOBODY ANSWERS" in shown(lost, View())
    assert "NOBODY ANSWERS" not in shown(TOWN, View())


def test_agreement_rates_links_and_suspicions_stand_at_the_top() -> None:
    status = dataclasses.replace(STATUS, agreement=0.0, suspects=1)
    top = shown(dataclasses.replace(TOWN, status=status, links={"a": 2, "b": 1}, events_per_s=12.34, changes_per_s=2.0), View())
    assert "agreement no  links 3  as a sees it  cluster default" in top
    assert "members 3 (1 suspected)  services 2  instances 3  events 12.3/s  changes 2.0/s" in top
    assert "agreement yes" in shown(TOWN, View())


def test_a_member_is_shown_with_its_links() -> None:
    screen = shown(dataclasses.replace(TOWN, links={"a": 12, "b": 7}), View(pane=Pane.MEMBERS))
    rows = [line.split() for line in screen.splitlines()[4:7]]
    assert [row[4] for row in rows] == ["12", "7", "-"]


# what fits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (39, 9), (1, 1), (300, 12)])
def test_every_screen_has_the_size_of_the_terminal_and_nothing_moves_its_cursor(width: int, height: int, seed: int) -> None:
    chance = random.Random(seed)
    alphabet = "ab \x1b[2J\r\n\t\x07\u202e界é\u0301🎈"
    for _ in range(20):
        word = "".join(chance.choices(alphabet, k=chance.randrange(60)))
        one = instance("s" * chance.randrange(1, 128), word, zone=word, labels=Labels(k=word), routes=(word,), origin=word)
        events = (event(1, EventKind.REMOVED, one, word), event(2, EventKind.MEMBER_DEAD, member(word), word))
        of = scene([one], [member(word, zone=word)], events=events, told={word: events[1]}, answer=Answer(word, events))
        for pane in PANES:
            for view in (View(pane=pane), View(pane=pane, help=True), View(pane=pane, why=True), View(pane=pane, filter=word)):
                made = ["".join(text for text, _ in line) for line in lines(of, view, width, height)]
                assert len(made) == height
                assert [line for line in made if cells_of(line) > width or not line.isprintable()] == []


def test_of_a_thousand_instances_only_those_on_the_screen_are_formatted(monkeypatch: pytest.MonkeyPatch) -> None:
    of = scene(instance("orders", f"o-{number:04}", zone="z") for number in range(1000))
    formatted = []
    plain = LISTINGS[Pane.INSTANCES]
    counting = dataclasses.replace(plain, cells=lambda row, scene: formatted.append(row.id) or plain.cells(row, scene))
    monkeypatch.setitem(layout.LISTINGS, Pane.INSTANCES, counting)
    assert "1 of 1000" in shown(of, View(pane=Pane.INSTANCES))
    assert formatted == [f"o-{number:04}" for number in range(page_of(24))]
    formatted.clear()
    assert "1000 of 1000" in shown(of, after(["end"], View(pane=Pane.INSTANCES), rows=1000))
    assert formatted == [f"o-{number:04}" for number in range(1000 - page_of(24), 1000)]


def test_a_column_in_which_nothing_stands_takes_no_room() -> None:
    assert "LABELS" not in shown(TOWN, View(pane=Pane.INSTANCES), 200)
    assert "LABELS" in shown(scene([instance("orders", "1", labels=Labels(version="2"))]), View(pane=Pane.INSTANCES), 200)


def test_the_rows_scroll_with_the_cursor() -> None:
    of = scene(instance("orders", f"o-{number:04}") for number in range(100))
    for cursor in range(100):
        assert f"o-{cursor:04} " in shown(of, View(pane=Pane.INSTANCES, cursor=cursor))


# the story ------------------------------------------------------------------------------------------------------------


def test_rates_are_those_of_the_last_ten_seconds() -> None:
    story = Story(0.0)
    assert story.rates(0.5) == (None, None)
    story.add([event(1, EventKind.ADDED, instance("o", "1")), event(2, EventKind.NOTICE, None)], 1.0)
    assert story.rates(2.0) == (1.0, 0.5)
    assert story.rates(10.0) == (0.2, 0.1)
    assert story.rates(11.0) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "state"), [(EventKind.MEMBER_DEAD, MemberState.DEAD), (EventKind.MEMBER_LEFT, MemberState.LEFT)]
)
def test_who_ended_is_listed_for_a_while_with_the_reason(kind: EventKind, state: MemberState) -> None:
    story = Story(0.0)
    end = event(1, kind, member("b"), "b is gone: so it is")
    story.add([end], 5.0)
    members = story.members([member("a")], 6.0)
    assert [(one.id, one.state) for one in members] == [("a", MemberState.ALIVE), ("b", state)]
    screen = shown(scene(members=members, told=story.told(members)), View(pane=Pane.MEMBERS), 120)
    assert [line.rstrip().endswith("is gone: so it is") for line in screen.splitlines() if line.startswith("b ")] == [True]
    assert [one.id for one in story.members([member("a")], 5.0 + ENDED_SHOWN_S)] == ["a"]


def test_who_comes_back_is_alive_again() -> None:
    story = Story(0.0)
    story.add([event(1, EventKind.MEMBER_DEAD, member("b")), event(2, EventKind.MEMBER_JOINED, member("b"))], 1.0)
    assert story.members([member("a")], 2.0) == (member("a"),)
    story.add([event(3, EventKind.MEMBER_DEAD, member("b"))], 3.0)
    assert story.members([member("b")], 4.0) == (member("b"),)


def test_nothing_grows_without_end() -> None:
    story = Story(0.0)
    for number in range(2 * EVENTS_MAX):
        story.add([event(number, EventKind.MEMBER_DEAD, member(f"m-{number}"))], 1.0)
    members = story.members([], 2.0)
    assert (len(story.events), len(members)) == (EVENTS_MAX, ENDED_MAX)
    assert len(story.told(members)) == ENDED_MAX


def test_a_scene_is_plain_values_for_json() -> None:
    told = TOWN.as_dict()
    assert told["services"] == [
        {"service": "orders", "instances": 2, "up": 1},
        {"service": "payments", "instances": 1, "up": 0},
    ]
    assert [one["id"] for one in told["members"]] == ["a", "b", "c"]
    assert told["events"][1]["reason"] == "d is gone: why"
