"""`gossip export`: the catalogue as a file for Prometheus (`file_sd`) or nginx, kept up to date, replaced whole.

A reader finds the old file or the new one, never half of one. While nobody can be followed the last file stays.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from .. import ConfigError, Observer, PeerClosed
from ..gateway.targets import targets, upstreams
from .arguments import patience
from .ask import asking_command
from .printing import put

SETTLE_S = 0.2  # changes that come together are one file


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `export` to the commands of `gossip`."""
    parser = asking_command(
        commands,
        "export",
        _export,
        "the catalogue as a file for Prometheus or nginx, kept up to date",
        "gossip export nginx --file up.conf --then 'nginx -s reload'",
        "gossip export prometheus orders --file sd/orders.json",
    )
    ask = parser.get_default("command")

    def export(options: argparse.Namespace) -> int:
        if options.output == "json":
            parser.error("-o json means nothing here: prometheus is JSON, nginx has a form of its own")
        return int(ask(options))

    parser.set_defaults(command=export)
    add = parser.add_argument
    add("form", choices=("prometheus", "nginx"), help="file_sd JSON, or upstream blocks")
    add("services", nargs="*", metavar="SERVICE", help="only these (default: all)")
    add("--file", type=Path, metavar="FILE", help="where it is kept, until Ctrl-C (default: once, on stdout)")
    add("--then", metavar="COMMAND", help="run after each change of the file, without a shell")
    add("--every", type=patience, default=SETTLE_S, metavar="SECONDS", help="write at most so often (default: 0.2)")


def _export(observer: Observer, options: argparse.Namespace) -> int:
    if options.file is None:
        put(_text(observer, options).rstrip("\n"))
        return 0
    watch = options.stop.ends(observer.watch())
    written = ""
    with suppress(PeerClosed):
        while True:
            if not observer.status().isolated and (text := _text(observer, options)) != written:
                replace(options.file, text)
                written = text
                _then(options)
            watch.get()
            time.sleep(options.every)  # what comes together is written together
            while watch.take() is not None:
                pass
    return 0


def _text(observer: Observer, options: argparse.Namespace) -> str:
    names = options.services or observer.services()
    found = {name: observer.lookup(name) for name in names}
    if options.form == "nginx":
        return upstreams(found)
    return json.dumps(targets(one for instances in found.values() for one in instances), indent=1, ensure_ascii=False) + "\n"


def replace(file: Path, text: str) -> None:
    """Write a file whole or not at all. Raises `ConfigError`."""
    name = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False, encoding="utf-8") as new:
            name = new.name
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
            os.fchmod(new.fileno(), 0o644)
        os.replace(name, file)
    except OSError as error:
        if name is not None:
            with suppress(OSError):
                os.unlink(name)
        raise ConfigError(f"cannot write {file}: {error}. The file is as it was.") from error


def _then(options: argparse.Namespace) -> None:
    if not options.then:
        return
    try:
        done = subprocess.run(shlex.split(options.then), check=False, timeout=60)
        if done.returncode:
            print(f"gossip export: warning: {options.then!r} ended with {done.returncode}", file=sys.stderr, flush=True)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        print(f"gossip export: warning: {options.then!r}: {error}", file=sys.stderr, flush=True)
