"""Every limit on what a stranger may send, one by one. (Round trips and mutations: properties/test_codec.py.)"""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest

from gossip.core.codec import (
    ARRAY_MAX,
    DELTA_HEAD,
    WIRE_NEWEST,
    Codec,
    ForeignCluster,
    UnknownKind,
    id_hash,
)
from gossip.core.fields import ENTRIES_MAX, NUMBER_MAX
from gossip.core.messages import Belief, Delta, Done, History, Ping, Recall, Want
from gossip.errors import WireError
from gossip.model import Event, EventKind

HEADER = ["n1", "10.0.0.1", 7400, 7401, 0, 0, 1000, 0, 0]
PUT = ["orders", "i1", "10.0.0.9", 80, 1, {}, [], 0]
NAN = float("nan")


def frame(make: Any, kind: bytes, body: object) -> bytes:
    return b"\x01" + kind + make.codec.cluster_hash + msgpack.packb(body)


def delta(make: Any, *, start: int = 1, nonce: int = 1, version: int = 2, **fields: Any) -> bytes:
    body = {"origin": "a", "zone": "", "since": 1, "part": 0, "parts": 1, "header": None, "put": [], "removed": []} | fields
    head = DELTA_HEAD.pack(1, ord("d"), make.codec.cluster_hash, make.codec.hash("a"), start, nonce, version)
    return head + msgpack.packb(list(body.values()))


def put(index: int, value: object) -> list[list[object]]:
    return [[*PUT[:index], value, *PUT[index + 1 :]]]


def header(index: int, value: object) -> list[object]:
    return [*HEADER[:index], value, *HEADER[index + 1 :]]


