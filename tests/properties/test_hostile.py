"""Whatever is said to a node, in whatever order and over whatever channel: it never raises, and keeps its bounds."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.core.codec import DELTA_HEAD, PREFIX, Codec
from gossip.core.messages import Incarnation
from gossip.errors import WireError
from tests.fuzz import targets
from tests.fuzz.corpus import seeds
from tests.fuzz.run import CORPUS, replay
from tests.fuzz.targets import CHANNELS, DAMAGES, STEP, honest_frames

FRAME_BYTES = 64 * 1024
MEMORY_BYTES_MAX = 4 * 1024 * 1024
CODEC = Codec("default")
LIFE: Incarnation = (1_000, 1)

bytes_ = st.integers(0, 255)
steps = st.builds(
    STEP.pack,
    st.integers(0, len(honest_frames()) - 1),
    st.integers(0, len(CHANNELS) - 1),
    bytes_,
    st.integers(0, len(DAMAGES) - 1),
    st.integers(0, 400),
    bytes_,
    st.integers(0, 63),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, min_size=1, max_size=60))
def test_no_story_raises_or_breaks_a_bound_or_the_digest(story: list[bytes]) -> None:
    targets.node(b"".join(story))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(honest_frames()), st.sampled_from(DAMAGES), st.integers(0, 3000), bytes_, st.sampled_from(honest_frames()))
def test_a_damaged_frame_is_a_message_or_refused(frame: bytes, damage: str, place: int, value: int, other: bytes) -> None:
    targets.codec(targets.damaged(frame, damage, place, value, other))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(range(256)))
def test_any_body_under_any_kind_is_a_message_or_refused(body: bytes, kind: int) -> None:
    targets.codec(PREFIX.pack(1, kind, CODEC.cluster_hash) + body)


@pytest.mark.parametrize("target", sorted(targets.TARGETS))
def test_the_corpus_of_the_fuzzer_holds(target: str) -> None:
    assert replay(target) >= len({*seeds()[target]}) > 5


def test_the_corpus_holds_what_its_script_writes() -> None:
    kept = {target: {file.read_bytes() for file in (CORPUS / target).iterdir()} for target in targets.TARGETS}
    assert all({*inputs} <= kept[target] for target, inputs in seeds().items())


def filled(piece: bytes, head: bytes = b"") -> bytes:
    """A frame of the greatest size: the prefix of a delta, a head, and as many pieces as fit."""
    start = DELTA_HEAD.pack(1, ord("d"), CODEC.cluster_hash, CODEC.hash("a"), *LIFE, 1) + head
    return (start + piece * (FRAME_BYTES // len(piece)))[:FRAME_BYTES]


def puts(instance: Callable[[int], object]) -> bytes:
    """A state of as many instances as a list may hold, or a frame."""
    head = ("n", "10.0.0.1", 1, 1, 0, 0, 1000, 0, 0)
    body = msgpack.packb(("a", "", 0, 0, 1, head, [instance(number) for number in range(1024)], []))
    return DELTA_HEAD.pack(1, ord("d"), CODEC.cluster_hash, CODEC.hash("a"), *LIFE, 1) + bytes(body)


HOSTILE = {
    "empty maps": filled(b"\x80", b"\xdd\x00\x00\xff\x00"),
    "empty lists": filled(b"\x90", b"\xdd\x00\x00\xff\x00"),
    "lists in lists": filled(b"\x91"),
    "maps in maps": filled(b"\x81\xa0"),
    "lists that promise four thousand million": filled(b"\xdd\xff\xff\xff\xff"),
    "maps that promise four thousand million": filled(b"\xdf\xff\xff\xff\xff"),
    "a text that promises four thousand million": filled(b"x", b"\xdb\xff\xff\xff\xff"),
    "short texts": filled(b"\xa1x", b"\x98" + b"\xdc\x04\x00" * 8),
    "lists of the greatest length": filled(b"\xdc\x04\x00" + b"\x90" * 1024, b"\x98"),
    "extensions": filled(b"\xd4\x01\x00", b"\xdc\x04\x00"),
    "timestamps": filled(b"\xd6\xff\xff\xff\xff\xff", b"\xdc\x04\x00"),
    "numbers": filled(b"\xcf" + b"\xff" * 8, b"\xdc\x04\x00"),
    "instances": puts(lambda number: ("service", f"instance-{number}", "10.0.0.1", 8080, 1, {}, [], 0)),
    "instances with labels": puts(lambda number: ("s", f"i{number}", "h", 1, 1, {str(k): "" for k in range(8)}, [], 0)),
    "instances with fields of later versions": puts(lambda number: ("s", f"i{number}", "h", 1, 1, {}, [], 0, *range(16))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_decoding_the_worst_of_frames_stays_within_its_memory(name: str) -> None:
    frame = HOSTILE[name]
    assert 16_000 < len(frame) <= FRAME_BYTES
    kept = None
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        with contextlib.suppress(WireError):
            kept = CODEC.decode(frame)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert (kept is not None) == name.startswith("instances")
    assert peak < MEMORY_BYTES_MAX
