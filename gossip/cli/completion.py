"""`gossip completion`: what bash, zsh or fish source to complete the command line; made from the parser itself by shtab.

Names of services and members are asked for while one types, of whoever GOSSIP_SEEDS or the common ports of this machine
lead to. Nobody answers: nothing is completed, within `PATIENCE_S`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable

from .. import GossipError, Observer
from .extra import need
from .printing import put

PATIENCE_S = 0.8  # whoever pressed Tab waits
SHELLS = ("bash", "zsh", "fish")
ASKED = {"service": "services", "services": "services", "name": "names"}  # what a positional of that name means
EXAMPLES = """\
examples:
  eval "$(gossip completion bash)"    in ~/.bashrc; likewise zsh, after compinit
  gossip completion fish | source     in ~/.config/fish/config.fish
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `completion` to the commands of `gossip`."""
    parser = commands.add_parser(
        "completion",
        help="what a shell sources to complete this command",
        description="Print what bash, zsh or fish source to complete commands, options and, while\n"
        "a cluster answers, the names of its services and members.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_completion, usage_error=parser.error, verbose=False)
    parser.add_argument("wanted", choices=(*SHELLS, *NAMES), metavar="SHELL", help="bash, zsh or fish")


def _completion(options: argparse.Namespace) -> int:
    if options.wanted in NAMES:
        _put_names(NAMES[options.wanted])
    else:
        put(script(options.wanted))
    return 0


def script(shell: str) -> str:
    """What this shell is to source. Raises `ConfigError` without the extra."""
    need("shtab")
    import shtab

    from .main import parser

    made = parser()
    for command, action in _takers(made):
        asked = ASKED.get(action.dest) if command != "run" and not action.option_strings else None
        if asked is not None:
            action.complete = shtab.cmd(f"gossip completion {asked}")  # type: ignore[attr-defined]
        elif str(action.metavar).endswith("FILE"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif command == "completion":
            action.choices = SHELLS  # what else it takes is for the shells alone
    told: str = shtab.complete(made, shell)
    return told.rstrip()


def _takers(parser: argparse.ArgumentParser) -> Iterable[tuple[str, argparse.Action]]:
    """All that takes a value, with the name of its command."""
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, of_command in commands.choices.items():
        yield from ((name, action) for action in of_command._actions if action.nargs != 0)


def _put_names(names: Callable[[Observer], Iterable[str]]) -> None:
    """Each name on a line of its own; silence is the answer to whatever fails."""
    warnings.simplefilter("ignore")
    try:
        with Observer.from_env() as observer:
            observer.wait_synced(PATIENCE_S)
            for name in sorted(set(names(observer))):
                put(name)
    except (GossipError, TimeoutError, OSError):
        return


def _all_names(observer: Observer) -> Iterable[str]:
    yield from observer.services()
    yield from (member.name for member in observer.members())
    yield from (one.id for name in observer.services() for one in observer.lookup(name, include_draining=True))


NAMES: dict[str, Callable[[Observer], Iterable[str]]] = {"services": Observer.services, "names": _all_names}
