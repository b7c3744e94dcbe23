"""A cluster of serf agents, default profile (LAN), and its RPC: msgpack over TCP."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack

from .server import free_ports, programs, wait, wait_port

FORMED_S = 60.0


class SerfRpc:
    """One connection to an agent."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 5)
        self._socket.settimeout(20)
        self._unpacker = msgpack.Unpacker(raw=False, unicode_errors="replace")  # addresses come as raw bytes
        self._sequence = 0
        self.call("handshake", {"Version": 1}, answer=False)

    def send(self, command: str, body: dict[str, Any] | None = None) -> None:
        """Ask and do not wait; `receive` the answer later."""
        self._sequence += 1
        header = msgpack.packb({"Command": command, "Seq": self._sequence})
        self._socket.sendall(header + (b"" if body is None else msgpack.packb(body)))

    def receive(self) -> Any:
        """The next thing the agent says. Raises `OSError`."""
        while True:
            for told in self._unpacker:
                return told
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError("the serf agent hung up")
            self._unpacker.feed(chunk)

    def call(self, command: str, body: dict[str, Any] | None = None, answer: bool = True) -> Any:
        """Ask, and wait for the answer. Raises `OSError`."""
        self.send(command, body)
        if error := self.receive()["Error"]:
            raise OSError(f"serf refused {command}: {error}")
        return self.receive() if answer else None

    def members(self) -> list[dict[str, Any]]:
        """All members, dead ones too."""
        found: list[dict[str, Any]] = self.call("members")["Members"]
        return found

    def member(self, name: str) -> dict[str, Any]:
        """One member."""
        found: dict[str, Any] = self.call("members-filtered", {"Name": name})["Members"][0]
        return found

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class SerfCluster:
    """Agents `n0`, `n1` …, with a connection to each."""

    def __init__(self, agents: list[subprocess.Popen[bytes]], rpcs: list[SerfRpc]) -> None:
        self.agents = agents
        self.rpcs = rpcs


@contextmanager
def serf_cluster(nodes: int) -> Iterator[SerfCluster]:
    """So many, all of which see all."""
    ports = free_ports(2 * nodes)
    binds, asks = ports[:nodes], ports[nodes:]
    commands = []
    for number, (bind, ask) in enumerate(zip(binds, asks, strict=True)):
        join = [f"-retry-join=127.0.0.1:{binds[0]}", "-retry-interval=1s"] if number else []
        at = [f"-node=n{number}", f"-bind=127.0.0.1:{bind}", f"-rpc-addr=127.0.0.1:{ask}"]
        commands.append(["serf", "agent", *at, "-tag", "v=0", "-log-level=err", *join])
    with programs(commands) as agents:
        for port in asks:
            wait_port(port)
        rpcs = [SerfRpc(port) for port in asks]

        def formed() -> bool:
            return all(sum(member["Status"] == "alive" for member in rpc.members()) == nodes for rpc in rpcs)

        try:
            wait(formed, FORMED_S, f"{nodes} serf agents do not see each other")
            yield SerfCluster(agents, rpcs)
        finally:
            for rpc in rpcs:
                rpc.close()
