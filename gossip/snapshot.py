"""The file of `snapshot=`: read once before a start, written while the peer runs, by a thread of its own.

    start ── lock ── read ──▶ who I was, whom I knew ──▶ node and first view
    node's tables ──▶ thread gossip-<name>-snapshot ──▶ FILE.tmp ── fsync ── rename ──▶ FILE ── fsync of the folder

Invariants: FILE is at any time a whole snapshot, the last or the one before, or was never written by us; what cannot be read
is moved to FILE.refused before the first write; who lacks the lock FILE.lock neither reads nor writes. The bus never waits for
the disk, and no fault of the disk, of the file or of this module ends a start, a peer or a process: it is told as a NOTICE.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from .bus import forks, native
from .config import Limits
from .core.codec import Codec
from .core.node import Node
from .core.saved import Encoding, Known, Saved, carried_on, decode, me_of, others_of
from .core.signatures import Signing
from .errors import ConfigError, WireError
from .model import Instance

try:
    import fcntl
except ImportError:  # Windows: without a lock two peers of one file take turns, and each write is still whole
    fcntl = None  # type: ignore[assignment]

WRITE_INTERVAL_S = 2.0  # between two writes, if something changed; more: an older memory, less work
RETRY_MAX_S = 60.0  # a disk that is full, or a lock that another holds, is tried again within so long
BYTES_PER_S_MAX = 1 << 20  # written on average; larger snapshots are written less often
GIL_SHARE = 0.2  # of the interpreter, while a snapshot is made; more: sooner done, slower calls beside it
BREATH_S = 0.001  # work between two pauses
BATCH = 128  # instances between two looks at the clock
FREE_MODE = 0o022  # who may write the file could say what he likes to a starting peer


def _flags(*names: str) -> int:
    """Those of `os.open` that this system knows."""
    return sum(getattr(os, name, 0) for name in names)


_READ = _flags("O_RDONLY", "O_CLOEXEC", "O_BINARY", "O_NOFOLLOW", "O_NONBLOCK")
_MAKE = _flags("O_WRONLY", "O_CREAT", "O_EXCL", "O_CLOEXEC", "O_BINARY", "O_NOFOLLOW")
_LOCK = _flags("O_RDWR", "O_CREAT", "O_CLOEXEC", "O_NOFOLLOW")
_FOLDER = _flags("O_RDONLY", "O_DIRECTORY", "O_CLOEXEC")


def checked_path(given: object) -> str:
    """The absolute path of `snapshot=`. Looks at the file system; raises `ConfigError`."""
    try:
        path = os.fspath(given)  # type: ignore[call-overload]
    except TypeError:
        path = None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigError(f"snapshot={given!r} names no file: pass a path such as '/var/lib/orders/gossip'. Nothing was started.")
    path = os.path.abspath(path)  # a later change of the working directory must not lose it
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise ConfigError(f"snapshot={given!r}: there is no folder {folder!r}. Make it first. Nothing was started.")
    with suppress(OSError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ConfigError(
                f"snapshot={given!r} is no plain file, and the snapshot would take its place: name another. Nothing was started."
            )
    return path


class Store:
    """One file and its lock. `mine`: both are ours, and it may be written. Any thread, one at a time."""

    def __init__(self, path: str, realm: str, limits: Limits, signing: Signing | None = None) -> None:
        self.path = path
        self.signing = signing
        self.mine = False
        self.trouble = ""  # why it is not used, or what was found in it; for people
        self.codec = Codec(realm)  # its limits are those of the format, whatever the settings say
        self._limits = limits
        self._saved: Saved | None = None
        self._descriptor: weakref.finalize[..., Any] | None = None  # of the lock; closed even if its peer is only forgotten
        self._gate = native.rlock()

    def acquire(self) -> Saved | None:
        """Lock the file, and read it; None if there is nothing to remember, or it is not `mine`. Never raises for the disk.

        Idempotent while it is `mine`. Blocks for as long as the disk takes; O(size).
        """
        with self._gate:
            if not self.mine:
                self.trouble, self._saved = "", None
                forks.remember(self)
                try:
                    self._acquire()
                except OSError as error:
                    self.trouble = f"the snapshot {self.path} is not used: {_why(error)}. It is tried again"
                finally:
                    if not self.mine:  # a signal handler may have raised in the midst of it
                        self.close()
            return self._saved

    def _acquire(self) -> None:
        if not self._lock():
            self.trouble = f"the snapshot {self.path} is not used: another peer writes it. When that has ended, this one will"
            return
        try:
            self._saved = decode(self._read(), self.codec, self._limits, self.signing)
            if not self._saved.proven:
                self.trouble = f"of the snapshot {self.path} only the addresses are used: it is not signed with this peer's key"
        except FileNotFoundError:
            pass
        except WireError as error:
            os.replace(self.path, f"{self.path}.refused")
            self.trouble = (
                f"the snapshot {self.path} is not used: {error}. It was moved to {self.path}.refused, in the place of any "
                "earlier one, and a new one is begun"
            )
        self.mine = True

    def _lock(self) -> bool:
        if os.path.exists(self.path) and not os.access(self.path, os.W_OK):  # renaming would not care
            raise PermissionError(errno.EACCES, "it may not be written")
        with forks.gate:  # a child with a copy that nobody knows of would keep the lock for as long as it lives
            descriptor = os.open(f"{self.path}.lock", _LOCK, 0o600)
            self._descriptor = weakref.finalize(self, os.close, descriptor)
        self._descriptor.atexit = False
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # a file system without locks: as on Windows
                pass
        return True

    def _read(self) -> bytes:
        """All of it. Raises `OSError`, and `WireError` for what is no snapshot by its outside."""
        descriptor = os.open(self.path, _READ)
        with open(descriptor, "rb") as file:
            found, most = os.fstat(descriptor), self._limits.snapshot_bytes_max
            if not stat.S_ISREG(found.st_mode):
                raise WireError("it is no plain file")
            if os.name == "posix" and (found.st_mode & FREE_MODE or found.st_uid not in (os.geteuid(), 0)):
                raise WireError(f"others may write it (mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid})")
            content = file.read(most + 1)
        if len(content) > most:
            raise WireError(f"it is larger than {most} bytes; raise limits.snapshot_bytes_max")
        return content

    def forget(self) -> None:
        """What was read was put to use."""
        self._saved = None

    def write(self, pieces: Iterable[bytes]) -> int:
        """Put these in the place of the file, whole or not at all; how many bytes. Raises `OSError`: the file is as it was."""
        temporary, size = f"{self.path}.tmp", 0
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # of one who was killed
        descriptor = os.open(temporary, _MAKE, 0o600)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                for piece in pieces:
                    size += len(piece)
                    while piece:
                        piece = piece[file.write(piece) :]
                os.fsync(descriptor)
            os.replace(temporary, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self._sync_folder()
        return size

    def _sync_folder(self) -> None:
        """So that the new name survives a loss of power. Not every system, nor file system, can."""
        with suppress(OSError):
            folder = os.open(os.path.dirname(self.path), _FOLDER)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def close(self) -> None:
        """Give the lock back. Idempotent."""
        descriptor, self._descriptor, self.mine = self._descriptor, None, False
        if descriptor is not None:
            with suppress(OSError):
                descriptor()

    def sockets_in_use(self) -> tuple[tuple[()], dict[int, str]]:
        """For a forked child: none."""
        return (), {}

    def abandon_in_child(self) -> None:
        """In a forked child: close this copy of the lock; the parent's stays, but not beyond its life."""
        self._gate = native.rlock()
        self.close()


