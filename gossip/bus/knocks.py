"""Knocking: with which keys an endpoint is dialled, and what is made of being turned away.

A peer that holds several secrets does not know which one the other end holds, and one that holds one may meet the wrong
of two doors (`doors.py`). So being turned away once says little: the next knock comes soon, with the next keys. Only who
turns us away `REFUSALS_TOLD` times in a row is told of, and from then on is dialled as seldom as any broken link.
"""

from __future__ import annotations

from collections import OrderedDict

import zmq

from ..values import dataclass
from .hush import Hush
from .keys import Keyring, Keys

REFUSALS_TOLD = 8  # in a row; by bad luck before two doors once in 256 times
REFUSALS_TOLD_OPEN = 2  # without a secret there are no keys to be tried
ENDPOINTS_MAX = 4096
OTHER_MECHANISM = 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
WRONG_KEY = 0x11000001  # ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC

Turned = zmq.Event.HANDSHAKE_FAILED_NO_DETAIL, zmq.Event.HANDSHAKE_FAILED_PROTOCOL, zmq.Event.HANDSHAKE_FAILED_AUTH


@dataclass(slots=True)
class _Known:
    keys: Keys | None
    refusals: int = 0
    cause: str = ""  # as it was first told: one end that is seen in two lights is one line a minute


class Knocks:
    """What is known of the doors of others. The bus thread owns it; `keyring` None: no secret, nothing is encrypted."""

    def __init__(self, hush: Hush, keyring: Keyring | None) -> None:
        self._hush = hush
        self.keyring = keyring
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def dress(self, socket: zmq.SyncSocket, endpoint: str) -> Keys | None:
        """Set the keys with which this endpoint is dialled next. O(1)."""
        if self.keyring is None:
            return None
        known = self._known.get(endpoint)
        keys = known.keys if known is not None and known.keys in self.keyring else None
        keys = keys or self.keyring[0]
        keys.dress_client(socket)
        return keys

    def opened(self, endpoint: str, keys: Keys | None) -> None:
        """These were the right keys. O(1)."""
        if keys is None:
            self._known.pop(endpoint, None)
        else:
            self._remember(endpoint, _Known(keys))

    def turned_away(self, endpoint: str, keys: Keys | None, event: zmq.Event, value: int, now: float) -> None:
        """The handshake failed: other keys the next time, and a word to the user if that is how it goes on. O(1)."""
        known = self._known.get(endpoint) or _Known(keys)
        known.refusals += 1
        known.keys = self._after(keys)
        self._remember(endpoint, known)
        self._hush.count("handshakes_failed")
        surely = event is zmq.Event.HANDSHAKE_FAILED_AUTH or value == OTHER_MECHANISM
        if surely:
            known.refusals = max(known.refusals, self._patience)
        if known.refusals >= self._patience:
            why = "another mechanism" if value == OTHER_MECHANISM else "refused" if surely else "hung up on"
            known.cause = known.cause or why
            self._hush.notice("refused_by_others", now, self._cause(endpoint, event, value), cause=known.cause)

    def hopeless(self, endpoint: str) -> bool:
        """Whether it has turned us away so often that it is no bad luck. O(1)."""
        known = self._known.get(endpoint)
        return known is not None and known.refusals >= self._patience

    @property
    def _patience(self) -> int:
        return REFUSALS_TOLD_OPEN if self.keyring is None else REFUSALS_TOLD

    def _after(self, keys: Keys | None) -> Keys | None:
        if self.keyring is None:
            return None
        found = list(self.keyring)
        return found[(found.index(keys) + 1) % len(found)] if keys in found else found[0]

    def _remember(self, endpoint: str, known: _Known) -> None:
        self._known[endpoint] = known
        self._known.move_to_end(endpoint)
        if len(self._known) > ENDPOINTS_MAX:
            self._known.popitem(last=False)

    def _cause(self, endpoint: str, event: zmq.Event, value: int) -> str:
        if self.keyring is None:
            surely = value == OTHER_MECHANISM
            what = "demands a secret" if surely else "hangs up on us: it demands a secret, is no peer, or is ending"
            return f"{endpoint} {what}. This peer has no secret: pass the cluster's secret=, or set GOSSIP_SECRET"
        if value == OTHER_MECHANISM:
            return f"{endpoint} has no secret, and this peer has one: nothing was told to it. Give it the cluster's secret"
        if event is zmq.Event.HANDSHAKE_FAILED_AUTH:
            return f"{endpoint} refused us: our secret is not valid there. Compare the secrets"
        return f"{endpoint} refused us: it has another secret, or none, or is no peer. Compare the secrets"
