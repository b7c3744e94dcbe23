"""Authorities, at the edge: who holds the key that signs certificates and revocations, and what files and arguments hold.

    gossip ca init -o ca.key      gossip ca issue --ca ca.key --key orders.key --services 'orders.*' -o orders.cert
    Peer(signing_key="orders.key", certificate="orders.cert", authority="ca.pub")

An authority is no process: a key in a file, and a command that signs. Its private half stays where that command is run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from .bus.keys import write_secret
from .core.certificates import (
    CERTIFICATE_WORD,
    PUBLIC_WORD,
    REVOCATION_WORD,
    TEXT_CHARS_MAX,
    Certificate,
    Revocation,
    as_text,
    of_text,
    patterns_of,
)
from .core.signatures import KEY_BYTES
from .errors import ConfigError, WireError
from .signing import SigningKey, new_signing_key, read_signing_key, verify

__all__ = [
    "Authority",
    "Certificate",
    "authority_of",
    "certificate_of",
    "checked_certificate",
    "new_authority",
    "public_key_of",
    "public_path",
    "public_text",
    "revocation_of",
    "write_text",
]

CLOCKS_S = 3600  # a certificate begins so long before it is issued: the clocks of its readers may be late
DAY_S = 86400
DAYS_MAX = 3660
ADVICE = "Nothing was changed."
HOW_TO_INIT = "`gossip ca init -o FILE`"

T = TypeVar("T")
Given = str | os.PathLike[str]


class Authority:
    """Signs certificates and revocations. For the command line, and for whoever issues them by program."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        sign = key.signing("required").sign
        assert sign is not None
        self._sign = sign

    @classmethod
    def of(cls, path: Given) -> Authority:
        """The one whose private key is in this file, which its owner alone may read. Raises `ConfigError`."""
        return cls(SigningKey(read_signing_key(path, "authority key file", f"Make an authority with {HOW_TO_INIT}. {ADVICE}")))

    def __repr__(self) -> str:
        return "<an authority>"

    @property
    def public(self) -> str:
        """Its public half, as one word: what peers are given."""
        return as_text(PUBLIC_WORD, self._key.public)

    def issue(self, key: bytes, services: Sequence[str], days: float) -> Certificate:
        """A certificate of this public key, valid from an hour ago for so many days. Raises `ConfigError`."""
        now = int(time.time())
        try:
            return Certificate.made(key, now - CLOCKS_S, now + _seconds(days), patterns_of(services), self._sign)
        except WireError as error:
            raise ConfigError(f"services: {error}. {ADVICE}") from None

    def revoke(self, certificate: Certificate, days: float = 0) -> Revocation:
        """That no certificate of its key counts any more. Peers keep it until this one would have expired, or for so many days.

        Raises `ConfigError` for a certificate of another authority.
        """
        if not certificate.signed_by(self._key.public, verify):
            raise ConfigError(f"this authority did not sign that certificate, so peers would not believe it. {ADVICE}")
        later = int(time.time()) + _seconds(days) if days else 0
        return Revocation.made(certificate.key, max(certificate.not_after, later), self._sign)


def new_authority(path: Given) -> Authority:
    """A new key in a new file of mode 0600, and its public half beside it. Raises `ConfigError`; nothing is overwritten."""
    public = public_path(path)
    if os.path.exists(public):
        raise ConfigError(f"{public!r} exists: it is of another authority. Name another file. {ADVICE}")
    write_secret(path, new_signing_key())
    made = Authority.of(path)
    write_text(public, made.public)
    return made


def public_path(path: Given) -> str:
    """Where the public half of the key in this file goes: `ca.key`, `ca.pub`."""
    stem, extension = os.path.splitext(os.fspath(path))
    return f"{stem}.pub" if extension in ("", ".key") else f"{os.fspath(path)}.pub"


