"""`Observer`: a reader of a cluster that is no member of it. For command lines, dashboards and processes that only ask.

It asks one peer for all that it holds, follows what that peer learns, and goes to another when it ends. Members do not
count, watch or dial it, so it comes and goes without a trace.
"""

from __future__ import annotations

import math
import os
import random
import time
import warnings
from collections.abc import Mapping, Sequence

from .authority import revocation_of
from .blocking import Blocking
from .bus.sockets import Sockets
from .config import Config
from .core.effects import Effect, Recollected
from .core.observer import ObserverNode
from .errors import ConfigError, InsecureWarning
from .mind import Mind
from .model import Event
from .naming import checked_question
from .registration import Command
from .signing import verifying
from .values import dataclass
from .waiting import Wanted

RECALL_TIMEOUT_S = 5.0
FOREIGN, TURNED_AWAY = "peers of another cluster", "somebody with another secret"  # as `ObserverNode.met` calls them


@dataclass(slots=True)
class _Answer:
    """What one caller of `why` waits for."""

    call: int = 0
    found: Recollected | None = None


class Observer(Blocking):
    """Reads a cluster without joining it: all reads, waits and watches of a `Peer`, nothing to register.

    `cluster`, `seeds`, `zone`, `config`, `secret`, `insecure` as for `Peer`: `seeds` None is zero configuration on this machine.
    `name` is for logs. `start()` waits for nobody; `wait_synced` until it holds a view. While nobody is followed
    (`status().isolated`) it serves its last view; `status().agreement` is 1.0 while that equals the view of its source as of the
    last heartbeat, and 0.0 before the first. A source that answers but cannot be heard is told by a NOTICE. Its limits should be
    those of the peers, or above.

    `authority`: as for `Peer`; registrations are then taken in only as their origins signed them and as certificates of that
    authority allow, whatever the peer that is followed says. Who lives is that peer's word all the same, and so is who was
    revoked. Without it an observer verifies nothing. Raises `ConfigError`.
    """

    _FOREIGN_ARGUMENTS = ("id", "bind", "advertise", "snapshot", "fork", "signing_key", "signed", "certificate")

    def __init__(
        self,
        name: str | None = None,
        *,
        cluster: str = "default",
        seeds: Sequence[str] | None = None,
        zone: str = "",
        config: Config | None = None,
        secret: str | bytes | Sequence[str | bytes] | None = None,
        insecure: bool = False,
        authority: str | os.PathLike[str] | None = None,
    ) -> None:
        self._verifying = None
        if authority is not None:
            from .authority import authority_of

            self._verifying = verifying(authority_of(authority))
        super().__init__(name, cluster=cluster, seeds=seeds, zone=zone, config=config, secret=secret, insecure=insecure)
        if seeds is not None and not seeds:
            raise ConfigError("seeds=[]: an observer needs somebody to observe. Name a peer: seeds=['10.0.0.5:7400']")
        self._asked = tuple(seeds or ())
        self._answers: dict[int, _Answer] = {}  # awaited, by call; the bus thread's

    def _check_reach(self, *, insecure: bool) -> None:
        self._beyond = insecure or self._keyring is not None
        outside = [seed.host for seed in self._seeds if not seed.loopback]
        if outside and self._keyring is not None:
            return
        if outside and not insecure:
            raise ConfigError(
                f"seeds {', '.join(outside)}: beyond this machine, whoever sits between could tell this observer anything. "
                "Pass the cluster's secret=, or insecure=True if the network itself keeps strangers out. Nothing was started."
            )
        if outside:
            text = f"seeds {', '.join(outside)}: this observer believes whoever answers there"
            warnings.warn(text, InsecureWarning, stacklevel=4)

    def _make_node(
        self, sockets: Sockets, addresses: Mapping[str, str], seeds: tuple[str, ...] | None, rng: random.Random
    ) -> Mind:
        return ObserverNode(
            self._id,
            name=self._name,
            cluster=self._realm,
            zone=self._zone,
            config=self._config,
            chance=rng,
            seeds=seeds,
            zero_configuration=self._zero_configuration,
            signing=self._verifying,
            wall_ms=time.time_ns() // 1_000_000,
        )

    @property
    def address(self) -> str:
        """Always "": nobody dials an observer."""
        self._refuse_fork()
        return ""

    @property
    def source(self) -> str:
        """The id of the peer that is followed; "" while there is none."""
        self._refuse_fork()
        node = self._node
        return node.source.id if isinstance(node, ObserverNode) and node.source is not None else ""

    def why(self, name: str, timeout: float | None = RECALL_TIMEOUT_S) -> tuple[Event, ...]:
        """The last 64 events, or fewer, about a name, as the peer that is followed remembers them. Blocks the caller.

        Names as for `Peer.why`. Asks again, another peer if need be, until `timeout` seconds are over; None waits for ever.
        Raises `TimeoutError` if nobody answered by then, `ConfigError` for a name that is no text, `PeerClosed`.
        """
        answer = _Answer()
        wanted = self._answer_wanted(checked_question(name), answer, timeout)
        found = self._answered(self._recalling(name, answer, math.inf if timeout is None else timeout), answer, wanted, timeout)
        if not found.sender:
            raise TimeoutError(wanted.missing())
        return found.events

    def _answered(self, command: Command, answer: _Answer, wanted: Wanted, timeout: float | None) -> Recollected:
        try:
            self._must(command)
            found: Recollected = self._wait(wanted, timeout)
        finally:
            if answer.found is None:  # too late, or interrupted
                self._post(self._forgetting(answer), bounded=False)
        return found

    def revoke(self, revocation: str | os.PathLike[str], timeout: float | None = RECALL_TIMEOUT_S) -> None:
        """Have the peer that is followed take a revocation in, and tell all: text or path of what `gossip ca revoke` made.

        Blocks the caller until it was heard; whether that peer knows the authority, and so believed it, shows in `members()`.
        Raises `TimeoutError` if nobody answered by then, `ConfigError`, `PeerClosed`.
        """
        answer, raw = _Answer(), revocation_of(revocation).raw
        patience_s = math.inf if timeout is None else timeout

        def command(node: ObserverNode, now: float) -> tuple[list[Effect], None]:
            effects, answer.call = node.revoke(raw, now, patience_s)
            self._answers[answer.call] = answer
            return effects, None

        found = self._answered(command, answer, self._answer_wanted("the revocation", answer, timeout), timeout)
        if not found.sender:
            raise TimeoutError(f"nobody heard the revocation within {timeout} s. Tell another member")

    def _recalling(self, name: str, answer: _Answer, patience_s: float) -> Command:
        def command(node: ObserverNode, now: float) -> tuple[list[Effect], None]:
            effects, answer.call = node.recall(name, now, patience_s)
            self._answers[answer.call] = answer
            return effects, None

        return command

    def _forgetting(self, answer: _Answer) -> Command:
        def command(node: ObserverNode, now: float) -> tuple[list[Effect], None]:
            self._answers.pop(answer.call, None)
            return node.forget(answer.call, now), None

        return command

    def _answer_wanted(self, name: str, answer: _Answer, timeout: float | None) -> Wanted:
        def missing() -> str:
            where = f"{self.source}, which is followed, did not answer" if self.source else "no peer is followed now"
            return f"nobody told what happened to {name!r} within {timeout} s: {where}. Ask again, or raise timeout="

        return Wanted(lambda: answer.found, missing)

    def _on_recollected(self, effect: Recollected) -> None:
        answer = self._answers.pop(effect.call, None)
        if answer is not None:
            answer.found = effect
            self._waiters.ring()

    def _sync_wanted(self, timeout: float | None) -> Wanted:
        node = self._running()

        def missing() -> str:
            met = node.met if isinstance(node, ObserverNode) else {}
            where = ", ".join(self._asked) or "the common ports of this machine (127.0.0.1:7400 …)"
            strangers = "; only peers of other clusters did" if FOREIGN in met else ""
            if TURNED_AWAY in met:
                strangers += "; somebody there has another secret, or none, or is no peer"
            return (
                f"no peer of cluster {self._cluster!r} that is in sync answered at {where}{strangers}, "
                f"{time.monotonic() - self._started_at:.1f} s after the start. "
                "Check that one runs, its cluster, its secret if it has one, and that the seeds name its contact, host:port; "
                "`gossip doctor`, told the same, looks into each"
            )

        return Wanted(lambda: self._synced_now(node), missing)
