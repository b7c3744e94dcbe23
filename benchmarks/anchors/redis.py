"""redis-server with nothing on disk, and redis-py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .server import folder, free_ports, library, program, wait_port


@contextmanager
def redis_server() -> Iterator[int]:
    """Its port."""
    (port,) = free_ports(1)
    with folder() as path:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", path]
        with program(["redis-server", *options]):
            wait_port(port)
            yield port


def redis_client(port: int) -> Any:
    """A client of it."""
    return library("redis", "redis").Redis(host="127.0.0.1", port=port)
