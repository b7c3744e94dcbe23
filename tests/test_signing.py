"""Signing at the edge: keys in files, arguments and the environment; peers that sign on real sockets."""

from __future__ import annotations

import asyncio
import os
import pickle
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossip import AsyncPeer, ConfigError, EventKind, Observer, Peer, new_signing_key, write_secret
from gossip.cli.main import main
from gossip.core.signatures import fingerprint
from gossip.environment import arguments_from
from gossip.signing import SigningKey, signing_key_of, verify

ROOT = Path(__file__).parents[1]
PATIENCE_S = 30.0
SEED, MESSAGE = bytes(range(32)), b"what it says"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "orders.key"
    write_secret(file, new_signing_key())
    return file


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE_S:g} s"
        time.sleep(0.002)
    return value


# keys -----------------------------------------------------------------------------------------------------------------


def test_a_key_signs_as_ed25519_does_and_only_its_public_half_verifies_that() -> None:
    # RFC 8032, section 7.1, test 2
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    key = SigningKey(seed)
    signing = key.signing("required")
    assert signing.sign is not None
    assert signing.sign(b"\x72") == signature
    assert verify(key.public, b"\x72", signature)
    assert not verify(key.public, b"\x73", signature)
    assert not verify(SigningKey(SEED).public, b"\x72", signature)
    assert not verify(key.public, b"\x72", bytes(64))
    assert not verify(bytes(32), b"\x72", bytes(64)), "a key of small order signs nothing"


def test_keygen_writes_a_key_that_its_owner_alone_may_read(tmp_path: Path) -> None:
    file = tmp_path / "orders.key"
    assert main(["keygen", "--signing", "-o", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    peer = Peer("orders", signing_key=file)
    assert peer.id.startswith("orders-")
    assert peer.id.endswith(f"@{fingerprint(SigningKey.of(file).public)}")
    again = Peer("orders", id="orders-1", signing_key=str(file))
    assert again.id == f"orders-1@{fingerprint(SigningKey.of(file).public)}"
    assert Peer("orders", id=again.id, signing_key=str(file)).id == again.id


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_a_key_that_others_may_read_is_refused(key_file: Path) -> None:
    key_file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Peer("orders", signing_key=key_file)


@pytest.mark.parametrize(
    "content",
    ["", "short\n", f"{new_signing_key()}\n{new_signing_key()}\n", "ä" * 43],
    ids=["empty", "short", "two keys", "no ASCII"],
)
def test_a_file_that_holds_no_key_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    file = tmp_path / "orders.key"
    file.touch(0o600)
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="keygen --signing") as error:
        Peer("orders", signing_key=file)
    assert not content.strip() or content.strip() not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"signing_key": b"short"}, "5 bytes, not 32"),
        ({"signing_key": 7}, "it is a int"),
        ({"signing_key": "no such file"}, "keygen --signing"),
        ({"signed": "required"}, "no signing_key"),
        ({"signing_key": SEED, "signed": "sometimes"}, "none of required, optional"),
        ({"signing_key": SEED, "id": "x" * 110}, "1 to 128"),
    ],
)
def test_what_is_no_key_or_makes_no_sense_is_said_before_anything_starts(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Peer("orders", **arguments)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nacl.signing", None)
    with pytest.raises(ConfigError, match=r"gossip-registry\[sign\]"):
        Peer("orders", signing_key="new")


def test_a_key_shows_nothing_of_itself() -> None:
    key = SigningKey(SEED)
    peer = Peer("orders", signing_key=SEED)
    shown = [repr(key), repr(key.signing("required")), repr(peer), str(vars(peer)), str(peer.status())]
    assert not [text for text in shown if SEED.hex() in text or repr(SEED)[2:-1] in text or "SigningKey object" in text]
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)


