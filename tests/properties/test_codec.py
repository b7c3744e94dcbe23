"""Whatever is encoded is decoded as it was; whatever is not ours is a `WireError` and nothing else."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.core import codec as wire
from gossip.core import fields
from gossip.core.certificates import REVOCATION_BYTES
from gossip.core.codec import DELTA_HEAD, PREFIX, Codec, UnknownKind
from gossip.core.messages import (
    BUCKETS,
    Accusation,
    Belief,
    Charge,
    Delta,
    DialBack,
    Done,
    Entries,
    Entry,
    Evidence,
    Foreign,
    Header,
    HeaderFlags,
    Heartbeat,
    History,
    Ping,
    Pong,
    Reached,
    Recall,
    Revoked,
    Sync,
    Want,
)
from gossip.core.origin import Origin, Outcome
from gossip.errors import WireError
from gossip.model import Event, EventKind, Instance, InstanceState, Labels, Member, MemberState

CODEC = Codec("default")

ids = st.from_regex(r"[A-Za-z0-9._:\[\]%/@-]{1,128}", fullmatch=True)
names = st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True)
numbers = st.integers(0, fields.NUMBER_MAX)
pulses = st.integers(0, fields.PULSE_MAX)
lives = st.tuples(numbers, st.integers(0, fields.NONCE_MAX))
ports = st.integers(1, 65535)
unmapped = st.ip_addresses().filter(lambda one: getattr(one, "ipv4_mapped", None) is None)  # those are spelled as IPv4
addresses = unmapped.map(str)
zones = st.from_regex(r"[A-Za-z0-9._:/-]{0,64}", fullmatch=True)
# What a later version may add: flat values, NaN apart, for it is not even equal to itself.
integers = st.integers(-(2**63), 2**64 - 1)
flat = st.none() | st.booleans() | integers | st.text(max_size=20) | st.binary(max_size=20) | st.floats(allow_nan=False)
extras = st.lists(flat, max_size=4).map(tuple)

headers = st.builds(
    Header,
    name=ids,
    host=addresses,
    contact_port=ports,
    publisher_port=ports,
    pulse=pulses,
    flags=st.sampled_from(HeaderFlags),
    interval_ms=st.integers(1, fields.INTERVAL_MS_MAX),
    boot_ms=numbers,
    boot_nonce=st.integers(0, fields.NONCE_MAX),
    extra=extras,
) | st.builds(
    Header,
    name=ids,
    host=addresses,
    contact_port=ports,
    publisher_port=ports,
    key=st.binary(min_size=fields.KEY_BYTES, max_size=fields.KEY_BYTES),
    certificate=st.binary(min_size=1, max_size=200),
    extra=extras,
)
texts = st.text(st.characters(codec="utf-8"), max_size=15)
hosts = st.from_regex(r"[a-z0-9.:-]{1,60}", fullmatch=True)
routes = st.lists(st.from_regex(r"(/[a-z0-9~%ä]{1,8}){1,5}", fullmatch=True) | st.just("/"), max_size=4).map(tuple)


def instances(zone: str, origin: str) -> st.SearchStrategy[Instance]:
    return st.builds(
        Instance,
        service=names,
        id=ids,
        host=hosts,
        port=ports,
        weight=st.integers(1, 100),
        labels=st.dictionaries(texts, texts, max_size=4).map(Labels),
        routes=routes,
        zone=st.just(zone),
        origin=st.just(origin),
        state=st.sampled_from(InstanceState),
    )


@st.composite
def deltas(draw: Any) -> Delta:
    origin, zone = draw(ids), draw(zones)
    version = draw(st.integers(1, fields.NUMBER_MAX))
    whole = draw(st.booleans())
    parts = draw(st.integers(1, wire.PARTS_MAX)) if whole else 1
    put = draw(st.lists(instances(zone, origin), max_size=3, unique_by=lambda one: one.key))
    added = {instance.key: extra for instance in put if (extra := draw(extras))}
    return Delta(
        origin,
        zone,
        draw(lives),
        0 if whole else draw(st.integers(0, version - 1)),
        version,
        draw(headers),
        tuple(put),
        tuple(draw(st.lists(st.tuples(names, ids), max_size=3))),
        draw(st.integers(0, parts - 1)),
        parts,
        added,
    )


entries = st.lists(st.builds(Entry, origin=ids, incarnation=lives, version=numbers, pulse=pulses), max_size=4).map(tuple)
charges = st.builds(Charge, subject=ids, incarnation=lives, pulse=pulses, evidence=st.sampled_from(Evidence))
bits = st.binary(min_size=BUCKETS // 8, max_size=BUCKETS // 8)
sums = st.binary(min_size=8, max_size=8).map(lambda eight: eight * BUCKETS)
digests = st.integers(1, 2**64 - 1)  # 0 is not said
revocations = st.binary(min_size=REVOCATION_BYTES, max_size=REVOCATION_BYTES)
prose = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=40)
members = st.builds(
    Member,
    id=ids,
    name=ids,
    address=ids,
    zone=zones,
    state=st.sampled_from(MemberState),
    incarnation=lives,
    version=numbers,
    instances=numbers,
)
known = st.none() | members | st.tuples(zones, ids).flatmap(lambda said: instances(*said))
events = st.builds(
    Event,
    seq=numbers,
    at=st.floats(0, 1e10),
    kind=st.sampled_from(EventKind),
    service=st.none() | names,
    before=known,
    after=known,
    reason=prose,
)
KINDS: dict[type, st.SearchStrategy[Any]] = {
    Delta: deltas(),
    Heartbeat: st.builds(
        Heartbeat,
        sender=st.binary(min_size=8, max_size=8),
        incarnation=lives,
        version=numbers,
        pulse=pulses,
        digest=st.integers(0, 2**64 - 1),
        linked=st.booleans(),
        synced=st.booleans(),
    ),
    Accusation: st.builds(
        Accusation, accuser=ids, incarnation=lives, counter=numbers, charges=st.lists(charges, max_size=4).map(tuple)
    ),
    Ping: st.builds(Ping, asker=ids, incarnation=lives, pulse=pulses),
    Pong: st.builds(Pong, id=ids, incarnation=lives, pulse=pulses, version=numbers, held_alive=st.booleans()),
    Sync: st.builds(
        Sync, asker=ids, incarnation=lives, version=numbers, pulse=pulses, synced=st.booleans(), sums=sums, revoked=digests
    ),
    Entries: st.builds(
        Entries, sender=ids, synced=st.booleans(), buckets=bits, entries=entries, more=st.booleans(), revoked=digests
    ),
    Revoked: st.builds(Revoked, revocations=st.lists(revocations, max_size=3).map(tuple)),
    Want: st.builds(Want, entries=entries),
    Done: st.builds(Done, sender=ids),
    Foreign: st.just(Foreign()),
    DialBack: st.builds(DialBack, asker=ids),
    Reached: st.builds(
        Reached,
        sender=ids,
        contact=st.none() | st.booleans(),
        publisher=st.none() | st.booleans(),
        contact_tried=st.booleans(),
        publisher_tried=st.booleans(),
    ),
    Belief: st.builds(
        Belief, subject=ids, kind=st.sampled_from([k for k in EventKind if k.startswith("MEMBER_")]), reason=prose
    ),
    Recall: st.builds(Recall, name=prose),
    History: st.builds(History, sender=ids, events=st.lists(events, max_size=3).map(tuple), more=st.booleans()),
}
messages = st.one_of(*KINDS.values())


def encoded(message: Any) -> bytes:
    return CODEC.encode_delta(message) if isinstance(message, Delta) else CODEC.encode(message)


def decoded(frame: bytes) -> Any:
    """A message, or None if it was refused as it should be."""
    try:
        return CODEC.decode(frame)
    except WireError:
        return None


def test_every_kind_is_tried() -> None:
    assert set(KINDS) == set(wire._ENCODERS) | {Delta}
    assert len(KINDS) == len(wire._DECODERS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_what_is_encoded_is_decoded_as_it_was(kind: type, data: Any) -> None:
    message = data.draw(KINDS[kind])
    assert CODEC.decode(encoded(message)) == message


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_message_or_a_wire_error(frame: bytes) -> None:
    for bytes_ in (frame, b"\x01" + frame[:1] + CODEC.cluster_hash + frame[1:]):
        decoded(bytes_)
        for read in (CODEC.delta_head, lambda one: CODEC.open_envelope(one, 0), CODEC.kind):
            with contextlib.suppress(WireError):
                read(bytes_)


shapes = st.recursive(
    flat | st.just(float("nan")) | ids,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3),
    max_leaves=25,
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(wire._DECODERS)), shapes)
def test_any_msgpack_behind_any_head_is_a_message_or_a_wire_error(kind: int, body: Any) -> None:
    head = PREFIX.pack(1, kind, CODEC.cluster_hash)
    decoded(head + msgpack.packb(body))
    decoded(DELTA_HEAD.pack(1, kind, CODEC.cluster_hash, CODEC.hash("a"), 1, 1, 2) + msgpack.packb(body))


@settings(max_examples=150)
@given(messages, st.integers(0, 2**32))
def test_a_mutated_frame_is_a_message_or_a_wire_error(message: Any, salt: int) -> None:
    chance, honest = random.Random(salt), encoded(message)
    for _ in range(20):
        frame = bytearray(honest)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(frame)) if chance.random() < 0.2 else chance.randrange(min(10, len(frame) - 1), len(frame))
            match chance.randrange(4):
                case 0:
                    frame[at] = chance.randrange(256)
                case 1:
                    frame[at] ^= 1 << chance.randrange(8)
                case 2:
                    del frame[at : at + chance.randint(1, 8)]
                case 3:
                    frame[at:at] = chance.randbytes(chance.randint(1, 8))
            if len(frame) < 12:
                break
        decoded(bytes(frame))


@settings(max_examples=100)
@given(messages)
def test_what_a_mutation_leaves_readable_is_within_the_limits(message: Any) -> None:
    honest = encoded(message)
    for at in range(PREFIX.size, len(honest), max(1, len(honest) // 25)):
        found = decoded(honest[:at] + bytes([honest[at] ^ 1]) + honest[at + 1 :])
        if found is not None:
            assert CODEC.decode(encoded(found)) == found  # it can be said again


@given(messages, st.integers(0, 255))
def test_an_unknown_kind_is_known_as_such(message: Any, kind: int) -> None:
    frame = encoded(message)
    if kind not in wire._DECODERS:
        with pytest.raises(UnknownKind):
            CODEC.decode(frame[:1] + bytes([kind]) + frame[2:])


@given(messages, st.integers(0, 255))
def test_the_present_and_the_next_wire_version_are_understood_and_no_other(message: Any, version: int) -> None:
    frame = bytes([version]) + encoded(message)[1:]
    if version in (1, 2):
        assert CODEC.decode(frame) == message
    else:
        assert decoded(frame) is None


@given(messages.filter(lambda message: not isinstance(message, (Foreign, Heartbeat))), extras)
def test_unknown_trailing_fields_are_ignored(message: Any, added: tuple[object, ...]) -> None:
    frame = encoded(message)
    at = DELTA_HEAD.size if isinstance(message, Delta) else PREFIX.size
    known = msgpack.unpackb(frame[at:], strict_map_key=False)
    assert CODEC.decode(frame[:at] + msgpack.packb([*known, *added])) == message


@given(deltas())
def test_unknown_fields_of_records_are_passed_on_in_states(delta: Delta) -> None:
    delta.since, delta.part, delta.parts = 0, 0, 1
    origin = Origin(delta.origin, CODEC.hash(delta.origin), delta.incarnation, delta.header or Header("", "", 0, 0), delta.zone)
    assert origin.apply(CODEC.decode(CODEC.encode_delta(delta)), b"", log_deltas_min=64) is Outcome.APPLIED
    (frame,) = CODEC.encode_state(
        origin.id,
        origin.zone,
        origin.incarnation,
        origin.version,
        origin.header,
        origin.instances.values(),
        origin.extras,
        CODEC.part_bytes_max,
    )
    passed_on = CODEC.decode(frame)
    assert isinstance(passed_on, Delta)
    assert (passed_on.header, passed_on.put, passed_on.extras) == (delta.header, delta.put, delta.extras)


@settings(max_examples=50)
@given(deltas(), st.lists(instances("", "a"), max_size=30, unique_by=lambda one: one.key), st.integers(1500, 8000))
def test_a_state_is_cut_into_parts_within_the_size_that_hold_all_of_it(delta: Delta, many: list[Instance], most: int) -> None:
    header = Header("n", "10.0.0.1", 1, 2)
    largest = max((len(msgpack.packb(fields.instance_fields(one, ()))) for one in many), default=0)
    bytes_max = max(most, largest + 500)
    frames = CODEC.encode_state("a", "", (1, 1), delta.version, header, many, {}, bytes_max)
    parts = [CODEC.decode(frame) for frame in frames]
    assert [one for part in parts for one in part.put] == many
    assert [(part.part, part.parts) for part in parts] == [(n, len(frames)) for n in range(len(frames))]
    assert {part.version for part in parts} == {delta.version}
    assert max(map(len, frames)) <= bytes_max


@settings(max_examples=30)
@given(st.lists(events, max_size=8), st.integers(3000, 8000))
def test_a_history_is_cut_into_frames_within_the_size_that_hold_all_of_it(many: list[Event], most: int) -> None:
    frames = CODEC.encode_history("a", many, most)
    parts = [CODEC.decode(frame) for frame in frames]
    fitting = [one for one in many if len(msgpack.packb(fields.event_fields(one))) < most - 300]
    told = [one for part in parts for one in part.events]
    assert [one for one in told if one in fitting] == fitting
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert max(map(len, frames)) <= most
