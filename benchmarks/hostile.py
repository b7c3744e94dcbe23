"""How long the worst frames that we know of keep a peer's decoder, beside unpacking an honest state. The aim is 5 ms for 64 KiB.

Frames: `tests/fuzz/worst.py`. All but those of instances are refused at once, which is checked.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable

import msgpack

from gossip.core.codec import DELTA_HEAD, Codec
from gossip.errors import WireError
from tests.fuzz.worst import WORST

from .harness.run import Case, Run, WrongAnswerError

ANCHOR = "msgpack.unpackb of an honest state"
HONEST = "instances with labels"


def measure(run: Run) -> None:
    """Each frame in turn."""
    codec = Codec("default")
    body = WORST[HONEST][DELTA_HEAD.size :]
    cases = [Case(ANCHOR, lambda: _timed(lambda: msgpack.unpackb(body), wanted=True))]
    cases += [Case(f"decode: {name}", _taker(codec, name, frame), anchor=ANCHOR) for name, frame in WORST.items()]
    run.interleave(cases, rounds=run.pick(50, 5))


def _taker(codec: Codec, name: str, frame: bytes) -> Callable[[], Iterable[float]]:
    return lambda: _timed(lambda: codec.decode(frame), wanted=name.startswith("instances"))


def _timed(do: Callable[[], object], *, wanted: bool) -> Iterable[float]:
    found = None
    began = time.perf_counter()
    with contextlib.suppress(WireError):
        found = do()
    took = time.perf_counter() - began
    if (found is not None) != wanted:
        raise WrongAnswerError("a hostile frame was taken, or an honest one refused")
    return [took]
