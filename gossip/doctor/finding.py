"""What is asked of the doctor, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

TIMEOUT_S = 2.0


class Severity(Enum):
    """`ERROR`: it cannot work so. `WARNING`: it works, until something happens. `NOTE`: good to know. `OK`: looked at."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def wrong(self) -> bool:
        """Whether somebody should act."""
        return self in (Severity.WARNING, Severity.ERROR)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line what, one line what to do about it ("" where nothing is to be done)."""

    check: str
    severity: Severity
    what: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        return {"check": self.check, "severity": self.severity.value, "what": self.what, "fix": self.fix}


@dataclass(frozen=True, slots=True)
class Plan:
    """The peer that is to be, by the arguments of `Peer`, and how long to wait for anything.

    `secret_file` wins over `secret`; `seeds` None is zero configuration; `members`: of how many it should be, None: as found.
    """

    cluster: str = "default"
    bind: str | None = None
    advertise: str | None = None
    seeds: tuple[str, ...] | None = None
    secret: str | tuple[str, ...] | None = field(default=None, repr=False)
    secret_file: str | None = None
    insecure: bool = False
    signing_key: str | bytes | None = field(default=None, repr=False)
    signed: str | None = None
    certificate: str | None = None
    authority: str | None = None
    members: int | None = None
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class View:
    """What an observer saw: how many members, and the latest wall time at which one of them began, in seconds."""

    members: int = 0
    begun_at: float = 0.0
    begun_by: str = ""


def ok(check: str, what: str) -> Finding:
    return Finding(check, Severity.OK, what)


def note(check: str, what: str, fix: str = "") -> Finding:
    return Finding(check, Severity.NOTE, what, fix)


def warning(check: str, what: str, fix: str) -> Finding:
    return Finding(check, Severity.WARNING, what, fix)


def error(check: str, what: str, fix: str) -> Finding:
    return Finding(check, Severity.ERROR, what, fix)
