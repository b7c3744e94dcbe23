"""Who may be a member and register what: an authority signs certificates, and takes them back.

    header.certificate ──signed by the authority, of the key that signs, valid now, not revoked──▶ its services are taken in

Invariant: where an authority is known, nothing is merged of who shows no such certificate, nor a service that it does not
cover. Revocations are signed by the authority as well, so it does not matter who tells them: each peer keeps them all until
they may be forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from ..errors import WireError
from .bounds import Bounds
from .certificates import Certificate, Revocation
from .codec import REVOCATIONS_MAX as PER_MESSAGE
from .messages import Delta, Header, Revoked
from .origin import Origin
from .signatures import Forged, Signing, fingerprint

REVOCATIONS_MAX = 1024  # remembered; beyond it those that end first are forgotten early
CERTIFICATES_MAX = 8192  # whose signature need not be verified again
NEVER = float("inf")


class Authority:
    """One node's judge. Without a key of an authority it admits everybody."""

    __slots__ = ("_bounds", "_fingerprints", "_good", "_me", "_signing", "digest", "judges", "next_end_s", "revocations")

    def __init__(self, me: str, bounds: Bounds, signing: Signing | None, known: Sequence[bytes] = ()) -> None:
        self._signing = signing
        self.judges = signing is not None and bool(signing.authority)
        self._bounds = bounds
        self._me = me
        self._good: OrderedDict[bytes, Certificate] = OrderedDict()  # by their bytes; a forged one costs a check each time
        self.revocations: dict[bytes, Revocation] = {}  # by key
        self._fingerprints: set[str] = set()  # of those keys, as ids end in them
        # of the authority and the revocations: two peers with equal ones hold the same; 0 says that none are held
        self.digest = _digest(signing.authority) if signing is not None and signing.authority else 0
        self.next_end_s = NEVER  # wall seconds of the first end of a certificate or revocation; may be early
        for raw in known if self.judges else ():
            try:
                self.learn(raw, 0.0, 0.0)
            except WireError:  # of another authority, or a damaged file
                continue

    # certificates -----------------------------------------------------------------------------------------------------

    def refusal(self, delta: Delta, held: Origin | None, wall_s: float) -> str:
        """Why a delta whose signature was verified must not be applied, "" if it may. Raises `Forged` where somebody lies."""
        header = delta.header or (held.header if held is not None else None)
        if header is None:
            return "nothing is known of it"
        id = delta.origin
        certificate = self._certificate(id, header)
        if certificate is None:
            return "it shows no certificate"
        why = certificate.when_not(wall_s)
        if why:
            return why
        services = {instance.service for instance in delta.put}
        if held is not None and delta.since and delta.header is not None and held.header.certificate != header.certificate:
            gone = set(delta.removed)
            services.update(key[0] for key in held.instances if key not in gone)
        for service in services:
            if not certificate.covers(service):
                allowed = ", ".join(certificate.services)
                raise Forged(id, f"{id} registers {service!r}, and its certificate allows {allowed}")
        self.next_end_s = min(self.next_end_s, certificate.not_after)
        return ""

    def _certificate(self, id: str, header: Header) -> Certificate | None:
        if header.key in self.revocations:
            raise Forged(id, f"the certificate of {id} was revoked")
        if not header.certificate:
            return None
        found = self._good.get(header.certificate)
        if found is None:
            try:
                found = Certificate.of_bytes(header.certificate)
            except WireError as error:
                raise Forged(id, f"what {id} shows is {error}") from None
            if not self._signed(found):
                raise Forged(id, f"the authority did not sign the certificate that {id} shows")
            self._good[header.certificate] = found
            if len(self._good) > CERTIFICATES_MAX:
                self._good.popitem(last=False)
        if found.key != header.key:
            raise Forged(id, f"{id} shows the certificate of another key")
        return found

    def _signed(self, one: Certificate | Revocation) -> bool:
        signing = self._signing
        return signing is not None and one.signed_by(signing.authority, signing.verify)

    def _admitted(self, header: Header) -> Certificate:
        """That of who is a member: it was verified, and may have left the cache."""
        return self._good.get(header.certificate) or Certificate.of_bytes(header.certificate)

    def ended(self, header: Header, wall_s: float) -> str:
        """Why who was admitted is to go, "" if it may stay."""
        if self.revoked(header.key):
            return "the authority revoked its certificate"
        return self._admitted(header).when_not(wall_s)

    def end_of(self, header: Header) -> float:
        """When the certificate that was admitted ends, wall seconds."""
        return self._admitted(header).not_after

    # revocations ------------------------------------------------------------------------------------------------------

    def revoked(self, key: bytes) -> bool:
        """Whether the certificates of this key are void."""
        return key in self.revocations

    def names_revoked(self, id: str) -> bool:
        """Whether an id ends in the fingerprint of such a key."""
        return bool(self._fingerprints) and id.rpartition("@")[2] in self._fingerprints

    def learn(self, raw: bytes, wall_s: float, now: float) -> bool:
        """Take a revocation in; whether it is news. Raises `Forged` unless the authority signed it. Verified once."""
        told = Revocation.of_bytes(raw)
        known = self.revocations.get(told.key)
        if told.until <= wall_s or (known is not None and known.until >= told.until):
            return False
        if not self._signed(told):
            raise Forged(self._me, "somebody says that the authority revoked a certificate, and it did not")
        if known is not None:
            self._drop(known)
        self._keep(told)
        if len(self.revocations) <= REVOCATIONS_MAX:
            return True
        first = min(self.revocations.values(), key=lambda one: (one.until, one.key))
        self._drop(first)
        why = f"more than {REVOCATIONS_MAX} revocations; those that end first are forgotten early"
        self._bounds.hit("revocations_forgotten", self._me, why, now)
        return first is not told

    def _keep(self, one: Revocation) -> None:
        self.revocations[one.key] = one
        self._fingerprints.add(fingerprint(one.key))
        self.digest ^= _digest(one.raw)
        self.next_end_s = min(self.next_end_s, one.until)

    def _drop(self, one: Revocation) -> None:
        del self.revocations[one.key]
        self._fingerprints.discard(fingerprint(one.key))
        self.digest ^= _digest(one.raw)

    def forget(self, wall_s: float) -> None:
        """Revocations of certificates that would have expired by now go."""
        for one in [one for one in self.revocations.values() if one.until <= wall_s]:
            self._drop(one)

    def untold(self, theirs: int) -> list[Revoked]:
        """What to tell somebody whose digest is this: all, as messages. Nothing to who holds the same, or knows no authority."""
        return [] if theirs in (0, self.digest) else self.messages()

    def messages(self) -> list[Revoked]:
        """All that are remembered, as messages."""
        told = [one.raw for one in tuple(self.revocations.values())]  # in one step: a thread that saves them may ask
        return [Revoked(tuple(told[at : at + PER_MESSAGE])) for at in range(0, len(told), PER_MESSAGE)]


def _digest(raw: bytes) -> int:
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big")
