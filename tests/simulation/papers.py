"""The two experiments of the literature, and the scale table, for `docs/faults.md` (key `papers` of `docs/faults.json`).

python -m tests.simulation.papers                     all that follows, and the pictures (matplotlib, of `bench`)
python -m tests.simulation.papers crash loss flip-flop slow scale
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.harness.run import Run
from benchmarks.scale import SIZES, one_size
from gossip import EventKind
from gossip.core.detector import Detector
from gossip.core.effects import Changed, Happened
from gossip.core.node import Node
from gossip.simulation import Cluster, SimulatedPeer, Weather

SEED = 1
PEERS = 1_000
SLOW_PEERS = 100
QUIET_S = 3.0  # before the fault
FAULT_S = 40.0
FLIP_S = 20.0
STARVED_S = 2.0
SLOW_SHARE = 0.2
DEAF_S = (3.0, 7.0)
WELL_S = (5.0, 10.0)
SLOW = {
    "slow": f"run for a moment every {STARVED_S:g} s on the average",
    "late": f"read nothing for {DEAF_S[0]:g} to {DEAF_S[1]:g} s, while their clocks go on, then are well for "
    f"{WELL_S[0]:g} to {WELL_S[1]:g} s",
}
RAPID = {
    "crash": "1 % crash at once",
    "loss": "80 % ingress loss on 1 %",
    "flip-flop": "1 % hear nobody for 20 s, then all for 20 s, in turn",
}


def rapid(kind: str, peers: int = PEERS, *, seconds: float = FAULT_S, seed: int = SEED) -> dict[str, Any]:
    """Rapid, section 7: how many sizes of view there are among the healthy, each second from the fault on."""
    cluster = Cluster.settled(peers, seed)
    cluster.run(QUIET_S)
    faulty = cluster.network.random.sample(cluster.running, max(1, peers // 100))
    healthy = [peer for peer in cluster.running if peer not in faulty]
    hidden = _deaths_told(cluster, healthy)
    hosts, rest = [peer.host for peer in faulty], [peer.host for peer in healthy]
    if kind == "crash":
        for peer in faulty:
            cluster.kill(peer)
    elif kind == "loss":
        cluster.network.set_weather(Weather(loss=0.8), targets=hosts)
    sizes = []
    for second in range(round(seconds)):
        if kind == "flip-flop" and second % FLIP_S == 0:
            flip = cluster.network.heal if second // FLIP_S % 2 else cluster.network.cut
            flip(rest, hosts)
        cluster.run(1.0)
        sizes.append(len({peer.node.local.table.living for peer in healthy}))
    uneven = [second for second, count in enumerate(sizes, 1) if count > 1]
    return {
        "peers": peers,
        "faulty": len(faulty),
        "seconds": seconds,
        "sizes": sizes,
        "most": max(sizes),
        "last": sorted({peer.node.local.table.living for peer in healthy}),
        "uneven_s": len(uneven),
        "even_from_s": None if sizes[-1] > 1 else (uneven[-1] if uneven else 0) + 1,
        "hidden": sum(peer in healthy for peer in hidden),
        "hidden_at_faulty": sum(peer in faulty for peer in hidden),
    }


def lifeguard(
    peers: int = SLOW_PEERS, *, local_health: bool, how: str = "slow", seconds: float = 60.0, seed: int = SEED
) -> dict[str, Any]:
    """Lifeguard: a fifth of the processes is slow; what the others and they themselves say of healthy members."""
    cluster = Cluster.settled(peers, seed)
    cluster.run(QUIET_S)
    slow = cluster.network.random.sample(cluster.running, round(SLOW_SHARE * peers))
    healthy = [peer for peer in cluster.running if peer not in slow]
    told = _deaths_told(cluster, healthy)
    before = _accusations(slow)
    with _local_health(local_health):
        for peer in slow:
            if how == "slow":
                cluster.slow(peer, STARVED_S)
            else:
                _read_late(cluster, peer)
        messages = cluster.network.messages
        cluster.run(seconds)
    return {
        "peers": peers,
        "slow": len(slow),
        "seconds": seconds,
        "hidden_at_healthy": sum(peer in healthy for peer in told),
        "hidden_at_slow": sum(peer in slow for peer in told),
        "accusations_by_slow": _accusations(slow) - before,
        "messages": round((cluster.network.messages - messages) / peers / seconds, 1),
        "late_ticks_noticed": sum(peer.node.local.counters["pauses"] for peer in slow),
    }


def _read_late(cluster: Cluster, peer: SimulatedPeer) -> None:
    """What comes waits, timers do not: in turns, from somewhere in the first turn on."""
    network = cluster.network

    def deafen() -> None:
        network.clog(peer.host)
        network.after(network.random.uniform(*DEAF_S), heal)

    def heal() -> None:
        network.unclog(peer.host)
        network.after(network.random.uniform(*WELL_S), deafen)

    network.after(network.random.uniform(0.0, DEAF_S[1]), deafen)


def _accusations(peers: list[SimulatedPeer]) -> int:
    return sum(peer.node.local.counters["accusations_made"] for peer in peers)


def _deaths_told(cluster: Cluster, healthy: list[SimulatedPeer]) -> list[SimulatedPeer]:
    """Grows by the peer that held a healthy one dead, each time."""
    ids, told = {peer.id for peer in healthy}, []

    def saw(peer: SimulatedPeer, effect: Changed | Happened, now: float) -> None:
        if type(effect) is Happened and effect.kind is EventKind.MEMBER_DEAD and effect.subject in ids:
            told.append(peer)

    cluster.on_event.append(saw)
    return told


@contextmanager
def _local_health(kept: bool) -> Iterator[None]:
    """Unless kept, nobody doubts himself, and a late tick accuses as a timely one."""
    doubt, notice = Detector._doubt_myself, Node._notice_a_pause
    if not kept:
        Detector._doubt_myself = lambda self, now: None
        Node._notice_a_pause = lambda self, now: None
    try:
        yield
    finally:
        Detector._doubt_myself, Node._notice_a_pause = doubt, notice


def _both(how: str) -> dict[str, Any]:
    return {word: lifeguard(local_health=word == "with", how=how) for word in ("with", "without")}


def scale(peers: int) -> dict[str, float]:
    """What a change, silence and a join cost at this size: `benchmarks.scale`, by figure."""
    figures: dict[str, float] = {}

    class Sheet(Run):
        def __init__(self) -> None: ...

        def record(self, name: str, values: Any, unit: str = "s", **_: Any) -> None:
            figures[name.removesuffix(f", {peers:,} peers")] = round(next(iter(values)), 4)

        def check(self, ok: bool, what: str) -> None:
            if not ok:
                raise AssertionError(what)

    one_size(Sheet(), peers)
    return figures


PARTS: dict[str, Callable[[], Any]] = {
    **{kind: lambda kind=kind: rapid(kind) for kind in RAPID},  # type: ignore[misc]
    **{how: lambda how=how: _both(how) for how in SLOW},  # type: ignore[misc]
    "scale": lambda: {str(size): scale(size) for size in SIZES},
}


def section(found: dict[str, Any]) -> list[str]:
    """Its part of `docs/faults.md`."""
    lines = ["", "## Experiments of the literature", "", "Written by `python -m tests.simulation.papers`; one seed each."]
    known = [kind for kind in RAPID if kind in found]
    if known:
        lines += ["", "Rapid's: how many sizes of view there are among the healthy peers, looked at each second.", ""]
        lines.append(
            "| fault | peers · faulty · seconds | most sizes at once | seconds with more than one "
            "| one size for good from second | sizes at the end | healthy ones held dead, by healthy | by faulty |"
        )
        lines.append("|---" * 8 + "|")
        for kind in known:
            row = found[kind]
            size = f"{row['peers']:,} · {row['faulty']} · {row['seconds']:g}"
            even = "**not by the end**" if row["even_from_s"] is None else row["even_from_s"]
            hidden = f"{row['hidden']} | {row['hidden_at_faulty']}"
            last = ", ".join(f"{size:,}" for size in row.get("last", ())) or "not noted"
            lines.append(f"| {RAPID[kind]} | {size} | {row['most']} | {row['uneven_s']} | {even} | {last} | {hidden} |")
        lines += ["", "![Sizes of view over time](pictures/views.svg)"]
    for how in [how for how in SLOW if how in found]:
        lines += [
            "",
            f"Lifeguard's: {round(SLOW_SHARE * 100)} % of the processes {SLOW[how]}.",
            "Without local health nobody doubts himself, and a late tick accuses as a timely one.",
            "",
            "| local health | peers · slow · seconds | healthy held dead by healthy | by slow | accused | messages a second |",
            "|---" * 6 + "|",
        ]
        for word, row in found[how].items():
            size = f"{row['peers']:,} · {row['slow']} · {row['seconds']:g}"
            counts = (
                row.get(name, "not noted") for name in ("hidden_at_healthy", "hidden_at_slow", "accusations_by_slow", "messages")
            )
            lines.append(f"| {word} | {size} | {' | '.join(map(str, counts))} |")
    if "slow" in found:
        lines += [
            "",
            "Whoever only runs late accuses nobody either way, so the first of these does not tell what local health is worth: a",
            "peer reads what waits, sooner or later, and holds nobody for silent before three pings in a row are unanswered",
            "with no word in between.",
        ]
    missing = [kind for kind in RAPID if kind not in found]
    if missing:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    short = [f"{kind} ({found[kind]['peers']:,})" for kind in known if found[kind]["peers"] < PEERS]
    if short:
        lines += ["", f"With fewer than the {PEERS:,} peers asked for: {', '.join(short)}."]
    if "scale" in found:
        sizes = sorted(found["scale"], key=int)
        lines += ["", "## Scale", "", "| peers | " + " | ".join(f"{int(size):,}" for size in sizes) + " |"]
        lines.append("|---" * (len(sizes) + 1) + "|")
        for name in found["scale"][sizes[0]]:
            lines.append(f"| {name} | " + " | ".join(f"{found['scale'][size][name]:.4g}" for size in sizes) + " |")
        lines += ["", "Seconds and bytes; `benchmarks/scale.py` says how each is counted.", "", "![Scale](pictures/peers.svg)"]
        lines += ["", *(f"{size:,} peers were not measured." for size in SIZES if str(size) not in found["scale"])]
    return lines


def draw(found: dict[str, Any]) -> None:
    """The pictures; the same bytes for the same figures."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no pictures: matplotlib is not installed (pip install 'gossip-registry[bench]')", file=sys.stderr)
        return
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "gossip", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    import matplotlib.pyplot as plt

    from .matrix import DOCS

    def save(figure: Any, name: str) -> None:
        figure.savefig(DOCS / "pictures" / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)

    if known := [kind for kind in RAPID if kind in found]:
        figure, axis = plt.subplots(figsize=(8, 2.6))
        for kind in known:
            axis.step(
                range(1, len(found[kind]["sizes"]) + 1),
                found[kind]["sizes"],
                where="mid",
                label=f"{RAPID[kind]}, of {found[kind]['peers']:,}",
            )
        axis.set_xlabel("seconds since the fault")
        axis.set_title("distinct sizes of view among the healthy", loc="left")
        axis.legend(frameon=False)
        save(figure, "views")
    if "scale" in found:
        sizes = sorted(found["scale"], key=int)
        names = ("hops, most", "messages per peer and change", "idle traffic each way", "links of others moved by a join")
        figure, axes = plt.subplots(1, len(names), figsize=(13, 2.4))
        for axis, name in zip(axes, names, strict=True):
            axis.plot([int(size) for size in sizes], [found["scale"][size][name] for size in sizes], marker="o")
            axis.set_xscale("log")
            axis.set_ylim(bottom=0)
            axis.set_title(name, loc="left")
        save(figure, "peers")


def measure(parts: Iterable[str]) -> None:
    """Measure these parts, and write them down one by one."""
    from .matrix import load, save, stamp

    for part in parts:
        measured = PARTS[part]()
        results = load()
        results["papers"][part] = {"found": measured, **stamp()}
        save(results)
        draw({part: one["found"] for part, one in results["papers"].items()})
        print(part, "measured", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    measure(parser.parse_args().parts or PARTS)


if __name__ == "__main__":
    main()
