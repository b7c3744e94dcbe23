"""`gossip run`: one peer in the foreground, with or without a service, until Ctrl-C or SIGTERM; its events on stdout.

Nothing is printed before the peer is bound and the service registered; the first line then says who it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import Event, Instance, Member, Peer, Watch

DESCRIPTION = """\
Run a peer in the foreground: join, register the service if one is named, and
print what happens, one event a line. Ctrl-C or SIGTERM: leave gracefully.
Peers of one machine find each other without any option.
"""
EXAMPLES = """\
examples:
  gossip run orders --port 8080 --route /orders --weight 2 --label version=2
  gossip run --name watcher -o json | jq -r 'select(.kind == "REMOVED").reason'
"""
OF_A_SERVICE = "port host instance_id weight label route ttl".split()


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `run` to the commands of `gossip`."""
    parser = commands.add_parser(
        "run",
        help="a peer in the foreground",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run, usage_error=parser.error)
    parser.add_argument("-o", dest="output", choices=("text", "json"), default="text", help="form of the lines (default: text)")
    parser.add_argument("--verbose", action="store_true", help="log to stderr")
    _add_peer(parser.add_argument_group("the peer"))
    _add_service(parser.add_argument_group("the service"))


def _add_peer(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--name", help="for people (default: the host name)")
    group.add_argument("--id", help="fixed identity (default: the name and a random part)")
    group.add_argument("--cluster", default="default", help="peers of other clusters are ignored (default: %(default)s)")
    group.add_argument("--bind", metavar="HOST:PORT", help="the contact; the publisher takes the next port (default: loopback)")
    group.add_argument("--advertise", metavar="HOST[:PORT]", help="what others dial, where that differs")
    whom = group.add_mutually_exclusive_group()
    whom.add_argument("--seed", action="append", metavar="HOST:PORT", help="a peer that may already run; repeatable")
    whom.add_argument("--alone", action="store_true", help="look for nobody")
    group.add_argument("--zone", default="", help="for choices of what is near")
    group.add_argument("--insecure", action="store_true", help="allow addresses beyond this machine without a secret")


def _add_service(group: argparse._ArgumentGroup) -> None:
    group.add_argument("service", nargs="?", metavar="SERVICE", help="its name; without it the peer registers nothing")
    group.add_argument("--port", type=int, help="where the service listens")
    group.add_argument("--host", help="default: the host of the peer's address")
    group.add_argument("--instance-id", metavar="ID", help="default: host:port")
    group.add_argument("--weight", type=int, help="its share of the picks, 1 to 100 (default: 1)")
    group.add_argument("--label", action="append", type=_label, metavar="KEY=VALUE", help="repeatable")
    group.add_argument("--route", action="append", metavar="/PATH", help="a path prefix it serves; repeatable")
    group.add_argument("--ttl", type=_seconds, metavar="SECONDS", help="gone after so long; nobody renews it here")


def run(options: argparse.Namespace) -> int:
    """Run the peer until a signal ends it; returns the exit code. Raises `ConfigError`, `RegistrationError`."""
    _check(options)
    with _signals() as stop, _peer(options) as peer:
        instance = _register(peer, options) if options.service else None
        watch = stop.ends(peer.watch(since=0))
        try:
            _print(_started(peer, instance, options.output))
            for event in watch:
                _print(json.dumps(dataclasses.asdict(event)) if options.output == "json" else text_of(event))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit of Python would complain
            return 1
        if not stop.asked:
            print("gossip run: error: the peer has stopped by itself; --verbose tells more", file=sys.stderr)
            return 1
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.service and options.port is None:
        options.usage_error(f"where does {options.service} listen? Say --port")
    if not options.service:
        given = [f"--{name.replace('_', '-')}" for name in OF_A_SERVICE if getattr(options, name) is not None]
        if given:
            options.usage_error(f"{', '.join(given)} without a service: name one, as in `gossip run orders --port 8080`")


def _peer(options: argparse.Namespace) -> Peer:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        peer = Peer(
            options.name,
            id=options.id,
            cluster=options.cluster,
            bind=options.bind,
            advertise=options.advertise,
            seeds=[] if options.alone else options.seed,
            zone=options.zone,
            insecure=options.insecure,
        )
    for warning in told:
        print(f"gossip run: warning: {warning.message}", file=sys.stderr)
    return peer


def _register(peer: Peer, options: argparse.Namespace) -> Instance:
    registration = peer.register(
        options.service,
        port=options.port,
        host=options.host,
        id=options.instance_id,
        weight=1 if options.weight is None else options.weight,
        labels=dict(options.label or ()),
        routes=options.route or (),
        ttl=options.ttl,
    )
    return registration.instance


# stopping -------------------------------------------------------------------------------------------------------------


class Stop:
    """What SIGINT and SIGTERM do: end the watch, now or as soon as there is one."""

    def __init__(self) -> None:
        self.asked = False
        self._watch: Watch | None = None

    def ask(self, *_: object) -> None:
        """The handler of the signals: touches nothing that could be in use."""
        self.asked = True
        if self._watch is not None:
            self._watch.close()

    def ends(self, watch: Watch) -> Watch:
        """From now on a signal ends this watch; so does one that came before."""
        self._watch = watch
        if self.asked:
            watch.close()
        return watch


@contextmanager
def _signals() -> Iterator[Stop]:
    stop = Stop()
    former = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


# printing -------------------------------------------------------------------------------------------------------------


def text_of(event: Event) -> str:
    """One event in one line: the time, the kind, whom it is about, and why."""
    clock = f"{time.strftime('%H:%M:%S', time.localtime(event.at))}.{int(event.at % 1 * 1000):03d}"
    known = event.after or event.before
    about = _instance(known) if isinstance(known, Instance) else _member(known) if isinstance(known, Member) else ""
    reason = f"({event.reason})" if event.reason and about else event.reason
    return " ".join(word for word in (clock, f"{event.kind:<16}", about, reason) if word).rstrip()


def _instance(one: Instance) -> str:
    labels = [f"{key}={value}" for key, value in one.labels.items()]
    marks = [f"weight {one.weight}", *one.routes, *labels, *([str(one.state)] if one.state != "UP" else [])]
    return f"{one.service}/{one.id} at {one.address}, {', '.join(marks)}"


def _member(one: Member) -> str:
    return f"{one.id} at {one.address}"


def _started(peer: Peer, instance: Instance | None, output: str) -> str:
    told: dict[str, Any] = {"id": peer.id, "address": peer.address, "pid": os.getpid()}
    if output == "json":
        return json.dumps({"kind": "started", **told, "instance": None if instance is None else dataclasses.asdict(instance)})
    what = f", {_instance(instance)}" if instance is not None else ""
    return f"started {told['id']} at {told['address']}, pid {told['pid']}{what}"


def _print(line: str) -> None:
    print(line, flush=True)


# arguments ------------------------------------------------------------------------------------------------------------


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
