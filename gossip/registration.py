"""`Registration`: the handle of one registered instance, given to whoever registered it.

`Handle` is what it has in common with its twin for asyncio: every change, checked, as a command that nobody has run yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from .core.effects import Effect
from .core.node import Node
from .errors import PeerForked, RegistrationError
from .model import Instance, InstanceState, checked_labels, checked_routes, checked_weight
from .values import replace

Command = Callable[[Any, float], tuple[list[Effect], Any]]  # of the machine that the peer drives, and the time


class Commands(Protocol):
    """What a registration needs of its peer."""

    def run(self, command: Command) -> tuple[bool, Any]:
        """Run a command on the bus thread; `(False, None)` if the peer is closed. Raises `PeerForked` in a forked child."""
        ...


class Handle:
    """One registered instance, and its changes as commands: whoever inherits it has them run. Nothing here waits."""

    def __init__(self, instance: Instance, number: int) -> None:
        self._instance = instance
        self._number = number  # of the registration: the same key may be registered anew, and that is not ours

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._instance!r})"

    @property
    def instance(self) -> Instance:
        """The instance as it was last registered by this handle."""
        return self._instance

    @property
    def number(self) -> int:
        """Of this registration at its peer: one key may be registered several times in turn."""
        return self._number

    def _updating(self, weight: int | None, labels: Mapping[str, str] | None, routes: Iterable[str] | None) -> Command:
        service = self._instance.service
        changes: dict[str, object] = {}
        if weight is not None:
            changes["weight"] = checked_weight(service, weight)
        if labels is not None:
            changes["labels"] = checked_labels(service, labels)
        if routes is not None:
            changes["routes"] = checked_routes(service, routes)
        return self._changing(changes)

    def _draining(self) -> Command:
        return self._changing({"state": InstanceState.DRAINING})

    def _changing(self, changes: dict[str, object]) -> Command:
        def command(node: Node, now: float) -> tuple[list[Effect], Instance]:
            changed = replace(self._current(node), **changes)  # type: ignore[arg-type]
            effects = node.replace(changed, now)
            self._instance = changed  # in the order of the commands, and also when the caller waits no longer
            return effects, changed

        return command

    def judging(self, critical: bool, reason: str) -> Command:
        """The verdict of a health check. A draining instance stays draining; one that is gone is left alone."""

        def command(node: Node, now: float) -> tuple[list[Effect], None]:
            current = node.mine(self._instance.key)
            state = InstanceState.CRITICAL if critical else InstanceState.UP
            if current is None or not self._holds(node) or current.state in (InstanceState.DRAINING, state):
                return [], None
            self._instance = replace(current, state=state)
            return node.replace(self._instance, now, reason), None

        return command

    def _renewing(self) -> Command:
        def command(node: Node, now: float) -> tuple[list[Effect], None]:
            return node.renew(self._current(node).key, now), None

        return command

    def _deregistering(self) -> Command:
        key = self._instance.key
        return lambda node, now: (node.deregister([key] if self._holds(node) else [], now), None)

    def _holds(self, node: Node) -> bool:
        return node.registration_of(self._instance.key) == self._number

    def _current(self, node: Node) -> Instance:
        service, id = self._instance.key
        current = node.mine((service, id))
        if current is None or not self._holds(node):
            raise RegistrationError(
                f"{service}/{id} is registered no longer by this handle: it was deregistered, or its time to live ran out. "
                "Register it again. Nothing was changed."
            )
        return current


class Registration(Handle):
    """One registered instance. Any thread; a context manager that deregisters on exit. After `Peer.close` it does nothing.

    Each call is one round trip to the bus thread, some 100 µs when that is idle. All raise `PeerForked` in a forked child,
    and `GossipError` if the bus thread is too busy to answer within 10 s.
    """

    def __init__(self, peer: Commands, instance: Instance, number: int) -> None:
        super().__init__(instance, number)
        self._peer = peer
        self._process = os.getpid()

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
        return self._change(self._updating(weight, labels, routes))

    def drain(self) -> Instance:
        """Take the instance out of picks, routes and rings everywhere; `lookup(include_draining=True)` still shows it.

        For good: register again to come back. Raises `RegistrationError` if it is registered no longer.
        """
        return self._change(self._draining())

    def _change(self, command: Command) -> Instance:
        ran, changed = self._run(command)
        return changed if ran else self._instance

    def renew(self) -> None:
        """Start the time to live anew. Sends nothing. Raises `RegistrationError` if it ran out."""
        self._run(self._renewing())

    def deregister(self) -> None:
        """Remove the instance everywhere. Idempotent."""
        self._run(self._deregistering())

    def _run(self, command: Command) -> tuple[bool, Any]:
        if os.getpid() != self._process:
            raise PeerForked(
                f"{self._instance.service}/{self._instance.id} was registered before this process was forked, by the parent. "
                "Nothing was changed. Register what runs here"
            )
        return self._peer.run(command)

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *_: object) -> None:
        self.deregister()
