"""Waiting: what callers wait for, and how they are woken. Who blocks or awaits meanwhile is `Blocking`'s and `aio`'s affair.

    with waiters.joined(bell):            bus thread, after each turn that told anything
        while wanted.known() is None:     ◀──── waiters.ring()
            wait for the bell, or for the deadline

Invariant: a bell joins before the first look, so nothing that comes in between is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from .values import dataclass

WAIT_STEP_S = 60.0  # waits are cut so that an interrupted system call is noticed on every platform


class Bell(Protocol):
    """What a waiting caller is woken by: a `threading.Event`, or its twin in `aio`."""

    def set(self) -> None:
        """Wake the caller. Any thread; neither raises nor waits."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller waits for: what is `known` of it (None: go on waiting), and in words what is `missing`."""

    known: Callable[[], Any]
    missing: Callable[[], str]


class Waiters:
    """Owns the bells of those who wait now. Any thread. `bells` is looked at each turn, so it is a plain list."""

    def __init__(self) -> None:
        self.bells: list[Bell] = []

    def __len__(self) -> int:
        return len(self.bells)

    @contextmanager
    def joined(self, bell: Bell) -> Iterator[None]:
        """Wait with this bell inside the block."""
        self.bells.append(bell)
        try:
            yield
        finally:
            self.bells.remove(bell)

    def ring(self) -> None:
        """Have all look again. O(waiters)."""
        for bell in tuple(self.bells):
            bell.set()
