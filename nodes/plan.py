"""`Plan`: what a launcher is to start, from flags or from a TOML file (nodes/example.toml shows every key).

Invariant: a plan that could be made can be started, ports that others hold aside. What a peer or a registration would
refuse is refused here, with the file and the key.
"""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gossip import ConfigError, InsecureWarning, Peer, RegistrationError, StaticPeer

AGREE_S = 60.0  # all are to see all by then
PORT_FIRST = 8001  # of the instances that are registered; nothing listens there
PEERS_MAX = 200
SEED_MODES = ("zero", "seeds")
PRESETS = ("local", "lan", "wan")
PEER_ARGUMENTS = "zone bind advertise seeds insecure preset".split()

Told = dict[str, Any]


class PlanError(ValueError):
    """No plan can be made of what was given: the message says where, what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One peer: its arguments, what it registers, and whether it really serves that over HTTP."""

    name: str
    peer: Told = field(default_factory=dict)
    instances: tuple[Told, ...] = ()
    serve: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole cluster. `seed_mode`: "zero" configuration, or "seeds": each is told addresses of some that run."""

    parts: tuple[Part, ...]
    cluster: str = "default"
    seed_mode: str = "zero"
    seconds: float | None = None
    agree_within: float = AGREE_S
    restart: bool = False
    quiet: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many instances of each service there are to be."""
        return dict(Counter(instance["service"] for part in self.parts for instance in part.instances))

    def but(self, **changes: Any) -> Plan:
        """The same with those changes that are not None."""
        return dataclasses.replace(self, **{name: value for name, value in changes.items() if value is not None})


def from_flags(peers: int, services: Sequence[tuple[str, int]], routes: Sequence[tuple[str, str]]) -> Plan:
    """Peers that differ in nothing, the instances spread over them in turn, going on where the service before ended."""
    instances: list[list[Told]] = [[] for _ in range(peers)]
    names = [service for service, count in services for _ in range(count)]
    for place, service in enumerate(names):
        own_routes = [route for name, route in routes if name == service]
        instances[place % peers].append({"service": service, "port": PORT_FIRST + place, "routes": own_routes})
    return Plan(tuple(Part(f"peer-{number}", instances=tuple(some)) for number, some in enumerate(instances, 1)))


def from_file(path: str) -> Plan:
    """The plan that a TOML file describes. Raises `PlanError`."""
    told = _checked(path, _parsed(path), CLUSTER, ["peer"])
    parts: list[Part] = []
    for number, table in enumerate(told.pop("peer"), 1):
        parts.extend(_parts(f"{path}: [[peer]] number {number}", table))
    names = Counter(part.name for part in parts)
    if twice := [name for name, count in names.items() if count > 1]:
        raise PlanError(f"{path}: name: two peers are called {twice[0]!r} (`count` adds -1, -2 …). Give each its own name")
    if not 1 <= len(parts) <= PEERS_MAX:
        raise PlanError(f"{path}: peer: {len(parts)} peers are described. Describe 1 to {PEERS_MAX}")
    plan = Plan(tuple(_numbered(parts)), **told)
    _check_by_the_library(path, plan)
    return plan


# TOML -> parts --------------------------------------------------------------------------------------------------------


def _parsed(path: str) -> Told:
    toml = _toml()
    try:
        told: Told = toml.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}. Name a TOML file such as nodes/example.toml") from None
    except ValueError as error:  # of the parser or the decoder; it tells the line
        raise PlanError(f"{path}: is not TOML: {error}. Mend it there") from None
    return told


def _toml() -> Any:
    for name in ("tomllib", "tomli"):  # the former came with Python 3.11
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise PlanError("a TOML file needs Python 3.11, or on 3.10 the package tomli: pip install tomli. Or use flags")


def _parts(where: str, table: Told) -> Iterator[Part]:
    """The one peer of a [[peer]] table, or the `count` of them."""
    told = _checked(where, table, PEER, ["name"])
    where = f"{where} ({told['name']})"
    instances = [
        _checked(f"{where}, [[peer.instance]] number {number}", one, INSTANCE, ["service"])
        for number, one in enumerate(told.get("instance", []), 1)
    ]
    count, serve = told.get("count", 1), told.get("serve", False)
    peer = {name: told[name] for name in PEER_ARGUMENTS if name in told}
    for key in ("bind", "advertise"):
        if count > 1 and key in peer:
            raise PlanError(f"{where}: {key}: {count} peers cannot share one. Leave it out, or give each a [[peer]]")
    if serve and not instances:
        raise PlanError(f"{where}: serve: there is nothing to serve. Add a [[peer.instance]], or leave serve out")
    for number in range(count):
        name = f"{told['name']}-{number + 1}" if count > 1 else told["name"]
        yield Part(name, peer, tuple(_one_of(one, number, count, name if serve else None) for one in instances), serve)


