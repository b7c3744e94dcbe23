"""Transcripts: prose, commands, and what the peers did then, recorded.

    > wait 20ms                          a command
        0.020  a: tell all: …            what it led to: the time, who, the effect

Lines that begin with `> ` are commands; lines indented by four blanks are recorded and replaced by `--rewrite`; all else
is prose. Each round of a command is told by peer, in its own order; a line that is next at several is told once for all.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from gossip.model import Instance, MemberState

from .wire import Round, Wire
from .wording import USUAL_START_MS, Wording

MARK = "> "
INDENT = "    "
SETUP_S = 8.0  # until a cluster of a few is linked, and each has heard the others
NOTHING = "(nothing)"


def replay(text: str) -> str:
    """The transcript as it would read now."""
    story = Story()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(INDENT):
            continue
        lines.append(line)
        if line.startswith(MARK):
            lines += [INDENT + said for said in story.run(line[len(MARK) :])]
    return "\n".join(lines) + "\n"


class Story:
    """One wire, and the commands of a transcript."""

    def __init__(self) -> None:
        self.wording = Wording()
        self.wire = Wire(self._hear, self.wording)
        self._hidden: set[str] = set()
        self._lines: list[str] = []
        self._zero = 0.0
        self._told_at = ""

    def run(self, command: str) -> list[str]:
        """Run a command; what it led to, in lines. Raises `KeyError` for one that is unknown."""
        verb, *words = command.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        self._lines, self._told_at = [], ""
        told = self._COMMANDS[verb](self, [word for word in words if "=" not in word], options)
        self.wire.settle()
        return self._lines or ([] if told is None else [NOTHING])

    # recording --------------------------------------------------------------------------------------------------------

    def _hear(self, now: float, round: Round) -> None:
        said = {label: deque(self.wording.tell(label, round[label], self._hidden)) for label in sorted(round)}
        while nexts := Counter(lines[0] for lines in said.values() if lines):
            line = nexts.most_common(1)[0][0]
            labels = [label for label, lines in said.items() if lines and lines[0] == line]
            for label in labels:
                said[label].popleft()
            self._record(f"{now - self._zero:.3f}", f"{' '.join(labels)}: {line}")

    def _record(self, stamp: str, line: str) -> None:
        self._lines.append(f"{'' if stamp == self._told_at else stamp:6} {line}")
        self._told_at = stamp

    # commands ---------------------------------------------------------------------------------------------------------
    # One that returns something has consequences; where there are none the transcript says so.

    def _without(self, words: list[str], options: dict[str, str]) -> None:
        """without heartbeats links: these effects are not shown in this transcript."""
        self._hidden |= set(words)

    def _cluster(self, words: list[str], options: dict[str, str]) -> None:
        """cluster a b c [clock=2000]: peers that are linked and know each other; not shown. The story begins at 0."""
        for word in words:
            self._start([word], {"seed": words[0], **options} if word != words[0] else options)
            self.wire.settle()
        self.wire.run(SETUP_S)
        self._zero = self.wire.now
        self._lines = []

    def _start(self, words: list[str], options: dict[str, str]) -> bool:
        """start b seed=a [clock=2000]: a process begins, its wall clock at so many ms; `b:x` is called b here, its id is x."""
        label, _, id = words[0].partition(":")
        seeds = [options["seed"]] if "seed" in options else []
        self.wire.start(label, id=id or label, seeds=seeds, start_ms=int(options.get("clock", USUAL_START_MS)))
        return True

    def _observe(self, words: list[str], options: dict[str, str]) -> bool:
        """observe o seed=a: an observer begins."""
        self.wire.observe(words[0], seeds=[options["seed"]])
        return True

    def _wait(self, words: list[str], options: dict[str, str]) -> bool:
        """wait 20ms, wait 5s: time passes."""
        number = words[0]
        self.wire.run(float(number[:-2]) / 1000 if number.endswith("ms") else float(number[:-1]))
        return True

    def _register(self, words: list[str], options: dict[str, str]) -> bool:
        """register a orders/1: at a service's user, an instance."""
        party = self.wire.parties[words[0]]
        service, _, id = words[1].partition("/")
        instance = Instance(service, id, party.host, 80, origin=party.node.id)
        self.wire.act(party, party.node.register(instance, None, self.wire.now))
        return True

    def _leave(self, words: list[str], options: dict[str, str]) -> bool:
        """leave a: its user closes it."""
        party = self.wire.parties[words[0]]
        self.wire.act(party, party.node.leave(self.wire.now))
        return True

    def _kill(self, words: list[str], options: dict[str, str]) -> None:
        """kill a: the process is gone, its ports refuse."""
        for label in words:
            self.wire.kill(label)

    def _unplug(self, words: list[str], options: dict[str, str]) -> None:
        """unplug a: its machine is off, and nobody is told."""
        self.wire.unplug(words[0])

    def _link_closed(self, words: list[str], options: dict[str, str]) -> bool:
        """link-closed e at a b: the kernels of a and b see their link to e close."""
        for label in words[2:]:
            self.wire.close(label, words[0])
        return True

    def _hold(self, words: list[str], options: dict[str, str]) -> None:
        """hold a to b: what a sends to b waits until it is released."""
        self.wire.held[words[0], words[2]] = []

    def _release(self, words: list[str], options: dict[str, str]) -> bool:
        """release a to b: it arrives."""
        self.wire.release(words[0], words[2])
        return True

    def _drop(self, words: list[str], options: dict[str, str]) -> None:
        """drop a to b: what a sends to b is lost from now on."""
        self.wire.dropped.add((words[0], words[2]))

    def _carry(self, words: list[str], options: dict[str, str]) -> None:
        """carry a to b: no longer."""
        self.wire.dropped.remove((words[0], words[2]))

    def _slow(self, words: list[str], options: dict[str, str]) -> None:
        """slow-links-to a: nobody's link to a comes up."""
        self.wire.slow.update(words)

    def _cut(self, words: list[str], options: dict[str, str]) -> None:
        """cut a b | c: nothing passes between these groups, and nobody is told."""
        self.wire.cut(*(set(group.split()) for group in " ".join(words).split("|")))

    def _heal(self, words: list[str], options: dict[str, str]) -> bool:
        """heal: everything passes again, and links that were wanted meanwhile come up."""
        self.wire.cut()
        self.wire.link_all_again()
        return True

    def _view(self, words: list[str], options: dict[str, str]) -> None:
        """view a b: whom each holds alive, at which version, and what its readers see."""
        seen: dict[str, list[str]] = {}
        for label in words or sorted(self.wire.parties):
            seen.setdefault(self._seen_by(label), []).append(label)
        self._lines += [f"{' '.join(labels)} {'sees' if len(labels) == 1 else 'see'} {view}" for view, labels in seen.items()]

    def _seen_by(self, label: str) -> str:
        table = self.wire.parties[label].node.local.table
        origins = sorted(table.origins.values(), key=lambda origin: origin.id)
        members = [origin.id + f" {origin.version}" + _unless_alive(origin.state) for origin in origins]
        shown = sorted(f"{service}/{id}" for origin in table.alive() for service, id in origin.instances)
        return self.wording.named(f"{', '.join(members)}; {', '.join(shown) or 'no instances'}")

    _COMMANDS: dict[str, Callable[..., bool | None]] = {  # noqa: RUF012 - a dispatch table
        "without": _without,
        "cluster": _cluster,
        "start": _start,
        "observe": _observe,
        "wait": _wait,
        "register": _register,
        "leave": _leave,
        "kill": _kill,
        "unplug": _unplug,
        "link-closed": _link_closed,
        "hold": _hold,
        "release": _release,
        "drop": _drop,
        "carry": _carry,
        "slow-links-to": _slow,
        "cut": _cut,
        "heal": _heal,
        "view": _view,
    }


def _unless_alive(state: MemberState) -> str:
    return "" if state is MemberState.ALIVE else f" ({state.value.lower()})"
