"""Whom a peer dials first: the seeds, contacts of peers that may already run.

    "host:port"       one address; of a name the first, IPv4 before IPv6
    "dns:name:port"   every address of a name, A and AAAA
    "file:path"       a text file of the two forms above, one a line; # begins a comment

What a seed stands for may not be known yet (a name that is not registered, a file that is mounted later) and may change,
so each kind answers one question, again and again, on the resolver's thread: which addresses now?
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Protocol

from ..errors import ConfigError
from ..model import join_address
from ..values import dataclass, field
from .addresses import LOOPBACK, Endpoint, fault, resolve, resolve_all, split
from .hush import logger

SEEDS_MAX = 256  # addresses tried, and lines read of one file; what is beyond them is ignored, with a warning
FILE_BYTES_MAX = 64 * 1024
FAULTS_SHOWN_MAX = 3


class Seed(Protocol):
    """One entry of `seeds`."""

    @property
    def host(self) -> str:
        """What an error calls it."""
        ...

    @property
    def loopback(self) -> bool:
        """Whether it surely stays on this machine, or cannot be judged before it is read."""
        ...

    @property
    def is_name(self) -> bool:
        """Whether its addresses must be asked for, off the bus."""
        ...

    def addresses(self) -> Iterator[Endpoint]:
        """What it stands for now: IP addresses. May block; raises `OSError` in the end while not all of that is known."""
        ...


@dataclass(frozen=True, slots=True)
class HostSeed(Endpoint):
    """`host:port`."""

    def addresses(self) -> Iterator[Endpoint]:
        """One address: the host, or the first of the name."""
        yield Endpoint(resolve(self.host, off_greenlets=True) if self.is_name else self.host, self.port)


@dataclass(frozen=True, slots=True)
class DnsSeed(Endpoint):
    """`dns:name:port`."""

    @property
    def is_name(self) -> bool:
        """Always: what was written was to be asked for."""
        return True

    def addresses(self) -> Iterator[Endpoint]:
        """All addresses of the name."""
        yield from (Endpoint(host, self.port) for host in resolve_all(self.host, off_greenlets=True))


@dataclass(slots=True, unsafe_hash=True)
class FileSeed:
    """`file:path`. It is read at every question; what it names is judged then, so it counts as loopback before."""

    path: str
    _told: bytes | None = field(default=None, init=False, repr=False, compare=False)  # the content whose faults were told

    @property
    def host(self) -> str:
        """The path."""
        return self.path

    @property
    def loopback(self) -> bool:
        """Not to be judged yet."""
        return True

    @property
    def is_name(self) -> bool:
        """Always: reading a file may take its time."""
        return True

    def addresses(self) -> Iterator[Endpoint]:
        """The addresses of all its lines, as far as they are known; names come last, for they may take their time."""
        unknown: OSError | None = None
        for seed in sorted(self._read(), key=lambda seed: seed.is_name):
            try:
                yield from seed.addresses()
            except OSError as error:
                unknown = error
        if unknown is not None:
            raise unknown

    def _read(self) -> list[HostSeed | DnsSeed]:
        with open(self.path, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        seeds, faults = _parse_lines(content)
        if faults and content != self._told:
            self._told = content
            more = f"; and {len(faults) - FAULTS_SHOWN_MAX} more" if len(faults) > FAULTS_SHOWN_MAX else ""
            logger.warning("! seeds in %s: %s%s", self.path, "; ".join(faults[:FAULTS_SHOWN_MAX]), more)
        return seeds


def parse_seeds(seeds: Iterable[str]) -> tuple[HostSeed | DnsSeed | FileSeed, ...]:
    """Each in one of the forms above, each once. Reads and resolves nothing yet. Raises `ConfigError`."""
    if isinstance(seeds, (str, bytes)):
        raise ConfigError(
            f"seeds={seeds!r} is one text, and its characters would be taken for seeds. Pass a list: seeds=[{seeds!r}]"
        )
    if not isinstance(seeds, Iterable):
        raise ConfigError(f"seeds={seeds!r} is no list: pass seeds=['10.0.0.5:7400'], [] for nobody, or leave it out")
    return tuple(dict.fromkeys(_parse_seed(seed) for seed in seeds))


def _parse_seed(seed: str) -> HostSeed | DnsSeed | FileSeed:
    if isinstance(seed, str) and seed.startswith("file:"):
        if not (path := seed.removeprefix("file:")) or "\0" in path:
            raise fault("seeds", seed, "it names no file", "Say seeds=['file:/etc/gossip/seeds']")
        return FileSeed(os.path.abspath(path))  # a later change of the working directory must not lose it
    return _parse_host(seed)


def _parse_host(seed: str) -> HostSeed | DnsSeed:
    dns = isinstance(seed, str) and seed.startswith("dns:")
    example = "dns:gossip.internal:7400" if dns else "10.0.0.5:7400"
    host, ports = split("seeds", seed[4:] if dns else seed, example, local="localhost" if dns else LOOPBACK)
    if len(ports) != 1 or not ports[0]:
        wanted = f"Say '{'dns:' * dns}{join_address(host, 7400)}'"
        raise fault("seeds", seed, "a seed ends with one port, that of a peer's contact", wanted)
    found = DnsSeed(host, ports[0]) if dns else HostSeed(host, ports[0])
    if found.unspecified:
        raise fault("seeds", seed, "nobody can be reached at that address", "Name the address of the machine that peer runs on")
    return found


def _parse_lines(content: bytes) -> tuple[list[HostSeed | DnsSeed], list[str]]:
    """The seeds of a file, and what is wrong with it."""
    seeds: dict[HostSeed | DnsSeed, None] = {}
    faults = []
    if len(content) > FILE_BYTES_MAX:
        faults.append(f"it is longer than {FILE_BYTES_MAX} bytes, the rest is ignored")
        content = content[: content.rfind(b"\n") + 1]  # a line cut in two could name somebody else
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1):
        if not (text := line.partition("#")[0].strip()):
            continue
        if len(seeds) == SEEDS_MAX:
            faults.append(f"it names more than {SEEDS_MAX} seeds, those from line {number} on are ignored")
            break
        try:
            seeds[_parse_host(text)] = None
        except ConfigError:
            # not what it says: the file may be that of a secret, named by mistake
            faults.append(f"line {number}, of {len(text)} characters, is neither host:port nor dns:name:port, and is ignored")
    return list(seeds), faults
