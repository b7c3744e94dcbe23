"""`gossip ca`: the authority of a cluster, which says who may register which services. It is a key in a file and these commands.

All but `revoke --via` work on files alone. Texts go to stdout, or with -o to a new file; none is overwritten.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .. import Observer
from ..authority import (
    Authority,
    Certificate,
    certificate_of,
    new_authority,
    public_key_of,
    public_path,
    public_text,
    write_text,
)
from .arguments import add_secret_file, patience, seconds, secrets_of, warnings_on_stderr
from .printing import put

EXAMPLES = """\
examples:
  gossip ca init -o ca.key               ca.key stays, ca.pub goes to all peers
  gossip keygen --signing -o orders.key  on the peer's host, and of it the
  gossip ca public orders.key            public half for the authority
  gossip ca issue --ca ca.key --key orders.pub --services 'orders.*' -o o.cert
  gossip run orders.eu --port 8080 --signing-key orders.key \\
      --certificate o.cert --authority ca.pub
  gossip ca revoke --ca ca.key o.cert --via 10.0.0.7:7400 --cluster production
"""
STEP_S = 0.05


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `ca` to the commands of `gossip`."""
    ca = commands.add_parser(
        "ca",
        help="an authority that says who may register what",
        description="Certificates limit which services a peer may register, and for how long.\n"
        "Needs the extra `sign`. What peers make of them: docs/security.md",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = ca.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    init = _verb(verbs, "init", _init, "a new authority", "gossip ca init -o ca.key")
    where = "its key, mode 0600; its public half goes beside it, into a file .pub"
    init.add_argument("-o", dest="file", metavar="FILE", required=True, help=where)
    public = _verb(verbs, "public", _public, "the public half of a key", "gossip ca public orders.key -o orders.pub")
    public.add_argument("key", metavar="KEYFILE", help="of a peer or an authority")
    _add_output(public)
    _add_issue(verbs)
    show = _verb(verbs, "show", _show, "what a certificate says", "gossip ca show orders.cert")
    show.add_argument("certificate", metavar="CERTIFICATE", help="a file, or the text itself")
    show.add_argument("--json", action="store_true", help="for programs")
    _add_revoke(verbs)


def _verb(verbs: Any, name: str, do: Callable[[argparse.Namespace], int], what: str, *examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog="\n  ".join(["examples:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=do, verbose=False, usage_error=parser.error)
    return parser


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", dest="file", metavar="FILE", help="write it to this new file instead of printing it")


def _add_issue(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "issue",
        _issue,
        "a certificate for the key of a peer",
        "gossip ca issue --ca ca.key --key orders.pub --services 'orders.*' \\\n      --days 90 -o orders.cert",
        "gossip ca issue --ca ca.key --key gateway.key --services '*' --days 7",
    )
    parser.add_argument("--ca", metavar="KEYFILE", required=True, help="the key of the authority")
    parser.add_argument("--key", metavar="FILE", required=True, help="the peer's key, or only the public half of it")
    what = "it may register: a name, or a pattern with * and ?; repeatable, or apart by commas"
    parser.add_argument("--services", action="append", metavar="NAME", required=True, help=what)
    parser.add_argument("--days", type=seconds, default=90.0, metavar="N", help="valid so long (default: 90)")
    _add_output(parser)


def _add_revoke(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "revoke",
        _revoke,
        "take back all certificates of a key, and with --via tell a running cluster",
        "gossip ca revoke --ca ca.key orders.cert -o x.revocation   for Peer.revoke",
        "gossip ca revoke --ca ca.key orders.cert --via 10.0.0.7:7400 \\\n      --cluster production --secret-file cluster.key",
    )
    parser.add_argument("certificate", metavar="CERTIFICATE", help="the newest of that key: a file, or the text itself")
    parser.add_argument("--ca", metavar="KEYFILE", required=True, help="the key of the authority")
    longer = "have peers remember it for so long, if the key has certificates that last longer than this one"
    parser.add_argument("--days", type=seconds, default=0.0, metavar="N", help=longer)
    parser.add_argument("--via", action="append", metavar="SEED", help="tell it to this member, which tells all; repeatable")
    parser.add_argument("--cluster", default="default", help="of --via (default: default)")
    add_secret_file(parser)
    parser.add_argument("--insecure", action="store_true", help="allow --via beyond this machine without a secret")
    wait = "with --via: wait so long until its holder is gone (default: 10)"
    parser.add_argument("--timeout", type=patience, default=10.0, metavar="SECONDS", help=wait)
    _add_output(parser)


# what they do ---------------------------------------------------------------------------------------------------------


def _init(options: argparse.Namespace) -> int:
    made = new_authority(options.file)
    put(made.public)
    put(f"written to {public_path(options.file)}: give it to all peers, as authority=. Keep {options.file} away from them.")
    return 0


def _public(options: argparse.Namespace) -> int:
    return _out(public_text(public_key_of(options.key)), options.file)


def _issue(options: argparse.Namespace) -> int:
    services = [name.strip() for text in options.services for name in text.split(",") if name.strip()]
    certificate = Authority.of(options.ca).issue(public_key_of(options.key), services, options.days)
    return _out(certificate.text, options.file)


def _show(options: argparse.Namespace) -> int:
    found = certificate_of(options.certificate)
    state = found.when_not(time.time()).removeprefix("its certificate ") or "valid now"
    if options.json:
        told = {"key": public_text(found.key), "services": found.services, "state": state}
        put(json.dumps({**told, "not_before": found.not_before, "not_after": found.not_after}))
        return 0
    put(f"key         {public_text(found.key)}")
    put(f"in ids      …@{found.fingerprint}")
    put(f"services    {', '.join(found.services)}")
    put(f"not before  {_date(found.not_before)}")
    put(f"not after   {_date(found.not_after)}")
    put(f"state       {state} (who signed it is for peers to verify)")
    return 0


def _revoke(options: argparse.Namespace) -> int:
    certificate = certificate_of(options.certificate)
    revocation = Authority.of(options.ca).revoke(certificate, options.days)
    if options.file is not None or not options.via:
        _out(revocation.text, options.file)
    if options.via:
        _tell(certificate, revocation.text, options)
    return 0


def _tell(certificate: Certificate, revocation: str, options: argparse.Namespace) -> None:
    """Have a member take it in, and wait until the holder is gone there. Raises `ConfigError`, `TimeoutError`."""
    end = f"@{certificate.fingerprint}"
    with _observer(options) as observer:
        observer.wait_synced(options.timeout)
        held = [member.id for member in observer.members() if member.id.endswith(end)]
        observer.revoke(revocation, options.timeout)
        deadline = time.monotonic() + options.timeout
        while left := [member.id for member in observer.members() if member.id.endswith(end)]:
            if time.monotonic() >= deadline:
                told = observer.source
                raise TimeoutError(f"{', '.join(left)} is still a member: was {told} given this authority? Tell another")
            time.sleep(STEP_S)
        put(f"told {observer.source}; {', '.join(held) + ' is put out' if held else 'no member has that key now'}")


@contextmanager
def _observer(options: argparse.Namespace) -> Iterator[Observer]:
    with warnings_on_stderr("ca"):
        made = Observer("ca", cluster=options.cluster, seeds=options.via, insecure=options.insecure, **secrets_of(options))
    with made as observer:
        yield observer


def _out(text: str, file: str | None) -> int:
    if file is None:
        put(text)
    else:
        write_text(file, text)
    return 0


def _date(wall_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(wall_s))
