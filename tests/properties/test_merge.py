"""The laws of merging: idempotent, commutative up to repair, never backwards; and the digest is what it should be."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.config import Config
from gossip.core.author import Author
from gossip.core.codec import Codec
from gossip.core.local import Local
from gossip.core.membership import Membership
from gossip.core.merge import Merger
from gossip.core.messages import Delta, Header, HeaderFlags
from gossip.core.origin import Origin, Outcome
from gossip.core.table import stamp
from gossip.model import Instance, MemberState

CODEC = Codec("default")
ORIGINS = ("a", "b", "c")
KEYS = 6


class Replica:
    """One peer's tables, without detection."""

    def __init__(self) -> None:
        self.local = Local(
            id="me",
            cluster="default",
            zone="",
            header=Header("me", "10.0.0.1", 1, 2),
            incarnation=(1, 1),
            config=Config(),
            chance=random.Random(0),
        )
        self.table = self.local.table
        self.membership = Membership(self.local)
        Author(self.local, self.membership).begin()
        self.merger = Merger(
            self.local,
            self.membership,
            about_me=lambda delta, now: None,
            moved_on=lambda origin, now: None,
            voids=lambda origin: True,
        )

    def take(self, delta: Delta) -> Outcome:
        before = {id: (origin.incarnation, origin.version) for id, origin in self.table.origins.items()}
        outcome = self.merger.take(delta, CODEC.encode_delta(delta), 0.0).outcome
        for id, known in before.items():
            assert (self.table.origins[id].incarnation, self.table.origins[id].version) >= known
        return outcome

    def view(self) -> dict[str, Any]:
        return {
            origin.id: (origin.incarnation, origin.version, origin.state, origin.header, origin.instances)
            for origin in self.table.origins.values()
        }

    def shown(self) -> dict[tuple[str, str], Instance | None]:
        return {("s", f"i{n}"): self.local.directory.shown(("s", f"i{n}")) for n in range(KEYS)}


@dataclasses.dataclass
class History:
    """All that one origin ever said, and what it comes to."""

    deltas: list[Delta]
    final: Delta  # the whole state in the end


@st.composite
def histories(draw: Any, origin: str = "a", lives: int = 2, *, may_leave: bool = True) -> History:
    said: list[Delta] = []
    header = Header(origin, "10.0.0.2", 1, 2)
    whole: Delta | None = None
    for life in range(draw(st.integers(1, lives))):
        held: dict[str, Instance] = {}
        incarnation = (100 + life, draw(st.integers(0, 3)))
        header = dataclasses.replace(header, pulse=0, flags=HeaderFlags.NONE)
        for version in range(1, draw(st.integers(1, 7)) + 1):
            put = [f"i{n}" for n in draw(st.sets(st.integers(0, KEYS - 1), max_size=2))]
            removed = [id for id in sorted(held) if id not in put and draw(st.booleans())]
            records = [Instance("s", id, "h", 80, weight=draw(st.integers(1, 3)), origin=origin) for id in put]
            for id in removed:
                del held[id]
            held.update((record.id, record) for record in records)
            raised = draw(st.sampled_from([0, 0, 0, 1]))
            header = dataclasses.replace(header, pulse=header.pulse + raised)
            keys = tuple(("s", id) for id in removed)
            told = header if version == 1 or raised else None
            said.append(Delta(origin, "", incarnation, version - 1, version, told, tuple(records), keys))
            whole = Delta(origin, "", incarnation, 0, version, header, tuple(held.values()))
            if draw(st.integers(0, 4)) == 0:
                said.append(whole)
    assert whole is not None
    if may_leave and draw(st.integers(0, 5)) == 0:
        header = dataclasses.replace(header, flags=HeaderFlags.LEAVING)
        said.append(Delta(origin, "", whole.incarnation, whole.version, whole.version + 1, header))
        whole = dataclasses.replace(whole, version=whole.version + 1, header=header)
    return History(said, whole)


def repaired(replica: Replica, histories: Iterable[History]) -> None:
    """What anti-entropy does in the end: the state of each origin from somebody who holds it."""
    for history in histories:
        replica.take(history.final)


@given(histories())
def test_the_fold_of_the_deltas_is_the_state(history: History) -> None:
    folded, at_once = Replica(), Replica()
    for delta in history.deltas:
        folded.take(delta)
    at_once.take(history.final)
    if history.final.header.flags:  # who left without being known is not stored
        assert folded.table.origins["a"].state is MemberState.LEFT
        assert "a" not in at_once.table.origins
        assert not any(folded.shown().values())
    else:
        assert folded.view() == at_once.view()
        assert folded.shown() == at_once.shown()
    assert folded.table.digest == at_once.table.digest


@given(histories(), st.data())
def test_merging_twice_is_merging_once(history: History, data: Any) -> None:
    replica = Replica()
    for delta in history.deltas:
        replica.take(delta)
        before = replica.view(), replica.table.digest
        replica.local.out.clear()
        replica.take(data.draw(st.sampled_from(history.deltas[: history.deltas.index(delta) + 1])))
        assert (replica.view(), replica.table.digest) == before
        assert replica.local.out == []


