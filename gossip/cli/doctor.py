"""`gossip doctor`: whether a peer here would find its cluster and be found; what is wrong, and how to mend it."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from .arguments import add_secret_file, add_signing, patience, positive, seeds_of
from .printing import closed_pipe_is_no_error, put
from .progress import Progress

DESCRIPTION = """\
Look for what keeps a peer with these arguments from finding its cluster, or
from being found: ports, seeds, secret, versions, descriptors, clocks, other
clusters. Each finding comes with its fix. Exit code 1: something is wrong.
With --bind beyond this machine, or --advertise, a peer called doctor joins for
a moment, and leaves.
"""
EXAMPLES = """\
examples:
  gossip doctor
  gossip doctor --seeds 10.0.0.7:7400 --bind 0.0.0.0:7400 --advertise 10.0.0.5 \\
      --secret-file cluster.key
"""
MARKS = {"ok": "✓", "note": "·", "warning": "!", "error": "✗"}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `doctor` to the commands of `gossip`."""
    parser = commands.add_parser(
        "doctor",
        help="what keeps a peer here from its cluster, and how to mend it",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run, usage_error=parser.error)
    add = parser.add_argument
    add("-o", dest="output", choices=("text", "json"), default="text", help="form of what is printed (default: text)")
    add("--verbose", action="store_true", help="log to stderr")
    add("--cluster", help="default: GOSSIP_CLUSTER, else default")
    add("--bind", metavar="HOST:PORT", help="as the peer is to bind (default: GOSSIP_BIND, else loopback)")
    add("--advertise", metavar="HOST[:PORT]", help="as it is to advertise (default: GOSSIP_ADVERTISE)")
    add("--seeds", action="append", metavar="SEED", help="its seeds; repeatable, or apart by commas (default: GOSSIP_SEEDS)")
    add_secret_file(parser)
    add_signing(parser)
    add("--insecure", action=argparse.BooleanOptionalAction, help="as the peer is to be")
    add("--members", type=positive, metavar="N", help="how large the cluster will be (default: as it is found)")
    add("--timeout", type=patience, default=2.0, metavar="SECONDS", help="wait so long for each answer (default: 2)")


def run(options: argparse.Namespace) -> int:
    """Examine, and print what was found; returns the exit code. Raises `ConfigError` for a variable that makes no sense."""
    from ..doctor import examine

    with closed_pipe_is_no_error():
        with Progress("doctor") as progress:
            found = examine(_plan(options), progress)
        if options.output == "json":
            put(json.dumps([one.as_dict() for one in found]))
        else:
            for one in found:
                put(f"{MARKS[one.severity.value]} {one.check:<12} {one.what}" + (f"\n{'':15}→ {one.fix}" if one.fix else ""))
            wrong = sum(one.severity.wrong for one in found)
            put(f"\n{'nothing is wrong' if not wrong else f'{wrong} wrong'}, {len(found)} looked at")
    return 1 if any(one.severity.wrong for one in found) else 0


def _plan(options: argparse.Namespace) -> Any:
    from ..doctor import Plan
    from ..environment import arguments_from

    names = ("cluster", "bind", "advertise", "insecure", "signing_key", "signed", "certificate", "authority")
    given: dict[str, Any] = {name: value for name in names if (value := getattr(options, name)) is not None}
    given |= seeds_of(options)
    file = options.secret_file or os.environ.get("GOSSIP_SECRET_FILE", "").strip() or None
    if file is not None:
        given["secret"] = None
    spelled = arguments_from(os.environ, without={*given, "name", "id", "zone", "snapshot", "fork", "config"})
    known = {**spelled, **given}
    seeds, secret = known.get("seeds"), known.get("secret")
    return Plan(
        cluster=known.get("cluster", "default"),
        bind=known.get("bind"),
        advertise=known.get("advertise"),
        seeds=None if seeds is None else tuple(seeds),
        secret=secret if secret is None or isinstance(secret, str) else tuple(secret),
        secret_file=file,
        insecure=bool(known.get("insecure", False)),
        signing_key=known.get("signing_key"),
        signed=known.get("signed"),
        certificate=known.get("certificate"),
        authority=known.get("authority"),
        members=options.members,
        timeout_s=max(options.timeout, 0.1),
    )
