"""`gossip keygen`: a fresh secret for a cluster, or a key for one peer to sign with, printed or written to a new file."""

from __future__ import annotations

import argparse

from .. import new_secret, new_signing_key, write_secret
from .printing import put


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `keygen` to the commands of `gossip`."""
    parser = commands.add_parser(
        "keygen",
        help="a fresh secret for a cluster",
        description="Make a secret of 256 random bits. All peers of a cluster are given the same one.\n"
        "With --signing: a key with which one peer signs what it says; each has its own.",
        epilog="examples:\n  gossip keygen -o cluster.key             for --secret-file cluster.key\n"
        "  gossip keygen --signing -o orders.key    for --signing-key orders.key",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=_keygen, verbose=False)
    parser.add_argument("--signing", action="store_true", help="a key to sign with, instead of a secret")
    parser.add_argument("-o", dest="file", metavar="FILE", help="write it to this new file, mode 0600, instead of printing it")


def _keygen(options: argparse.Namespace) -> int:
    made = new_signing_key() if options.signing else new_secret()
    if options.file is None:
        put(made)
    else:
        write_secret(options.file, made)
    return 0