def _one_of(instance: Told, number: int, count: int, default_id: str | None) -> Told:
    """The instance of one of `count` equal peers: no two have one id or port."""
    own = dict(instance)
    if "id" in own and count > 1:
        own["id"] += f"-{number + 1}"
    elif default_id is not None:
        own.setdefault("id", default_id)  # so that it stays the same if a restart takes another port
    if own.get("port"):
        own["port"] += number
    return own


def _numbered(parts: Sequence[Part]) -> Iterator[Part]:
    """Ports for those that have none: any free one if it is served, else one of a row."""
    port = PORT_FIRST
    for part in parts:
        instances = []
        for one in part.instances:
            instances.append({"port": 0 if part.serve else port, **one})
            port += 1
        yield dataclasses.replace(part, instances=tuple(instances))


def _check_by_the_library(path: str, plan: Plan) -> None:
    """Let the library refuse what it would refuse later, and say where that stands."""
    everything: dict[str, list[Told]] = {}
    for part in plan.parts:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InsecureWarning)  # the peer itself will warn
                Peer(part.name, cluster=plan.cluster, **{key: value for key, value in part.peer.items() if key != "preset"})
            for one in part.instances:
                entry = {key: value for key, value in one.items() if key != "service"}
                entry["port"] = entry["port"] or (1 if part.serve else 0)
                StaticPeer({one["service"]: [entry]})
                everything.setdefault(one["service"], []).append(entry)
        except (ConfigError, RegistrationError) as error:
            raise PlanError(f"{path}: peer {part.name!r}: {error}") from None
    try:
        StaticPeer(everything)
    except RegistrationError as error:
        raise PlanError(f"{path}: {error}") from None


# keys -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """What the value of a key must be, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _one_of_these(words: Sequence[str]) -> Kind:
    return Kind(f"one of {', '.join(map(repr, words))}", lambda value: value in words)


TEXT = Kind("a text in quotes", lambda value: isinstance(value, str))
TEXTS = Kind('a list of texts, such as ["/orders"]', _texts)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
WHOLE = Kind("a whole number", lambda value: type(value) is int)
COUNT = Kind(f"a whole number from 1 to {PEERS_MAX}", lambda value: type(value) is int and 1 <= value <= PEERS_MAX)
SECONDS = Kind("a number of seconds", lambda value: type(value) in (int, float) and 0 <= value < 1e9)
LABELS = Kind(
    'a table of texts, such as { version = "2" }', lambda value: isinstance(value, dict) and _texts(list(value.values()))
)
TABLES = Kind("a table in double brackets", lambda value: isinstance(value, list) and all(type(one) is dict for one in value))

CLUSTER = {
    "cluster": TEXT,
    "seed_mode": _one_of_these(SEED_MODES),
    "seconds": SECONDS,
    "agree_within": SECONDS,
    "restart": FLAG,
    "quiet": FLAG,
    "peer": TABLES,
}
PEER = {
    "name": TEXT,
    "count": COUNT,
    "zone": TEXT,
    "bind": TEXT,
    "advertise": TEXT,
    "seeds": TEXTS,
    "insecure": FLAG,
    "preset": _one_of_these(PRESETS),
    "serve": FLAG,
    "instance": TABLES,
}
INSTANCE = {
    "service": TEXT,
    "id": TEXT,
    "host": TEXT,
    "port": WHOLE,
    "weight": WHOLE,
    "labels": LABELS,
    "routes": TEXTS,
}

TABLES_OF_KEYS = {"above the first [[peer]]": CLUSTER, "into [[peer]]": PEER, "into [[peer.instance]]": INSTANCE}


def _checked(where: str, told: Told, keys: Mapping[str, Kind], required: Sequence[str]) -> Told:
    """The table as it is, if each of its keys is known and has a value of its kind. Raises `PlanError`."""
    for key, value in told.items():
        if key not in keys:
            raise PlanError(f"{where}: {key}: no such key here. {_nearest(key, keys)}Known here: {', '.join(keys)}")
        if not keys[key].fits(value):
            raise PlanError(f"{where}: {key}: {value!r} is not {keys[key].words}. Change it")
    for key in required:
        if key not in told:
            raise PlanError(f"{where}: {key}: missing. Add it: {keys[key].words}")
    return dict(told)


def _nearest(key: str, here: Mapping[str, Kind]) -> str:
    """What was meant. A key may be right and in the wrong table: all that follows a header belongs to it."""
    homes = {name: place for place, keys in TABLES_OF_KEYS.items() for name in keys if keys is not here}
    if key not in homes and (near := get_close_matches(key, here, 1)):
        return f"Did you mean {near[0]!r}? "
    if near := get_close_matches(key, homes, 1):
        return f"{near[0]!r} belongs {homes[near[0]]}. "
    return ""
