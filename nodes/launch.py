"""A cluster of real processes on this machine: start them, watch over them, show what they see, and leave none behind.

    python nodes/launch.py --peers 5 --service orders:3 --service payments:2 --route orders=/orders
    python nodes/launch.py nodes/example.toml

Invariant: a process lives no longer than its `Launcher`. Each is ended by its own pid when the launcher is closed, and
ends by itself when the pipe to its stdin breaks, which the kernel sees to even if the launcher is killed.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gossip import ConfigError, read_secrets
from nodes.options import seconds
from nodes.plan import AGREE_S, PEERS_MAX, SEED_MODES, Plan, PlanError, from_file, from_flags
from nodes.process import Answer, Told, Worker, WorkerEnded, WorkerError, ask_all, signals_held, until

__all__ = ["Answer", "Launcher", "Told", "Worker", "WorkerEnded", "WorkerError", "ask_all", "describe", "interruptible", "until"]

LEAVE_S = 5.0  # then SIGKILL
SEEDS_TOLD = 3  # a newcomer is told so many of those that run
RESTART_PAUSE_S = 1.0
COLOURS = 36, 33, 35, 32, 34, 31  # of the peers' names, in turn
GREY, RED = 90, 31


class Launcher:
    """Owns peer processes; a context manager that ends every one of them.

    `seeds=True`: each is told the addresses of some that run already. False: nothing, they find each other by the
    fixed port of this machine. `cluster`, `prefix`, `on_event`, `on_end` hold for all workers, `peer` for all peers.
    """

    def __init__(
        self,
        cluster: str = "default",
        *,
        seeds: bool = True,
        prefix: Sequence[str] = (),
        on_event: Callable[[Worker, Told], None] | None = None,
        on_end: Callable[[Worker], None] | None = None,
        **peer: Any,
    ) -> None:
        self.cluster = cluster
        self.workers: list[Worker] = []  # all there ever were
        self._seeds = seeds
        self._prefix = tuple(prefix)
        self._on_event = on_event
        self._on_end = on_end
        self._peer = peer

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> list[Worker]:
        """The workers whose process runs, in the order of their start."""
        return [worker for worker in self.workers if not worker.ended]

    def load(self, name: str) -> Worker:
        """A new process that has started no peer yet. It comes up in the background."""
        with signals_held():
            worker = Worker(name, prefix=self._prefix, on_event=self._on_event, on_end=self._on_end)
            self.workers.append(worker)
        return worker

    def peer(self, name: str, **peer: Any) -> Worker:
        """A new process with a peer that is bound; the arguments are those of `Peer`."""
        return self.peers([name], **peer)[0]

    def peers(self, names: Sequence[str], each: Mapping[str, Told] | None = None, **peer: Any) -> list[Worker]:
        """Several at once; `each`: what holds for one alone, by its name.

        With seeds, the first ever starts alone and the others are told of it.
        """
        own = {name: {**peer, **(each or {}).get(name, {})} for name in names}
        workers = [self.load(name) for name in names]
        waiting = list(workers)
        if self._seeds and "seeds" not in own[names[0]] and not self._contacts():
            first = waiting.pop(0)
            first.started(self.ask_start(first, **own[first.name], seeds=[]))
        for worker in waiting:
            worker.wait_loaded()
        answers = [self.ask_start(worker, **own[worker.name]) for worker in waiting]  # at the same instant, as nearly as can be
        for worker, answer in zip(waiting, answers, strict=True):
            worker.started(answer)
        return workers

    def ask_start(self, worker: Worker, **peer: Any) -> Answer:
        """Tell a loaded worker to start its peer, and do not wait: see `Worker.started`."""
        defaults: dict[str, Any] = {"name": worker.name, "cluster": self.cluster, **self._peer}
        if self._seeds:
            defaults["seeds"] = self._contacts()
        return worker.ask("start", **{**defaults, **peer})

    def _contacts(self) -> list[str]:
        return [worker.address for worker in self.running if worker.address][:SEEDS_TOLD]

    def agree(self, workers: Sequence[Worker], instances: Mapping[str, int], timeout: float, *, others: bool = False) -> Told:
        """Wait until these workers see exactly each other and so many instances of each service; returns that view.

        `others`: members and instances that are not ours may be there too, such as a gateway in another terminal.
        """
        members = sorted(worker.id for worker in workers)

        def seen() -> str | None:
            views = ask_all(workers, "view")
            for worker, view in zip(workers, views, strict=True):
                counts = {service: len(ids) for service, ids in view["instances"].items()}
                present = [id_ for id_ in view["members"] if id_ in members] if others else view["members"]
                if present != members:
                    return f"{worker.name} sees the members {view['members']}, not {members}"
                enough = all(counts.get(service, 0) >= count for service, count in instances.items())
                if not enough if others else counts != dict(instances):
                    return f"{worker.name} sees the instances {counts}, not {dict(instances)}"
            return None if all(view == views[0] for view in views) else "the views name different instances"

        difference: list[str | None] = [None]

        def agreed() -> bool:
            difference[0] = seen()
            return difference[0] is None

        until(agreed, timeout, lambda: f"equal views: {difference[0]}")
        view: Told = workers[0].call("view")
        return view

    def close(self) -> None:
        """End every process: first each is asked to leave, then what is left is killed. Some seconds at most."""
        with signals_held():
            for worker in self.running:
                worker.expected_to_end = True
                worker.cont()  # a stopped one could not leave
                worker.close_input()
            self._await_ends()
            for worker in self.running:
                worker.kill9()
            self._await_ends()

    def _await_ends(self) -> None:
        deadline = time.monotonic() + LEAVE_S
        for worker in self.workers:
            with suppress(TimeoutError):
                worker.wait(max(0.0, deadline - time.monotonic()))


# the command line -----------------------------------------------------------------------------------------------------


class Screen:
    """Lines of several peers on one stdout: each with the time and the peer's name, whole, in the order of arrival."""

    def __init__(self, names: Sequence[str]) -> None:
        self._width = max(map(len, [*names, "launch"]))
        self._colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()  # every peer has a thread that reads what it says
        self._closed = False

    def line(self, name: str, text: str, colour: int | None = None) -> None:
        """Write one line. When nobody reads any more, the process is interrupted as by Ctrl-C."""
        now = time.time()
        clock = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now % 1 * 1000):03d}"
        who = self._painted(f"{name:<{self._width}}", self._colours.get(name))
        with self._lock:
            if self._closed:
                return
            try:
                print(f"{self._painted(clock, GREY)} {who} {self._painted(text, colour)}", flush=True)
            except BrokenPipeError:
                self._closed = True
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit of Python would complain
                os.kill(os.getpid(), signal.SIGTERM)

    def _painted(self, text: str, colour: int | None) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text


