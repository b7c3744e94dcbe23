"""What a forked child inherits, and how it lets go: the parent's threads do not exist there, its connections do.

While a child holds copies of them, the kernel keeps a dead parent's connections open and its port answering, and others
see a kill -9 only as silence. So the child puts /dev/null in the place of the parent's TCP sockets. The numbers stay
taken: libzmq's objects, which nobody uses there, cannot touch a stranger's descriptor. The parent is not disturbed:
no `shutdown`, no epoll call, nothing of libzmq; the connection itself is shared, the descriptor is not.

A socket is the parent's if its own end is where the parent is bound, or if its descriptor is one that libzmq named for a
link (or that we opened for a probe) and its other end is the one dialled. What only looks alike, such as a connection of the
host to a member, is the host's. So is what cannot be told, as the connection of a call: it proves nothing to anybody, and
the other end gives it up within 30 s (`HEARTBEAT_TIMEOUT_S`).

What must not be inherited and is known to us only after a moment, as the descriptor of a lock between its opening and our
writing it down, is opened within `gate`: no fork happens meanwhile.

`subprocess` does not come here (it runs no hooks, and libzmq's descriptors close on exec), unless it is given a
`preexec_fn`. Signallers (eventfd, epoll) stay: they reach nobody else, and cannot be told from those of the host.
"""

from __future__ import annotations

import os
import socket
import stat
import weakref
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Protocol

from ..model import join_address
from . import native

FOLDERS = ("/proc/self/fd", "/dev/fd")
EVERY_HOST = ("0.0.0.0", "::")


class Inherited(Protocol):
    """A peer, or what it holds, as a forked child finds it."""

    def sockets_in_use(self) -> tuple[Collection[str], Mapping[int, str]]:
        """Where it is bound, and the descriptors that it dialled with, each with its other end, as `ip:port`."""
        ...

    def abandon_in_child(self) -> None:
        """Thread and sockets are the parent's: never touch them again."""
        ...


gate = native.rlock()  # held while this process forks; hold it for moments, never while you wait
_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()
_hook_set = False


def remember(peer: Inherited) -> None:
    """Have a peer, or a part of one, told when it wakes up in a forked child. The hooks are set with the first, not at import."""
    global _hook_set  # noqa: PLW0603
    if not _hook_set and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_parent=_forked, after_in_child=_after_fork)
        _hook_set = True
    _inherited.add(peer)


def _before_fork() -> None:
    gate.acquire()


def _forked() -> None:
    gate.release()


def _after_fork() -> None:
    global gate  # noqa: PLW0603
    gate = native.rlock()
    bound: set[str] = set()
    dialled: dict[int, str] = {}
    for peer in list(_inherited):  # all are kept: one that begins anew may be forked again before it has
        with suppress(Exception):  # what cannot be told is kept; the child must live
            here, there = peer.sockets_in_use()
            bound.update(here)
            dialled.update(there)
        peer.abandon_in_child()
    let_go(bound, dialled)


def let_go(bound: Collection[str], dialled: Mapping[int, str]) -> int:
    """Replace by /dev/null every TCP socket bound to one of these, or dialled with this descriptor. How many; never raises.

    Some 5 µs for each socket of the process, 1 µs for any other descriptor.
    """
    ports = {endpoint.rpartition(":")[2] for endpoint in bound}
    found = [d for d in _open_descriptors() if _is_of(d, bound, ports, dialled.get(d))] if bound or dialled else []
    if found:
        with suppress(OSError):  # without a free descriptor they are kept
            nothing = os.open(os.devnull, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
            for descriptor in found:
                os.dup2(nothing, descriptor, inheritable=False)
            os.close(nothing)
    return len(found)


def _open_descriptors() -> list[int]:
    for folder in FOLDERS:
        with suppress(OSError):
            return [int(name) for name in os.listdir(folder) if name.isdigit()]
    return []


def _is_of(descriptor: int, bound: Collection[str], ports: Collection[str], dialled: str | None) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with native.borrowed(descriptor) as twin:
            if twin.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:  # UDP has ports of its own
                return False
            here = _spelled(twin.getsockname())
            port = here.rpartition(":")[2]
            if port in ports and (here in bound or any(join_address(host, int(port)) in bound for host in EVERY_HOST)):
                return True
            return dialled is not None and _spelled(twin.getpeername()) == dialled
    except OSError:  # closed meanwhile, or not connected
        return False


def _spelled(address: object) -> str:
    """`ip:port` of an internet address; "" of any other."""
    if not isinstance(address, tuple) or len(address) < 2 or not isinstance(address[0], str):
        return ""
    return join_address(address[0].removeprefix("::ffff:"), address[1])
