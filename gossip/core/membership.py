"""Who lives: the transitions of an origin, and all that follows from each in the directory, the overlay and the events.

    unknown ──admit──▶ ALIVE ◀──clear── SUSPECTED        SUSPECTED still serves; DEAD and LEFT are hidden and keep
                         │ └──suspect──▶ ┘ │             their state, later only their floor.
                         └──settle─────────┴──▶ DEAD, LEFT ──restore──▶ ALIVE
"""

from __future__ import annotations

from collections.abc import Iterable

from ..model import EventKind, Instance, Member, MemberState
from .local import Local
from .messages import Belief, InstanceKey
from .origin import Origin
from .table import SETTLED_MAX

_ENDS = {EventKind.MEMBER_DEAD: MemberState.DEAD, EventKind.MEMBER_LEFT: MemberState.LEFT}


class Membership:
    """Owns the liveness of every origin; the only caller of `Table.add`, `settle`, `revive`."""

    def __init__(self, local: Local) -> None:
        self._local = local

    def admit(self, origin: Origin) -> None:
        """A member that was not known."""
        local = self._local
        local.table.add(origin)
        self._place(origin)
        self.show(origin, {}, f"registered by {origin.id}")
        local.happened(
            EventKind.MEMBER_JOINED, origin.id, f"{origin.id} joined from {origin.contact}", after=origin.member()
        )

    def suspect(self, origin: Origin, reason: str) -> None:
        """Accused: it serves on, until a verdict."""
        if origin.state is MemberState.ALIVE:
            before = origin.member()
            origin.state = MemberState.SUSPECTED
            self._happened(EventKind.MEMBER_SUSPECTED, origin, reason, before)

    def clear(self, origin: Origin, reason: str) -> None:
        """Refuted."""
        if origin.state is MemberState.SUSPECTED:
            before = origin.member()
            origin.state = MemberState.ALIVE
            self._happened(EventKind.MEMBER_REFUTED, origin, reason, before)

    def settle(
        self, origin: Origin, state: MemberState, reason: str, now: float, former: Iterable[InstanceKey] = ()
    ) -> None:
        """Dead or gone: hidden from readers, off the rings, its links dropped. `former`: what readers may see besides."""
        local = self._local
        before = origin.member()
        local.table.settle(origin, state, now)
        for key in (*former, *origin.instances):
            self._drop(key, origin, reason)
        local.overlay.remove(origin.hash)
        if local.table.shed():
            local.bounds.hit("settled_shed", origin.id, f"more than {SETTLED_MAX} members ended lately; numbers are kept", now)
        local.links_dirty = True
        kind = EventKind.MEMBER_LEFT if state is MemberState.LEFT else EventKind.MEMBER_DEAD
        self._happened(kind, origin, reason, before)

    def forget_others(self, reason: str, now: float) -> None:
        """All that is known of others is too old to be passed on: begin anew, as a newcomer does."""
        table, me = self._local.table, self._local.me
        for id in [origin.id for origin in table.alive() if origin is not me]:
            self.settle(table.origins[id], MemberState.DEAD, reason, now)
        for origin in list(table.settled()):
            table.remove(origin)
        table.floors.clear()

    def restore(self, origin: Origin, *, again: bool) -> None:
        """It lives after all (a refutation), or `again` (a new life, or back after it was put out)."""
        local = self._local
        before = origin.member()
        local.table.revive(origin)
        self._place(origin)
        kind, what = (EventKind.MEMBER_JOINED, "came back") if again else (EventKind.MEMBER_REFUTED, "refuted its death")
        reason = f"{origin.id} {what}"
        self.show(origin, {}, reason)
        self._happened(kind, origin, reason, before)

    def believe(self, belief: Belief, now: float) -> None:
        """Take over what another says of a member, as an observer does of its source; nothing if it is not known."""
        origin, ended = self._local.table.origins.get(belief.subject), _ENDS.get(belief.kind)
        if origin is None:
            return
        if ended is not None:
            if origin.alive:
                self.settle(origin, ended, belief.reason, now)
        elif not origin.alive:
            self.restore(origin, again=belief.kind is EventKind.MEMBER_JOINED)
        elif belief.kind is EventKind.MEMBER_SUSPECTED:
            self.suspect(origin, belief.reason)
        else:
            self.clear(origin, belief.reason)

    def _happened(self, kind: EventKind, origin: Origin, reason: str, before: Member) -> None:
        """Tell the user, and whoever observes."""
        self._local.happened(kind, origin.id, reason, before=before, after=origin.member())
        self._local.show_message(Belief(origin.id, kind, reason))

    def show_end(self, former: Origin, reason: str) -> None:
        """Observers are to see my former id go."""
        self._local.show_message(Belief(former.id, EventKind.MEMBER_LEFT, reason))

    def show(self, origin: Origin, former: dict[InstanceKey, Instance], reason: str) -> None:
        """Readers see all that this origin holds now, where they saw `former`."""
        for key in former:
            if key not in origin.instances:
                self._drop(key, origin, f"deregistered by {origin.id}")
        for instance in list(origin.instances.values()):
            self._put(instance, reason)

    def change(self, origin: Origin, put: tuple[Instance, ...], removed: tuple[InstanceKey, ...], reason: str | None) -> None:
        """Readers see one delta of a living origin, folded as `Origin` folds it."""
        for key in removed:
            self._drop(key, origin, reason or f"deregistered by {origin.id}")
        for instance in put:
            self._put(instance, reason or f"registered by {origin.id}")

    def _put(self, instance: Instance, reason: str) -> None:
        changed = self._local.directory.put(instance, reason)
        if changed is not None:
            self._local.out.append(changed)

    def _drop(self, key: InstanceKey, origin: Origin, reason: str) -> None:
        changed = self._local.directory.drop(key, origin.id, reason)
        if changed is not None:
            self._local.out.append(changed)

    def _place(self, origin: Origin) -> None:
        self._local.overlay.add(origin.hash)
        self._local.links_dirty = True
