"""The pytest plugin: what docs/testing.md shows runs, and who does not use it pays nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from gossip import Lookups
from gossip.simulation import Cluster

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_the_example_of_the_page_passes(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_payments.py").write_text(example, encoding="utf-8")
    ended = run_pytest(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout


def test_a_run_that_does_not_use_the_fixture_imports_nothing_of_gossip(tmp_path: Path) -> None:
    source = "import sys\n\ndef test_nothing():\n    assert not {'gossip', 'zmq', 'msgpack', 'uhashring'} & set(sys.modules)\n"
    (tmp_path / "test_other.py").write_text(source, encoding="utf-8")
    ended = run_pytest(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_fixture_is_an_empty_cluster_and_its_peers_meet_lookups(gossip_cluster: Cluster) -> None:
    assert gossip_cluster.peers == []
    assert isinstance(gossip_cluster.spawn(), Lookups)


def test_a_reported_instance_is_passed_over_for_a_while(gossip_cluster: Cluster) -> None:
    shop, one, two = (gossip_cluster.spawn() for _ in range(3))
    bad, good = one.register("web", port=80), two.register("web", port=80)
    gossip_cluster.run(2.0)
    shop.report_failure(bad)
    assert {shop.pick("web").id for _ in range(6)} == {good.id}
    gossip_cluster.run(5.0)
    assert {shop.pick("web", strategy="random").id for _ in range(40)} == {bad.id, good.id}