class Cluster:
    """What the command line runs: a launcher, the parts its peers play, and a screen. The main thread supervises."""

    def __init__(self, plan: Plan, secrets: Sequence[str] | None = None) -> None:
        self._plan = plan
        self._parts = {part.name: part for part in plan.parts}
        self._restarts_t: dict[str, float] = {}  # when those that died are due
        self._screen = Screen(list(self._parts))
        self._over: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._stopping = False
        self._events = 0
        self._died = 0
        self._restarted = 0
        self._began = time.monotonic()
        peer = {} if secrets is None else {"secret": secrets}
        seeds = plan.seed_mode == "seeds"
        self._launcher = Launcher(plan.cluster, seeds=seeds, on_event=self._on_event, on_end=self._over.put, **peer)

    def run(self) -> int:
        """Start everything, supervise until told to stop, end everything. Returns the exit code."""
        failure = ""
        try:
            with self._launcher:
                try:
                    self._start()
                    self._supervise()
                finally:
                    self._stopping = True  # that all of them leave is no news
        except (WorkerError, TimeoutError) as error:
            failure = str(error)
        except KeyboardInterrupt:
            pass
        left = [worker for worker in self._launcher.workers if not worker.ended]
        took = f"{len(self._parts)} peers for {time.monotonic() - self._began:.1f} s: {self._events} events"
        ends = f"{self._died} ended before, {self._restarted} restarted, {len(left)} left running"
        self._say(f"{'failed: ' + failure + '; ' if failure else ''}{took}, {ends}.", RED if failure or left else None)
        return 1 if failure or left else 0

    def _start(self) -> None:
        own = {name: part.peer for name, part in self._parts.items()}
        for worker in self._launcher.peers(list(self._parts), own):
            self._register(worker)
        counts = self._plan.counts
        try:
            self._launcher.agree(self._launcher.running, counts, self._plan.agree_within, others=True)
        except TimeoutError as error:
            raise TimeoutError(f"{error}. Allow more with --agree-within, or start fewer peers") from None
        except WorkerEnded as error:  # killed while the others were looking: they live on, and its end is told next
            self._say(f"not all see all: {error}", RED)
            return
        told = ", ".join(f"{service} ×{count}" for service, count in counts.items()) or "no services"
        pids = ", ".join(f"{worker.name} {worker.pid}" for worker in self._launcher.running)
        self._say(f"all see all after {time.monotonic() - self._began:.2f} s: {told}. Processes: {pids}")

    def _register(self, worker: Worker) -> None:
        self._say(f"{worker.name} is up: pid {worker.pid}, {worker.address}")
        part = self._parts[worker.name]
        for told in part.instances:
            instance = worker.call("serve" if part.serve else "register", **told)
            if part.serve:
                self._say(f"{worker.name} serves {instance['service']} at http://{instance['host']}:{instance['port']}")

    def _supervise(self) -> None:
        """Until Ctrl-C, the end of `--seconds`, or the death of the last one."""
        until_t = float("inf") if self._plan.seconds is None else time.monotonic() + self._plan.seconds
        while True:
            due = self._restarts_t.values()
            if not due and not self._launcher.running and self._over.empty():
                raise WorkerEnded("launch", "WorkerEnded", "no peer is left")
            wake_t = min([until_t, *due])
            try:
                self._bury(self._over.get(timeout=None if wake_t == float("inf") else max(0.0, wake_t - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= until_t:
                    return
                self._restart_due()

    def _bury(self, worker: Worker) -> None:
        self._died += 1
        self._say(f"{worker.name} (pid {worker.pid}) {'died' if worker.code else 'ended'}: {worker.ending}", RED)
        if self._plan.restart:
            self._restarts_t[worker.name] = time.monotonic() + RESTART_PAUSE_S

    def _restart_due(self) -> None:
        for name, due_t in tuple(self._restarts_t.items()):
            if due_t <= time.monotonic():
                del self._restarts_t[name]
                self._restarted += 1
                self._register(self._launcher.peer(name, **self._parts[name].peer))

    def _on_event(self, worker: Worker, told: Told) -> None:
        if self._stopping:
            return
        self._events += 1
        if not self._plan.quiet:
            self._screen.line(worker.name, describe(told["event"]))

    def _say(self, text: str, colour: int | None = None) -> None:
        self._screen.line("launch", text, colour)


def describe(event: Told) -> str:
    """One event in one line."""
    known = event["after"] or event["before"]
    if known is None:
        return f"{event['kind']:<16} {event['reason']}"
    if "service" in known:
        what = f"{known['service']}/{known['id']}"
        marks = [f"weight {known['weight']}" if known["weight"] != 1 else "", *known["routes"], known["state"].lower()]
        about = " ".join(mark for mark in marks if mark and mark != "up")
    else:
        what, about = known["name"], ""
    reason = f"({event['reason']})" if event["reason"] else ""
    return " ".join(word for word in (f"{event['kind']:<16}", what, about, reason) if word)


def interruptible() -> None:
    """From now on SIGTERM interrupts the main thread as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _service(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"([A-Za-z0-9._-]{1,128}):([0-9]{1,4})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:COUNT, such as orders:3")
    return found[1], int(found[2])


def _route(text: str) -> tuple[str, str]:
    service, _, route = text.partition("=")
    if not service or not route.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=/PATH, such as orders=/orders")
    return service, route


def _peers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= PEERS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {PEERS_MAX}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nodes/launch.py",
        description="Start a cluster of real peer processes on this machine, and show what each of them sees. "
        "Ctrl-C or SIGTERM ends them all.",
        epilog="examples:\n"
        "  python nodes/launch.py --peers 5 --service orders:3 --service payments:2 --route orders=/orders\n"
        "  python nodes/launch.py --peers 10 --service orders:10 --seconds 30 --restart --quiet\n"
        "  python nodes/launch.py nodes/example.toml --no-restart",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    toggle = argparse.BooleanOptionalAction
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE", help="a TOML file that describes the cluster; nodes/example.toml shows how")
    what = parser.add_argument_group("what to start, without a file").add_argument
    what("--peers", type=_peers, metavar="N", help="how many processes (default: 5)")
    what("--service", type=_service, action="append", default=[], metavar="NAME:COUNT", help="instances, spread over the peers")
    what("--route", type=_route, action="append", default=[], metavar="NAME=/PATH", help="a route that the service serves")
    how = parser.add_argument_group("how; these override the file").add_argument
    how("--cluster", help="peers of other clusters are ignored (default: default)")
    how("--seed-mode", choices=SEED_MODES, help="zero configuration, or addresses told to each (default: zero)")
    how("--secret-file", metavar="FILE", help="the cluster's secret; without it, it is open to all on this machine")
    how("--seconds", type=seconds, metavar="S", help="stop after so long; without it, at Ctrl-C")
    within = f"end all, and fail, if not all see all by then (default: {AGREE_S:g})"
    how("--agree-within", type=seconds, metavar="S", help=within)
    how("--restart", action=toggle, help="start a peer that died anew, a second later")
    how("--quiet", action=toggle, help="do not show the peers' events")
    return parser


def _plan(options: argparse.Namespace, usage_error: Callable[[str], NoReturn]) -> Plan:
    """What the command line asks for. Raises `PlanError`, or ends the process as a usage error does."""
    if options.file is not None and (options.peers or options.service or options.route):
        usage_error(f"{options.file} says what to start: leave --peers, --service and --route out, or the file")
    if len({name for name, _ in options.service}) < len(options.service):
        usage_error("a service was given twice: say --service NAME:COUNT once for each name")
    if unknown := {name for name, _ in options.route} - {name for name, _ in options.service}:
        usage_error(f"--route of a service that is not started: {', '.join(sorted(unknown))}")
    flags = {name: getattr(options, name) for name in ("cluster", "seed_mode", "seconds", "agree_within", "restart", "quiet")}
    plan = from_file(options.file) if options.file is not None else from_flags(options.peers or 5, options.service, options.route)
    return plan.but(**flags)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    try:
        options = parser.parse_args(argv)
        plan = _plan(options, parser.error)
        secrets = None if options.secret_file is None else read_secrets(options.secret_file)
    except (ConfigError, PlanError) as error:
        print(f"nodes/launch.py: error: {error}", file=sys.stderr)
        return 1
    interruptible()
    try:
        return Cluster(plan, secrets).run()
    except KeyboardInterrupt:
        return 0  # a second one, at the very end


if __name__ == "__main__":
    sys.exit(main())