def write_text(path: Given, text: str) -> None:
    """A word that is no secret, to a new file. Raises `ConfigError`; nothing is overwritten."""
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(f"{text}\n")
    except FileExistsError:
        raise ConfigError(f"{os.fspath(path)!r} exists. Name another file. {ADVICE}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{os.fspath(path)!r}: cannot write it: {error}. Name another file. {ADVICE}") from None


def _seconds(days: float) -> int:
    if not 0 < days <= DAYS_MAX:
        raise ConfigError(f"days={days:g}: a certificate is valid for more than 0 and at most {DAYS_MAX} days. {ADVICE}")
    return max(1, int(days * DAY_S))


# what files and arguments hold ----------------------------------------------------------------------------------------


def certificate_of(given: object) -> Certificate:
    """What `certificate=` means: the word itself, or the path of a file that holds it. Raises `ConfigError`."""
    return _read("certificate", given, CERTIFICATE_WORD, Certificate.of_text, "Have the authority issue one: `gossip ca issue`")


def revocation_of(given: object) -> Revocation:
    """The same of a revocation. Raises `ConfigError`."""
    return _read("revocation", given, REVOCATION_WORD, Revocation.of_text, "`gossip ca revoke` makes one")


def authority_of(given: object) -> bytes:
    """What `authority=` means: the public half of its key as a word, or the path of its file. Raises `ConfigError`."""
    advice = "It is the public half, as `gossip ca init` prints it and writes it to a file .pub; the private one stays at home"
    return _read("authority", given, PUBLIC_WORD, _public, advice)


def public_key_of(path: Given) -> bytes:
    """The public half of a peer's key, from a file with that, or with the key itself. Raises `ConfigError`."""
    text = _content("key", path, "Make one with `gossip keygen --signing -o FILE`")
    return _public(text) if text.lstrip().startswith(PUBLIC_WORD) else SigningKey.of(path).public


def public_text(key: bytes) -> str:
    """A public key as one word."""
    return as_text(PUBLIC_WORD, key)


def _public(text: str) -> bytes:
    key = of_text(PUBLIC_WORD, text)
    if len(key) != KEY_BYTES:
        raise WireError(f"it has {len(key)} bytes, not {KEY_BYTES}")
    return key


def _read(what: str, given: object, word: str, of: Callable[[str], T], advice: str) -> T:
    if not isinstance(given, (str, os.PathLike)):
        raise ConfigError(f"{what}: it is a {type(given).__name__}, and takes {word}…, or the path of a file. {advice}. {ADVICE}")
    spelled = isinstance(given, str) and given.lstrip().startswith(word)
    text = str(given) if spelled else _content(what, given, advice)
    try:
        return of(text)
    except WireError as error:
        where = "" if spelled else f" file {os.fspath(given)!r}"
        raise ConfigError(f"{what}{where}: {error}. {advice}. {ADVICE}") from None


def _content(what: str, path: Given, advice: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read(TEXT_CHARS_MAX + 1).splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text"
        raise ConfigError(f"{what} file {os.fspath(path)!r}: cannot read it: {why}. {advice}. {ADVICE}") from None
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


# what a peer is given -------------------------------------------------------------------------------------------------


def checked_certificate(given: object, public: bytes | None, authority: bytes) -> Certificate:
    """The certificate that a peer with this key is to show, valid now. Raises `ConfigError`."""
    found = certificate_of(given)
    if public is None:
        raise ConfigError(f"certificate: this peer has no signing_key. Pass the key that it was issued for. {ADVICE}")
    if found.key != public:
        raise ConfigError(f"certificate: it was issued for another key than this peer's. Have one issued for this key. {ADVICE}")
    if authority and not found.signed_by(authority, verify):
        raise ConfigError(f"certificate: it was not signed by the authority that this peer is given. {ADVICE}")
    why = found.when_not(time.time())
    if why:
        said = why.removeprefix("its certificate ")
        raise ConfigError(f"certificate: it {said}. Have a new one issued, or set the clock. {ADVICE}")
    return found
