"""`Registration`: the handle of one registered instance, given to whoever registered it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from .core.effects import Effect
from .core.messages import InstanceKey
from .core.node import Node
from .errors import RegistrationError
from .model import Instance, InstanceState, checked_labels, checked_routes, checked_weight

Command = Callable[[Node, float], tuple[list[Effect], Any]]


class Commands(Protocol):
    """What a registration needs of its peer."""

    def run(self, command: Command) -> tuple[bool, Any]:
        """Run a command on the bus thread; `(False, None)` if the peer is closed. Raises `PeerForked` in a forked child."""
        ...


class Registration:
    """One registered instance. Any thread; a context manager that deregisters on exit. After `Peer.close` it does nothing."""

    def __init__(self, peer: Commands, instance: Instance) -> None:
        self._peer = peer
        self._instance = instance

    def __repr__(self) -> str:
        return f"Registration({self._instance!r})"

    @property
    def instance(self) -> Instance:
        """The instance as it was last registered by this handle."""
        return self._instance

    def update(
        self,
        *,
        weight: int | None = None,
        labels: Mapping[str, str] | None = None,
        routes: Iterable[str] | None = None,
    ) -> Instance:
        """Change what is given, keep the rest; returns the new instance, visible here when this returns.

        Raises `RegistrationError` for bad values, or if the instance is registered no longer; nothing changed then.
        """
        service = self._instance.service
        changes: dict[str, object] = {}
        if weight is not None:
            changes["weight"] = checked_weight(service, weight)
        if labels is not None:
            changes["labels"] = checked_labels(service, labels)
        if routes is not None:
            changes["routes"] = checked_routes(service, routes)
        return self._change(changes)

    def drain(self) -> Instance:
        """Take the instance out of picks, routes and rings everywhere; `lookup(include_draining=True)` still shows it."""
        return self._change({"state": InstanceState.DRAINING})

    def _change(self, changes: dict[str, object]) -> Instance:
        key = self._instance.key

        def command(node: Node, now: float) -> tuple[list[Effect], Instance]:
            current = self._current(node, key)
            changed = dataclasses.replace(current, **changes)  # type: ignore[arg-type]
            return node.replace(changed, now), changed

        ran, changed = self._peer.run(command)
        if ran:
            self._instance = changed
        return self._instance

    def renew(self) -> None:
        """Start the time to live anew. Sends nothing. Raises `RegistrationError` if it ran out."""
        key = self._instance.key

        def command(node: Node, now: float) -> tuple[list[Effect], None]:
            self._current(node, key)
            return node.renew(key, now), None

        self._peer.run(command)

    def deregister(self) -> None:
        """Remove the instance everywhere. Idempotent."""
        key = self._instance.key
        self._peer.run(lambda node, now: (node.deregister([key], now), None))

    def _current(self, node: Node, key: InstanceKey) -> Instance:
        current = node.mine(key)
        if current is None:
            raise RegistrationError(
                f"{key[0]}/{key[1]} is registered no longer: it was deregistered, or its time to live ran out. "
                "Register it again. Nothing was changed."
            )
        return current

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *_: object) -> None:
        self.deregister()
