"""One scene, two worlds: `RealWorld` is processes in network namespaces, `SimulatedWorld` the simulator's cluster.

Both take the same orders and are judged by the same eyes, so that a figure of one can be held against the other's.
Hosts are counted from 0, and each runs one peer. Times are seconds of the world's own clock.
"""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from gossip import Config
from gossip.core.effects import Changed, Happened, Input, LinkClosed
from gossip.simulation import Cluster, SimulatedPeer
from gossip.simulation.network import Weather
from gossip.simulation.stage import quantile
from nodes.launch import Launcher, Told, Worker, ask_all

from .bed import Hosts

PORT = 7400
SEEDS = 3
START_S = 120.0  # of a process: twenty of them start at once, on a machine that may be busy otherwise
SETTLED_S = 60.0  # for what must be so before a scene begins
LOOK_S = 0.05
SERVICE = "orders"
PRESETS = {"lan": Config.lan, "wan": Config.wan}

View = dict[str, Any]  # members: sorted ids; instances: ids by service


class Over(RuntimeError):
    """The tests are ending: this world has been closed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """At one host, what became of its belief in another's peer."""

    t: float
    at: int
    kind: str  # MEMBER_SUSPECTED, MEMBER_DEAD, …
    about: int


class World(ABC):
    """What befalls the hosts, what their users do, and what was seen of it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.verdicts: list[Verdict] = []
        self._ids: dict[str, int] = {}  # of peers -> host
        self._truth: dict[str, int] = {}  # ids of instances that are to be visible -> host
        self._registered: dict[str, tuple[float, int]] = {}  # id of every instance there ever was -> when, and where
        self._seen: dict[tuple[str, int], float] = {}  # instance and host -> when it was first shown there
        self._number = 0

    # what a world is made of --------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def now(self) -> float:
        """Its clock."""

    @abstractmethod
    def run(self, seconds: float) -> None:
        """Let time pass. Raises `Over`."""

    @abstractmethod
    def set_way(self, sources: Iterable[int], targets: Iterable[int], *, loss: float, delay_s: float, jitter_s: float) -> None:
        """What packets from these to those meet from now on; `loss=1.0` cuts."""

    @abstractmethod
    def reset(self, here: Sequence[int], there: Sequence[int]) -> None:
        """All connections between these and those end now, by RSTs."""

    @abstractmethod
    def views(self) -> list[View]:
        """What each host's peer shows."""

    @abstractmethod
    def linked(self) -> bool:
        """Whether each peer is linked to each, and holds one digest with all."""

    @abstractmethod
    def counted(self, name: str) -> int:
        """A counter of `status().counters`, summed over the peers."""

    @abstractmethod
    def _register(self, host: int, id: str, port: int) -> None: ...

    @abstractmethod
    def _deregister(self, host: int, id: str) -> None: ...

    # what users do ------------------------------------------------------------------------------------------------------

    def register(self, host: int) -> str:
        """One more instance there; returns its id."""
        self._number += 1
        id = f"i{self._number}"
        self._truth[id] = host
        self._registered[id] = self.now, host
        self._register(host, id, 1000 + self._number)
        return id

    def deregister(self, id: str) -> None:
        """It goes, for good."""
        self._deregister(self._truth.pop(id), id)

    def oldest_of(self, host: int) -> str:
        """The oldest instance that is registered there."""
        return next(id for id, holder in self._truth.items() if holder == host)

    def held_by(self, host: int) -> int:
        """How many are registered there."""
        return sum(1 for holder in self._truth.values() if holder == host)

    # weather ------------------------------------------------------------------------------------------------------------

    @property
    def hosts(self) -> range:
        """All of them."""
        return range(self.size)

    def weather(self, *, loss: float = 0.0, delay_s: float = 0.0, jitter_s: float = 0.0) -> None:
        """What all packets meet; earlier cuts end."""
        self.set_way(self.hosts, self.hosts, loss=loss, delay_s=delay_s, jitter_s=jitter_s)

    def cut(self, sources: Iterable[int], targets: Iterable[int]) -> None:
        """Nothing passes from these to those, silently; the other way it does."""
        self.set_way(sources, targets, loss=1.0, delay_s=0.0, jitter_s=0.0)

    def split(self, here: Collection[int], there: Collection[int]) -> None:
        """Nothing passes between these and those."""
        self.cut(here, there)
        self.cut(there, here)

    def heal(self) -> None:
        """Fair weather everywhere."""
        self.weather()

    # what is seen -------------------------------------------------------------------------------------------------------

    def equal(self) -> bool:
        """Whether every peer shows every peer, and exactly what is registered."""
        wanted = {"members": sorted(self._ids), "instances": {SERVICE: sorted(self._truth)}}
        return all(view == wanted for view in self.views())

    def until(self, condition: Callable[[], bool], most_s: float) -> float:
        """Let time pass until something is so; how long that took, infinite if it was not so in time."""
        start = self.now
        while not condition():
            if self.now - start >= most_s:
                return float("inf")
            self.run(LOOK_S)
        return self.now - start

    def visibility(self, share: float = 0.99) -> float:
        """By when so large a share of the instances had been shown at each other host; those that never were, never."""
        waits = [
            self._seen.get((id, host), float("inf")) - t
            for id, (t, owner) in self._registered.items()
            for host in self.hosts
            if host != owner and ((id, host) in self._seen or id in self._truth)
        ]
        return quantile(waits, share)

    def deaths(self, since: float = 0.0) -> list[Verdict]:
        """Who was held dead, by whom."""
        return [verdict for verdict in list(self.verdicts) if verdict.kind == "MEMBER_DEAD" and verdict.t >= since]

    def flips(self, window_s: float = 60.0) -> int:
        """The most often that one peer was held dead at one other within so long."""
        most = 0
        for (at, about), _ in Counter((death.at, death.about) for death in self.deaths()).items():
            times = [death.t for death in self.deaths() if (death.at, death.about) == (at, about)]
            most = max(most, *(sum(1 for t in times if first <= t < first + window_s) for first in times))
        return most

    def suspected_after(self, since: float, at: int, about: int) -> float:
        """How long after a moment one peer began to suspect another, infinite if it did not."""
        told = ("MEMBER_SUSPECTED", "MEMBER_DEAD")
        times = [v.t for v in list(self.verdicts) if (v.at, v.about) == (at, about) and v.kind in told and v.t >= since]
        return min(times, default=float("inf")) - since

    def _note_member(self, t: float, at: int, kind: str, id: str) -> None:
        if id in self._ids:
            self.verdicts.append(Verdict(t, at, kind, self._ids[id]))

    def _note_instance(self, t: float, at: int, id: str) -> None:
        self._seen.setdefault((id, at), t)

    def _settle(self) -> None:
        """A cluster at rest: each has an instance, all are linked and equal."""
        for host in self.hosts:
            self.register(host)
        if self.until(self.equal, SETTLED_S) + self.until(self.linked, SETTLED_S) == float("inf"):
            raise TimeoutError(f"no calm to begin with: {self.views()}")
        self.verdicts.clear()
        self._registered.clear()
        self._seen.clear()


