"""One etcd, asked through its JSON gateway over a connection that is kept open."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .server import folder, free_ports, program, wait, wait_port

FORMED_S = 20.0


class Etcd:
    """A client. Text in and out."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One call of the gateway. Raises `OSError`."""
        self._connection.request("POST", f"/v3/{path}", json.dumps(body))
        answer: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return answer

    def put(self, key: str, value: str, lease: str | None = None) -> bool:
        """Write; whether it was taken (a young etcd has no leader yet)."""
        body = {"key": _coded(key), "value": _coded(value)} | ({"lease": lease} if lease else {})
        return "header" in self.ask("kv/put", body)

    def get(self, key: str) -> str | None:
        """Read, linearizable."""
        found = self.ask("kv/range", {"key": _coded(key)}).get("kvs")
        return base64.b64decode(found[0]["value"]).decode() if found else None

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def etcd_server() -> Iterator[int]:
    """The port of its clients."""
    client, peer = free_ports(2)
    at, among = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    with folder() as path:
        options = ["--data-dir", path, "--listen-client-urls", at, "--advertise-client-urls", at, "--listen-peer-urls", among]
        options += ["--initial-advertise-peer-urls", among, "--initial-cluster", f"default={among}"]
        with program(["etcd", *options]):
            wait_port(client)
            etcd = Etcd(client)
            wait(lambda: etcd.put("ready", "yes"), FORMED_S, "etcd takes no writes")
            etcd.close()
            yield client


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
