"""The commands that only ask: each is an observer of the cluster, never a member, and prints what it found.

Exit code 3: nothing was found. Text is for people and pipes (`pick`, `locate` and `route` print bare addresses), JSON for
programs: one document, and for `watch` one a line.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from .. import Config, ConfigError, Event, Instance, NoInstances, Observer, PeerClosed
from .arguments import add_secret_file, label, patience, positive, secrets_of, seeds_of, warnings_on_stderr
from .printing import (
    INSTANCE_COLUMNS,
    MEMBER_COLUMNS,
    closed_pipe_is_no_error,
    json_of,
    line_of,
    put,
    row_of,
    row_of_member,
    table,
)
from .progress import Progress
from .signals import stop_on_signals

NOTHING_FOUND = 3
TIMEOUT_S = 3.0
STRATEGIES = ("round_robin", "random", "uniform", "least_loaded")
# An observer is to show whatever the peers of the cluster were allowed.
LIMITS = replace(Config().limits, instances_max=1 << 20, origin_bytes_max=1 << 28, members_max=1 << 16)

Question = Callable[[Observer, argparse.Namespace], int]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the asking commands to those of `gossip`."""
    _add_members(commands)
    _add_services(commands)
    _add_lookup(commands)
    _add_pick(commands)
    _add_locate(commands)
    _add_route(commands)
    _add_watch(commands)
    _add_why(commands)