class Keeper:
    """The thread that writes what a node knows, whenever that changed, and at the end. Owns the store from `start` on.

    `carried`: the others of an earlier life, kept on while they are looked for. `tell`: a NOTICE; any thread, never raises.
    """

    def __init__(
        self, name: str, store: Store, node: Node, limits: Limits, carried: Sequence[Known], tell: Callable[[str], None]
    ) -> None:
        self._name, self._store, self._node, self._limits, self._tell = name, store, node, limits, tell
        self._carried = tuple(carried)
        self._found: tuple[Known, ...] = ()  # in a file that came to be mine only later
        self._last: object = None  # what the node was like when it was written
        self._told = ""  # the trouble that lasts
        self._retry_s = 0.0  # the pause after the latest failure; 0: there is none
        self._cut_told = False
        self._ending = native.Ending()
        self._ended = native.latch()
        self._started = False
        self._claim = native.lock()  # taken by the thread, or by who ends a keeper that perhaps has none
        self.counters: dict[str, int] = {}

    def start(self) -> None:
        """Begin. Without a thread nothing is written, which is told."""
        self._store.forget()
        self._tell_once(self._store.trouble)
        try:
            native.thread(f"gossip-{self._name}-snapshot", self._run).start()
            self._started = True
        except RuntimeError as error:
            self._tell(f"the snapshot {self._store.path} is not written: no thread to be had ({error}). Restart the peer")

    def stop(self) -> None:
        """Have the latest state written, and end. Does not wait."""
        self._ending.set()
        if not self._started and self._claim.acquire(blocking=False):  # none to be had, or interrupted as it was started
            self._store.close()
            self._ended.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end. A disk that takes longer is left to it: the file stays as it was, or becomes the new one."""
        return bool(self._ended.wait(timeout))

    # the thread -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        pause_s = WRITE_INTERVAL_S / 4  # a young peer has just learned most of what it will know
        try:
            while True:
                self._ending.wait(pause_s)
                last = self._ending.is_set()
                try:
                    pause_s = self._turn()
                except Exception as error:  # noqa: BLE001 - a disk has many; the peer must live
                    pause_s = self._failed(error)
                if last:
                    return
        finally:
            self._store.close()
            self._ended.set()

    def _turn(self) -> float:
        """Write if there is something new; how long to wait then."""
        node, store = self._node, self._store
        late = bool(self._retry_s) or not store.mine
        if not store.mine and not self._take_over():
            return self._later()
        local = node.local
        what = local.table.digest ^ local.authority.digest
        now = what, local.me.id, local.me.incarnation, node.looks_back, node.holds_past
        if now == self._last and not late:
            return WRITE_INTERVAL_S
        size = self._write()
        self._last = now
        if late:
            self._retry_s, self._told = 0.0, ""
            self._tell(f"the snapshot {store.path} is written now")
        return max(WRITE_INTERVAL_S, size / BYTES_PER_S_MAX)

    def _take_over(self) -> bool:
        """Whether the file is mine now. What it holds is kept on while nothing better is known."""
        saved = self._store.acquire()
        self._store.forget()
        self._tell_once(self._store.trouble)
        self._found = saved.others if saved is not None else ()
        return self._store.mine

    def _write(self) -> int:
        node, local, pace = self._node, self._node.local, _Pace(self._ending)
        self._carried = carried_on(self._carried, looked_for=node.looks_back, shown=node.holds_past)
        if not local.alone:  # until then it is more than is known here
            self._found = ()
        encoding = Encoding(
            self._store.codec,
            me_of(local),
            others_of(local, (*self._carried, *self._found)),
            saved_ms=time.time_ns() // 1_000_000,
            bytes_max=self._limits.snapshot_bytes_max,
            pace=pace.through,
            sign=self._store.signing.sign if self._store.signing is not None else None,
            revoked=local.authority.messages(),
        )
        size = self._store.write(encoding)
        self._count("snapshots_written")
        if encoding.cut:
            self._count("snapshot_members_cut", encoding.cut)
            if not self._cut_told:
                self._tell(
                    f"the snapshot {self._store.path} has no room for what {encoding.cut} members have registered: raise "
                    "limits.snapshot_bytes_max (snapshot_members_cut)"
                )
            self._cut_told = True
        return size

    def _failed(self, error: Exception) -> float:
        self._count("snapshots_failed")
        self._tell_once(
            f"the snapshot {self._store.path} cannot be written: {_why(error)}. The peer goes on, the last one stays, and it is "
            "tried again (snapshots_failed)"
        )
        return self._later()

    def _later(self) -> float:
        self._retry_s = min(max(2 * self._retry_s, WRITE_INTERVAL_S), RETRY_MAX_S)
        return self._retry_s

    def _tell_once(self, trouble: str) -> None:
        if trouble and trouble != self._told:
            self._told = trouble
            self._tell(trouble)

    def _count(self, what: str, times: int = 1) -> None:
        self.counters[what] = self.counters.get(what, 0) + times


class _Pace:
    """Lets others have the interpreter: after `BREATH_S` of work a pause, so that `GIL_SHARE` is kept; none at the end."""

    def __init__(self, ending: native.Ending) -> None:
        self._ending = ending
        self._since = time.thread_time()

    def through(self, instances: Sequence[Instance]) -> Iterator[Instance]:
        """The same instances, taking time over it."""
        for start in range(0, len(instances), BATCH):
            yield from instances[start : start + BATCH]
            worked_s = time.thread_time() - self._since
            if worked_s >= BREATH_S and not self._ending.is_set():
                native.pause(worked_s * (1 / GIL_SHARE - 1))
                self._since = time.thread_time()


def _why(error: BaseException) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
