"""`gossip keygen`: a fresh secret for a cluster, printed or written to a new file that its owner alone may read."""

from __future__ import annotations

import argparse

from .. import new_secret, write_secret
from .printing import put


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `keygen` to the commands of `gossip`."""
    parser = commands.add_parser(
        "keygen",
        help="a fresh secret for a cluster",
        description="Make a secret of 256 random bits. All peers of a cluster are given the same one.",
        epilog="examples:\n  gossip keygen -o cluster.key           for --secret-file cluster.key\n"
        "  export GOSSIP_SECRET=$(gossip keygen)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_keygen, verbose=False)
    parser.add_argument("-o", dest="file", metavar="FILE", help="write it to this new file, mode 0600, instead of printing it")


def _keygen(options: argparse.Namespace) -> int:
    if options.file is None:
        put(new_secret())
    else:
        write_secret(options.file, new_secret())
    return 0
