"""The file of `snapshot=`: when it is written, what a restart makes of it, and that no disk and no file can do harm."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import gossip.snapshot
from gossip import AsyncPeer, Config, ConfigError, EventKind, Instance, Peer, PeerClosed
from gossip.core.codec import Codec
from gossip.core.saved import Saved, decode

ROOT = Path(__file__).parents[1]
PATIENCE_S = 15.0
POSIX = os.name == "posix"
AS_ROOT = sys.platform == "linux" and os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="mounts a file system of its own: needs root on Linux")

HASTY = Config(joining=replace(Config().joining, synced_deadline_s=0.2))

Open = Callable[..., Peer]


def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE_S:g} s"
        time.sleep(0.005)
    return value


@pytest.fixture
def cluster() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def open_peer(cluster: str) -> Iterator[Open]:
    """Starts peers of this test's own cluster, and ends them."""
    with ExitStack() as stack:

        def start(name: str = "a", *others: Peer, **options: Any) -> Peer:
            peer = Peer(name, **{"cluster": cluster, "bind": "127.0.0.1:0", "seeds": [o.address for o in others], **options})
            stack.callback(peer.close, leave=False)
            peer.start()
            until(peer.members, "the peer itself among its members")  # its thread has begun
            return peer

        yield start


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are written as soon as anything changed."""
    monkeypatch.setattr(gossip.snapshot, "WRITE_INTERVAL_S", 0.01)


def read(path: Path, cluster: str) -> Saved:
    return decode(path.read_bytes(), Codec(cluster), Config().limits)


def notices(peer: Peer) -> list[str]:
    return [event.reason for event in tuple(peer._events._history) if event.kind is EventKind.NOTICE]


def told(peer: Peer, *words: str) -> str:
    """The NOTICE that says all of this, once it came."""
    return until(lambda: next((n for n in notices(peer) if all(word in n for word in words)), ""), f"a NOTICE of {words}")


def states(peer: Peer, service: str = "orders") -> list[tuple[int, str]]:
    return [(instance.port, str(instance.state)) for instance in peer.lookup(service)]


def die(*peers: Peer) -> None:
    """End them as a crash does; a disk may take longer over the last write than `close` waits for it."""
    for peer in peers:
        peer.close(leave=False)
        assert peer._keeper is None or peer._keeper.join(PATIENCE_S)


@pytest.fixture
def orphan(open_peer: Open, tmp_path: Path) -> Path:
    """The snapshot of one that knew another, which had two instances of orders; both have ended."""
    path = tmp_path / "snapshot"
    peer = open_peer("a", snapshot=path)
    other = open_peer("b", peer)
    other.register("orders", port=1, routes=["/orders"])
    other.register("orders", port=2, weight=3, labels={"v": "2"})
    peer.wait_for("orders", 2, PATIENCE_S)
    die(peer, other)
    return path


# a restart ------------------------------------------------------------------------------------------------------------


def test_a_cold_start_serves_all_reads_from_what_was_saved_and_says_so(open_peer: Open, orphan: Path) -> None:
    peer = open_peer("a", snapshot=orphan, config=HASTY)
    assert states(peer) == [(1, "STALE"), (2, "STALE")]
    assert peer.pick("orders", labels={"v": "2"}).port == 2
    assert peer.route("/orders/42").port == 1
    assert peer.locate("orders", "key").service == "orders"
    assert len(peer.preference_list("orders", "key", 2)) == 2
    assert (peer.status().isolated, peer.state) == (True, "isolated")
    assert [member.id for member in peer.members()] == [peer.id]  # of others the addresses alone are remembered
    until(lambda: peer.status().synced)
    assert len(peer.lookup("orders")) == 2  # nobody knows better yet
    assert peer.status().isolated


def test_a_restart_is_the_same_member_in_a_later_life(open_peer: Open, orphan: Path, cluster: str) -> None:
    me = read(orphan, cluster).me
    peer = open_peer("a", snapshot=orphan)
    assert peer.id == me.id
    (member,) = peer.members()
    assert member.incarnation[0] > me.incarnation[0]


def test_a_clock_that_went_back_is_no_matter(
    open_peer: Open, orphan: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, now = read(orphan, cluster).me, time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() - 10 * 365 * 86400 * 10**9)
    (member,) = open_peer("a", snapshot=orphan).members()
    assert member.incarnation[0] == me.incarnation[0] + 1


def test_another_name_is_another_member_and_a_given_id_counts(open_peer: Open, orphan: Path, cluster: str) -> None:
    was = read(orphan, cluster).me.id
    renamed = open_peer("c", snapshot=orphan)
    assert renamed.id.startswith("c-")
    assert len(renamed.lookup("orders")) == 2
    die(renamed)
    assert open_peer("a", id="fixed", snapshot=orphan).id == "fixed" != was


def test_nothing_flickers_between_what_was_saved_and_what_is_known(open_peer: Open, tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    other = open_peer("b")
    kept, withdrawn = other.register("orders", port=1), other.register("orders", port=2)
    peer = open_peer("a", other, snapshot=path)
    peer.wait_for("orders", 2, PATIENCE_S)
    die(peer)
    withdrawn.deregister()
    again = open_peer("a", other, snapshot=path)
    seen = [states(again)]
    watch = again.watch(since=0)
    while seen[-1] != [(1, "UP")]:
        if (now := states(again)) != seen[-1]:
            seen.append(now)
    assert all((1, "STALE") in view or (1, "UP") in view for view in seen)
    again.wait_synced(PATIENCE_S)
    assert states(again) == [(1, "UP")]
    until(lambda: watch.get(PATIENCE_S).kind is EventKind.RESYNC)
    assert states(again) == [(1, "UP")]
    kept.deregister()
    until(lambda: not again.lookup("orders"))


def test_what_was_registered_here_before_is_not_served(open_peer: Open, tmp_path: Path, cluster: str) -> None:
    path = tmp_path / "snapshot"
    peer, other = open_peer("a", snapshot=path), open_peer("b")
    peer.register("mine", port=1)
    die(peer)
    assert not read(path, cluster).others
    again = open_peer("a", snapshot=path)
    assert again.lookup("mine") == ()
    until(lambda: again.status().synced)
    assert not again.status().isolated  # it knew nobody
    die(other)


def test_a_view_that_nobody_confirms_is_given_up_and_the_addresses_are_kept(
    open_peer: Open, orphan: Path, cluster: str, quick: None
) -> None:
    config = Config(detection=replace(Config().detection, isolated_hold_s=0.2))
    peer = open_peer("a", snapshot=orphan, config=config)
    until(lambda: not peer.lookup("orders"))
    assert any(event.kind is EventKind.RESYNC for event in peer.why(peer.id))
    until(lambda: not any(known.instances for known in read(orphan, cluster).others))
    assert [known.header.name for known in read(orphan, cluster).others] == ["b"]


def test_a_second_restart_before_anybody_answered_remembers_as_much(
    open_peer: Open, orphan: Path, cluster: str, quick: None
) -> None:
    before = read(orphan, cluster)
    peer = open_peer("a", snapshot=orphan)
    until(lambda: read(orphan, cluster).me.incarnation > before.me.incarnation)
    die(peer)
    assert states(open_peer("a", snapshot=orphan)) == [(1, "STALE"), (2, "STALE")]


def test_an_async_peer_remembers_as_well(orphan: Path, cluster: str) -> None:
    async def run() -> list[str]:
        async with AsyncPeer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=orphan) as peer:
            return [str(instance.state) for instance in peer.lookup("orders")]

    assert asyncio.run(run()) == ["STALE", "STALE"]


def test_a_cancelled_start_of_an_async_peer_can_be_made_up_for(
    orphan: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on, acquire = threading.Event(), threading.Event(), gossip.snapshot.Store.acquire

    def slowly(store: Any) -> Any:
        reading.set()
        assert go_on.wait(PATIENCE_S)
        return acquire(store)

    async def run() -> None:
        peer = AsyncPeer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=orphan)
        with monkeypatch.context() as patch:
            patch.setattr(gossip.snapshot.Store, "acquire", slowly)
            starting = asyncio.create_task(peer.start())
            while not reading.is_set():  # the loop goes on while the file is read
                await asyncio.sleep(0.001)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            go_on.set()
        await peer.start()
        assert len(peer.lookup("orders")) == 2
        await peer.close()

    asyncio.run(run())


# writing --------------------------------------------------------------------------------------------------------------


def test_the_file_is_written_while_the_peer_runs_for_its_owner_alone(
    open_peer: Open, tmp_path: Path, cluster: str, quick: None
) -> None:
    path = tmp_path / "snapshot"
    umask = os.umask(0)
    try:
        peer = open_peer("a", snapshot=str(path))
        other = open_peer("b", peer)
        instance = other.register("orders", port=1)
        until(lambda: path.exists() and [i.port for known in read(path, cluster).others for i in known.instances] == [1])
        instance.deregister()
        until(lambda: not any(known.instances for known in read(path, cluster).others))
    finally:
        os.umask(umask)
    if POSIX:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    until(lambda: peer.status().counters["snapshots_written"] >= 2)  # counted a moment after it is there
    die(peer)
    assert sorted(os.listdir(tmp_path)) == ["snapshot", "snapshot.lock"]


def test_what_did_not_change_is_not_written_again(open_peer: Open, tmp_path: Path, quick: None) -> None:
    path = tmp_path / "snapshot"
    peer = open_peer("a", snapshot=path)
    until(lambda: peer.status().synced)  # nothing more happens to it
    turns, turn = [], gossip.snapshot.Keeper._turn

    def counted(keeper: Any) -> float:
        turns.append(keeper.counters.get("snapshots_written", 0))
        return turn(keeper)

    peer._keeper._turn = counted.__get__(peer._keeper)  # type: ignore[union-attr, method-assign]
    until(lambda: len(turns) > 7)
    die(peer)
    written = {*turns[2:], peer._keeper.counters["snapshots_written"]}  # type: ignore[union-attr]
    assert len(written) == 1, "what was so at the beginning was written by then"
    assert path.exists()


def test_a_relative_path_is_one_of_the_folder_it_was_named_in(
    open_peer: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    peer = open_peer("a", snapshot="snapshot")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    die(peer)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "snapshot", "snapshot.lock"]


def test_one_thread_writes_and_none_without_a_snapshot(open_peer: Open, tmp_path: Path) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.endswith("-snapshot")]

    open_peer("without")
    assert threads() == []
    peer = open_peer("with", snapshot=tmp_path / "snapshot")
    assert threads() == ["gossip-with-snapshot"]
    die(peer)
    until(lambda: threads() == [])


def test_no_secret_is_in_the_file_and_an_open_one_is_none_of_a_secret_cluster(open_peer: Open, orphan: Path) -> None:
    secret = "for no cluster but that of this test"
    peer = open_peer("a", snapshot=orphan, secret=secret)
    assert peer.lookup("orders") == ()
    assert "with a secret or without" in told(peer, "refused")
    die(peer)
    assert secret.encode() not in orphan.read_bytes()


@pytest.mark.skipif(find_spec("nacl") is None, reason="needs PyNaCl, of the extra sign")
def test_a_signing_peer_signs_its_file_and_serves_nothing_of_one_that_it_did_not_sign(
    open_peer: Open, orphan: Path, cluster: str, quick: None
) -> None:
    keys: list[dict[str, Any]] = [{"signing_key": bytes([number]) * 32} for number in (1, 2)]
    peer = open_peer("a", snapshot=orphan, **keys[0])
    assert peer.lookup("orders") == ()
    told(peer, "only the addresses are used")
    assert peer.status().isolated  # whom it knows it looks for
    other = open_peer("b", peer, **keys[1])
    other.register("orders", port=3)
    peer.wait_for("orders", 1, PATIENCE_S)
    until(lambda: any(known.instances for known in read(orphan, cluster).others))
    was = peer.id
    die(peer, other)
    again = open_peer("a", snapshot=orphan, **keys[0])
    assert again.id == was
    assert states(again) == [(3, "STALE")]
    die(again)
    stranger = open_peer("a", snapshot=orphan, **keys[1])
    assert stranger.id != was
    assert stranger.lookup("orders") == ()


def test_what_finds_no_room_is_cut_to_its_address_and_told(open_peer: Open, tmp_path: Path, cluster: str, quick: None) -> None:
    path = tmp_path / "snapshot"
    config = Config(limits=replace(Config().limits, snapshot_bytes_max=1_000))
    peer = open_peer("a", snapshot=path, config=config)
    other = open_peer("b", peer)
    for port in range(1, 60):
        other.register("orders", port=port)
    assert "snapshot_bytes_max" in told(peer, "has no room")
    assert peer.status().counters["snapshot_members_cut"] >= 1
    die(peer)
    assert path.stat().st_size <= 1_000
    assert [(known.header.name, known.instances) for known in read(path, cluster).others] == [("b", ())]


# what is no path ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("", "names no file"),
        (b"/tmp/x", "names no file"),
        (7, "names no file"),
        ("a\0b", "names no file"),
        ("{}/none/snapshot", "no folder"),
        ("{}", "no plain file"),
        ("{}/link", "no plain file"),
    ],
)
def test_what_is_no_path_is_an_error_before_anything_was_started(tmp_path: Path, wrong: Any, why: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    given = wrong.format(tmp_path) if isinstance(wrong, str) else wrong
    with pytest.raises(ConfigError, match=rf"^snapshot=.*{why}.*Nothing was started"):
        Peer("a", snapshot=given)
    assert os.listdir(tmp_path) == ["link"]


def test_a_path_of_the_environment_is_named_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSSIP_SNAPSHOT", str(tmp_path / "none" / "snapshot"))
    with pytest.raises(ConfigError, match="GOSSIP_SNAPSHOT"):
        Peer.from_env()
    monkeypatch.setenv("GOSSIP_SNAPSHOT", str(tmp_path / "snapshot"))
    with Peer.from_env(cluster="alone", bind="127.0.0.1:0", seeds=[]):
        pass
    assert (tmp_path / "snapshot").exists()


# two of one file ------------------------------------------------------------------------------------------------------


def test_of_two_peers_with_one_file_the_second_goes_without_until_the_first_has_ended(
    open_peer: Open, tmp_path: Path, cluster: str, quick: None
) -> None:
    path = tmp_path / "snapshot"
    first = open_peer("a", snapshot=path)
    until(path.exists)
    second = open_peer("a", first, snapshot=path)
    assert second.id != first.id
    assert "another peer writes it" in told(second, str(path))
    assert read(path, cluster).me.id == first.id
    die(first)
    until(lambda: read(path, cluster).me.id == second.id)
    told(second, "is written now")


def test_a_start_that_fails_gives_the_file_back(open_peer: Open, orphan: Path) -> None:
    taken = open_peer("taken")
    with pytest.raises(ConfigError):
        open_peer("a", snapshot=orphan, bind=taken.address)
    assert len(open_peer("a", snapshot=orphan).lookup("orders")) == 2


def test_a_peer_that_was_closed_before_it_started_holds_nothing(open_peer: Open, orphan: Path, cluster: str) -> None:
    peer = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=orphan)
    peer.close()
    with pytest.raises(PeerClosed):
        peer.start()
    assert len(open_peer("a", snapshot=orphan).lookup("orders")) == 2


def test_a_close_while_the_file_is_read_gives_it_back(
    open_peer: Open, orphan: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, acquire = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=orphan), gossip.snapshot.Store.acquire

    def closed_meanwhile(store: Any) -> Any:
        peer.close()
        return acquire(store)

    with monkeypatch.context() as patch:
        patch.setattr(gossip.snapshot.Store, "acquire", closed_meanwhile)
        with pytest.raises(PeerClosed):
            peer.start()
    assert len(open_peer("a", snapshot=orphan).lookup("orders")) == 2


@pytest.mark.parametrize(
    ("of", "place"),
    [
        ("gossip.snapshot.Keeper", "__init__"),
        ("gossip.snapshot.Keeper", "start"),
        ("gossip.bus.native", "thread"),
        ("gossip.bus.forks", "remember"),
        ("gossip.bus.thread.BusThread", "start"),
        ("gossip.participant.Participant", "_recall"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_start_that_is_interrupted_leaves_nothing_that_runs_and_gives_the_file_back(
    open_peer: Open, orphan: Path, cluster: str, monkeypatch: pytest.MonkeyPatch, of: str, place: str, when: str
) -> None:
    """As by a signal handler that raises, wherever the start is by then."""
    peer, whole = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=orphan), attribute(f"{of}.{place}")

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if when == "after":
            whole(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"{of}.{place}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            peer.start()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("gossip-a")], "an end of all threads")
    assert peer._bus is None or peer.state == "closed"
    assert len(open_peer("a", snapshot=orphan).lookup("orders")) == 2


def attribute(path: str) -> Any:
    """What this dotted name means."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module) if module in sys.modules else attribute(module), name)


