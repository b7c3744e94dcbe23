"""The virtual network: one heap of events, one clock, one seed; hosts, the weather between them, and cuts.

Links are TCP streams (`streams.py`): a lost packet costs time and never a message. Messages are lost where connections
break, where queues overflow, and in the second, harsher network (`Harsh`), which drops, duplicates and reorders single
messages: no TCP does that, it tests what the rules owe to numbers alone.

Invariant: all randomness is drawn from `random`, in the order of events, and nothing depends on Python's hash of texts;
so the same seed gives the same trace.
"""

from __future__ import annotations

import gc
import heapq
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .streams import Connection

START_S = 1000.0
TRACE_EVENTS = 4096  # what happened is hashed in runs of so many
YOUNG_EVENTS = 1 << 16  # young garbage is collected after so many
SYN_RTO_S = 1.0  # a lost SYN is sent again after this, doubling (RFC 6298, section 2.1)
RTO_S = 0.2  # Linux' least; a lost segment of a quiet stream is sent again after this, as long again, then doubling
RTO_MAX_S = 120.0
TRIES_MAX = 32


class Placed(Protocol):
    """What has a host: a simulated peer."""

    @property
    def host(self) -> str: ...


Hosts = str | Placed | Iterable[str | Placed]


@dataclass(frozen=True, slots=True)
class Weather:
    """What packets meet on their way. `loss` is the share of packets lost."""

    latency_s: float = 0.0005  # one way, at least
    jitter_s: float = 0.0005  # more of it, at random
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Harsh:
    """What single messages meet in the second network. Subscriptions, ZeroMQ's own commands, are spared."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder_s: float = 0.0  # each is late by up to this, whatever came before it


GENTLE = Harsh()


class Host:
    """One machine: what its connections carried."""

    __slots__ = ("closed_received", "closed_received_bytes", "closed_sent", "closed_sent_bytes", "connections", "name", "on_clog")

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections: dict[Connection, None] = {}
        self.on_clog: list[Callable[[bool], None]] = []  # who lives here, told when it reads nothing, and when it does again
        self.closed_sent = self.closed_sent_bytes = self.closed_received = self.closed_received_bytes = 0

    @property
    def sent(self) -> tuple[int, int]:
        """(messages, bytes) sent from here so far. O(connections)."""
        pipes = [pipe for connection in self.connections for pipe in connection.pipes if pipe.source is self]
        return self.closed_sent + sum(p.messages for p in pipes), self.closed_sent_bytes + sum(p.bytes for p in pipes)

    @property
    def received(self) -> tuple[int, int]:
        """(messages, bytes) sent to here so far. O(connections)."""
        pipes = [pipe for connection in self.connections for pipe in connection.pipes if pipe.target is self]
        return self.closed_received + sum(p.messages for p in pipes), self.closed_received_bytes + sum(p.bytes for p in pipes)


@dataclass(slots=True)
class _Rule:
    """A cut, or an end of one: the latest that matches wins. None stands for all."""

    open: bool
    sources: frozenset[str] | None
    targets: frozenset[str] | None

    def covers(self, source: str, target: str) -> bool:
        return (self.sources is None or source in self.sources) and (self.targets is None or target in self.targets)


@dataclass(slots=True)
class _Front:
    """Weather of its own for packets from some hosts to others; the latest that matches wins."""

    weather: Weather
    sources: frozenset[str] | None
    targets: frozenset[str] | None


class Network:
    """Clock, event heap, hosts, weather and cuts. Hosts are named by their address text, or by a peer that lives there."""

    def __init__(self, seed: int = 0, weather: Weather = Weather()) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now = START_S
        self.events = 0
        self.overflowed = 0  # messages dropped at a high-water mark
        self.hosts: dict[str, Host] = {}
        self.calm = True  # no loss, cut or harshness anywhere, one weather: streams take their short way
        self.heap: list[tuple[float, int, Callable[..., object], object]] = []
        self.order = 0
        self.marks = bytearray()  # what was received since the trace was hashed last
        self._times = array("d")
        self._hash = blake2b(digest_size=16)
        self._weather = weather
        self._fronts: list[_Front] = []
        self._rules: list[_Rule] = []
        self._harsh = GENTLE
        self._paths: dict[tuple[Host, Host], Weather | None] = {}
        self._settle()

    # time -------------------------------------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], object]) -> None:
        """Do something at a time; equal times in the order of asking."""
        self.push(when, _run, what)

    def after(self, delay_s: float, what: Callable[[], object]) -> None:
        """Do something after a while."""
        self.push(self.now + delay_s, _run, what)

    def push(self, when: float, what: Callable[..., object], argument: object) -> None:
        """As `at`, with one argument."""
        self.order += 1
        heapq.heappush(self.heap, (when if when > self.now else self.now, self.order, what, argument))

    def step(self) -> bool:
        """Run the next event; False if there is none."""
        if not self.heap:
            return False
        self.now, _, what, argument = heapq.heappop(self.heap)
        self.events += 1
        self._times.append(self.now)
        what(argument)
        return True

    def run(self, seconds: float) -> None:
        """Run all events of so many seconds.

        Python's garbage collector rests meanwhile: it would look through all peers again and again, and find nothing.
        """
        end, collecting = self.now + seconds, gc.isenabled()
        heap, pop, note, events = self.heap, heapq.heappop, self._times.append, 0
        gc.disable()
        try:
            while heap and heap[0][0] <= end:
                now, _, what, argument = pop(heap)
                self.now = now
                events += 1
                note(now)
                if not events % TRACE_EVENTS:
                    self._hash_marks()
                    if not events % YOUNG_EVENTS:
                        gc.collect(1)
                what(argument)
        finally:
            self.events += events
            if collecting:
                gc.enable()
        self.now = end

    @property
    def trace(self) -> str:
        """A hash of all that was run and received so far, with the times: the same for the same seed."""
        self._hash_marks()
        return self._hash.copy().hexdigest()

    def _hash_marks(self) -> None:
        self._hash.update(self._times.tobytes())
        self._hash.update(self.marks)
        del self._times[:]
        self.marks.clear()

    # counting ---------------------------------------------------------------------------------------------------------

    @property
    def messages(self) -> int:
        """Messages handed to connections so far, subscriptions included. O(connections)."""
        return sum(host.sent[0] for host in self.hosts.values())

    @property
    def bytes(self) -> int:
        """Their bytes, without headers. O(connections)."""
        return sum(host.sent[1] for host in self.hosts.values())

    def host(self, name: str) -> Host:
        """The host of this name, made on first use."""
        found = self.hosts.get(name)
        if found is None:
            found = self.hosts[name] = Host(name)
        return found

    # weather ----------------------------------------------------------------------------------------------------------

    @property
    def weather(self) -> Weather:
        """What all packets meet that no `set_weather` with hosts covers."""
        return self._weather

    @property
    def harsh(self) -> Harsh:
        """The second, harsher network, on top of the weather. Assign to change it."""
        return self._harsh

    @harsh.setter
    def harsh(self, harsh: Harsh) -> None:
        self._harsh = harsh
        self._settle()

    def set_weather(self, weather: Weather, sources: Hosts | None = None, targets: Hosts | None = None) -> None:
        """For packets from hosts to hosts (None: all); the latest that matches wins. Acknowledgements are packets, too."""
        if sources is None and targets is None:
            self._weather = weather
            self._fronts.clear()
        else:
            self._fronts.append(_Front(weather, _names(sources), _names(targets)))
        self._change_paths()

    def clear_weather(self) -> None:
        """Fair everywhere: no loss, and the delays of `Weather()`; cuts stay."""
        self.set_weather(Weather())

    # cuts -------------------------------------------------------------------------------------------------------------

    def cut(self, sources: Hosts | None, targets: Hosts | None) -> None:
        """Packets from these hosts to those are dropped, silently, until `heal`. One way; call twice for both.

        What the other way carries arrives until it would have to be acknowledged: for `RTO_S`, then it waits as well.
        """
        self._rules.append(_Rule(False, _names(sources), _names(targets)))
        self._change_paths()

    def partition(self, *groups: Hosts) -> None:
        """All earlier cuts end; each group is cut from the others, both ways. Hosts of no group reach all."""
        self._rules.clear()
        named = [_names(group) for group in groups]
        for group in named:
            self._rules += [_Rule(False, group, other) for other in named if other is not group]
        self._change_paths()

    def heal(self, sources: Hosts | None = None, targets: Hosts | None = None) -> None:
        """Packets from these hosts to those pass again; without hosts, all do."""
        if sources is None and targets is None:
            self._rules.clear()
        else:
            self._rules.append(_Rule(True, _names(sources), _names(targets)))
        self._change_paths()

    def connected(self, source: str, target: str) -> bool:
        """Whether packets pass both ways, as a TCP connection needs."""
        here, there = self.host(source), self.host(target)
        return self.path(here, there) is not None and self.path(there, here) is not None

    def path(self, source: Host, target: Host) -> Weather | None:
        """What a packet meets now, None where it is dropped. O(1), O(cuts + fronts) after a change of them."""
        key = source, target
        try:
            return self._paths[key]
        except KeyError:
            found = self._paths[key] = self._find_path(source.name, target.name)
            return found

    def _find_path(self, source: str, target: str) -> Weather | None:
        for rule in reversed(self._rules):
            if rule.covers(source, target):
                if rule.open:
                    break
                return None
        for front in reversed(self._fronts):
            if (front.sources is None or source in front.sources) and (front.targets is None or target in front.targets):
                return front.weather
        return self._weather

    def passes(self, source: Host, target: Host) -> bool:
        """Whether one packet sent now gets through. Draws."""
        path = self.path(source, target)
        return path is not None and (not path.loss or self.random.random() >= path.loss)

    def way_s(self, source: Host, target: Host) -> float:
        """How long a packet takes that gets through. Draws."""
        path = self.path(source, target) or self._weather
        return path.latency_s + path.jitter_s * self.random.random()

    def exchange_s(self, source: Host, target: Host, *, rto_s: float, limit_s: float) -> float | None:
        """How long a packet and its answer take, with what is sent again; None if that is longer than the limit. Draws."""
        if self.path(source, target) is None or self.path(target, source) is None:
            return None
        waited = 0.0
        for tries in range(TRIES_MAX):
            if self.passes(source, target) and self.passes(target, source):
                waited += self.way_s(source, target) + self.way_s(target, source)
                break
            waited += rto_s * 2**tries
        return waited if waited <= limit_s else None

    def _change_paths(self) -> None:
        self._settle()
        for host in list(self.hosts.values()):
            for connection in list(host.connections):
                if connection.near is host:
                    connection.look()

    def _settle(self) -> None:
        self._paths.clear()
        self.calm = not (self._rules or self._fronts or self._weather.loss or self._harsh != GENTLE)
        self.latency_s, self.jitter_s = self._weather.latency_s, self._weather.jitter_s

    # blows ------------------------------------------------------------------------------------------------------------

    def reset(self, here: Hosts, there: Hosts) -> None:
        """All connections between these hosts and those break now, as by a firewall's RST; both ends are told."""
        others = _names(there) or frozenset()
        for name in sorted(_names(here) or ()):
            for connection in list(self.host(name).connections):
                far = connection.far if connection.near.name == name else connection.near
                if far.name in others:
                    connection.reset()

    def clog(self, target: Hosts) -> None:
        """These hosts read nothing any more: what reaches them waits, however much, for their sockets have no bound."""
        self._clog(target, True)

    def unclog(self, target: Hosts) -> None:
        """They read again, what waited first."""
        self._clog(target, False)

    def _clog(self, target: Hosts, clogged: bool) -> None:
        for name in sorted(_names(target) or ()):
            for tell in list(self.host(name).on_clog):
                tell(clogged)


def _run(what: Callable[[], object]) -> None:
    what()


def _names(hosts: Hosts | None) -> frozenset[str] | None:
    if hosts is None:
        return None
    if isinstance(hosts, str):
        return frozenset((hosts,))
    if isinstance(hosts, Iterable):
        return frozenset(host if isinstance(host, str) else host.host for host in hosts)
    return frozenset((hosts.host,))
