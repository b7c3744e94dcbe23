"""Whatever is said to a node, in whatever order and over whatever channel: it never raises, and keeps its bounds."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.core.codec import PREFIX, Codec
from gossip.errors import WireError
from tests.fuzz import targets
from tests.fuzz.corpus import seeds
from tests.fuzz.run import CORPUS, replay
from tests.fuzz.targets import CHANNELS, DAMAGES, STEP, honest_frames
from tests.fuzz.worst import FRAME_BYTES, WORST

MEMORY_BYTES_MAX = 4 * 1024 * 1024
CODEC = Codec("default")

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
    targets.observer(b"".join(story))
    targets.court(b"".join(story))


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
    assert replay(target) >= len({*seeds()[target]}) > 3


def test_the_corpus_holds_what_its_script_writes() -> None:
    kept = {target: {file.read_bytes() for file in (CORPUS / target).iterdir()} for target in targets.TARGETS}
    assert all({*inputs} <= kept[target] for target, inputs in seeds().items())


@pytest.mark.parametrize("name", WORST)
def test_decoding_the_worst_of_frames_stays_within_its_memory(name: str) -> None:
    frame = WORST[name]
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
