"""The way into the bus thread: commands from any thread, run there in the order they came.

Invariants: a command is run at most once; a caller that got an answer sees its command's effects in the catalogue; after
`close` nobody waits. Waiting callers are woken after the batch their command belongs to was applied, by the bus thread.

Three ways to wait: `post` does not, `call` blocks, `send` calls back and is read with `answer`.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from ..core.effects import Effect
from ..errors import GossipError, PeerClosed
from . import native

T = TypeVar("T")
Command = Callable[[float], tuple[list[Effect], T]]

LETTERS_PER_TURN = 1000
WAKE_BYTES = 4096


class Letter:
    """One command on its way, and the latch its caller waits on. `open` and `settle` belong to the bus thread."""

    __slots__ = ("_claim", "_done", "_run", "_told", "awaited", "error", "result")

    def __init__(self, run: Command[Any], awaited: bool, told: Callable[[], None] | None = None) -> None:
        self._run = run
        self._claim = native.lock()
        self._done = native.latch()
        self._told = told
        self.awaited = awaited
        self.result: Any = None
        self.error: Exception | None = None

    def claim(self) -> bool:
        """True for the first who asks: the bus, about to run it, or the caller, who will not wait any longer."""
        return bool(self._claim.acquire(blocking=False))

    def open(self, now: float) -> list[Effect]:
        """Run the command, unless its caller gave up. Returns its effects; keeps result or exception for `settle`."""
        if not self.claim():
            return []
        try:
            effects, self.result = self._run(now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            self.error = error
            return []
        return effects

    def settle(self) -> None:
        """Let the caller go on."""
        self._done.set()
        if self._told is not None:
            self._told()

    def refuse(self, error: Exception) -> None:
        """Let the caller go on with this error; the command is not run any more."""
        self.claim()
        self.error = error
        self.settle()

    def wait(self, timeout: float | None) -> bool:
        """Whether it was settled in time."""
        return self._done.wait(timeout)


class Mailbox:
    """Commands for one bus thread, at most `letters_max` waiting. Any thread writes to it, signal handlers included.

    On the bus thread itself `post` is fine (it runs in the next turn) and `call` raises `GossipError` instead of waiting
    for itself; it does not run the command directly, because the node may be in the middle of another.
    """

    def __init__(self, name: str, letters_max: int) -> None:
        self._name = name
        self._letters_max = letters_max
        self.letters: deque[Letter] = deque()  # for the bus thread to see whether any waits
        self._wake_in, self._wake_out = native.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        # Keeps the descriptor from being closed under a sender, who would write into whatever got its number next.
        # Reentrant, because a signal handler may post while its own thread is posting.
        self._gate = native.rlock()
        self._bus: int | None = None
        self._closed = False
        self.refused = 0  # letters for which there was no room

    def __len__(self) -> int:
        return len(self.letters)

    def closed(self) -> bool:
        """Whether it takes no more letters."""
        return self._closed

    def fileno(self) -> int:
        """Readable when a letter waits."""
        return self._wake_out.fileno()

    def post(self, run: Command[Any], *, bounded: bool = True) -> None:
        """Have the bus thread run this, and do not wait. Raises `PeerClosed`, or `GossipError` when too many wait."""
        self._put(Letter(run, awaited=False), bounded)

    def send(self, run: Command[Any], told: Callable[[], None], *, bounded: bool = True) -> Letter:
        """As `post`, and `told` is called once its effects can be looked up, or it was refused; then ask `answer`.

        `told` runs on the bus thread, or on the one that closes the mailbox, and must neither raise nor wait. The letter
        can be withdrawn by `claim` until it is opened. `bounded=False` is for what takes an earlier letter back.
        """
        letter = Letter(run, awaited=True, told=told)
        self._put(letter, bounded)
        return letter

    def call(self, run: Command[T], timeout: float | None) -> T:
        """Have the bus thread run this and return its result, or raise its exception, once its effects can be looked up.

        `timeout` in seconds; None waits for ever. On a timeout, or when the wait is interrupted, a command that had not
        begun is withdrawn. Raises `PeerClosed` after `close`, `GossipError` on a timeout or an overloaded bus.
        """
        if self.on_bus_thread():
            raise GossipError(
                f"a call into peer {self._name!r} from its own bus thread would wait for itself. "
                "Do not call the peer from finalizers or log handlers: hand the work to another thread"
            )
        letter = Letter(run, awaited=True)
        try:
            self._put(letter)
            letter.wait(timeout)
        except BaseException:  # KeyboardInterrupt above all: nobody will ask for the result
            letter.claim()
            raise
        result: T = self.answer(letter, timeout)
        return result

    def answer(self, letter: Letter, waited_s: float | None) -> Any:
        """The result of a letter, or its exception raised. One that did not settle in `waited_s` raises `GossipError`."""
        if not letter.wait(0):
            self._give_up(letter, waited_s)
        if letter.error is not None:
            raise letter.error
        return letter.result

    def adopt(self) -> None:
        """Called by the bus thread on itself, before it takes letters."""
        self._bus = threading.get_native_id()

    def on_bus_thread(self) -> bool:
        """Whether the caller is the thread that takes the letters."""
        return threading.get_native_id() == self._bus

    def collect(self) -> list[Letter]:
        """The waiting letters in order, at most `LETTERS_PER_TURN`. For the bus thread; never blocks."""
        # Nobody rang? The letters are looked at all the same: a sender may have been interrupted before it could.
        with contextlib.suppress(OSError):
            self._wake_out.recv(WAKE_BYTES)
        return [self.letters.popleft() for _ in range(min(len(self.letters), LETTERS_PER_TURN))]

    def wake(self) -> None:
        """Make the bus thread's poll return. Never blocks; a full pipe wakes as well."""
        with self._gate, contextlib.suppress(OSError):  # full, or closed
            self._wake_in.send(b"\0")

    def close(self) -> None:
        """Every waiting and later caller gets `PeerClosed`. Idempotent, any thread."""
        with self._gate:
            self._closed = True
            self._wake_in.close()
            self._wake_out.close()
        self._refuse_all()

    def abandon(self) -> None:
        """As `close`, in a forked child: takes no lock, for the thread that held it may not exist here."""
        self._closed = True
        self._wake_in.close()
        self._wake_out.close()
        self.letters.clear()

    def _put(self, letter: Letter, bounded: bool = True) -> None:
        if self.closed():
            raise self._closing()
        if bounded and len(self.letters) >= self._letters_max:
            self.refused += 1
            raise GossipError(
                f"bus overloaded: {self._letters_max} commands wait for peer {self._name!r}. "
                "Nothing was changed. Register less often, or raise config.limits.mailbox_max"
            )
        self.letters.append(letter)
        self.wake()
        if self.closed():  # closed since the check above: whoever closed it may have passed before our letter lay there
            self._refuse_all()

    def _refuse_all(self) -> None:
        while True:
            try:
                letter = self.letters.popleft()
            except IndexError:
                return
            letter.refuse(self._closing())

    def _give_up(self, letter: Letter, timeout: float | None) -> None:
        if letter.claim():
            fate = "It was withdrawn; nothing was changed"
        elif letter.wait(0):
            return
        else:
            fate = "It is being carried out and may still take effect"
        raise GossipError(
            f"bus overloaded: peer {self._name!r} did not run a command within {timeout:g} s. {fate}. "
            "Give the process more CPU time, or ask less often"
        )

    def _closing(self) -> PeerClosed:
        return PeerClosed(f"peer {self._name!r} does not run: it was closed. Nothing was changed. Start a new Peer to go on")
