"""Metrics, and the files that are shipped for them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import gossip.gateway

from .conftest import ROOT, Door, Street, clean_environment, end, until

MONITORING = Path(gossip.gateway.__file__).parent / "monitoring"
FUNCTIONS = set("sum by max rate increase changes histogram_quantile and or le instance service state bound outcome".split())


def samples(door: Door) -> dict[str, float]:
    """`name{label="value",…}` -> value."""
    found = {}
    for family in text_string_to_metric_families(door.get("/metrics").text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_the_metrics_say_what_is_so(street: Street) -> None:
    door = street.open()
    street.peer("embedded").register("orders", port=1).drain()
    door.register("orders", 2)
    until(lambda: samples(door).get('gossip_instances{service="orders",state="draining"}') == 1, "the drained one")
    found = samples(door)
    assert found['gossip_instances{service="orders",state="up"}'] == 1
    assert found['gossip_members{state="alive"}'] == 2
    assert found["gossip_registrations_held{}"] == 1
    assert found['gossip_deltas_total{outcome="sent"}'] >= 2
    assert found['gossip_deltas_total{outcome="applied"}'] >= 2
    assert found['gossip_bounds_hit_total{bound="gateway_viewers"}'] == 0
    assert 0 <= found["gossip_digest_agreement{}"] <= 1
    until(lambda: samples(door)['gossip_links{state="up"}'] == 1, "the link")
    assert samples(door)['gossip_link_changes_total{change="dialled"}'] >= 1
    assert found['gossip_bounds_hit_total{bound="gateway_connections"}'] == 0
    if sys.platform == "linux":
        assert found["process_resident_memory_bytes{}"] > 1 << 20


def test_a_change_is_timed_until_a_random_member_holds_it(street: Street) -> None:
    door = street.open("--probe", "0.2")
    street.peer("asked")
    until(lambda: samples(door)["gossip_visibility_seconds_count{}"] >= 2, "two measurements")
    found = samples(door)
    print("mean visibility", found["gossip_visibility_seconds_sum{}"] / found["gossip_visibility_seconds_count{}"])
    assert found['gossip_members{state="alive"}'] == 2  # who asks is no member


def test_a_death_is_timed(street: Street) -> None:
    door = street.open()
    command = [sys.executable, "-m", "gossip.cli.main", "run", "--cluster", street.cluster, "--seed", door.seed]
    other = subprocess.Popen([*command, "--bind", "127.0.0.1:0"], cwd=ROOT, stdout=subprocess.DEVNULL, env=clean_environment())
    try:
        until(lambda: samples(door)['gossip_members{state="alive"}'] == 2, "the other")
        other.kill()
        until(lambda: samples(door)["gossip_detection_seconds_count{}"] == 1, "its death")
        assert samples(door)['gossip_members{state="dead"}'] == 1
    finally:
        end(other)


def metrics_in(expression: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\"[^\"]*\"", "", expression)
    return {name for name in re.findall(r"[a-z_]{3,}", bare) if name not in FUNCTIONS}


def test_the_shipped_files_ask_for_metrics_that_exist(door: Door) -> None:
    yaml = pytest.importorskip("yaml")
    known = {name.partition("{")[0] for name in samples(door)}
    rules = [rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    asked = [rule["expr"] for rule in rules] + [one["expr"] for panel in dashboard["panels"] for one in panel["targets"]]
    assert len(asked) > 20
    # a counter with labels that nobody has raised yet has no sample
    assert {name for expression in asked for name in metrics_in(expression)} - known <= {"gossip_http_answers_total"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", str(MONITORING / "alerts.yml")], check=True)
