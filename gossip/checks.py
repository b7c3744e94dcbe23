"""Health checks, run by the peer that owns the instances: what fails leaves picks and rings, and is still to be seen.

    gossip-<name>-checks   waits for the next check that is due, judges those that end or take too long
    gossip-<name>-check    one check, for as long as it takes: whatever hangs there, hangs alone

Invariants: nothing here runs on the bus thread; a check has at most one thread, so one that hangs fails again at each of
its intervals, costs no second thread, and holds up no other. Threads exist only while there are checks, and are daemons.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from .bus import native
from .bus.hush import HUSH_S, logger
from .errors import ConfigError, GossipError
from .model import Instance, join_address
from .values import dataclass, fields

INTERVAL_MIN_S = 0.01
INTERVAL_MAX_S = 86400.0
THRESHOLD_MAX = 1000
REASON_MAX = 200
FAMILIAR = ("http", "https")
BODY_READ_MAX = 64 * 1024  # of an answer; the status is all that counts


@dataclass(frozen=True, slots=True)
class Check:
    """How an instance's health is found out. Raises `ConfigError`.

    `target`: a URL `http://…` or `https://…` (2xx passes), "tcp" (the instance's own host and port accept a connection), or
    a callable without arguments (what it returns but False passes; what it raises fails, with the reason). `interval`:
    seconds between two; more: less work, later news. `timeout`: seconds after which one has failed; more: slow services
    are spared. `fail_after` failures in a row make an instance CRITICAL, `pass_after` passes bring it back; more: calmer, later.
    """

    target: str | Callable[[], object]
    interval: float = 1.0
    timeout: float = 1.0
    fail_after: int = 3
    pass_after: int = 2

    def __post_init__(self) -> None:
        if not callable(self.target) and not (isinstance(self.target, str) and _is_target(self.target)):
            raise ConfigError(
                f"check={_shown(self.target)}: a check is 'tcp', a URL such as 'http://127.0.0.1:8080/health', or a callable. "
                "Nothing was registered."
            )
        for name in ("interval", "timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not INTERVAL_MIN_S <= value <= INTERVAL_MAX_S:
                raise ConfigError(
                    f"check {name}={_shown(value)}: it takes seconds, {INTERVAL_MIN_S} to {INTERVAL_MAX_S:g}, such as 1.0"
                )
        for name in ("fail_after", "pass_after"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= THRESHOLD_MAX:
                raise ConfigError(f"check {name}={_shown(value)}: it takes a whole number from 1 to {THRESHOLD_MAX}, such as 3")

    @classmethod
    def of(cls, given: object) -> Check:
        """What `register(check=...)` takes: a `Check`, its target alone, or its fields as a mapping. Raises `ConfigError`."""
        if isinstance(given, Check):
            return given
        if isinstance(given, Mapping):
            known = [field.name for field in fields(cls)]
            if "target" not in given or not set(given) <= set(known):
                raise ConfigError(f"check={_shown(dict(given))}: a check has a target, and may have {', '.join(known[1:])}")
            return cls(**given)
        return cls(given)  # type: ignore[arg-type]


def _is_target(text: str) -> bool:
    if text == "tcp":
        return True
    from urllib.parse import urlsplit  # here, as below: most peers check no URL

    try:
        url = urlsplit(text)
        clean = text.isascii() and text.isprintable() and " " not in text
        return clean and url.scheme in FAMILIAR and bool(url.hostname) and url.port != 0
    except ValueError:  # a port out of range, an odd bracket
        return False


def _shown(value: object) -> str:
    return repr(value)[:REASON_MAX]


# running them ---------------------------------------------------------------------------------------------------------


class Watched:
    """One instance under a check, and how it stands. Touched by the scheduler alone, but for `outcome`."""

    def __init__(self, instance: Instance, check: Check, judge: Callable[[bool, str], bool]) -> None:
        self.instance, self.check, self.judge = instance, check, judge
        self.due = 0.0
        self.deadline = math.inf  # of the one under way; inf while there is none, or it was judged already
        self.outcome: list[str | None] | None = None  # filled by its thread: what is wrong, None if nothing
        self.row = 0  # passes in a row, or failures as a negative number
        self.critical = False
        self.untold = ""  # the reason of a change that the peer was too busy to hear


class Checks:
    """All checks of one peer. `add` starts the thread, `stop` ends it; neither waits. Any thread may call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._watched: list[Watched] = []
        self._gate = native.lock()
        self._woken = native.lock()  # held while there is nothing to do: a latch that needs no hub of gevent's
        self._woken.acquire()
        self._stopped = False
        self._started = False
        self._not_run = 0  # for want of a thread, since that was last told
        self._hushed_until = -math.inf

    def add(self, instance: Instance, check: Check, judge: Callable[[bool, str], bool]) -> None:
        """From now on `judge(critical, reason)` is told of each change; False from it ends the check."""
        watched = Watched(instance, check, judge)
        watched.due = time.monotonic() + min(check.interval, 1.0) * 0.1
        with self._gate:
            self._watched.append(watched)
            start, self._started = not self._started and not self._stopped, True
        try:
            if start:
                native.thread(f"gossip-{self._name}-checks", self._run).start()
        except RuntimeError as error:  # no thread to be had
            self._started = False
            logger.warning("! %s: health checks do not run: %s", self._name, error)
        self._wake()

    def stop(self) -> None:
        """No more checks; those under way are not waited for."""
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # woken already
            self._woken.release()

    def _run(self) -> None:
        while not self._stopped:
            now = time.monotonic()
            with self._gate:
                all_of_them = list(self._watched)
            for watched in all_of_them:
                self._look(watched, now)
            with self._gate:
                if not self._watched:
                    self._started = False
                    return
                next_due = min(min(one.due, one.deadline) for one in self._watched)
            self._woken.acquire(True, min(max(next_due - time.monotonic(), 0.001), 60.0))

    def _look(self, watched: Watched, now: float) -> None:
        outcome = watched.outcome
        if outcome:
            watched.outcome = None
            if watched.deadline < math.inf:  # else it was judged when its time was over
                watched.deadline = math.inf
                self._count(watched, outcome[0])
        elif now >= watched.deadline:
            watched.deadline = math.inf
            self._count(watched, f"no answer within {watched.check.timeout:g} s")
        if now >= watched.due:
            watched.due = now + watched.check.interval
            if watched.outcome is None:
                self._begin(watched, now)
            elif watched.deadline == math.inf:
                self._count(watched, "the check of before still hangs")
        if watched.untold:
            self._tell(watched, watched.untold)

    def _begin(self, watched: Watched, now: float) -> None:
        outcome: list[str | None] = []
        watched.outcome, watched.deadline = outcome, now + watched.check.timeout

        def run() -> None:
            outcome.append(_tried(watched.instance, watched.check))
            self._wake()

        try:
            native.thread(f"gossip-{self._name}-check", run).start()
        except RuntimeError as error:  # no thread to be had: nothing was found out
            watched.outcome, watched.deadline = None, math.inf
            self._could_not_run(error, now)

    def _could_not_run(self, error: RuntimeError, now: float) -> None:
        self._not_run += 1
        if now >= self._hushed_until:
            logger.warning("! %s: %d health checks could not run: %s", self._name, self._not_run, error)
            self._not_run, self._hushed_until = 0, now + HUSH_S

    def _count(self, watched: Watched, wrong: str | None) -> None:
        check = watched.check
        watched.row = max(watched.row, 0) + 1 if wrong is None else min(watched.row, 0) - 1
        if wrong is not None and not watched.critical and -watched.row >= check.fail_after:
            watched.critical = True
            self._tell(watched, f"its health check failed {-watched.row} times: {wrong[:REASON_MAX]}")
        elif wrong is None and watched.critical and watched.row >= check.pass_after:
            watched.critical = False
            self._tell(watched, f"its health check passed {watched.row} times")
        elif not watched.judge(watched.critical, ""):  # only whether it is still there
            self._forget(watched)

    def _tell(self, watched: Watched, reason: str) -> None:
        watched.untold = reason
        with suppress(GossipError):  # too busy: again, soon
            still_there = watched.judge(watched.critical, reason)
            watched.untold = ""
            if not still_there:
                self._forget(watched)

    def _forget(self, watched: Watched) -> None:
        with self._gate:
            if watched in self._watched:
                self._watched.remove(watched)


# the three kinds ------------------------------------------------------------------------------------------------------


def _tried(instance: Instance, check: Check) -> str | None:
    """What is wrong; None if nothing. Blocks; never raises."""
    target = check.target
    try:
        if callable(target):
            return "it returned False" if target() is False else None
        if target == "tcp":
            native.dial(instance.host, instance.port, check.timeout).close()
            return None
        return _asked(target, check.timeout)
    except BaseException as error:  # noqa: BLE001 - a user's callable may raise anything, and harms nobody
        return _said(error)


def _said(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a user's own error
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _asked(url: str, timeout: float) -> str | None:
    import http.client
    import ssl
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    sock: Any = native.dial(host, port, timeout)
    try:
        if secure:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.sock = sock
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": join_address(host, port), "User-Agent": "gossip-check", "Connection": "close"}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read(BODY_READ_MAX)
        return None if 200 <= answer.status < 300 else f"it answered {answer.status}"
    finally:
        sock.close()
