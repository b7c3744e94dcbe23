"""The shell around the pure core: one thread that owns node, sockets and clock, and carries out what the node asks.

One turn: wait; drain what has arrived; run commands; tick; send, because others wait for what is relayed; apply the
changes to the catalogue; then let the callers of the commands go on. So a `register` that returned is visible here, and
was sent. Under load a turn batches by itself; idle it adds no delay.

Invariants: no other thread touches a socket between `start` and the end of the loop; no exception but a fatal one of
ZeroMQ (context or socket gone) ends the loop; every drain is bounded and guarded, so tick and commands are never starved.
"""

from __future__ import annotations

import math
import random
import time
import traceback
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Protocol, TypeVar

import zmq

from ..config import Config
from ..core.effects import (
    Answer,
    Bind,
    Blame,
    Blamed,
    Bound,
    Call,
    Changed,
    Connect,
    Disconnect,
    Effect,
    HangUp,
    Happened,
    Input,
    Listen,
    Probe,
    Probed,
    Publish,
    Recollected,
    Remember,
    Remembered,
    Shun,
    TurnOut,
    Unlisten,
)
from ..errors import PeerClosed
from ..model import Event, EventKind
from . import native
from .calls import Calls
from .drains import Drains
from .hush import Hush
from .keys import Keyring
from .knocks import Knocks
from .links import Links
from .mailbox import Letter, Mailbox
from .porter import Porter
from .probes import Probes
from .sockets import Descriptors, Sockets, link_of

WAIT_MAX_S = 1.0
LEAVE_WAIT_S = 0.05  # while leaving, `node.left` is asked at least so often
LEAVE_SLACK_S = 0.1  # beyond overlay.leave_linger_s a node that never says `left` is left behind
FAULT_PAUSE_S = 0.1  # after a fault: a deadline that keeps failing must not spin
LAG_WINDOW_S = 5.0
STOP_TIMEOUT_S = 0.9
JOIN_S = 0.05  # from the last statement of the loop to the end of its thread
STOP_RESERVE_S = 0.15  # the end of a `stop` timeout in which a leave is cut short

FATAL = (zmq.ETERM, zmq.ENOTSOCK)

T = TypeVar("T")
OnBatch = Callable[[list[Changed], list[Happened]], None]


class Machine(Protocol):
    """What the thread drives: `core.node.Node`, or a script in a test. Called on the bus thread only."""

    @property
    def left(self) -> bool:
        """Whether a leave is over."""
        ...

    def start(self, now: float) -> list[Effect]: ...

    def handle(self, event: Input, now: float) -> list[Effect]: ...

    def tick(self, now: float) -> list[Effect]: ...

    def next_deadline(self) -> float: ...

    def leave(self, now: float) -> list[Effect]: ...


class _Wish(Enum):
    """What `stop` asks of the loop."""

    STAY = 0
    LEAVE = 1
    VANISH = 2