@settings(max_examples=150)
@given(st.tuples(*(histories(origin, may_leave=False) for origin in ORIGINS)), st.integers(0, 2**32))
def test_any_order_with_losses_and_repeats_ends_in_one_view_after_repair(told: tuple[History, ...], salt: int) -> None:
    chance = random.Random(salt)
    everything = [delta for history in told for delta in history.deltas]
    views = []
    for _ in range(3):
        replica, arriving = Replica(), [delta for delta in everything for _ in range(chance.choice((0, 1, 1, 2)))]
        chance.shuffle(arriving)
        for delta in arriving:
            replica.take(delta)
        repaired(replica, told)
        views.append((replica.view(), replica.shown(), replica.table.digest))
    assert views[0] == views[1] == views[2]


@given(st.tuples(*(histories(origin) for origin in ORIGINS)), st.integers(0, 2**32))
def test_the_running_digest_is_the_one_computed_anew(told: tuple[History, ...], salt: int) -> None:
    chance, replica = random.Random(salt), Replica()
    arriving = [delta for history in told for delta in history.deltas]
    chance.shuffle(arriving)
    for delta in arriving:
        replica.take(delta)
        if chance.random() < 0.1:
            subject = chance.choice([o for o in replica.table.origins.values() if o is not replica.local.me] or [None])
            if subject is not None and subject.alive:
                replica.membership.settle(subject, MemberState.DEAD, "", 0.0)
        living = [origin for origin in replica.table.origins.values() if origin.alive]
        assert replica.table.living == len(living)
        assert replica.table.digest == sum(stamp(o.hash, o.incarnation, o.version) for o in living) % 2**64
        assert sum(replica.table.sums) % 2**64 == replica.table.digest
        assert replica.local.overlay.members == {origin.hash for origin in living}


@given(st.tuples(*(histories(origin) for origin in ORIGINS)), st.integers(0, 2**32))
def test_readers_see_of_each_instance_the_record_of_its_highest_living_holder(told: tuple[History, ...], salt: int) -> None:
    chance, replica = random.Random(salt), Replica()
    seen: dict[tuple[str, str], Instance] = {}
    arriving = [delta for history in told for delta in history.deltas]
    chance.shuffle(arriving)
    for delta in sorted(arriving, key=lambda one: one.version + chance.randrange(4)):
        replica.take(delta)
        for effect in replica.local.out:
            if type(effect).__name__ == "Changed":
                key = (effect.before or effect.after).key
                assert seen.get(key) == effect.before  # each change starts from what readers saw
                seen.pop(key, None)
                if effect.after is not None:
                    seen[key] = effect.after
        replica.local.out.clear()
        held: dict[tuple[str, str], list[tuple[Any, Instance]]] = {}
        for origin in replica.table.alive():
            for record in origin.instances.values():
                held.setdefault(record.key, []).append(((origin.incarnation, origin.id), record))
        assert seen == {key: max(records, key=lambda pair: pair[0])[1] for key, records in held.items()}
        assert replica.local.directory.count == len(seen)


@given(histories(may_leave=False), st.integers(1, 5), st.integers(0, 2**32))
def test_a_state_in_parts_is_the_state_whatever_the_order_of_its_parts(history: History, size: int, salt: int) -> None:
    whole = history.final
    groups = [whole.put[n : n + size] for n in range(0, len(whole.put), size)] or [()]
    parts = [dataclasses.replace(whole, put=put, part=n, parts=len(groups)) for n, put in enumerate(groups)]
    chance, replica, at_once = random.Random(salt), Replica(), Replica()
    arriving = [*parts, *chance.choices(parts, k=len(parts) - 1)]
    chance.shuffle(arriving)
    for delta in [*chance.sample(history.deltas, len(history.deltas) // 2), *arriving, *parts]:
        replica.take(delta)
    at_once.take(whole)
    assert replica.view() == at_once.view()


@given(histories(lives=1, may_leave=False), st.integers(0, 2**32))
def test_what_the_log_answers_brings_anyone_from_there_to_here(history: History, salt: int) -> None:
    deltas = [delta for delta in history.deltas if delta.since or delta.version == 1]
    origin = Origin("a", CODEC.hash("a"), deltas[0].incarnation, deltas[0].header or Header("", "", 1, 1), "")
    behind = Origin("a", CODEC.hash("a"), deltas[0].incarnation, origin.header, "")
    for delta in deltas:
        origin.apply(delta, CODEC.encode_delta(delta), log_deltas_min=3)
    for delta in deltas[: random.Random(salt).randint(1, len(deltas))]:
        behind.apply(delta, b"", log_deltas_min=3)
    answer = origin.deltas_since(behind.incarnation, behind.version)
    if answer is not None:
        for frame in answer:
            behind.apply(CODEC.decode(frame), frame, log_deltas_min=3)
        assert (behind.version, behind.instances, behind.header) == (origin.version, origin.instances, origin.header)
