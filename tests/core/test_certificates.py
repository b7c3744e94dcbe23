"""Certificates and revocations as bytes and text: what is not exactly one is refused, whatever it is."""

from __future__ import annotations

import random

import pytest

from gossip.core.certificates import (
    CERTIFICATE_BYTES_MAX,
    PATTERNS_MAX,
    SECONDS_MAX,
    TEXT_CHARS_MAX,
    Certificate,
    Revocation,
    in_words,
    patterns_of,
)
from gossip.errors import RegistrationError, WireError
from gossip.simulation.notary import Notary

KEY = bytes(range(32))


@pytest.fixture
def notary() -> Notary:
    return Notary()


@pytest.fixture
def authority(notary: Notary) -> bytes:
    return notary.issue(random.Random(1)).public


def made(notary: Notary, authority: bytes, *services: str, before: int = 100, after: int = 200) -> Certificate:
    return Certificate.made(KEY, before, after, services or ("orders.*",), notary.sign(authority))


def test_a_certificate_says_what_was_signed_and_its_text_survives_copy_and_paste(notary: Notary, authority: bytes) -> None:
    one = made(notary, authority, "orders.*", "payments")
    assert (one.key, one.not_before, one.not_after, one.services) == (KEY, 100, 200, ("orders.*", "payments"))
    assert Certificate.of_bytes(one.raw) == one
    for text in (one.text, f"  {one.text}\r\n", f"{one.text[:30]}\n  {one.text[30:90]}\n{one.text[90:]}", one.text + "=="):
        assert Certificate.of_text(text) == one
    assert one.signed_by(authority, notary.verify)
    assert not one.signed_by(notary.issue(random.Random(2)).public, notary.verify)


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("orders", ["orders"], ["orders2", "Orders", "my.orders", ""]),
        ("orders.*", ["orders.eu", "orders."], ["orders", "xorders.eu", "payments"]),
        ("*", ["orders", "x"], []),
        ("o?", ["oa"], ["o", "oab"]),
    ],
)
def test_a_pattern_covers_whole_names(
    notary: Notary, authority: bytes, pattern: str, covered: list[str], not_covered: list[str]
) -> None:
    one = made(notary, authority, pattern)
    assert [name for name in (*covered, *not_covered) if one.covers(name)] == covered
    for name in not_covered:
        with pytest.raises(RegistrationError, match="allows"):
            one.refuse_uncovered(name)


def test_a_certificate_counts_from_its_beginning_until_its_end(notary: Notary, authority: bytes) -> None:
    one = made(notary, authority)
    assert [bool(one.when_not(at)) for at in (99.9, 100, 199.9, 200)] == [True, False, False, True]
    assert "expired 100 s ago" in one.when_not(300)
    assert in_words(3 * 86400) == "3 d"


@pytest.mark.parametrize(
    "services",
    [[], ["a b"], ["a\nb"], ["[a]"], ["x" * 129], [f"s{number}" for number in range(PATTERNS_MAX + 1)], [""]],
    ids=["none", "blank", "two in one", "brackets", "long", "many", "empty"],
)
def test_what_is_no_service_is_refused_before_it_is_signed(services: list[str]) -> None:
    with pytest.raises(WireError):
        patterns_of(services)


def test_what_is_too_long_or_never_valid_is_no_certificate(notary: Notary, authority: bytes) -> None:
    with pytest.raises(WireError, match="bytes"):
        made(notary, authority, *[f"{number:x}" * 128 for number in range(PATTERNS_MAX)])
    for before, after in ((5, 5), (6, 5), (0, SECONDS_MAX + 1)):
        with pytest.raises(WireError, match="never"):
            made(notary, authority, before=before, after=after)


def test_whatever_the_bytes_nothing_but_a_wire_error_is_raised(notary: Notary, authority: bytes, seed: int) -> None:
    chance = random.Random(seed)
    honest = [made(notary, authority).raw, Revocation.made(KEY, 5, notary.sign(authority)).raw]
    for _ in range(3000):
        raw = bytearray(chance.choice(honest))
        for _ in range(chance.randrange(1, 4)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        cut = bytes(raw[: chance.randrange(len(raw) + 1)]) + chance.randbytes(chance.randrange(3) * CERTIFICATE_BYTES_MAX // 2)
        for of in (Certificate.of_bytes, Revocation.of_bytes):
            for data in (bytes(raw), cut):
                try:
                    found = of(data)
                except WireError:
                    continue
                assert found.raw == data
                assert not found.signed_by(authority, notary.verify) or data in honest


@pytest.mark.parametrize(
    "text", ["", "gossip-certificate:", "gossip-revocation:AAAA", "gossip-certificate:ä", "gossip-certificate:A", "x" * 5000]
)
def test_a_text_that_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        Certificate.of_text(text)
    assert len("x" * 5000) > TEXT_CHARS_MAX


def test_neither_can_be_taken_for_the_other(notary: Notary, authority: bytes) -> None:
    certificate, revocation = made(notary, authority), Revocation.made(KEY, 200, notary.sign(authority))
    with pytest.raises(WireError):
        Revocation.of_text(certificate.text)
    with pytest.raises(WireError):
        Certificate.of_text(revocation.text)
    assert Revocation.of_text(revocation.text) == revocation
