"""Writes tests/fuzz/corpus/<target>/: honest frames for the codec, and stories of honest peers for the node. Small and fixed.

    python -m tests.fuzz.corpus
"""

from __future__ import annotations

import random
from hashlib import blake2b
from pathlib import Path

from gossip.core.certificates import Certificate, Revocation
from tests.fuzz.targets import CERTIFICATE, CHANNELS, REVOCATION, STEP, honest_frames

CORPUS = Path(__file__).parent / "corpus"
STEPS = 24


def story(seed: int) -> bytes:
    """A run of undamaged frames over channels that peers use, now and then with one byte changed."""
    chance = random.Random(seed)
    steps = []
    for _ in range(STEPS):
        damage = 3 if chance.random() < 0.1 else 0
        which, channel = chance.randrange(len(honest_frames())), chance.randrange(len(CHANNELS))
        place, value, time = chance.randrange(200), chance.randrange(256), chance.randrange(64)
        steps.append(STEP.pack(which, channel, chance.randrange(256), damage, place, value, time))
    return b"".join(steps)


STORIES = [story(seed) for seed in range(12)]


def seeds() -> dict[str, list[bytes]]:
    """By target."""
    words = [Certificate.of_bytes(CERTIFICATE).text, Revocation.of_bytes(REVOCATION).text]
    signed = [CERTIFICATE, REVOCATION, *(word.encode() for word in words)]
    return {"codec": list(honest_frames()), "certificate": signed, "node": STORIES, "observer": STORIES[:4], "court": STORIES}


def main() -> None:
    for target, inputs in seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for data in inputs:
            (folder / blake2b(data, digest_size=6).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main()
