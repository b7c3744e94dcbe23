from __future__ import annotations

import pickle
import secrets
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from gossip.bus.keys import SECRETS_MAX, Keys, hkdf_sha256, keyring_of
from gossip.errors import ConfigError

GOOD = "correct horse battery staple, said the owl"


@pytest.mark.parametrize(
    ("secret", "salt", "info", "length", "made"),
    [  # RFC 5869, appendix A, test cases 1 to 3
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            82,
            ("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"),
        ),
        (
            "0b" * 22,
            "",
            "",
            42,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_keys_are_derived_as_the_rfc_says(secret: str, salt: str, info: str, length: int, made: str) -> None:
    raw = [bytes.fromhex(part) for part in (secret, salt, info)]
    assert hkdf_sha256(raw[0], salt=raw[1], info=raw[2], length=length).hex() == made


def test_a_str_and_its_bytes_are_one_secret_and_another_is_another() -> None:
    one, two = keyring_of(GOOD)[0], keyring_of(GOOD.encode())[0]
    assert one == two
    assert hash(one) == hash(two)
    assert keyring_of(f"{GOOD}\n")[0] == one, "files and templates leave a line end behind"
    other = keyring_of(GOOD.upper())[0]
    assert other != one
    assert len({one.server_public, one.client_public, other.server_public, other.client_public}) == 4


def test_a_public_key_is_that_of_its_private_key() -> None:
    keys = keyring_of(GOOD)[0]
    assert z85.encode(keys.client_public) == zmq.curve_public(z85.encode(keys.client_secret))


def test_of_several_the_newest_is_first_and_all_are_admitted() -> None:
    new, old = secrets.token_urlsafe(32), secrets.token_bytes(32)
    ring = keyring_of([new, old, new])
    assert list(ring) == [keyring_of(new)[0], keyring_of(old)[0]]
    assert all(ring.admits(keys.client_public) for keys in ring)
    assert not ring.admits(keyring_of(GOOD)[0].client_public)


@pytest.mark.parametrize(
    ("weak", "why"),
    [
        ("seven-letters-and-more-4-life", "29 bytes"),
        ("", "0 bytes"),
        ("x" * 1025, "1025 bytes"),
        ("a" * 64, "1 different bytes"),
        ("abcabdabeabfabcabdabeabfabcabdabf", "6 different bytes"),
        ("0123456789abcdef" * 2, "repeats itself"),
        ("0123456789abcdef" * 2 + "012345", "repeats itself"),
        (b"\0" * 32, "1 different bytes"),
        ("\udc80" * 40, "UTF-8"),
        (42, "int"),
        (bytearray(40), "bytearray"),
        ([], "list of 0"),
        ([GOOD] * (SECRETS_MAX + 1), "list of 5"),
        ([GOOD, "too short"], "9 bytes"),
        ([GOOD, None], "NoneType"),
    ],
)
def test_a_weak_secret_is_refused_and_not_shown(weak: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        keyring_of(weak)
    text = "".join(map(repr, (caught.value, caught.value.__cause__, caught.value.__context__)))
    for part in weak if isinstance(weak, list) else [weak]:
        assert not part or str(part) not in text or part is None or isinstance(part, int)
    assert "gossip keygen" in text or "list of" in text


def test_random_secrets_pass() -> None:
    for _ in range(200):
        for made in (secrets.token_bytes(32), secrets.token_urlsafe(32), secrets.token_hex(16)):
            keyring_of(made)


def test_keys_and_rings_show_nothing_and_leave_the_process_in_no_pickle() -> None:
    ring = keyring_of(GOOD)
    assert repr(ring) == "<keyring of 1 secrets>"
    assert repr(ring[0]) == "<keys of a secret>"
    for thing in (ring, ring[0]):
        assert not hasattr(thing, "__dict__")
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)
    assert isinstance(ring[0], Keys)
