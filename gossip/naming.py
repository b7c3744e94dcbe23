"""Naming: what a peer, its cluster and its zone may be called. Checked where a caller says it, before anything runs."""

from __future__ import annotations

import re
import socket

from .errors import ConfigError
from .model import ID_PATTERN, SERVICE_PATTERN, ZONE_PATTERN

NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def host_name() -> str:
    """The host name, in the alphabet of names."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "peer"


def checked_name(given: object) -> str:
    """The name for people. Raises `ConfigError`, as all here."""
    return _checked("name", given, NAME_PATTERN, "1 to 64 of A-Z a-z 0-9 . _ -")


def checked_id(given: object) -> str:
    """What tells a peer from all others."""
    return _checked("id", given, ID_PATTERN, "1 to 128 of A-Z a-z 0-9 . _ - : [ ] % / @")


def checked_cluster(given: object) -> str:
    """The cluster."""
    return _checked("cluster", given, SERVICE_PATTERN, "1 to 128 of A-Z a-z 0-9 . _ -")


def checked_zone(given: object) -> str:
    """The zone; "" is none."""
    return _checked("zone", given, ZONE_PATTERN, "0 to 64 of A-Z a-z 0-9 . _ : / -")


def checked_question(given: object) -> str:
    """Whom or what `why` is asked about: any text; what nobody knows has no history."""
    if not isinstance(given, str):
        what = "the id or name of a member, the id or address of an instance, or a service"
        raise ConfigError(f"why({given!r}): that is no text. Pass {what}")
    return given


def _checked(what: str, given: object, pattern: re.Pattern[str], alphabet: str) -> str:
    if not isinstance(given, str) or not pattern.match(given):
        raise ConfigError(f"{what}={given!r} is not {alphabet}: pass another {what}=. Nothing was started.")
    return given
