"""Signatures: what is said of an origin that signs is stored, and passed on, only as it signed it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest

from gossip.core.author import REISSUE_DELTAS_MIN, REISSUE_QUIET_MIN, REISSUE_QUIET_S
from gossip.core.effects import (
    Answer,
    Asked,
    Blamed,
    Happened,
    Heard,
    Probe,
    Probed,
    ProbeOutcome,
    Publish,
    Shun,
    Subscribed,
    TurnOut,
)
from gossip.core.fields import NUMBER_MAX
from gossip.core.guard import STANDING_S
from gossip.core.messages import (
    Accusation,
    Charge,
    Delta,
    Entry,
    Evidence,
    HeaderFlags,
    Heartbeat,
    Ping,
    Want,
)
from gossip.core.node import Node
from gossip.core.origin import LOG_BYTES_MAX
from gossip.core.overlay import CIRCLE
from gossip.core.selfhood import ACCUSED_MAX, REFUTATIONS_AT_ONCE, REFUTATIONS_PER_S, RISES_PER_MINUTE
from gossip.core.signatures import SIGNATURE_BYTES, Seal, Signing, fingerprint, id_of, names_a_key
from gossip.model import EventKind, MemberState
from gossip.simulation.notary import Notary

NodeOf = Callable[..., Node]


class Pen:
    """An origin that signs, without its node: writes frames. `cluster` is the one it signs for."""

    def __init__(self, make: Any, signing: Signing, stem: str, number: int, cluster: str = "default") -> None:
        self.make, self.signing, self.seal = make, signing, Seal(cluster, signing)
        self.id = id_of(stem, signing.public)
        self.header = make.header(number, key=signing.public)
        self.hash = make.codec.hash(self.id)

    def state(self, version: int = 1, **fields: Any) -> bytes:
        return self.write(self.make.state(self.id, version, header=fields.pop("header", self.header), **fields))

    def delta(self, since: int, **fields: Any) -> bytes:
        return self.write(self.make.delta(self.id, since, fields.pop("version", since + 1), **fields))

    def write(self, delta: Delta) -> bytes:
        frame: bytes = self.make.codec.encode_delta(delta, self.seal.signed)
        return frame

    def beat(self, number: int, recipient: bytes, **fields: Any) -> bytes:
        beat = Heartbeat(self.hash, self.make.life, fields.pop("version", 1), 0, 0, **fields)
        return self.seal.signed_beat(self.make.codec.encode(beat), number, recipient)  # type: ignore[arg-type]


@pytest.fixture
def notary() -> Notary:
    return Notary()


@pytest.fixture
def issue(notary: Notary) -> Callable[..., Signing]:
    chance = random.Random(5)
    return lambda **options: notary.issue(chance, **options)


@pytest.fixture
def signer_of(node_of: NodeOf, issue: Callable[..., Signing]) -> NodeOf:
    """A node that signs, and by default takes in nobody who does not."""

    def build(number: int, *, required: bool = True, **options: Any) -> Node:
        signing = issue(required=required)
        return node_of(number, id_of(f"n{number}", signing.public), signing=signing, **options)

    return build


@pytest.fixture
def node(signer_of: NodeOf) -> Node:
    return signer_of(1)


@pytest.fixture
def pen(make: Any, issue: Callable[..., Signing]) -> Pen:
    return Pen(make, issue(), "orders", 20)


def push(node: Node, frame: bytes, now: float = 0.0, token: bytes = b"t") -> list[Any]:
    """Somebody tells it over a connection of his own."""
    return node.handle(Asked(token, frame), now)


def notices(effects: list[Any]) -> list[str]:
    return [e.reason for e in effects if type(e) is Happened and e.kind is EventKind.NOTICE]


def shown(node: Node, id: str = "i1") -> Any:
    return node.local.directory.shown(("orders", id))


def known(node: Node, pen: Pen, **fields: Any) -> Any:
    """This origin is a member, with the instance i1, linked both ways."""
    push(node, pen.state(put=("i1",), **fields))
    node.handle(Subscribed(b"@" + pen.hash), 0.0)
    node.tick(0.0)
    return node.local.table.origins[pen.id]


def ranged(node: Node, make: Any, frame: bytes, sender: bytes, source: str = "10.0.0.77:7401") -> Heard:
    """A frame with the whole of a ring to be served, over a link."""
    limit = (node.local.fan._origin_positions[0] - 1) % CIRCLE
    return Heard(b"@" + node.local.me.hash + make.codec.envelope(0, limit, sender) + frame, source)


# ids and bytes --------------------------------------------------------------------------------------------------------


def test_the_id_of_a_signing_peer_ends_in_its_keys_fingerprint_and_says_that_it_signs() -> None:
    id = id_of("orders-1", bytes(32))
    assert id == f"orders-1@{fingerprint(bytes(32))}"
    assert id_of(id, bytes(32)) == id
    assert names_a_key(id)
    assert not names_a_key("orders-1")
    assert not names_a_key("orders@home")


def test_what_does_not_sign_is_encoded_as_ever(make: Any) -> None:
    delta = make.state("a", put=("i1",))
    assert make.codec.encode_delta(delta) == make.codec.encode_delta(delta, None)
    decoded = make.codec.decode(make.codec.encode_delta(delta))
    assert (decoded.signed, decoded.header.key, decoded.header.extra) == (False, b"", ())


def test_a_signed_delta_is_read_as_a_plain_one_by_who_does_not_verify(node_of: NodeOf, pen: Pen) -> None:
    plain = node_of(1)
    known(plain, pen)
    assert shown(plain).origin == pen.id


@pytest.mark.parametrize("verifying", [True, False])
def test_an_origin_that_signs_is_told_in_its_own_words(
    signer_of: NodeOf, node_of: NodeOf, pen: Pen, make: Any, verifying: bool
) -> None:
    node = signer_of(1) if verifying else node_of(1)
    said = [pen.state(put=("i1",)), pen.delta(1, put=("i2",)), pen.delta(2, removed=(make.key("i1"),))]
    for frame in said:
        push(node, frame)
    answers = push(node, make.codec.encode(Want((Entry(pen.id, (0, 0), 0, 0),))))
    assert [effect.frame for effect in answers if type(effect) is Answer][: len(said)] == said
    later = push(node, make.codec.encode(Want((Entry(pen.id, make.life, 2, 0),))))
    assert next(effect.frame for effect in later if type(effect) is Answer) == said[2]


def test_what_was_verified_is_not_verified_again(node: Node, pen: Pen, notary: Notary) -> None:
    state, late = pen.state(put=("i1",)), pen.delta(2)
    for frame in (state, late):
        push(node, frame)
    before = notary.verified
    for frame in (state, late, pen.delta(1), state, late):
        push(node, frame)
    assert notary.verified == before + 1
    assert node.local.table.origins[pen.id].version == 3


# forgeries ------------------------------------------------------------------------------------------------------------


def _altered(pen: Pen, other: Pen) -> bytes:
    frame = pen.delta(1, put=("i1",))
    return frame.replace(b"10.0.0.9", b"10.6.6.6")


FORGERIES: dict[str, Callable[[Pen, Pen], bytes]] = {
    "not signed": lambda pen, other: pen.make.codec.encode_delta(pen.make.delta(pen.id, 1, 2, put=("i9",))),
    "signed by another": lambda pen, other: other.write(pen.make.delta(pen.id, 1, 2, put=("i9",))),
    "signed by another whose key it brings": lambda pen, other: other.write(
        pen.make.state(pen.id, 2, header=other.header, put=("i9",))
    ),
    "no key at all": lambda pen, other: pen.make.codec.encode_delta(pen.make.state(pen.id, 2, put=("i9",))),
    "altered": _altered,
    "removed": lambda pen, other: other.write(pen.make.delta(pen.id, 1, 2, removed=(pen.make.key("i1"),))),
    "a goodbye": lambda pen, other: other.write(
        pen.make.delta(pen.id, 1, 2, header=dataclasses.replace(pen.header, flags=HeaderFlags.LEAVING))
    ),
    "a refutation": lambda pen, other: other.write(
        pen.make.delta(pen.id, 1, 2, header=dataclasses.replace(pen.header, pulse=9))
    ),
    "a version of 2^63 - 1": lambda pen, other: other.write(pen.make.state(pen.id, NUMBER_MAX, header=pen.header)),
    "a later life": lambda pen, other: other.write(pen.make.state(pen.id, 1, header=pen.header, life=(2_000, 1))),
    "a later life of 2^63 - 1": lambda pen, other: other.write(
        pen.make.state(pen.id, 1, header=pen.header, life=(NUMBER_MAX, 1))
    ),
    "its own, of another cluster": lambda pen, other: Pen(pen.make, pen.signing, "orders", 20, "elsewhere").delta(1, put=("i9",)),
    "early": lambda pen, other: other.write(pen.make.delta(pen.id, 7, 8, put=("i9",))),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_nothing_that_the_origin_did_not_sign_is_stored(
    node: Node, pen: Pen, make: Any, issue: Callable[..., Signing], how: str
) -> None:
    origin = known(node, pen)
    before = shown(node)
    effects = push(node, FORGERIES[how](pen, Pen(make, issue(), "insider", 30)))
    assert shown(node) == before
    assert shown(node, "i9") is None
    assert (origin.version, origin.incarnation, origin.state, origin.early) == (1, make.life, MemberState.ALIVE, {})
    refused = node.local.counters["forgeries_refused"] + node.local.counters["unsigned_refused"]
    assert refused == 1
    assert any(pen.id in notice for notice in notices(effects))


def test_a_replay_of_an_earlier_life_changes_nothing(node: Node, pen: Pen, make: Any) -> None:
    old = pen.state(4, put=("i1", "i2"))
    push(node, old)
    push(node, pen.state(1, put=("i3",), life=(2_000, 1)))
    push(node, old)
    assert [shown(node, id) is not None for id in ("i1", "i2", "i3")] == [False, False, True]


def test_an_honest_leap_needs_no_question_for_it_is_signed(node: Node, pen: Pen) -> None:
    known(node, pen)
    push(node, pen.state(NUMBER_MAX - 5, put=("i2",), life=(NUMBER_MAX - 5, 1)))
    assert node.local.table.origins[pen.id].version == NUMBER_MAX - 5
    assert node.local.counters["deltas_doubted"] == 0


def test_who_claims_a_later_life_of_mine_without_my_key_gets_no_answer(
    node: Node, make: Any, issue: Callable[..., Signing]
) -> None:
    insider, me = Pen(make, issue(), "insider", 30), node.local.me
    life = me.incarnation
    push(node, insider.write(make.state(me.id, 1, header=make.header(9, key=insider.signing.public), life=(9_000, 1))))
    push(node, insider.write(make.state(me.id, 1, header=make.header(9, key=node._seal.public), life=(9_000, 1))))
    assert node.local.me.incarnation == life


@pytest.mark.parametrize("first", ["owner", "insider"])
def test_who_lives_at_an_address_is_shown_there_before_who_began_a_later_life(
    node: Node, pen: Pen, make: Any, issue: Callable[..., Signing], first: str
) -> None:
    insider = Pen(make, issue(), "zz-insider", 77)
    own = make.instance("10.0.0.20:80", pen.id, host="10.0.0.20")
    taken = [make.instance("10.0.0.20:80", insider.id, host=host) for host in ("10.0.0.77", "10.0.0.20")]
    said = {
        "owner": [pen.write(dataclasses.replace(make.state(pen.id, header=pen.header), put=(own,)))],
        "insider": [
            insider.write(dataclasses.replace(make.state(insider.id, header=insider.header, life=(9_000 + n, 1)), put=(one,)))
            for n, one in enumerate(taken)
        ],
    }
    for frame in (*said.pop(first), *next(iter(said.values()))):
        push(node, frame)
    assert shown(node, "10.0.0.20:80") == own


# what is passed on ----------------------------------------------------------------------------------------------------


def test_a_range_is_passed_on_at_once_and_after_a_forgery_only_what_is_verified(
    node: Node, pen: Pen, make: Any, issue: Callable[..., Signing]
) -> None:
    insider = Pen(make, issue(), "insider", 77)
    known(node, pen)
    push(node, insider.state())
    node.handle(Subscribed(b"@" + insider.hash), 0.0)

    def passed(frame: bytes, now: float) -> bool:
        effects = node.handle(ranged(node, make, frame, insider.hash), now)
        return any(type(effect) is Publish and effect.frame.endswith(frame) for effect in effects)

    forged = [insider.write(make.delta(pen.id, 1, 2, put=(f"i{number}",))) for number in range(3)]
    assert passed(forged[0], 1.0)
    assert not passed(forged[1], 1.1)
    assert passed(pen.delta(1, put=("i2",)), 1.2)
    assert passed(pen.delta(1, put=("i2",)), 1.3), "the other tree needs it as well"
    assert not passed(insider.write(make.delta(pen.id, 1, 2, put=("i7",))), 1.4), "the number of a duplicate, other words"
    assert passed(insider.write(make.delta(pen.id, 2, 3, put=("i8",))), 1.5 + STANDING_S)


def test_what_is_not_signed_at_all_is_not_even_passed_on_once(node: Node, pen: Pen, make: Any) -> None:
    known(node, pen)
    frame = make.codec.encode_delta(make.delta(pen.id, 1, 2))
    effects = node.handle(ranged(node, make, frame, pen.hash), 1.0)
    assert not [effect for effect in effects if type(effect) is Publish]


def test_who_forges_is_named_and_after_twenty_its_link_is_cut(
    node: Node, pen: Pen, make: Any, issue: Callable[..., Signing]
) -> None:
    insider = Pen(make, issue(), "insider", 77)
    known(node, pen)
    push(node, insider.state())
    effects: list[Any] = []
    for number in range(20):
        forged = insider.write(make.delta(pen.id, 1, 2, put=(f"i{number}",)))
        effects += node.handle(ranged(node, make, forged, insider.hash), 1.0 + number / 10)
        effects += node.handle(Blamed("10.0.0.77:7401"), 1.0 + number / 10)
    assert [effect.endpoint for effect in effects if type(effect) is Shun] == ["10.0.0.77:7401"]
    assert sum(f"it came from {insider.id}" in notice for notice in notices(effects)) == 1


def test_an_asker_that_forges_is_cut_off_as_one_that_talks_nonsense_is(
    node: Node, pen: Pen, make: Any, issue: Callable[..., Signing]
) -> None:
    insider = Pen(make, issue(), "insider", 77)
    known(node, pen)
    effects: list[Any] = []
    for number in range(20):
        forged = insider.write(make.delta(pen.id, 1, 2, put=(f"i{number}",)))
        effects += node.handle(Asked(b"bad", forged, "its connection"), 1.0)
    assert [effect for effect in effects if type(effect) is TurnOut] == [TurnOut(b"bad", "its connection")]


# who is taken in ------------------------------------------------------------------------------------------------------


def test_a_member_that_does_not_sign_is_refused_and_told_of(node: Node, make: Any) -> None:
    effects = push(node, make.codec.encode_delta(make.state("plain", put=("i1",))))
    assert "plain" not in node.local.table.origins
    assert any("plain is not taken in: it does not sign" in notice for notice in notices(effects))


def test_a_member_that_does_not_sign_learns_that_it_is_not_seen(node_of: NodeOf, pen: Pen, node: Node) -> None:
    plain = node_of(2)
    effects = [effect for frame in node._author.state_frames(node.local.me) for effect in push(plain, frame)]
    assert any("takes in nobody who does not sign" in notice for notice in notices(effects))


def test_signing_may_be_optional_but_an_id_that_names_a_key_is_held_to_it(signer_of: NodeOf, pen: Pen, make: Any) -> None:
    lenient = signer_of(1, required=False)
    push(lenient, make.codec.encode_delta(make.state("plain", put=("i2",))))
    push(lenient, make.codec.encode_delta(make.state(pen.id, put=("i3",))))
    assert "plain" in lenient.local.table.origins
    assert pen.id not in lenient.local.table.origins


def test_a_member_whose_id_is_not_its_keys_is_refused(node: Node, make: Any, issue: Callable[..., Signing]) -> None:
    pen = Pen(make, issue(), "orders", 20)
    wrong = make.state(id_of("orders", bytes(32)), 1, header=pen.header)
    push(node, pen.write(wrong))
    assert list(node.local.table.origins) == [node.id]


@pytest.mark.parametrize("forgotten", [False, True], ids=["its state is held", "its numbers are held"])
def test_who_comes_back_with_a_lower_clock_rises_above_its_former_life(
    wire: Any, node_of: NodeOf, signer_of: NodeOf, issue: Callable[..., Signing], forgotten: bool
) -> None:
    signing = issue()
    holder, former, again = (
        signer_of(1, now=0.0),
        node_of(2, id_of("b", signing.public), signing=signing, wall_ms=900_000),
        node_of(3, id_of("b", signing.public), signing=signing, wall_ms=800_000, now=2.0),
    )
    for one in (holder, former, again):
        wire.add(one)
    wire.talk(former, holder, 1.0)
    held = holder.local.table.origins[former.id]
    holder._membership.settle(held, MemberState.DEAD, "test", 1.5)
    if forgotten:
        holder._merger.expire(1_000.0)
    wire.away.add(former.local.me.contact)
    for now in (1_001.0, 1_002.0):
        wire.talk(again, holder, now)
    assert holder.local.table.origins[again.id].alive
    assert again.local.me.incarnation > former.local.me.incarnation


# signs of life --------------------------------------------------------------------------------------------------------


def watched(node: Node, pen: Pen, now: float) -> float:
    """Since when the origin is quiet, to whom watches it."""
    watch = node._detector.watches.of[pen.id]
    return watch.quiet_since


def test_only_a_new_heartbeat_signed_for_me_is_a_sign_of_life(
    node: Node, pen: Pen, make: Any, issue: Callable[..., Signing]
) -> None:
    known(node, pen)
    me, topic = node.local.me.hash, b"@" + node.local.me.hash
    insider = Pen(make, issue(), "insider", 77)
    node.handle(Heard(topic + pen.beat(5, me)), 1.0)
    assert watched(node, pen, 1.0) == 1.0
    plain = make.codec.encode(Heartbeat(pen.hash, make.life, 1, 0, 0))
    forged = insider.seal.signed_beat(plain, 6, me)
    for_another = pen.beat(7, insider.hash)
    for frame in (pen.beat(5, me), pen.beat(4, me), plain, forged, for_another):
        node.handle(Heard(topic + frame), 2.0)
        assert watched(node, pen, 2.0) == 1.0
    node.handle(Heard(topic + pen.beat(6, me)), 3.0)
    assert watched(node, pen, 3.0) == 3.0


def test_who_merely_calls_itself_so_is_no_sign_of_life(node: Node, pen: Pen, make: Any) -> None:
    known(node, pen)
    push(node, make.codec.encode(Ping(pen.id, make.life, 0)), 5.0)
    assert watched(node, pen, 5.0) == 0.0


def test_my_heartbeats_are_signed_for_each_of_my_watchers(signer_of: NodeOf, make: Any) -> None:
    one, other = signer_of(1), signer_of(2)
    for a, b in ((one, other), (other, one)):
        for frame in a._author.state_frames(a.local.me):
            push(b, frame)
        b.handle(Subscribed(b"@" + a.local.me.hash), 0.0)
    for node in (one, other):
        node.tick(0.5)
    told = [e.frame for e in one.tick(2.0) if type(e) is Publish and e.frame.startswith(b"@" + other.local.me.hash)]
    for frame in told:
        other.handle(Heard(frame), 2.0)
    assert other._detector.watches.of[one.id].quiet_since == 2.0
    assert other.local.counters["forgeries_refused"] == 0


# saying all anew ------------------------------------------------------------------------------------------------------


def test_who_signs_says_all_anew_before_others_keep_too_much(signer_of: NodeOf, make: Any) -> None:
    one, other = signer_of(1), signer_of(2)
    for frame in one._author.state_frames(one.local.me):
        push(other, frame)
    other_hash = other.local.me.hash
    one.handle(Subscribed(b"@" + other_hash), 0.0)
    instance = make.instance(origin=one.id)
    effects = one.register(instance, None, 0.0)
    for number in range(4 * REISSUE_DELTAS_MIN):
        effects += one.replace(dataclasses.replace(instance, weight=1 + number % 90), 0.0)
    frames = [e.frame for e in effects if type(e) is Publish and e.frame.startswith(b"@" + other_hash)]
    kept = 0
    for frame in frames:
        other.handle(Heard(frame), 0.0)
        kept = max(kept, len(other.local.table.origins[one.id].log))
    held = other.local.table.origins[one.id]
    assert (held.version, held.instances) == (one.local.me.version, one.local.me.instances)
    assert REISSUE_DELTAS_MIN // 2 < kept <= REISSUE_DELTAS_MIN + 1
    assert other.local.counters["deltas_gap"] == 0


def test_who_signs_says_all_anew_once_it_is_quiet(signer_of: NodeOf, make: Any) -> None:
    one = signer_of(1)
    for number in range(REISSUE_QUIET_MIN):
        one.register(make.instance(f"i{number}", one.id), None, 0.0)
    one.tick(0.1)
    assert (one.tick(0.1 + REISSUE_QUIET_S / 2), one.local.me.version) == ([], REISSUE_QUIET_MIN + 1)
    one.tick(0.2 + REISSUE_QUIET_S)
    assert one.local.me.version == REISSUE_QUIET_MIN + 2
    one.tick(9.0)
    one.tick(99.0)
    assert one.local.me.version == REISSUE_QUIET_MIN + 2, "once"


def test_who_does_not_sign_never_says_all_anew(node_of: NodeOf, make: Any) -> None:
    one = node_of(1)
    for number in range(4 * REISSUE_DELTAS_MIN):
        one.register(make.instance(f"i{number}", one.id), None, 0.0)
    for now in (0.1, 9.0, 99.0):
        one.tick(now)
    assert one.local.me.version == 4 * REISSUE_DELTAS_MIN + 1


def test_one_that_never_says_all_anew_is_not_followed_for_ever(node: Node, pen: Pen) -> None:
    origin = known(node, pen)
    text = "x" * 900
    for since in range(1, 2 * LOG_BYTES_MAX // 900):
        push(node, pen.write(pen.make.delta(pen.id, since, since + 1, header=dataclasses.replace(pen.header, extra=(text,)))))
    assert origin.log_bytes <= LOG_BYTES_MAX + 2 * origin.base_bytes
    assert node.local.counters["origins_refused"] > 0
    push(node, pen.state(5_000, put=("i1",)))
    assert (origin.version, origin.log_bytes) == (5_000, 0)


# accusations ----------------------------------------------------------------------------------------------------------


def accuse(node: Node, make: Any, subject: str, accuser: str, now: float, **fields: Any) -> list[Any]:
    held = node.local.table.origins[subject]
    life = fields.pop("life", held.incarnation), fields.pop("pulse", held.header.pulse)
    charge = Charge(subject, *life, fields.pop("evidence", Evidence.CLOSED))
    counter = fields.pop("counter", 1)
    return node.handle(Heard(b"*" + make.codec.encode(Accusation(accuser, make.life, counter, (charge,)))), now)


def refused_at_both(node: Node, origin: Any, now: float) -> None:
    """Connects to the publisher and to the contact of a peer are refused, as where its process is gone."""
    for endpoint in (origin.publisher, origin.contact):
        node.handle(Probed(endpoint, ProbeOutcome.REFUSED), now)


def test_three_who_say_that_links_closed_are_believed_once_i_found_so_myself(
    node: Node, pen: Pen, make: Any, issue: Callable[..., Signing]
) -> None:
    origin = known(node, pen)
    others = [Pen(make, issue(), f"other{number}", 30 + number) for number in range(4)]
    for other in others:
        push(node, other.state())
    effects = [effect for other in others[:3] for effect in accuse(node, make, pen.id, other.id, 1.0)]
    probes = [effect.endpoint for effect in effects if type(effect) is Probe]
    assert (probes, origin.state) == ([origin.publisher], MemberState.SUSPECTED)
    node.handle(Probed(origin.publisher, ProbeOutcome.OPEN), 1.1)
    assert origin.state is MemberState.SUSPECTED
    effects = accuse(node, make, pen.id, others[3].id, 1.15)
    assert [effect.endpoint for effect in effects if type(effect) is Probe] == probes, "it may have been ending"
    refused_at_both(node, origin, 1.2)
    assert origin.state is MemberState.DEAD


def test_three_who_say_that_links_closed_are_not_believed_of_a_peer_whose_publisher_alone_refuses(
    node: Node, pen: Pen, make: Any, issue: Callable[..., Signing]
) -> None:
    origin = known(node, pen)
    others = [Pen(make, issue(), f"other{number}", 30 + number) for number in range(3)]
    for other in others:
        push(node, other.state())
        accuse(node, make, pen.id, other.id, 1.0)
    effects = node.handle(Probed(origin.publisher, ProbeOutcome.REFUSED), 1.1)
    assert [effect.endpoint for effect in effects if type(effect) is Probe] == [origin.contact]
    node.handle(Probed(origin.contact, ProbeOutcome.OPEN), 1.2)
    assert origin.state is MemberState.SUSPECTED


def test_who_moved_while_i_looked_whether_its_links_are_closed_is_looked_for_where_it_is(
    node: Node, pen: Pen, make: Any, issue: Callable[..., Signing]
) -> None:
    origin = known(node, pen)
    others = [Pen(make, issue(), f"other{number}", 30 + number) for number in range(3)]
    for other in others:
        push(node, other.state())
    for other in others:
        accuse(node, make, pen.id, other.id, 1.0)
    former = origin.publisher
    header = dataclasses.replace(pen.header, publisher_port=pen.header.publisher_port + 10)
    push(node, pen.write(pen.make.delta(pen.id, 1, 2, header=header)))
    assert origin.publisher != former
    effects = node.handle(Probed(former, ProbeOutcome.REFUSED), 1.1)
    assert [effect.endpoint for effect in effects if type(effect) is Probe] == [origin.publisher]
    assert origin.state is MemberState.SUSPECTED
    refused_at_both(node, origin, 1.2)
    assert origin.state is MemberState.DEAD


@pytest.mark.parametrize("claimed", [{"life": (1_001, 0)}, {"pulse": 1}])
def test_a_life_or_pulse_that_its_origin_never_signed_is_not_accused(
    node: Node, pen: Pen, make: Any, claimed: dict[str, Any]
) -> None:
    origin = known(node, pen)
    accuse(node, make, pen.id, "x", 1.0, **claimed)
    assert (origin.state, node._detector.cases.of) == (MemberState.ALIVE, {})


def test_a_pulse_of_mine_that_nobody_believes_needs_no_refutation(node: Node, make: Any) -> None:
    accuse(node, make, node.id, "x", 1.0, pulse=1)
    assert node.local.me.version == 1


def test_claims_of_later_lives_of_mine_are_answered_at_a_bounded_rate(node: Node, make: Any) -> None:
    start, nonce = node.local.me.incarnation
    for number in range(1, 100):
        accuse(node, make, node.id, "x", 1.0, life=(start + 10 * number, nonce), counter=number)
    assert node.local.me.incarnation[0] <= start + 10 * RISES_PER_MINUTE + 1
    assert node.local.counters["lives_refused"] > 0


def test_nobody_accuses_in_my_name(node: Node, pen: Pen, make: Any) -> None:
    origin = known(node, pen)
    charge = Charge(pen.id, make.life, 0, Evidence.CLOSED)
    forged = Accusation(node.id, node.local.me.incarnation, 99, (charge,))
    effects = node.handle(Heard(b"*" + make.codec.encode(forged)), 1.0)
    assert origin.state is MemberState.ALIVE
    assert any("in the name of" in notice for notice in notices(effects))


def test_who_is_accused_again_and_again_refutes_each_at_a_bounded_rate_and_names_who_does_it(node: Node, make: Any) -> None:
    effects: list[Any] = []
    for number in range(200):
        now = 1.0 + number / 100
        me = node.local.me
        effects += accuse(node, make, me.id, "insider", now, pulse=me.header.pulse, counter=number)
        effects += node.tick(now)
    refuted = node.local.me.version - 1
    assert refuted <= REFUTATIONS_AT_ONCE + 2 * REFUTATIONS_PER_S + 1
    last = node.local.me.header.pulse
    node.tick(now + 1.0)
    assert node.local.me.header.pulse > last, "the last accusation is not left standing"
    named = [notice for notice in notices(effects) if notice.startswith("insider, or whoever speaks in its name")]
    assert len(named) == 1
    assert str(ACCUSED_MAX) in named[0]
    assert node.local.counters["refutations_delayed"] > 0


def test_signatures_have_the_size_of_ed25519s(pen: Pen) -> None:
    assert len(pen.signing.sign(b"") if pen.signing.sign else b"") == SIGNATURE_BYTES
