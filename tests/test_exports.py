"""The public names, and what `import gossip` does not do."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gossip

ROOT = Path(__file__).parents[1]

PUBLIC_NAMES = """
    AsyncPeer AsyncRegistration AsyncWatch Check Config ConfigError Event EventKind GossipError InsecureWarning Instance
    InstanceState Labels Lookups Member MemberState NoInstances Observer Peer PeerClosed PeerForked PeerState Registration
    RegistrationError Route StaticPeer Status Watch WireError __version__
""".split()

PROBE = """
import json, logging, os, signal, sys, threading

def handlers():
    return {n: signal.getsignal(n) for n in signal.valid_signals()}

def native_threads():  # libzmq's threads are unknown to `threading`
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1

signals = handlers()
STATEMENT
print(json.dumps({
    "asyncio": "asyncio" in sys.modules,
    "threads": [threading.active_count(), native_threads()],
    "log": [type(h).__name__ for h in logging.getLogger("gossip").handlers],
    "root log": [type(h).__name__ for h in logging.getLogger().handlers],
    "level": logging.getLogger("gossip").level,
    "signals": handlers() == signals,
}))
"""


def after(statement: str) -> dict[str, object]:
    """What a fresh interpreter looks like after one statement."""
    script = PROBE.replace("STATEMENT", statement)
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return dict(json.loads(done.stdout))


def undocumented(name: str, thing: object) -> Iterator[str]:
    """The names of a public class or function, and of its public members, that lack a docstring. A member may inherit its own."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return
    doc = vars(thing).get("__doc__") if inspect.isclass(thing) else inspect.getdoc(thing)
    if not doc or doc == "An enumeration." or doc.startswith(f"{name}("):  # what Enum and dataclass write by themselves
        yield name
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            told = inspect.isroutine(value) or isinstance(value, property | classmethod | staticmethod)
            docs = (inspect.getdoc(getattr(cls, member)) for cls in thing.__mro__ if hasattr(cls, member))
            if told and not member.startswith("_") and not any(docs):
                yield f"{name}.{member}"


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(gossip.__all__) == sorted(PUBLIC_NAMES)
    assert len(gossip.__all__) == len(set(gossip.__all__))


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert list(undocumented(name, getattr(gossip, name))) == []


def test_an_import_leaves_the_process_as_it_was() -> None:
    assert after("import gossip") == {
        "asyncio": False,
        "threads": [1, 1],
        "log": ["NullHandler"],
        "root log": [],
        "level": 0,
        "signals": True,
    }


@pytest.mark.parametrize("name", ["AsyncPeer", "AsyncRegistration", "AsyncWatch"])
def test_what_needs_asyncio_is_imported_when_it_is_asked_for(name: str) -> None:
    assert after(f"import gossip; gossip.{name}")["asyncio"] is True
    assert after(f"from gossip import {name}")["asyncio"] is True


def test_a_name_that_is_none_is_refused_without_an_import() -> None:
    with pytest.raises(AttributeError, match="module 'gossip' has no attribute 'AsyncPear'"):
        _ = gossip.AsyncPear
    assert after("import gossip; hasattr(gossip, 'AsyncPear')")["asyncio"] is False


@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("import asyncio", "asyncio"),
        ("threading.Thread(target=threading.Event().wait, daemon=True).start()", "threads"),
        ("logging.basicConfig()", "root log"),
        ("logging.getLogger('gossip').addHandler(logging.StreamHandler())", "log"),
        ("signal.signal(signal.SIGTERM, lambda *_: None)", "signals"),
    ],
)
def test_the_probe_sees_what_an_import_must_not_do(statement: str, changed: str) -> None:
    assert after(statement)[changed] != after("pass")[changed]


def test_the_check_of_docstrings_sees_a_missing_one() -> None:
    class Bare:
        """Documented."""

        def told(self) -> None:
            """Documented."""

        def untold(self) -> None: ...

        @property
        def shown(self) -> int:
            return 1

    assert list(undocumented("Bare", Bare)) == ["Bare.untold", "Bare.shown"]
    assert list(undocumented("bare", lambda: None)) == ["bare"]
