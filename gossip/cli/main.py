"""The command `gossip`: arguments in, exit code out. Each subcommand has a module of its own, imported when it is named.

Exit codes: 0 done; 1 refused or failed, with one line on stderr that says why; 2 the command line itself is wrong; 3 nothing
was found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from .. import GossipError, __version__

NEAR = 0.75  # of 1.0, which is the same: how like what was said an option must be to be offered

# Which module adds which commands, in the order of the help. Whoever names a command waits for its module alone.
MODULES = {
    "run": ("run",),
    "gateway": ("gateway",),
    "ask": ("members", "services", "lookup", "pick", "locate", "route", "watch", "why"),
    "top": ("top",),
    "doctor": ("doctor",),
    "export": ("export",),
    "keygen": ("keygen",),
    "ca": ("ca",),
    "completion": ("completion",),
    "demo": ("demo",),
    "simulate": ("simulate",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default that of the process); returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(parser(arguments[0] if arguments else "").parse_args(arguments))
    except SystemExit as ended:  # argparse has said all there is to say
        return ended.code if isinstance(ended.code, int) else 2


def _run(options: argparse.Namespace) -> int:
    command: Callable[[argparse.Namespace], int] = options.command
    if options.verbose:
        import logging

        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(asctime)s %(levelname)s %(message)s")
    try:
        return command(options)
    except (GossipError, TimeoutError) as error:
        from .arguments import flag_at_fault, in_flags  # here, because most commands end well

        text, name = in_flags(str(error)), flag_at_fault(options, str(error))
        if name is not None:
            options.usage_error(text if text.startswith("--") else f"--{text}")
        print(f"gossip {options.name_of_command}: error: {text}", file=sys.stderr)
        return 1


class Parser(argparse.ArgumentParser):
    """One whose every refusal, those of its subcommands too, ends in where to read on.

    What a subcommand does not know it refuses itself, with its own usage; by default the outermost parser would.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As `argparse` does it for a parser and for each of its subcommands, but nothing unknown is left."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            from difflib import get_close_matches  # here, because it is slow to import

            near = get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, 1, NEAR)
            meant = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return options, []

    def error(self, message: str) -> NoReturn:
        """Tell on stderr what is wrong with the command line, and exit with 2."""
        super().error(f"{message if message.endswith('?') else message.rstrip('.') + '.'} `{self.prog} --help` tells more")


def parser(command: str = "") -> argparse.ArgumentParser:
    """The parser of the command line, with this command alone if it is one, else with all of them."""
    made = Parser(
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
    made.add_argument("--version", action="version", version=f"gossip {__version__}")
    commands = made.add_subparsers(title="commands", dest="name_of_command", metavar="COMMAND", required=True)
    named = [module for module, names in MODULES.items() if command in names]
    for module in named or MODULES:
        import_module(f".{module}", __package__).add_to(commands)
    return made


if __name__ == "__main__":
    sys.exit(main())
