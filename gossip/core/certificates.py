"""Certificates and revocations: what an authority signs, as bytes and as text.

    certificate   key (32)  not before (8)  not after (8)  service patterns, ASCII, a line each      signature (64)
    revocation    key (32)  until (8)                                                               signature (64)

Times are wall seconds, numbers big-endian. A certificate says which services the holder of a key may register, and when. A
revocation says that every certificate of a key is void; it need not be remembered longer than the last of them would last. As
text each is one word: a prefix that tells what it is, and base64 (URL-safe, no padding); blanks and line ends within it are
skipped, so it survives copy and paste. Invariant: `of_bytes` and `of_text` return a checked value or raise `WireError`.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from ..errors import RegistrationError, WireError
from ..values import dataclass
from .signatures import SIGNATURE_BYTES, fingerprint

CERTIFICATE_BYTES_MAX = 1024
PATTERNS_MAX = 16  # services, or groups of them, that one certificate names
SECONDS_MAX = 1 << 40
TEXT_CHARS_MAX = 4096
PATTERN = re.compile(r"[A-Za-z0-9._*?-]{1,128}\Z")

_CERTIFICATE, _REVOCATION = struct.Struct("!32sQQ"), struct.Struct("!32sQ")
CERTIFICATE_CONTEXT = b"gossip-registry/certificate/1\0"
REVOCATION_CONTEXT = b"gossip-registry/revocation/1\0"
CERTIFICATE_WORD, REVOCATION_WORD, PUBLIC_WORD = "gossip-certificate:", "gossip-revocation:", "gossip-public-key:"

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class Certificate:
    """The holder of `key` may register `services` from `not_before` to `not_after`, wall seconds. `raw`: its bytes.

    A service is a name, or a pattern: `*` stands for any characters, `?` for one. Whether the authority signed it is for
    `signed_by` to say.
    """

    key: bytes
    not_before: int
    not_after: int
    services: tuple[str, ...]
    raw: bytes = b""

    def covers(self, service: str) -> bool:
        """Whether it allows to register under this name. O(patterns)."""
        return any(fnmatchcase(service, pattern) for pattern in self.services)

    def refuse_uncovered(self, service: str) -> None:
        """Raises `RegistrationError` for a service that its holder may not register."""
        if not self.covers(service):
            raise RegistrationError(
                f"cannot register {service!r}: this peer's certificate allows {', '.join(self.services)}, and others would "
                "refuse it. Have the authority issue one that covers it (`gossip ca issue --services`). Nothing was changed."
            )

    def signed_by(self, authority: bytes, verify: Verify) -> bool:
        """Whether the authority with this public key signed it."""
        return verify(authority, CERTIFICATE_CONTEXT + self.raw[:-SIGNATURE_BYTES], self.raw[-SIGNATURE_BYTES:])

    def when_not(self, wall_s: float) -> str:
        """Why it does not count at this moment, in words; "" if it does."""
        if wall_s >= self.not_after:
            return f"its certificate expired {in_words(wall_s - self.not_after)} ago"
        if wall_s < self.not_before:
            return f"its certificate is not valid for another {in_words(self.not_before - wall_s)}"
        return ""

    @property
    def text(self) -> str:
        """As one word."""
        return as_text(CERTIFICATE_WORD, self.raw)

    @property
    def fingerprint(self) -> str:
        """Of the key, as the ids of its peers end."""
        return fingerprint(self.key)

    @classmethod
    def made(cls, key: bytes, not_before: int, not_after: int, services: Sequence[str], sign: Sign) -> Certificate:
        """A new one, signed. Raises `WireError` for what others would not read."""
        body = _CERTIFICATE.pack(key, not_before, not_after) + "\n".join(services).encode()
        return cls.of_bytes(body + sign(CERTIFICATE_CONTEXT + body))

    @classmethod
    def of_bytes(cls, raw: bytes) -> Certificate:
        """What the bytes say. Raises `WireError`."""
        if not _CERTIFICATE.size + SIGNATURE_BYTES < len(raw) <= CERTIFICATE_BYTES_MAX:
            raise WireError(f"a certificate of {len(raw)} bytes")
        key, not_before, not_after = _CERTIFICATE.unpack_from(raw)
        services = tuple(raw[_CERTIFICATE.size : -SIGNATURE_BYTES].decode("ascii", "replace").split("\n"))
        if not not_before < not_after <= SECONDS_MAX:
            raise WireError("a certificate that is never valid")
        if len(services) > PATTERNS_MAX or not all(map(PATTERN.match, services)):
            raise WireError(f"a certificate of other than 1 to {PATTERNS_MAX} services, or of what is no name of one")
        return cls(key, not_before, not_after, services, bytes(raw))

    @classmethod
    def of_text(cls, text: str) -> Certificate:
        """What the word says. Raises `WireError`."""
        return cls.of_bytes(of_text(CERTIFICATE_WORD, text))


@dataclass(frozen=True, slots=True)
class Revocation:
    """All certificates of `key` are void. To be remembered until `until`, wall seconds. `raw`: its bytes."""

    key: bytes
    until: int
    raw: bytes = b""

    def signed_by(self, authority: bytes, verify: Verify) -> bool:
        """Whether the authority with this public key signed it."""
        return verify(authority, REVOCATION_CONTEXT + self.raw[:-SIGNATURE_BYTES], self.raw[-SIGNATURE_BYTES:])

    @property
    def text(self) -> str:
        """As one word."""
        return as_text(REVOCATION_WORD, self.raw)

    @classmethod
    def made(cls, key: bytes, until: int, sign: Sign) -> Revocation:
        """A new one, signed."""
        body = _REVOCATION.pack(key, until)
        return cls.of_bytes(body + sign(REVOCATION_CONTEXT + body))

    @classmethod
    def of_bytes(cls, raw: bytes) -> Revocation:
        """What the bytes say. Raises `WireError`."""
        if len(raw) != REVOCATION_BYTES:
            raise WireError(f"a revocation of {len(raw)} bytes")
        key, until = _REVOCATION.unpack_from(raw)
        if until > SECONDS_MAX:
            raise WireError("a revocation without an end")
        return cls(key, until, bytes(raw))

    @classmethod
    def of_text(cls, text: str) -> Revocation:
        """What the word says. Raises `WireError`."""
        return cls.of_bytes(of_text(REVOCATION_WORD, text))


REVOCATION_BYTES = _REVOCATION.size + SIGNATURE_BYTES


def fingerprint_revoked(raw: bytes) -> str:
    """Whose certificates this revocation is of, as ids end."""
    return fingerprint(Revocation.of_bytes(raw).key)


def as_text(word: str, raw: bytes) -> str:
    """Bytes as one word with this prefix."""
    return word + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def of_text(word: str, text: str) -> bytes:
    """The bytes that a word with this prefix spells. Raises `WireError`."""
    if len(text) > TEXT_CHARS_MAX:
        raise WireError(f"a text of {len(text)} characters")
    packed = "".join(text.split())
    if not packed.startswith(word):
        raise WireError(f"it does not begin with {word}")
    try:
        spelled = packed[len(word) :].rstrip("=").encode("ascii")
        return base64.b64decode(spelled + b"=" * (-len(spelled) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise WireError("a part of it is missing, or was changed") from None


def patterns_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Service patterns, each once, in order. Raises `WireError` naming the one that is none."""
    found = tuple(dict.fromkeys(texts))
    for pattern in found:
        if not PATTERN.match(pattern):
            raise WireError(f"{pattern!r} is no service: 1 to 128 of A-Z a-z 0-9 . _ - and * ?")
    if not 0 < len(found) <= PATTERNS_MAX:
        raise WireError(f"{len(found)} services; a certificate takes 1 to {PATTERNS_MAX}, and * stands for many")
    return found


def in_words(seconds: float) -> str:
    """A duration for people."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
