"""A consumer: finds providers in its own memory, calls them over HTTP, and loses no request when one of them dies.

    python nodes/consumer.py orders --rate 50
    python nodes/consumer.py --by route --path /orders/42
    python nodes/consumer.py sessions --by hash --keys 100

`call` is the whole art, and meant to be copied: the catalogue may name an instance that died a moment ago, so whoever
calls tries another one, says what it saw, and gives up in bounded time.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gossip import GossipError, Instance, Lookups, NoInstances, Peer
from nodes.options import add_peer, count, peer_of, rate, seconds
from nodes.report import Report

TRIES = 5  # of one request
DEADLINE_S = 5.0  # of one request, all its tries together
TRY_S = 1.0  # a hung instance costs so much, then another is asked
PAUSE_S = 0.05  # while there is nobody to ask; doubles up to
PAUSE_MAX_S = 0.5
TICK_S = 0.1  # how soon an end is noticed
SUMMARY_S = 1.0

Choose = Callable[[Sequence[Instance]], Instance]  # an instance that is none of these; raises NoInstances
Send = Callable[[Instance, float], bytes]  # the answer, within so many seconds; raises NotNow or one of UNREACHABLE


class NotNow(Exception):
    """An instance was reached and answered 503: not this one, not now."""


class Unanswered(Exception):
    """No instance answered in time; `failed` tells which were asked."""

    def __init__(self, message: str, failed: Sequence[Instance]) -> None:
        super().__init__(message)
        self.failed = tuple(failed)


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back, from whom, and who had failed before."""

    body: bytes
    instance: Instance
    failed: tuple[Instance, ...]


UNREACHABLE = (OSError, HTTPException)  # refused, reset, silent for too long; cut off half way


def call(
    peer: Lookups, choose: Choose, send: Send, *, tries: int = TRIES, try_s: float = TRY_S, deadline_s: float = DEADLINE_S
) -> Answered:
    """Send one request, and send it to another instance when one fails. Raises `Unanswered`.

    Only for requests that may arrive twice: one that was cut off may have been carried out all the same.
    """
    deadline = time.monotonic() + deadline_s
    failed: list[Instance] = []
    avoided: list[Instance] = []
    reason: Exception = TimeoutError("there was no time to ask")
    pause_s = PAUSE_S
    while len(failed) < tries and (left_s := deadline - time.monotonic()) > 0:
        try:
            instance = choose(avoided)
        except NoInstances as error:  # there is none, or each has failed: one may come, or come back
            reason, avoided = (reason if failed else error), []
            time.sleep(min(left_s, pause_s * random.uniform(0.5, 1.0)))  # at random, or all callers come back at once
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
            continue
        try:
            with peer.calling(instance):  # for the strategy "least_loaded"
                return Answered(send(instance, min(try_s, left_s)), instance, tuple(failed))
        except UNREACHABLE as error:
            peer.report_failure(instance)  # this process's other requests avoid it for a while, and its peer is pinged
            reason = error
        except NotNow as error:  # it lives: the others may ask it
            reason = error
        failed.append(instance)
        avoided.append(instance)
    asked = ", ".join(one.id for one in failed) or "nobody"
    raise Unanswered(f"asked {asked}; {type(reason).__name__}: {reason}", failed) from reason


# three ways to choose -------------------------------------------------------------------------------------------------


def by_cache(peer: Lookups, service: str) -> Choose:
    """Any instance of the service, load balanced."""
    return lambda avoided: peer.pick(service, exclude=avoided)


def by_route(peer: Lookups, path: str) -> Choose:
    """Any instance of whatever serves the path, load balanced."""
    return lambda avoided: peer.route(path, exclude=avoided)


def by_hash(peer: Lookups, service: str, key: str) -> Choose:
    """The owner of the key; if it fails, the next on the ring."""

    def choose(avoided: Sequence[Instance]) -> Instance:
        avoided_keys = {one.key for one in avoided}
        for instance in peer.preference_list(service, key, len(avoided) + 1):
            if instance.key not in avoided_keys:
                return instance
        raise NoInstances(f"each of the {len(avoided)} instances of {service!r} on the ring has failed")

    return choose


