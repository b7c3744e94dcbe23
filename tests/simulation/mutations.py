"""The core broken on purpose, one rule at a time: each mutation must be caught by a named scenario of the fault matrix.

python -m tests.simulation.mutations            all, two processes at a time
python -m tests.simulation.mutations NAME ...   only these
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gossip.core import dialer, linking, local, merge, node, origin, overlay, selfhood, table
from gossip.core.cases import Cases
from gossip.core.certificates import Certificate, Revocation
from gossip.core.digests import Digests
from gossip.core.floors import Floors
from gossip.core.heartbeats import Heartbeats
from gossip.core.origin import Outcome
from gossip.core.signatures import Seal
from gossip.simulation.scenarios import play


@dataclass(frozen=True)
class Mutation:
    """A rule that is broken, how, and the scenario that must see it."""

    name: str
    what: str
    scenario: str
    apply: Callable[[], None]
    peers: int
    minutes: float
    seed: int = 1


def drop_the_gap_check() -> None:
    def judge(self: Any, incarnation: Any, since: int, version: int) -> Outcome:
        if incarnation < self.incarnation:
            return Outcome.OLD_LIFE
        if incarnation == self.incarnation and version <= self.version:
            return Outcome.DUPLICATE
        return Outcome.APPLIED

    origin.Origin.judge = judge


def accept_lower_incarnations() -> None:
    original = origin.Origin.judge

    def judge(self: Any, incarnation: Any, since: int, version: int) -> Outcome:
        if incarnation < self.incarnation and since == 0:
            return Outcome.APPLIED
        return original(self, incarnation, since, version)

    origin.Origin.judge = judge
    merge.Merger.is_duplicate = lambda self, hash, incarnation, version: False


def relay_nothing() -> None:
    original = local.Local.delegate

    def delegate(self: Any, ring: int, limit: int | None, frame: bytes) -> None:
        if limit is None:
            original(self, ring, limit, frame)

    local.Local.delegate = delegate


def forget_to_refute() -> None:
    selfhood.Selfhood.refute = lambda self, *_: None


def keep_dead_members_in_rings() -> None:
    overlay.Overlay.remove = lambda self, hash: None


def never_dial_dead_members() -> None:
    original = dialer.Dialer._dial_somebody

    def seeds_only(self: Any, now: float) -> None:
        real = self._local.table

        class Blind:
            floors = Floors()
            settled = staticmethod(lambda: ())

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        self._local.table = Blind()
        try:
            original(self, now)
        finally:
            self._local.table = real

    dialer.Dialer._dial_somebody = seeds_only


def skip_the_link_up_heartbeat() -> None:
    original = node.Node._on_subscribed

    def silent(self: Any, input: Any, now: float) -> None:
        tell, self.local.tell = self.local.tell, lambda hash, frame: None
        try:
            original(self, input, now)
        finally:
            self.local.tell = tell

    node.Node._on_subscribed = silent
    node.Node._HANDLERS[node.Subscribed] = silent


def digest_without_liveness() -> None:
    def settle(self: Any, one: Any, state: Any, now: float) -> None:
        self.living -= 1
        one.state, one.alive, one.settled_at = state, False, now

    def revive(self: Any, one: Any) -> None:
        one.state, one.alive = table.MemberState.ALIVE, True
        self.living += 1

    table.Table.settle, table.Table.revive = settle, revive
    table.Table.before_change = lambda self, one: self._count(one, -1)
    table.Table.after_change = lambda self, one: self._count(one, 1)


def let_a_late_tick_accuse() -> None:
    node.Node._notice_a_pause = lambda self, now: None


def lose_the_floor() -> None:
    original = table.Table.forget

    def forget(self: Any, one: Any) -> None:
        original(self, one)
        del self.floors[one.id]

    table.Table.forget = forget


def let_any_late_delta_void_a_verdict() -> None:
    original = merge.Merger._follow

    def follow(self: Any, one: Any, delta: Any, life: Any, former: Any, now: float) -> bool:
        if one.alive or one.leaving:
            return original(self, one, delta, life, former, now)
        self._membership.restore(one, again=False)
        return True

    merge.Merger._follow = follow


def link_a_newcomer_everywhere_at_once() -> None:
    original = linking.Linker.relink

    def relink(self: Any, now: float) -> Any:
        found = original(self, now)
        if now < self._local.started_at + 2.0:  # at once: the interval between two looks would hold it back as well
            self._next = now
        return found

    linking.Linker._is_newcomer, linking.Linker.relink = lambda self, now: False, relink


def compare_no_digests() -> None:
    Digests.differing = lambda self, now: []


def believe_one_accuser() -> None:
    original = Cases._judge

    def judge(self: Any, one: Any, case: Any, now: float) -> None:
        standing = self._standing(case)
        if any(evidence.name == "CLOSED" for evidence in standing.values()) or len(standing) > 0:
            self._condemn(one, case, f"{one.id} is gone", now)
        else:
            original(self, one, case, now)

    Cases._judge = judge


def believe_what_is_not_signed() -> None:
    Seal.accepts = lambda self, delta, frame, known: True


def check_no_services() -> None:
    Certificate.covers = lambda self, service: True


def believe_any_revocation() -> None:
    Revocation.signed_by = lambda self, authority, verify: True


def let_certificates_never_end() -> None:
    Certificate.when_not = lambda self, wall_s: ""


def believe_three_who_say_closed() -> None:
    Cases._found_closed = lambda self, one, case: True


def hear_any_heartbeat() -> None:
    Heartbeats.is_its_own = lambda self, beat, frame, one: True


def believe_in_lives_that_nobody_signed() -> None:
    def leaps(self: Any, one: Any, charge: Any, now: float) -> bool:
        if charge.incarnation == one.incarnation:
            return bool(self._local.is_leap_of_version(one.header.pulse, charge.pulse))
        return bool(self._local.is_leap_of_life(one.incarnation[0], charge.incarnation[0], now))

    Cases._leaps = leaps


MUTATIONS = {
    mutation.name: mutation
    for mutation in (
        Mutation("gap-check", "drop the gap check", "reorder", drop_the_gap_check, 10, 1.0),
        Mutation("incarnations", "accept lower incarnations", "restart-lower-clock", accept_lower_incarnations, 10, 0.4),
        Mutation("relay", "relay nothing", "newcomers", relay_nothing, 30, 0.1),
        Mutation("refute", "forget to refute", "partition", forget_to_refute, 10, 0.7),
        Mutation("dead-in-rings", "keep dead members in rings", "mass-crash", keep_dead_members_in_rings, 30, 0.2),
        Mutation("dial", "never dial dead members", "partition", never_dial_dead_members, 10, 0.7),
        Mutation("link-up", "skip the link-up heartbeat", "join", skip_the_link_up_heartbeat, 40, 0.2),
        Mutation("liveness", "digest without liveness", "mix", digest_without_liveness, 16, 0.5),
        Mutation("late-tick", "let a late tick accuse", "slow", let_a_late_tick_accuse, 10, 1.0, seed=0),
        Mutation("floor", "lose the floor", "retention", lose_the_floor, 8, 62.0),
        Mutation("late-delta", "let any late delta void a verdict", "half-change", let_any_late_delta_void_a_verdict, 24, 0.5),
        Mutation("newcomer", "link a newcomer everywhere at once", "newcomers", link_a_newcomer_everywhere_at_once, 60, 0.1),
        Mutation("digests", "compare no digests", "partition", compare_no_digests, 10, 0.7),
        Mutation("signatures", "believe what is not signed", "insiders", believe_what_is_not_signed, 12, 0.1),
        Mutation("services", "do not check which services a certificate covers", "authority", check_no_services, 12, 0.3),
        Mutation("revocations", "believe any revocation", "authority", believe_any_revocation, 12, 0.3),
        Mutation("expiry", "let certificates never end", "authority", let_certificates_never_end, 12, 0.3),
        Mutation("closed", "believe three who say closed", "insiders", believe_three_who_say_closed, 20, 0.3),
        Mutation("beats", "hear heartbeats that are not signed", "insiders", hear_any_heartbeat, 12, 0.05),
        Mutation("lives", "believe in lives that nobody signed", "insiders", believe_in_lives_that_nobody_signed, 20, 0.3),
        Mutation("one-accuser", "believe one accuser at once", "loss", believe_one_accuser, 16, 0.7),
    )
}


def seen(mutation: Mutation) -> str:
    """Play its scenario: what is wrong, "" if nothing is."""
    report = play(mutation.scenario, seed=mutation.seed, peers=mutation.peers, minutes=mutation.minutes)
    if report.broken:
        first = report.broken[0]
        return f"{first.invariant}: {first.what}"
    return next((str(figure).replace("  FALLS SHORT", "") for figure in report.figures if not figure.held), "")


def _try(name: str) -> dict[str, Any]:
    """The same run twice: of the whole core, and with one rule broken, for good in this process."""
    mutation = MUTATIONS[name]
    whole = seen(mutation)
    mutation.apply()
    return {"name": name, "scenario": mutation.scenario, "whole": whole, "evidence": seen(mutation)}


def run_all(names: Sequence[str], *, processes: int = 2) -> Iterator[dict[str, Any]]:
    """Each in a process of its own, because it stays broken. `whole`: what was wrong before a rule was; "" is as it should be."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool:
        for job in concurrent.futures.as_completed([pool.submit(_try, name) for name in names]):
            yield job.result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *MUTATIONS], metavar="NAME")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    missed = 0
    for one in run_all(options.names or list(MUTATIONS), processes=options.processes):
        missed += not one["evidence"] or bool(one["whole"])
        told = f"the whole core falls short: {one['whole']}" if one["whole"] else one["evidence"] or "NOT CAUGHT"
        print(f"{one['name']:14} {one['scenario']:20} {told}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
