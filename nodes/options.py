"""The options that every program here takes which embeds a peer, and the peer they describe."""

from __future__ import annotations

import argparse
import threading

from gossip import Peer, read_secrets


def add_peer(parser: argparse.ArgumentParser) -> None:
    """Add the options of the peer, as a group of their own."""
    add = parser.add_argument_group("the peer").add_argument
    add("--name", help="for people (default: the host name)")
    add("--cluster", default="default", help="peers of other clusters are ignored (default: %(default)s)")
    add("--bind", metavar="HOST:PORT", help="the contact; the publisher takes the next port (default: loopback)")
    add("--advertise", metavar="HOST[:PORT]", help="what others dial, where that differs")
    add("--seed", action="append", metavar="HOST:PORT", help="a peer that may already run; repeatable (default: find it)")
    add("--alone", action="store_true", help="look for nobody; others may come")
    add("--zone", default="", help="for choices of what is near")
    add("--secret-file", metavar="FILE", help="the cluster's secret, or several, one a line, the newest first")
    add("--signing-key", metavar="FILE", help="sign with the key in this file, or `new` for one of this life")
    add("--certificate", metavar="FILE", help="what an authority allows that key to register")
    add("--authority", metavar="FILE", help="take in only whose certificate this authority signed")
    add("--insecure", action="store_true", help="allow addresses beyond this machine without a secret")


def peer_of(options: argparse.Namespace) -> Peer:
    """The peer that the options describe, not started yet. Raises `ConfigError`."""
    return Peer(
        options.name,
        cluster=options.cluster,
        bind=options.bind,
        advertise=options.advertise,
        seeds=[] if options.alone else options.seed,
        zone=options.zone,
        secret=None if options.secret_file is None else read_secrets(options.secret_file),
        insecure=options.insecure,
        signing_key=options.signing_key,
        certificate=options.certificate,
        authority=options.authority,
    )


def label(text: str) -> tuple[str, str]:
    """An argument `KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as version=2")
    return key, value


def seconds(text: str) -> float:
    """An argument that is a time from 0 on, in seconds."""
    return _number(text, threading.TIMEOUT_MAX, "a number of seconds, such as 0.5")


def rate(text: str) -> float:
    """An argument that is so many a second, above 0."""
    found = _number(text, 1e6, "a number a second above 0, such as 50")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number a second above 0, such as 50")
    return found


def share(text: str) -> float:
    """An argument from 0 to 1."""
    return _number(text, 1.0, "a share from 0 to 1, such as 0.2")


def count(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    if not text.isdecimal() or not 1 <= int(text) <= 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _number(text: str, most: float, what: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= most:  # nan is neither
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return found
