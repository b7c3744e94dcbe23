"""A demonstration: five real processes find each other, are asked, are killed, drained and joined, and nothing is staged.

Every figure is measured while it runs, by the peers themselves where it is about what a peer sees. The exit code is 0
only if all of it was observed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nodes.launch import Launcher, Told, Worker, WorkerError, ask_all, interruptible, until

SYNC_S = 5.0  # far above what it takes, far below what a missed wake-up would
WAIT_S = 20.0  # for anything that is to be observed; it takes milliseconds, unless the machine is very busy
PEERS = ("peer-1", "peer-2", "peer-3", "peer-4", "peer-5")
KEYS = [f"user:{number}" for number in range(1000)]
KEYS_SHOWN = 4
PICKS = 100
BAR_WIDTH = 40
TEXT_WIDTH = 72
GREEN, RED, BOLD = "32", "31", "1"

# Which peer registers what. peer-5 registers nothing: it only asks.
REGISTRATIONS: dict[str, list[Told]] = {
    "peer-1": [
        {"service": "orders", "id": "orders-1", "port": 8001, "weight": 3, "routes": ["/orders"]},
        {"service": "sessions", "id": "sessions-1", "port": 8021},
    ],
    "peer-2": [
        {"service": "orders", "id": "orders-2", "port": 8002, "routes": ["/orders"]},
        {"service": "payments", "id": "payments-1", "port": 8011, "routes": ["/payments", "/orders/refunds"]},
        {"service": "sessions", "id": "sessions-2", "port": 8022},
    ],
    "peer-3": [
        {"service": "orders", "id": "orders-3", "port": 8003, "routes": ["/orders"]},
        {"service": "payments", "id": "payments-2", "port": 8012, "routes": ["/payments", "/orders/refunds"]},
        {"service": "sessions", "id": "sessions-3", "port": 8023},
    ],
    "peer-4": [
        {"service": "payments", "id": "payments-3", "port": 8013, "routes": ["/payments", "/orders/refunds"]},
        {"service": "sessions", "id": "sessions-4", "port": 8024},
    ],
    "peer-5": [],
}


class NotSeen(Exception):
    """The demonstration failed: what should have been observed was not."""


class Screen:
    """What the audience reads: 80 columns, colour on a terminal only."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._step = 0

    def step(self, title: str) -> None:
        """Begin a step."""
        self._step += 1
        print(f"\n{self._painted(f'{self._step}. {title}', BOLD)}", flush=True)

    def say(self, text: str) -> None:
        """One line of what is seen."""
        print(f"   {text.rstrip()}", flush=True)

    def done(self, text: str) -> None:
        """The step was observed."""
        print(f"   {self._painted('✓', GREEN)} {text}", flush=True)

    def failed(self, text: str) -> None:
        """Something was not."""
        print(f"   {self._painted('✗', RED)} {text}", flush=True)

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