def asking_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, ask: Question, what: str, *examples: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.\nAsks one peer of the cluster, and is no member of it.",
        epilog="\n  ".join(["examples:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=lambda options: _ask(ask, options), usage_error=parser.error)
    add = parser.add_argument
    add("-o", dest="output", choices=("text", "json"), default="text", help="form of what is printed (default: text)")
    add(
        "--seeds",
        action="append",
        metavar="SEED",
        help="peers to ask, host:port; repeatable, or apart by commas (default: GOSSIP_SEEDS, else this machine's common ports)",
    )
    add("--cluster", help="whose peers to ask (default: GOSSIP_CLUSTER, else default)")
    add_secret_file(parser)
    add("--insecure", action=argparse.BooleanOptionalAction, help="allow seeds beyond this machine without a secret")
    add("--timeout", type=patience, default=TIMEOUT_S, metavar="SECONDS", help="wait so long for an answer (default: 3)")
    add("--verbose", action="store_true", help="log to stderr")
    return parser


def _ask(ask: Question, options: argparse.Namespace) -> int:
    """Observe, wait for a view, ask. Raises `GossipError`; returns the exit code."""
    with stop_on_signals() as stop, _observer(options) as observer, closed_pipe_is_no_error():
        options.stop = stop
        try:
            with stop.interrupts(), Progress(options.name_of_command) as progress:
                progress("waiting for a peer that answers")
                observer.wait_synced(options.timeout)
            return ask(observer, options)
        except NoInstances as error:
            return _nothing(options, str(error))
        except KeyboardInterrupt:
            print(f"gossip {options.name_of_command}: error: interrupted", file=sys.stderr)
            return 1


def _observer(options: argparse.Namespace) -> Observer:
    given = {name: value for name in ("cluster", "insecure") if (value := getattr(options, name)) is not None}
    given |= secrets_of(options) | seeds_of(options)
    near = getattr(options, "near", None)
    if near is not None:
        given["zone"] = near
    try:
        with warnings_on_stderr(options.name_of_command):
            return Observer.from_env(config=Config(limits=LIMITS), **given)
    except ConfigError as error:
        if near is not None and str(error).startswith("zone="):
            options.usage_error(str(error).replace("another zone=", "another --near").replace("zone=", "--near "))
        raise


def _nothing(options: argparse.Namespace, why: str) -> int:
    if options.output == "json":
        put("[]" if options.name_of_command not in ("pick", "route") else "null")
    print(f"gossip {options.name_of_command}: {why}", file=sys.stderr)
    return NOTHING_FOUND


# members, services ----------------------------------------------------------------------------------------------------


def _add_members(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = asking_command(
        commands,
        "members",
        _members,
        "the peers of the cluster",
        "gossip members",
        "gossip members --seeds 127.0.0.1:7400 -o json | jq -r '.[].id'",
    )
    parser.add_argument("--all", action="store_true", help="those too whose end was seen while asking")


def _members(observer: Observer, options: argparse.Namespace) -> int:
    found = observer.members(include_dead=options.all)
    put(json_of(found) if options.output == "json" else table(MEMBER_COLUMNS, map(row_of_member, found)))
    return 0


def _add_services(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    what = "the services and how many instances are up"
    asking_command(commands, "services", _services, what, "gossip services", "gossip services -o json")


def _services(observer: Observer, options: argparse.Namespace) -> int:
    found = {name: observer.lookup(name, include_draining=True) for name in observer.services()}
    if not found:
        return _nothing(options, f"no service is registered in this cluster of {len(observer.members())} peers")
    rows = [(name, len(known), len(observer.lookup(name))) for name, known in found.items()]
    if options.output == "json":
        put(json.dumps([{"service": name, "instances": known, "up": up} for name, known, up in rows]))
    else:
        put(table(("SERVICE", "INSTANCES", "UP"), [(name, str(known), str(up)) for name, known, up in rows]))
    return 0


# three ways to discover -----------------------------------------------------------------------------------------------


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", action="append", type=label, default=[], metavar="KEY=VALUE", help="must be so; repeatable")
    parser.add_argument("--zone", help="only of this zone")


def _add_lookup(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = asking_command(
        commands,
        "lookup",
        _lookup,
        "all instances of a service",
        "gossip lookup orders",
        "gossip lookup orders --label version=2 -o json | jq -r '.[].host'",
    )
    parser.add_argument("service", metavar="SERVICE")
    _add_filters(parser)
    parser.add_argument("--all", action="store_true", help="draining and critical ones too")


def _lookup(observer: Observer, options: argparse.Namespace) -> int:
    found = observer.lookup(options.service, labels=dict(options.label), zone=options.zone, include_draining=options.all)
    if not found:
        observer.pick(options.service, labels=dict(options.label), zone=options.zone)  # raises, saying what left none
    put(json_of(found) if options.output == "json" else table(INSTANCE_COLUMNS, map(row_of, found)))
    return 0


def _add_choices(parser: argparse.ArgumentParser) -> None:
    _add_filters(parser)
    parser.add_argument("--strategy", choices=STRATEGIES, default="random", help="how to choose (default: random, by weight)")
    parser.add_argument("--near", metavar="ZONE", help="this zone first, if it has one")
    parser.add_argument("--exclude", action="append", default=[], metavar="ID", help="not this instance; repeatable")


def _choice(options: argparse.Namespace) -> dict[str, object]:
    return {
        "strategy": options.strategy,
        "labels": dict(options.label) or None,
        "zone": options.zone,
        "near": options.near is not None,
        "exclude": options.exclude,
    }


def _put_one(found: Instance, options: argparse.Namespace) -> int:
    put(json_of(found) if options.output == "json" else found.address)
    return 0


def _add_pick(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = asking_command(
        commands,
        "pick",
        _pick,
        "the address of one instance of a service, balanced by weight",
        "curl http://$(gossip pick orders)/health",
        "gossip pick orders --near eu-1 --exclude 10.0.0.5:8080",
    )
    parser.add_argument("service", metavar="SERVICE")
    _add_choices(parser)


def _pick(observer: Observer, options: argparse.Namespace) -> int:
    return _put_one(observer.pick(options.service, **_choice(options)), options)  # type: ignore[arg-type]


def _add_route(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = asking_command(
        commands,
        "route",
        _route,
        "the address of one instance that serves a request path",
        "gossip route /orders/42/items",
        "gossip route /orders -o json",
    )
    parser.add_argument("path", metavar="/PATH")
    _add_choices(parser)


def _route(observer: Observer, options: argparse.Namespace) -> int:
    return _put_one(observer.route(options.path, **_choice(options)), options)  # type: ignore[arg-type]


def _add_locate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = asking_command(
        commands,
        "locate",
        _locate,
        "the address of the instance that owns a key on the consistent hash ring",
        "gossip locate sessions user:42",
        "gossip locate sessions user:42 -n 3    the owner and two stand-ins",
    )
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("-n", type=positive, default=1, metavar="N", help="so many of the preference list (default: 1)")


def _locate(observer: Observer, options: argparse.Namespace) -> int:
    found = observer.preference_list(options.service, options.key, options.n)
    if options.output == "json":
        put(json_of(found))
    else:
        for one in found:
            put(one.address)
    return 0


# what happens, and what happened --------------------------------------------------------------------------------------


def _add_watch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = asking_command(
        commands,
        "watch",
        _watch,
        "what happens from now on, one event a line, until Ctrl-C",
        "gossip watch",
        "gossip watch orders --initial -o json",
    )
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="only of this service (default: of all, and of members)")
    parser.add_argument("--initial", action="store_true", help="first what is known now")
    parser.add_argument("--count", type=positive, metavar="N", help="end after so many events")
    parser.add_argument("--seconds", type=patience, metavar="S", help="end after so long")


def _watch(observer: Observer, options: argparse.Namespace) -> int:
    watch = options.stop.ends(observer.watch(options.service, initial=options.initial))
    until = math.inf if options.seconds is None else time.monotonic() + options.seconds
    told = 0
    with suppress(PeerClosed, TimeoutError):  # a signal, or the time is over
        while told != options.count:
            event = watch.get(None if until == math.inf else max(0.0, until - time.monotonic()))
            put(json_of(event) if options.output == "json" else line_of(event))
            told += 1
    return 0


def _add_why(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = asking_command(
        commands,
        "why",
        _why,
        "the last events about a member, instance or service, and their reasons",
        "gossip why orders-1",
        "gossip why 10.0.0.5:8080 --seeds 10.0.0.7:7400 --insecure",
    )
    parser.add_argument("name", metavar="NAME", help="a member's id or name, an instance's id or address, a service")


def _why(observer: Observer, options: argparse.Namespace) -> int:
    with options.stop.interrupts(), Progress("why") as progress:
        progress(f"waiting for what {observer.source or 'a peer'} remembers")
        found: tuple[Event, ...] = observer.why(options.name, timeout=options.timeout)
    if not found:
        return _nothing(options, f"{observer.source} remembers nothing about {options.name!r}. Ask another with --seeds")
    if options.output == "json":
        put(json_of(found))
    else:
        put(f"as {observer.source} remembers it:")
        for event in found:
            put(line_of(event))
    return 0
