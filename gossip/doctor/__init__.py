"""`gossip doctor`: why a peer here would not find its cluster, or not be found; each finding with its fix.

    Plan ──▶ machine   versions, environment, secret, descriptors, clock       nothing is sent
         ──▶ ports     can it bind? who sits there, and at the common ports?    questions, by `meeting`
         ──▶ seeds     do they resolve, answer, and are they what they claim?
         ──▶ cluster   one view everywhere? publishers reached? clocks alike?   an observer
         ──▶ reach     do the others reach what would be advertised?            a peer that joins for a moment, and leaves

Invariant: a check never raises, and none lasts longer than a few times the plan's `timeout_s`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .cluster import look_at_the_cluster
from .finding import Finding, Plan, Severity
from .machine import look_at_the_clock, look_at_the_descriptors, look_at_the_environment, look_at_the_secret, look_at_versions
from .ports import look_at_the_bind, look_at_the_ports
from .reach import look_from_outside
from .seeds import look_at_the_seeds

__all__ = ["Finding", "Plan", "Severity", "examine"]


def examine(plan: Plan, progress: Callable[[str], None] = lambda what: None) -> list[Finding]:
    """All checks, in the order in which the later need the former. Blocks; bounded by some times `plan.timeout_s`."""
    apart_s = time.time() - time.monotonic()
    progress("this machine ...")
    keyring, findings = look_at_the_secret(plan)
    found = [*look_at_versions(plan), *look_at_the_environment(), *findings]
    progress("where it binds ...")
    bindable, findings = look_at_the_bind(plan, keyring)
    found += findings
    progress("the common ports of this machine ...")
    homes, findings = look_at_the_ports(plan, keyring)
    found += findings
    progress("the seeds ...")
    met, findings = look_at_the_seeds(plan, keyring)
    found += findings
    contacts = met if plan.seeds is not None else homes
    progress("the cluster ...")
    view, findings = look_at_the_cluster(plan, keyring, contacts)
    found += findings
    progress("whether others reach it ...")
    skew_s, findings = look_from_outside(plan, contacts, bindable=bindable)
    found += findings
    found += look_at_the_descriptors(plan, view.members)
    found += look_at_the_clock(view, skew_s, time.time() - time.monotonic() - apart_s)
    return found
