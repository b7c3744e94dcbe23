"""Ports that nobody listens on, and that nobody gets by chance: below the ephemeral range.

A port that the kernel chose for a socket closed since is one that it chooses again, for the next listener or for a dial.
"""

from __future__ import annotations

import contextlib
import random
import socket

CHOSEN_FROM = range(18000, 32000)


def free_ports(count: int) -> list[int]:
    """So many different ports of loopback that were free a moment ago."""
    found: list[int] = []
    chance = random.SystemRandom()  # not the seeded one: two runs at a time would choose alike
    while len(found) < count:
        port = chance.choice(CHOSEN_FROM)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