def get(path: str) -> Send:
    """A request GET `path`. Any status but 503 is an answer; `timeout` bounds each wait for the network, not their sum."""

    def send(instance: Instance, timeout: float) -> bytes:
        connection = HTTPConnection(instance.host, instance.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status == 503:
            raise NotNow(f"{instance.id} answered 503")
        return body

    return send


# the command line -----------------------------------------------------------------------------------------------------


class Pace:
    """Numbers the requests of all callers, each when it is due. Any thread."""

    def __init__(self, requests: int | None, seconds: float | None, rate: float | None) -> None:
        self._numbers = itertools.count() if requests is None else iter(range(requests))
        self._began = time.monotonic()
        self._end = self._began + seconds if seconds is not None else float("inf")
        self._rate = rate
        self._over = False

    def end(self) -> None:
        """No more requests. Touches nothing that a signal could have interrupted."""
        self._over = True

    def next(self) -> int | None:
        """The number of the next request, once it is due; None when there are no more."""
        number = next(self._numbers, None)
        due = self._began if number is None or self._rate is None else self._began + number / self._rate
        while not self._over and (left_s := min(due, self._end) - time.monotonic()) > 0:
            time.sleep(min(left_s, TICK_S))
        return None if self._over or time.monotonic() >= self._end else number


class Consumer:
    """So many callers at once, each in a thread, until the pace says that it is over."""

    def __init__(self, options: argparse.Namespace, peer: Peer, pace: Pace) -> None:
        self._options = options
        self._peer = peer
        self._pace = pace
        self._report = Report(options.output, options.each)

    def run(self) -> int:
        """Call until it is over; returns how many requests nobody answered."""
        callers = [threading.Thread(target=self._call_on, name=f"caller-{n}") for n in range(self._options.callers)]
        for caller in callers:
            caller.start()
        shown_t = time.monotonic()
        while any(caller.is_alive() for caller in callers):
            time.sleep(TICK_S)
            if not self._options.each and time.monotonic() - shown_t >= SUMMARY_S:
                shown_t = time.monotonic()
                self._report.summary("summary")
        self._report.summary("total")
        return self._report.unanswered

    def _call_on(self) -> None:
        while (number := self._pace.next()) is not None:
            key = f"key-{number % self._options.keys}" if self._options.by == "hash" else None
            began = time.monotonic()
            try:
                outcome: Answered | Unanswered = self._call(key)
            except Unanswered as error:
                outcome = error
            instance = outcome.instance.id if isinstance(outcome, Answered) else None
            reason = str(outcome) if isinstance(outcome, Unanswered) else None
            self._report.add(number, key, instance, [one.id for one in outcome.failed], time.monotonic() - began, reason)

    def _call(self, key: str | None) -> Answered:
        return call(self._peer, self._chooser(key), get(self._options.path), try_s=self._options.timeout)

    def _chooser(self, key: str | None) -> Choose:
        if key is not None:
            return by_hash(self._peer, self._options.service, key)
        if self._options.by == "route":
            return by_route(self._peer, self._options.path)
        return by_cache(self._peer, self._options.service)


def run(options: argparse.Namespace) -> int:
    """Find the service, call it, and tell; returns the exit code. Raises `GossipError`, `TimeoutError`."""
    with peer_of(options) as peer:
        peer.wait_synced(options.wait)
        if options.service:
            peer.wait_for(options.service, options.at_least, options.wait)
        pace = Pace(options.requests, options.seconds, options.rate)
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: pace.end())
        return 1 if Consumer(options, peer, pace).run() else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nodes/consumer.py",
        description="Call a service again and again, over HTTP, and tell who answered. A request that fails is sent to another\n"
        "instance. Exit code 0: every request was answered in the end; 1: one was not, or the service was not found.",
        epilog="examples:\n"
        "  python nodes/consumer.py orders --rate 50\n"
        "  python nodes/consumer.py --by route --path /orders/42 --requests 20 --each\n"
        "  python nodes/consumer.py sessions --by hash --keys 100 --seconds 10 -o json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("service", nargs="?", metavar="SERVICE", help="its name; not for --by route")
    add("--by", choices=("cache", "route", "hash"), default="cache", help="how an instance is chosen (default: %(default)s)")
    add("--path", default="/", help="what is asked for, and what --by route goes by (default: %(default)s)")
    add("--keys", type=count, default=100, metavar="N", help="--by hash: so many keys in turn (default: %(default)s)")
    add("--rate", type=rate, metavar="N", help="so many requests a second (default: as fast as it can)")
    add("--callers", type=count, default=4, metavar="N", help="so many requests at once (default: %(default)s)")
    add("--requests", type=count, metavar="N", help="stop after so many")
    add("--seconds", type=seconds, metavar="S", help="stop after so long; without either, at Ctrl-C or SIGTERM")
    add("--timeout", type=seconds, default=TRY_S, metavar="S", help="of one try (default: %(default)s)")
    add("--wait", type=seconds, default=10.0, metavar="S", help="for the service to be there, at first (default: %(default)s)")
    add("--at-least", type=count, default=1, metavar="N", help="instances that must be there (default: %(default)s)")
    add("--each", action="store_true", help="a line per request, not a summary per second")
    add("-o", dest="output", choices=("text", "json"), default="text", help="form of the lines (default: text)")
    add_peer(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if not options.path.startswith("/") or not options.path.isascii() or not options.path.isprintable() or " " in options.path:
        parser.error(f"--path {options.path!r} is no path such as /orders/42")
    if options.by == "route" and (options.service or options.at_least > 1):
        parser.error("--by route goes by --path: leave the service and --at-least out")
    if options.by != "route" and not options.service:
        parser.error("whom to call? Name a service, or say --by route --path /PATH")
    try:
        return run(options)
    except (GossipError, TimeoutError) as error:
        print(f"nodes/consumer.py: error: {error}", file=sys.stderr)
    except KeyboardInterrupt:  # while it looked for the service
        print("nodes/consumer.py: interrupted before the first request", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
