"""Imports point down: the folder is the boundary, and this holds it.

A layer may import itself and the layers before it in `ORDER`; `ALLOWED` narrows that where a layer stands aside.
What stands below `if TYPE_CHECKING` or inside a function counts like any other import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gossip"

PUBLIC = "the public API"  # gossip/__init__.py
ORDER = (
    "errors values config model naming core catalogue bus signing authority registration environment checks snapshot mind "
    "waiting engine participant blocking peer observer aio doctor simulation gateway cli integrations"
).split()
ALLOWED = {layer: set(ORDER[:place]) for place, layer in enumerate(ORDER)} | {
    PUBLIC: set(ORDER[: ORDER.index("doctor")]),
    "core": {"errors", "values", "config", "model"},
    "simulation": {"errors", "values", "config", "model", "core", "catalogue"},
    "gateway": {PUBLIC},
    "cli": {PUBLIC, "authority", "environment", "doctor", "simulation", "gateway"},
    "integrations": {PUBLIC},
}
IMPURE = set(
    "_thread asyncio concurrent contextvars ctypes datetime fcntl importlib io logging mmap multiprocessing os pathlib queue "
    "random sched secrets select selectors shutil signal socket socketserver ssl subprocess tempfile threading time uuid "
    "warnings zmq zoneinfo".split()
)
OF_LOOPS = ("gateway", "cli", "integrations")  # not embedded: they may have an event loop of their own
HOMES = {"asyncio": "aio", "msgpack": "core/codec.py", "nacl": "signing.py", "uhashring": "catalogue/", "zmq": "bus/"}


def imports(file: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of all that a file imports; of `from a import b` the name is `a.b`."""
    parents = [package.name, *file.relative_to(package).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = parents[: len(parents) + 1 - node.level] if node.level else []
            base = [*start, node.module] if node.module else start
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def layer_of(parts: tuple[str, ...], package: Path) -> str:
    """The layer of the module `gossip.<parts>`; a name that is no module of the package is one of its public names."""
    is_module = bool(parts) and ((package / parts[0]).is_dir() or (package / f"{parts[0]}.py").is_file())
    return parts[0] if is_module and parts[0] != "__init__" else PUBLIC


def fault(place: str, layer: str, target: str, package: Path) -> str | None:
    """The rule that forbids `place` (a file of `layer`) to import `target`; None if it may."""
    top, *rest = target.split(".")
    if top == package.name:
        wanted = layer_of(tuple(rest), package)
        if wanted == layer or wanted in ALLOWED[layer]:
            return None
        return f"{layer} may import only {', '.join(sorted(ALLOWED[layer])) or 'nothing'} of this package, not {wanted}"
    if layer == "core" and top in IMPURE:
        return f"core/ is pure: {top} is given to it as arguments and effects, or not at all"
    if top in HOMES and not place.startswith(HOMES[top]) and not (top == "asyncio" and layer in OF_LOOPS):
        return f"only {HOMES[top]} imports {top}"
    return None


def faults(package: Path) -> list[str]:
    """Every forbidden import in the tree, as `file:line: imports what: rule`."""
    found = []
    for file in sorted(package.rglob("*.py")):
        place = file.relative_to(package)
        layer = layer_of((place.parts[0].removesuffix(".py"),), package)
        if layer not in ALLOWED:
            found.append(f"{package.name}/{place}:1: {layer} is no layer: give it a place in ORDER")
            continue
        for line, target in imports(file, package):
            if rule := fault(place.as_posix(), layer, target, package):
                found.append(f"{package.name}/{place}:{line}: imports {target}: {rule}")
    return found


def test_imports_point_down() -> None:
    assert (PACKAGE / "core").is_dir(), f"{PACKAGE} is not the package this test is about"
    assert not (found := faults(PACKAGE)), "\n".join(["", *found])


# The checker itself, on a small tree of the same shape -----------------------------------------------------------------


def plant(root: Path, place: str, source: str) -> Path:
    package = root / "gossip"
    for layer in ORDER:
        (package / layer).mkdir(parents=True, exist_ok=True)
        (package / layer / "__init__.py").touch()
    (package / place).parent.mkdir(parents=True, exist_ok=True)
    (package / place).write_text(source, encoding="utf-8")
    return package


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("__init__.py", "from .peer import Peer\nfrom .aio import AsyncPeer"),
        ("core/table.py", "import hashlib\nfrom . import origin\nfrom .origin import Origin\nfrom ..model import Instance"),
        ("core/codec.py", "import msgpack\nfrom .. import errors"),
        ("catalogue/ring.py", "import uhashring\nfrom gossip.core.table import Table"),
        ("bus/keys.py", "import time, os\nfrom zmq.auth import load_certificate"),
        ("peer/__init__.py", "from .. import bus, catalogue\nfrom ..bus.thread import Bus"),
        ("aio/__init__.py", "import asyncio\nfrom ..peer import Peer"),
        ("simulation/net.py", "import random\nfrom ..core.node import Node"),
        ("gateway/http.py", "from gossip import Peer\nimport gossip\nfrom .. import Lookups\nfrom . import pages"),
        ("gateway/app.py", "import asyncio\nimport starlette"),
        ("cli/main.py", "from gossip import Peer\nfrom gossip.simulation import World\nfrom ..gateway import need_extra"),
    ],
)
def test_the_checker_lets_pass_what_points_down(tmp_path: Path, place: str, source: str) -> None:
    assert faults(plant(tmp_path, place, source)) == []


