"""An authority, and those who defy it: certificates that are forged, another's, missing, expired or revoked in mid-run, members
that register what theirs does not cover, and revocations that the authority never signed.

They all run the whole core but the check of their own certificate, so they are linked, watched, pulled and repaired as any
member is, and lie in no other way than these.
"""

from __future__ import annotations

import dataclasses

from ...core.codec import TOPIC_ALL
from ...core.effects import Call, HangUp, Happened, Publish
from ...core.messages import Revoked
from ...core.signatures import SIGNATURE_BYTES, Signing, fingerprint
from ...model import EventKind
from ..peers import SimulatedPeer
from ..stage import Stage
from .insiders import CALL_FROM, FORGED

STEP_S = 0.25
SKEW_S = 2.0  # the clocks of restarted ones are off by so much at most
FOREIGN = 20  # services that somebody may try to register
EXPIRES_AFTER, REVOKED_AFTER, BACK_AFTER = 0.3, 0.5, 0.7  # shares of the run


class Defiant:
    """One of them. `what` is what it shows; it sends forged revocations, too."""

    def __init__(self, stage: Stage, what: str, signing: Signing) -> None:
        self.stage, self.random, self.what = stage, stage.random, what
        self.peer = stage.cluster.spawn(what, signing=signing)
        self.peer.node._author._check_allowed = lambda service: None  # type: ignore[method-assign]
        self._calls = CALL_FROM

    def trespass(self) -> None:
        """Register what it may not, or withdraw that."""
        mine = list(self.peer.node.local.me.instances.values())
        if len(mine) > 3:
            self.peer.deregister(self.random.choice(mine))
            return
        service, port = f"service-{self.random.randrange(FOREIGN)}", 1 + self.random.randrange(60_000)
        self.peer.register(service, port=port, labels=FORGED)

    def revoke(self, victim: SimulatedPeer, honest: bytes) -> None:
        """Say that the authority took a certificate back: signed by itself, by nobody, or with a used signature."""
        node, cluster = self.peer.node, self.stage.cluster
        key, until = victim.node._seal.public, 1 << 39
        forged = {
            0: cluster.notary.revoke(key, dataclasses.replace(cluster.authority, public=node._seal.public), until),
            1: cluster.notary.revoke(key, cluster.authority, until)[:-SIGNATURE_BYTES] + bytes(SIGNATURE_BYTES),
        }.get(self.random.randrange(3), key + honest[len(key) :])
        frame = node.local.codec.encode(Revoked((forged,)))
        if self.random.random() < 0.5:
            self.peer.perform([Publish(TOPIC_ALL + frame)])
        else:
            self._calls += 1
            self.peer.perform([Call(self._calls, victim.contact, frame), HangUp(self._calls)])


def authority(stage: Stage) -> None:
    """Row 22, where an authority says who may register what."""
    stage.checkers.authentic = True
    cluster, random = stage.cluster, stage.random
    stage.grow()
    honest = list(stage.living)
    expires_at = float(int(stage.now + EXPIRES_AFTER * stage.seconds))  # certificates end at whole seconds
    lapsing = stage.spawn(name="lapsing", signing=cluster.credentials("service-*", not_after_s=cluster.wall_s(expires_at)))
    revoked = stage.spawn(name="revoked")
    for peer in (lapsing, revoked):
        stage.register(peer)
    stage.until(stage.checkers.settled, 30.0)
    cast = _cast(stage)
    honest_revocation = cluster.revocation(cast[0].peer)  # never told, only its signature is used
    begun, end = stage.now, stage.now + stage.seconds
    over: dict[str, float] = {}

    def after(what: str, share: float) -> bool:
        """Whether it is time for this, once."""
        due = what not in over and stage.now >= begun + share * stage.seconds
        if due:
            over[what] = stage.now
        return due

    next_life = begun + 3.0
    while stage.now < end:
        for one in cast:
            one.trespass()
            if random.random() < 0.3:
                one.revoke(random.choice(honest), honest_revocation)
        if random.random() < 0.5:
            stage.write(random.choice(honest))
        if "lapse" not in over and stage.now >= expires_at - SKEW_S - STEP_S:
            over["lapse"] = stage.now
            stage.truth.ended(lapsing, stage.now)  # from now on it may go
        if after("revoke", REVOKED_AFTER):
            stage.truth.ended(revoked, stage.now)
            random.choice(honest).revoke(cluster.revocation(revoked))
            stage.figure("revoked, and gone at all others", _gone(stage, honest, revoked), 1.0, "s")
        if after("back", BACK_AFTER):
            _come_back(stage, revoked)
        if stage.now >= next_life:
            next_life = stage.now + 5.0
            old = random.choice(honest)
            honest[honest.index(old)] = stage.restart(old, lose_clock_s=random.uniform(-SKEW_S, SKEW_S))
        stage.run(STEP_S)
    _tell(stage, honest, cast, lapsing, revoked)
    for peer in [peer for peer in cluster.running if peer not in stage.living]:
        cluster.kill(peer)
    stage.calm(90.0)


def _cast(stage: Stage) -> list[Defiant]:
    cluster = stage.cluster
    other = cluster.notary.issue(stage.random)
    mine, bare = cluster.credentials("service-*"), cluster.notary.issue(stage.random)
    forged = cluster.notary.certify(cluster.notary.issue(stage.random), other, ("service-*",), 0, 1 << 39)
    return [
        Defiant(stage, "trespasser", cluster.credentials("toll-*")),
        Defiant(stage, "forger", dataclasses.replace(forged, authority=cluster.authority.public)),
        Defiant(stage, "borrower", dataclasses.replace(bare, certificate=mine.certificate, authority=mine.authority)),
        Defiant(stage, "bare", cluster.notary.issue(stage.random)),
    ]


def _gone(stage: Stage, honest: list[SimulatedPeer], peer: SimulatedPeer) -> float:
    return stage.until(lambda: not any(peer.id in one.members() for one in honest), 10.0)


def _come_back(stage: Stage, revoked: SimulatedPeer) -> None:
    """The same process anew, and its key under another id."""
    signing = stage.cluster.signing_of(revoked)
    for peer in (stage.cluster.restart(revoked), stage.cluster.spawn("again", signing=signing)):
        peer.register("service-0", port=6, labels=FORGED)


def _tell(
    stage: Stage, honest: list[SimulatedPeer], cast: list[Defiant], lapsing: SimulatedPeer, revoked: SimulatedPeer
) -> None:
    """What it all came to."""
    reasons = [
        effect.reason
        for peer in honest
        for effect in peer.history
        if type(effect) is Happened and effect.kind is EventKind.NOTICE
    ]
    end = fingerprint(revoked.node._seal.public)
    seen = sum(id.endswith(end) or id == lapsing.id for peer in honest for id in peer.members())
    believed = sum(len(peer.node.local.authority.revocations) != 1 for peer in honest)
    stage.figure("shown, though no certificate covers it", stage.checkers.counts["I8"], 0)
    stage.figure("members whose certificate ended", seen, 0)
    stage.figure("peers that know other revocations than the one there is", believed, 0)
    stage.figure("that nobody told of", sum(not any(one.peer.id in why for why in reasons) for one in cast), 0)
    told = [effect.reason for effect in lapsing.history if type(effect) is Happened and effect.kind is EventKind.NOTICE]
    stage.figure("the expired one was not told", float(not any("expired" in why for why in told)), 0)
