"""`Worker`: one peer process (worker.py) as its starter sees it: commands, answers, events, signals, and its end.

Invariant: once `Worker(...)` returns, the process is known by its pid, and a thread reads what it says until it ends;
a process that ends fails the commands it has not answered, so that nobody waits for the dead.
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

PROGRAM = Path(__file__).resolve().with_name("worker.py")
ANSWER_S = 20.0  # generous: a deadline of the machinery, not of the registry
START_S = 30.0
POLL_S = 0.01

Told = dict[str, Any]
T = TypeVar("T")


class WorkerError(RuntimeError):
    """A command was refused: `kind` is the name of the error at the worker."""

    def __init__(self, worker: str, kind: str, message: str) -> None:
        super().__init__(f"{worker}: {kind}: {message}")
        self.kind = kind


class WorkerEnded(WorkerError):
    """The process ended before it answered."""


class Latch:
    """Opens once. Unlike the locks inside `threading.Event` and `Future`, taken by Python code, no Ctrl-C leaves it locked."""

    def __init__(self) -> None:
        self.is_open = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let all through who wait. One thread only."""
        if not self.is_open:
            self.is_open = True
            self._lock.release()

    def wait(self, timeout: float) -> bool:
        """Wait until it is open, at most so many seconds; whether it is."""
        if not self.is_open and self._lock.acquire(timeout=max(0.0, timeout)):
            self._lock.release()
        return self.is_open


