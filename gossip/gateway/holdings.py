"""What was registered through this gateway: it lives with it. Registering the same again is no error, and no change.

An instance that another gateway took too, under the same id, lives until the last of them lets go of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .. import AsyncPeer, AsyncRegistration, ConfigError, GossipError, Instance, InstanceState, RegistrationError
from .problems import Problem
from .requests import Fields

SERVICE_OF_GATEWAYS = "gossip-gateway"  # each registers itself: so that others can be told where to go

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants registered."""

    service: str
    host: str
    port: int
    id: str | None
    weight: int
    labels: Mapping[str, str]
    routes: tuple[str, ...]
    ttl: float | None
    check: str | dict[str, Any] | None

    @classmethod
    def of(cls, fields: Fields, service: str, host: str, port: int) -> Wish:
        """The rest of a body whose place was read already. Without routes it gets `/<name>`. Raises `Problem`."""
        routes = fields.texts("routes")
        weight = fields.whole("weight")
        wish = cls(
            service=service,
            host=host,
            port=port,
            id=fields.text("id"),
            weight=1 if weight is None else weight,
            labels=fields.labels("labels") or {},
            routes=tuple(routes) if routes is not None else (f"/{service}",),
            ttl=fields.number("ttl"),
            check=fields.text_or_object("check"),
        )
        fields.done()
        return wish


@dataclass(slots=True)
class Held:
    """One registration, and the wish it came from."""

    registration: AsyncRegistration
    wish: Wish
    until: float | None  # monotonic; when its time to live will have run out


class Holdings:
    """All registrations of one gateway, at most as many as a peer may hold. One change at a time."""

    def __init__(self, peer: AsyncPeer, limit: int) -> None:
        self._peer, self._limit = peer, limit
        self._held: dict[Key, Held] = {}
        self._turn = asyncio.Lock()
        self.refused = 0  # for want of room

    def __len__(self) -> int:
        return len(self._held)

    async def hold(self, wish: Wish) -> tuple[Instance, bool]:
        """Register, or change what is registered; the instance, and whether it is new here. Raises `Problem`, `GossipError`."""
        async with self._turn:
            key = (wish.service, wish.id if wish.id is not None else _default_id(wish))
            held = self._held.get(key)
            if held is None:
                return await self._taken(key, wish), True
            if (same := await self._changed(held, wish)) is not None:
                return same, False
            former = held.wish if self._shows(held) else None
            await self._let_go(key)
            try:
                return await self._taken(key, wish), False
            except (RegistrationError, ConfigError):
                if former is not None:
                    with suppress(GossipError):
                        await self._taken(key, former)  # nothing was changed
                raise

    async def _taken(self, key: Key, wish: Wish) -> Instance:
        self._refuse_beyond_limit()
        registration = await self._register(wish, key[1])
        self._held[key] = Held(registration, wish, _until(wish))
        return registration.instance

    async def _let_go(self, key: Key) -> None:
        await self._held.pop(key).registration.deregister()

    async def _changed(self, held: Held, wish: Wish) -> Instance | None:
        """The instance after a change in place; None if it has to be registered anew."""
        now, mine = held.registration.instance, held.wish
        if (mine.host, mine.port, mine.ttl, mine.check) != (wish.host, wish.port, wish.ttl, wish.check):
            return None
        try:
            await held.registration.renew()
            if now.state is InstanceState.DRAINING:
                return None
            if (mine.weight, mine.labels, mine.routes) != (wish.weight, wish.labels, wish.routes):
                now = await held.registration.update(weight=wish.weight, labels=wish.labels, routes=wish.routes)
        except RegistrationError:
            if self._shows(held):
                raise
            return None  # its time to live ran out
        held.wish, held.until = wish, _until(wish)
        return now

    async def _register(self, wish: Wish, id: str) -> AsyncRegistration:
        return await self._peer.register(
            wish.service,
            port=wish.port,
            host=wish.host,
            id=id,
            weight=wish.weight,
            labels=wish.labels,
            routes=wish.routes,
            ttl=wish.ttl,
            check=wish.check,
        )

    def _refuse_beyond_limit(self) -> None:
        if len(self._held) >= self._limit:
            self._forget_gone()
        if len(self._held) >= self._limit:
            self.refused += 1
            raise Problem(503, f"This gateway holds {self._limit} registrations, its bound. Register at another gateway.")

    def _forget_gone(self) -> None:
        now = time.monotonic()
        gone = [key for key, held in self._held.items() if held.until is not None and held.until < now and not self._shows(held)]
        for key in gone:
            del self._held[key]

    def _shows(self, held: Held) -> bool:
        """Whether this peer still shows an instance of this key."""
        instance = held.registration.instance
        return any(one.id == instance.id for one in self._peer.lookup(instance.service, include_draining=True))

    # changes of what is held ------------------------------------------------------------------------------------------

    async def renew(self, service: str, id: str) -> Instance:
        """Its time to live starts anew. Raises `Problem`."""
        held = self._needed(service, id)
        async with self._turn:
            try:
                await held.registration.renew()
            except RegistrationError:
                raise self._gone(held) from None
            held.until = _until(held.wish)
        return held.registration.instance

    async def drain(self, service: str, id: str) -> Instance:
        """No more new work; registering it again brings it back. Raises `Problem`."""
        held = self._needed(service, id)
        async with self._turn:
            try:
                return await held.registration.drain()
            except RegistrationError:
                raise self._gone(held) from None

    async def deregister(self, service: str, id: str) -> Instance:
        """It goes, everywhere, unless another gateway holds it too. Raises `Problem`."""
        held = self._needed(service, id)
        async with self._turn:
            if (service, id) in self._held:
                await self._let_go((service, id))
        return held.registration.instance

    def _gone(self, held: Held) -> Problem:
        key = held.registration.instance.key
        self._held.pop(key, None)
        return Problem(404, f"{key[0]}/{key[1]} is registered no longer: its time to live ran out. Register it again.")

    def _needed(self, service: str, id: str) -> Held:
        held = self._held.get((service, id))
        if held is not None:
            return held
        for one in self._peer.lookup(service, include_draining=True):
            if one.id == id:
                raise self._elsewhere(one)
        text = f"{service}/{id}"[:256]
        raise Problem(404, f"{text} is not registered. Register it, or check service and id: GET /v1/instances lists them.")

    def _elsewhere(self, one: Instance) -> Problem:
        doors = [door for door in self._peer.lookup(SERVICE_OF_GATEWAYS) if door.origin == one.origin]
        where = f"the gateway at {doors[0].address}" if doors else f"the peer {one.origin}, which registered it itself"
        text = f"{one.service}/{one.id} lives with {where}, and only that can change it. Nothing was changed."
        more = {"gateway": f"http://{doors[0].address}"} if doors else {}
        return Problem(409, text, headers=None, origin=one.origin, **more)


def _default_id(wish: Wish) -> str:
    host = wish.host[1:-1] if wish.host.startswith("[") and wish.host.endswith("]") else wish.host
    return f"[{host}]:{wish.port}" if ":" in host else f"{host}:{wish.port}"


def _until(wish: Wish) -> float | None:
    return None if wish.ttl is None else time.monotonic() + wish.ttl