def test_a_reading_that_is_interrupted_gives_the_file_back(
    orphan: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    with Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=orphan, config=HASTY) as peer:
        until(lambda: peer.status().counters.get("snapshots_written"))
    again = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=orphan)
    with monkeypatch.context() as patch:
        patch.setattr(gossip.snapshot, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            again.start()
    with again:
        assert again.id == peer.id, "who has the lock has the memory"


# row 23 of the faults: whatever the disk does --------------------------------------------------------------------------

ASKED = "starts without it, with an event; the old file intact"

Record = Callable[..., None]


def future(content: bytes) -> bytes:
    return content[:8] + (999).to_bytes(2, "big") + content[10:]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: content[: len(content) // 2], "cut off or changed"),
        (lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:], "cut off or changed"),
        (lambda content: b"", "no snapshot"),
        (lambda content: os.urandom(5_000), "no snapshot"),
        (future, "version 999"),
    ],
    ids=["torn", "corrupt", "empty", "garbage", "of-a-future-version"],
)
def test_what_cannot_be_read_is_told_kept_aside_and_begun_anew(
    open_peer: Open, orphan: Path, cluster: str, quick: None, record: Record, spoil: Callable[[bytes], bytes], why: str
) -> None:
    spoilt = spoil(orphan.read_bytes())
    orphan.write_bytes(spoilt)
    peer = open_peer("a", snapshot=orphan)
    assert peer.lookup("orders") == ()
    assert not peer.status().isolated
    told(peer, why, "is not used")
    aside = orphan.with_name("snapshot.refused")
    assert aside.read_bytes() == spoilt
    until(lambda: orphan.exists() and read(orphan, cluster).me.id == peer.id)
    assert aside.read_bytes() == spoilt
    record(23, "Z", what=f"a snapshot that is refused: {why}", asked=ASKED, measured="so; moved to .refused", held=True)


