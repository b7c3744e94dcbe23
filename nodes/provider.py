"""A provider: registers an instance of a service and really serves it over HTTP.

    python nodes/provider.py orders --route /orders --weight 2

The order is the point. It listens before it is registered, so that nobody calls in vain; and on SIGTERM it drains, goes on
serving those who have not heard of that yet, finishes what is under way, deregisters and leaves, so that no request is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gossip import GossipError, Instance, Peer, RegistrationError
from nodes.options import add_peer, label, peer_of, seconds, share

ENDINGS = {signal.SIGTERM, signal.SIGINT}
GRACE_S = 0.5  # a drain is known everywhere within milliseconds, within two seconds if messages were lost; callers retry
IDLE_S = 5.0  # who connects and then says nothing for so long is hung up on: it would hold up the end
POLL_S = 0.02  # of the loop that accepts, for its end


class Provider:
    """One instance that is registered and served, from its creation on until `finish`.

    `port=0` takes any that is free. The other keywords are those of `Peer.register`. Raises `OSError` if it cannot
    listen there, `RegistrationError`; then nothing is left of it.
    """

    def __init__(
        self,
        peer: Peer,
        service: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        delay_s: float = 0.0,
        fail_share: float = 0.0,
        **registration: Any,
    ) -> None:
        try:
            self._server = Server(host, port, delay_s, fail_share)
        except (OSError, OverflowError) as error:
            raise OSError(f"cannot listen at {host}:{port}: {error}. Choose another port, or 0 for any") from None
        try:
            self.registration = peer.register(service, host=host, port=self._server.server_address[1], **registration)
        except BaseException:
            self._server.server_close()
            raise
        self._server.instance = self.instance
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name=f"http-{service}", daemon=True).start()

    @property
    def instance(self) -> Instance:
        """What is registered."""
        return self.registration.instance

    @property
    def served(self) -> int:
        """How many requests were answered."""
        return self._server.served

    def drain(self) -> None:
        """No caller is to choose it any more; who does all the same is still served."""
        with suppress(RegistrationError):  # it was taken back already
            self.registration.drain()

    def finish(self) -> None:
        """Accept no more, answer what is under way, deregister. Idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self.registration.deregister()


def end_all(providers: Sequence[Provider], grace_s: float = GRACE_S) -> None:
    """End providers so that none of their callers notices."""
    for provider in providers:
        provider.drain()
    if providers:
        time.sleep(grace_s)
    for provider in providers:
        provider.finish()


class Server(ThreadingHTTPServer):
    """Answers every GET with who answered, in a thread per request. It listens from its creation on."""

    daemon_threads = False  # `server_close` waits for threads only if they are none
    request_queue_size = 128
    instance: Instance

    def __init__(self, host: str, port: int, delay_s: float, fail_share: float) -> None:
        self.delay_s = delay_s
        self.fail_share = fail_share
        self.served = 0
        self._counting = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Answer)

    def server_bind(self) -> None:
        """Bind only: that of `HTTPServer` also asks a resolver for the host's full name."""
        socketserver.TCPServer.server_bind(self)

    def count(self) -> None:
        """One more was answered."""
        with self._counting:
            self.served += 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller who hung up is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Answer(BaseHTTPRequestHandler):
    """One request. HTTP/1.0, the default of the base: a connection ends with its answer, so none is idle at the end."""

    timeout = IDLE_S
    wbufsize = -1  # head and body leave together
    server: Server

    def do_GET(self) -> None:
        """200 with who answered, or 503 for the share that is to fail."""
        server = self.server
        time.sleep(server.delay_s)
        ok = random.random() >= server.fail_share
        who = {"service": server.instance.service, "instance": server.instance.id, "pid": os.getpid(), "path": self.path}
        body = json.dumps(who if ok else {**who, "error": "this one is to fail: --fail-share"}).encode()
        self.send_response(200 if ok else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        server.count()

    def log_message(self, *_: Any) -> None:
        """Nothing: callers tell what they saw."""


# the command line -----------------------------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. Raises `GossipError`, `OSError`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)  # before there are threads, which inherit it: `sigwait` takes them
    with peer_of(options) as peer:
        provider = Provider(
            peer,
            options.service,
            host=options.host,
            port=options.port,
            delay_s=options.delay,
            fail_share=options.fail_share,
            id=options.id,
            weight=options.weight,
            labels=dict(options.label),
            routes=options.route,
        )
        _say(options, started(peer, provider.instance))
        signal.sigwait(ENDINGS)
        end_all([provider], options.grace)
        _say(options, {"kind": "ended", "served": provider.served})
    return 0


def started(peer: Peer, one: Instance) -> dict[str, Any]:
    """What is told once the instance is registered."""
    served = {"service": one.service, "instance": one.id, "address": one.address, "pid": os.getpid()}
    return {"kind": "started", **served, "peer": peer.id, "contact": peer.address}


def _say(options: argparse.Namespace, told: dict[str, Any]) -> None:
    if options.output == "json":
        text = json.dumps(told)
    elif told["kind"] == "started":
        text = "{service}/{instance} is served at http://{address}, pid {pid}; peer {peer} at {contact}".format(**told)
    else:
        text = f"drained and left; {told['served']} requests served"
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever read this is gone; callers are not
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nodes/provider.py",
        description="Register an instance of a service and serve it over HTTP: every GET is answered with who answered.\n"
        "SIGTERM or Ctrl-C: drain, finish what is under way, deregister, leave.",
        epilog="examples:\n"
        "  python nodes/provider.py orders --route /orders --weight 2\n"
        "  python nodes/provider.py orders --id orders-slow --port 8080 --delay 0.2 --fail-share 0.1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("service", metavar="SERVICE", help="its name")
    add("--host", default="127.0.0.1", help="where it listens and is called (default: %(default)s)")
    add("--port", type=int, default=0, help="default: any that is free")
    add("--id", help="of the instance (default: host:port)")
    add("--weight", type=int, default=1, help="its share of the picks, 1 to 100 (default: 1)")
    add("--label", action="append", default=[], type=label, metavar="KEY=VALUE", help="repeatable")
    add("--route", action="append", default=[], metavar="/PATH", help="a path prefix it serves; repeatable")
    add("--delay", type=seconds, default=0.0, metavar="S", help="every answer takes so long")
    add("--fail-share", type=share, default=0.0, metavar="SHARE", help="so many, from 0 to 1, are answered 503")
    add("--grace", type=seconds, default=GRACE_S, metavar="S", help="at the end, served on so long (default: %(default)s)")
    add("-o", dest="output", choices=("text", "json"), default="text", help="form of the output (default: text)")
    add_peer(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        return run(options)
    except (GossipError, OSError) as error:
        print(f"nodes/provider.py: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
