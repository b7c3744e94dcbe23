"""What the commands print: events and records as lines of text, as tables, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from .. import Event, Instance, Member

INSTANCE_COLUMNS = ("ID", "ADDRESS", "WEIGHT", "STATE", "ZONE", "ROUTES", "LABELS")
MEMBER_COLUMNS = ("ID", "ADDRESS", "STATE", "ZONE", "INSTANCES")


def put(line: str) -> None:
    """One line on stdout, at once."""
    print(line, flush=True)


@contextmanager
def closed_pipe_is_no_error() -> Iterator[None]:
    """Whoever read stdout has gone, as `head` does: then there is no more to say."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit of Python would complain
        raise SystemExit(1) from None


def json_of(value: Event | Instance | Member | Sequence[Instance] | Sequence[Member] | Sequence[Event]) -> str:
    """A value, or several, as one JSON text."""
    return json.dumps([dataclasses.asdict(one) for one in value] if isinstance(value, Sequence) else dataclasses.asdict(value))


def line_of(event: Event) -> str:
    """One event in one line: the time, the kind, whom it is about, and why."""
    clock = f"{time.strftime('%H:%M:%S', time.localtime(event.at))}.{int(event.at % 1 * 1000):03d}"
    known = event.after or event.before
    about = instance_in_words(known) if isinstance(known, Instance) else _member(known) if isinstance(known, Member) else ""
    reason = f"({event.reason})" if event.reason and about else event.reason
    return " ".join(word for word in (clock, f"{event.kind:<16}", about, reason) if word).rstrip()


def instance_in_words(one: Instance) -> str:
    """An instance as part of a line."""
    marks = [f"weight {one.weight}", *one.routes, *_labels(one), *([str(one.state)] if one.state != "UP" else [])]
    return f"{one.service}/{one.id} at {one.address}, {', '.join(marks)}"


def _member(one: Member) -> str:
    return f"{one.id} at {one.address}"


def _labels(one: Instance) -> list[str]:
    return [f"{key}={value}" for key, value in one.labels.items()]


def row_of(one: Instance) -> tuple[str, ...]:
    """An instance under `INSTANCE_COLUMNS`."""
    return one.id, one.address, str(one.weight), str(one.state), one.zone, " ".join(one.routes), " ".join(_labels(one))


def row_of_member(one: Member) -> tuple[str, ...]:
    """A member under `MEMBER_COLUMNS`."""
    return one.id, one.address, str(one.state), one.zone, str(one.instances)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns under their heads; a column in which nothing stands is left out."""
    lines = [tuple(columns), *rows]
    kept = [at for at, _ in enumerate(columns) if at == 0 or any(line[at] for line in lines[1:])]
    widths = [max(len(line[at]) for line in lines) for at in kept]
    return "\n".join("  ".join(line[at].ljust(width) for at, width in zip(kept, widths, strict=True)).rstrip() for line in lines)
