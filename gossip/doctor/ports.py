"""Where this peer would bind, and who sits at the common ports of this machine."""

from __future__ import annotations

import errno

from ..bus.addresses import LOOPBACK, Endpoint, parse_advertise, parse_bind, resolve
from ..bus.inquiry import free_to_bind, shown
from ..bus.keys import Keyring
from ..core.dialer import RENDEZVOUS_HOST, RENDEZVOUS_PORTS
from ..errors import ConfigError
from .finding import Finding, Plan, Severity, error, note, ok, warning
from .meeting import Kind, Met, all_at_once, meet

_FIX = {
    errno.EADDRNOTAVAIL: "no interface of this machine has that address: `ip address` shows those it has",
    errno.EACCES: "ports below 1024 are for root: take another, such as 7400",
}

RUNS = ", which runs there already"
SECRETS = {
    Kind.NEEDS_SECRET: "if it is one of yours, give this one its secret: --secret-file FILE",
    Kind.NO_SECRET: "if it is one of yours, give it the secret too",
    Kind.OTHER_SECRET: "if it is one of yours, compare the secrets",
}


def look_at_the_bind(plan: Plan, keyring: Keyring | None) -> tuple[bool, list[Finding]]:
    """Whether both ports can be listened at; if one is taken, by whom."""
    if plan.bind is None:
        return True, [ok("bind", f"{LOOPBACK}, any free port: for peers of this machine")]
    try:
        place = parse_bind(plan.bind)
        if plan.advertise is not None:
            parse_advertise(plan.advertise)
        host = place.host if not place.is_name else _resolved(place.host, plan)
    except (ConfigError, OSError) as fault:
        what, _, advice = str(fault).removesuffix(" Nothing was started.").partition(". ")
        return False, [error("bind", what, advice or "name an IP address of this machine")]
    found = _open_to_all(plan, place, keyring)
    if place.unspecified and plan.advertise is None:
        fix = "say under which address others reach this machine: --advertise 10.0.0.5"
        found.append(error("bind", f"{place.host} is every address of this machine, and no peer can dial that", fix))
    second = place.publisher_port if place.publisher_port is not None else place.port + 1 if place.port else 0
    free = True
    for port in (place.port, second):
        held = free_to_bind(host, port)
        if held is not None:
            found.append(_taken(held, host, port, place, plan, keyring))
            free = free and found[-1].severity is Severity.NOTE and port != place.port
            if held.errno != errno.EADDRINUSE or found[-1].what.endswith(RUNS):  # the other tells nothing more
                break
    if free and not [one for one in found if one.severity.wrong]:
        found.append(ok("bind", f"{shown(host, place.port)} and {second or 'any'} are free"))
    return free and not [one for one in found if one.severity.wrong], found


def _resolved(host: str, plan: Plan) -> str:
    (found,) = all_at_once([host], resolve, 2 * plan.timeout_s)
    if found is None:
        raise OSError(f"{host} cannot be resolved")
    return found


def _open_to_all(plan: Plan, place: Endpoint, keyring: Keyring | None) -> list[Finding]:
    if place.loopback or keyring is not None or plan.insecure:
        return []
    fix = "give it the cluster's secret, --secret-file FILE; or --insecure, if the network itself keeps strangers out"
    return [error("bind", f"{place.host} is open to other machines, and there is no secret", fix)]


def _taken(fault: OSError, host: str, port: int, place: Endpoint, plan: Plan, keyring: Keyring | None) -> Finding:
    address = shown(host, port)
    if fault.errno != errno.EADDRINUSE:
        fix = _FIX.get(fault.errno or 0, "name an IP address of this machine and a port from 1 to 65535")
        return error("bind", f"{address}: {fault.strerror}", fix)
    there = LOOPBACK if place.unspecified else host
    (met,) = all_at_once([port], lambda port: meet(there, port, plan, keyring), 4 * plan.timeout_s)
    holder = met or Met(address, Kind.SILENT)
    if port == place.port and holder.kind is Kind.PEER:
        return note(
            "bind", f"{address} is {holder}{RUNS}", "if that is the peer meant, all is well; a second one needs another port"
        )
    if port != place.port and place.loopback and place.publisher_port is None:  # then any free one does
        return note("bind", f"{address} is taken, by {holder}: the publisher gets any free port")
    fix = "end it, or bind to another port"
    if port != place.port and place.publisher_port is None:
        fix = f"end it, or name the publisher's port: --bind {shown(place.host, place.port)},{port + 1}"
    return error("bind", f"{address} is taken, by {holder}", fix)


def look_at_the_ports(plan: Plan, keyring: Keyring | None) -> tuple[list[Met], list[Finding]]:
    """The peers of this cluster at the ports where peers without seeds meet; and who else is there."""
    met = [
        one
        for one in all_at_once(RENDEZVOUS_PORTS, lambda port: meet(RENDEZVOUS_HOST, port, plan, keyring), 3 * plan.timeout_s)
        if one is not None and one.kind not in (Kind.REFUSED, Kind.SILENT)
    ]
    matters = plan.seeds is None
    found = []
    for one in met:
        if one.kind is Kind.PEER:
            found.append(ok("ports", f"{one.address} is {one}"))
        elif one.kind is not Kind.PUBLISHER:
            amiss = warning if matters and one.kind in SECRETS else note  # it may be one of ours
            fix = SECRETS.get(
                one.kind, "peers without seeds meet at the next common port; nothing to do, unless it was to be yours"
            )
            found.append(amiss("ports", f"{one.address} is {one}", fix))
    homes = [one for one in met if one.kind is Kind.PEER]
    if matters and not homes:
        found.append(note("ports", "no peer of this cluster is at the common ports of this machine: the first would be alone"))
    return homes, found