def test_a_file_larger_than_the_bound_is_refused_unread(open_peer: Open, orphan: Path) -> None:
    with orphan.open("r+b") as file:
        file.truncate(2_000_000)  # a hole
    peer = open_peer("a", snapshot=orphan, config=Config(limits=replace(Config().limits, snapshot_bytes_max=1 << 20)))
    told(peer, "larger than 1048576 bytes", "snapshot_bytes_max")
    assert orphan.with_name("snapshot.refused").stat().st_size == 2_000_000


@pytest.mark.skipif(not POSIX, reason="modes of POSIX")
def test_a_file_that_others_may_write_is_refused(open_peer: Open, orphan: Path) -> None:
    orphan.chmod(0o620)
    peer = open_peer("a", snapshot=orphan)
    told(peer, "others may write it (mode 0620")
    assert peer.lookup("orders") == ()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Mounts a small file system at `tmp_path/disk`, or changes its options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options: str) -> None:
        done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")

    mount("-t", "tmpfs", "-o", "size=128k", "tmpfs")
    yield mount
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@needs_root
def test_a_full_disk_costs_nothing_but_the_memory_and_is_used_again_when_there_is_room(
    open_peer: Open,
    tmp_path: Path,
    cluster: str,
    quick: None,
    mounted: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    record: Record,
) -> None:
    monkeypatch.setattr(gossip.snapshot, "RETRY_MAX_S", 0.05)
    path, filler = tmp_path / "disk" / "snapshot", tmp_path / "disk" / "filler"
    peer = open_peer("a", snapshot=path)
    until(path.exists)
    before = path.read_bytes()
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(1024)):
            pass
    other = open_peer("b", peer)
    other.register("orders", port=1)
    told(peer, "cannot be written: No space left on device", "snapshots_failed")
    assert peer.wait_for("orders", 1, PATIENCE_S)
    assert path.read_bytes() == before
    assert not path.with_name("snapshot.tmp").exists()
    assert len([notice for notice in notices(peer) if "cannot be written" in notice]) == 1
    filler.unlink()
    told(peer, "is written now")
    assert [known.header.name for known in read(path, cluster).others] == ["b"]
    measured = "goes on, with one event; the old file intact, written again when there is room"
    record(23, "Z", what="the disk is full", asked=ASKED, measured=measured, held=True)


