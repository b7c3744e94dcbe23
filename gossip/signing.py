"""The keys with which peers sign: Ed25519 (RFC 8032), by PyNaCl, which only whoever has such a key needs.

    pip install 'gossip-registry[sign]'      gossip keygen --signing -o orders.key      Peer(signing_key="orders.key")

A key is 32 random bytes, written as 43 characters of A-Z a-z 0-9 - _, alone in a file of mode 0600. The public half of it
is what others see; its fingerprint ends the peer's id. Invariant: a private key is never part of a `repr`, an error, a
pickle or a log line.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from typing import NoReturn

from .bus.keys import private_lines
from .core.signatures import KEY_BYTES, Signing, id_of
from .errors import ConfigError

NEW = "new"
SIGNED = ("required", "optional")
ADVICE = "Make one with `gossip keygen --signing -o FILE`. Nothing was started."


class SigningKey:
    """One private key. `signing_key=` of a peer makes it."""

    __slots__ = ("_sign", "made_here", "public")

    def __init__(self, seed: bytes, *, made_here: bool = False) -> None:
        self.public, self._sign = _pair(seed)
        self.made_here = made_here  # for this life alone: another process makes its own

    @classmethod
    def of(cls, given: object) -> SigningKey:
        """The key that the argument means: the path of its file, its 32 bytes, or "new". Raises `ConfigError`."""
        if isinstance(given, str) and given == NEW:
            return cls(secrets.token_bytes(KEY_BYTES), made_here=True)
        if isinstance(given, bytes):
            if len(given) != KEY_BYTES:
                raise ConfigError(f"signing_key: it has {len(given)} bytes, not {KEY_BYTES}. {ADVICE}")
            return cls(given)
        if isinstance(given, (str, os.PathLike)):
            return cls(read_signing_key(given))
        what = f"a {type(given).__name__}, and takes the path of a file, {KEY_BYTES} bytes, or {NEW!r}"
        raise ConfigError(f"signing_key: it is {what}. {ADVICE}")

    def __repr__(self) -> str:
        return "<a signing key>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key is not pickled or copied: it would leave the process. Pass the path of its file")

    def again(self) -> SigningKey:
        """The key of a process forked from this one's."""
        return SigningKey.of(NEW) if self.made_here else self

    def own_id(self, stem: str) -> str:
        """The id of a peer with this key."""
        return id_of(stem, self.public)

    def signing(self, signed: str) -> Signing:
        """For a node. `signed`: "required", or "optional", which takes in members that do not sign."""
        return Signing(verify, self._sign, self.public, signed == "required")


def verifying(authority: bytes) -> Signing:
    """For who only looks: nothing is taken in but with a certificate of this authority. Raises `ConfigError` without PyNaCl."""
    _pair(bytes(KEY_BYTES))
    return Signing(verify, authority=authority)


def checked_signed(signed: str | None, *, key: bool) -> str:
    """Who is taken in, "required" if nothing is said. Raises `ConfigError`."""
    if signed is None:
        return "required"
    if signed not in SIGNED:
        raise ConfigError(f"signed={signed!r} is none of {', '.join(SIGNED)}: leave it out, or name one. Nothing was started.")
    if not key:
        raise ConfigError(f"signed={signed!r}: this peer has no signing_key, and others would not know it. {ADVICE}")
    return signed


def new_signing_key() -> str:
    """A fresh key of 256 random bits: 43 characters of A-Z a-z 0-9 - _."""
    return secrets.token_urlsafe(KEY_BYTES)


def read_signing_key(path: str | os.PathLike[str], what: str = "signing_key file", advice: str = ADVICE) -> bytes:
    """The key in a file, which nobody but its owner may read. Raises `ConfigError`, which calls it `what`."""
    found = private_lines(path, what, advice)
    if len(found) != 1:
        raise ConfigError(f"{what} {os.fspath(path)!r}: it holds {len(found)} lines, not one key. {advice}")
    return signing_key_of(found[0], f"{what} {os.fspath(path)!r}", advice)


def signing_key_of(text: str, where: str, advice: str = ADVICE) -> bytes:
    """The 32 bytes that `new_signing_key` spelled. Raises `ConfigError`, which does not show it."""
    try:
        seed = base64.b64decode(text.strip().encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (ValueError, UnicodeEncodeError):
        seed = b""
    if len(seed) != KEY_BYTES:
        raise ConfigError(f"{where}: that is no key. {advice}")
    return seed


def _pair(seed: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    try:
        from nacl.signing import SigningKey as Ed25519
    except ImportError:
        raise ConfigError(
            "signing_key: signing needs PyNaCl, which is not installed. Install the extra: pip install 'gossip-registry[sign]', "
            "or '.[sign]' in a clone. Nothing was started."
        ) from None
    key = Ed25519(seed)
    return bytes(key.verify_key), lambda message: bytes(key.sign(message).signature)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the private half of this key signed just this. Some 0.1 ms."""
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import BadSignatureError

    try:
        crypto_sign_open(signature + message, public)
    except (BadSignatureError, ValueError):
        return False
    return True
