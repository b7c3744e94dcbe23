"""What the page is made of, without a browser: its files, the ring, the overlay, the last events, ages."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from gossip import Event, EventKind, Instance, Member, MemberState, Peer
from gossip.gateway import chronicle as chronicle_module
from gossip.gateway import picture as picture_module
from gossip.gateway.chronicle import Chronicle
from gossip.gateway.news import News
from gossip.gateway.picture import Picture
from gossip.gateway.static import FOLDER, TYPES

from .conftest import Door, Street, problem, until

FILES = sorted(path.name for path in FOLDER.iterdir())


# the files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in FILES)])
def test_every_file_has_an_etag_and_the_strict_policy(door: Door, path: str) -> None:
    answer = door.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == TYPES[path[path.rindex(".") :] if "." in path else ".html"]
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "*" not in policy
    again = door.get(path, headers={"If-None-Match": f'"other", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])


def test_the_page_names_only_files_of_its_own() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, f"{name} names something elsewhere"
        for imported in re.findall(r'(?:from|import) "\./([^"]+)"', text) + re.findall(r'"/page/([^"]+)"', text):
            assert imported in FILES, f"{name} needs {imported}"


def test_no_script_of_the_page_makes_markup_of_text() -> None:
    for path in FOLDER.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser"):
            assert word not in text, f"{path.name} uses {word}"


def test_scripts_of_the_page_have_no_longer_lines_than_the_rest() -> None:
    for path in [*FOLDER.glob("*.js"), *FOLDER.glob("*.html")]:
        assert max(map(len, path.read_text(encoding="utf-8").splitlines())) <= 130, path.name


def test_there_is_nothing_else_beside_the_files(door: Door) -> None:
    for name in ("nothing.js", "..%2Fapi.py", "%2e%2e/api.py", "__init__.py"):
        problem(door.get(f"/page/{name}"), 404)


def test_who_lacks_the_token_gets_the_page_and_nothing_of_the_cluster(street: Street) -> None:
    door = street.open(environment={"GOSSIP_GATEWAY_TOKEN": "of-the-house"}, token="of-the-house")
    with httpx.Client(base_url=door.url, trust_env=False) as stranger:
        assert stranger.get("/").status_code == 200
        assert stranger.get("/page/app.js").status_code == 200
        for path in ("/v1/overlay", "/v1/events", "/v1/services/gossip-gateway/ring", "/v1/watch", "/pages"):
            problem(stranger.get(path), 401)
    assert door.get("/v1/overlay").status_code == 200


# the ring -------------------------------------------------------------------------------------------------------------


def test_the_ring_tells_shares_places_and_where_a_key_lands(door: Door) -> None:
    for port, weight in ((1, 1), (2, 1), (3, 2)):
        door.register("drawn", port, weight=weight)
    answer = door.get("/v1/services/drawn/ring", params={"key": "user:42", "places": 4096}).json()
    shares = {one["id"]: one["share"] for one in answer["instances"]}
    assert sum(shares.values()) == pytest.approx(1)
    assert {one["weight"] for one in answer["instances"]} == {1, 2}
    counted = Counter(answer["instances"][at]["id"] for at in answer["places"])
    for id, share in shares.items():
        assert counted[id] / 4096 == pytest.approx(share, abs=0.03)
    key = answer["key"]
    owners = door.get("/v1/preference-list", params={"service": "drawn", "key": "user:42"}).json()["instances"]
    assert [key["owner"], *key["stand_ins"]] == [one["id"] for one in owners]
    assert answer["instances"][answer["places"][int(key["place"] * 4096)]]["id"] in shares


def test_a_ring_that_is_not_there_is_no_ring(door: Door) -> None:
    problem(door.get("/v1/services/nobody/ring"), 404)
    problem(door.get("/v1/services/gossip-gateway/ring?places=4097"), 400)
    problem(door.get("/v1/services/gossip-gateway/ring?colour=red"), 400)
    assert door.get("/v1/services/gossip-gateway/ring?places=0").json()["places"] == []


def test_a_ring_too_heavy_to_draw_is_refused(door: Door) -> None:
    for port in range(1, 102):
        door.register("heavy", port, weight=100)
    assert "weigh 10100 together" in problem(door.get("/v1/services/heavy/ring"), 503)["detail"]


# the overlay, and what happened ---------------------------------------------------------------------------------------


class Nobody:
    """A peer that knows nothing."""

    def services(self) -> tuple[str, ...]:
        return ()

    def members(self, include_dead: bool = False) -> tuple[Any, ...]:
        return ()


def test_the_overlay_links_all_living_members_of_a_small_cluster(street: Street) -> None:
    door = street.open()
    peer = street.peer("a")
    until(lambda: len(door.get("/v1/members").json()["members"]) == 2, "the gateway knows both")
    answer = door.get("/v1/overlay").json()
    ids = [one["id"] for one in answer["members"]]
    assert answer["computed"] is True
    assert sorted(ids) == sorted([door.id, peer.id])
    assert sorted(answer["links"]) == [[0, 1], [1, 0]]
    assert [one["place"] for one in answer["members"]] == sorted(one["place"] for one in answer["members"])
    alone = door.get("/v1/overlay", params={"member": peer.id}).json()
    assert alone["links"] == [[ids.index(peer.id), ids.index(door.id)]]
    problem(door.get("/v1/overlay?member=nobody"), 404)
    peer.close()
    left = until(lambda: door.get("/v1/overlay").json()["gone"], "it is told where who left stood")
    assert left == [one for one in answer["members"] if one["id"] == peer.id]
    assert [one["id"] for one in door.get("/v1/overlay").json()["members"]] == [door.id]


class Crowd(Nobody):
    """A peer that knows three members, itself the second."""

    id = "b"

    def members(self, include_dead: bool = False) -> tuple[Any, ...]:
        return self.named("abc")

    @staticmethod
    def named(ids: str) -> tuple[Member, ...]:
        return tuple(Member(id, id, "", "", MemberState.ALIVE, (1, 1), 1, 0) for id in ids)

    def overlay(self) -> dict[str, tuple[float, tuple[str, ...]]]:
        return {"a": (0.3, ("b", "c")), "b": (0.2, ("a", "c")), "c": (0.1, ("a", "b"))}


@pytest.mark.parametrize(("query", "links"), [("", [[1, 2], [1, 0]]), ("member=c", [[0, 2], [0, 1]])])
def test_of_too_many_members_the_links_of_one_are_told(
    monkeypatch: pytest.MonkeyPatch, query: str, links: list[list[int]]
) -> None:
    monkeypatch.setattr(picture_module, "OVERLAY_MEMBERS_MAX", 2)
    crowd: Any = Crowd()
    picture = Picture(crowd, News(crowd), Chronicle(crowd))
    request = Request({"type": "http", "method": "GET", "path": "/v1/overlay", "query_string": query.encode(), "headers": []})
    told = json.loads(bytes(asyncio.run(picture.overlay(request)).body))
    assert [one["id"] for one in told["members"]] == ["c", "b", "a"]
    assert (told["links"], told["members_left_out"]) == (links, 2)


@pytest.mark.parametrize("looks", [["ab", "abc"], ["abc", "ab"]], ids=["one comes", "one ends"])
def test_between_two_looks_at_the_members_some_may_come_or_end(looks: list[str]) -> None:
    peer, crowd = Peer("b", id="b", seeds=[]), iter([Crowd.named(look) for look in looks])
    peer.members = lambda include_dead=False: next(crowd)  # type: ignore[method-assign]
    drawn = peer.overlay()
    assert set(drawn) == set("abc")
    assert drawn["a"][1] == tuple(sorted(set(looks[0]) - {"a"}))


@pytest.mark.parametrize("known", ["ab", "abcd"], ids=["one comes", "one ends"])
def test_a_member_that_is_drawn_only_once_has_no_links(monkeypatch: pytest.MonkeyPatch, known: str) -> None:
    crowd: Any = Crowd()
    monkeypatch.setattr(crowd, "members", lambda include_dead=False: Crowd.named(known))
    picture = Picture(crowd, News(crowd), Chronicle(crowd))
    request = Request({"type": "http", "method": "GET", "path": "/v1/overlay", "query_string": b"", "headers": []})
    told = json.loads(bytes(asyncio.run(picture.overlay(request)).body))
    assert {one["id"] for one in told["members"]} == set(known) & set("abc")
    assert len(told["links"]) == (2 if known == "ab" else 6)


def test_the_last_events_lead_on_to_the_stream(door: Door) -> None:
    door.register("eventful", 1)
    answer = until(
        lambda: next((a for a in [door.get("/v1/events").json()] if "eventful" in str(a["events"])), None), "it is told"
    )
    assert [event["seq"] for event in answer["events"]] == sorted(event["seq"] for event in answer["events"])
    with door.http.stream("GET", "/v1/watch", params={"since": answer["cursor"]}) as stream:
        door.register("eventful", 2)
        told = next(line for line in stream.iter_lines() if line.startswith("data: "))
    assert '"port": 2' in told


def test_an_instance_is_known_since_it_came(door: Door) -> None:
    door.register("aged", 1)
    (one,) = door.get("/v1/instances?service=aged").json()["instances"]
    (gateway,) = door.get("/v1/instances?service=gossip-gateway").json()["instances"]
    assert 0 <= one["known_s"] <= gateway["known_s"]
    (member,) = door.get("/v1/members").json()["members"]
    assert member["known_s"] >= gateway["known_s"]


def test_ages_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronicle_module, "AGES_MAX", 2)
    chronicle = Chronicle(Nobody(), clock=lambda: 100.0)  # type: ignore[arg-type]
    many = [Instance("a", str(n), "127.0.0.1", 1) for n in range(3)]
    for seq, one in enumerate(many):
        chronicle.hear(Event(seq, 0.0, EventKind.ADDED, "a", None, one, ""), now=10.0 * seq)
    assert [chronicle.known_s(one) for one in many] == [0.0, 90.0, 80.0]  # the first is forgotten
    chronicle.hear(Event(4, 0.0, EventKind.REMOVED, "a", many[1], None, ""), now=50.0)
    assert chronicle.known_s(many[1]) == 0.0
    chronicle.hear(Event(5, 0.0, EventKind.RESYNC, None, None, None, ""), now=60.0)
    assert [chronicle.known_s(one) for one in many] == [0.0, 0.0, 0.0]


