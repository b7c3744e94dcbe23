"""`Peer` and `AsyncPeer` behave alike, on real sockets; and what only the asynchronous twin promises.

A test marked `both` is written once and run with either twin: what `settled` returns is the answer, awaited if it must be.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import inspect
import linecache
import random
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

import gossip.participant
from gossip import (
    AsyncPeer,
    AsyncRegistration,
    AsyncWatch,
    Config,
    ConfigError,
    EventKind,
    GossipError,
    InsecureWarning,
    InstanceState,
    Lookups,
    NoInstances,
    Peer,
    PeerClosed,
    PeerState,
    Registration,
    RegistrationError,
    Watch,
)
from gossip.core.effects import Effect

PATIENCE_S = 30.0


class Stage:
    """Makes the peers of one test, all of one cluster that nobody else is in, and closes them after it."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind
        self.cluster = f"twins-{uuid.uuid4().hex}"
        self.peers: list[Any] = []

    def peer(self, name: str = "a", **arguments: Any) -> Any:
        chosen = {"cluster": self.cluster, "bind": "127.0.0.1:0", "seeds": [], **arguments}
        peer = self.kind(name, **chosen)
        self.peers.append(peer)
        return peer

    async def started(self, name: str = "a", **arguments: Any) -> Any:
        return await settled(self.peer(name, **arguments).start())

    async def clear(self) -> None:
        for peer in self.peers:
            await settled(peer.close())


Scenario = Callable[..., Coroutine[Any, Any, None]]


async def played(scenario: Scenario, kind: type[Any], **fixtures: Any) -> None:
    stage = Stage(kind)
    try:
        await scenario(stage, **fixtures)
    finally:
        await stage.clear()


def _test_of(scenario: Scenario, kinds: list[type[Any]]) -> Callable[..., None]:
    """The scenario as a plain test; its parameters after the stage are fixtures."""

    def test(kind: type[Any], **fixtures: Any) -> None:
        asyncio.run(played(scenario, kind, **fixtures))

    parameters = list(inspect.signature(scenario).parameters.values())[1:]
    kind = inspect.Parameter("kind", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    test.__signature__ = inspect.Signature([kind, *parameters])  # type: ignore[attr-defined]
    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.__name__)(test)


def both(scenario: Scenario) -> Callable[..., None]:
    """A test of both twins."""
    return _test_of(scenario, [Peer, AsyncPeer])


def in_a_loop(scenario: Scenario) -> Callable[..., None]:
    """A test of the asynchronous twin alone."""
    return _test_of(scenario, [AsyncPeer])


async def settled(answer: Any) -> Any:
    """The answer of either twin."""
    return await answer if inspect.isawaitable(answer) else answer


@contextlib.asynccontextmanager
async def inside(manager: Any) -> AsyncIterator[Any]:
    """`with` or `async with`, whichever this twin has."""
    if hasattr(manager, "__aenter__"):
        async with manager as entered:
            yield entered
    else:
        with manager as entered:
            yield entered


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """The first true value of `condition`; the loop goes on meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE_S:g} s"
        await asyncio.sleep(0.002)
    return value


def until_blocking(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """The first true value of `condition`; nothing else runs in this loop meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE_S:g} s"
        time.sleep(0.001)
    return value