def test_the_environment_names_a_key_or_its_file(monkeypatch: pytest.MonkeyPatch, key_file: Path) -> None:
    text = key_file.read_text(encoding="ascii").strip()
    seed = signing_key_of(text, "here")
    assert arguments_from({"GOSSIP_SIGNING_KEY": text}) == {"signing_key": seed}
    assert arguments_from({"GOSSIP_SIGNING_KEY": "new"}) == {"signing_key": "new"}
    monkeypatch.setenv("GOSSIP_SIGNING_KEY_FILE", str(key_file))
    assert Peer.from_env(name="orders").id.endswith(f"@{fingerprint(SigningKey(seed).public)}")
    Observer.from_env()
    monkeypatch.delenv("GOSSIP_SIGNING_KEY_FILE")
    monkeypatch.setenv("GOSSIP_SIGNING_KEY", "x" * 44)
    with pytest.raises(ConfigError, match="GOSSIP_SIGNING_KEY") as error:
        Peer.from_env()
    assert "x" * 44 not in str(error.value)


# peers ----------------------------------------------------------------------------------------------------------------


def test_peers_that_sign_find_each_other_and_a_late_one_believes_what_others_tell_it(
    peer_of: Callable[..., Peer], key_file: Path
) -> None:
    first = peer_of("first", signing_key=key_file)
    second = peer_of("second", first, signing_key="new")
    registration = first.register("orders", port=8080)
    for weight in range(2, 90):
        registration.update(weight=weight)
    assert second.wait_for("orders", timeout=PATIENCE_S)
    until(lambda: second.lookup("orders")[0].weight == 89, "the last update")
    late = peer_of("late", second, signing_key="new", fork="restart")
    assert late.wait_for("orders", timeout=PATIENCE_S)[0].origin == first.id
    assert not any("refused" in name or "unsigned" in name for name in late.status().counters)


def test_both_sides_say_so_when_one_does_not_sign(peer_of: Callable[..., Peer]) -> None:
    signer = peer_of("signer", signing_key="new")
    plain = peer_of("plain", signer)
    plain.register("orders", port=1)

    def told(peer: Peer, words: str) -> list[str]:
        about = (*signer_and_plain, peer.id)
        return [e.reason for id in about for e in peer.why(id) if e.kind is EventKind.NOTICE and words in e.reason]

    signer_and_plain = signer.id, plain.id
    until(lambda: told(signer, "it does not sign"), "the signer's notice")
    until(lambda: told(plain, "takes in nobody who does not sign"), "the other's notice")
    assert signer.lookup("orders") == ()


def test_where_signing_is_optional_all_see_all(peer_of: Callable[..., Peer]) -> None:
    signer = peer_of("signer", signing_key="new", signed="optional")
    plain = peer_of("plain", signer)
    other = peer_of("other", plain, signing_key="new", signed="optional")
    for port, peer in enumerate((signer, plain, other), 1):
        peer.register("orders", port=port)
    for peer in (signer, plain, other):
        peer.wait_for("orders", 3, timeout=PATIENCE_S)


def test_an_async_peer_signs_as_well(peer_of: Callable[..., Peer]) -> None:
    signer = peer_of("signer", signing_key="new")
    signer.register("orders", port=1)

    async def look() -> None:
        async with AsyncPeer("async", cluster=signer.status().cluster, seeds=[signer.address], signing_key=SEED) as peer:
            await peer.wait_for("orders", timeout=PATIENCE_S)
            signer.wait_for("orders", timeout=PATIENCE_S)
            until(lambda: peer.id in {member.id for member in signer.members()}, "the member")

    asyncio.run(look())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_that_begins_anew_has_a_key_of_its_own_or_the_files(key_file: Path) -> None:
    script = """
import os, signal, sys
from gossip import Peer

with Peer("stays", seeds=[], bind="127.0.0.1:0", signing_key="new") as stays:
    with Peer("forks", seeds=[stays.address], bind="127.0.0.1:0", signing_key=sys.argv[1], fork="restart") as forks:
        stays.register("orders", port=1)
        forks.wait_for("orders", timeout=30)
        child = os.fork()
        if not child:
            forks.lookup("orders")
            forks.register("payments", port=2)
            print(forks.id, flush=True)
            signal.alarm(60)
            signal.pause()  # until it is killed
        (found,) = stays.wait_for("payments", timeout=30)
        print(forks.id, found.origin, flush=True)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
"""
    for key in ("new", str(key_file)):
        run = subprocess.run(
            [sys.executable, "-c", script, key], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert run.returncode == 0, run.stderr
        child, parent, found = run.stdout.split()
        assert found == child != parent
        assert (child.rpartition("@")[2] == parent.rpartition("@")[2]) == (key != "new")
