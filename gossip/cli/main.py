"""The command `gossip`: arguments in, exit code out. Each subcommand has a module of its own.

Exit codes: 0 done; 1 refused or failed, with one line on stderr that says why; 2 the command line itself is wrong; 3 nothing
was found.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from .. import GossipError, __version__
from . import ask, demo, export, gateway, keygen, run, simulate


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default that of the process); returns the exit code."""
    try:
        return _run(_parser().parse_args(argv))
    except SystemExit as ended:  # argparse has said all there is to say
        return ended.code if isinstance(ended.code, int) else 2


def _run(options: argparse.Namespace) -> int:
    command: Callable[[argparse.Namespace], int] = options.command
    if options.verbose:
        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(asctime)s %(levelname)s %(message)s")
    try:
        return command(options)
    except (GossipError, TimeoutError) as error:
        print(f"gossip {options.name_of_command}: error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gossip",
        description="A service registry without a server: every service embeds a peer.\n"
        "`run` is a peer on the command line; most others only ask the peers that run.",
        epilog="examples:\n"
        "  gossip run orders --port 8080 --route /orders   register a service, watch all\n"
        "  gossip lookup orders                            who serves it now\n"
        "exit codes: 0 done, 1 failed or interrupted, 2 wrong command line,\n"
        "  3 nothing found",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gossip {__version__}")
    commands = parser.add_subparsers(title="commands", dest="name_of_command", metavar="COMMAND", required=True)
    run.add_to(commands)
    gateway.add_to(commands)
    ask.add_to(commands)
    export.add_to(commands)
    keygen.add_to(commands)
    demo.add_to(commands)
    simulate.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
