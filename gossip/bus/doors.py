"""Doors: the listening sockets of an XPUB or ROUTER, one for each secret, all at one address.

A CURVE listener has one key, and one port has one listener; yet while a secret is replaced some callers know only the old
one and some only the new one. So with several secrets there are several listening sockets at the same address
(SO_REUSEPORT), each with the key of one, and the kernel deals callers to them at random: who meets the wrong one is turned
away and knocks again (`knocks.py`). The first is bound without that option, so a taken port stays an error.

The listening sockets are ours and lent to libzmq (ZMQ_USE_FD): a port goes on listening while its key is changed. Linux
spreads callers; elsewhere, as without the option, only one door answers.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from array import array

import zmq

from ..model import join_address
from ..values import dataclass
from . import native
from .keys import Keyring, Keys

BACKLOG = 100  # connections that wait to be accepted
ZAP_DOMAIN = b"gossip"
NO_DESCRIPTOR = -1
_FILTER_ON, _FILTER_OFF = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER of Linux
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # struct sock_filter: BPF_RET | BPF_K, 0


@dataclass(slots=True)
class _Door:
    """One address: its listening sockets, and how libzmq calls it."""

    endpoint: str
    listeners: list[socket.socket]


class Doors:
    """All addresses of one bound socket, and their `ports`. One thread at a time, like the socket itself.

    `receive_bytes`: what the kernel may hold of each connection; None: as much as it likes.
    """

    def __init__(self, lender: zmq.SyncSocket, keyring: Keyring | None, receive_bytes: int | None = None) -> None:
        self._socket = lender
        self._keyring = keyring
        self._receive_bytes = receive_bytes
        self.ports: set[int] = set()
        self._doors: list[_Door] = []
        self.shut = False
        self._amiss = False  # a change of keys failed halfway: the next one binds all doors anew
        if keyring is not None:
            lender.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
            lender.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # else without an answer everybody is let in

    def open(self, host: str, port: int) -> int:
        """Listen at an IP address; port 0 takes any free one. Returns the port. Raises `OSError` or `zmq.ZMQError`."""
        first = _listener(host, port, self._receive_bytes, shared=False)
        port = first.getsockname()[1]
        door = _Door(f"tcp://{join_address(host, port)}", [first])
        try:
            self._bind(door)
        except BaseException:
            self._close(door)
            raise
        door.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._doors.append(door)
        self.ports.add(port)
        return port

    def rekey(self, keyring: Keyring) -> bool:
        """From now on these secrets open. Whether all who came in were turned out, because a secret is valid no longer.

        libzmq cannot close the listener of one key alone; those who are turned out come back at once. Raises `OSError` or
        `zmq.ZMQError`, for want of descriptors above all; then to ask again, with the same secrets too, mends it.
        """
        assert self._keyring is not None
        turned_out = self._amiss or any(keys not in keyring for keys in self._keyring)
        added = [keys for keys in keyring if keys not in self._keyring]
        self._keyring, self._amiss = keyring, True
        for door in self._doors:
            if turned_out:
                with contextlib.suppress(zmq.ZMQError):  # not bound, since it failed the last time
                    self._socket.unbind(door.endpoint)
                for spare in door.listeners[1:]:
                    spare.close()
                del door.listeners[1:]
                self._bind(door)
            else:
                for keys in added:
                    self._bind_further(door, keys)
        self._amiss = False
        return turned_out

    def keep_shut(self, shut: bool) -> None:
        """Let no new connection in, or let them in again; those that stand are not touched. Linux only."""
        self.shut = shut
        for door in self._doors:
            for listener in door.listeners:
                _filter(listener, shut)

    def close(self) -> None:
        """Close the listening sockets. libzmq's copies go with its socket."""
        for door in self._doors:
            self._close(door)
        self._doors.clear()

    def _bind(self, door: _Door) -> None:
        first, *others = [None] if self._keyring is None else list(self._keyring)
        self._lend(door.listeners[0], first, door.endpoint)
        for keys in others:
            assert keys is not None
            self._bind_further(door, keys)

    def _bind_further(self, door: _Door, keys: Keys) -> None:
        host, port = door.listeners[0].getsockname()[:2]
        for listener in door.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        further = _listener(host, port, self._receive_bytes, shared=True)
        try:
            self._lend(further, keys, door.endpoint)
        except BaseException:
            further.close()  # else the kernel deals callers to a door that nobody answers
            raise
        door.listeners.append(further)
        _filter(further, self.shut)

    def _lend(self, listener: socket.socket, keys: Keys | None, endpoint: str) -> None:
        if keys is not None:
            keys.dress_server(self._socket)
        lent = os.dup(listener.fileno())
        try:
            self._socket.setsockopt(zmq.IPV6, int("[" in endpoint))
            self._socket.setsockopt(zmq.USE_FD, lent)
            self._socket.bind(endpoint)
        except BaseException:
            os.close(lent)
            raise
        finally:
            self._socket.setsockopt(zmq.USE_FD, NO_DESCRIPTOR)

    @staticmethod
    def _close(door: _Door) -> None:
        for listener in door.listeners:
            listener.close()


def _listener(host: str, port: int, receive_bytes: int | None, *, shared: bool) -> socket.socket:
    """A socket that listens at an address. Raises `OSError`."""
    listener = native.tcp_socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if receive_bytes is not None:  # before it listens, for the connections that it accepts inherit it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        if ":" in host:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # as libzmq does: [::] serves IPv4 too
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _filter(listener: socket.socket, on: bool) -> None:
    """Have the kernel drop, without a word, whatever comes in for new connections."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError):  # nothing to be taken off
        if on:
            program = array("B", _DROP_ALL)
            listener.setsockopt(socket.SOL_SOCKET, _FILTER_ON, struct.pack("HL", 1, program.buffer_info()[0]))
        else:
            listener.setsockopt(socket.SOL_SOCKET, _FILTER_OFF, 0)
