"""One seed for all random tests of a run: `pytest --seed=N` repeats a run that failed."""

from __future__ import annotations

import random
import signal
from collections.abc import Generator

import hypothesis
import pytest

# No deadlines: a slow machine is no defect. A failing example is printed with the line that repeats it.
hypothesis.settings.register_profile(
    "gossip", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("gossip")

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, metavar="N", help="seed of the random tests; by default a new one in every run")
    parser.addoption("--rewrite", action="store_true", help="write the transcripts anew, as the core behaves now")


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in its background deaf to SIGINT, and the processes of the tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    given = config.getoption("--seed")
    config.stash[_SEED] = random.SystemRandom().randrange(1 << 32) if given is None else given


def pytest_report_header(config: pytest.Config) -> str:
    return f"random tests: --seed={config.stash[_SEED]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and "seed" in getattr(item, "fixturenames", ()):
        report.sections.append(("Random test", f"repeat it with --seed={item.config.stash[_SEED]}"))
    return report


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of this run. Whatever is random in a test is drawn from `random.Random(seed)`."""
    return pytestconfig.stash[_SEED]
