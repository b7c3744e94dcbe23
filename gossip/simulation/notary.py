"""Signatures of simulated peers: a keyed hash that nobody but the notary can verify, and only the holder of a key can make.

It stands in for Ed25519, which is some thirty times slower: what matters here is who signed which bytes. Deterministic: keys
are drawn from the randomness that is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from ..core.certificates import Certificate, Revocation, Sign
from ..core.local import Chance
from ..core.signatures import KEY_BYTES, SIGNATURE_BYTES, Signing


class Notary:
    """Knows the private half of every key it issued. One for a cluster."""

    def __init__(self) -> None:
        self._private: dict[bytes, bytes] = {}
        self.verified = 0  # how often somebody asked

    def issue(self, chance: Chance, *, required: bool = True) -> Signing:
        """A new key, and how to sign with it."""
        public, private = (chance.getrandbits(8 * KEY_BYTES).to_bytes(KEY_BYTES, "big") for _ in range(2))
        self._private[public] = private
        return Signing(self.verify, lambda message: _hash(private, message), public, required)

    def sign(self, public: bytes) -> Sign:
        """How the holder of this key signs."""
        private = self._private[public]
        return lambda message: _hash(private, message)

    def certify(self, signing: Signing, authority: Signing, services: Sequence[str], not_before: int, not_after: int) -> Signing:
        """The same key, with a certificate of this authority, which it also demands of others. Times are wall seconds."""
        made = Certificate.made(signing.public, not_before, not_after, services, self.sign(authority.public))
        return replace(signing, certificate=made.raw, authority=authority.public)

    def revoke(self, public: bytes, authority: Signing, until: int) -> bytes:
        """A revocation of that key, by this authority."""
        return Revocation.made(public, until, self.sign(authority.public)).raw

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the holder of this key made this signature of just this message."""
        self.verified += 1
        private = self._private.get(public)
        return private is not None and _hash(private, message) == signature


def _hash(private: bytes, message: bytes) -> bytes:
    return blake2b(message, key=private, digest_size=SIGNATURE_BYTES).digest()