class RealWorld(World):
    """Processes in namespaces. Not thread-safe, but for `close`: what was begun ends there, or in `begin` itself."""

    def __init__(self, size: int, *, preset: str = "lan", seed: int | None = None) -> None:
        super().__init__(size)
        self._preset = preset
        self._seed = seed
        self._over = threading.Event()
        self._stack = ExitStack()
        self._workers: list[Worker] = []

    def begin(self) -> None:
        """Start everything, and wait until all is calm. Raises `Over`, and what else went wrong; then nothing is left."""
        try:
            self._net = self._stack.enter_context(Hosts(self.size, self._seed))
            self._start()
            self._settle()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        cluster, secret = f"test-{uuid.uuid4().hex}", secrets.token_urlsafe(32)
        addresses = [self._net.address(host) for host in self.hosts]
        launchers = []
        for host in self.hosts:
            self.run(0.0)  # are we over?
            options = {"seeds": False, "prefix": self._net.prefix(host), "on_event": self._heard(host)}
            launchers.append(self._stack.enter_context(Launcher(cluster, secret=secret, preset=self._preset, **options)))
            self._workers.append(launchers[host].load(f"p{host}"))
        answers = []
        for host, (launcher, worker) in enumerate(zip(launchers, self._workers, strict=True)):
            worker.wait_loaded(START_S)
            seeds = [f"{one}:{PORT}" for one in addresses[:SEEDS]]
            bind = f"{addresses[host]}:{PORT}"
            answers.append(launcher.ask_start(worker, id=worker.name, bind=bind, seeds=seeds))
            self._ids[worker.name] = host
        for worker, answer in zip(self._workers, answers, strict=True):
            worker.started(answer, START_S)

    def _heard(self, host: int) -> Callable[[Worker, Told], None]:
        def note(_: Worker, told: Told) -> None:
            event = told["event"]
            known = event["after"] or event["before"]
            if known is None:
                return
            if "service" not in known:
                self._note_member(told["t"], host, event["kind"], known["id"])
            elif event["before"] is None:
                self._note_instance(told["t"], host, known["id"])

        return note

    @property
    def now(self) -> float:
        return time.monotonic()

    def run(self, seconds: float) -> None:
        if self._over.wait(seconds):
            raise Over

    def set_way(self, sources: Iterable[int], targets: Iterable[int], *, loss: float, delay_s: float, jitter_s: float) -> None:
        self._net.set_paths(sources, list(targets), loss=loss, delay_s=delay_s, jitter_s=jitter_s)

    def reset(self, here: Sequence[int], there: Sequence[int]) -> None:
        self._net.reset(here, there)

    def views(self) -> list[View]:
        views = ask_all(self._workers, "view")
        for view in views:
            view["members"].sort()
            view["instances"] = {service: sorted(ids) for service, ids in view["instances"].items()}
        return views

    def linked(self) -> bool:
        statuses = ask_all(self._workers, "status")
        return all(status["links"] >= self.size - 1 and status["agreement"] == 1.0 for status in statuses)

    def counted(self, name: str) -> int:
        return sum(status["counters"].get(name, 0) for status in ask_all(self._workers, "status"))

    def _register(self, host: int, id: str, port: int) -> None:
        self._workers[host].call("register", service=SERVICE, id=id, port=port)

    def _deregister(self, host: int, id: str) -> None:
        self._workers[host].call("deregister", service=SERVICE, id=id)

    def close(self) -> None:
        """End every process. Any thread; what runs in this world then ends with an error."""
        self._over.set()
        self._stack.close()


