"""How effects read in a transcript: by name, and with what matters.

Hashes become the ids they stand for, hosts the labels of their peers. What is as usual is not said: the life 1000, the
pulse 0, a sender that is synced. Everything else of an effect is told, or its kind is hidden by the transcript's own word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from gossip.core.codec import TOPIC_BYTES, Codec
from gossip.core.effects import (
    Answer,
    Call,
    Changed,
    Connect,
    Disconnect,
    Effect,
    HangUp,
    Happened,
    Listen,
    Probe,
    Publish,
    Unlisten,
)
from gossip.core.messages import (
    Accusation,
    Belief,
    Delta,
    Done,
    Entries,
    Entry,
    HeaderFlags,
    Heartbeat,
    Incarnation,
    Message,
    Ping,
    Pong,
    Sync,
    Want,
)
from gossip.model import EventKind, Instance

USUAL_START_MS = 1000
Said = tuple[str, str, str]  # what is done, to whom, with what


class Wording:
    """Knows the names of all that ever took part. `codec` reads their frames."""

    def __init__(self) -> None:
        self.codec = Codec("default")
        self.labels: dict[str, str] = {}  # host -> label
        self.open_calls: dict[tuple[str, int], str] = {}  # (who asks, number) -> endpoint
        self._ids: dict[bytes, str] = {}

    def learn(self, id: str) -> None:
        """Somebody goes by this id."""
        self._ids[self.codec.hash(id)] = id

    def tell(self, who: str, effects: Iterable[Effect], hidden: set[str]) -> list[str]:
        """One peer's effects, a line each; equal ones to several receivers share a line."""
        said: list[tuple[str, list[str], str]] = []
        for effect in effects:
            topic, (verb, target, rest) = self._say(who, effect)
            if topic in hidden:
                continue
            if said and said[-1][0] == verb and said[-1][2] == rest and target:
                said[-1][1].append(target)
            else:
                said.append((verb, [target], rest))
        return [self.named(" ".join(filter(None, (verb, *targets))) + rest) for verb, targets, rest in said]

    def named(self, text: str) -> str:
        """Hosts by their labels, ids that a peer drew as `name-*`."""
        text = re.sub(r"10\.\d+\.\d+\.\d+", lambda host: self.labels.get(host[0], host[0]), text)
        return re.sub(r"\b(\w+)-[0-9a-f]{12}\b", r"\1-*", text)  # an id that a peer drew

    def _say(self, who: str, effect: Effect) -> tuple[str, Said]:
        """The topic under which a transcript may hide this effect, "" if it may not; and the words."""
        if isinstance(effect, Publish):
            return self._publish(effect.frame)
        if isinstance(effect, Call):
            return "", ("ask", effect.endpoint, f": {self.message(effect.frame)}")
        if isinstance(effect, Answer):
            return "", ("answer", effect.token.decode().partition("/")[0], f": {self.message(effect.frame)}")
        if isinstance(effect, HangUp):
            return "", ("hang up on", self.open_calls.get((who, effect.call), "?"), "")
        topic, say = _OTHERS[type(effect)]
        return topic, say(self, effect)

    def _publish(self, frame: bytes) -> tuple[str, Said]:
        if frame[:1] == b"*":
            return "", ("tell all", "", f": {self.message(frame[1:])}")
        if frame[:1] == b"+":
            heartbeat = isinstance(self.codec.decode(frame[1:]), Heartbeat)
            return "heartbeats" if heartbeat else "", ("tell observers", "", f": {self.message(frame[1:])}")
        target = self._ids[frame[1:TOPIC_BYTES]]
        delegated = self.codec.open_envelope(frame, TOPIC_BYTES)
        if delegated is not None:
            return "", (f"broadcast on ring {delegated.ring} to", target, f": {self.message(delegated.frame)}")
        message = self.codec.decode(frame[TOPIC_BYTES:])
        topic = ("links" if message.linked else "heartbeats") if isinstance(message, Heartbeat) else ""
        return topic, ("tell", target, f": {self.message(frame[TOPIC_BYTES:])}")

    def topic(self, topic: bytes) -> str:
        """What is listened to."""
        return f"@{self._ids[topic[1:]]}" if topic[:1] == b"@" else topic.decode()

    def message(self, frame: bytes) -> str:
        """A message by its name and what matters of it."""
        message = self.codec.decode(frame)
        return _MESSAGES[type(message)](self, message)

    def heartbeat(self, beat: Heartbeat) -> str:
        """A heartbeat; the one that answers a subscription says that the link is up."""
        usual = f"{self._ids[beat.sender]} is at {beat.version}{_life(beat.incarnation, beat.pulse)}"
        return f"heartbeat, {usual}{', the link is up' if beat.linked else ''}{'' if beat.synced else ', not synced'}"