class Demo:
    """The steps, in their order. Each observes something, shows it, and ends in a check mark or in `NotSeen`."""

    def __init__(self, launcher: Launcher, screen: Screen) -> None:
        self._launcher = launcher
        self._screen = screen
        self._peers: dict[str, Worker] = {}
        self._counts = Counter(one["service"] for some in REGISTRATIONS.values() for one in some)

    def run(self) -> None:
        """All steps. Raises `NotSeen`, `WorkerError`, `TimeoutError`."""
        self.start()
        self.by_name()
        self.by_path()
        owners = self.by_key()
        self.by_weight()
        self.kill()
        self.keys_moved(owners)
        self.why()
        self.drain()
        self.leave()
        self.newcomer()

    @property
    def asker(self) -> Worker:
        """The peer that registers nothing."""
        return self._peers["peer-5"]

    def start(self) -> None:
        began = time.monotonic()
        self._screen.step("Five processes start. Nobody tells them of each other; there is no server.")
        first = self._launcher.peer(PEERS[0])
        first.call("wait_synced", timeout=WAIT_S)  # it holds the common port of this machine, and is not among those to die
        for worker in [first, *self._launcher.peers(PEERS[1:])]:
            self._peers[worker.name] = worker
            for instance in REGISTRATIONS[worker.name]:
                worker.call("register", **instance)
            names = ", ".join(one["id"] for one in REGISTRATIONS[worker.name]) or "nothing: it only asks"
            self._screen.say(f"{worker.name}  pid {worker.pid:<7} {worker.address:<15}  {names}")
        self._launcher.agree(list(self._peers.values()), self._counts, WAIT_S)
        self._all_linked()
        total = sum(self._counts.values())
        took_s = time.monotonic() - began
        self._screen.done(f"each of the 5 sees 5 peers and {total} instances, {took_s:.1f} s after the first start")

    def by_name(self) -> None:
        self._screen.step('By name: peer-5 looks up "payments" in its own memory.')
        found = self.asker.call("lookup", service="payments")
        for one in found:
            self._screen.say(f"{one['id']}  {one['host']}:{one['port']}  registered at {self._named(one['origin'])}")
        self._expect("instances of payments", ["payments-1", "payments-2", "payments-3"], ids(found))
        self._equal_everywhere("the lookup", "lookup", service="payments")
        self._screen.done("all 5 peers give the same answer")

    def by_path(self) -> None:
        self._screen.step("By path: the longest prefix of whole segments wins.")
        for path, prefix, service in (
            ("/orders/42/items", "/orders", "orders"),
            ("/orders/refunds/7", "/orders/refunds", "payments"),
            ("/payments?card=1", "/payments", "payments"),
        ):
            matching = self._equal_everywhere(f"routes of {path}", "routes", path=path)
            chosen = self.asker.call("route", path=path)
            self._screen.say(f"{path:<18} matches {prefix:<16} and goes to {chosen['id']}")
            self._expect(f"the prefix of {path}", prefix, matching[0]["prefix"])
            self._expect(f"the service behind {path}", service, chosen["service"])
        self._screen.done("all 5 peers match the same prefixes")

    def by_key(self) -> list[str]:
        self._screen.step("By key: a consistent hash ring says which session server owns a key.")
        workers = list(self._peers.values())
        answers = ask_all(workers, "owners", service="sessions", keys=KEYS)
        self._screen.say(f"{'key':<9}" + "".join(f"{f'at {worker.name}':<13}" for worker in workers))
        for number in range(KEYS_SHOWN):
            self._screen.say(f"{KEYS[number]:<9}" + "".join(f"{owners[number]:<13}" for owners in answers))
        shares = Counter(answers[0])
        self._bars(shares, len(KEYS))
        self._expect("peers whose 1,000 owners equal those of peer-1", 5, answers.count(answers[0]))
        self._expect("owners", [f"sessions-{number}" for number in (1, 2, 3, 4)], sorted(shares))
        self._screen.done("all 5 peers name the same owner for each of 1,000 keys")
        return list(answers[0])

    def by_weight(self) -> None:
        self._screen.step(f"Balanced: peer-5 picks an instance of orders {PICKS} times; weights 3, 1, 1.")
        self._expect("picks", {"orders-1": 60, "orders-2": 20, "orders-3": 20}, self._picks())
        self._screen.done("3 : 1 : 1, exactly")

    def kill(self) -> None:
        victim = self._peers.pop("peer-3")
        held = sorted(one["id"] for one in REGISTRATIONS["peer-3"])
        self._screen.step(f"kill -9 {victim.pid}: peer-3 dies without a word.")
        killed_t = victim.kill9()
        gone_ms = {
            worker.name: (max(self._gone_t(worker, name) for name in held) - killed_t) * 1000 for worker in self._peers.values()
        }
        for name, took_ms in gone_ms.items():
            self._screen.say(f"{name}: {', '.join(held)} gone after {took_ms:6.1f} ms")
        self._expect("exit of the process", -9, victim.wait())
        for service in ("orders", "payments", "sessions"):
            self._counts[service] -= 1
        self._launcher.agree(list(self._peers.values()), self._counts, WAIT_S)
        self._nobody_else_hidden(victim)
        low, middle, high = min(gone_ms.values()), statistics.median(gone_ms.values()), max(gone_ms.values())
        self._screen.done(f"gone at all 4 others; ms: min {low:.1f}, median {middle:.1f}, max {high:.1f}")

    def keys_moved(self, before: Sequence[str]) -> None:
        self._screen.step("What that meant for the ring: only the dead one's keys moved.")
        after = self._equal_everywhere("the owners", "owners", service="sessions", keys=KEYS)
        moved = Counter(was for was, now in zip(before, after, strict=True) if was != now)
        for name, count in sorted(Counter(before).items()):
            told = f"owned {count:>3}, of which {moved[name]:>3} moved"
            self._screen.say(f"{name}  {told}{'  (dead)' if name == 'sessions-3' else ''}")
        self._expect("moved keys, by their former owner", {"sessions-3": before.count("sessions-3")}, dict(moved))
        self._screen.done(f"{moved['sessions-3']} of 1,000 keys moved, and nobody else's")

    def why(self) -> None:
        self._screen.step('Why is it gone? peer-1 is asked: why("peer-3").')
        events = self._peers["peer-1"].call("why", name="peer-3")
        for event in events[-3:]:
            self._screen.say(f"{clock(event['at'])} {event['kind']}")
            for line in textwrap.wrap(event["reason"], TEXT_WIDTH):
                self._screen.say(f"    {line}")
        self._expect("a MEMBER_DEAD with a reason", True, any(e["kind"] == "MEMBER_DEAD" and e["reason"] for e in events))
        self._screen.done("it knows when, and on whose evidence")

    def drain(self) -> None:
        self._screen.step("A drain: orders-1 takes no more new work, but is not gone.")
        began_t = time.monotonic()
        self._peers["peer-1"].call("drain", service="orders", id="orders-1")
        seen_t = max(self._event_t(worker, drained("orders-1"), "orders-1 draining") for worker in self._peers.values())
        self._expect("picks", {"orders-2": PICKS}, self._picks())
        self._expect("lookup", ["orders-2"], ids(self.asker.call("lookup", service="orders")))
        shown = self.asker.call("lookup", service="orders", include_draining=True)
        self._screen.say("with include_draining: " + ", ".join(f"{one['id']} {one['state']}" for one in shown))
        self._expect("lookup(include_draining=True)", ["orders-1", "orders-2"], ids(shown))
        self._screen.done(f"out of all picks {(seen_t - began_t) * 1000:.1f} ms after the call, and still to be seen")

    def leave(self) -> None:
        leaver = self._peers.pop("peer-4")
        self._screen.step("A graceful leave: peer-4 says goodbye.")
        began_t = time.monotonic()
        leaving = leaver.ask("leave")
        left = [self._event_t(one, member_event("MEMBER_LEFT", leaver.id), "peer-4 left") for one in self._peers.values()]
        leaving.result(WAIT_S)
        self._expect("exit code of peer-4", 0, leaver.wait())
        self._counts.subtract({"payments": 1, "sessions": 1})
        self._launcher.agree(list(self._peers.values()), self._counts, WAIT_S)
        self._screen.done(f"gone at all 3 others {(max(left) - began_t) * 1000:.1f} ms after the call; exit code 0")

    def newcomer(self) -> None:
        self._screen.step("A newcomer: peer-6 starts, and is told nothing either.")
        newcomer = self._launcher.peer("peer-6")
        joined = newcomer.call("joined", timeout=WAIT_S)
        self._peers["peer-6"] = newcomer
        view = joined["view"]
        told = sum(len(names) for names in view["instances"].values())
        self._screen.say(f"in its memory: {len(view['members'])} peers, {told} instances of {len(view['instances'])} services")
        others = self._launcher.agree(list(self._peers.values()), self._counts, WAIT_S)
        self._expect("its view when it was in sync", others, view)
        self._expect(f"in sync within {SYNC_S:g} s", True, joined["took_s"] <= SYNC_S)
        self._screen.done(f"in sync {joined['took_s'] * 1000:.0f} ms after its start: its view equals the others'")

    # observing --------------------------------------------------------------------------------------------------------

    def _expect(self, what: str, expected: Any, seen: Any) -> None:
        if seen != expected:
            raise NotSeen(f"{what}: expected {expected!r}, saw {seen!r}")

    def _equal_everywhere(self, what: str, do: str, **arguments: Any) -> Any:
        answers = ask_all(list(self._peers.values()), do, **arguments)
        for worker, answer in zip(self._peers.values(), answers, strict=True):
            self._expect(f"{what} at {worker.name}, as at peer-1", answers[0], answer)
        return answers[0]

    def _picks(self) -> dict[str, int]:
        """Pick, show the bars, count."""
        picks: dict[str, int] = self.asker.call("picks", service="orders", n=PICKS)
        self._bars(picks, PICKS)
        return picks

    def _bars(self, counts: Mapping[str, int], whole: int) -> None:
        for name, count in sorted(counts.items()):
            self._screen.say(f"{name}  {'█' * round(count * BAR_WIDTH / whole)} {count}")

    def _all_linked(self) -> None:
        """In a small cluster everyone links to everyone; a death is seen at once by those who are linked."""
        workers = list(self._peers.values())
        until(
            lambda: all(status["links"] >= len(workers) - 1 for status in ask_all(workers, "status")),
            WAIT_S,
            "links between all peers",
        )

    def _event_t(self, worker: Worker, wanted: Callable[[Told], bool], what: str) -> float:
        at: float = worker.wait_event(wanted, WAIT_S, f"{what}, at {worker.name}")["t"]
        return at

    def _gone_t(self, worker: Worker, name: str) -> float:
        """When this peer's lookups named the instance no longer, by its own watch."""
        return self._event_t(worker, lambda e: e["kind"] == "REMOVED" and e["before"]["id"] == name, f"{name} removed")

    def _nobody_else_hidden(self, dead: Worker) -> None:
        for worker in self._peers.values():
            hidden = [told["event"]["before"]["name"] for told in worker.events if told["event"]["kind"] == "MEMBER_DEAD"]
            self._expect(f"peers that {worker.name} holds dead", [dead.name], hidden)

    def _named(self, peer_id: str) -> str:
        return next((worker.name for worker in self._launcher.workers if worker.id == peer_id), peer_id)


