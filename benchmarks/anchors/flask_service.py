"""The service of `flask_app`, started, and a client of it."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .server import free_ports, library, program, wait_port

APP = "benchmarks.anchors.flask_app"  # by -m: as a script its folder would hide the package redis


class Discovery:
    """A client with one connection that is kept open."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def register(self, name: str, address: str, port: int) -> None:
        """POST /register."""
        told = json.dumps({"name": name, "address": address, "port": port})
        self._connection.request("POST", "/register", told, {"Content-Type": "application/json"})
        self._connection.getresponse().read()

    def discover(self, name: str) -> dict[str, Any]:
        """GET /discover/<name>."""
        self._connection.request("GET", f"/discover/{name}")
        found: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return found

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def flask_service(redis_port: int) -> Iterator[Discovery]:
    """The service over this redis."""
    library("flask", "flask")
    (port,) = free_ports(1)
    with program([sys.executable, "-m", APP], {**os.environ, "REDIS_PORT": str(redis_port), "PORT": str(port)}):
        wait_port(port)
        client = Discovery(port)
        try:
            yield client
        finally:
            client.close()
