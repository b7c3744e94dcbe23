"""Whether the seeds resolve, answer, and are what they claim to be."""

from __future__ import annotations

from collections.abc import Sequence

from ..bus.addresses import Endpoint, parse_bind
from ..bus.keys import Keyring
from ..bus.seeds import DnsSeed, FileSeed, HostSeed, parse_seeds
from ..errors import ConfigError
from .finding import Finding, Plan, error, note, ok, warning
from .meeting import Kind, Met, all_at_once, meet

Seed = HostSeed | DnsSeed | FileSeed
SEEDS_MAX = 64  # addresses asked

_FIX = {
    Kind.OTHER_CLUSTER: "compare --cluster, or name a seed of this cluster",
    Kind.NEEDS_SECRET: "give this one the cluster's secret: --secret-file FILE",
    Kind.NO_SECRET: "give that peer the secret too; until then the two are strangers",
    Kind.OTHER_SECRET: "compare the secrets; while one is replaced, give every peer [new, old]",
    Kind.OTHER_VERSION: "run versions that are next to each other: upgrade the older one",
    Kind.MUTE: "is that port a peer's? if so, compare its version with this one",
    Kind.STRANGER: "a seed is the contact of a peer, its bind port, not that of a service",
    Kind.REFUSED: "start the peer there; compare its port, and whether it binds more than 127.0.0.1",
    Kind.SILENT: "open that port in the firewalls between; compare the address",
}


def look_at_the_seeds(plan: Plan, keyring: Keyring | None) -> tuple[list[Met], list[Finding]]:
    """Those that are peers of this cluster, and what is wrong with the others."""
    if plan.seeds is None:
        return [], [note("seeds", "none: zero configuration, for the peers of this machine")]
    if not plan.seeds:
        return [], [note("seeds", "none at all: this peer waits until others dial it")]
    try:
        seeds: Sequence[Seed] = parse_seeds(plan.seeds)
    except ConfigError as fault:
        what, _, advice = str(fault).removesuffix(" Nothing was started.").partition(". ")
        return [], [error("seeds", what, advice)]
    found = _open_to_all(plan, seeds, keyring)
    places, unresolved = _resolved(seeds, plan)
    answers = all_at_once(places, lambda place: meet(place.host, place.port, plan, keyring), 4 * plan.timeout_s)
    met = [one or Met(place.address, Kind.SILENT) for one, place in zip(answers, places, strict=True)]
    peers = [one for one in met if one.kind is Kind.PEER]
    for one in met:
        found.append(_judged(one, plan, alone=not peers))
    found += [(warning if peers else error)("seeds", what, "correct the name, or the resolver") for what in unresolved]
    return peers, found


def _resolved(seeds: Sequence[Seed], plan: Plan) -> tuple[list[Endpoint], list[str]]:
    faults: dict[str, str] = {}

    def ask(seed: Seed) -> list[Endpoint]:
        found: list[Endpoint] = []
        try:
            found.extend(seed.addresses())
        except OSError as fault:
            faults[seed.host] = fault.strerror or str(fault)
        return found

    answers = all_at_once(seeds, ask, 2 * plan.timeout_s)
    for seed, places in zip(seeds, answers, strict=True):
        if places is None:
            faults[seed.host] = f"no answer within {2 * plan.timeout_s:g} s"
        elif not places and seed.host not in faults:
            faults[seed.host] = "it names nobody"
    every = dict.fromkeys(place for places in answers for place in places or ())
    return list(every)[:SEEDS_MAX], [f"{host} cannot be resolved: {why}" for host, why in faults.items()]


def _open_to_all(plan: Plan, seeds: Sequence[Seed], keyring: Keyring | None) -> list[Finding]:
    outside = [seed.host for seed in seeds if not seed.loopback]
    if not outside or keyring is not None or plan.insecure:
        return []
    fix = "give it the cluster's secret, --secret-file FILE; or --insecure, if the network itself keeps strangers out"
    return [error("seeds", f"{', '.join(outside)}: beyond this machine, and there is no secret", fix)]


def _judged(one: Met, plan: Plan, *, alone: bool) -> Finding:
    if one.kind is Kind.PEER:
        return ok("seeds", f"{one.address} is {one}")
    what = f"{one.address} is {one}"
    if one.kind in (Kind.REFUSED, Kind.SILENT) and one.address in _own(plan):
        return note("seeds", f"{one.address} is where this peer would be, and nobody is there now")
    if one.kind is Kind.PUBLISHER:
        host, _, port = one.address.rpartition(":")
        return warning("seeds", what, f"name the contact, as a rule one port below: {host}:{int(port) - 1}")
    return (error if alone else warning)("seeds", what, _FIX[one.kind])


def _own(plan: Plan) -> set[str]:
    own = set()
    for text in (plan.bind, plan.advertise):
        try:
            own |= {parse_bind(text).address} if text else set()
        except ConfigError:
            continue
    return own