def ids(instances: Sequence[Told]) -> list[str]:
    """The ids of instances."""
    return [one["id"] for one in instances]


def drained(name: str) -> Callable[[Told], bool]:
    """Whether an event says that the instance is draining."""
    return lambda e: e["kind"] == "CHANGED" and e["after"]["id"] == name and e["after"]["state"] == "DRAINING"


def member_event(kind: str, peer_id: str) -> Callable[[Told], bool]:
    """Whether an event is of this kind and about this member."""
    return lambda e: e["kind"] == kind and (e["after"] or e["before"])["id"] == peer_id


def clock(at: float) -> str:
    """Wall time with milliseconds."""
    return f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03d}"


def main(argv: Sequence[str] | None = None) -> int:
    """Show everything; returns the exit code."""
    argparse.ArgumentParser(prog="nodes/demo.py", description=str(__doc__).partition("\n")[0]).parse_args(argv)
    interruptible()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without check marks shows question marks
    screen = Screen()
    began = time.monotonic()
    launcher = Launcher(f"demo-{os.getpid()}", seeds=False)  # of its own, whatever else runs on this machine
    failure = ""
    try:
        with launcher:
            Demo(launcher, screen).run()
    except (NotSeen, TimeoutError, WorkerError) as error:
        failure = str(error)
    except KeyboardInterrupt:
        failure = "interrupted"
    if launcher.running:
        failure = f"{failure}; still running: {launcher.running}"
    if failure:
        screen.failed(failure)
        return 1
    print(f"\nAll of it was observed, in {time.monotonic() - began:.1f} s. No process is left.")
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # a second one, at the very end
        sys.exit(main())
    sys.exit(1)
