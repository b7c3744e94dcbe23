"""A snapshot as bytes: what is kept, what comes back, and that nothing else does, whatever the bytes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from gossip.config import Limits
from gossip.core.codec import Codec
from gossip.core.messages import Header, Ping, Revoked
from gossip.core.past import Past
from gossip.core.saved import ENDED_MAX, MAGIC, VERSION, Encoding, Known, Saved, carried_on, decode, me_of, others_of
from gossip.core.selfhood import RISE_START_MAX
from gossip.core.signatures import Signing
from gossip.errors import WireError
from gossip.model import Instance, InstanceState, Labels, MemberState

CODEC, LIMITS = Codec("default"), Limits()
LIFE = 1_000, 1
HEADER = Header("n1", "10.0.0.1", 7400, 7401)
ONE = Instance("orders", "i1", "10.0.0.9", 80, labels=Labels({"k": "v"}), routes=("/a",), origin="bb")


def known(make: Any, id: str, *instances: Instance, **changes: Any) -> Known:
    held = tuple(replace(instance, origin=id, zone="z1") for instance in instances)
    return replace(Known(id, "z1", LIFE, 3, make.header(2 + len(id)), held), **changes)


def encoded(me: Known, *others: Known, bytes_max: int = 1 << 20) -> bytes:
    return b"".join(Encoding(CODEC, me, others, saved_ms=123, bytes_max=bytes_max))


def sealed(body: bytes) -> bytes:
    """Bytes with the checksum that belongs to them, as whoever doctors a file would write it."""
    return body + blake2b(body, digest_size=32).digest()


def framed(*frames: bytes) -> bytes:
    head = MAGIC + VERSION.to_bytes(2, "big") + bytes(9)
    return sealed(head + b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))


def read(content: bytes, limits: Limits = LIMITS) -> Saved:
    return decode(content, CODEC, limits)


# what comes back ------------------------------------------------------------------------------------------------------


def test_what_was_saved_comes_back_and_what_was_up_is_stale(make: Any) -> None:
    up = make.instance("up", labels=Labels({"v": "2"}), routes=("/a",), weight=7)
    draining, critical = (make.instance(s, state=InstanceState[s.upper()]) for s in ("draining", "critical"))
    other = known(make, "bb", up, draining, critical)
    found = read(encoded(known(make, "me"), other))
    assert (found.me, found.saved_ms, found.contacts) == (known(make, "me"), 123, [other.contact])
    stale = replace(other.instances[0], state=InstanceState.STALE)
    assert found.others == (replace(other, instances=(stale, *other.instances[1:])),)


def test_an_origin_of_many_instances_comes_back_whole_from_its_parts(make: Any) -> None:
    many = known(make, "bb", *(make.instance(f"i{number}", labels=Labels({"x": "y" * 900})) for number in range(250)))
    content = encoded(known(make, "me"), many)
    assert len(content) > 3 * 64 * 1024  # several parts
    (found,) = read(content, replace(LIMITS, origin_bytes_max=1 << 20)).others
    assert [instance.id for instance in found.instances] == [instance.id for instance in many.instances]


def test_others_come_in_the_order_in_which_the_last_is_shown(make: Any) -> None:
    others = [known(make, id, incarnation=life) for id, life in [("c", (2, 1)), ("a", (3, 0)), ("b", (2, 1))]]
    assert [one.id for one in read(encoded(known(make, "me"), *others)).others] == ["b", "c", "a"]


def test_an_origin_larger_than_is_taken_in_from_others_is_only_an_address(make: Any) -> None:
    content = encoded(known(make, "me"), known(make, "bb", make.instance("i1"), make.instance("i2")))
    for limits in (replace(LIMITS, instances_max=1), replace(LIMITS, origin_bytes_max=10)):
        (found,) = read(content, limits).others
        assert (found.contact, found.instances) == (known(make, "bb").contact, ())


def test_what_does_not_fit_is_cut_to_its_address_and_told(make: Any) -> None:
    fat = [known(make, id, *(make.instance(f"i{n}") for n in range(100))) for id in ("aa", "bb", "cc")]
    encoding = Encoding(CODEC, known(make, "me"), fat, saved_ms=0, bytes_max=4_000)
    content = b"".join(encoding)
    assert len(content) <= 4_000
    assert encoding.cut == 2
    assert [len(one.instances) for one in read(content).others] == [100, 0, 0]


# what is kept ---------------------------------------------------------------------------------------------------------


def test_the_living_are_kept_whole_the_dead_as_addresses_and_those_who_left_not_at_all(bench: Any) -> None:
    bench.join("lives", put=("i1",))
    dies, leaves = bench.join("dies", "leaves", put=("i2",))
    bench.membership.settle(dies, MemberState.DEAD, "test", 1.0)
    bench.membership.settle(leaves, MemberState.LEFT, "test", 1.0)
    kept = {one.id: one for one in others_of(bench.local)}
    assert {id: len(one.instances) for id, one in kept.items()} == {"lives": 1, "dies": 0}
    assert kept["dies"].contact == dies.contact
    bench.table.forget(dies)
    bench.table.forget(leaves)  # floors by now: of who left there is no address
    again = {one.id: one.contact for one in others_of(bench.local)}
    assert again == {"lives": kept["lives"].contact, "dies": dies.contact}
    assert {one.id for one in read(encoded(me_of(bench.local), *others_of(bench.local))).others} == {"lives", "dies"}


def test_no_more_of_the_dead_are_kept_than_the_bound_says_and_those_the_last_to_die(bench: Any) -> None:
    origins = bench.join(*(f"m{number}" for number in range(ENDED_MAX + 40)))
    for at, origin in enumerate(origins):
        bench.membership.settle(origin, MemberState.DEAD, "test", float(at))
    for origin in origins[:100]:
        bench.table.forget(origin)
    assert {one.id for one in others_of(bench.local)} == {f"m{number}" for number in range(40, ENDED_MAX + 40)}


def test_others_of_an_earlier_life_are_kept_on_unless_more_is_known_of_them(bench: Any, make: Any) -> None:
    bench.join("lives")
    (left,) = bench.join("left")
    bench.membership.settle(left, MemberState.LEFT, "test", 1.0)
    (gone,) = bench.join("gone")
    bench.membership.settle(gone, MemberState.LEFT, "test", 1.0)
    bench.table.forget(gone)
    carried = tuple(known(make, id, make.instance()) for id in ("lives", "left", "gone", "silent"))
    assert [one.id for one in others_of(bench.local, carried)] == ["lives", "silent"]
    assert carried_on(carried, looked_for=True, shown=True) == carried
    assert {one.instances for one in carried_on(carried, looked_for=True, shown=False)} == {()}
    assert carried_on(carried, looked_for=False, shown=False) == ()


def test_my_own_instances_end_with_me(bench: Any, make: Any) -> None:
    bench.author.register(make.instance("mine", "me"), None, 0.0)
    content = encoded(me_of(bench.local), *others_of(bench.local))
    assert b"mine" not in content
    assert read(content).me.id == "me"


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.fixture
def content(make: Any) -> bytes:
    return encoded(known(make, "me"), known(make, "bb", make.instance("i1", routes=("/a",))), known(make, "ccc"))


def test_every_truncation_is_refused(content: bytes) -> None:
    for size in range(len(content)):
        with pytest.raises(WireError):
            read(content[:size])


def test_every_changed_bit_is_refused(content: bytes) -> None:
    before = read(content)
    for at in range(8 * len(content)):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(WireError):
            read(bytes(changed))
    assert read(content) == before


def test_what_is_appended_is_refused(content: bytes) -> None:
    with pytest.raises(WireError, match="checksum"):
        read(content + b"x")


def test_a_later_format_is_called_so(content: bytes) -> None:
    with pytest.raises(WireError, match=r"version 2, and this release reads up to 1"):
        read(MAGIC + (2).to_bytes(2, "big") + content[10:])


@pytest.mark.parametrize("strange", [b"", b"\x89gossip", b"#!/bin/sh\n" * 100, bytes(1000)])
def test_what_is_no_snapshot_is_called_so(strange: bytes) -> None:
    with pytest.raises(WireError, match="no snapshot"):
        read(strange)


def test_that_of_another_cluster_is_called_so(content: bytes) -> None:
    with pytest.raises(WireError, match="another cluster"):
        decode(content, Codec("other"), LIMITS)
    with pytest.raises(WireError, match="with a secret"):
        decode(content, Codec("default\0secret"), LIMITS)


def test_a_life_that_no_clock_began_is_refused(make: Any) -> None:
    with pytest.raises(WireError, match="whose"):
        read(encoded(known(make, "me", incarnation=(RISE_START_MAX, 0))))
    assert read(encoded(known(make, "me", incarnation=(RISE_START_MAX - 1, 0)))).me.incarnation[0] == RISE_START_MAX - 1


def test_a_doctored_file_brings_nothing_that_the_wire_refuses(make: Any) -> None:
    me = CODEC.encode_state("me", "", LIFE, 1, make.header(1), (), {}, 1 << 16)
    state = make.state("bb", put=("i1",))
    for wrong, why in [
        (CODEC.encode(Ping("bb", LIFE, 0)), "no state"),
        (CODEC.encode_delta(make.delta("bb", 1, 2, put=("i1",))), "no state"),
        (CODEC.encode_delta(replace(state, part=0, parts=2)), "lacks a part"),
        (CODEC.encode_delta(replace(state, part=1, parts=2)), "lacks a part"),
        (CODEC.encode_delta(replace(state, put=(make.instance(weight=101),))), "an instance"),
        (CODEC.encode_delta(replace(state, put=(make.instance(service="a b"),))), "alphabet"),
        (CODEC.encode_delta(replace(state, header=make.header(1, host="example.org"))), "malformed"),
        (CODEC.encode_delta(state)[:-1], "malformed"),
        (b"", "longer than"),
    ]:
        with pytest.raises(WireError, match=why):
            read(framed(*me, wrong))
    assert [one.id for one in read(framed(*me, CODEC.encode_delta(state))).others] == ["bb"]
    with pytest.raises(WireError, match="longer than"):
        read(sealed(framed(*me)[:-32] + b"\xff\xff\xff\xff"))
    with pytest.raises(WireError, match="whose"):
        read(framed())


@hypothesis.given(st.binary(max_size=200))
def test_whatever_stands_under_a_right_checksum_decodes_or_is_refused(body: bytes) -> None:
    for content in (sealed(body), framed(body), sealed(framed()[:-32] + body)):
        with suppress(WireError):
            assert isinstance(read(content), Saved)


@hypothesis.given(data=st.data())
def test_mutations_under_a_right_checksum_decode_or_are_refused(data: st.DataObject) -> None:
    me = b"".join(CODEC.encode_state("me", "", LIFE, 1, HEADER, (), {}, 1 << 16))
    frame = bytearray(b"".join(CODEC.encode_state("bb", "", LIFE, 1, HEADER, (ONE,), {}, 1 << 16)))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(framed(me, bytes(frame)))
    except WireError:
        return
    assert all(one.state is not InstanceState.UP for other in found.others for one in other.instances)


# signed ---------------------------------------------------------------------------------------------------------------


def signing(secret: bytes) -> Signing:
    """As Ed25519, as far as it matters here."""
    return Signing(
        lambda public, message, signature: signature == blake2b(message, key=public, digest_size=64).digest(),
        lambda message: blake2b(message, key=secret, digest_size=64).digest(),
        secret,
    )


def test_a_signing_peer_believes_a_file_of_its_own_key_and_of_any_other_the_addresses_alone(make: Any) -> None:
    me, other = known(make, "me"), known(make, "bb", make.instance("i1"))
    mine, theirs = signing(b"mine"), signing(b"theirs")
    content = b"".join(Encoding(CODEC, me, [other], saved_ms=0, bytes_max=1 << 20, sign=mine.sign))
    whole = decode(content, CODEC, LIMITS, mine)
    assert (whole.proven, whole.me, [len(one.instances) for one in whole.others]) == (True, me, [1])
    assert decode(content, CODEC, LIMITS) == whole  # who does not sign asks for no signature
    for strange, key in [(content, theirs), (encoded(me, other), mine)]:
        found = decode(strange, CODEC, LIMITS, key)
        assert (found.proven, found.me.incarnation, found.contacts) == (False, (0, 0), [other.contact])
        assert [one.instances for one in found.others] == [()]


def test_what_was_revoked_is_saved_and_read_again(make: Any) -> None:
    me, other = known(make, "me"), known(make, "bb", make.instance("i1"))
    told = [bytes([number]) * 32 + bytes(72) for number in (1, 2)]
    content = b"".join(Encoding(CODEC, me, [other], saved_ms=0, bytes_max=1 << 20, revoked=[Revoked(tuple(told))]))
    found = decode(content, CODEC, LIMITS)
    assert (found.revoked, [one.id for one in found.others]) == (tuple(told), ["bb"])
    assert decode(encoded(me, other), CODEC, LIMITS).revoked == ()
    endless = Revoked((bytes(32) + b"\xff" * 72,))
    with pytest.raises(WireError, match="without an end"):
        decode(b"".join(Encoding(CODEC, me, [], saved_ms=0, bytes_max=1 << 20, revoked=[endless])), CODEC, LIMITS)


def test_of_a_signed_file_no_bit_may_change_either(make: Any) -> None:
    key = signing(b"mine")
    content = b"".join(Encoding(CODEC, known(make, "me"), [], saved_ms=0, bytes_max=1 << 20, sign=key.sign))
    for at in range(len(content)):
        with pytest.raises(WireError):
            decode(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], CODEC, LIMITS, key)
        with pytest.raises(WireError):
            decode(content[:at], CODEC, LIMITS, key)
    forged = sealed(content[: -32 - 64] + bytes(64))  # with the checksum that belongs to it
    assert not decode(forged, CODEC, LIMITS, key).proven


def test_the_past_of_a_first_start_is_none(bench: Any) -> None:
    past = Past(bench.local, None)
    past.begin(0.0)
    past.tick(1e9)
    past.end()
    assert (past.held, past.expects_others, bench.effects()) == (False, False, [])