def _life(incarnation: Incarnation, pulse: int) -> str:
    life = "" if incarnation[0] == USUAL_START_MS else f" of life {incarnation[0]}"
    return life + (f" pulse {pulse}" if pulse else "")


def _entry(entry: Entry) -> str:
    if entry.incarnation == (0, 0):
        return f"all of {entry.origin}"
    return f"{entry.origin} {entry.version}{_life(entry.incarnation, entry.pulse)}"


def _entries(entries: Iterable[Entry]) -> str:
    return ", ".join(sorted(map(_entry, entries))) or "nothing"


def _delta(delta: Delta) -> str:
    pulse = delta.header.pulse if delta.header is not None else 0
    words = [f"+ {instance.service}/{instance.id}" for instance in delta.put]
    words += [f"- {service}/{id}" for service, id in delta.removed]
    if delta.header is not None and delta.header.flags & HeaderFlags.LEAVING:
        words.append("leaving")
    name = "state" if delta.since == 0 else "delta"
    what = f" {', '.join(words)}" if words else ""
    return f"{name} {delta.origin} ({delta.since}, {delta.version}]{_life(delta.incarnation, pulse)}{what}"


def _accusation(accusation: Accusation) -> str:
    charges = [
        f"{charge.subject}{_life(charge.incarnation, charge.pulse)} is {charge.evidence.name.lower()}"
        for charge in accusation.charges
    ]
    return f"accusation, {accusation.accuser} says {', '.join(charges)}"


def _sync(sync: Sync) -> str:
    at = f"is at {sync.version}{_life(sync.incarnation, sync.pulse)}" if sync.version else "has no log"
    return f"sync, {sync.asker} {at}{_synced(sync.synced)}"


def _synced(synced: bool) -> str:
    return "" if synced else " (not synced)"


_MESSAGES: dict[type[Message], Callable[[Wording, Any], str]] = {
    Delta: lambda wording, m: _delta(m),
    Heartbeat: Wording.heartbeat,
    Accusation: lambda wording, m: _accusation(m),
    Ping: lambda wording, m: f"ping from {m.asker}",
    Pong: lambda wording, m: f"pong from {m.id}, you are {'alive' if m.held_alive else 'accused or dead'} here",
    Sync: lambda wording, m: _sync(m),
    Entries: lambda wording, m: f"entries {_entries(m.entries)}{_synced(m.synced)}",
    Want: lambda wording, m: f"want {_entries(m.entries)}",
    Done: lambda wording, m: "done",
    Belief: lambda wording, m: f"belief {m.kind.value}, {m.reason}",
}


def _changed(changed: Changed) -> Said:
    before, after = changed.before, changed.after
    sign = "+" if before is None else "-" if after is None else "="
    shown: Instance = after or before  # type: ignore[assignment]
    return "readers see", f"{sign} {shown.service}/{shown.id}", f" ({changed.reason})"


def _happened(happened: Happened) -> Said:
    kind = "notice" if happened.kind is EventKind.NOTICE else happened.kind.value
    return kind, "", f": {happened.reason}"


_OTHERS: dict[type[Effect], tuple[str, Callable[[Wording, Any], Said]]] = {
    Connect: ("links", lambda wording, e: ("link to", e.endpoint, "")),
    Disconnect: ("links", lambda wording, e: ("unlink", e.endpoint, "")),
    Listen: ("links", lambda wording, e: ("listen to", wording.topic(e.topic), "")),
    Unlisten: ("links", lambda wording, e: ("no longer listen to", wording.topic(e.topic), "")),
    Probe: ("", lambda wording, e: ("probe", e.endpoint, "")),
    Changed: ("", lambda wording, e: _changed(e)),
    Happened: ("", lambda wording, e: _happened(e)),
}
