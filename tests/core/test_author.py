"""My own log: one numbered delta each, and a new life re-issues everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.author import REMOVALS_PER_DELTA
from gossip.core.codec import ENVELOPE, TOPIC_ALL, TOPIC_BYTES
from gossip.core.effects import Changed, Listen, Publish, Unlisten
from gossip.core.fields import NUMBER_MAX, PULSE_MAX
from gossip.core.messages import Delta
from gossip.errors import RegistrationError


@pytest.fixture
def bench(bench: Any, make: Any) -> Any:
    """With one subscriber, who sees what is broadcast."""
    bench.join("a", put=())
    bench.local.fan.add(make.codec.hash("a"))
    return bench


def said(bench: Any, make: Any) -> list[Delta]:
    """The deltas broadcast since the last time; those that were flooded besides are not told again."""
    frames = [effect.frame for effect in bench.effects(Publish) if not effect.frame.startswith(TOPIC_ALL)]
    return [make.codec.decode(frame[TOPIC_BYTES + ENVELOPE.size :]) for frame in frames]


def register(bench: Any, make: Any, id: str = "i1", ttl_s: float | None = None, now: float = 0.0, **changes: Any) -> None:
    bench.author.register(make.instance(id, "me", **changes), ttl_s, now)


def test_every_change_is_the_next_version(bench: Any, make: Any) -> None:
    register(bench, make, "i1")
    bench.author.replace(make.instance("i1", "me", weight=5))
    bench.author.remove([make.key("i1")])
    assert [(d.since, d.version, len(d.put), d.removed) for d in said(bench, make)] == [
        (1, 2, 1, ()),
        (2, 3, 1, ()),
        (3, 4, 0, (make.key("i1"),)),
    ]
    assert bench.local.me.version == 4


def test_it_is_seen_here_at_once(bench: Any, make: Any) -> None:
    register(bench, make)
    assert bench.shown() == make.instance(origin="me")
    bench.author.remove([make.key()], "gone")
    assert bench.effects(Changed)[-1] == Changed(make.instance(origin="me"), None, "gone")


def test_what_changes_nothing_says_nothing(bench: Any, make: Any) -> None:
    register(bench, make)
    bench.effects()
    assert bench.author.replace(make.instance(origin="me"))
    assert not bench.author.replace(make.instance("unknown", "me"))
    assert not bench.author.remove([make.key("unknown")])
    assert not bench.author.renew(make.key("unknown"), 1.0)
    assert said(bench, make) == []


def test_a_second_registration_under_one_key_changes_nothing(bench: Any, make: Any) -> None:
    register(bench, make)
    bench.effects()
    with pytest.raises(RegistrationError, match="already registered"):
        register(bench, make)
    assert bench.effects() == []


def test_the_bounds_of_number_and_weight_change_nothing(bench_of: Callable[[Config], Any], make: Any) -> None:
    bench = bench_of(Config(limits=Limits(instances_max=2, origin_bytes_max=300)))
    register(bench, make, "i1")
    with pytest.raises(RegistrationError, match="weigh"):
        register(bench, make, "i2", routes=("/" + "x" * 300,))
    with pytest.raises(RegistrationError, match="weigh"):
        bench.author.replace(make.instance("i1", "me", routes=("/" + "x" * 300,)))
    register(bench, make, "i2")
    with pytest.raises(RegistrationError, match="2 instances"):
        register(bench, make, "i3")
    assert bench.local.me.version == 3


def test_what_is_removed_makes_room_again(bench_of: Callable[[Config], Any], make: Any) -> None:
    bench = bench_of(Config(limits=Limits(origin_bytes_max=300)))
    for _ in range(50):
        register(bench, make, routes=("/" + "x" * 200,))
        bench.author.replace(make.instance("i1", "me"))
        bench.author.remove([make.key(), make.key()])
    assert bench.author._bytes == 0


def test_many_removals_are_told_in_frames_that_others_take(bench_of: Callable[[Config], Any], make: Any) -> None:
    bench = bench_of(Config(limits=Limits(instances_max=3000, origin_bytes_max=10**6)))
    bench.local.fan.add(make.codec.hash("a"))
    keys = [make.key(f"i{n}") for n in range(2000)]
    for _, id in keys:
        register(bench, make, id)
    bench.effects()
    bench.author.remove(keys)
    deltas = said(bench, make)
    assert [key for delta in deltas for key in delta.removed] == keys
    assert max(len(delta.removed) for delta in deltas) == REMOVALS_PER_DELTA


# times to live ----------------------------------------------------------------------------------------------------------


def test_what_is_not_renewed_in_time_is_removed(bench: Any, make: Any) -> None:
    register(bench, make, ttl_s=10.0)
    bench.effects()
    assert bench.author.next_deadline() == 10.0
    bench.author.expire(9.9)
    assert bench.effects() == []
    bench.author.expire(10.0)
    (changed,) = bench.effects(Changed)
    assert changed.after is None
    assert "10 s ran out" in changed.reason
    assert bench.author.next_deadline() == float("inf")


def test_renewing_postpones_and_sends_nothing(bench: Any, make: Any) -> None:
    register(bench, make, ttl_s=10.0)
    bench.effects()
    bench.author.renew(make.key(), 5.0)
    bench.author.expire(10.0)
    assert bench.effects() == []
    bench.author.expire(15.0)
    assert bench.shown() is None


def test_what_has_no_time_to_live_stays(bench: Any, make: Any) -> None:
    register(bench, make, ttl_s=10.0)
    bench.author.remove([make.key()])
    register(bench, make, now=1.0)
    bench.author.renew(make.key(), 2.0)
    bench.author.expire(1e9)
    assert bench.shown() is not None


def test_a_time_to_live_begins_anew_with_a_new_registration(bench: Any, make: Any) -> None:
    register(bench, make, ttl_s=10.0)
    bench.author.remove([make.key()])
    register(bench, make, ttl_s=10.0, now=5.0)
    bench.author.expire(10.0)
    assert bench.shown() is not None
    bench.author.expire(15.0)
    assert bench.shown() is None


def test_renewing_often_takes_no_room(bench: Any, make: Any) -> None:
    register(bench, make, "i1", ttl_s=1000.0)
    register(bench, make, "i2", ttl_s=2000.0)
    for step in range(1000):
        bench.author.renew(make.key("i1"), step / 10)
    assert len(bench.author._due) < 100
    bench.author.expire(1099.8)
    assert bench.shown("i1") is not None
    bench.author.expire(1099.9)
    assert (bench.shown("i1"), bench.shown("i2") is not None) == (None, True)


# lives ------------------------------------------------------------------------------------------------------------------


def test_a_refutation_exceeds_the_accusation_and_what_was_said_before(bench: Any, make: Any) -> None:
    bench.author.refute(4)
    bench.author.refute(0)
    assert [(d.version, d.header.pulse) for d in said(bench, make)] == [(2, 5), (3, 6)]


def test_a_refutation_is_flooded_as_the_accusation_was(bench: Any, make: Any) -> None:
    bench.author.refute(0)
    assert [e.frame[:1] for e in bench.effects(Publish)].count(TOPIC_ALL) == 1


def test_an_accusation_at_the_highest_pulse_is_refuted_by_a_new_life(bench: Any, make: Any) -> None:
    former = bench.local.me.incarnation
    bench.author.refute(PULSE_MAX)
    (state,) = said(bench, make)
    assert (state.incarnation > former, state.header.pulse) == (True, 0)


def test_a_new_life_re_issues_everything_in_one_step(bench: Any, make: Any) -> None:
    register(bench, make, "i1")
    register(bench, make, "i2")
    bench.author.refute(0)
    bench.effects()
    bench.author.rise_above((5_000, 7))
    (state,) = said(bench, make)
    assert (state.since, state.version, state.header.pulse) == (0, 1, 0)
    assert state.incarnation == (5_001, bench.local.me.incarnation[1])
    assert [instance.id for instance in state.put] == ["i1", "i2"]


def test_a_new_life_without_instances_is_issued_too(bench: Any, make: Any) -> None:
    bench.author.rise_above((5_000, 7))
    assert [(d.since, d.put) for d in said(bench, make)] == [(0, ())]


def test_the_digest_follows_a_new_life(bench: Any) -> None:
    before = bench.table.digest
    bench.author.rise_above((5_000, 7))
    assert bench.table.digest != before


def test_a_new_life_comes_before_other_holders_of_an_instance(bench: Any, make: Any) -> None:
    register(bench, make)
    bench.join("b", put=("i1",), life=(9_000, 0))
    assert bench.shown().origin == "b"
    bench.author.rise_above((10_000, 0))
    assert bench.shown().origin == "me"


def test_a_life_above_the_highest_number_is_not_begun(bench: Any, make: Any) -> None:
    former = bench.local.me.incarnation
    bench.author.rise_above((NUMBER_MAX, 0))
    assert bench.local.me.incarnation == former
    assert said(bench, make) == []
    assert bench.local.counters["lives_refused"] == 1


def test_a_goodbye_is_a_delta_with_the_flag(bench: Any, make: Any) -> None:
    bench.author.say_goodbye()
    (delta,) = said(bench, make)
    assert (delta.since, delta.version, bool(delta.header.flags)) == (1, 2, True)


def test_a_new_id_takes_all_instances_along(bench: Any, make: Any) -> None:
    former = bench.local.me.hash
    register(bench, make, ttl_s=10.0)
    bench.effects()
    bench.author.take_new_id("other")
    effects = bench.effects(Listen, Unlisten, Changed, Publish)
    assert Unlisten(b"@" + former) in effects
    assert Listen(b"@" + make.codec.hash("other")) in effects
    assert bench.shown() == make.instance(origin="other")
    assert sorted(bench.table.origins) == ["a", "other"]
    assert bench.local.overlay.members == {make.codec.hash("a"), make.codec.hash("other")}
    (state,) = [make.codec.decode(e.frame[TOPIC_BYTES + ENVELOPE.size :]) for e in effects if type(e) is Publish]
    assert (state.origin, state.since, [i.id for i in state.put]) == ("other", 0, ["i1"])
    bench.author.expire(10.0)
    assert bench.shown() is None
    assert bench.author._bytes == 0


def test_a_large_state_is_cut_into_parts_that_fit(bench_of: Callable[[Config], Any], make: Any) -> None:
    bench = bench_of(Config(limits=Limits(state_part_bytes_max=4096, frame_bytes_max=4096)))
    for n in range(200):
        register(bench, make, f"i{n}")
    frames = bench.author.state_frames(bench.local.me)
    assert max(map(len, frames)) <= 4096
    parts = [make.codec.decode(frame) for frame in frames]
    assert [(d.part, d.parts) for d in parts] == [(n, len(frames)) for n in range(len(frames))]
    assert [i.id for d in parts for i in d.put] == [f"i{n}" for n in range(200)]
