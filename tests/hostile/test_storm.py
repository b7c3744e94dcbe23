"""Row 19 against a live peer of five: what strangers say on its ports harms neither it nor the others."""

from __future__ import annotations

import os
import random
import sys

import pytest

from tests.hostile.storm import MEMORY_KIB_MAX, storm

SECONDS = float(os.environ.get("STORM_SECONDS", "15"))

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(SECONDS + 240),
]


def test_with_a_secret_strangers_cost_little_and_nobody_notices(seed: int) -> None:
    toll = storm(SECONDS, secret=True, rng=random.Random(seed))
    print(toll)
    assert min(toll.rounds.values()) > 0, toll
    assert toll.memory_kib <= MEMORY_KIB_MAX, toll
    assert (toll.empty, toll.hidden) == (0, 0), toll
    assert toll.lookups > 1000, toll
    assert toll.counters["strangers_refused"] > 0, toll


def test_without_a_secret_what_is_no_message_harms_nobody(seed: int) -> None:
    toll = storm(SECONDS, secret=False, rng=random.Random(seed))
    print(toll)
    assert min(toll.rounds.values()) > 0, toll
    assert (toll.empty, toll.hidden) == (0, 0), toll
    assert toll.lookups > 1000, toll
