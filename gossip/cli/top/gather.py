"""From an observer to scenes: what it holds now, and the story of what happened since the start."""

from __future__ import annotations

import threading
import time

from ... import Event, GossipError, Observer, Watch
from .scene import Answer, Scene, Story

TAKEN_MAX = 5000  # events taken between two scenes; the rest waits, and the watch has a bound of its own


class Gatherer:
    """Follows one observer. For one thread; an answer to `ask` comes on another's."""

    def __init__(self, observer: Observer, cluster: str, watch: Watch) -> None:
        self._observer = observer
        self._cluster = cluster
        self._watch = watch
        self._story = Story(time.monotonic())
        self._alone_since: float | None = None
        self._source = ""
        self._linked: tuple[tuple[str, ...], dict[str, int]] = (), {}  # for these members, computed once
        self.answer: Answer | None = None

    def take(self) -> int:
        """Take in what happened since the last call; how many events. Never waits. Raises `PeerClosed` when the watch ended."""
        taken: list[Event] = []
        while len(taken) < TAKEN_MAX and (event := self._watch.take()) is not None:
            taken.append(event)
        return self._story.add(taken, time.monotonic())

    def scene(self) -> Scene:
        """What is so now. O(members + services)."""
        observer, now, wall = self._observer, time.monotonic(), time.time()
        source = observer.source
        if source:
            self._source, self._alone_since = source, None
        elif self._alone_since is None:
            self._alone_since = wall
        living = observer.members()
        members = self._story.members(living, now)
        events_per_s, changes_per_s = self._story.rates(now)
        return Scene(
            at=wall,
            cluster=self._cluster,
            source=source or self._source,
            status=observer.status(),
            members=members,
            services={name: observer.lookup(name, include_draining=True) for name in observer.services()},
            events=tuple(self._story.events),
            told=self._story.told(members),
            links=self._links(tuple(member.id for member in living)),
            events_per_s=events_per_s,
            changes_per_s=changes_per_s,
            alone_since=self._alone_since,
            answer=self.answer,
        )

    def _links(self, living: tuple[str, ...]) -> dict[str, int]:
        """How many members each listens to. 20 ms at a thousand, so only when somebody came or went."""
        if living != self._linked[0]:
            overlay, ids = self._observer.overlay(), frozenset(living)
            self._linked = living, {id: len(others) for id, (_, others) in overlay.items() if id in ids}
        return self._linked[1]

    def ask(self, name: str, timeout_s: float) -> None:
        """Ask the source what happened to this one; `answer` changes when it came, and is about the last name asked."""
        asked = self.answer = Answer(name)

        def wait() -> None:
            try:
                found = Answer(name, self._observer.why(name, timeout=timeout_s))
            except (GossipError, TimeoutError) as error:
                found = Answer(name, fault=str(error))
            if self.answer is asked:
                self.answer = found

        threading.Thread(target=wait, name="why", daemon=True).start()
