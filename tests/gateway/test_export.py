"""Prometheus and nginx: `/v1/prometheus/sd`, `gossip export`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gossip import Instance, Labels
from gossip.cli.main import main
from gossip.gateway.targets import targets, upstreams

from .conftest import ROOT, Door, Street, clean_environment, end, until


def export(street: Street, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "gossip.cli.main", "export", *arguments]
    command += ["--seeds", street.doors[0].seed, "--cluster", street.cluster]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment()
    )


def test_prometheus_discovers_over_http(door: Door) -> None:
    door.register("scraped", 9100, labels={"team-name": "a"}, id="one")
    (found,) = door.get("/v1/prometheus/sd?service=scraped").json()
    assert found["targets"] == ["127.0.0.1:9100"]
    assert found["labels"]["__meta_gossip_service"] == "scraped"
    assert found["labels"]["__meta_gossip_label_team_name"] == "a"


def test_another_form_of_output_is_refused_before_anybody_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "nginx", "-o", "json", "--seeds", "127.0.0.1:1"]) == 2
    assert "-o json means nothing here" in capsys.readouterr().err


def test_without_a_file_it_is_printed_once(street: Street) -> None:
    street.open().register("orders", 1, weight=3)
    done = export(street, "nginx", "orders", "nobody")
    told, _ = done.communicate(timeout=30)
    assert done.returncode == 0, told
    assert told == (
        "upstream nobody {\n    server 127.0.0.1:9 down;\n}\nupstream orders {\n    server 127.0.0.1:1 weight=3;\n}\n"
    )


def test_a_file_follows_and_no_reader_finds_half_of_it(street: Street, tmp_path: Path) -> None:
    door = street.open()
    door.register("orders", 1)
    file, marks = tmp_path / "sd.json", tmp_path / "marks"
    then = f"{sys.executable} -c \"open('{marks}', 'a').write('x')\""
    running = export(street, "prometheus", "orders", "--file", str(file), "--then", then, "--every", "0.01")
    stop, broken = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                json.loads(file.read_text())
            except ValueError as error:
                broken.append(error)

    try:
        until(file.exists, "the file")
        reader = threading.Thread(target=read)
        reader.start()
        try:
            for port in range(2, 12):
                door.register("orders", port)
            until(lambda: len(json.loads(file.read_text())) == 11, "all of them in the file")
        finally:
            stop.set()
            reader.join()
        assert broken == []
        until(lambda: marks.exists() and len(marks.read_text()) >= 2, "the command after a change")
        assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    finally:
        end(running)
    assert running.returncode == 0


def test_a_folder_that_is_not_there_is_one_line(street: Street, tmp_path: Path) -> None:
    street.open()
    done = export(street, "prometheus", "--file", str(tmp_path / "no" / "sd.json"))
    told, _ = done.communicate(timeout=30)
    assert done.returncode == 1
    assert told.startswith("gossip export: error: cannot write ")


INSTANCES = [Instance("orders", "b", "::1", 80, weight=2), Instance("orders", "a", "10.0.0.5", 81, labels=Labels({"x": "1"}))]


def test_addresses_of_ipv6_stand_in_brackets() -> None:
    assert "server [::1]:80 weight=2;" in upstreams({"orders": INSTANCES})
    assert [one["targets"] for one in targets(INSTANCES)] == [["[::1]:80"], ["10.0.0.5:81"]]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_accepts_the_file(tmp_path: Path) -> None:
    text = f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {upstreams({'orders': INSTANCES, 'none': []})} }}"
    (tmp_path / "nginx.conf").write_text(text)
    subprocess.run(["nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")], check=True)
