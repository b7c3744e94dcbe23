"""`gossip simulate`: one fault scenario on simulated peers, from its seed; what broke, if anything, and with what evidence."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from .arguments import minutes, positive, whole
from .printing import put
from .progress import Progress

if TYPE_CHECKING:
    from ..simulation.stage import Report

DESCRIPTION = """\
Run one scenario of the fault matrix: the real core on a virtual network and
clock. The same seed gives the same trace, anywhere. Exit code 1: an invariant
was broken; the seed, the simulated time, the peer and the evidence are told.
"""
EXAMPLES = """\
examples:
  gossip simulate mix --peers 50 --seed 7 --minutes 2
  gossip simulate partition --peers 30 -o json | jq .figures
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `simulate` to the commands of `gossip`."""
    parser = commands.add_parser(
        "simulate",
        help="one fault scenario on a simulated cluster",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run, usage_error=parser.error, verbose=False)
    parser.add_argument("scenario", nargs="?", metavar="NAME", help="one of those that --list shows")
    parser.add_argument("--list", action="store_true", help="all scenarios: the name, the row of the matrix, what it does")
    parser.add_argument("--peers", type=positive, metavar="N", help="default: as the matrix asks for")
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="everything follows from it (default: 0)")
    parser.add_argument("--minutes", type=minutes, metavar="M", help="simulated, of the faults (default: as the matrix asks for)")
    parser.add_argument("-o", dest="output", choices=("text", "json"), default="text", help="form of the report (default: text)")


def run(options: argparse.Namespace) -> int:
    """Play the scenario and print the report; returns the exit code. Raises `ConfigError`."""
    from ..simulation.scenarios import SCENARIOS, play  # here, because the other commands must not wait for its import

    if options.list:
        width = max(map(len, SCENARIOS))
        put("\n".join(f"{one.name:{width}}  row {one.row:3}  {one.what}" for one in SCENARIOS.values()))
        return 0
    if options.scenario is None:
        options.usage_error("which scenario? `gossip simulate --list` shows them")
    if options.scenario not in SCENARIOS:
        options.usage_error(f"there is no scenario {options.scenario!r}: it is one of {', '.join(SCENARIOS)}")
    with Progress(f"simulate {options.scenario}") as progress:
        report = play(options.scenario, seed=options.seed, peers=options.peers, minutes=options.minutes, progress=progress)
    put(json.dumps(report.as_dict()) if options.output == "json" else in_words(report))
    return 0 if report.ok else 1


def in_words(report: Report) -> str:
    """A report for people."""
    events = f"{report.events} events at {report.events_per_s:,.0f} a second"
    lines = [
        f"{report.scenario}: {report.peers} peers, seed {report.seed}, {report.simulated_s:.0f} simulated seconds, {events}",
        f"trace {report.trace}",
        *(f"  {figure}" for figure in report.figures),
    ]
    if report.ok:
        return "\n".join([*lines, "no invariant was broken"])
    again = f"again: gossip simulate {report.scenario} --peers {report.peers} --seed {report.seed}"
    return "\n".join([*lines, "BROKEN:", *(f"  {broken}" for broken in report.broken), again])
