"""Server-sent events: many viewers, each with a cursor that can be resumed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx

from .conftest import DEADLINE_S, Door, Street, end, problem

VIEWERS = 50


def events(answer: httpx.Response) -> Iterator[tuple[str | None, str | None, Any]]:
    """Cursor, kind and data of each event of a stream; both None where only the cursor is told."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields or "id" in fields:
            yield fields.get("id"), fields.get("event"), json.loads(fields["data"]) if "data" in fields else None
            fields = {}
        else:
            fields = {}


def test_fifty_viewers_see_the_same_change(door: Door) -> None:
    ready, seen = threading.Barrier(VIEWERS + 1), [""] * VIEWERS

    def view(number: int) -> None:
        with httpx.stream("GET", f"{door.url}/v1/watch?service=seen", timeout=DEADLINE_S, trust_env=False) as answer:
            told = events(answer)
            next(told)  # the first cursor: it is subscribed
            ready.wait(DEADLINE_S)
            for _, kind, data in told:
                if kind == "ADDED":
                    seen[number] = data["after"]["address"]
                    return

    viewers = [threading.Thread(target=view, args=(number,)) for number in range(VIEWERS)]
    for viewer in viewers:
        viewer.start()
    ready.wait(DEADLINE_S)
    door.register("seen", 8080)
    for viewer in viewers:
        viewer.join(DEADLINE_S)
    assert seen == ["127.0.0.1:8080"] * VIEWERS


def test_a_cursor_resumes_where_a_viewer_stopped(door: Door) -> None:
    with door.http.stream("GET", "/v1/watch") as answer:
        told = events(answer)
        next(told)
        door.register("resumed", 1)
        cursor = next(cursor for cursor, kind, _ in told if kind == "ADDED")
    for port in (2, 3):
        door.register("resumed", port)
    with door.http.stream("GET", "/v1/watch", headers={"Last-Event-ID": str(cursor)}) as answer:
        told = events(answer)
        missed = [next(told) for _ in range(2)]
    assert [(kind, data["after"]["port"]) for _, kind, data in missed] == [("ADDED", 2), ("ADDED", 3)]


def test_a_viewer_that_saw_nothing_yet_can_resume_too(door: Door) -> None:
    with door.http.stream("GET", "/v1/watch?service=later") as answer:
        cursor, kind, _ = next(events(answer))
    assert kind is None
    door.register("later", 1)
    with door.http.stream("GET", f"/v1/watch?service=later&since={cursor}") as answer:
        assert next(events(answer))[1] == "ADDED"


def test_a_cursor_of_another_life_is_answered_by_resync_and_all_there_is(door: Door) -> None:
    door.register("known", 1)
    with door.http.stream("GET", "/v1/watch?service=known&initial=true&since=abc-1") as answer:
        told = events(answer)
        kinds = [next(told)[1] for _ in range(3)]
    assert kinds == ["RESYNC", "ADDED", None]


def test_viewers_end_with_the_gateway(street: Street) -> None:
    door = street.open()
    with httpx.stream("GET", f"{door.url}/v1/watch", timeout=DEADLINE_S, trust_env=False) as answer:
        told = events(answer)
        next(told)
        end(door.process)
        assert door.process.returncode == 0
        assert [kind for _, kind, _ in told if kind == "ADDED"] == []


def test_viewers_beyond_the_bound_are_refused(street: Street) -> None:
    door = street.open("--viewers", "1")
    with door.http.stream("GET", "/v1/watch") as answer:
        told = events(answer)
        next(told)
        problem(httpx.get(f"{door.url}/v1/watch", trust_env=False), 503)