class Answer:
    """What a worker will answer to a command."""

    def __init__(self, worker: Worker, do: str) -> None:
        self._worker = worker
        self._do = do
        self._latch = Latch()
        self._value: Any = None
        self._error: WorkerError | None = None

    def give(self, value: Any, error: WorkerError | None = None) -> None:
        """It is here. Once, by whoever took it off the list of what is waited for."""
        self._value, self._error = value, error
        self._latch.open()

    def result(self, timeout: float = ANSWER_S) -> Any:
        """Wait for it. Raises `WorkerError` with what the peer raised, `WorkerEnded`, `TimeoutError`."""
        if not self._latch.wait(timeout):
            raise TimeoutError(f"{self._worker!r} has not answered {self._do!r} within {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value


class Worker:
    """One peer process. Any thread may call; events are gathered as they come.

    `prefix`: what the command line begins with, such as `nsenter` (it must exec, so that the pid stays ours).
    `on_event(worker, told)` and `on_end(worker)` are called by the thread that reads from the process.
    """

    def __init__(
        self,
        name: str,
        *,
        prefix: Sequence[str] = (),
        on_event: Callable[[Worker, Told], None] | None = None,
        on_end: Callable[[Worker], None] | None = None,
    ) -> None:
        self.name = name
        self.id = self.address = ""
        self.started_t = 0.0  # monotonic, as all `_t`
        self.events: list[Told] = []  # {"event": {...}, "t": monotonic}
        self.expected_to_end = False
        self._on_event = on_event
        self._on_end = on_end
        self._numbers = itertools.count(1)
        self._answers: dict[int, Answer] = {}
        self._loaded = Latch()
        self._ended = Latch()
        self._input = threading.Lock()  # commands are written a line at a time
        with signals_held():  # the process must be known here before a Ctrl-C can interrupt; threads keep the mask
            self._process = subprocess.Popen(
                [*prefix, sys.executable, str(PROGRAM), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
            self.pid = self._process.pid
            threading.Thread(target=self._listen, name=f"from-{name}", daemon=True).start()

    def __repr__(self) -> str:
        return f"<Worker {self.name}, pid {self.pid}, {self.ending if self.ended else 'running'}>"

    # commands ---------------------------------------------------------------------------------------------------------

    def start(self, timeout: float = START_S, **peer: Any) -> Worker:
        """Start the peer with these arguments of `Peer`, and wait until it is bound."""
        return self.started(self.ask("start", **{"name": self.name, **peer}), timeout)

    def started(self, answer: Answer, timeout: float = START_S) -> Worker:
        """Take the answer to `ask("start", ...)`."""
        told = answer.result(timeout)
        self.id, self.address, self.started_t = told["id"], told["address"], told["t"]
        return self

    def ask(self, do: str, **arguments: Any) -> Answer:
        """Send a command and do not wait."""
        number = next(self._numbers)
        answer = self._answers[number] = Answer(self, do)
        try:
            with self._input:
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps({"call": number, "do": do, **arguments}) + "\n")
                self._process.stdin.flush()
        except (OSError, ValueError):  # the pipe is broken, or closed by `end`
            self._fail(number)
        if self.ended:
            self._fail(number)
        return answer

    def call(self, do: str, **arguments: Any) -> Any:
        """Send a command and wait for its result. `timeout`, where a command takes one, is waited for in addition.

        Raises `WorkerError` with what the peer raised, `WorkerEnded`, `TimeoutError`.
        """
        return self.ask(do, **arguments).result(ANSWER_S + (arguments.get("timeout") or 0.0))

    def wait_loaded(self, timeout: float = START_S) -> None:
        """Wait until the process has imported everything and reads commands. Raises `TimeoutError`, `WorkerEnded`."""
        if not self._loaded.wait(timeout):
            raise TimeoutError(f"{self!r} is not up after {timeout} s")
        if self.ended:
            raise WorkerEnded(self.name, "WorkerEnded", f"the process ended ({self.ending}) before it was up; stderr tells why")

    def wait_event(self, wanted: Callable[[Told], bool], timeout: float, what: str) -> Told:
        """Wait for an event; returns the first `{"event": ..., "t": ...}` that is wanted."""
        return until(lambda: next((told for told in tuple(self.events) if wanted(told["event"])), None), timeout, what)

    # the process ------------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the process is over, and all it said was read."""
        return self._ended.is_open

    @property
    def code(self) -> int | None:
        """The exit code, the signal's number below 0, or None while it runs."""
        return self._process.returncode if self.ended else None

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.code
        if code is None:
            return "still running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def kill9(self) -> float:
        """SIGKILL; returns the monotonic time just before."""
        self.expected_to_end = True
        at = time.monotonic()
        self._process.send_signal(signal.SIGKILL)
        return at

    def stop(self) -> None:
        """SIGSTOP: hangs, with all its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM: leaves gracefully."""
        self.expected_to_end = True
        self._process.send_signal(signal.SIGTERM)

    def leave(self, timeout: float = ANSWER_S) -> int:
        """Leave gracefully and end; returns the exit code."""
        self.expected_to_end = True
        self.ask("leave")
        return self.wait(timeout)

    def wait(self, timeout: float = ANSWER_S) -> int:
        """Wait until the process is over; returns the exit code."""
        if not self._ended.wait(timeout):
            raise TimeoutError(f"{self!r} has not ended within {timeout} s")
        return self._process.returncode

    def close_input(self) -> None:
        """Close its stdin, upon which it leaves."""
        try:
            assert self._process.stdin is not None
            self._process.stdin.close()
        except OSError:
            return  # it is gone already

    # what it says -----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as lines:
                for line in lines:
                    if line.endswith("\n"):  # else it was cut off by its end
                        self._take(json.loads(line))
        finally:
            self.close_input()
            self._process.wait()
            self._over()

    def _over(self) -> None:
        self._ended.open()
        self._loaded.open()
        for number in tuple(self._answers):
            self._fail(number)
        if self._on_end:
            self._on_end(self)

    def _take(self, told: Told) -> None:
        if "event" in told:
            self.events.append(told)
            if self._on_event:
                self._on_event(self, told)
        elif "call" in told:
            answer = self._answers.pop(told["call"], None)
            if answer is not None:
                error = WorkerError(self.name, told["error"], told["message"]) if "error" in told else None
                answer.give(told.get("value"), error)
        else:
            self._loaded.open()

    def _fail(self, number: int) -> None:
        answer = self._answers.pop(number, None)
        if answer is not None:
            answer.give(None, WorkerEnded(self.name, "WorkerEnded", f"the process ended ({self.ending}) before it answered"))


def ask_all(workers: Sequence[Worker], do: str, **arguments: Any) -> list[Any]:
    """The answers of several workers to one command, which all of them work on at once."""
    answers = [worker.ask(do, **arguments) for worker in workers]
    patience = ANSWER_S + (arguments.get("timeout") or 0.0)
    return [answer.result(patience) for answer in answers]


def until(condition: Callable[[], T | None], timeout: float, what: str | Callable[[], str]) -> T:
    """Wait for a condition, at most so many seconds; returns what it returned. Raises `TimeoutError`."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what if isinstance(what, str) else what()}")
        time.sleep(POLL_S)
    return found


@contextmanager
def signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end of this block."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
