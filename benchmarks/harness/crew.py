"""Worker processes of a benchmark: forked from a process that has no socket and no thread yet, told what to do over pipes.

Invariant: they live no longer than the block that made them; each is ended by its own handle.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

ANSWER_S = 60.0
END_S = 5.0


class Hand:
    """One worker, as its owner sees it."""

    def __init__(self, target: Callable[..., None], arguments: tuple[object, ...]) -> None:
        fork = multiprocessing.get_context("fork")
        self._pipe, theirs = fork.Pipe()
        self.process = fork.Process(target=_work, args=(target, theirs, arguments), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process.pid is not None
        return self.process.pid

    def say(self, what: object) -> None:
        """Tell it something."""
        self._pipe.send(what)

    def hear(self, timeout_s: float = ANSWER_S) -> Any:
        """What it says next. Raises `TimeoutError`, `EOFError` if it ended."""
        if not self._pipe.poll(timeout_s):
            raise TimeoutError(f"a worker of the benchmark (pid {self.pid}) said nothing for {timeout_s:g} s")
        return self._pipe.recv()

    def ask(self, what: object) -> Any:
        """Say and hear."""
        self.say(what)
        return self.hear()

    def end(self) -> None:
        """End it: gently, then not."""
        self._pipe.close()
        self.process.terminate()
        self.process.join(END_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(target: Callable[..., None], pipe: Connection, arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the owner, who ends us
    try:
        target(pipe, *arguments)
    except (EOFError, BrokenPipeError):
        return  # the owner is gone


@contextmanager
def crew(target: Callable[..., None], arguments: Sequence[tuple[object, ...]]) -> Iterator[list[Hand]]:
    """A worker for each tuple of arguments: `target(pipe, *arguments)`."""
    hands: list[Hand] = []
    try:
        hands += (Hand(target, one) for one in arguments)
        yield hands
    finally:
        for hand in hands:
            hand.process.terminate()  # all at once, so that they end side by side
        for hand in hands:
            hand.end()


def ask_all(hands: Sequence[Hand], what: object) -> list[Any]:
    """One question to all, then all answers."""
    for hand in hands:
        hand.say(what)
    return [hand.hear() for hand in hands]
