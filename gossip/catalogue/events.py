"""What happened, for people and programs: a bounded history, and watches that follow it.

Invariant: events are numbered 1, 2, 3 … by one writer, the bus thread; a watch sees every event since its start in
order, or one `RESYNC` in place of those it was too slow for. Nothing here makes the writer wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Protocol

from ..config import Limits
from ..core.effects import Changed, Happened
from ..errors import PeerClosed, PeerForked
from ..model import Event, EventKind, Instance, Member, MemberState

_ADDED, _CHANGED, _REMOVED = EventKind.ADDED, EventKind.CHANGED, EventKind.REMOVED
WHY_MAX = 64  # events told about one name
SUBJECTS_MAX = 8192  # names whose events are kept apart from the common history
GONE_MAX = 1024  # of them, members that died or left: as many as the core keeps the state of
_GONE = (MemberState.DEAD, MemberState.LEFT)


class Queue(Protocol):
    """What carries events from the writer to a reader: a `SimpleQueue`, or what the owner has in its place."""

    def put(self, item: Event | None) -> None: ...

    def get(self, block: bool = True, timeout: float | None = None) -> Event | None: ...

    def get_nowait(self) -> Event | None: ...

    def qsize(self) -> int: ...


class Watch:
    """Events as they happen: iterate, or `get(timeout)`. Ends when the peer closes, or by `close()`; a context manager.

    A reader that falls more than `limits.watch_queue_max` events behind gets one event of kind `RESYNC` instead of what
    it missed, and should look everything up again.
    """

    def __init__(
        self,
        service: str | None,
        queue_max: int,
        ring: Callable[[], None] | None = None,
        queue: Callable[[], Queue] = SimpleQueue,
    ) -> None:
        """`ring` is called after every event and at the end, on the thread that brings it; it neither raises nor waits.

        `queue` makes what carries the events from there to the reader.
        """
        self._service = service
        self._queue_max = queue_max
        self._ring = ring
        self._queue = queue()
        self._closed = False
        self._ended = False
        self._end: PeerClosed | None = None

    @property
    def closed(self) -> bool:
        """Whether no more events come: it or its peer was closed."""
        return self._closed

    def offer(self, event: Event) -> bool:
        """For the writer: never blocks. Whether the reader was too slow, and gets a RESYNC."""
        if self._service is not None and event.service is not None and event.service != self._service:
            return False
        if self._service is not None and event.service is None and event.kind is not EventKind.RESYNC:
            return False
        late = self._queue.qsize() >= self._queue_max
        if late:
            self._overflow(event)
        else:
            self._queue.put(event)
        if self._ring is not None:
            self._ring()
        return late

    def _overflow(self, event: Event) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            pass
        reason = f"the reader fell {self._queue_max} events behind; look everything up again"
        self._queue.put(Event(event.seq, event.at, EventKind.RESYNC, self._service, None, None, reason))
        if self._closed:  # closed meanwhile: its end may have been among what was dropped
            self._queue.put(None)

    def take(self) -> Event | None:
        """The next event if there is one, or None; never waits. Raises `PeerClosed` when the watch has ended."""
        try:
            return self._read(block=False, timeout=None)
        except Empty:
            return None

    def get(self, timeout: float | None = None) -> Event:
        """The next event. Raises `TimeoutError` after `timeout` seconds, `PeerClosed` when the watch has ended."""
        try:
            return self._read(block=True, timeout=None if timeout is None else max(timeout, 0.0))
        except Empty:
            raise nothing_came(timeout) from None

    def _read(self, *, block: bool, timeout: float | None) -> Event:
        if not self._ended:
            event = self._queue.get(block, timeout)
            if event is not None:
                return event
            self._ended = True
            self._queue.put(None)  # other threads may wait on the same watch
        raise self._end or PeerClosed("this watch has ended: it or its peer was closed. Watch a running peer")

    def close(self) -> None:
        """No more events come, after those that wait to be read. Idempotent; any thread; a waiting reader ends."""
        if not self._closed:
            self._closed = True  # the writer forgets it the next time it looks
            self._queue.put(None)
            if self._ring is not None:
                self._ring()

    def abandon(self, error: PeerForked) -> None:
        """In a forked child: readers there get this error. Rings nobody, for those who wait are the parent's."""
        self._closed = self._ended = True
        self._end = error

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            return self.get()
        except PeerForked:
            raise
        except PeerClosed:
            raise StopIteration from None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def nothing_came(timeout: float | None) -> TimeoutError:
    """What a reader of a watch is told after its timeout."""
    return TimeoutError(f"no event within {timeout} s")


