"""`Participant`: an engine that is a member of the cluster: bound, known to all, the writer of its own log.

What both twins add to `Engine`: the arguments that say where it is reached, its node, registrations as commands, and what
becomes of it in a forked child.
"""

from __future__ import annotations

import os
import random
import secrets
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from .bus import native
from .bus.addresses import LOOPBACK, Endpoint, parse_advertise, parse_bind, resolve
from .bus.hush import logger
from .bus.seeds import DnsSeed, FileSeed, HostSeed, parse_seeds
from .bus.sockets import Sockets
from .catalogue.catalogue import Catalogue, ForkedCatalogue
from .catalogue.inherited import Asleep, LastView
from .checks import Check, Checks
from .config import Config
from .core.certificates import fingerprint_revoked
from .core.effects import Effect, Happened
from .core.node import Node
from .core.selfhood import Identity
from .core.signatures import Signing, names_a_key
from .engine import Engine
from .errors import ConfigError, GossipError, InsecureWarning, PeerForked
from .mind import Mind
from .model import EventKind, Instance, checked_instance, join_address
from .registration import Command, Handle
from .signing import SigningKey, checked_signed, verify
from .values import replace

if TYPE_CHECKING:  # without `snapshot=` and `certificate=` nothing of this is needed
    from .core.certificates import Certificate
    from .core.saved import Saved
    from .snapshot import Keeper, Store

TTL_MAX_S = 366 * 86400.0
CLOSE_S = 0.95  # what `close` may take in all
SEEDS_INHERITED_MAX = 16  # contacts that a forked child tries besides the given ones
ID_STEM_MAX = 90  # characters of an id that a forked child keeps before its own suffix


