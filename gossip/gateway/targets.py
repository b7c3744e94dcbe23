"""Instances as Prometheus and nginx read them. Pure, and without the extra: `gossip export` needs no HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .. import Instance

NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9_]")
NOWHERE = "127.0.0.1:9"  # nginx wants a server in every upstream; this one is down


def targets(instances: Iterable[Instance]) -> list[dict[str, Any]]:
    """Target groups of Prometheus' `http_sd` and `file_sd`: one per instance, with `__meta_gossip_…` labels to relabel by."""
    return [{"targets": [one.address], "labels": _meta(one)} for one in instances]


def _meta(one: Instance) -> dict[str, str]:
    found = {f"__meta_gossip_label_{NOT_IN_LABELS.sub('_', key)}": value for key, value in one.labels.items()}
    found |= {"__meta_gossip_service": one.service, "__meta_gossip_id": one.id, "__meta_gossip_zone": one.zone}
    return found | {"__meta_gossip_state": str(one.state), "__meta_gossip_weight": str(one.weight)}


def upstreams(services: Mapping[str, Iterable[Instance]]) -> str:
    """nginx `upstream` blocks, one per service, with the weights; a server that is down where nothing may be used."""
    return "".join(_upstream(name, sorted(found, key=lambda one: one.id)) for name, found in sorted(services.items()))


def _upstream(name: str, found: list[Instance]) -> str:
    servers = [f"    server {one.address} weight={one.weight};\n" for one in found] or [f"    server {NOWHERE} down;\n"]
    return f"upstream {name} {{\n{''.join(servers)}}}\n"