class _Subjects:
    """The last events about each member, which outlast the common history. Written by one thread, read by any.

    Who died or left gives way before who lives: where members come and go all day, what is kept of them stays small.
    """

    def __init__(self) -> None:
        self._here: dict[str, tuple[Event, ...]] = {}
        self._gone: dict[str, tuple[Event, ...]] = {}

    def remember(self, subject: str, event: Event) -> None:
        """O(`WHY_MAX`)."""
        known = self.of(subject)
        gone = event.after.state in _GONE if isinstance(event.after, Member) else subject in self._gone  # a notice moves nobody
        now, before = (self._gone, self._here) if gone else (self._here, self._gone)
        now[subject] = (*known[1 - WHY_MAX :], event)
        before.pop(subject, None)  # last: it is always in one of them
        if len(now) > (GONE_MAX if gone else SUBJECTS_MAX):
            del now[next(iter(now))]

    def of(self, subject: str) -> tuple[Event, ...]:
        """Oldest first; empty if nothing is known."""
        here = self._here
        return here.get(subject) or self._gone.get(subject) or here.get(subject, ())  # it may come back between two looks


class EventLog:
    """The history of one peer and its watches. Written by one thread, read by any."""

    def __init__(
        self, limits: Limits, wall: Callable[[], float] = time.time, *, queue: Callable[[], Queue] = SimpleQueue
    ) -> None:
        self._limits = limits
        self._wall = wall
        self._queue = queue
        self._seq = 0
        self._history: deque[Event] = deque(maxlen=limits.history_max)
        self._subjects = _Subjects()
        self._watches: tuple[Watch, ...] = ()
        self.counters: dict[str, int] = {}

    def record(self, changes: Iterable[Changed], happenings: Iterable[Happened]) -> list[Event]:
        """Number what happened, remember it, and offer it to the watches. For the writer; O(events × watches)."""
        at = self._wall()
        events = [self._of_change(change, at) for change in changes]
        for happening in happenings:
            self._seq += 1
            event = Event(self._seq, at, happening.kind, None, happening.before, happening.after, happening.reason)
            self._subjects.remember(happening.subject, event)
            events.append(event)
        self._history.extend(events)
        if self._watches:
            self._offer(events)
        return events

    def _offer(self, events: list[Event]) -> None:
        for watch in self._watches:
            for event in events:
                if watch.offer(event):
                    self.counters["watches_resynced"] = self.counters.get("watches_resynced", 0) + 1
        self._forget_closed()

    def _of_change(self, change: Changed, at: float) -> Event:
        before, after = change.before, change.after
        self._seq += 1
        if after is None:
            return Event(self._seq, at, _REMOVED, before.service if before is not None else None, before, None, change.reason)
        return Event(self._seq, at, _ADDED if before is None else _CHANGED, after.service, before, after, change.reason)

    def watch(self, service: str | None, ring: Callable[[], None] | None = None) -> Watch:
        """A new watch, which sees nothing before `follow`. Any thread."""
        return Watch(service, self._limits.watch_queue_max, ring, self._queue)

    def follow(self, watch: Watch, initial: Iterable[Instance], since: int | None) -> None:
        """Let a watch see what happens from now on, until it is closed.

        `initial` instances come first as ADDED; `since`: the events after that number, or a RESYNC. For the writer's thread.
        """
        if since is not None:
            self._replay(watch, since)
        at = self._wall()
        for instance in initial:
            watch.offer(Event(self._seq, at, EventKind.ADDED, instance.service, None, instance, "known when the watch began"))
        self._watches = (*self._watches, watch)
        self._forget_closed()

    def _replay(self, watch: Watch, since: int) -> None:
        oldest = self._history[0].seq if self._history else self._seq + 1
        if not oldest - 1 <= since <= self._seq:
            reason = f"event {since} is not in the history of this peer; look everything up again"
            watch.offer(Event(self._seq, self._wall(), EventKind.RESYNC, None, None, None, reason))
            return
        for event in self._history:
            if event.seq > since:
                watch.offer(event)

    def _forget_closed(self) -> None:
        if any(watch.closed for watch in self._watches):
            self._watches = tuple(watch for watch in self._watches if not watch.closed)

    def end(self) -> None:
        """The peer closed: all watches end. When the writer is done."""
        for watch in self._watches:
            watch.close()
        self._watches = ()

    def abandon(self, error: PeerForked) -> None:
        """In a forked child: all watches end with this error."""
        for watch in self._watches:
            watch.abandon(error)
        self._watches = ()

    def why(self, names: set[str]) -> tuple[Event, ...]:
        """The last events about members or instances of these names, oldest first. O(history)."""
        found = {event.seq: event for name in names for event in self._subjects.of(name)}
        about = _about(names)
        told = 0
        for event in reversed(tuple(self._history)):
            if about(event):
                found[event.seq] = event
                told += 1
                if told == WHY_MAX:
                    break
        return tuple(found[seq] for seq in sorted(found))[-WHY_MAX:]


def _about(names: set[str]) -> Callable[[Event], bool]:
    """Whether an event is about one of these. Addresses and keys are made only where a name could be one."""
    addresses = any(":" in name for name in names)
    keys = any("/" in name for name in names)

    def about(event: Event) -> bool:
        known = event.after or event.before
        if known is None:
            return False
        if known.id in names:
            return True
        if isinstance(known, Member):
            return known.name in names
        return (
            known.service in names
            or (addresses and known.address in names)
            or (keys and f"{known.service}/{known.id}" in names)
        )

    return about