async def within_patience(doing: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(doing, PATIENCE_S)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and see it end so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within_patience(task)


def limited(**limits: int) -> Config:
    return Config(limits=dataclasses.replace(Config().limits, **limits))


class Gate:
    """Holds a peer's bus thread from the moment `begun` is set until `open()`, or for `PATIENCE_S`."""

    def __init__(self, peer: Any) -> None:
        self.begun, self._opened = threading.Event(), threading.Event()

        def command(node: Any, now: float) -> tuple[list[Effect], None]:
            self.begun.set()
            self._opened.wait(PATIENCE_S)
            return [], None

        peer._post(command, bounded=False)

    async def closed(self) -> Gate:
        await until(self.begun.is_set, "the gate")
        return self

    def open(self) -> None:
        self._opened.set()


class Ticker:
    """Counts how often the loop came round."""

    def __init__(self) -> None:
        self.ticks = 0
        self._task = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            self.ticks += 1
            await asyncio.sleep(0.001)

    async def goes_on(self, ticks: int = 10) -> None:
        wanted = self.ticks + ticks
        await until(lambda: self.ticks >= wanted, "the ticker")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


# life -----------------------------------------------------------------------------------------------------------------


@both
async def test_before_start_reads_answer_from_nothing_and_writes_and_waits_raise(stage: Stage) -> None:
    peer = stage.peer("a", id="a-1")
    assert (peer.id, peer.name, peer.address, peer.state) == ("a-1", "a", "", PeerState.JOINING)
    assert (peer.lookup("orders"), peer.services(), peer.members(), peer.why("a")) == ((), (), (), ())
    assert not peer.status().synced
    with pytest.raises(NoInstances):
        peer.pick("orders")
    for ask in (
        lambda: peer.register("orders", port=1),
        peer.watch,
        lambda: peer.wait_for("orders", timeout=0),
        lambda: peer.wait_synced(timeout=0),
    ):
        with pytest.raises(PeerClosed, match="does not run yet"):
            await settled(ask())


@both
async def test_a_started_peer_starts_no_second_time(stage: Stage) -> None:
    peer = stage.peer()
    assert await settled(peer.start()) is peer
    address = peer.address
    assert await settled(peer.start()) is peer
    assert peer.address == address


@both
async def test_a_closed_peer_reads_on_and_does_nothing_else(stage: Stage) -> None:
    async with inside(stage.peer()) as peer:
        await settled(peer.wait_synced(PATIENCE_S))
        assert peer.state is PeerState.READY
        mine = await settled(peer.register("orders", port=1))
    assert peer.state is PeerState.CLOSED
    assert peer.status().state is PeerState.CLOSED
    assert [found.id for found in peer.lookup("orders")] == [mine.instance.id]
    assert [member.id for member in peer.members()] == [peer.id]
    for change in (lambda: mine.update(weight=9), mine.drain):
        assert await settled(change()) == mine.instance
    assert (await settled(mine.renew()), await settled(mine.deregister())) == (None, None)
    for ask in (
        lambda: peer.register("orders", port=2),
        peer.watch,
        lambda: peer.wait_for("orders"),
        peer.wait_synced,
    ):
        with pytest.raises(PeerClosed, match="was closed"):
            await settled(ask())
    with pytest.raises(PeerClosed, match="cannot start again"):
        await settled(peer.start())
    await settled(peer.close())


@both
async def test_a_peer_that_was_never_started_can_be_closed(stage: Stage) -> None:
    peer = stage.peer()
    await settled(peer.close())
    assert peer.state is PeerState.CLOSED
    with pytest.raises(PeerClosed, match="cannot start again"):
        await settled(peer.start())


@both
async def test_a_taken_port_is_told_at_start_which_can_be_tried_again(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        peer = stage.peer(bind=f"127.0.0.1:{holder.getsockname()[1]}")
        with pytest.raises(ConfigError, match=r"bind|port"):
            await settled(peer.start())
        assert peer.address == ""
    await settled(peer.start())
    assert peer.address


@both
async def test_a_bind_that_no_resolver_knows_is_told_at_start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(host: str) -> str:
        raise OSError("no such name")

    monkeypatch.setattr(gossip.participant, "resolve", unknown)
    with pytest.warns(InsecureWarning) as told:
        peer = stage.peer(bind="gossip.invalid:0", insecure=True)
    assert "self.kind(" in linecache.getline(told[0].filename, told[0].lineno)  # the line that made the peer
    with pytest.raises(ConfigError, match=r"bind: cannot resolve 'gossip\.invalid': no such name"):
        await settled(peer.start())


@both
async def test_a_bind_that_is_no_possible_name_is_told_at_start(stage: Stage) -> None:
    with pytest.warns(InsecureWarning):
        peer = stage.peer(bind="a..b:0", insecure=True)
    with pytest.raises(ConfigError, match=r"bind: cannot resolve 'a\.\.b'"):
        await settled(peer.start())


@both
async def test_a_bind_that_is_a_name_is_resolved(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip.participant, "resolve", {"here.invalid": "127.0.0.1", "there.invalid": "127.0.0.2"}.__getitem__)
    with pytest.warns(InsecureWarning):
        peer = stage.peer(bind="here.invalid:0", advertise="there.invalid", insecure=True)
    await settled(peer.start())
    assert peer.address.startswith("127.0.0.2:")


@both
async def test_arguments_are_checked_by_the_constructor(stage: Stage) -> None:
    for wrong in ({"name": "no spaces"}, {"seeds": "a:1"}, {"bind": "nonsense"}, {"fork": "spoon"}, {"config": 1}):
        with pytest.raises(ConfigError):
            stage.kind(**wrong)


# what a registration does ---------------------------------------------------------------------------------------------


@both
async def test_what_is_registered_is_visible_when_register_returns(stage: Stage) -> None:
    peer = await stage.started(zone="z")
    mine = await settled(peer.register("orders", port=8080, weight=2, labels={"v": "2"}, routes=["/orders"]))
    (found,) = peer.lookup("orders")
    assert found == mine.instance
    assert (found.id, found.host, found.weight, found.zone, found.origin) == ("127.0.0.1:8080", "127.0.0.1", 2, "z", peer.id)
    assert peer.pick("orders") == peer.route("/orders/1?x") == peer.locate("orders", "key") == found
    assert peer.preference_list("orders", b"key", 3) == (found,)
    assert [route.prefix for route in peer.routes("/orders")] == ["/orders"]
    assert peer.services() == ("orders",)
    assert peer.status().instances == 1
    assert repr(mine).startswith(f"{type(mine).__name__}(Instance(")


@both
async def test_update_drain_renew_and_deregister_are_visible_when_they_return(stage: Stage) -> None:
    peer = await stage.started()
    mine = await settled(peer.register("orders", port=1, labels={"a": "1"}))
    changed = await settled(mine.update(weight=7))
    assert changed == mine.instance == peer.lookup("orders")[0]
    assert (changed.weight, changed.labels) == (7, {"a": "1"})
    drained = await settled(mine.drain())
    assert drained.state is InstanceState.DRAINING
    assert peer.lookup("orders") == ()
    assert peer.lookup("orders", include_draining=True) == (drained,)
    assert await settled(mine.renew()) is None
    await settled(mine.deregister())
    await settled(mine.deregister())
    assert peer.lookup("orders", include_draining=True) == ()
    for change in (lambda: mine.update(weight=1), mine.drain, mine.renew):
        with pytest.raises(RegistrationError, match=r"orders/127\.0\.0\.1:1 is registered no longer"):
            await settled(change())


@both
async def test_a_handle_has_no_say_over_a_later_registration_of_its_key(stage: Stage) -> None:
    peer = await stage.started()
    former = await settled(peer.register("orders", port=80, id="one"))
    await settled(former.deregister())
    later = await settled(peer.register("orders", port=81, id="one"))
    await settled(former.deregister())
    assert peer.lookup("orders") == (later.instance,)
    for change in (lambda: former.update(weight=2), former.drain, former.renew):
        with pytest.raises(RegistrationError, match="registered no longer by this handle"):
            await settled(change())
    assert (await settled(later.update(weight=3))).weight == 3



@both
async def test_a_registration_is_a_context_manager_that_deregisters(stage: Stage) -> None:
    peer = await stage.started()
    async with inside(await settled(peer.register("orders", port=1))) as mine:
        assert peer.lookup("orders") == (mine.instance,)
    assert peer.lookup("orders") == ()


@both
async def test_a_time_to_live_ends_unless_it_is_renewed(stage: Stage) -> None:
    peer = await stage.started()
    watch = await settled(peer.watch("orders"))
    brief = await settled(peer.register("orders", port=1, ttl=0.05))
    long = await settled(peer.register("orders", port=2, ttl=3600.0))
    await settled(long.renew())
    events = [await settled(watch.get(PATIENCE_S)) for _ in range(3)]
    assert [event.kind for event in events].count(EventKind.REMOVED) == 1
    assert peer.lookup("orders") == (long.instance,)
    with pytest.raises(RegistrationError, match="its time to live ran out"):
        await settled(brief.renew())


async def faults_of(kind: type[Any]) -> list[tuple[str, type, str]]:
    """What a caller's mistakes raise: what was called, the class and the text."""
    stage, faults = Stage(kind), []

    async def note(what: str, ask: Callable[[], Any]) -> None:
        with pytest.raises((GossipError, TimeoutError)) as raised:
            await settled(ask())
        faults.append((what, raised.type, str(raised.value)))

    peer = stage.peer("a", id="a-1", seeds=["127.0.0.1:1"])
    await note("register, not started", lambda: peer.register("orders", port=1))
    await note("watch, not started", peer.watch)
    await note("wait_for, not started", lambda: peer.wait_for("orders"))
    await settled(peer.start())
    await note("wait_synced, late", lambda: peer.wait_synced(0))
    mine = await settled(peer.register("orders", port=1))
    watch = await settled(peer.watch("nobody"))
    await note("register, twice", lambda: peer.register("orders", port=1))
    await note("register, weight", lambda: peer.register("orders", port=2, weight=0))
    await note("register, name", lambda: peer.register("no spaces", port=2))
    await note("register, port", lambda: peer.register("orders", port=0))
    await note("register, labels", lambda: peer.register("orders", port=2, labels={"a": 1}))
    await note("register, routes", lambda: peer.register("orders", port=2, routes=["no slash"]))
    await note("register, ttl", lambda: peer.register("orders", port=2, ttl=-1))
    await note("register, check", lambda: peer.register("orders", port=2, check="udp"))
    await note("update, weight", lambda: mine.update(weight=101))
    await note("update, labels", lambda: mine.update(labels=3))
    await note("watch, since", lambda: peer.watch(since=-1))
    await note("watch, since a bool", lambda: peer.watch(since=True))
    await note("get, late", lambda: watch.get(0))
    await note("get, later than that", lambda: watch.get(-1))
    await note("wait_for, late", lambda: peer.wait_for("orders", 2, timeout=0.01))
    await note("wait_for, later than that", lambda: peer.wait_for("payments", timeout=-1))
    assert peer.lookup("orders") == (mine.instance,)
    await settled(mine.deregister())
    await note("update, gone", lambda: mine.update(weight=2))
    await note("drain, gone", mine.drain)
    await note("renew, gone", mine.renew)
    await settled(peer.close())
    await note("register, closed", lambda: peer.register("orders", port=1))
    await note("watch, closed", peer.watch)
    await note("get, closed", watch.get)
    await note("wait_synced, closed", peer.wait_synced)
    await note("start, closed", peer.start)
    return faults


def test_mistakes_raise_the_same_classes_and_texts_in_both_twins() -> None:
    assert asyncio.run(faults_of(AsyncPeer)) == asyncio.run(faults_of(Peer))


# waits ----------------------------------------------------------------------------------------------------------------


@both
async def test_a_wait_says_what_was_missing(stage: Stage) -> None:
    peer = await stage.started()
    await settled(peer.register("orders", port=1))
    with pytest.raises(TimeoutError, match=r"1 of 2 instances of 'orders' are known here after 0\.01 s\. 1 members are known"):
        await settled(peer.wait_for("orders", 2, timeout=0.01))
    assert await settled(peer.wait_for("orders")) == peer.lookup("orders")
    assert await settled(peer.wait_synced(PATIENCE_S)) is None


@both
async def test_a_wait_ends_when_the_peer_is_closed_by_another_thread(stage: Stage) -> None:
    peer = await stage.started()

    def close_when_waited_for() -> None:
        until_blocking(lambda: peer._waiters, "the waiter")
        asyncio.run(closing())

    async def closing() -> None:
        await settled(peer.close())

    closer = threading.Thread(target=close_when_waited_for)
    closer.start()
    with pytest.raises(PeerClosed, match="was closed"):
        await settled(peer.wait_for("nobody", timeout=PATIENCE_S))
    closer.join(PATIENCE_S)
    assert len(peer._waiters) == 0


@both
async def test_two_peers_find_each_other(stage: Stage) -> None:
    one = await stage.started("one")
    two = await stage.started("two", seeds=[one.address])
    mine = await settled(two.register("payments", port=7))
    await settled(one.register("orders", port=8))
    assert await settled(one.wait_for("payments", timeout=PATIENCE_S)) == (mine.instance,)
    await settled(two.wait_for("orders", timeout=PATIENCE_S))
    await settled(two.wait_synced(PATIENCE_S))
    assert {member.name for member in one.members()} == {member.name for member in two.members()} == {"one", "two"}
    assert any(event.kind is EventKind.MEMBER_JOINED for event in one.why("two"))
    watch = await settled(one.watch("payments"))
    await settled(two.close())
    assert (await settled(watch.get(PATIENCE_S))).kind is EventKind.REMOVED
    await until(lambda: len(one.members()) == 1, "the goodbye")


# watches --------------------------------------------------------------------------------------------------------------


@both
async def test_a_watch_tells_what_is_known_and_then_what_happens(stage: Stage) -> None:
    peer = await stage.started()
    first = await settled(peer.register("orders", port=1))
    await settled(peer.register("payments", port=2))
    watch = await settled(peer.watch("orders", initial=True))
    await settled(first.update(weight=2))
    await settled(first.deregister())
    events = [await settled(watch.get(PATIENCE_S)) for _ in range(3)]
    assert [event.kind for event in events] == [EventKind.ADDED, EventKind.CHANGED, EventKind.REMOVED]
    assert {event.service for event in events} == {"orders"}
    with pytest.raises(TimeoutError, match=r"no event within 0\.01 s"):
        await settled(watch.get(0.01))
    watch.close()
    watch.close()
    with pytest.raises(PeerClosed, match="this watch has ended"):
        await settled(watch.get())


@both
async def test_a_watch_goes_on_where_another_left_off(stage: Stage) -> None:
    peer = await stage.started(config=limited(history_max=4))
    watch = await settled(peer.watch("orders"))
    for port in range(1, 5):
        await settled(peer.register("orders", port=port))
    seen = [await settled(watch.get(PATIENCE_S)) for _ in range(4)]
    again = await settled(peer.watch("orders", since=seen[1].seq))
    assert [await settled(again.get(PATIENCE_S)) for _ in range(2)] == seen[2:]
    for unknown in (0, seen[-1].seq + 1000):
        lost = await settled(peer.watch("orders", since=unknown))
        assert (await settled(lost.get(PATIENCE_S))).kind is EventKind.RESYNC


@both
async def test_a_reader_that_is_too_slow_gets_one_resync(stage: Stage) -> None:
    peer = await stage.started(config=limited(watch_queue_max=3))
    watch = await settled(peer.watch("orders"))
    for port in range(1, 6):
        await settled(peer.register("orders", port=port))
    kinds = [(await settled(watch.get(PATIENCE_S))).kind for _ in range(2)]
    assert kinds == [EventKind.RESYNC, EventKind.ADDED]
    with pytest.raises(TimeoutError):
        await settled(watch.get(0))


@both
async def test_a_watch_is_read_to_its_end_when_the_peer_closes(stage: Stage) -> None:
    peer = await stage.started()
    watch = await settled(peer.watch("orders"))
    await settled(peer.register("orders", port=1))
    await settled(peer.close())
    if isinstance(watch, Watch):
        read = list(watch)
    else:
        read = [event async for event in watch]
    assert read[0].kind is EventKind.ADDED
    with pytest.raises(PeerClosed):
        await settled(watch.get(0))


@both
async def test_a_watch_is_a_context_manager_and_a_closed_one_is_forgotten(stage: Stage) -> None:
    peer = await stage.started()
    async with inside(await settled(peer.watch())) as watch:
        await settled(peer.register("orders", port=1))
        assert (await settled(watch.get(PATIENCE_S))).kind in EventKind
    await settled(peer.register("orders", port=2))
    assert peer._events._watches == ()


@both
async def test_the_end_of_a_watch_is_not_lost_in_an_overflow(stage: Stage) -> None:
    peer = await stage.started(config=limited(watch_queue_max=2))
    watch = await settled(peer.watch())
    inner = watch._watch if isinstance(watch, AsyncWatch) else watch
    watch.close()
    event = dataclasses.replace(peer.why("a")[0], kind=EventKind.NOTICE)
    for _ in range(5):  # what the bus was about to offer when the reader closed
        inner.offer(event)
    with contextlib.suppress(PeerClosed):
        while True:  # to its end
            await settled(watch.get(PATIENCE_S))


# reads ----------------------------------------------------------------------------------------------------------------


@both
async def test_reads_are_plain_calls_of_any_thread(stage: Stage) -> None:
    peer = await stage.started()
    assert isinstance(peer, Lookups)
    mine = (await settled(peer.register("orders", port=1, routes=["/"]))).instance
    answers: list[object] = []

    def read() -> None:
        with peer.calling(mine):
            answers.append(peer.pick("orders", strategy="least_loaded"))
        answers.extend([peer.lookup("orders")[0], peer.route("/x"), peer.locate("orders", "k")])
        peer.report_failure(mine)
        answers.extend([peer.members()[0].id == peer.id, peer.status().id == peer.id, peer.services() == ("orders",)])

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(PATIENCE_S)
    assert answers.count(mine) == 16
    assert answers.count(True) == 12


@both
async def test_the_names_of_the_twins_say_which_they_are(stage: Stage) -> None:
    peer = await stage.started("a", id="a-1")
    assert repr(peer) == f"<{stage.kind.__name__} a-1 at {peer.address}, {peer.state}>"
    mine, watch = await settled(peer.register("orders", port=1)), await settled(peer.watch())
    kinds = (Registration, Watch) if stage.kind is Peer else (AsyncRegistration, AsyncWatch)
    assert (type(mine), type(watch)) == kinds


def test_the_twins_have_the_same_public_names() -> None:
    for one, other in ((Peer, AsyncPeer), (Registration, AsyncRegistration)):
        assert public(one) == public(other)
    assert public(AsyncWatch) <= public(Watch)
    for name in ("register", "watch", "wait_for", "wait_synced", "close", "start"):
        given = [list(inspect.signature(getattr(kind, name)).parameters.values())[1:] for kind in (Peer, AsyncPeer)]
        assert given[0] == given[1], name


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


# only with a loop: cancellation ---------------------------------------------------------------------------------------


@in_a_loop
async def test_a_register_cancelled_before_it_began_is_withdrawn(stage: Stage) -> None:
    peer = await stage.started()
    gate = await Gate(peer).closed()
    task = asyncio.ensure_future(peer.register("orders", port=1))
    await until(lambda: len(peer._bus.mailbox) == 1, "the letter")
    await cancelled(task)  # at once, though the bus is held
    gate.open()
    await peer.register("barrier", port=2)
    assert peer.services() == ("barrier",)


@in_a_loop
async def test_a_register_cancelled_while_it_is_carried_out_is_taken_back(stage: Stage) -> None:
    peer = await stage.started(config=limited(mailbox_max=2))
    first = await Gate(peer).closed()
    watch = peer.watch("orders")
    task = asyncio.ensure_future(peer.register("orders", port=1))
    await until(lambda: len(peer._bus.mailbox) == 2, "the letters")
    second = Gate(peer)
    first.open()
    await second.closed()  # in one turn: watch and register were begun, and nobody was told yet
    for _ in range(2):
        peer._post(lambda node, now: ([], None))  # the mailbox is full
    task.cancel()
    await until(lambda: len(peer._bus.mailbox) == 3, "the letter that takes it back")
    assert not task.done()
    second.open()
    with pytest.raises(asyncio.CancelledError):
        await within_patience(task)
    assert peer.lookup("orders") == ()
    assert [(await watch.get(PATIENCE_S)).kind for _ in range(2)] == [EventKind.ADDED, EventKind.REMOVED]


@in_a_loop
async def test_a_register_cancelled_after_it_was_carried_out_is_taken_back(stage: Stage) -> None:
    peer = await stage.started()
    gate = await Gate(peer).closed()
    task = asyncio.ensure_future(peer.register("orders", port=1))
    await until(lambda: len(peer._bus.mailbox) == 1, "the letter")
    gate.open()
    until_blocking(lambda: peer.lookup("orders"), "the instance")  # the task does not hear of it before it is cancelled
    await cancelled(task)
    assert peer.lookup("orders", include_draining=True) == ()


@in_a_loop
async def test_a_cancelled_second_registration_leaves_the_first_alone(stage: Stage) -> None:
    peer = await stage.started()
    mine = await peer.register("orders", port=1)
    gate = await Gate(peer).closed()
    task = asyncio.ensure_future(peer.register("orders", port=1))
    await until(lambda: len(peer._bus.mailbox) == 1, "the letter")
    ran = threading.Event()
    peer._post(lambda node, now: (ran.set() or [], None))
    gate.open()
    until_blocking(ran.is_set, "the bus")
    await cancelled(task)
    assert peer.lookup("orders") == (mine.instance,)


@in_a_loop
async def test_registers_cancelled_at_any_moment_leave_no_instance(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    peer = await stage.started()
    kept = set()
    for port in range(1, 201):
        task = asyncio.ensure_future(peer.register("orders", port=port))
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(rng.choice((0, 0, 0.0001, 0.001)))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            kept.add((await task).instance)
    assert set(peer.lookup("orders")) == kept


@in_a_loop
async def test_cancelled_changes_are_withdrawn_or_carried_out(stage: Stage) -> None:
    peer = await stage.started()
    mine = await peer.register("orders", port=1)
    gate = await Gate(peer).closed()
    tasks = [asyncio.ensure_future(change) for change in (mine.update(weight=2), mine.drain(), mine.renew())]
    await until(lambda: len(peer._bus.mailbox) == 3, "the letters")
    for task in tasks:
        await cancelled(task)
    gate.open()
    await peer.register("barrier", port=2)
    assert peer.lookup("orders") == (mine.instance,)
    assert mine.instance.weight == 1

    gate = await Gate(peer).closed()
    task = asyncio.ensure_future(mine.update(weight=3))
    await until(lambda: len(peer._bus.mailbox) == 1, "the letter")
    gate.open()
    until_blocking(lambda: peer.lookup("orders")[0].weight == 3, "the change")
    await cancelled(task)
    assert peer.lookup("orders") == (mine.instance,)


@in_a_loop
async def test_a_cancelled_deregister_is_carried_out_all_the_same(stage: Stage) -> None:
    peer = await stage.started()
    mine = await peer.register("orders", port=1)
    gate = await Gate(peer).closed()
    task = asyncio.ensure_future(mine.deregister())
    await until(lambda: len(peer._bus.mailbox) == 1, "the letter")
    await cancelled(task)
    gate.open()
    await until(lambda: not peer.lookup("orders"), "the removal")


@in_a_loop
async def test_a_cancelled_start_has_started_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(host: str) -> str:
        asked.set()
        answer.wait(PATIENCE_S)
        return "127.0.0.1"

    monkeypatch.setattr(gossip.participant, "resolve", slow)
    with pytest.warns(InsecureWarning):
        peer = stage.peer(bind="slow.invalid:0", insecure=True)
    ticker = Ticker()
    task = asyncio.ensure_future(peer.start())
    await until(asked.is_set, "the resolver")
    await ticker.goes_on()
    await cancelled(task)
    answer.set()
    await until(lambda: not threads_named(f"gossip-{peer.name}-start"), "the end of the resolver")
    assert (peer.address, peer.state, threads_named(f"gossip-{peer.name}")) == ("", PeerState.JOINING, [])
    assert await peer.start() is peer
    await ticker.stop()


def threads_named(prefix: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)]


@in_a_loop
async def test_a_peer_closed_while_it_starts_does_not_start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(host: str) -> str:
        asked.set()
        answer.wait(PATIENCE_S)
        return "127.0.0.1"

    monkeypatch.setattr(gossip.participant, "resolve", slow)
    with pytest.warns(InsecureWarning):
        peer = stage.peer(bind="slow.invalid:0", insecure=True)
    task = asyncio.ensure_future(peer.start())
    await until(asked.is_set, "the resolver")
    await within_patience(peer.close())
    answer.set()
    with pytest.raises(PeerClosed):
        await within_patience(task)
    assert peer.address == ""


@in_a_loop
async def test_a_cancelled_close_goes_on_by_itself(stage: Stage) -> None:
    peer = await stage.started("to-close")
    gate = await Gate(peer).closed()
    task = asyncio.ensure_future(peer.close())
    await until(lambda: peer.state is PeerState.CLOSED, "closing")
    assert not task.done()
    await cancelled(task)
    gate.open()
    await until(lambda: not threads_named("gossip-to-close"), "the end of all threads")
    await within_patience(peer.close())


@in_a_loop
async def test_a_cancelled_wait_leaves_no_waiter(stage: Stage) -> None:
    peer = await stage.started(seeds=["127.0.0.1:1"])
    gate = await Gate(peer).closed()  # until it opens, nothing can come true
    tasks = [asyncio.ensure_future(peer.wait_for("nobody")), asyncio.ensure_future(peer.wait_synced())]
    await until(lambda: len(peer._waiters) == 2, "the waiters")
    for task in tasks:
        await cancelled(task)
    assert len(peer._waiters) == 0
    gate.open()


@in_a_loop
async def test_a_watch_whose_subscription_is_cancelled_is_none(stage: Stage) -> None:
    peer = await stage.started()
    gate = await Gate(peer).closed()

    async def subscribe() -> None:
        await peer.watch()

    task = asyncio.ensure_future(subscribe())
    await until(lambda: len(peer._bus.mailbox) == 1, "the letter")
    await cancelled(task)
    gate.open()
    await peer.register("barrier", port=1)
    assert peer._events._watches == ()


@in_a_loop
async def test_a_cancelled_get_takes_no_event(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    peer = await stage.started()
    watch = await peer.watch("orders")
    writer = asyncio.ensure_future(register_all(peer, range(1, 201)))
    seen: list[int] = []
    while len(seen) < 200:
        reader = asyncio.ensure_future(watch.get(PATIENCE_S))
        await asyncio.sleep(rng.choice((0, 0, 0.0002, 0.002)))
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            seen.append((await reader).after.port)
    await writer
    assert seen == list(range(1, 201))


async def register_all(peer: AsyncPeer, ports: range) -> None:
    for port in ports:
        await peer.register("orders", port=port)


# only with a loop: it goes on -----------------------------------------------------------------------------------------


@in_a_loop
async def test_the_loop_goes_on_while_the_bus_is_busy(stage: Stage) -> None:
    ticker = Ticker()
    peer = await stage.started()
    mine = await peer.register("orders", port=1)
    gate = await Gate(peer).closed()
    watch = peer.watch()
    calls: list[Coroutine[Any, Any, Any]] = [
        peer.register("orders", port=2),
        mine.update(weight=2),
        mine.renew(),
        peer.wait_for("orders", 2),
        watch.get(),
    ]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await ticker.goes_on()
    assert not any(task.done() for task in tasks)
    assert peer.lookup("orders") == (mine.instance,)
    gate.open()
    await within_patience(asyncio.gather(*tasks))
    await ticker.stop()


@in_a_loop
async def test_the_loop_goes_on_while_a_peer_closes_which_takes_no_longer_than_it_may(stage: Stage) -> None:
    ticker = Ticker()
    peer = await stage.started()
    gate = await Gate(peer).closed()  # a bus that does not end: the worst case
    closing = asyncio.ensure_future(peer.close())
    await ticker.goes_on()
    assert not closing.done()
    await within_patience(closing)  # the gate is still closed
    gate.open()
    await ticker.stop()


@in_a_loop
async def test_many_calls_at_once_need_no_thread(stage: Stage) -> None:
    peer = await stage.started()
    await peer.register("first", port=1)
    before = set(threading.enumerate())
    tasks = [asyncio.ensure_future(peer.register("orders", port=port)) for port in range(1, 201)]
    waiting = asyncio.ensure_future(peer.wait_for("orders", 200))
    after = set(threading.enumerate())
    handles = await within_patience(asyncio.gather(*tasks))
    assert len(await within_patience(waiting)) == 200
    assert after | set(threading.enumerate()) == before
    assert {handle.instance for handle in handles} == set(peer.lookup("orders"))


@in_a_loop
async def test_a_loop_that_does_not_look_is_called_no_more_than_once(stage: Stage) -> None:
    peer = await stage.started()
    mine = await peer.register("orders", port=1)
    watch = await peer.watch("orders")
    loop = asyncio.get_running_loop()
    watch._bell._loop = counted = Counted(loop)
    for number in range(1, 1001):
        peer._post(mine._updating(number % 100 + 1, None, None))
    until_blocking(lambda: watch._watch._queue.qsize() == 1000, "the events")
    watch._bell._loop = loop
    assert len(counted.calls) <= 1  # none, if the one that told of the subscription was still on its way
    assert [(await watch.get(PATIENCE_S)).after.weight for _ in range(1000)] == [n % 100 + 1 for n in range(1, 1001)]


class Counted:
    """A loop whose calls from other threads are counted."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.calls: list[object] = []

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        self.calls.append(callback)
        self._loop.call_soon_threadsafe(callback)


@in_a_loop
async def test_several_tasks_read_one_watch(stage: Stage) -> None:
    peer = await stage.started()
    watch = peer.watch("orders")
    readers = [asyncio.ensure_future(watch.get(PATIENCE_S)) for _ in range(10)]
    await register_all(peer, range(1, 11))
    events = await asyncio.gather(*readers)
    assert sorted(event.after.port for event in events) == list(range(1, 11))
    readers = [asyncio.ensure_future(watch.get()) for _ in range(3)]
    await asyncio.sleep(0)
    watch.close()
    assert [type(end) for end in await asyncio.gather(*readers, return_exceptions=True)] == [PeerClosed] * 3


@in_a_loop
async def test_a_watch_sees_what_follows_the_call_without_being_awaited(stage: Stage) -> None:
    peer = await stage.started()
    watch = peer.watch("orders")
    mine = await peer.register("orders", port=1)
    async for event in watch:
        assert event.after == mine.instance
        watch.close()


@in_a_loop
async def test_a_watch_that_the_bus_never_took_up_ends_with_it(stage: Stage) -> None:
    peer = await stage.started()
    gate = await Gate(peer).closed()
    watches = [peer.watch(), peer.watch()]
    reader = asyncio.ensure_future(watches[0].get())
    closing = asyncio.ensure_future(peer.close(leave=False))
    await until(lambda: peer.state is PeerState.CLOSED, "closing")
    gate.open()
    await within_patience(closing)
    with pytest.raises(PeerClosed):
        await within_patience(reader)
    assert [event async for event in watches[1]] == []


# only with a loop: loops end, and there are several ---------------------------------------------------------------------


def test_a_loop_that_ends_first_leaves_the_peer_running() -> None:
    stage = Stage(AsyncPeer)
    kept: list[object] = []

    async def leave_all_open() -> Gate:
        peer = await stage.started()
        watch = await peer.watch()
        gate = await Gate(peer).closed()
        calls = [peer.register("orders", port=1), peer.wait_for("nobody"), watch.get(), peer.watch().get()]
        kept.extend([watch, [asyncio.ensure_future(call) for call in calls]])
        await until(lambda: len(peer._bus.mailbox) == 2 and peer._waiters, "the calls")
        return gate

    loop = asyncio.new_event_loop()
    gate = loop.run_until_complete(leave_all_open())
    loop.set_exception_handler(lambda loop, context: None)  # the tasks below are destroyed while they wait, as is the point
    loop.close()
    (peer,) = stage.peers
    gate.open()
    until_blocking(lambda: peer.lookup("orders"), "the bus")
    assert peer.state is not PeerState.CLOSED

    async def go_on() -> None:
        await peer.register("payments", port=2)
        assert peer.services() == ("orders", "payments")
        await stage.clear()

    asyncio.run(go_on())
    assert peer.status().counters.get("faults", 0) == 0
    kept.clear()
    gc.collect()


def test_a_run_that_ends_with_a_peer_open_ends() -> None:
    stage = Stage(AsyncPeer)
    asyncio.run(stage.started())
    asyncio.run(stage.clear())
    assert stage.peers[0].state is PeerState.CLOSED


def test_peers_of_two_loops_find_each_other() -> None:
    stage = Stage(AsyncPeer)
    first_runs, found = threading.Event(), []

    async def one() -> None:
        async with stage.peer("one") as peer:
            first_runs.set()
            await peer.register("orders", port=1)
            found.append(await peer.wait_for("payments", timeout=PATIENCE_S))
            await peer.wait_for("seen", timeout=PATIENCE_S)

    async def two() -> None:
        async with stage.peer("two", seeds=[stage.peers[0].address]) as peer:
            await peer.register("payments", port=2)
            found.append(await peer.wait_for("orders", timeout=PATIENCE_S))
            await peer.register("seen", port=3)
            await until(lambda: stage.peers[0].state is PeerState.CLOSED, "the other one's end")

    thread = threading.Thread(target=lambda: asyncio.run(one()))
    thread.start()
    assert first_runs.wait(PATIENCE_S)
    asyncio.run(two())
    thread.join(PATIENCE_S)
    assert sorted(instance.service for instances in found for instance in instances) == ["orders", "payments"]


@in_a_loop
async def test_one_peer_serves_several_loops(stage: Stage) -> None:
    peer = await stage.started()

    def elsewhere(first: int) -> None:
        asyncio.run(register_all(peer, range(first, first + 50)))

    threads = [threading.Thread(target=elsewhere, args=(first,)) for first in (1, 51, 101)]
    for thread in threads:
        thread.start()
    await register_all(peer, range(151, 201))
    assert len(await peer.wait_for("orders", 200, timeout=PATIENCE_S)) == 200
    for thread in threads:
        thread.join(PATIENCE_S)


@in_a_loop
async def test_a_watch_belongs_to_the_loop_it_was_made_in(stage: Stage) -> None:
    peer = await stage.started()
    watch = await peer.watch("orders")
    errors: list[Exception] = []

    async def read() -> None:
        try:
            await watch.get(PATIENCE_S)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(read()))
    thread.start()
    await until(lambda: not thread.is_alive(), "the other loop")
    assert "another event loop" in str(errors[0])


def test_what_needs_a_loop_says_so_without_one() -> None:
    peer = AsyncPeer(bind="127.0.0.1:0", seeds=[])
    with pytest.raises(RuntimeError, match="no running event loop"):
        peer.watch()


@both
async def test_a_peer_of_the_environment_starts_as_one_of_arguments(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await stage.started("first")
    monkeypatch.setenv("GOSSIP_NAME", "second")
    monkeypatch.setenv("GOSSIP_BIND", "127.0.0.1:0")
    monkeypatch.setenv("GOSSIP_SEEDS", first.address)
    second = stage.kind.from_env(cluster=stage.cluster)
    stage.peers.append(second)
    assert await settled(second.start()) is second
    await until(lambda: len(first.members()) == len(second.members()) == 2, "the two to meet")
    assert {member.name for member in first.members()} == {"first", "second"}
