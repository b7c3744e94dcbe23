"""Doors: what a change of keys leaves behind when it fails halfway, as it does without a free descriptor."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest
import zmq

from gossip.bus import doors
from gossip.bus.doors import Doors
from gossip.bus.keys import Keyring, keyring_of

OLD, NEW = "old-3f9c1e7ab2d84650c7e1f0a9b8d7c6e5", "new-7a1d9b3c5e8f20461b2c3d4e5f6a7b8c"


@pytest.fixture
def router() -> Iterator[zmq.SyncSocket]:
    context: zmq.Context[zmq.SyncSocket] = zmq.Context()
    yield context.socket(zmq.ROUTER)
    context.destroy(linger=0)


@pytest.fixture
def zap(router: zmq.SyncSocket) -> zmq.SyncSocket:
    answerer: zmq.SyncSocket = router.context.socket(zmq.ROUTER)
    answerer.bind("inproc://zeromq.zap.01")
    return answerer


def without_descriptors(descriptor: int) -> int:
    raise OSError(errno.EMFILE, "Too many open files")


def greeted(port: int) -> bool:
    """Whether whoever answers at this port says a word."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
        try:
            return caller.recv(1) == b"\xff"
        except TimeoutError:
            return False


def fail_once(found: Doors, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(doors.os, "dup", without_descriptors)
        with pytest.raises(OSError, match="Too many"):
            found.rekey(keyring)


@pytest.mark.usefixtures("zap")
def test_a_change_of_keys_that_failed_is_made_by_asking_again(router: zmq.SyncSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Doors(router, keyring_of(OLD))
    port = found.open("127.0.0.1", 0)
    fail_once(found, keyring_of(NEW), monkeypatch)
    found.rekey(keyring_of(NEW))
    assert greeted(port)
    found.close()


@pytest.mark.usefixtures("zap")
def test_a_further_door_that_could_not_be_opened_takes_no_callers(
    router: zmq.SyncSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Doors(router, keyring_of(OLD))
    port = found.open("127.0.0.1", 0)
    fail_once(found, keyring_of([NEW, OLD]), monkeypatch)
    assert len(found._doors[0].listeners) == 1
    assert greeted(port)
    found.close()
