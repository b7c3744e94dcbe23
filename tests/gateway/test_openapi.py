"""The OpenAPI document, against the running server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gossip import model
from gossip.gateway import openapi

from .conftest import Door

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection"
READS = "^/(discover|healthz|v1/("
READS += "events|instances|locate|members|openapi.json|overlay|pick|preference-list|prometheus/sd|route|services|"
READS += r"services/\{service\}/ring|status|why))$"
WRITES = "^/(register|v1/(register|renew|drain|deregister))$"


@pytest.mark.parametrize("paths", [READS, WRITES], ids=["reads", "writes"])
def test_the_server_does_what_its_document_says(door: Door, tmp_path: Path, seed: int, paths: str) -> None:
    door.register("orders", 8080)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{door.url}/v1/openapi.json", "--include-path-regex", paths]
    command += ["--checks", CHECKS, "--max-examples", "8", "--seed", str(seed), "--phases", "examples,coverage,fuzzing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert door.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        (openapi.NAME, model.SERVICE_PATTERN),
        (openapi.ID, model.ID_PATTERN),
        (openapi.HOST, model.HOST_PATTERN),
        (openapi.ROUTE, model.ROUTE_PATTERN),
    ],
    ids=["name", "id", "host", "route"],
)
def test_texts_are_described_as_the_package_takes_them(schema: dict[str, Any], pattern: re.Pattern[str]) -> None:
    described = schema["pattern"].replace(r"^\[?", "^").replace(r"\]?$", "$")  # brackets round an IPv6 address come off
    assert described == f"^{pattern.pattern.removesuffix(chr(92) + 'Z')}$"
    assert f"At most {model.ROUTES_MAX} " in openapi.PLACE["routes"]["description"]


def test_every_path_is_described(door: Door) -> None:
    described = door.get("/v1/openapi.json").json()["paths"]
    for path, calls in described.items():
        for method in calls:
            assert door.http.request("OPTIONS" if method == "get" else "GET", path).status_code == 405, path
