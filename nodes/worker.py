"""One peer as a process of its own, driven over its pipes: JSON lines in on stdin, JSON lines out on stdout.

    in    {"call": 1, "do": "lookup", "service": "orders"}
    out   {"call": 1, "value": [...]}     or     {"call": 1, "error": "NoInstances", "message": "..."}
    out   {"event": {...}, "t": 81.25}    unasked, as it happens; `t` is CLOCK_MONOTONIC, one for all processes of a machine

The peer begins with the command `start`, which takes the arguments of `Peer`. Invariant: the process does not outlive
whoever holds its stdin. It leaves gracefully when stdin closes, on SIGTERM and on the command `leave`. It runs in a
process group of its own, so that a Ctrl-C meant for its starter does not reach it.
"""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import json
import os
import select
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a script: `gossip` is the one beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gossip import Config, GossipError, Instance, Peer, Registration, Watch

if TYPE_CHECKING:
    from nodes.provider import Provider

CHUNK_BYTES = 1 << 16
PR_SET_PDEATHSIG = 1  # linux/prctl.h
LAST_EVENTS_S = 1.0  # at the end, so long for what is still to be told
READINGS_MAX = 100_000  # lookups of a reader whose duration is kept
READ_PAUSE_S = 0.001  # between two lookups of a reader: quick, and yet the bus thread gets its turn
PRESETS = {"local": Config.local, "lan": Config.lan, "wan": Config.wan}
PLAIN_READS = "lookup pick route routes preference_list services members status why wait_for wait_synced".split()


class Worker:
    """A peer, its registrations, and the commands that are answered about them. One thread runs the commands."""

    def __init__(self) -> None:
        self.peer: Peer | None = None
        self._registrations: dict[tuple[str, str], Registration] = {}
        self._providers: list[Provider] = []
        self._closing = threading.Lock()  # on SIGTERM one thread closes; should another be told to leave, it waits
        self._reader: Reader | None = None
        self._teller: threading.Thread | None = None
        self._began = 0.0
        self._output = threading.Lock()  # answers and events are written by two threads, a line at a time
        self._commands: dict[str, Callable[..., Any]] = {
            "start": self._start,
            "register": self._register,
            "serve": self._serve,
            "update": lambda service, id, **changes: self._handle(service, id).update(**changes),
            "drain": lambda service, id: self._handle(service, id).drain(),
            "renew": lambda service, id: self._handle(service, id).renew(),
            "deregister": lambda service, id: self._handle(service, id).deregister(),
            "report_failure": lambda service, id: self._running().report_failure(self._known(service, id)),
            "picks": self._picks,
            "owners": self._owners,
            "view": self._view,
            "joined": self._joined,
            "rotate": lambda secrets: self._running().rotate_secrets(secrets),
            "read": self._read,
            "reading": self._reading,
            "leave": self.end,
            "vanish": lambda: self._running().close(leave=False),
        }

    def run(self, lines: SimpleQueue[str | None]) -> None:
        """Answer commands until there are no more, or `leave` is one of them."""
        while (line := lines.get()) is not None:
            asked = json.loads(line)
            number, do = asked.pop("call"), asked.pop("do")
            try:
                value = self._command(do)(**asked)
                self.say({"call": number, "value": value})
            except (GossipError, LookupError, OSError, TypeError, ValueError) as error:
                self.say({"call": number, "error": type(error).__name__, "message": str(error)})
            if do == "leave":
                return

    def close(self) -> None:
        """End what is served, and say goodbye. Idempotent; any thread."""
        with self._closing:
            if self._providers:
                from nodes.provider import end_all

                end_all(self._providers)
                self._providers.clear()
            if self.peer is not None:
                self.peer.close()

    def end(self) -> None:
        """Say goodbye, and tell the last events. For the thread that runs the commands."""
        self.close()
        if self._teller is not None:
            self._teller.join(LAST_EVENTS_S)

    def say(self, line: dict[str, Any]) -> None:
        """Write one line, at once. Nobody there to read it is no error: stdin tells the same."""
        text = json.dumps(line, default=_plain)
        with self._output:
            try:
                print(text, flush=True)
            except BrokenPipeError:
                return

    def _command(self, do: str) -> Callable[..., Any]:
        if do in PLAIN_READS:
            return getattr(self._running(), do)  # type: ignore[no-any-return]
        try:
            return self._commands[do]
        except KeyError:
            raise ValueError(f"do={do!r}: known are {', '.join([*self._commands, *PLAIN_READS])}") from None

    def _running(self) -> Peer:
        if self.peer is None:
            raise ValueError("the peer does not run yet: send start first")
        return self.peer

    def _handle(self, service: str, id: str) -> Registration:
        return self._registrations[service, id]

    def _known(self, service: str, id: str) -> Instance:
        found = [one for one in self._running().lookup(service, include_draining=True) if one.id == id]
        if not found:
            raise ValueError(f"{service}/{id} is not known here")
        return found[0]

    def _start(self, *, events: bool = True, preset: str = "lan", **arguments: Any) -> dict[str, Any]:
        """Start the peer. `events`: tell what happens, from its first moment on."""
        peer = Peer(config=PRESETS[preset](), **arguments)
        self._began = time.monotonic()
        self.peer = peer.start()
        if events:
            teller = threading.Thread(target=self._tell, args=(peer.watch(since=0),), name="events", daemon=True)
            teller.start()
            self._teller = teller
        return {"id": peer.id, "name": peer.name, "address": peer.address, "pid": os.getpid(), "t": self._began}

    def _tell(self, watch: Watch) -> None:
        for event in watch:
            self.say({"event": event, "t": time.monotonic()})

    def _register(self, service: str, **arguments: Any) -> Instance:
        registration = self._running().register(service, **arguments)
        self._registrations[registration.instance.key] = registration
        return registration.instance

    def _serve(self, service: str, **arguments: Any) -> Instance:
        """Register an instance and serve it over HTTP; the arguments are those of `Provider`."""
        from nodes.provider import Provider  # here, because most workers serve nothing

        provider = Provider(self._running(), service, **arguments)
        self._providers.append(provider)
        self._registrations[provider.instance.key] = provider.registration
        return provider.instance

    def _picks(self, service: str, n: int, **arguments: Any) -> dict[str, int]:
        """How often each instance is picked in n picks."""
        pick = self._running().pick
        return dict(Counter(pick(service, **arguments).id for _ in range(n)))

    def _owners(self, service: str, keys: list[str]) -> list[str]:
        """The ids of the instances that own the keys."""
        locate = self._running().locate
        return [locate(service, key).id for key in keys]

    def _view(self) -> dict[str, Any]:
        """All that this peer believes and that must be equal at every peer: ids of the members, instances by service."""
        peer = self._running()
        instances = {name: [one.id for one in peer.lookup(name, include_draining=True)] for name in peer.services()}
        return {"members": [member.id for member in peer.members()], "instances": instances}

    def _joined(self, timeout: float) -> dict[str, Any]:
        """Wait until the peer is synced: how long after its start that was, and its view at that moment."""
        self._running().wait_synced(timeout)
        took_s = time.monotonic() - self._began
        return {"took_s": took_s, "view": self._view()}

    def _read(self, service: str | list[str]) -> None:
        """Look a service up, or several in turn, again and again, some hundred times a second, until `reading`."""
        self._reader = Reader(self._running(), [service] if isinstance(service, str) else service)

    def _reading(self) -> dict[str, int]:
        """End the reader: its lookups, how many were empty, the fewest instances it saw, how long the last ones took."""
        if self._reader is None:
            raise ValueError("nothing is read: send read first")
        return self._reader.end()