def test_an_honest_delta_is_taken(make: Any) -> None:
    decoded = make.codec.decode(delta(make, header=HEADER, put=[PUT], removed=[["orders", "i2"]]))
    assert isinstance(decoded, Delta)
    assert decoded.header == make.header()
    assert decoded.put == (make.instance(),)
    assert decoded.removed == (("orders", "i2"),)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 0},
        {"version": NUMBER_MAX + 1},
        {"start": NUMBER_MAX + 1},
        {"origin": "b"},  # not the one of its head
        {"origin": "a b"},
        {"zone": "no spaces"},
        {"zone": None},
        {"since": 2},  # not before its version
        {"since": -1},
        {"since": True},
        {"since": 1.0},
        {"since": 0},  # a state without a header
        {"parts": 2},  # a delta in parts
        {"since": 0, "header": HEADER, "part": 1},
        {"since": 0, "header": HEADER, "parts": 0},
        {"since": 0, "header": HEADER, "parts": 5000},
        {"put": {}},
        {"put": [PUT[:7]]},
        {"put": [[*PUT, *range(17)]]},
        {"put": [PUT] * (ARRAY_MAX + 1)},
        {"removed": [["orders", "i1"]] * (ARRAY_MAX + 1)},
        {"removed": [["orders"]]},
        {"removed": [["or ders", "i1"]]},
        *({"put": put(0, value)} for value in ("", "a b", "ä", "x" * 129, b"orders", 1, None)),
        *({"put": put(1, value)} for value in ("", "a\n", "x" * 129, 7)),
        *({"put": put(2, value)} for value in ("", "a b", "a\x00", "x" * 256)),
        *({"put": put(3, value)} for value in (0, 65536, -1, True, 80.0, "80", None, NAN)),
        *({"put": put(4, value)} for value in (0, 101, True, 1.0, NAN)),
        *({"put": put(5, value)} for value in ([], {"a": 1}, {"a": None}, {"a": "x" * 1025}, {f"{n}": "" for n in range(65)})),
        *({"put": put(6, value)} for value in ({}, ["a"], ["/a b"], ["/a/"], ["//a"], ["/a"] * 17, ["/a" * 33], [1])),
        *({"put": put(7, value)} for value in (4, -1, True, 1.0, "0", None, [], NAN)),
        {"put": [[*PUT, [1]]]},  # a nested trailing field
        *({"header": header(1, value)} for value in ("localhost", "10.0.0.256", "", 1, {}, [], None)),
        *({"header": header(1, value)} for value in ("fe80::1%eth0", "::ffff:10.0.0.5", "[::1]", "::1::")),
        *({"header": header(2, value)} for value in (0, 65536, True)),
        *({"header": header(4, value)} for value in (1 << 32, -1)),
        *({"header": header(5, value)} for value in (256, True)),
        *({"header": header(6, value)} for value in (0, 3_600_001)),
        *({"header": header(7, value)} for value in (NUMBER_MAX + 1, NAN)),
        {"header": [*HEADER, {}]},
        {"header": HEADER[:8]},
    ],
)
def test_a_delta_with_one_wrong_field_is_refused(make: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        make.codec.decode(delta(make, **fields))


@pytest.mark.parametrize("value", [True, 1.0, NAN, "1", None, -1, NUMBER_MAX + 1, [1]])
@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_number_is_an_int_within_its_range(make: Any, index: int, value: object) -> None:
    fields: list[object] = ["a", 1, 1, 1]
    fields[index] = value
    if index == 2 and value == NUMBER_MAX + 1:
        value = fields[index] = -1  # a nonce may have all 64 bits
    with pytest.raises(WireError):
        make.codec.decode(frame(make, b"p", fields))


@pytest.mark.parametrize("flag", [1, 0, None, "true"])
def test_a_flag_is_a_boolean(make: Any, flag: object) -> None:
    with pytest.raises(WireError):
        make.codec.decode(frame(make, b"P", ["a", 1, 1, 0, 1, flag]))


@pytest.mark.parametrize("body", [None, 1, "x", b"x", {}, [], [[]], [["a"]], ["a", 1, 1], {"a": 1}])
@pytest.mark.parametrize("kind", [b"a", b"p", b"P", b"s", b"e", b"w", b"x"])
def test_a_body_of_another_shape_is_refused(make: Any, kind: bytes, body: object) -> None:
    if (kind, body) == (b"w", [[]]):
        assert make.codec.decode(frame(make, kind, body)) == Want(())
        return
    if kind == b"x" and body == ["a", 1, 1]:
        assert make.codec.decode(frame(make, kind, body)) == Done("a")  # with fields of a later version
        return
    with pytest.raises(WireError):
        make.codec.decode(frame(make, kind, body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",  # never used by msgpack
        b"\x91" * 5000,  # nested without end
        b"\x81" * 5000,
        b"\xdd\xff\xff\xff\xff",  # an array of 2^32 - 1
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91\xa2\xff\xfe",  # no UTF-8
        b"\x91\xa3\xed\xa0\x80",  # a lone surrogate
        b"\x91\xd4\x01\x00",  # an extension type
        b"\x91\xd6\xff\x00\x00\x00\x00",  # the timestamp extension
        b"\x91\x81\x01\x02",  # a key that is no text
        b"\x91\xa1a\x00",  # bytes behind the end
    ],
)
def test_msgpack_that_is_none_of_ours_is_refused(make: Any, body: bytes) -> None:
    with pytest.raises(WireError):
        make.codec.decode(b"\x01x" + make.codec.cluster_hash + body)


def test_of_two_labels_with_one_key_everyone_takes_the_last(make: Any) -> None:
    packed = b"".join(map(msgpack.packb, PUT[:5])) + b"\x82\xa1k\xa1a\xa1k\xa1b" + msgpack.packb([]) + msgpack.packb(0)
    honest = delta(make, put=[PUT])
    twice = honest.replace(b"".join(map(msgpack.packb, PUT)), packed)
    assert twice != honest
    assert make.codec.decode(twice).put[0].labels == {"k": "b"}


def test_more_entries_than_a_frame_holds_are_refused(make: Any) -> None:
    entry = ["a", 1, 1, 1, 0]
    assert len(make.codec.decode(frame(make, b"w", [[entry] * ENTRIES_MAX])).entries) == ENTRIES_MAX
    with pytest.raises(WireError):
        make.codec.decode(frame(make, b"w", [[entry] * (ENTRIES_MAX + 1)]))


def test_an_oversized_frame_is_refused_before_it_is_read(make: Any) -> None:
    codec = Codec("default", part_bytes_max=1000)
    honest = make.codec.encode(Ping("a", (1, 1), 0))
    with pytest.raises(WireError, match="1001 bytes"):
        codec.decode(honest + bytes(1001 - len(honest)))


def test_the_next_wire_version_is_understood_and_the_one_after_is_not(make: Any) -> None:
    honest = make.codec.encode(Ping("a", (1, 1), 0))
    assert make.codec.decode(bytes([WIRE_NEWEST]) + honest[1:]) == Ping("a", (1, 1), 0)
    for version in (0, WIRE_NEWEST + 1, 255):
        with pytest.raises(WireError, match="wire version"):
            make.codec.decode(bytes([version]) + honest[1:])


def test_the_head_and_the_envelope_hold_to_the_same_versions(make: Any) -> None:
    envelope = make.codec.envelope(0, 5, make.codec.hash("b")) + b"frame"
    assert make.codec.open_envelope(bytes([WIRE_NEWEST]) + envelope[1:], 0).frame == b"frame"
    for broken in (bytes([WIRE_NEWEST + 1]) + envelope[1:], envelope[:2] + bytes(8) + envelope[10:]):
        with pytest.raises(WireError):
            make.codec.open_envelope(broken, 0)
    assert make.codec.open_envelope(envelope[:20], 0) is None
    assert make.codec.open_envelope(make.codec.encode(Done("a")) + bytes(50), 0) is None


def test_an_unknown_kind_and_another_cluster_are_told_apart(make: Any) -> None:
    honest = make.codec.encode(Done("a"))
    with pytest.raises(UnknownKind):
        make.codec.decode(honest[:1] + b"?" + honest[2:])
    with pytest.raises(ForeignCluster):
        Codec("other").decode(honest)
    assert issubclass(UnknownKind, WireError)
    assert issubclass(ForeignCluster, WireError)


def test_the_head_of_a_delta_is_read_without_its_body(make: Any) -> None:
    honest = make.codec.encode_delta(make.state("a", 7, life=(3, 4)))
    head = make.codec.delta_head(honest[: DELTA_HEAD.size] + b"\xc1")
    assert (head.origin, head.incarnation, head.version) == (make.codec.hash("a"), (3, 4), 7)
    assert make.codec.delta_head(make.codec.encode(Done("a"))) is None
    with pytest.raises(WireError):
        make.codec.delta_head(honest[: DELTA_HEAD.size - 1])


def test_a_short_heartbeat_is_refused(make: Any) -> None:
    with pytest.raises(WireError):
        make.codec.decode(struct.pack("!BB8s", 1, ord("h"), make.codec.cluster_hash) + bytes(10))


def test_ids_are_hashed_within_their_cluster_to_a_fixed_size() -> None:
    assert id_hash("one", "a") != id_hash("two", "a")
    assert {len(id_hash("one", id)) for id in ("a", "a" * 128)} == {8}


def test_a_record_too_large_for_a_part_with_others_gets_one_of_its_own(make: Any) -> None:
    codec = Codec("default", part_bytes_max=2000)
    large = make.instance("large", routes=tuple(f"/{n}" + "x" * 100 for n in range(10)))
    frames = codec.encode_state("a", "", make.life, 3, make.header(), [make.instance("s1"), large, make.instance("s2")], {}, 2000)
    decoded = [codec.decode(part) for part in frames]
    assert [instance.id for part in decoded for instance in part.put] == ["s1", "large", "s2"]
    assert max(map(len, frames)) <= 2000


@pytest.mark.parametrize("char", ["x", "é", "名", "🙂", "\ud800"])
@pytest.mark.parametrize("length", [400, 512, 513, 5_000])
def test_prose_of_any_script_is_cut_to_what_others_can_read(char: str, length: int, make: Any) -> None:
    reason = char * length
    event = Event(1, 0.0, EventKind.NOTICE, None, None, None, reason)
    belief = make.codec.decode(make.codec.encode(Belief("a", EventKind.MEMBER_DEAD, reason)))
    recall = make.codec.decode(make.codec.encode(Recall(reason)))
    (frame,) = make.codec.encode_history("a", [event], 64 * 1024)
    history = make.codec.decode(frame)
    assert isinstance(belief, Belief)
    assert isinstance(recall, Recall)
    assert isinstance(history, History)
    for text, most in ((belief.reason, 512), (history.events[0].reason, 512), (recall.name, 257)):
        size = len(char.encode("utf-8", "replace"))
        shown = "?" if char == "\ud800" else char
        assert text == shown * min(length, most // size), (size, most)
