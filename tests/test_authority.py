"""An authority at the edge: `gossip ca`, files and arguments, and peers on real sockets that demand certificates."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossip import AsyncPeer, ConfigError, EventKind, Observer, Peer, RegistrationError, new_signing_key, write_secret
from gossip.authority import Authority, authority_of, new_authority, public_key_of, public_text
from gossip.cli.main import main
from gossip.core.certificates import Certificate, Revocation
from gossip.core.effects import Publish
from gossip.core.messages import Revoked
from gossip.core.signatures import fingerprint
from gossip.signing import SigningKey

from .test_signing import until

PATIENCE_S = 30.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return new_authority(tmp_path / "ca.key")


class Holder:
    """The key of one peer, and what it is allowed."""

    def __init__(self, folder: Path, authority: Authority, *services: str, days: float = 1.0) -> None:
        self.file = folder / f"{uuid.uuid4().hex}.key"
        write_secret(self.file, new_signing_key())
        self.authority, self.key = authority, SigningKey.of(self.file).public
        self.certificate = self.issue(*services, days=days)

    def issue(self, *services: str, days: float = 1.0) -> Certificate:
        return self.authority.issue(self.key, services or ("*",), days)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"signing_key": self.file, "certificate": self.certificate.text, "authority": self.authority.public}


@pytest.fixture
def holder_of(tmp_path: Path, authority: Authority) -> Callable[..., Holder]:
    return lambda *services, **options: Holder(tmp_path, options.pop("authority", authority), *services, **options)


def notices(peer: Peer, words: str, *about: str) -> list[str]:
    found = [event.reason for id in (*about, peer.id) for event in peer.why(id) if event.kind is EventKind.NOTICE]
    return [reason for reason in found if words in reason]


def sees(peer: Peer, other: Peer) -> bool:
    return other.id in {member.id for member in peer.members()}


# files and commands ---------------------------------------------------------------------------------------------------


def test_the_commands_make_an_authority_a_certificate_and_a_revocation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca, key = tmp_path / "ca.key", tmp_path / "orders.key"
    certificate, revocation = tmp_path / "orders.cert", tmp_path / "orders.revocation"
    assert main(["ca", "init", "-o", str(ca)]) == 0
    assert stat.S_IMODE(ca.stat().st_mode) == 0o600
    public = capsys.readouterr().out.splitlines()[0]
    assert (tmp_path / "ca.pub").read_text(encoding="ascii").strip() == public
    assert authority_of(public) == authority_of(tmp_path / "ca.pub") == SigningKey.of(ca).public
    write_secret(key, new_signing_key())
    assert main(["ca", "public", str(key), "-o", str(tmp_path / "orders.pub")]) == 0
    wanted = ["--services", "orders.*,payments", "--services", "stock", "--days", "90"]
    issue = ["ca", "issue", "--ca", str(ca), *wanted]
    assert main([*issue, "--key", str(tmp_path / "orders.pub"), "-o", str(certificate)]) == 0
    assert main([*issue, "--key", str(key)]) == 0, "the key itself does as well"
    printed = Certificate.of_text(capsys.readouterr().out)
    made = Certificate.of_text(certificate.read_text(encoding="ascii"))
    assert printed.key == made.key == SigningKey.of(key).public
    assert made.services == ("orders.*", "payments", "stock")
    assert 89.9 * 86400 < made.not_after - time.time() <= 90 * 86400
    assert main(["ca", "show", str(certificate)]) == 0
    assert "orders.*, payments, stock" in capsys.readouterr().out
    assert main(["ca", "show", "--json", made.text]) == 0
    assert json.loads(capsys.readouterr().out)["not_after"] == made.not_after
    assert main(["ca", "revoke", "--ca", str(ca), str(certificate), "-o", str(revocation)]) == 0
    told = Revocation.of_text(revocation.read_text(encoding="ascii"))
    assert (told.key, told.until) == (made.key, made.not_after)
    assert main(["ca", "revoke", "--ca", str(ca), str(certificate), "--days", "200"]) == 0
    assert Revocation.of_text(capsys.readouterr().out).until > made.not_after + 100 * 86400


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["issue", "--ca", "ca.key", "--key", "x.key", "--services", "a b"], "no service"),
        (["issue", "--ca", "ca.key", "--key", "x.key", "--services", "a", "--days", "0"], "more than 0"),
        (["issue", "--ca", "ca.key", "--key", "x.key", "--services", "a", "--days", "99999"], "at most"),
        (["issue", "--ca", "ca.key", "--key", "nowhere", "--services", "a"], "cannot read it"),
        (["issue", "--ca", "ca.pub", "--key", "x.key", "--services", "a"], "authority key file 'ca.pub'"),
        (["issue", "--ca", "nowhere", "--key", "x.key", "--services", "a"], "Make an authority with `gossip ca init -o FILE`"),
        (["init", "-o", "ca.key"], "exists"),
        (["show", "nowhere"], "cannot read it"),
        (["show", "ca.pub"], "does not begin with gossip-certificate:"),
        (["revoke", "--ca", "other.key", "x.cert"], "did not sign"),
    ],
)
def test_what_a_command_cannot_do_it_says_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    authority = new_authority("ca.key")
    new_authority("other.key")
    write_secret("x.key", new_signing_key())
    Path("x.cert").write_text(authority.issue(public_key_of("x.key"), ["a"], 1).text, encoding="ascii")
    before = sorted(os.listdir(tmp_path))
    assert main(["ca", *command]) in (1, 2)
    out, err = capsys.readouterr()
    assert told in err
    assert not out
    assert sorted(os.listdir(tmp_path)) == before


def test_an_authority_shows_nothing_of_its_key(tmp_path: Path, authority: Authority) -> None:
    text = (tmp_path / "ca.key").read_text(encoding="ascii").strip()
    assert text not in repr(authority) + repr(vars(authority)) + authority.public


# arguments ------------------------------------------------------------------------------------------------------------


def test_mistakes_of_ones_own_are_said_before_anything_starts(tmp_path: Path, holder_of: Callable[..., Holder]) -> None:
    mine, others = holder_of("orders"), holder_of("orders", authority=new_authority(tmp_path / "other.key"))
    good = mine.arguments
    expired = Certificate.made(mine.key, 5, 6, ("orders",), mine.authority._sign)
    later = Certificate.made(mine.key, int(time.time()) + 999, 1 << 39, ("orders",), mine.authority._sign)
    for wrong, told in (
        ({"certificate": holder_of("orders").certificate.text}, "issued for another key"),
        ({"certificate": others.issue("orders").text, "signing_key": others.file}, "not signed by the authority"),
        ({"certificate": expired.text}, "expired"),
        ({"certificate": later.text}, "not valid for another"),
        ({"certificate": "nowhere"}, "cannot read it"),
        ({"certificate": mine.certificate.text[:-9]}, "certificate"),
        ({"certificate": 7}, "it is a int"),
        ({"certificate": None}, "no certificate"),
        ({"signing_key": None}, "no signing_key"),
        ({"signing_key": None, "authority": None}, "no signing_key"),
        ({"signing_key": "new"}, "issued for another key"),
        ({"authority": mine.file}, "private one stays"),
        ({"authority": "nowhere"}, "cannot read it"),
        ({"signed": "optional"}, "Leave signed out"),
    ):
        with pytest.raises(ConfigError, match=told):
            Peer("orders", **{**good, **wrong})
    Peer("orders", **good)
    Peer("orders", **{**good, "authority": None})


def test_the_environment_names_a_certificate_and_the_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder_of: Callable[..., Holder]
) -> None:
    mine, file = holder_of("orders"), tmp_path / "orders.cert"
    file.write_text(f"# of orders\n{mine.certificate.text}\n", encoding="ascii")
    monkeypatch.setenv("GOSSIP_SIGNING_KEY_FILE", str(mine.file))
    monkeypatch.setenv("GOSSIP_CERTIFICATE_FILE", str(file))
    monkeypatch.setenv("GOSSIP_AUTHORITY", str(tmp_path / "ca.pub"))
    peer = Peer.from_env(name="orders")
    assert peer._certificate == mine.certificate
    with pytest.raises(RegistrationError, match="allows orders"):
        peer.register("payments", port=1)
    Observer.from_env()
    monkeypatch.delenv("GOSSIP_CERTIFICATE_FILE")
    monkeypatch.setenv("GOSSIP_CERTIFICATE", "nonsense")
    with pytest.raises(ConfigError, match="GOSSIP_CERTIFICATE"):
        Peer.from_env()


# peers ----------------------------------------------------------------------------------------------------------------


def test_members_register_what_their_certificates_cover_and_nothing_else(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder]
) -> None:
    first = peer_of("first", **holder_of("*").arguments)
    orders = peer_of("orders", first, **holder_of("orders", "orders.*").arguments)
    orders.register("orders.eu", port=1)
    with pytest.raises(RegistrationError, match=r"allows orders, orders\.\*"):
        orders.register("payments", port=2)
    assert first.wait_for("orders.eu", timeout=PATIENCE_S)[0].origin == orders.id


def test_who_has_no_certificate_or_a_strangers_is_refused_and_named(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder], tmp_path: Path
) -> None:
    first = peer_of("first", **holder_of("*").arguments)
    bare = peer_of("bare", first, signing_key="new")
    stranger = peer_of("stranger", first, **holder_of("*", authority=new_authority(tmp_path / "other.key")).arguments)
    bare.register("orders", port=1)
    stranger.register("orders", port=2)
    until(lambda: notices(first, "shows no certificate", bare.id), "the notice about the bare one")
    until(lambda: notices(first, "did not sign the certificate", stranger.id), "the notice about the stranger")
    assert first.lookup("orders") == ()
    assert not sees(first, bare)
    assert not sees(first, stranger)


def test_a_revoked_member_is_gone_everywhere_is_told_and_cannot_come_back(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder], authority: Authority
) -> None:
    members = [peer_of("first", **holder_of("*").arguments)]
    members += [peer_of(name, members[0], **holder_of("*").arguments) for name in ("second", "third")]
    holder = holder_of("orders")
    bad = peer_of("bad", members[0], **holder.arguments)
    bad.register("orders", port=1)
    for one in members:
        one.wait_for("orders", timeout=PATIENCE_S)
        until(lambda one=one: len(one.members()) == 4, "all four")
    revocation = authority.revoke(holder.certificate).text
    assert members[1].revoke(revocation)
    assert not members[1].revoke(revocation), "it is no news a second time"
    for one in members:
        until(lambda one=one: not one.lookup("orders") and not sees(one, bad), "the end of the revoked one")
    until(lambda: notices(bad, "revoked the certificate of this peer"), "its own notice")
    bad.close()
    again = peer_of("again", *members, **holder.arguments)  # the same key under another id
    again.register("orders", port=2)
    late = peer_of("late", members[2], **holder_of("*").arguments)
    until(lambda: len(late.members()) == 4, "the members at a newcomer")
    until(lambda: notices(again, "revoked the certificate of this peer"), "the notice of the one that came again")
    for one in (*members, late):
        assert one.lookup("orders") == ()
        assert not sees(one, again)


def test_a_revocation_that_the_authority_did_not_sign_is_refused_at_the_caller(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder], tmp_path: Path
) -> None:
    holder, other = holder_of("orders"), new_authority(tmp_path / "other.key")
    peer = peer_of("first", **holder.arguments)
    forged = other.revoke(other.issue(holder.key, ["orders"], 1)).text
    for wrong in (forged, "gossip-revocation:AAAA", "nowhere"):
        with pytest.raises(ConfigError, match="revo"):
            peer.revoke(wrong)
    plain = peer_of("plain", signing_key="new")
    with pytest.raises(ConfigError, match="no authority"):
        plain.revoke(forged)


def test_a_member_is_put_out_when_its_certificate_expires_and_back_with_a_new_one(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder]
) -> None:
    first = peer_of("first", **holder_of("*").arguments)
    holder = holder_of("orders", days=6 / 86400)
    short = peer_of("short", first, **holder.arguments)
    short.register("orders", port=1)
    first.wait_for("orders", timeout=PATIENCE_S)
    until(lambda: not first.lookup("orders"), "the expiry")
    assert any("expired" in event.reason for event in first.why(short.id) if event.kind is EventKind.MEMBER_LEFT)
    until(lambda: notices(short, "expired: others show nothing of it"), "its own notice")
    with pytest.raises(RegistrationError, match="has registered orders"):
        short.renew_certificate(holder.issue("payments").text)
    with pytest.raises(ConfigError, match="expired"):
        short.renew_certificate(holder.certificate.text)
    short.renew_certificate(holder.issue("orders", "payments").text)
    first.wait_for("orders", timeout=PATIENCE_S)
    short.register("payments", port=2)
    first.wait_for("payments", timeout=PATIENCE_S)


def test_a_cluster_that_signs_gets_an_authority_in_two_rounds_of_restarts_and_nobody_is_refused(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder]
) -> None:
    holders = [holder_of("*") for _ in range(3)]
    rounds = [("signing_key",), ("signing_key", "certificate"), ("signing_key", "certificate", "authority")]

    def start(number: int, step: int, *seeds: Peer) -> Peer:
        given = {name: value for name, value in holders[number].arguments.items() if name in rounds[step]}
        peer = peer_of(f"p{number}", *seeds, id=f"p{number}", **given)
        peer.register("orders", id=f"i{number}", port=1 + number)
        return peer

    peers = [start(0, 0)]
    peers += [start(number, 0, peers[0]) for number in (1, 2)]
    for step in (1, 2):
        for number in range(3):
            others = [peer for peer in peers if peer is not peers[number]]
            peers[number].close()
            peers[number] = start(number, step, *others)
            for peer in peers:
                until(lambda peer=peer: len(peer.lookup("orders")) == 3, "all three instances")
    for peer in peers:
        counters = peer.status().counters
        assert not counters.get("forgeries_refused")
        assert not counters.get("uncertified_refused")


def test_an_async_peer_shows_and_renews_its_certificate_and_revokes(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder], authority: Authority
) -> None:
    first, holder, victim = peer_of("first", **holder_of("*").arguments), holder_of("orders"), holder_of("orders")
    bad = peer_of("bad", first, **victim.arguments)

    async def live() -> None:
        cluster = first.status().cluster
        async with AsyncPeer("async", cluster=cluster, seeds=[first.address], **holder.arguments) as peer:
            await peer.register("orders", port=1)
            await peer.renew_certificate(holder.issue("orders", "payments").text)
            await peer.register("payments", port=2)
            until(lambda: first.lookup("payments"), "what the new one covers")
            until(lambda: sees(first, bad), "the one to be revoked")
            assert await peer.revoke(authority.revoke(victim.certificate).text)
            until(lambda: not sees(first, bad), "the end of the revoked one")

    asyncio.run(live())


def test_the_command_tells_a_running_cluster_and_waits_until_the_holder_is_gone(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, victim = peer_of("first", **holder_of("*").arguments), holder_of("orders")
    bad = peer_of("bad", first, **victim.arguments)
    until(lambda: sees(first, bad), "the one to be revoked")
    via = ["--via", first.address, "--cluster", first.status().cluster]
    assert main(["ca", "revoke", "--ca", str(tmp_path / "ca.key"), victim.certificate.text, *via]) == 0
    assert f"{bad.id} is put out" in capsys.readouterr().out
    assert not sees(first, bad)
    assert bad.id.endswith(f"@{fingerprint(victim.key)}")
    assert public_text(victim.key).startswith("gossip-public-key:")


def test_a_cluster_that_ended_at_once_still_knows_what_was_revoked(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder], authority: Authority, tmp_path: Path
) -> None:
    holders, victim = [holder_of("*"), holder_of("*")], holder_of("orders")

    def start(number: int, *seeds: Peer) -> Peer:
        return peer_of(f"p{number}", *seeds, snapshot=tmp_path / f"p{number}.snapshot", **holders[number].arguments)

    first = start(0)
    second = start(1, first)
    bad = peer_of("bad", first, **victim.arguments)
    bad.register("orders", port=1)
    for one in (first, second):
        one.wait_for("orders", timeout=PATIENCE_S)
    first.revoke(authority.revoke(victim.certificate).text)
    for one in (first, second):
        until(lambda one=one: not sees(one, bad), "the end of the revoked one")
        one.close()
    again = start(0)
    other = start(1, again)
    assert again.lookup("orders") == ()
    until(lambda: notices(bad, "revoked the certificate"), "the notice")
    late = peer_of("late", again, other, **victim.arguments)
    late.register("orders", port=2)
    until(lambda: sees(again, other) and sees(other, again), "both")
    until(lambda: notices(late, "revoked the certificate"), "the notice of the one that came again")
    assert not sees(again, late)
    assert again.lookup("orders") == other.lookup("orders") == ()


def test_who_says_false_revocations_on_and_on_is_cut_off(peer_of: Callable[..., Peer], holder_of: Callable[..., Holder]) -> None:
    first = peer_of("first", **holder_of("*").arguments)
    honest = peer_of("honest", first, **holder_of("*").arguments)
    liar = peer_of("liar", first, **holder_of("*").arguments)
    honest.register("orders", port=1)
    for peer in (first, honest, liar):
        until(lambda peer=peer: len(peer.members()) == 3, "all three")
    until(lambda: liar.status().links >= 2 and first.status().links >= 2, "the links")

    def lie(node: Any, now: float) -> tuple[list[Any], None]:
        key = honest._node.local.me.header.key
        forged = [key + number.to_bytes(8, "big") + bytes(64) for number in range(1 << 34, (1 << 34) + 30)]
        frames = [node.local.codec.encode(Revoked((raw,))) for raw in forged]
        return [Publish(b"*" + frame) for frame in frames], None

    liar._must(lie)
    until(lambda: first.status().counters.get("links_shunned"), "the cut link")
    assert notices(first, "revoked a certificate, and it did not")
    assert sees(first, honest)
    assert first.lookup("orders")


def test_an_observer_with_the_authority_is_shown_no_more_than_it_allows_whomever_it_follows(
    peer_of: Callable[..., Peer], holder_of: Callable[..., Holder], tmp_path: Path
) -> None:
    holder = holder_of("orders")
    lax = peer_of("lax", **{**holder.arguments, "authority": None})  # takes in whoever signs
    bare = peer_of("bare", lax, signing_key="new")
    good = peer_of("good", lax, **{**holder_of("orders").arguments, "authority": None})
    good.register("orders", port=1)
    bare.register("payments", port=2)
    lax.wait_for("payments", timeout=PATIENCE_S)
    lax.wait_for("orders", timeout=PATIENCE_S)
    cluster = lax.status().cluster

    def look(**arguments: Any) -> tuple[set[str], set[str], dict[str, int]]:
        with Observer("eye", cluster=cluster, seeds=[lax.address], **arguments) as observer:
            observer.wait_synced(PATIENCE_S)
            members = {member.name for member in observer.members()}
            return set(observer.services()), members, dict(observer.status().counters)

    assert look()[:2] == ({"orders", "payments"}, {"lax", "bare", "good"})
    services, members, counters = look(authority=tmp_path / "ca.pub")
    assert (services, members) == ({"orders"}, {"lax", "good"})
    assert counters["uncertified_refused"] >= 1
    services, members, counters = look(authority=new_authority(tmp_path / "other.key").public)
    assert (services, members) == (set(), set())
    assert counters["forgeries_refused"] >= 1