boot_clock: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds since boot, suspended time included where the system counts it. Never goes back."""

# In a forked child: what belongs to the parent's thread, kept from the garbage collector for good.
_abandoned: list[object] = []


class BusThread:
    """The thread `gossip-<name>` of one peer.

    `sockets` are bound by the caller and belong to the thread from `start` on. `on_batch(changes, happenings)` is called
    on the bus thread once per turn that has any, `remember(name)` when another peer asks for the events about a name,
    `on_recollected(effect)` when another answers so, `on_end()` when it has ended, by `stop` or by itself. `mailbox` takes
    the commands.
    """

    def __init__(
        self,
        name: str,
        node: Machine,
        sockets: Sockets,
        config: Config,
        on_batch: OnBatch,
        *,
        rng: random.Random,
        remember: Callable[[str], tuple[Event, ...]] = lambda name: (),
        on_recollected: Callable[[Recollected], None] = lambda effect: None,
        on_end: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._name = name
        self._node = node
        self._sockets = sockets
        self._config = config
        self._on_batch = on_batch
        self._remembered_of = remember
        self._on_end = on_end
        self._clock = clock
        self._hush = Hush()
        self._poller = zmq.Poller()
        descriptors = Descriptors(config.links.descriptors_share)
        self._knocks = Knocks(self._hush, sockets.keyring)
        self._porter = Porter(sockets, config.links, self._hush, descriptors, sockets.keyring)
        self._links = Links(sockets, config.links, rng, self._hush, descriptors, self._knocks)
        self._calls = Calls(sockets, self._poller, self._hush, descriptors, config.links, self._knocks)
        self._probes = Probes(self._poller, config.detection.probe_timeout_s, self._hush, descriptors)
        self.mailbox = Mailbox(name, config.limits.mailbox_max)
        self._waiting = self.mailbox.letters
        self._gate = native.rlock()  # two threads may start and stop at once, and only one may close unused sockets
        self._thread: native.Thread | None = None
        self._ended = native.latch()
        self._wish = _Wish.STAY
        self._leave_by = math.inf
        self._effects: list[Effect] = []
        self._inputs: list[Input] = []
        self._notices: list[Happened] = []
        self._letters: list[Letter] = []
        self._quiet_until = -math.inf
        self._checked_at = math.inf
        self._node_due = -math.inf
        self._care_due = -math.inf  # when a connection is to be looked after
        self._bell = -1
        self._lag = _Worst()
        self._drains = Drains(
            sockets, self._poller, config.links, self._links, self._porter, self._hush, self._feed, self._survives
        )
        self.bound = {end for end in map(_bound, (sockets.contact, sockets.publisher)) if end}  # a forked child must know
        self._acts: dict[type, Callable[[Any, float], object]] = {
            Publish: self._publish,
            Answer: self._answer,
            Connect: lambda effect, now: self._links.connect(effect.endpoint, now),
            Disconnect: lambda effect, now: self._links.disconnect(effect.endpoint, now),
            Listen: lambda effect, now: self._sockets.listen(effect.topic),
            Unlisten: lambda effect, now: self._sockets.unlisten(effect.topic),
            Call: lambda effect, now: self._calls.send(effect.call, effect.endpoint, effect.frame, now),
            HangUp: lambda effect, now: self._calls.hang_up(effect.call),
            Probe: self._probe,
            Bind: self._bind,
            Remember: self._remember,
            Blame: self._blame,
            Shun: lambda effect, now: self._links.shun(effect.endpoint, now + effect.seconds),
            Recollected: lambda effect, now: on_recollected(effect),
            TurnOut: lambda effect, now: self._drains.turn_out(effect.token, effect.source),
        }

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""
        return self._thread is not None and not self._ended.is_set()

    @property
    def counters(self) -> dict[str, int]:
        """A copy of all counters of sockets, links, calls and probes. Any thread."""
        refused = self.mailbox.refused
        return self._hush.counters | ({"commands_refused": refused} if refused else {})

    @property
    def links_up(self) -> int:
        """How many links are up. Any thread; O(links)."""
        return self._links.up

    @property
    def dialled(self) -> dict[int, str]:
        """The descriptors of links and probes with the endpoints they dialled, for a forked child. O(links + probes)."""
        return {**self._links.descriptors, **self._probes.descriptors}

    @property
    def loop_lag_s(self) -> float:
        """How late the latest tick was, at worst, within the last `LAG_WINDOW_S` to twice that. Any thread."""
        return self._lag.value

    def rekey(self, keyring: Keyring, now: float) -> None:
        """Other secrets are valid from now on. For a command, which runs on the bus thread."""
        self._drains.hear(now)  # what links that will be cut have brought
        self._sockets.keyring = self._knocks.keyring = keyring
        self._porter.rekey(keyring)
        self._inputs += self._links.rekey(keyring, now)

    def start(self) -> None:
        """Hand everything to a new thread. Idempotent while it runs.

        Raises `PeerClosed` after `stop`, `ConfigError` when eventlet has replaced `threading`.
        """
        native.refuse_eventlet()
        with self._gate:
            if self._ended.is_set() or self._wish is not _Wish.STAY:
                raise PeerClosed(f"peer {self._name!r} was closed and cannot start again. Make a new Peer")
            if self._thread is None:
                self._launch()

    def stop(self, leave: bool = True, timeout: float = STOP_TIMEOUT_S) -> bool:
        """End the loop, gracefully or as a crash would, and close everything. Whether that is done.

        Idempotent; any thread; at most `timeout` seconds, after most of which a leave is cut short. On the bus thread
        itself it only asks, and the loop ends after this turn.
        """
        with self._gate:
            self._want(_Wish.LEAVE if leave else _Wish.VANISH)
            if self._thread is None and not self._ended.is_set():
                self._shut()
        thread = self._thread
        if thread is None or self._ended.is_set():
            return True
        self.mailbox.wake()
        if self.mailbox.on_bus_thread():
            return False
        if not self._ended.wait(max(timeout - STOP_RESERVE_S, 0.0)):
            self._want(_Wish.VANISH)
            self.mailbox.wake()
            self._ended.wait(min(STOP_RESERVE_S, timeout))
        if self._ended.is_set():
            thread.join(JOIN_S)
        return self._ended.is_set()

    def abandon(self) -> None:
        """In a forked child: forget all without touching ZeroMQ, whose threads, and whose connections, are the parent's."""
        self.mailbox.abandon()
        _abandoned.append((self._sockets, self._links, self._calls, self._probes, self._poller))
        # the old ones may be held by a thread that does not exist here
        self._gate, self._ended = native.rlock(), native.latch()
        self._ended.set()

    def _launch(self) -> None:
        # Set before it runs: a signal handler that stops the peer meanwhile must not take the sockets for unused.
        self._thread = native.thread(f"gossip-{self._name}", self._run)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            raise

    # The loop ---------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self.mailbox.adopt()
        self._watch()
        now = self._checked_at = self._clock()
        try:
            self._take(self._node.start, now)
            self._carry_out(now)
            while not self._finished():
                if not self._guard(self._turn):
                    native.pause(FAULT_PAUSE_S)
        except zmq.ZMQError as error:
            self._hush.tell("bus_ended", self._clock(), f"the bus of peer {self._name!r} ended: {error.strerror}", error=error)
        finally:
            self._shut()

    def _watch(self) -> None:
        self._drains.watch()
        self._bell = self.mailbox.fileno()
        self._poller.register(self._bell, zmq.POLLIN)

    def _turn(self) -> bool:
        ready = dict(self._poller.poll(self._patience_ms()))
        now = self._clock()
        well = self._drain(ready, now)
        if self._waiting or self._bell in ready:
            self._run_commands(now)
        self._tick()
        self._carry_out(now)
        return well

    def _patience_ms(self) -> int:
        if self._inputs or self._notices or self._waiting:
            return 0
        now = self._clock()
        until = min(self._node_due, self._care_due)
        longest = WAIT_MAX_S if self._leave_by == math.inf else LEAVE_WAIT_S
        return math.ceil(1000 * min(max(until - now, 0.0), longest))

    def _deadline(self, now: float) -> float:
        deadline = self._guard(self._node.next_deadline)
        return now + FAULT_PAUSE_S if deadline is None else max(deadline, self._quiet_until)

    def _drain(self, ready: dict[Any, int], now: float) -> bool:
        """False after a fault in a call or a probe: it may be there again at once."""
        drains, well = self._drains, True
        drains.rest(ready, now)
        inputs, self._inputs = self._inputs, []
        for event in inputs:
            self._feed(event, now)
        for source in ready:
            if not drains.read(source, now):
                well &= self._survives("reading a call or a probe", self._receive, source, now)
            if source is not self._sockets.subscriber:  # what is heard moves no connection
                self._care_due = -math.inf
        if now >= self._care_due:
            well &= self._survives("ending a probe", self._give_up, now)
        self._care_due = min(self._care_due, drains.next_deadline())
        return well

    def _receive(self, source: object, now: float) -> None:
        self._feed_all(self._calls.receive(source, now), now)
        self._feed_all(self._probes.finish(source), now)

    def _give_up(self, now: float) -> None:
        self._feed_all(self._probes.tick(now), now)

    def _run_commands(self, now: float) -> None:
        self._care_due = -math.inf
        self._letters = self.mailbox.collect()
        for letter in self._letters:
            self._effects += letter.open(now)
            if letter.error is not None and not letter.awaited:
                self._fault(letter.error)

    def _tick(self) -> None:
        now = self._clock()
        if self._wish is _Wish.LEAVE and self._leave_by == math.inf:
            self._leave_by = now + self._config.overlay.leave_linger_s + LEAVE_SLACK_S
            self._take(self._node.leave, now)
        deadline = self._deadline(now)
        if now >= deadline:
            # a deadline may lie anywhere in the past; late is only what passed since the last look at it
            self._lag.note(now - max(deadline, self._checked_at), now)
            self._take(self._node.tick, now)
            deadline = self._deadline(now)
        self._checked_at, self._node_due = now, deadline

    def _finished(self) -> bool:
        if self._wish is _Wish.VANISH:
            return True
        return self._leave_by < math.inf and (self._clock() >= self._leave_by or bool(self._guard(self._has_left)))

    def _has_left(self) -> bool:
        return self._node.left

    # From inputs to effects -------------------------------------------------------------------------------------------

    def _feed(self, event: Input, now: float) -> None:
        try:
            self._effects += self._node.handle(event, now)
        except Exception as error:  # noqa: BLE001 - as in `_guard`, without a call of its own for each message
            self._fault(error)

    def _feed_all(self, events: list[Any], now: float) -> None:
        for event in events:
            self._feed(event, now)

    def _take(self, ask: Callable[[float], list[Effect]], now: float) -> None:
        effects = self._guard(ask, now)
        if effects is None:
            self._quiet_until = now + FAULT_PAUSE_S
        else:
            self._effects += effects

    def _guard(self, do: Callable[..., T], *arguments: object) -> T | None:
        try:
            return do(*arguments)
        except Exception as error:  # noqa: BLE001 - with `_survives` the one place that keeps the loop alive
            self._fault(error)
            return None

    def _survives(self, what: str, do: Callable[..., object], *arguments: object) -> bool:
        """Whether it ended well; if not, that is told with what was being done."""
        try:
            do(*arguments)
        except Exception as error:  # noqa: BLE001
            self._fault(error, what)
            return False
        return True

    def _fault(self, error: Exception, about: str = "") -> None:
        if isinstance(error, zmq.ZMQError) and error.errno in FATAL:
            raise error
        what = traceback.format_exception_only(error)[-1].strip()  # unlike repr, never raises
        where = f" in {about}" if about else ""
        text = f"peer {self._name!r} met a fault of its own{where} and goes on: {what}"
        if self._hush.tell("faults", self._clock(), text, error=error, cause=about):
            self._notices.append(_notice(self._name, text))

    # From effects to the world ----------------------------------------------------------------------------------------

    def _carry_out(self, now: float) -> None:
        effects, self._effects = self._effects, []
        happenings, self._notices = self._notices, []
        changes: list[Changed] = []
        actions: list[Effect] = []
        for effect in effects:
            kind = type(effect)
            if kind is Changed:
                changes.append(effect)  # type: ignore[arg-type]
            elif kind is Happened:
                happenings.append(effect)  # type: ignore[arg-type]
            else:
                actions.append(effect)
        for action in actions:
            self._guard(self._act, action, now)
            if type(action) is not Publish:
                self._care_due = -math.inf
        if changes or happenings:
            self._guard(self._on_batch, changes, happenings)
        if now >= self._care_due:
            self._guard(self._care, now)
        if self._hush.notices:
            self._take_notices()
        if self._letters:
            self._settle()

    def _act(self, effect: Effect, now: float) -> None:
        self._acts[type(effect)](effect, now)

    def _care(self, now: float) -> None:
        """Look after all connections. Only when one is due, or something but a heard frame may have changed that."""
        self._care_due = now + FAULT_PAUSE_S  # should one of them fail
        cared_for, well = (self._links, self._calls, self._porter, self._drains), True
        for each in cared_for:
            well &= self._survives("looking after the connections", each.tick, now)
        if well:
            self._care_due = min(each.next_deadline() for each in (*cared_for, self._probes))

    def _take_notices(self) -> None:
        texts, self._hush.notices = self._hush.notices, []
        self._notices += [_notice(self._name, text) for text in texts]

    def _settle(self) -> None:
        letters, self._letters = self._letters, []
        for letter in letters:
            letter.settle()

    def _publish(self, effect: Publish, now: float) -> None:
        self._sockets.publisher.send(effect.frame, zmq.NOBLOCK)

    def _answer(self, effect: Answer, now: float) -> None:
        contact = self._sockets.contact
        try:
            contact.send(effect.token, zmq.SNDMORE | zmq.NOBLOCK)
            contact.send(effect.frame, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in FATAL:
                raise
            self._hush.count("answers_dropped")  # the asker is gone, or does not read

    def _probe(self, effect: Probe, now: float) -> None:
        answer: Probed | None = self._probes.start(effect.endpoint, now)
        if answer is not None:
            self._inputs.append(answer)

    def _bind(self, effect: Bind, now: float) -> None:
        ok = self._sockets.bind_extra(effect.endpoint)
        if ok:
            self.bound = {*self.bound, effect.endpoint}
        self._inputs.append(Bound(effect.endpoint, ok))

    def _remember(self, effect: Remember, now: float) -> None:
        self._inputs.append(Remembered(effect.token, self._remembered_of(effect.name)))

    def _blame(self, effect: Blame, now: float) -> None:
        endpoint = link_of(effect.source) if isinstance(effect.source, zmq.Frame) else None
        if endpoint is not None and self._links.state(endpoint) is not None:
            self._inputs.append(Blamed(endpoint))

    # The end ----------------------------------------------------------------------------------------------------------

    def _want(self, wish: _Wish) -> None:
        if wish.value > self._wish.value:
            self._wish = wish

    def _shut(self) -> None:
        try:
            self.mailbox.close()
            for letter in self._letters:
                letter.refuse(PeerClosed(f"the bus of peer {self._name!r} ended before this was carried out. Start a new Peer"))
            self._probes.close()
        finally:
            self._sockets.close()
            self._ended.set()
            self._on_end()


def _bound(socket: zmq.SyncSocket) -> str:
    """`ip:port` where it listens; "" if it does not."""
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT)).removeprefix("tcp://")


class _Worst:
    """The greatest value noted in the current window and the one before it."""

    __slots__ = ("_before", "_ends", "_now")

    def __init__(self) -> None:
        self._before = self._now = 0.0
        self._ends = -math.inf

    @property
    def value(self) -> float:
        return max(self._before, self._now)

    def note(self, value: float, at: float) -> None:
        if at >= self._ends:
            stale = at >= self._ends + LAG_WINDOW_S
            self._before, self._now, self._ends = 0.0 if stale else self._now, 0.0, at + LAG_WINDOW_S
        self._now = max(self._now, value)


def _notice(subject: str, text: str) -> Happened:
    return Happened(EventKind.NOTICE, subject, None, None, text)
