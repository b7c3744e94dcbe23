"""A TCP proxy that misbehaves on request: it delays, hangs up, refuses, freezes, or keeps one half of a connection.

No root is needed: the peer behind it advertises the proxy's ports, as a peer behind a NAT does, so all others reach it
through here, and it reaches them directly. One thread owns all sockets; orders run in it, one after the other.
"""

from __future__ import annotations

import select
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 16
LOOK_S = 0.005  # what could not be written is tried again so soon
PATIENCE_S = 10.0


class Lane:
    """One direction of a connection: what was read and is not written yet."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.held: deque[tuple[float, bytes]] = deque()  # when it is due, and what
        self.ended = False  # the source will say nothing more

    def take(self, due: float) -> None:
        """Read what there is."""
        try:
            chunk = self.source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self.ended = self.ended or not chunk
        if chunk:
            self.held.append((due, chunk))  # without a bound: peers say a few kilobytes a second

    def give(self, now: float) -> bool:
        """Write what is due; False if the target takes nothing any more."""
        while self.held and self.held[0][0] <= now:
            due, chunk = self.held.popleft()
            try:
                sent = self.target.send(chunk)
            except BlockingIOError:
                sent = 0
            except OSError:
                return False
            if sent < len(chunk):
                self.held.appendleft((due, chunk[sent:]))
                return True
        return True


class Pair:
    """One connection through here: `near` is who dialled, `far` the peer behind."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.lanes = Lane(near, far), Lane(far, near)

    def lane_of(self, source: socket.socket) -> Lane:
        """The direction that begins there."""
        return self.lanes[source is self.far]

    def give(self, now: float) -> bool:
        """Write what is due, either way; False when the connection is over."""
        return all(lane.give(now) and (lane.held or not lane.ended) for lane in self.lanes)


class Proxy:
    """From a free port of loopback to another one; a context manager. Any thread may give orders."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._selector = selectors.DefaultSelector()
        self._pairs: dict[socket.socket, Pair] = {}  # by either end
        self._widows: set[socket.socket] = set()  # whose other half is gone, and who were not told
        self._orders: SimpleQueue[tuple[Callable[[], None], threading.Event]] = SimpleQueue()
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._delay_s = 0.0
        self._frozen = self._over = False
        self.port = 0
        self._listen()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end)
        self._thread.join(PATIENCE_S)
        self._waker.close()

    # orders -------------------------------------------------------------------------------------------------------------

    def delay(self, seconds: float) -> None:
        """All that comes from now on is so late, each way."""
        self._do(lambda: setattr(self, "_delay_s", seconds))

    def hang_up(self) -> None:
        """All connections end now; new ones are taken."""
        self._do(self._close_all)

    def refuse(self) -> None:
        """All connections end now, and nobody listens any more."""
        self._do(self._shut)

    def freeze(self) -> None:
        """Nothing passes any more; connections stay, and the kernel takes new ones."""
        self._do(lambda: setattr(self, "_frozen", True))

    def half_open(self) -> None:
        """The peer behind sees all its connections end; those who dialled are told nothing. New ones pass."""
        self._do(self._bereave)

    def restore(self) -> None:
        """As at the beginning; what waited goes on, who was not told still is not."""
        self._do(self._mend)

    @property
    def connections(self) -> int:
        """How many pass through here."""
        return len(self._pairs) // 2

    def _do(self, order: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((order, done))
        self._waker.send(b".")
        if not done.wait(PATIENCE_S):
            raise TimeoutError("the proxy does not obey: its thread has ended")

    # the thread ---------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over:
            if self._frozen:
                ready = select.select([self._wake], [], [])[0]
            else:
                ready = [key.fileobj for key, _ in self._selector.select(self._pause())]
            for one in ready:
                self._look(one)
            now = time.monotonic()
            for pair in [] if self._frozen else set(self._pairs.values()):
                if not pair.give(now):
                    self._close(pair.near, pair.far)

    def _pause(self) -> float | None:
        """Until the next chunk is due; those that are and could not be written are tried again soon."""
        due = min((lane.held[0][0] for pair in self._pairs.values() for lane in pair.lanes if lane.held), default=None)
        return None if due is None else max(LOOK_S, due - time.monotonic())

    def _look(self, one: socket.socket) -> None:
        if one is self._wake:
            one.recv(1)
            order, done = self._orders.get()
            order()
            done.set()
        elif one is self._listener:
            self._accept()
        elif one in self._pairs:
            self._pairs[one].lane_of(one).take(time.monotonic() + self._delay_s)
        elif one in self._widows:
            with suppress(BlockingIOError):
                if not _said(one):
                    self._close(one)

    def _accept(self) -> None:
        assert self._listener is not None
        near, _ = self._listener.accept()
        far = socket.socket()
        try:
            far.connect((HOST, self._target))
        except OSError:
            near.close()
            far.close()
            return
        pair = Pair(near, far)
        for end in (near, far):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[end] = pair
            self._selector.register(end, selectors.EVENT_READ)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port))  # the same port again, after `refuse`
            self.port = self._listener.getsockname()[1]
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _close(self, *ends: socket.socket) -> None:
        for end in ends:
            self._selector.unregister(end)
            self._pairs.pop(end, None)
            self._widows.discard(end)
            end.close()

    def _close_all(self) -> None:
        self._close(*self._pairs, *self._widows)

    def _shut(self) -> None:
        self._close_all()
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _bereave(self) -> None:
        for pair in set(self._pairs.values()):
            self._close(pair.far)
            del self._pairs[pair.near]
            self._widows.add(pair.near)

    def _mend(self) -> None:
        self._delay_s, self._frozen = 0.0, False
        self._listen()

    def _end(self) -> None:
        self._over = True
        self._shut()
        self._selector.close()
        self._wake.close()


def _said(one: socket.socket) -> bytes:
    """What it says, nothing if it is over."""
    try:
        return one.recv(CHUNK_BYTES)
    except ConnectionError:
        return b""
