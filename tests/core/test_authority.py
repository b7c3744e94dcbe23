"""Authority: nothing is taken in but of who shows a certificate that it signed, for the services that this covers."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest

from gossip.core import authority as authority_module
from gossip.core.certificates import Certificate
from gossip.core.effects import Answer, Happened, Heard, Publish, Subscribed
from gossip.core.messages import Entries, Ping, Revoked, Sync
from gossip.core.node import Node
from gossip.core.overlay import CIRCLE
from gossip.core.signatures import Signing, id_of
from gossip.errors import RegistrationError
from gossip.model import EventKind, Instance, MemberState
from gossip.simulation.notary import Notary

from .conftest import Make, Wire
from .test_signatures import Pen, notices, push

END, DAY = 10_000, 86_400  # wall seconds; nodes start in the first one


class Realm:
    """An authority, and whoever has a certificate of it."""

    def __init__(self, make: Make) -> None:
        self.make, self.notary, self.chance = make, Notary(), random.Random(3)
        self.authority, self.other = self.notary.issue(self.chance), self.notary.issue(self.chance)

    def signing(self, *services: str, before: int = 0, after: int = END, by: Signing | None = None) -> Signing:
        key = self.notary.issue(self.chance)
        return self.notary.certify(key, by or self.authority, services or ("orders",), before, after)

    def pen(self, number: int, *services: str, **times: Any) -> Pen:
        return self.pen_of(self.signing(*services, **times), number)

    def pen_of(self, signing: Signing, number: int = 20) -> Pen:
        pen = Pen(self.make, signing, f"p{number}", number)
        pen.header = dataclasses.replace(pen.header, certificate=signing.certificate)
        return pen

    def renewed(self, pen: Pen, *services: str, before: int = 0, after: int = END) -> Any:
        """A header of the same key with another certificate."""
        signing = self.notary.certify(pen.signing, self.authority, services or ("orders",), before, after)
        return dataclasses.replace(pen.header, certificate=signing.certificate)

    def revocation(self, pen: Pen, until: int = END, by: Signing | None = None) -> bytes:
        return self.notary.revoke(pen.signing.public, by or self.authority, until)


@pytest.fixture
def realm(make: Make) -> Realm:
    return Realm(make)


@pytest.fixture
def member_of(realm: Realm, node_of: Callable[..., Node]) -> Callable[..., Node]:
    def build(number: int, *services: str, after: int = END, **options: Any) -> Node:
        signing = realm.signing(*(services or ("*",)), after=after)
        return node_of(number, id_of(f"n{number}", signing.public), signing=signing, **options)

    return build


@pytest.fixture
def node(member_of: Callable[..., Node]) -> Node:
    return member_of(1)


def lives(node: Node, pen: Pen) -> bool:
    origin = node.local.table.origins.get(pen.id)
    return origin is not None and origin.alive


def shown(node: Node, id: str = "i1", service: str = "orders") -> bool:
    return node.local.directory.shown((service, id)) is not None


def flooded(effects: list[Any]) -> list[bytes]:
    return [effect.frame[1:] for effect in effects if type(effect) is Publish and effect.frame[:1] == b"*"]


def of(pen: Pen, service: str) -> tuple[Instance, ...]:
    return (pen.make.instance("i1", pen.id, service=service),)


# who is taken in ------------------------------------------------------------------------------------------------------


def test_who_shows_a_certificate_of_the_authority_is_taken_in(node: Node, realm: Realm) -> None:
    pen = realm.pen(20)
    push(node, pen.state(put=("i1",)))
    assert lives(node, pen)
    assert shown(node)


def test_a_certificate_is_verified_once_however_often_it_is_shown(node: Node, realm: Realm) -> None:
    pen = realm.pen(20)
    push(node, pen.state(put=("i1",)))
    before = realm.notary.verified
    push(node, pen.state(2, put=("i2",)))
    push(node, pen.delta(2, header=dataclasses.replace(pen.header, pulse=1)))
    assert realm.notary.verified == before + 2  # of two deltas the signatures


FORGED: dict[str, Callable[[Realm], bytes]] = {
    "of another authority": lambda realm: realm.pen(20, by=realm.other).state(put=("i1",)),
    "of another key": lambda realm: realm.pen_of(
        dataclasses.replace(realm.notary.issue(realm.chance), certificate=realm.signing().certificate)
    ).state(put=("i1",)),
    "altered": lambda realm: realm.pen_of(
        dataclasses.replace(signing := realm.signing(), certificate=signing.certificate.replace(b"orders", b"orderz"))
    ).state(),
    "no certificate": lambda realm: realm.pen_of(
        dataclasses.replace(realm.notary.issue(realm.chance), certificate=b"x" * 200)
    ).state(put=("i1",)),
    "another service": lambda realm: (pen := realm.pen(20)).write(
        dataclasses.replace(realm.make.state(pen.id, header=pen.header), put=of(pen, "payments"))
    ),
}


@pytest.mark.parametrize("how", FORGED)
def test_who_lies_about_what_it_may_is_refused_as_a_forger_is(node: Node, realm: Realm, how: str) -> None:
    effects = push(node, FORGED[how](realm))
    assert node.local.table.living == 1
    assert node.local.counters["forgeries_refused"] == 1
    assert len(notices(effects)) >= 1
    assert not shown(node)


@pytest.mark.parametrize(
    ("times", "told"),
    [({"after": 1}, "expired"), ({"before": 500}, "not valid for another")],
    ids=["expired", "not yet"],
)
def test_a_certificate_that_is_not_valid_now_is_refused_and_nobody_is_blamed(
    node: Node, realm: Realm, times: dict[str, int], told: str
) -> None:
    pen = realm.pen(20, **times)
    effects = push(node, pen.state(put=("i1",)))
    assert not lives(node, pen)
    assert node.local.counters["forgeries_refused"] == 0
    assert any(told in notice and "clocks" in notice for notice in notices(effects))


def test_who_signs_and_shows_no_certificate_is_refused_and_told_of(node: Node, realm: Realm, make: Make) -> None:
    pen = Pen(make, realm.notary.issue(realm.chance), "bare", 20)
    effects = push(node, pen.state(put=("i1",)))
    assert not lives(node, pen)
    assert any("shows no certificate" in notice for notice in notices(effects))
    assert node.local.counters["uncertified_refused"] == 1


def test_who_knows_no_authority_ignores_certificates_and_passes_them_on(
    node_of: Callable[..., Node], realm: Realm, make: Make
) -> None:
    plain, pen = node_of(1), realm.pen(20, after=1)
    push(plain, pen.state(put=("i1",)))
    assert shown(plain)
    assert plain.local.table.origins[pen.id].base == (pen.state(put=("i1",)),)


def test_a_header_with_a_certificate_keeps_what_later_versions_append(make: Make) -> None:
    header = make.header(key=bytes(32), certificate=b"c" * 130, extra=(7, "new"))
    assert make.codec.decode(make.codec.encode_delta(make.state("a", header=header))).header == header
    older = make.header(key=bytes(32), extra=(7, "new"))
    assert make.codec.decode(make.codec.encode_delta(make.state("a", header=older))).header == older


# what it may register -------------------------------------------------------------------------------------------------


def test_a_member_that_registers_what_it_may_not_keeps_what_it_had(node: Node, realm: Realm) -> None:
    pen = realm.pen(20, "orders")
    push(node, pen.state(put=("i1",)))
    push(node, pen.write(dataclasses.replace(realm.make.delta(pen.id, 1, 2), put=of(pen, "payments"))))
    assert shown(node)
    assert not shown(node, service="payments")
    assert node.local.table.origins[pen.id].version == 1
    assert node.local.counters["forgeries_refused"] == 1


def test_a_wider_certificate_and_what_it_allows_may_come_in_the_wrong_order(node: Node, realm: Realm) -> None:
    pen = realm.pen(20, "orders")
    push(node, pen.state(put=("i1",)))
    wider = pen.delta(1, header=realm.renewed(pen, "*"))
    early = pen.write(dataclasses.replace(realm.make.delta(pen.id, 2, 3), put=of(pen, "payments")))
    push(node, early)
    push(node, wider)
    assert shown(node, service="payments")
    assert node.local.counters["forgeries_refused"] == 0


def test_an_early_delta_that_turns_out_to_be_a_lie_is_dropped_and_blames_nobody(node: Node, realm: Realm) -> None:
    pen = realm.pen(20, "orders")
    push(node, pen.state(put=("i1",)))
    push(node, pen.write(dataclasses.replace(realm.make.delta(pen.id, 2, 3), put=of(pen, "payments"))))
    push(node, pen.delta(1, put=("i2",)))
    assert shown(node, "i2")
    assert not shown(node, service="payments")
    assert node.local.counters["forgeries_refused"] == 1
    assert node.local.table.origins[pen.id].version == 2


def test_a_narrower_certificate_is_refused_while_it_does_not_cover_what_is_registered(node: Node, realm: Realm) -> None:
    pen = realm.pen(20, "orders", "payments")
    push(node, pen.state(put=("i1",)))
    narrow = realm.renewed(pen, "payments")
    push(node, pen.delta(1, header=narrow))
    assert node.local.counters["forgeries_refused"] == 1
    push(node, pen.delta(1, header=narrow, removed=(realm.make.key("i1"),)))
    assert node.local.table.origins[pen.id].version == 2


def test_a_state_in_parts_shows_one_certificate_so_none_outlives_the_one_that_covers_it(node: Node, realm: Realm) -> None:
    pen = realm.pen(20, "orders")
    brief, part = realm.renewed(pen, "payments", after=100), realm.make.state(pen.id, header=pen.header, parts=2, part=1)
    push(node, pen.write(dataclasses.replace(part, part=0, header=brief, put=of(pen, "payments"))))
    push(node, pen.write(part))
    assert not lives(node, pen)
    assert node.local.counters["forgeries_refused"] == 1


def test_a_peer_that_is_asked_to_register_what_it_may_not_says_so(member_of: Callable[..., Node], make: Make) -> None:
    node = member_of(1, "orders.*")
    with pytest.raises(RegistrationError, match=r"allows orders\.\*"):
        node.register(make.instance("i1", node.id, service="payments"), None, 0.0)
    node.register(make.instance("i1", node.id, service="orders.eu"), None, 0.0)
    assert node.local.me.version == 2


# its end --------------------------------------------------------------------------------------------------------------


def test_an_expired_member_and_all_it_registered_are_gone_in_one_batch(node: Node, realm: Realm) -> None:
    pen = realm.pen(20, after=50)
    push(node, pen.state(put=("i1", "i2")))
    assert node.next_deadline() <= 49.0
    assert lives(node, pen)
    effects = node.tick(49.0)
    assert not lives(node, pen)
    assert not shown(node, "i1")
    assert not shown(node, "i2")
    left = [effect for effect in effects if type(effect) is Happened and effect.kind is EventKind.MEMBER_LEFT]
    assert ["expired" in effect.reason for effect in left] == [True]
    assert node.local.table.origins[pen.id].state is MemberState.LEFT
    push(node, pen.delta(1, header=dataclasses.replace(pen.header, pulse=5)), 50.0)
    assert not lives(node, pen), "nor does it come back without a new one"


def test_who_was_put_out_comes_back_with_a_new_certificate(
    wire: Wire, member_of: Callable[..., Node], realm: Realm, make: Make
) -> None:
    first, second = member_of(1), member_of(2, "orders", after=50)
    for one in (first, second):
        wire.add(one)
    second.register(make.instance("i1", second.id), None, 0.0)
    wire.talk(second, first, 1.0)
    assert shown(first)
    for now in (20.0, 49.5, 50.0):
        wire.carry(first, first.tick(now), now)
    assert not shown(first)
    before = second.local.me
    signing = realm.notary.certify(
        dataclasses.replace(realm.authority, public=second._seal.public), realm.authority, ("orders",), 0, 900
    )
    wire.carry(second, second.certify(Certificate.of_bytes(signing.certificate), 51.0), 51.0)
    assert second.local.me is before
    assert shown(first)
    assert first.local.table.origins[second.id].header.certificate == signing.certificate
    assert first.local.counters["forgeries_refused"] == 0
    told = [e.kind for e in wire.kept[first.local.me.contact] if type(e) is Happened and e.subject == second.id]
    assert told == [EventKind.MEMBER_JOINED, EventKind.MEMBER_LEFT, EventKind.MEMBER_JOINED], "it had not died, to refute that"


def test_a_new_certificate_must_cover_what_is_registered(member_of: Callable[..., Node], realm: Realm, make: Make) -> None:
    node = member_of(1)
    node.register(make.instance("i1", node.id), None, 0.0)
    narrow = Certificate.made(node._seal.public, 0, END, ("payments",), realm.notary.sign(realm.authority.public))
    version = node.local.me.version
    with pytest.raises(RegistrationError, match="has registered orders"):
        node.certify(narrow, 1.0)
    assert node.local.me.version == version


def test_the_owner_is_told_a_quarter_or_seven_days_before_the_end_and_at_the_end(member_of: Callable[..., Node]) -> None:
    short, long = member_of(1, after=1001), member_of(2, after=100 * DAY)
    told = [bool(notices(short.tick(now))) for now in (1.0, 700.0, 751.0, 800.0, 1000.0, 1001.0)]
    assert told == [False, False, True, False, True, False]
    assert [bool(notices(long.tick(now))) for now in (80 * DAY, 93 * DAY, 94 * DAY)] == [False, True, False]


# revocation -----------------------------------------------------------------------------------------------------------


def test_a_revoked_member_is_gone_is_not_served_and_stays_out(node: Node, realm: Realm, make: Make) -> None:
    pen = realm.pen(20)
    push(node, pen.state(put=("i1",)))
    node.handle(Subscribed(b"@" + pen.hash), 0.0)
    assert pen.hash in node.local.fan.subscribers
    effects, news = node.revoke(realm.revocation(pen), 1.0)
    assert news
    assert not lives(node, pen)
    assert not shown(node)
    assert [make.codec.decode(frame) for frame in flooded(effects)] == [Revoked((realm.revocation(pen),))]
    assert pen.hash not in node.local.fan.subscribers
    node.handle(Subscribed(b"@" + pen.hash), 2.0)
    assert pen.hash not in node.local.fan.subscribers
    again = realm.pen_of(pen.signing, 30)  # the same key under another id, restarted
    push(node, pen.state(1, put=("i1",), life=(9_000, 1)), 2.0)
    push(node, again.state(put=("i1",), life=(9_000, 1)), 2.0)
    push(node, pen.state(put=("i1",)), 2.0)
    assert node.local.table.living == 1
    assert not shown(node)
    assert node.local.counters["forgeries_refused"] == 2  # the replay is below what is held
    assert node.revoke(realm.revocation(pen), 3.0) == ([], False)


def test_a_revocation_is_flooded_on_once_and_verified_once(node: Node, realm: Realm, make: Make) -> None:
    pen = realm.pen(20)
    push(node, pen.state(put=("i1",)))
    frame = b"*" + make.codec.encode(Revoked((realm.revocation(pen),)))
    first = node.handle(Heard(frame, "10.0.0.9:7401"), 1.0)
    before = realm.notary.verified
    assert len(flooded(first)) == 1
    assert flooded(node.handle(Heard(frame, "10.0.0.8:7401"), 1.0)) == []
    assert realm.notary.verified == before
    assert not lives(node, pen)


@pytest.mark.parametrize("by", ["another authority", "the member itself", "nobody"])
def test_a_revocation_by_anyone_but_the_authority_gets_nowhere(node: Node, realm: Realm, make: Make, by: str) -> None:
    pen = realm.pen(20)
    push(node, pen.state(put=("i1",)))
    signing = {"another authority": realm.other, "the member itself": pen.signing}.get(by)
    raw = realm.revocation(pen, by=signing) if signing is not None else realm.revocation(pen)[:-64] + bytes(64)
    honest = realm.revocation(realm.pen(40))
    effects = node.handle(Heard(b"*" + make.codec.encode(Revoked((raw, honest))), "10.0.0.9:7401"), 1.0)
    assert lives(node, pen)
    assert shown(node)
    assert node.local.counters["forgeries_refused"] == 1
    assert [make.codec.decode(frame).revocations for frame in flooded(effects)] == [(honest,)], "what is true counts"


def test_a_newcomer_is_told_what_was_revoked_and_tells_what_it_knows(
    wire: Wire, member_of: Callable[..., Node], realm: Realm, make: Make
) -> None:
    asker, answerer, gone, other = member_of(1), member_of(2), realm.pen(20), realm.pen(30)
    for one in (asker, answerer):
        wire.add(one)
        push(one, gone.state(put=("i1",)))
        push(one, other.state(put=("i2",)))
    answerer.revoke(realm.revocation(gone), 1.0)
    asker.revoke(realm.revocation(other), 1.0)
    wire.talk(asker, answerer, 2.0)
    for one in (asker, answerer):
        assert not lives(one, gone)
        assert not lives(one, other)
    assert asker.local.authority.digest == answerer.local.authority.digest != 0
    wire.spoken.clear()
    wire.talk(asker, answerer, 3.0)
    assert not [*wire.said(asker.id, Revoked), *wire.said(answerer.id, Revoked)], "who holds the same is told nothing"


def test_who_was_revoked_is_told_so_and_nothing_else(
    node: Node, realm: Realm, member_of: Callable[..., Node], make: Make
) -> None:
    outcast = member_of(2)
    pen = realm.pen_of(dataclasses.replace(realm.signing(), public=outcast._seal.public))
    node.revoke(realm.revocation(pen), 1.0)
    answers = push(node, make.codec.encode(Sync(outcast.id, (1_000, 2), 1, 0, False, bytes(2048), 1)))
    told = [make.codec.decode(effect.frame) for effect in answers if type(effect) is Answer]
    assert [type(message) for message in told] == [Revoked]
    heard = outcast.handle(Heard(b"*" + make.codec.encode(told[0]), "10.0.0.1:7401"), 2.0)
    assert any("revoked the certificate of this peer" in notice for notice in notices(heard))


def test_a_revocation_is_forgotten_when_the_certificate_would_have_expired(node: Node, realm: Realm) -> None:
    pen = realm.pen(20, after=100)
    node.revoke(realm.revocation(pen, until=100), 1.0)
    node.tick(50.0)
    assert node.local.authority.revoked(pen.signing.public)
    node.tick(99.0)
    assert not node.local.authority.revoked(pen.signing.public)
    assert node.local.authority.messages() == []
    assert node.revoke(realm.revocation(pen, until=100), 100.0)[1] is False, "nor is it news afterwards"


def test_who_knows_no_authority_is_told_of_no_revocation_in_any_conversation(
    wire: Wire, member_of: Callable[..., Node], node_of: Callable[..., Node], realm: Realm
) -> None:
    judge, plain, pen = member_of(1), node_of(2, signing=dataclasses.replace(realm.pen(2).signing, authority=b"")), realm.pen(20)
    for one in (judge, plain):
        wire.add(one)
        push(one, pen.state(put=("i1",)))
    judge.revoke(realm.revocation(pen), 1.0)
    for asker, answerer in ((judge, plain), (plain, judge)):
        wire.spoken.clear()
        wire.talk(asker, answerer, 2.0)
        assert wire.spoken
        assert not [message for _, message in wire.spoken if isinstance(message, Revoked)]


def test_revocations_have_a_bound_and_those_that_end_first_go(
    node: Node, realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority_module, "REVOCATIONS_MAX", 3)
    pens = [realm.pen(number) for number in range(20, 25)]
    for until, pen in zip((500, 300, 400, 200, 600), pens, strict=True):
        node.revoke(realm.revocation(pen, until=until), 1.0)
    assert sorted(one.until for one in node.local.authority.revocations.values()) == [400, 500, 600]
    assert node.local.counters["revocations_forgotten"] == 2


def test_a_peer_starts_with_the_revocations_of_its_last_life(
    member_of: Callable[..., Node], realm: Realm, make: Make
) -> None:
    pen = realm.pen(20)
    node = member_of(1, revoked=(realm.revocation(pen), b"x", realm.revocation(pen, by=realm.other)))
    push(node, pen.state(put=("i1",)))
    assert not lives(node, pen)
    assert len(node.local.authority.revocations) == 1


def test_who_knows_no_authority_stores_and_passes_on_no_revocation(
    node_of: Callable[..., Node], realm: Realm, make: Make
) -> None:
    plain, pen = node_of(1), realm.pen(20)
    push(plain, pen.state(put=("i1",)))
    effects = plain.handle(Heard(b"*" + make.codec.encode(Revoked((realm.revocation(pen),))), None), 1.0)
    assert lives(plain, pen)
    assert flooded(effects) == []
    assert plain.local.authority.digest == 0


def test_while_somebody_lies_what_a_certificate_does_not_cover_is_not_passed_on(node: Node, realm: Realm, make: Make) -> None:
    pen, subscriber = realm.pen(20, "orders"), realm.pen(30)
    push(node, pen.state(put=("i1",)))
    push(node, subscriber.state())
    node.handle(Subscribed(b"@" + subscriber.hash), 0.0)
    limit = (node.local.fan._origin_positions[0] - 1) % CIRCLE

    def relayed(frame: bytes) -> int:
        ranged = b"@" + node.local.me.hash + make.codec.envelope(0, limit, pen.hash) + frame
        return sum(type(e) is Publish and frame in e.frame for e in node.handle(Heard(ranged, "10.0.0.77:7401"), 1.0))

    lie = pen.write(dataclasses.replace(make.delta(pen.id, 1, 2), put=of(pen, "payments")))
    assert relayed(lie) == 1, "a range is passed on at once"
    assert relayed(pen.write(dataclasses.replace(make.delta(pen.id, 1, 3), put=of(pen, "payments")))) == 0
    assert relayed(pen.delta(1, put=("i2",))) == 1


def test_the_digest_of_revocations_has_its_place_also_where_there_is_none(make: Make) -> None:
    """Or what a later version appends would be taken for it."""
    sync, entries = Sync("a", (1, 1), 1, 0, True, bytes(2048)), Entries("a", True, bytes(32), (), False)
    for message in (sync, entries):
        told = dataclasses.replace(message, revoked=7)
        assert len(make.codec.encode(message)) == len(make.codec.encode(told))
        assert make.codec.decode(make.codec.encode(message)) == message
        assert make.codec.decode(make.codec.encode(told)) == told
    assert make.codec.decode(make.codec.encode(Ping("a", (1, 1), 0))) == Ping("a", (1, 1), 0)