@needs_root
def test_a_disk_that_may_only_be_read_is_left_alone_and_used_when_it_may_be_written(
    open_peer: Open,
    orphan: Path,
    cluster: str,
    quick: None,
    mounted: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    record: Record,
) -> None:
    monkeypatch.setattr(gossip.snapshot, "RETRY_MAX_S", 0.05)
    path = orphan.parent / "disk" / "snapshot"
    path.write_bytes(orphan.read_bytes())
    path.chmod(0o600)
    mounted("-o", "remount,ro")
    peer = open_peer("a", snapshot=path)
    assert peer.lookup("orders") == ()
    told(peer, "is not used", "It is tried again")
    assert path.read_bytes() == orphan.read_bytes()
    assert os.listdir(path.parent) == ["snapshot"]
    mounted("-o", "remount,rw")
    told(peer, "is written now")
    assert read(path, cluster).me.id == peer.id
    assert [known.header.name for known in read(path, cluster).others] == ["b"]  # more than is known here
    other = open_peer("c", peer)
    until(lambda: {known.id for known in read(path, cluster).others} == {other.id})
    record(23, "Z", what="the disk is read-only", asked=ASKED, measured="so; used when it may be written", held=True)


@pytest.mark.skipif(not POSIX, reason="modes of POSIX")
def test_a_file_that_may_only_be_read_is_left_alone(
    open_peer: Open, orphan: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    before = orphan.read_bytes()
    if os.geteuid() == 0:  # who may do anything: told as the system tells others
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    else:
        orphan.chmod(0o400)
    peer = open_peer("a", snapshot=orphan)
    assert peer.lookup("orders") == ()
    told(peer, "is not used: it may not be written")
    die(peer)
    assert orphan.read_bytes() == before


def test_a_disk_that_fails_at_any_step_leaves_the_last_file_and_no_litter(
    open_peer: Open, orphan: Path, cluster: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip.snapshot, "RETRY_MAX_S", 0.02)
    peer = open_peer("a", snapshot=orphan)
    until(lambda: peer.status().counters.get("snapshots_written"))
    for step in ("fsync", "replace"):
        before = orphan.read_bytes()

        def broken(*_: object, step: str = step, **__: object) -> None:
            raise OSError(errno.EIO, f"broken {step}")

        with monkeypatch.context() as patch:
            patch.setattr(os, step, broken)
            other = open_peer(step, peer)
            told(peer, "cannot be written", f"broken {step}")
            assert orphan.read_bytes() == before
            until(lambda: not orphan.with_name("snapshot.tmp").exists())
        until(lambda other=other: other.id in {known.id for known in read(orphan, cluster).others})


def test_a_disk_that_hangs_holds_up_neither_calls_nor_close(
    open_peer: Open, orphan: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    before, hanging, go_on = orphan.read_bytes(), threading.Event(), threading.Event()

    def hang(descriptor: int) -> None:
        hanging.set()
        go_on.wait(2 * PATIENCE_S)

    monkeypatch.setattr(os, "fsync", hang)
    peer = open_peer("a", snapshot=orphan)
    assert hanging.wait(PATIENCE_S)
    mine = peer.register("mine", port=1)
    assert peer.lookup("mine")
    mine.deregister()
    peer.close()
    assert not go_on.is_set()
    assert orphan.read_bytes() == before
    second = open_peer("a", snapshot=orphan)  # whose file is still with the first
    told(second, "another peer writes it")
    go_on.set()
    until(lambda: orphan.read_bytes() != before)


PROGRAM = """
import os, sys, threading, time
from gossip import Peer
import gossip.snapshot
gossip.snapshot.WRITE_INTERVAL_S = 0.01
path, cluster = sys.argv[1:3]
def until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
"""


def succeeds(program: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", PROGRAM + textwrap.dedent(program), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", ""), done.stderr


@pytest.mark.parametrize("closed", [True, False])
def test_a_disk_that_hangs_for_ever_keeps_no_process_from_ending(tmp_path: Path, cluster: str, closed: bool) -> None:
    succeeds(
        f"""
        hanging = threading.Event()
        def hang(descriptor):
            hanging.set()
            time.sleep(1e6)
        os.fsync = hang
        peer = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=path).start()
        assert hanging.wait(15)
        if {closed}:
            peer.close()
        print("end")
        """,
        tmp_path / "snapshot",
        cluster,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("fork", ["raise", "restart"])
def test_a_forked_child_has_neither_the_file_nor_its_lock(orphan: Path, cluster: str, fork: str) -> None:
    succeeds(
        f"""
        peer = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=path, fork={fork!r}).start()
        until(lambda: peer.status().counters.get("snapshots_written"))
        go_in, go_out = os.pipe()
        child = os.fork()
        if not child:
            code = 1
            try:
                if {fork!r} == "restart":
                    assert len(peer.lookup("orders")) == 2
                    until(lambda: peer.status().members == 2)  # itself and the parent, whom it found
                    assert not [t for t in threading.enumerate() if t.name.endswith("-snapshot")]
                    assert "snapshots_written" not in peer.status().counters
                os.write(go_out, b"x")
                time.sleep(1)  # outlives the parent's peer: were the lock here, nobody could have it
                code = 0
            finally:
                os._exit(code)
        os.read(go_in, 1)
        was = peer.id
        peer.close(leave=False)
        again = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=path)
        with again:
            assert again.id == was  # who has the lock, and so the memory
        assert os.waitpid(child, 0)[1] == 0
        print("end")
        """,
        orphan,
        cluster,
    )


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd") or not hasattr(os, "fork"), reason="needs fork, and reads /proc")
@pytest.mark.parametrize("place", ["opened", "read"])
def test_a_child_that_is_forked_while_the_file_is_locked_does_not_have_the_lock(
    orphan: Path, cluster: str, place: str
) -> None:
    succeeds(
        f"""
        from gossip import snapshot
        of, name, at = {{"opened": (os, "open", ".lock"), "read": (snapshot.Store, "_read", "")}}[{place!r}]
        whole, reached, forked = getattr(of, name), threading.Event(), threading.Event()
        def held(*arguments):
            found = whole(*arguments)
            if at in str(arguments[0]):
                reached.set()
                forked.wait(0.5)  # a fork may have to wait for us
            return found
        setattr(of, name, held)
        peer = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=path)
        starting = threading.Thread(target=peer.start)
        starting.start()
        reached.wait(10)
        alive_in, alive_out = os.pipe()
        told_in, told_out = os.pipe()
        child = os.fork()
        if not child:
            os.close(alive_out)
            names = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    names.append(os.readlink("/proc/self/fd/" + fd))
                except OSError:
                    pass
            os.write(told_out, b"yes" if any(n.endswith(".lock") for n in names) else b"no")
            os.read(alive_in, 1)
            os._exit(0)
        forked.set()
        assert os.read(told_in, 3) == b"no"
        starting.join(10)
        was = peer.id
        peer.close(leave=False)
        with Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=path) as again:
            assert again.id == was  # who has the lock, and so the memory, while the child lives
        os.close(alive_out)
        assert os.waitpid(child, 0)[1] == 0
        print("end")
        """,
        orphan,
        cluster,
    )


@pytest.mark.skipif(find_spec("gevent") is None, reason="needs gevent, of the extra hosts")
def test_under_gevent_the_file_is_written_by_a_native_thread_and_close_lets_others_run(orphan: Path, cluster: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
                from gevent import monkey
                monkey.patch_all()
                import os, sys, gevent
                from gossip import Peer
                path, cluster = sys.argv[1:3]
                ran = []
                def other():
                    while True:
                        ran.append(1)
                        gevent.sleep(0.001)
                gevent.spawn(other)
                peer = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], snapshot=path).start()
                assert [str(i.state) for i in peer.lookup("orders")] == ["STALE", "STALE"]
                before = os.stat(path).st_ino
                peer.close()
                assert os.stat(path).st_ino != before
                assert ran
                print("end")
                """
            ),
            str(orphan),
            cluster,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_an_instance_that_was_remembered_is_not_passed_on(open_peer: Open, orphan: Path) -> None:
    peer = open_peer("a", snapshot=orphan, config=HASTY)
    other = open_peer("c", peer, config=HASTY)
    until(lambda: other.status().synced and len(other.members()) == 2)
    found: tuple[Instance, ...] = other.lookup("orders")
    assert found == ()
    until(lambda: not peer.lookup("orders"))  # and as the other told all it holds, it is known to be gone
