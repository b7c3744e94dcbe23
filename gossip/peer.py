"""`Peer`: what a service embeds. It adds to `Blocking` that it is a member, and registers instances."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from .blocking import Blocking
from .checks import Check
from .participant import Participant
from .registration import Registration


class Peer(Blocking, Participant):
    """One participant of a cluster, embedded in a service. Reads are answered in-process; any thread may call anything.

    Arguments are checked here and nothing runs before `start()` (or `with`). On one machine nothing needs to be
    configured: all that say `Peer()` find each other.

    `name`: for people, defaults to the host name. `id`: fixed identity, default `name-<random>`. `cluster`: peers of
    other clusters are ignored. `bind="host:port"` is the contact, the publisher takes port + 1 ("host:port,port" names
    both). `advertise="host[:port[,port]]"` is what others dial. An IPv6 host stands in brackets. `seeds`: contacts of
    peers that may already run, each `host:port`, `dns:name:port` (all addresses of the name) or `file:path` (a text file of
    the other two, one a line, `#` comments). Names and files are looked at every second until they are known, and every
    30 s while this peer knows nobody. `[]` = alone, None = zero configuration on 127.0.0.1:7400 (alone, for a bind beyond
    loopback). `zone`: for `near=True`. `secret`: what all peers of the cluster share and nobody else knows, a str
    (UTF-8) or bytes of at least 32 bytes (`gossip keygen` makes one), or several, the newest first: with it every connection
    is encrypted, and who lacks it is turned away (docs/security.md). `insecure=True` allows addresses beyond loopback
    without a secret, and warns. `signing_key`: sign all that this peer says, so that no member can forge or unsay it: the path
    of a key file (`gossip keygen --signing` makes one), its 32 bytes, or "new", made for this life, and in a forked child anew.
    The id then ends in the key's fingerprint; needs the extra `sign`. `signed`: with a key, "required" (the default) refuses
    members that do not sign, "optional" takes them in. `certificate`: what an authority allows this key to register (`gossip ca
    issue`), as its text or the path of a file; shown to all. `authority`: the public half of that authority's key, as text or
    path: members are then taken in only with a certificate that it signed, as long as that is valid and not revoked, and only
    the services that it covers (docs/security.md).

    `snapshot`: a file that this peer writes every few seconds, if what it knows has changed, and at `close`, by a thread of its
    own. After a restart with the same file it is the same member (a drawn `id` is kept while `name` is the same), dials those it
    knew besides the seeds, and serves what they had as STALE, `status().isolated` while nobody answers, until a synced peer
    told it all that it holds; if none does, for `config.detection.isolated_hold_s`. Nothing of it is passed on. The folder must
    exist. Whatever is wrong with file or disk is told by a NOTICE, and the peer runs without it: a second peer with the same
    file until the first has ended; a file that cannot be read (torn, of a later release, of another cluster) is moved to
    `<file>.refused`.

    `fork`: what a forked child finds. "raise": every call raises `PeerForked`. "restart": the first call into the peer there
    begins anew, on any free port, as `name-<random>` (a given `id` gets such a suffix too), with the parent and those it
    knew as further seeds. Lookups answer from the parent's last view until another peer told the child all that it holds; if
    nobody does, for `config.detection.isolated_hold_s`. What was registered or watched before the fork stays the parent's
    and raises `PeerForked`. Beyond loopback others must be able to reach that
    port. Where `advertise` names a port the child cannot have one: it says so in the log and raises `PeerForked`. Raises
    `ConfigError`.
    """

    _FORKS = ("raise", "restart")

    def renew_certificate(self, certificate: str | os.PathLike[str]) -> None:
        """From now on show this certificate, as in `certificate=`, without a restart: before the former one expires, or after.

        One round trip to the bus thread; O(instances), for all is said anew. Raises `ConfigError` for one that is not valid now,
        of another key, or where there was none at the start; `RegistrationError` if it does not cover what is registered;
        nothing changed in either case. `PeerClosed`.
        """
        self._must(self._certifying(certificate))

    def revoke(self, revocation: str | os.PathLike[str]) -> bool:
        """Take a certificate back: text or path of what `gossip ca revoke` made. All members with this authority are told.

        Its holder is put out everywhere, and stays out. False if that was known. One round trip to the bus thread; O(members).
        Raises `ConfigError` for what this peer's authority did not sign, or a peer without one; `PeerClosed`.
        """
        found: bool = self._must(self._revoking(revocation))
        return found

    def register(
        self,
        service: str,
        *,
        port: int,
        host: str | None = None,
        id: str | None = None,
        weight: int = 1,
        labels: Mapping[str, str] | None = None,
        routes: Iterable[str] = (),
        ttl: float | None = None,
        check: object = None,
    ) -> Registration:
        """Tell everybody that this service runs here; visible to this peer's reads when it returns.

        `host` defaults to the host of `.address`, `id` to `host:port`. `weight`: an int from 1 to 100. `labels`: str to
        str, 1 KiB. `routes`: path prefixes it serves. `ttl`: seconds after which it is gone unless renewed.

        `check`: "tcp", a URL, a callable, or a `Check` that also says how often and how patiently; it is run by this peer,
        in threads of its own. An instance that fails is CRITICAL: out of picks, routes and rings, and still in
        `lookup(include_draining=True)`, until it passes again. It begins as UP.

        One round trip to the bus thread. Raises `RegistrationError` with nothing changed, `ConfigError`, `PeerClosed`.
        """
        checked = None if check is None else Check.of(check)
        instance, command, _ = self._registering(
            service,
            port=port,
            host=host,
            id=id,
            weight=weight,
            labels=labels,
            routes=routes,
            ttl=ttl,
        )
        registration = Registration(self, instance, self._must(command))
        self._checking(registration, checked)
        return registration