@pytest.mark.parametrize(
    ("place", "source", "target", "rule"),
    [
        ("errors/__init__.py", "from .. import config", "gossip.config", "errors may import only nothing"),
        ("model/__init__.py", "from ..core.node import Node", "gossip.core.node.Node", "not core"),
        ("core/node.py", "from ..catalogue import View", "gossip.catalogue.View", "not catalogue"),
        ("core/deep/node.py", "from ...bus import thread", "gossip.bus.thread", "not bus"),
        ("core/node.py", "from .. import Peer", "gossip.Peer", "not the public API"),
        ("core/node.py", "import time", "time", "core/ is pure"),
        ("core/node.py", "from datetime import datetime", "datetime.datetime", "core/ is pure"),
        ("core/node.py", "from concurrent.futures import Future", "concurrent.futures.Future", "core/ is pure"),
        ("core/node.py", "import msgpack", "msgpack", "only core/codec.py imports msgpack"),
        ("bus/links.py", "import gossip.simulation", "gossip.simulation", "not simulation"),
        ("bus/thread.py", "import asyncio", "asyncio", "only aio imports asyncio"),
        ("bus/thread.py", "from ..peer import Peer", "gossip.peer.Peer", "not peer"),
        ("peer/__init__.py", "import zmq.auth", "zmq.auth", "only bus/ imports zmq"),
        ("peer/__init__.py", "from uhashring import HashRing", "uhashring.HashRing", "only catalogue/ imports uhashring"),
        ("simulation/net.py", "from ..bus import sockets", "gossip.bus.sockets", "not bus"),
        ("gateway/http.py", "from ..peer import Peer", "gossip.peer.Peer", "not peer"),
        ("gateway/http.py", "from ..simulation import World", "gossip.simulation.World", "not simulation"),
        ("cli/main.py", "from gossip.core import node", "gossip.core.node", "not core"),
        ("__init__.py", "from .gateway import Gateway", "gossip.gateway.Gateway", "not gateway"),
    ],
)
@pytest.mark.parametrize("frame", ["{}", "if TYPE_CHECKING:\n    {}", "def late():\n    {}"], ids=["top", "typing", "late"])
def test_the_checker_names_file_line_import_and_rule(
    tmp_path: Path, frame: str, place: str, source: str, target: str, rule: str
) -> None:
    text = '"""A module."""\n\n' + frame.format(source)
    line = len(text.splitlines())
    (found,) = faults(plant(tmp_path, place, text))
    assert found.startswith(f"gossip/{place}:{line}: imports {target}: ")
    assert rule in found


def test_the_checker_asks_for_the_place_of_an_unknown_module(tmp_path: Path) -> None:
    (found,) = faults(plant(tmp_path, "helpers.py", "import time"))
    assert found.startswith("gossip/helpers.py:1: helpers is no layer")