class SimulatedWorld(World):
    """The same in simulated time."""

    def __init__(self, size: int, *, preset: str = "lan", seed: int = 0) -> None:
        super().__init__(size)
        self._cluster = Cluster(seed, config=PRESETS[preset]())
        self._fair = self._cluster.network.weather
        self._cluster.on_event.append(self._heard)
        self._cluster.tap = self._tapped
        self._closed = 0
        seeds = [f"10.0.0.{number + 1}:{PORT}" for number in range(SEEDS)]
        self._peers: list[SimulatedPeer] = []
        for host in self.hosts:
            self._ids[f"p{host}"] = host
            self._peers.append(self._cluster.spawn(f"p{host}", id=f"p{host}", seeds=seeds))
        self._settle()

    def _heard(self, peer: SimulatedPeer, effect: Changed | Happened, now: float) -> None:
        host = self._ids[peer.id]
        if isinstance(effect, Happened):
            self._note_member(now, host, effect.kind.name, effect.subject)
        elif effect.before is None and effect.after is not None:
            self._note_instance(now, host, effect.after.id)

    def _tapped(self, _: SimulatedPeer, input: Input) -> None:
        self._closed += isinstance(input, LinkClosed)

    @property
    def now(self) -> float:
        return self._cluster.now

    def run(self, seconds: float) -> None:
        self._cluster.run(seconds)

    def set_way(self, sources: Iterable[int], targets: Iterable[int], *, loss: float, delay_s: float, jitter_s: float) -> None:
        network = self._cluster.network
        here, there = ([self._peers[host] for host in hosts] for hosts in (sources, targets))
        if loss >= 1.0:
            network.cut(here, there)
        elif len(here) == len(there) == self.size:  # the whole network's
            network.heal()
            fair = self._fair
            network.set_weather(Weather(max(delay_s, fair.latency_s), max(jitter_s, fair.jitter_s), loss))
        else:
            raise NotImplementedError("weather between some: no scene needs it")

    def reset(self, here: Sequence[int], there: Sequence[int]) -> None:
        self._cluster.network.reset([self._peers[host] for host in here], [self._peers[host] for host in there])

    def views(self) -> list[View]:
        found = []
        for peer in self._peers:
            instances = {name: sorted(one.id for one in peer.lookup(name, include_draining=True)) for name in peer.services()}
            alive = peer.node.local.table.alive()
            found.append({"members": sorted(origin.id for origin in alive), "instances": instances})
        return found

    def linked(self) -> bool:
        up = [sum(link.link is not None for link in peer.links.values()) for peer in self._peers]
        return min(up) >= self.size - 1 and all(peer.node.agreement == 1.0 for peer in self._peers)

    def counted(self, name: str) -> int:
        if name == "links_broken":  # the bus counts these, and there is none
            return self._closed
        return sum(peer.node.local.counters[name] for peer in self._peers)

    def _register(self, host: int, id: str, port: int) -> None:
        self._peers[host].register(SERVICE, id=id, port=port)

    def _deregister(self, host: int, id: str) -> None:
        peer = self._peers[host]
        peer.deregister(next(one for one in peer.lookup(SERVICE) if one.id == id))
