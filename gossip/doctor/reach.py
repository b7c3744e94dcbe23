"""Do the others reach what this peer would advertise? Only they can tell: it joins for a moment, and asks to be dialled.

It registers nothing and leaves with a goodbye; the others see a member `doctor` come and go. Source of the question:
`core/reach.py`. What they note of its join tells, by the way, what their clocks show.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

from ..bus.addresses import parse_bind
from ..bus.keys import read_secrets
from ..core.signatures import names_a_key
from ..errors import GossipError
from ..model import EventKind
from ..peer import Peer
from .cluster import observer_of
from .finding import Finding, Plan, error, ok, warning
from .meeting import Met

STEP_S = 0.02


def look_from_outside(plan: Plan, contacts: Sequence[Met], *, bindable: bool) -> tuple[float | None, list[Finding]]:
    """How far another's clock is ahead, in seconds, if that was told; and what cannot be reached."""
    if not contacts or not bindable:
        return None, []
    try:
        if plan.bind is None or (parse_bind(plan.bind).loopback and plan.advertise is None):
            return None, []
        return _joined(plan, contacts)
    except (GossipError, TimeoutError) as fault:
        return None, [error("advertise", f"a peer with these arguments does not start: {fault}", "mend that, then ask again")]


def _joined(plan: Plan, contacts: Sequence[Met]) -> tuple[float | None, list[Finding]]:
    secret = read_secrets(plan.secret_file) if plan.secret_file is not None else plan.secret
    seeds = [one.address for one in contacts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = Peer(
            "doctor",
            cluster=plan.cluster,
            bind=plan.bind,
            advertise=plan.advertise,
            seeds=seeds,
            secret=secret,
            insecure=True,
            signing_key=plan.signing_key,
            signed=plan.signed,
            certificate=plan.certificate,
            authority=plan.authority,
        )
    began = time.time()
    with peer:
        peer.wait_synced(3 * plan.timeout_s)
        found = _told(peer, plan, contacts)
        skew_s = _skew(plan, contacts, peer.id, began)
    return skew_s, found


def _told(peer: Peer, plan: Plan, contacts: Sequence[Met]) -> list[Finding]:
    """What whoever dialled us back said."""
    deadline = time.monotonic() + 4 * plan.timeout_s
    while not (counters := peer.status().counters).get("dial_backs_answered"):
        if time.monotonic() >= deadline:
            what = "nobody told within the time whether they reach it"
            if plan.signing_key is None and any(names_a_key(one.id) for one in contacts):
                return [
                    error("advertise", f"{what}: they sign, and this one has no key", "give it one: --signing-key FILE, or new")
                ]
            return [warning("advertise", what, "ask again: they may be busy, or too old to know the question")]
        time.sleep(STEP_S)
    if counters.get("unreachable"):
        reasons = [
            event.reason for event in peer.why(peer.id) if event.kind is EventKind.NOTICE and "cannot connect" in event.reason
        ]
        fix = "advertise an address and ports that the others reach, or open them in the firewalls between"
        return [error("advertise", reason.partition(". ")[0], fix) for reason in reasons]
    return [ok("advertise", f"others reach {peer.address}, and the publisher beside it")]


def _skew(plan: Plan, contacts: Sequence[Met], id: str, began: float) -> float | None:
    """A member noted when this peer joined, by its own clock."""
    try:
        with observer_of(plan, contacts) as observer:
            observer.wait_synced(plan.timeout_s)
            noted = [event.at for event in observer.why(id, timeout=plan.timeout_s) if event.kind is EventKind.MEMBER_JOINED]
    except (GossipError, TimeoutError):
        return None
    now = time.time()
    if not noted:
        return None
    return noted[0] - now if noted[0] > now else min(0.0, noted[0] - began)
