"""One seed for all random tests of a run: `pytest --seed=N` repeats a run that failed.

`pytest -n 2 --dist loadgroup` (as `make test` does) runs what only computes beside what has sockets, processes or deadlines;
the latter stay in one process, one after the other, since they share the machine's ports and its patience.
"""

from __future__ import annotations

import random
import signal
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from gossip import Peer

from .faults_record import FAILED, record

__all__ = ["record"]  # a fixture of all tests

# No deadlines: a slow machine is no defect. A failing example is printed with the line that repeats it.
hypothesis.settings.register_profile(
    "gossip", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("gossip")

_SEED = pytest.StashKey[int]()

TESTS = Path(__file__).parent
COMPUTING = frozenset("catalogue core properties simulation test_transcripts.py".split())  # no sockets, no real time


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, metavar="N", help="seed of the random tests; by default a new one in every run")
    parser.addoption("--record-faults", action="store_true", help="run what measures the fault matrix alone, and write it down")
    parser.addoption("--signed", action="store_true", help="tests/cluster: every peer of every test has a key of its own")
    parser.addoption("--rewrite", action="store_true", help="write the transcripts anew, as the core behaves now")


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in its background deaf to SIGINT, and the processes of the tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(1 << 32)  # an option, so that all processes of a run share it
    config.stash[_SEED] = config.option.seed


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.record_faults:
        config.hook.pytest_deselected(items=[item for item in items if "record" not in getattr(item, "fixturenames", ())])
        items[:] = [item for item in items if "record" in getattr(item, "fixturenames", ())]
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if not item.path.is_relative_to(TESTS) or item.path.relative_to(TESTS).parts[0] not in COMPUTING:
                item.add_marker(pytest.mark.xdist_group("machine"))


def pytest_report_header(config: pytest.Config) -> str:
    return f"random tests: --seed={config.stash[_SEED]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None and call.when != "teardown":
        item.stash[FAILED] = f"failed: {call.excinfo.exconly().splitlines()[0]}"
    if report.failed and "seed" in getattr(item, "fixturenames", ()):
        report.sections.append(("Random test", f"repeat it with --seed={item.config.stash[_SEED]}"))
    return report


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of this run. Whatever is random in a test is drawn from `random.Random(seed)`."""
    return pytestconfig.stash[_SEED]


@pytest.fixture
def peer_of() -> Iterator[Callable[..., Peer]]:
    """Starts peers of a cluster of this test's own, each with those it is given as seeds; all are closed at the end."""
    cluster = f"test-{uuid.uuid4().hex}"
    with ExitStack() as ends:

        def make(name: str, *seeds: Peer, **arguments: Any) -> Peer:
            chosen = {"cluster": cluster, "bind": "127.0.0.1:0", "seeds": [seed.address for seed in seeds], **arguments}
            peer = Peer(name, **chosen).start()
            ends.callback(peer.close)
            return peer

        yield make
