"""`gossip gateway`: a peer with an HTTP face, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Config, ConfigError, GossipError, Observer, private_lines, read_secrets
from .arguments import add_secret_file, add_signing, label, patience, positive, secrets_of, seeds_of, warnings_on_stderr
from .ask import LIMITS
from .printing import put
from .run import OF_A_PEER

if TYPE_CHECKING:
    from .. import AsyncPeer
    from ..gateway.rules import AlertSettings
    from ..gateway.settings import Settings

TOKEN = "GOSSIP_GATEWAY_TOKEN"
PRESETS = {"local": Config.local, "lan": Config.lan, "wan": Config.wan}
HOLD_S = 3600.0

DESCRIPTION = """\
Run a peer with an HTTP face: /register and /discover, the API under /v1.
Several gateways are equal doors: what is registered at one is found at all.
A registration lives with the gateway that took it, or with the last of
several that took it under one id: when that ends, it is gone.
SIGHUP: read the secrets of the cluster anew from their file.
"""
EXAMPLES = """\
examples:
  gossip gateway
  gossip gateway --listen 127.0.0.1:5000 --seeds 127.0.0.1:7400
then:
  curl "http://localhost:5000/discover?name=orders"
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `gateway` to the commands of `gossip`."""
    parser = commands.add_parser(
        "gateway",
        help="a peer with an HTTP face, for other languages and operators",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run, usage_error=parser.error)
    parser.add_argument("--verbose", action="store_true", help="log to stderr")
    http = parser.add_argument_group("HTTP")
    http.add_argument("--listen", default="127.0.0.1:5000", metavar="HOST:PORT", help="default: 127.0.0.1:5000")
    http.add_argument("--token-file", type=Path, metavar="FILE", help=f"holds the bearer token (default: {TOKEN}, else none)")
    names = "by which a proxy calls a gateway on loopback, beside localhost; repeatable"
    http.add_argument("--host-name", action="append", default=[], metavar="NAME", help=names)
    http.add_argument("--patience", type=patience, default=10.0, metavar="SECONDS", help="with slow clients (default: 10)")
    http.add_argument("--viewers", type=positive, default=256, metavar="N", help="of /v1/watch at once (default: 256)")
    every = "between two measurements of visibility, 0 for none (default: 60)"
    http.add_argument("--probe", type=patience, default=60.0, metavar="SECONDS", help=every)
    alerts = parser.add_argument_group("alerts, each sent by one gateway alone")
    alerts.add_argument("--webhook", action="append", default=[], metavar="URL", help="in Alertmanager's shape; repeatable")
    secretly = "holds such URLs, one a line, which are then in no process list"
    alerts.add_argument("--webhook-file", type=Path, metavar="FILE", help=secretly)
    fewest = "a service should have so many instances; repeatable"
    alerts.add_argument("--alert-below", action="append", type=label, default=[], metavar="SERVICE=N", help=fewest)
    after = "something must be wrong for so long (default: 10)"
    alerts.add_argument("--alert-after", type=patience, default=10.0, metavar="SECONDS", help=after)
    peer = parser.add_argument_group("the peer")
    peer.add_argument("--name", help="for people (default: the host name)")
    peer.add_argument("--id", help="fixed identity (default: the name and a random part)")
    peer.add_argument("--cluster", help="peers of other clusters are ignored (default: default)")
    peer.add_argument("--bind", metavar="HOST:PORT", help="the contact; the publisher takes the next port (default: loopback)")
    peer.add_argument("--advertise", metavar="HOST[:PORT]", help="what others dial, where that differs")
    whom = "peers that may already run; repeatable, or apart by commas"
    peer.add_argument("--seeds", action="append", metavar="SEED", help=whom)
    peer.add_argument("--zone", help="of this gateway")
    add_secret_file(peer)
    add_signing(peer)
    allow = "allow addresses beyond this machine without a secret"
    peer.add_argument("--insecure", action=argparse.BooleanOptionalAction, help=allow)
    peer.add_argument("--snapshot", metavar="FILE", help="remember there what is known, for the next start")
    peer.add_argument("--preset", choices=PRESETS, help="settings of the peer (default: GOSSIP_CONFIG, else lan)")
    hold = "serve the last view so long when most peers vanish in silence (default: an hour)"
    peer.add_argument("--hold", type=patience, default=HOLD_S, metavar="SECONDS", help=hold)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes; returns the exit code. Raises `ConfigError`."""
    from ..gateway import need_extra

    need_extra()
    import asyncio

    from ..gateway.settings import Bounds, Settings, listen_address

    host, port = listen_address(options.listen)
    patience_s, viewers = options.patience, options.viewers
    bounds = Bounds(
        head_timeout_s=patience_s, body_timeout_s=patience_s, write_timeout_s=2 * patience_s, viewers_max=viewers
    )
    token, names = _token(options.token_file), tuple(options.host_name)
    settings = Settings(host, port, token, names, options.probe, _alerts(options), bounds)
    return asyncio.run(_serve(options, settings))


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN, "").strip() or None
    found = private_lines(file, "token file", "Put the token into it, and nothing else")
    if len(found) != 1:
        raise ConfigError(f"token file {str(file)!r}: it holds {len(found)} lines, not the one token. Nothing was started.")
    return found[0]


