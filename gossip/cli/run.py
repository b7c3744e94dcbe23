"""`gossip run`: one peer in the foreground, with or without a service, until Ctrl-C or SIGTERM; its events on stdout.

Nothing is printed before the peer is bound and the service registered; the first line then says who it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import signal
import sys
import threading
from typing import Any

from .. import ConfigError, GossipError, Instance, Peer, PeerClosed, RegistrationError, read_secrets
from .arguments import add_secret_file, add_signing, in_flags, label, seconds, secrets_of, seeds_of, warnings_on_stderr
from .printing import closed_pipe_is_no_error, instance_in_words, json_of, line_of, put
from .signals import stop_on_signals

DESCRIPTION = """\
Run a peer in the foreground: join, register the service if one is named, and
print what happens, one event a line. Ctrl-C or SIGTERM: leave gracefully.
Peers of one machine find each other without any option. Where one is missing,
the environment variable of that name counts: GOSSIP_SEEDS, GOSSIP_BIND, ...
SIGHUP: read the secrets and the certificate anew from their files.
"""
EXAMPLES = """\
examples:
  gossip run orders --port 8080 --route /orders --weight 2 --label version=2
  gossip run --name watcher -o json | jq -r 'select(.kind == "REMOVED").reason'
"""
OF_A_PEER = "name id cluster bind advertise zone insecure signing_key signed certificate authority snapshot".split()
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
    group.add_argument("--cluster", help="peers of other clusters are ignored (default: default)")
    group.add_argument("--bind", metavar="HOST:PORT", help="the contact; the publisher takes the next port (default: loopback)")
    group.add_argument("--advertise", metavar="HOST[:PORT]", help="what others dial, where that differs")
    whom = group.add_mutually_exclusive_group()
    whom.add_argument(
        "--seeds",
        "--seed",
        action="append",
        metavar="SEED",
        dest="seeds",
        help="peers that may already run: host:port, dns:name:port, file:path (one a line); repeatable, or apart by commas",
    )
    whom.add_argument("--alone", action="store_const", const=[], dest="seeds", help="look for nobody")
    group.add_argument("--zone", help="for choices of what is near")
    add_secret_file(group)
    add_signing(group)
    allow = "allow addresses beyond this machine without a secret"
    group.add_argument("--insecure", action=argparse.BooleanOptionalAction, help=allow)
    group.add_argument("--snapshot", metavar="FILE", help="remember there what is known, for the next start")


def _add_service(group: argparse._ArgumentGroup) -> None:
    group.add_argument("service", nargs="?", metavar="SERVICE", help="its name; without it the peer registers nothing")
    group.add_argument("--port", type=int, help="where the service listens")
    group.add_argument("--host", help="default: the host of the peer's address")
    group.add_argument("--instance-id", metavar="ID", help="default: host:port")
    group.add_argument("--weight", type=int, help="its share of the picks, 1 to 100 (default: 1)")
    group.add_argument("--label", action="append", type=label, metavar="KEY=VALUE", help="repeatable")
    group.add_argument("--route", action="append", metavar="/PATH", help="a path prefix it serves; repeatable")
    group.add_argument("--ttl", type=seconds, metavar="SECONDS", help="gone after so long; nobody renews it here")


def run(options: argparse.Namespace) -> int:
    """Run the peer until a signal ends it; returns the exit code. Raises `ConfigError`, `RegistrationError`."""
    _check(options)
    made = _peer(options)
    _check_service(made, options)
    with stop_on_signals() as stop, made as peer, closed_pipe_is_no_error():
        instance = _register(peer, options) if options.service else None
        _read_anew_on_hangup(peer, options)
        watch = stop.ends(peer.watch(since=0))
        put(_started(peer, instance, options.output))
        for event in watch:
            put(json_of(event) if options.output == "json" else line_of(event))
        if not stop.asked:
            print("gossip run: error: the peer has stopped by itself; --verbose tells more", file=sys.stderr)
            return 1
    return 0


def _read_anew_on_hangup(peer: Peer, options: argparse.Namespace) -> None:
    """SIGHUP: secrets and certificate are read anew from their files, if there are any, and valid from then on."""
    secrets = options.secret_file or os.environ.get("GOSSIP_SECRET_FILE")
    certificate = options.certificate or os.environ.get("GOSSIP_CERTIFICATE_FILE")
    if not secrets and not certificate:
        return

    def read_anew() -> None:
        try:
            if secrets:
                peer.rotate_secrets(read_secrets(secrets))
        except GossipError as error:
            print(f"gossip run: error: {error} The secrets of before stay valid.", file=sys.stderr, flush=True)
        try:
            if certificate:
                peer.renew_certificate(certificate)
        except GossipError as error:
            print(f"gossip run: error: {error} The certificate of before is shown on.", file=sys.stderr, flush=True)

    if hasattr(signal, "SIGHUP"):  # by a thread: the handler may have interrupted anything
        signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=read_anew, name="read-anew", daemon=True).start())


def _check(options: argparse.Namespace) -> None:
    if options.service and options.port is None:
        options.usage_error(f"where does {options.service} listen? Say --port")
    if not options.service:
        given = [f"--{name.replace('_', '-')}" for name in OF_A_SERVICE if getattr(options, name) is not None]
        if given:
            options.usage_error(f"{', '.join(given)} without a service: name one, as in `gossip run orders --port 8080`")


def _check_service(peer: Peer, options: argparse.Namespace) -> None:
    """What it cannot register ends the command before anybody has seen the peer."""
    if not options.service:
        return
    try:
        _register(peer, options)
    except PeerClosed:  # it does not run yet, which is all that is wrong
        return
    except (ConfigError, RegistrationError) as error:
        options.usage_error(_in_flags(str(error)))


def _in_flags(text: str) -> str:
    text = re.sub(r"register\(ttl=([^)]*)\)", r"--ttl \1", text)
    text = re.sub(r": (?:the )?(port|weight|host|route|instance id) (?=['0-9-])", r": --\1 ", text)
    return in_flags(text.replace("--instance id", "--instance-id").replace("another id=", "another --instance-id"))


def _peer(options: argparse.Namespace) -> Peer:
    given: dict[str, Any] = {name: value for name in OF_A_PEER if (value := getattr(options, name)) is not None}
    given |= secrets_of(options) | seeds_of(options)
    with warnings_on_stderr("run"):
        return Peer.from_env(**given)


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


def _started(peer: Peer, instance: Instance | None, output: str) -> str:
    told: dict[str, Any] = {"id": peer.id, "address": peer.address, "pid": os.getpid()}
    if output == "json":
        return json.dumps({"kind": "started", **told, "instance": None if instance is None else dataclasses.asdict(instance)})
    what = f", {instance_in_words(instance)}" if instance is not None else ""
    return f"started {told['id']} at {told['address']}, pid {told['pid']}{what}"
