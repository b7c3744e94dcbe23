"""Signatures: what an origin signs, how its id names its key, and who is held to what.

An origin that signs has an id that ends in `@` and the fingerprint of its key; its header carries the key. The last element
of each of its deltas and parts of states is its signature over a context (which names the cluster) and all bytes before it:
cluster, origin, incarnation, versions, header and records. Those bytes are kept and passed on as they are, so whoever gets
them later, from whomever, verifies them too. Ed25519 (RFC 8032) signs at the edge; here it is an argument.

Invariant: where signatures are verified, nothing is stored of an id that names a key but what that key signed.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from ..errors import WireError
from ..values import dataclass, field
from .messages import Delta, IdHash

KEY_BYTES = 32
SIGNATURE_BYTES = 64
FINGERPRINT_BITS = 120
FINGERPRINT_CHARS = FINGERPRINT_BITS // 5
SIGNATURE_HEAD = b"\xc4\x40"  # msgpack: 64 bytes follow
NO_SIGNATURE = bytes(SIGNATURE_BYTES)
BEAT = struct.Struct(f"!Q{SIGNATURE_BYTES}s")  # what follows a heartbeat: its number in this life, and the signature
_NAMES_A_KEY = re.compile(rf".+@[a-z2-7]{{{FINGERPRINT_CHARS}}}\Z")
_STATE, _BEAT = b"gossip-registry/delta/1\0", b"gossip-registry/heartbeat/1\0"


class Forged(WireError):
    """Somebody says of `origin` what it did not sign."""

    def __init__(self, origin: str, why: str) -> None:
        super().__init__(why)
        self.origin = origin


@dataclass(frozen=True, slots=True)
class Signing:
    """How a node signs and verifies. `verify(public key, message, signature)`; without `sign` it only verifies.

    `required`: members that do not sign are refused. `certificate`: what I show others; `authority`: the public key of who
    must have signed what others show, b"" if nobody must. Both as bytes (`certificates.py`).
    """

    verify: Callable[[bytes, bytes, bytes], bool]
    sign: Callable[[bytes], bytes] | None = field(default=None, repr=False)
    public: bytes = b""
    required: bool = True
    certificate: bytes = b""
    authority: bytes = b""


@lru_cache(maxsize=16384)
def fingerprint(public: bytes) -> str:
    """The characters that stand for a key in ids: 120 bits of its BLAKE2b, base32."""
    digest = blake2b(public, digest_size=FINGERPRINT_BITS // 8, person=b"gossip id").digest()
    return base64.b32encode(digest).decode().lower()


def id_of(stem: str, public: bytes) -> str:
    """The id under which a signing peer is known: the stem, and the key. One that already is of this key stays."""
    end = f"@{fingerprint(public)}"
    return stem if stem.endswith(end) and len(stem) > len(end) else stem + end


@lru_cache(maxsize=16384)
def names_a_key(id: str) -> bool:
    """Whether an id says that its peer signs."""
    return _NAMES_A_KEY.match(id) is not None


class Seal:
    """Signs for one node, and judges what others are said to have said. Without a `Signing` it does neither."""

    __slots__ = ("_beat", "_last", "_sign", "_state", "_verify", "public", "required", "signs", "verifies")

    def __init__(self, cluster: str, signing: Signing | None) -> None:
        name = cluster.encode()
        tail = len(name).to_bytes(2, "big") + name
        self._state, self._beat = _STATE + tail, _BEAT + tail
        self._last = b""  # what was verified last: these very bytes need no second look
        self._sign = signing.sign if signing is not None else None
        self._verify = signing.verify if signing is not None else None
        self.public = signing.public if signing is not None else b""
        self.signs, self.verifies = self._sign is not None, self._verify is not None
        self.required = signing is not None and signing.required

    def own_id(self, stem: str) -> str:
        """An id of mine."""
        return id_of(stem, self.public) if self.signs else stem

    def doubts_claims_of(self, id: str) -> bool:
        """Whether a bare claim to be this one proves nothing here."""
        return self.verifies and (self.required or names_a_key(id))

    # states and deltas ------------------------------------------------------------------------------------------------

    def signed(self, frame: bytes) -> bytes:
        """A frame of mine that lacks only its signature, with it."""
        assert self._sign is not None
        return frame + self._sign(self._state + frame)

    def refuses_unread(self, frame: bytes) -> bool:
        """Whether a delta surely is not signed, and must be. O(1), nothing is decoded."""
        return self.required and frame[-SIGNATURE_BYTES - 2 : -SIGNATURE_BYTES] != SIGNATURE_HEAD

    def accepts(self, delta: Delta, frame: bytes, known: bytes) -> bool:
        """Whether it may be stored; False if it is not signed. Raises `Forged`. `known`: the key of its origin, if known."""
        if self._verify is None:
            return True
        key = delta.header.key if delta.header is not None else known
        if not key and not names_a_key(delta.origin):
            return not self.required
        if not delta.signed:
            return False
        if not key or not delta.origin.endswith(f"@{fingerprint(key)}"):
            raise Forged(delta.origin, f"the key that came for {delta.origin} is not the one that its id names")
        if frame is not self._last and not self._verify(key, self._state + frame[:-SIGNATURE_BYTES], frame[-SIGNATURE_BYTES:]):
            raise Forged(delta.origin, f"{delta.origin} did not sign what is said in its name")
        self._last = frame
        return True

    # heartbeats -------------------------------------------------------------------------------------------------------

    def signed_beat(self, frame: bytes, number: int, recipient: IdHash) -> bytes:
        """A heartbeat of mine for one recipient: another cannot use it."""
        assert self._sign is not None
        numbered = frame + number.to_bytes(8, "big")
        return numbered + self._sign(self._beat + recipient + numbered)

    def verify_beat(self, origin: str, key: bytes, frame: bytes, recipient: IdHash) -> None:
        """Raises `Forged` if this origin did not sign it, for this recipient."""
        message, signature = frame[:-SIGNATURE_BYTES], frame[-SIGNATURE_BYTES:]
        if self._verify is None or not self._verify(key, self._beat + recipient + message, signature):
            raise Forged(origin, f"{origin} did not sign a heartbeat in its name")
