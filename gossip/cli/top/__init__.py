"""`gossip top`: the cluster on one screen, as it changes. An observer; what is shown is pure, the drawing a thin layer.

Observer ──▶ gather ──▶ Scene ──┐
keys ──────▶ press ───▶ View ───┴─▶ lines ──▶ rich, on a terminal
                            └─────▶ text or JSON, anywhere else
"""

from __future__ import annotations

import argparse

from ..arguments import patience, positive

EVERY_S = 2.0


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `top` to the commands of `gossip`."""
    from ..ask import asking_command
    from .run import run

    parser = asking_command(
        commands,
        "top",
        run,
        "the cluster on one screen, as it changes",
        "gossip top",
        "gossip top --once -o json | jq .services",
    )
    parser.add_argument("--once", action="store_true", help="print what is so now, and end")
    every = "between two prints where stdout is no terminal (default: 2)"
    parser.add_argument("--every", type=patience, default=EVERY_S, metavar="SECONDS", help=every)
    parser.add_argument("--count", type=positive, metavar="N", help="end after so many prints")
