"""Which links to aim at, and when: the overlay's answer, for a newcomer only its nearest at first.

Invariant: links follow from the living members within `relink_interval_s` of a change; a newcomer takes far links when
half of its own subscribers are there, or after a while, because a range delegated to a peer without subscribers is lost.
"""

from __future__ import annotations

from .local import Local
from .mesh import Mesh
from .messages import IdHash

NEVER = float("inf")


class Linker:
    """Owns the mesh's aim. `links_dirty` is in `Local`: whoever changes members sets it."""

    def __init__(self, local: Local, mesh: Mesh) -> None:
        self._local = local
        self._mesh = mesh
        self._next = 0.0
        self._was_alone = True
        self._newcomer_since: float | None = None

    def subscribed(self) -> None:
        """Somebody linked to me: a newcomer may now dare its far links."""
        if self._newcomer_since is not None:
            self._local.links_dirty = True

    def due(self, now: float) -> bool:
        """Whether `relink` has something to do."""
        return (self._local.links_dirty and now >= self._next) or now >= self._mesh.next_deadline()

    def relink(self, now: float) -> set[IdHash]:
        """Aim at the links that follow from the members now; returns whom I am to watch."""
        local, config = self._local, self._local.config.overlay
        local.links_dirty = False
        if not local.alone:  # the first links of a newcomer need not wait
            self._next = now + config.relink_interval_s
        near_only = self._is_newcomer(now)
        by_hash = local.table.by_hash
        wanted = {hash: by_hash[hash].publisher for hash in sorted(local.overlay.links(near_only=near_only))}
        local.out += self._mesh.aim(wanted, local.overlay.members, now, timeout_s=config.link_timeout_s)
        if near_only:
            local.links_dirty = True
        return local.overlay.watched()

    def _is_newcomer(self, now: float) -> bool:
        local, config = self._local, self._local.config.overlay
        if local.alone:
            self._was_alone, self._newcomer_since = True, None
            return False
        if self._was_alone:
            self._was_alone, self._newcomer_since = False, now
        if self._newcomer_since is None:
            return False
        subscribers = len(local.fan.subscribers)
        if now - self._newcomer_since >= config.newcomer_wait_s or 2 * subscribers >= len(local.overlay.links(near_only=False)):
            self._newcomer_since = None
            return False
        return True

    def next_deadline(self) -> float:
        """When `due` may become true."""
        retiring = self._mesh.next_deadline()
        return self._next if self._local.links_dirty and self._next < retiring else retiring