class Reader:
    """Lookups without a pause, by a thread of their own, as a busy user makes them."""

    def __init__(self, peer: Peer, services: Sequence[str]) -> None:
        self._peer = peer
        self._services = itertools.cycle(services)
        self._ended = threading.Event()
        self._sizes: Counter[int] = Counter()
        self._took_ns: deque[int] = deque(maxlen=READINGS_MAX)
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(READ_PAUSE_S):
            service = next(self._services)
            began = time.perf_counter_ns()
            found = self._peer.lookup(service)
            self._took_ns.append(time.perf_counter_ns() - began)
            self._sizes[len(found)] += 1

    def end(self) -> dict[str, int]:
        """Stop reading: lookups made, empty ones, the fewest instances seen, and the median and p99 of what they took."""
        self._ended.set()
        self._thread.join()
        took = sorted(self._took_ns) or [0]
        return {
            "lookups": self._sizes.total(),
            "empty": self._sizes[0],
            "fewest": min((size for size, times in self._sizes.items() if times), default=0),
            "p50_ns": took[len(took) // 2],
            "p99_ns": took[len(took) * 99 // 100],
        }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return dict(value)  # the read-only mappings of the public values


def _listen(worker: Worker, lines: SimpleQueue[str | None], terminated: int) -> None:
    """Hand stdin on, line by line; at its end, or on SIGTERM, the peer leaves, which also ends the waits of the other thread."""
    rest, source = b"", sys.stdin.fileno()  # not sys.stdin itself: its lock would be held at exit
    while terminated not in select.select([source, terminated], [], [])[0] and (chunk := os.read(source, CHUNK_BYTES)):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            lines.put(line.decode())
    try:
        worker.close()
    finally:
        lines.put(None)


def _be_woken_by_the_end_of_the_starter() -> None:
    """A stopped process (SIGSTOP) does not see that its stdin closed: SIGCONT comes when its starter ends, and it does.

    Where there is no such request to the kernel, a stopped process whose starter dies gets SIGHUP for being orphaned.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGCONT)


def main() -> int:
    """Run one worker until its stdin closes."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    _be_woken_by_the_end_of_the_starter()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminated, told = os.pipe()  # an exception from the handler could leave a lock of the peer taken
    signal.signal(signal.SIGTERM, lambda *_: os.write(told, b"."))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})  # the launcher starts us with both held
    worker = Worker()
    lines: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(worker, lines, terminated), name="stdin", daemon=True).start()
    worker.say({"loaded": os.getpid()})
    try:
        worker.run(lines)
    finally:
        worker.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