class Participant(Engine):
    """What both twins are made of. For the arguments see `Peer`."""

    _checks: Checks | None
    _keeper: Keeper | None
    _store: Store | None
    _saved: Saved | None  # while it starts
    _FORKS: ClassVar[tuple[str, ...]] = ("raise",)  # what this kind of peer can do in a forked child

    def __init__(
        self,
        name: str | None = None,
        *,
        id: str | None = None,
        cluster: str = "default",
        bind: str | None = None,
        advertise: str | None = None,
        seeds: Sequence[str] | None = None,
        zone: str = "",
        config: Config | None = None,
        secret: str | bytes | Sequence[str | bytes] | None = None,
        insecure: bool = False,
        snapshot: str | os.PathLike[str] | None = None,
        fork: str = "raise",
        signing_key: str | os.PathLike[str] | bytes | None = None,
        signed: str | None = None,
        certificate: str | os.PathLike[str] | None = None,
        authority: str | os.PathLike[str] | None = None,
    ) -> None:
        self._restarts = self._checked_fork(fork) == "restart"
        self._signed = checked_signed(signed, key=signing_key is not None)
        self._key = SigningKey.of(signing_key) if signing_key is not None else None
        self._authority = self._checked_authority(authority, certificate)
        self._certificate = self._checked_certificate(certificate) if certificate is not None else None
        self._bind_given = bind is not None
        self._bind = parse_bind(bind) if bind is not None else Endpoint(LOOPBACK, 0)
        self._advertise = parse_advertise(advertise) if advertise is not None else None
        super().__init__(
            name,
            id=self._own_id(id) if isinstance(id, str) else id,
            cluster=cluster,
            seeds=seeds,
            zone=zone,
            config=config,
            secret=secret,
            insecure=insecure,
        )
        self._zero_configuration = seeds is None and self._bind.loopback
        self._stem = id if id is not None else self._name
        self._store = None
        if snapshot is not None:
            from .snapshot import Store, checked_path

            self._store = Store(checked_path(snapshot), self._realm, self._config.limits, self._signing())

    def _checked_authority(self, authority: object, certificate: object) -> bytes:
        if authority is None:
            return b""
        if self._key is None or certificate is None:
            missing = "signing_key" if self._key is None else "certificate"
            raise ConfigError(
                f"authority: this peer has no {missing}, and others with this authority would refuse it. Pass both, or only "
                "look at the cluster with an Observer. Nothing was started."
            )
        if self._signed != "required":
            raise ConfigError(
                f"authority: with signed={self._signed!r} members that show no certificate would be taken in. Leave signed out. "
                "Nothing was started."
            )
        from .authority import authority_of

        return authority_of(authority)

    def _checked_certificate(self, given: object) -> Certificate:
        from .authority import checked_certificate

        return checked_certificate(given, self._key.public if self._key is not None else None, self._authority)

    def _signing(self) -> Signing | None:
        """For a node: how this peer signs, what it shows, and whose certificates others must show."""
        if self._key is None:
            return None
        shown = self._certificate.raw if self._certificate is not None else b""
        return replace(self._key.signing(self._signed), certificate=shown, authority=self._authority)

    def _own_id(self, stem: str) -> str:
        """The id of a signing peer ends in its key's fingerprint."""
        return stem if self._key is None else self._key.own_id(stem)

    def _drawn_id(self) -> str:
        return self._own_id(super()._drawn_id())

    def _checked_fork(self, fork: str) -> str:
        if fork not in self._FORKS:
            raise ConfigError(
                f"fork={fork!r}: {type(self).__name__} knows {' and '.join(map(repr, self._FORKS))}. "
                "An event loop does not survive a fork: start an AsyncPeer in the child itself. Nothing was started."
                if fork == "restart"
                else f"fork={fork!r}: known are {', '.join(map(repr, self._FORKS))}. Nothing was started."
            )
        return fork

    def _check_reach(self, *, insecure: bool) -> None:
        self._beyond = (insecure or self._keyring is not None) and self._bind_given
        if self._bind.unspecified and self._advertise is None:
            raise ConfigError(
                f"bind: {self._bind.host} is every address of this machine, and no peer can dial that. "
                "Say also under which address others reach it: advertise='10.0.0.5'. Nothing was started."
            )
        places = [("bind", self._bind), *([("advertise", self._advertise)] if self._advertise else [])]
        open_to_all = [f"{what} {place.host}" for what, place in places if not place.loopback]
        open_to_all += [f"seeds {seed.host}" for seed in self._seeds if not seed.loopback]
        if not open_to_all:
            return
        if not insecure and self._keyring is None:
            raise ConfigError(
                f"{', '.join(open_to_all)}: beyond this machine, anybody who reaches these ports could read and change the "
                "registry. Pass the cluster's secret= (`gossip keygen` makes one), or insecure=True if the network itself keeps "
                "strangers out. Nothing was started."
            )
        if not self._bind_given:
            raise ConfigError(
                f"{', '.join(open_to_all)}: a peer that talks to other machines needs an address they can dial. "
                "Say bind='0.0.0.0:7400', advertise='<address of this machine>'. Nothing was started."
            )
        if self._keyring is None:
            warnings.warn(
                f"{', '.join(open_to_all)}: this peer is open to anybody who reaches its ports", InsecureWarning, stacklevel=4
            )

    # where it is reached ----------------------------------------------------------------------------------------------

    def _has_names(self) -> bool:
        """Whether `_addresses` has to ask a resolver, which may take its time."""
        return any(place is not None and place.is_name for place in (self._bind, self._advertise))

    def _addresses(self) -> dict[str, str]:
        """The hosts of `bind` and `advertise` as IP addresses. Blocks while names are resolved; raises `ConfigError`."""
        places = [("bind", self._bind), *([("advertise", self._advertise)] if self._advertise else [])]
        return {place.host: _resolved(what, place.host) for what, place in places}

    def _make_node(
        self, sockets: Sockets, addresses: Mapping[str, str], seeds: tuple[str, ...] | None, rng: random.Random
    ) -> Mind:
        host, contact_port, publisher_port = self._bind_sockets(sockets, addresses)
        boot_ms, nonce, saved, me = time.time_ns() // 1_000_000, rng.getrandbits(64), self._saved, self._id
        last_start = saved.me.incarnation[0] if saved is not None and saved.me.id == me else -1
        past = [] if saved is None else saved.contacts
        return Node(
            Identity(me, self._name, self._realm, self._zone, host, contact_port, publisher_port, boot_ms, nonce, last_start),
            config=self._config,
            chance=rng,
            seeds=seeds,
            zero_configuration=self._zero_configuration,
            check_reach=self._advertise is not None or not self._bind.loopback,
            signing=self._signing(),
            revoked=saved.revoked if saved is not None else (),
            past=past if isinstance(self._catalogue, LastView) else None,
        )

    def _bind_sockets(self, sockets: Sockets, addresses: Mapping[str, str]) -> tuple[str, int, int]:
        """Bind contact and publisher; returns the host and the two ports that others dial."""
        host = addresses[self._bind.host]
        contact_port = sockets.bind_contact(host, self._bind.port)
        publisher_port = self._bind_publisher(sockets, host, contact_port)
        told = self._advertise
        if told is None:
            return host, contact_port, publisher_port
        return addresses[told.host], told.port or contact_port, told.publisher_port or publisher_port

    def _bind_publisher(self, sockets: Sockets, host: str, contact_port: int) -> int:
        if self._bind.publisher_port is not None:
            return sockets.bind_publisher(host, self._bind.publisher_port)
        if self._bind.port == 0:
            return sockets.bind_publisher(host, 0)
        try:
            return sockets.bind_publisher(host, contact_port + 1)
        except ConfigError:
            if not self._bind.loopback:  # beyond loopback a firewall has to know the port
                raise
            return sockets.bind_publisher(host, 0)

    # what was saved ---------------------------------------------------------------------------------------------------

    def _has_files(self) -> bool:
        """Whether `_prepare` has to read one, which may take its time."""
        return self._store is not None

    def _prepare(self) -> dict[str, str]:
        addresses = super()._prepare()
        if self._store is not None:
            self._store.acquire()
        return addresses

    def _start(self, addresses: Mapping[str, str]) -> None:
        try:
            super()._start(addresses)
        except BaseException:
            if self._store is not None and self._keeper is None:
                self._store.close()
            raise

    def _launch(self, addresses: Mapping[str, str]) -> None:
        if self._store is None or self._forked:  # a forked child has a life, and an id, of its own
            super()._launch(addresses)
            return
        drawn = self._id, self._id_drawn_in
        try:
            self._recall(self._store.acquire())
            super()._launch(addresses)
        except BaseException:
            if self._bus is None:
                self._saved, self._catalogue = None, Catalogue()
                self._id, self._id_drawn_in = drawn
            raise
        from .snapshot import Keeper

        node, saved, self._saved = self._node, self._saved, None
        assert isinstance(node, Node)
        others = saved.others if saved is not None else ()
        self._keeper = Keeper(self._name, self._store, node, self._config.limits, others, self._notice)
        self._keeper.start()

    def _recall(self, saved: Saved | None) -> None:
        """Be again who I was, and serve what was known then."""
        if saved is None:
            return
        if self._id_drawn_in and saved.me.header.name == self._name and self._may_be(saved.me.id):
            self._id, self._id_drawn_in = saved.me.id, os.getpid()
        revoked = {fingerprint_revoked(raw) for raw in saved.revoked}
        others = tuple(known for known in saved.others if known.id != self._id and known.id.rpartition("@")[2] not in revoked)
        self._saved = replace(saved, others=others)
        if others:
            self._catalogue = LastView.of(instance for known in others for instance in known.instances)

    def _may_be(self, id: str) -> bool:
        """Whether this id is one of my key, or names none where I have none."""
        return not names_a_key(id) if self._key is None else self._own_id(id) == id

    def _notice(self, text: str) -> None:
        """A NOTICE of this peer. Any thread; never raises."""
        with suppress(GossipError):
            self._post(lambda node, now: ([Happened(EventKind.NOTICE, node.id, None, None, text)], None), bounded=False)

    def _outgrow(self) -> None:
        last, node = self._catalogue, self._node
        if isinstance(last, LastView) and isinstance(node, Node) and not node.holds_past:
            self._catalogue = last.own

    def _counters(self) -> dict[str, int]:
        return {**super()._counters(), **(self._keeper.counters if self._keeper is not None else {})}

    def _end(self, leave: bool) -> None:
        until = time.monotonic() + CLOSE_S
        if self._keeper is not None:
            self._keeper.stop()  # it writes while the bus says goodbye
        super()._end(leave)
        if self._keeper is not None:
            self._keeper.join(max(until - time.monotonic(), 0.0))
        elif self._store is not None:
            self._store.close()

    # certificates -----------------------------------------------------------------------------------------------------

    def _certifying(self, certificate: object) -> Command:
        """The command that shows this certificate from now on. Raises `ConfigError`, `PeerClosed`; nothing changed."""
        self._refuse_fork()
        if self._certificate is None:
            raise ConfigError(
                "renew_certificate: this peer was started without a certificate. Start it anew with certificate=. "
                "Nothing was changed."
            )
        checked = self._checked_certificate(certificate)
        self._running()

        def command(node: Node, now: float) -> tuple[list[Effect], None]:
            effects = node.certify(checked, now)
            self._certificate = checked  # what a forked child begins anew with, too
            return effects, None

        return command

    def _revoking(self, revocation: object) -> Command:
        """The command that takes a revocation in, and tells all. Raises `ConfigError`, `PeerClosed`; nothing changed."""
        self._refuse_fork()
        if not self._authority:
            raise ConfigError("revoke: this peer was given no authority, and cannot tell who signed it. Nothing was changed.")
        from .authority import revocation_of

        checked = revocation_of(revocation)
        if not checked.signed_by(self._authority, verify):
            raise ConfigError("revoke: it was not signed by the authority that this peer is given. Nothing was changed.")
        self._running()
        return lambda node, now: node.revoke(checked.raw, now)

    # writes -----------------------------------------------------------------------------------------------------------

    def _registering(
        self,
        service: str,
        *,
        port: int,
        host: str | None,
        id: str | None,
        weight: int,
        labels: Mapping[str, str] | None,
        routes: Iterable[str],
        ttl: float | None,
    ) -> tuple[Instance, Command, Command]:
        """The instance, the command that registers it, and the one that takes just this back, had it come to pass."""
        if ttl is not None and not (isinstance(ttl, (int, float)) and not isinstance(ttl, bool) and 0 < ttl <= TTL_MAX_S):
            raise ConfigError(f"register(ttl={ttl!r}): a time to live is a number of seconds above 0; leave it out to stay")
        # Before it is asked whether this peer runs: what is wrong with the arguments is so in any case.
        given = checked_instance(
            service,
            host=host if host is not None else LOOPBACK,
            port=port,
            id=id,
            weight=weight,
            labels=labels,
            routes=routes,
            zone=self._zone,
            origin="",
        )
        if self._certificate is not None:
            self._certificate.refuse_uncovered(given.service)
        node = self._running()
        where = given.host if host is not None else node.local.me.header.host
        name = given.id if id is not None else join_address(where, port)
        instance = replace(given, host=where, id=name, origin=node.id)
        registered: list[int | None] = []

        def command(node: Node, now: float) -> tuple[list[Effect], int | None]:
            effects = node.register(instance, None if ttl is None else float(ttl), now)
            registered.append(node.registration_of(instance.key))
            return effects, registered[-1]

        def back(node: Node, now: float) -> tuple[list[Effect], None]:
            mine = node.registration_of(instance.key) in registered if registered else False
            return node.deregister([instance.key] if mine else [], now), None

        return instance, command, back

    def _checking(self, handle: Handle, check: Check | None) -> None:
        """Have the health of what was registered checked from now on. Starts a thread, the first time."""
        if check is None or self._closed:
            return
        node, key, number = self._node, handle.instance.key, handle.number

        def judge(critical: bool, reason: str) -> bool:
            """On the thread of the checks. False: it is registered no longer. Raises `GossipError` if the bus is too busy."""
            if self._closed or not isinstance(node, Node) or node.registration_of(key) != number:
                return False
            if reason:
                self._post(handle.judging(critical, reason))
            return True

        if self._checks is None:
            self._checks = Checks(self._name)
        self._checks.add(handle.instance, check, judge)

    def _new_life(self) -> None:
        super()._new_life()
        self._checks = None  # a forked child's parent has its thread
        self._saved = None
        self._keeper = None  # likewise

    def _mark_closed(self) -> bool:
        mine = super()._mark_closed()
        if mine and self._checks is not None:
            self._checks.stop()
        return mine

    # a forked child ---------------------------------------------------------------------------------------------------

    def abandon_in_child(self) -> None:
        """As in `Engine`; or, with `fork="restart"`, the first call here begins anew."""
        inherited = self._catalogue
        super().abandon_in_child()
        if not self._restarts or self._closed or isinstance(inherited, ForkedCatalogue):
            return
        if self._key is not None:
            self._key = self._key.again()
        self._id, self._id_drawn_in = self._own_id(f"{self._stem[:ID_STEM_MAX]}-{secrets.token_hex(6)}"), 0
        last = inherited.last if isinstance(inherited, Asleep) else LastView(inherited)
        self._catalogue = self._asleep(last)

    def _asleep(self, last: LastView) -> Asleep:
        return Asleep(last, lambda: native.start_raw(self._wake_up))

    def _wake_up(self) -> None:
        """After the first look, on a thread of its own, for a reader never waits."""
        with suppress(PeerForked):  # told in the log
            self._refuse_fork()

    def _refuse_fork(self) -> None:
        """In a forked child: raises `PeerForked`, or begins anew and waits for that, some milliseconds."""
        if self._forked:
            with self._life:
                if self._forked:
                    self._begin_anew()

    def _begin_anew(self) -> None:
        asleep = self._catalogue
        if not isinstance(asleep, Asleep):
            asleep.views  # noqa: B018 - raises PeerForked: it stays down
            return
        told = self._advertise
        try:
            if told is not None and (told.port or told.publisher_port):
                raise ConfigError(f"advertise names a port, {join_address(told.host, told.port)}, and that is the parent's")
            seeds, members = self._inherited_seeds(), self._members_known(include_dead=False)
            self._new_life()
            self._catalogue, self._last_members = asleep.last, members
            self._seeds = tuple(dict.fromkeys((*seeds, *self._seeds)))  # those who surely lived a moment ago come first
            self._bind, fixed = Endpoint(self._bind.host, 0), self._bind.port
            self._launch(self._addresses_used)
            self._forked = False
        except Exception as error:  # whatever it is, the child must live
            logger.error("! %s: cannot begin anew in this forked child: %s", self._name, error)
            self._stay_down(f"It could not begin anew: {error}. Start a Peer of its own in the child")
            raise PeerForked(self._not_mine(f"It could not begin anew: {error}")) from error
        except BaseException:  # interrupted, as by a signal handler that raises: the next look or call begins anew again
            if self._bus is not None:
                self._bus.stop(leave=False)
            self._forked, self._catalogue = True, self._asleep(asleep.last)
            raise
        if fixed and not self._bind.loopback:
            logger.warning("! %s: port %d is the parent's; others must reach this child at %s", self._name, fixed, self.address)

    def _inherited_seeds(self) -> tuple[HostSeed | DnsSeed | FileSeed, ...]:
        """The parent, and some of those it knew: so the child finds the cluster without being told."""
        if self._node is None:
            return ()
        local = self._node.local
        others = [origin.contact for origin in local.table.alive() if origin.contact != local.me.contact]
        some = random.SystemRandom().sample(others, min(len(others), SEEDS_INHERITED_MAX - 1))
        return parse_seeds([contact for contact in (local.me.contact, *some) if not contact.endswith(":0")])


def _resolved(what: str, host: str) -> str:
    try:
        return resolve(host) if Endpoint(host, 0).is_name else host
    except (OSError, UnicodeError) as error:  # UnicodeError: no name at all, such as a..b
        raise ConfigError(f"{what}: cannot resolve {host!r}: {error}. Pass an IP address. Nothing was started.") from error
