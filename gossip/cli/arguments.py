"""Command-line texts as checked values, and a peer's warnings as lines on stderr."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import read_secrets

# Arguments of the library, with the options that stand for them.
FLAGS = {name: name for name in "name cluster bind advertise seeds zone listen host port weight ttl".split()} | {
    "id": "id",
    "routes": "route",
    "labels": "label",
    "secret": "secret-file",
}


def label(text: str) -> tuple[str, str]:
    """`KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def seconds(text: str) -> float:
    """A number of seconds."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return found


def patience(text: str) -> float:
    """A number of seconds to wait, from 0."""
    found = seconds(text)
    if found < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 0 seconds")
    return found


def steps(duration_s: float, step_s: float) -> Iterator[None]:
    """Sleeps for so long, in steps between which the caller may look round."""
    until = time.monotonic() + duration_s
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(step_s, left))
        yield


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def minutes(text: str) -> float:
    """A number of minutes above 0."""
    found = seconds(text)
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return found


def add_secret_file(to: argparse._ActionsContainer) -> None:
    """`--secret-file`; and a `--secret` that only says why there is none. It would be taken for an abbreviation."""
    to.add_argument("--secret", action=_Refused, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    to.add_argument(
        "--secret-file",
        metavar="FILE",
        help="the cluster's secret, or several, one a line, the newest first (default: GOSSIP_SECRET_FILE, GOSSIP_SECRET)",
    )


def add_signing(to: argparse._ActionsContainer) -> None:
    """`--signing-key`, `--signed`, `--certificate` and `--authority`."""
    key = "sign what this peer says with the key in this file, or `new` for one of this life (default: GOSSIP_SIGNING_KEY_FILE)"
    to.add_argument("--signing-key", metavar="FILE", help=key)
    whom = "with a key: refuse members that do not sign, or take them in (default: GOSSIP_SIGNED, else required)"
    to.add_argument("--signed", choices=("required", "optional"), help=whom)
    shown = "show others this certificate of the key (default: GOSSIP_CERTIFICATE_FILE)"
    to.add_argument("--certificate", metavar="FILE", help=shown)
    asked = "take in only whose certificate this authority signed: its public key, or the file (default: GOSSIP_AUTHORITY)"
    to.add_argument("--authority", metavar="FILE", help=asked)


class _Refused(argparse.Action):
    """Ends the command with a usage error that does not repeat the value."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error("all of this machine may read the arguments of a process: use --secret-file FILE")


def secrets_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the file named holds, as an argument of a peer; none without one. Raises `ConfigError`."""
    return {} if options.secret_file is None else {"secret": read_secrets(options.secret_file)}


def seeds_of(options: argparse.Namespace) -> dict[str, Any]:
    """The seeds named, repeated or apart by commas, as an argument of a peer; none without any."""
    return {} if options.seeds is None else {"seeds": [seed for text in options.seeds for seed in text.split(",") if seed]}


def in_flags(text: str) -> str:
    """An error of the library, which names its own arguments, for somebody who wrote a command line."""
    text = re.sub(r"\bseeds=\['([^']*)'\]", r"--seeds \1", text).replace("insecure=True", "--insecure")
    named = r"(?<![\w-])(" + "|".join(FLAGS) + r")=(?=(\S?))"
    return re.sub(named, lambda found: f"--{FLAGS[found[1]]}" + " " * (found[2] not in ("", ".", ",")), text)


def flag_at_fault(options: argparse.Namespace, text: str) -> str | None:
    """Which option an error of the library is about, if it was given one: its name as the library has it."""
    return next((name for name in FLAGS if getattr(options, name, None) and text.startswith((f"{name}:", f"{name}="))), None)


@contextmanager
def warnings_on_stderr(command: str) -> Iterator[None]:
    """What is warned of within the block, as lines of this command."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    for warning in told:
        print(f"gossip {command}: warning: {warning.message}", file=sys.stderr)