def _alerts(options: argparse.Namespace) -> AlertSettings:
    from ..gateway.rules import AlertSettings

    kept = private_lines(options.webhook_file, "webhook file", "Put a URL a line into it") if options.webhook_file else []
    webhooks = (*options.webhook, *kept)
    if options.alert_below and not webhooks:
        options.usage_error("whom should it tell? Say --webhook")
    wrong = [number for _, number in options.alert_below if not number.isdecimal() or len(number) > 6]
    if wrong:
        options.usage_error(f"--alert-below: {wrong[0]!r} is not a number of instances, as in orders=2")
    below = tuple((service, int(number)) for service, number in options.alert_below)
    return AlertSettings(webhooks, below, options.alert_after)


def _config(options: argparse.Namespace) -> Config:
    word = options.preset or os.environ.get("GOSSIP_CONFIG", "").strip().lower() or "lan"
    if word not in PRESETS:
        raise ConfigError(f"GOSSIP_CONFIG={word!r} is none of {', '.join(PRESETS)}: set one of them. Nothing was started.")
    config = PRESETS[word]()
    detection = dataclasses.replace(config.detection, isolated_hold_s=max(options.hold, 0.001))
    return dataclasses.replace(config, detection=detection)


def _peer(options: argparse.Namespace) -> AsyncPeer:
    from .. import AsyncPeer

    given: dict[str, Any] = {name: value for name in OF_A_PEER if (value := getattr(options, name)) is not None}
    given |= secrets_of(options) | seeds_of(options)
    with warnings_on_stderr("gateway"):
        return AsyncPeer.from_env(config=_config(options), **given)


def _observer(options: argparse.Namespace, seed: str) -> Observer:
    given = {name: value for name in ("cluster", "insecure") if (value := getattr(options, name)) is not None}
    given |= secrets_of(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told when the peer was made
        return Observer.from_env(seeds=[seed], config=Config(limits=LIMITS), **given)


def _rotate_on_hangup(peer: AsyncPeer, path: str | None) -> None:
    """SIGHUP: the secrets are read anew from the file, if there is one, and valid from then on."""
    import asyncio

    path = path or os.environ.get("GOSSIP_SECRET_FILE")
    if not path or not hasattr(signal, "SIGHUP"):
        return
    running: set[asyncio.Task[None]] = set()  # the loop alone would forget them

    async def rotate(path: str) -> None:
        try:
            await peer.rotate_secrets(read_secrets(path))
        except GossipError as error:
            print(f"gossip gateway: error: {error} The secrets of before stay valid.", file=sys.stderr, flush=True)

    def begin(path: str) -> None:
        task = asyncio.ensure_future(rotate(path))
        running.add(task)
        task.add_done_callback(running.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, begin, path)


async def _serve(options: argparse.Namespace, settings: Settings) -> int:
    from ..gateway.server import serve

    peer = _peer(options)
    _rotate_on_hangup(peer, options.secret_file)

    def started(gateway: object, listening: tuple[Any, ...]) -> None:
        host = f"[{listening[0]}]" if ":" in listening[0] else listening[0]
        put(f"gateway {peer.id} at http://{host}:{listening[1]}, peer at {peer.address}, pid {os.getpid()}")

    return 0 if await serve(peer, settings, started, lambda seed: _observer(options, seed)) else 1
