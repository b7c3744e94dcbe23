"""What the bus thread and its callers share: a native thread and native locks, also where gevent has patched `threading`.

The bus waits in libzmq, which knows no greenlets: as one it would hold up all others. So it is a native thread always;
what its callers wait on is gevent's own wherever gevent has replaced `threading`, and other greenlets go on meanwhile.

    unpatched   threading.Thread, .Event, SimpleQueue          patched   a raw thread; a latch and a queue that wake the
                                                                         hub in which the caller waits (`async_().send()`)

Whether it is patched is asked whenever one of these is made, so `patch_all()` may come before or after `import gossip`,
but before `Peer.start`. gevent is never imported from here unless somebody else has patched with it.
"""

from __future__ import annotations

import _thread
import importlib
import math
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from ..errors import ConfigError


class Latch(Protocol):
    """The part of `threading.Event` that is needed here. Set by any thread, waited on by any thread or greenlet."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Thread(Protocol):
    """The part of `threading.Thread` that is needed here. A daemon."""

    def start(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...


def green() -> bool:
    """Whether gevent has replaced `threading` in this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def refuse_eventlet() -> None:
    """Raise `ConfigError` where eventlet has replaced `threading`: its hub cannot be woken by another thread."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        raise ConfigError(
            "eventlet has replaced `threading`, and whoever waits for this library's thread would hold up all green threads. "
            "Call eventlet.monkey_patch(thread=False), use gevent, or run the peer in a process of its own. Nothing was started."
        )


def thread(name: str, run: Callable[[], object]) -> Thread:
    """A native daemon thread, not started yet. `start` raises `RuntimeError` if the system gives no thread."""
    return _RawThread(name, run) if green() else threading.Thread(target=run, name=name, daemon=True)


def start_raw(run: Callable[[], object]) -> None:
    """Have `run` executed by a native thread, without waiting until that has begun. `run` must not raise.

    Raises `RuntimeError` if the system gives no thread.
    """
    _original("_thread", "start_new_thread")(run, ())


def latch() -> Latch:
    """A `threading.Event`, or its twin that a greenlet can wait on."""
    return _GreenLatch() if green() else threading.Event()


def queue() -> SimpleQueue[Any] | _GreenQueue:
    """A `SimpleQueue`, or its twin that a greenlet can read."""
    return _GreenQueue() if green() else SimpleQueue()


def lock() -> Any:
    """A native lock. Never wait for it in a greenlet."""
    return _original("_thread", "allocate_lock")()


def rlock() -> Any:
    """A native reentrant lock. Hold it for moments only: greenlets of one thread are one owner, those of others block."""
    return _thread.RLock()  # gevent replaces what `threading` makes of it, not this


def socketpair() -> tuple[socket.socket, socket.socket]:
    """A pair of native sockets. gevent's own would call its hub from the bus thread."""
    ends = socket.socketpair()
    kind: type[socket.socket] = _original("socket", "socket")
    return ends if type(ends[0]) is kind else (kind(fileno=ends[0].detach()), kind(fileno=ends[1].detach()))


def tcp_socket(family: socket.AddressFamily) -> socket.socket:
    """A native TCP socket. Raises `OSError`."""
    kind: type[socket.socket] = _original("socket", "socket")
    return kind(family, socket.SOCK_STREAM)


def borrowed(descriptor: int) -> socket.socket:
    """A native socket over a duplicate of a socket's descriptor, to ask it for its addresses. Raises `OSError`."""
    kind: type[socket.socket] = _original("socket", "socket")
    return kind(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=os.dup(descriptor))  # named, it does not ask what it is


def dial(host: str, port: int, timeout: float) -> socket.socket:
    """A native socket connected to a host by TCP, for a native thread. Raises `OSError`; each address may take `timeout`."""
    kind: type[socket.socket] = _original("socket", "socket")
    failed: OSError = OSError(f"{host} has no address")
    for family, _, _, _, place in _original("socket", "getaddrinfo")(host, port, type=socket.SOCK_STREAM):
        found = kind(family, socket.SOCK_STREAM)
        try:
            found.settimeout(timeout)
            found.connect(place)
        except OSError as error:
            found.close()
            failed = error
        else:
            return found
    raise failed


class Ending:
    """An event for native threads, set once, by any thread or greenlet. Never wait for it in a greenlet."""

    def __init__(self) -> None:
        self._set = False
        self._gate = lock()
        self._gate.acquire()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._open()

    def wait(self, timeout: float) -> None:
        if self._gate.acquire(timeout=timeout):
            self._open()  # for the next who waits

    def _open(self) -> None:
        with suppress(RuntimeError):  # it is open
            self._gate.release()


def getaddrinfo(*arguments: Any) -> Any:
    """`socket.getaddrinfo`, for a native thread: gevent's own would make a hub there. Blocks; raises `OSError`."""
    return _original("socket", "getaddrinfo")(*arguments)


def pause(seconds: float) -> None:
    """Sleep, for a native thread."""
    _original("time", "sleep")(seconds)


def _original(module: str, name: str) -> Any:
    """What a module held under this name before gevent came, if it did."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(sys.modules[module], name) if monkey is None else monkey.get_original(module, name)


class _RawThread:
    """A thread below `threading`, for where that makes greenlets."""

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self._name, self._run = name, run

    def start(self) -> None:
        start_raw(self._begin)

    def join(self, timeout: float | None = None) -> None:
        """Returns at once: nothing can be told of the end of a raw thread, and nothing depends on it."""

    def _begin(self) -> None:
        threading.current_thread().name = self._name  # for the log
        self._run()


class _GreenLatch:
    """The twin of `threading.Event`: each waiter has a watcher of its own in its own hub, which any thread may ring."""

    def __init__(self) -> None:
        self._set = False
        self._gate = _thread.RLock()  # a watcher must not be rung once it is closed
        self._watchers: list[Any] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        with self._gate:
            self._set = True
            for watcher in self._watchers:
                watcher.send()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if self._set or (timeout is not None and timeout <= 0):
            return self._set
        rung: Any = importlib.import_module("gevent.event").Event()
        watcher = importlib.import_module("gevent").get_hub().loop.async_()
        watcher.start(rung.set)  # first: a watcher that is rung before it was started stays silent
        with self._gate:
            self._watchers.append(watcher)
        try:
            return self._set or bool(rung.wait(timeout))
        finally:
            with self._gate:
                self._watchers.remove(watcher)
            watcher.stop()
            watcher.close()


class _GreenQueue:
    """The twin of `SimpleQueue`."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._filled = _GreenLatch()

    def qsize(self) -> int:
        return len(self._items)

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._filled.set()

    def get_nowait(self) -> Any:
        return self.get(block=False)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            self._filled.clear()
            try:
                item = self._items.popleft()
            except IndexError:
                left = deadline - time.monotonic()
                if not block or left <= 0:
                    raise Empty from None
                self._filled.wait(None if left == math.inf else left)
            else:
                if self._items:
                    self._filled.set()  # for a reader in another thread, who may have found it cleared
                return item
