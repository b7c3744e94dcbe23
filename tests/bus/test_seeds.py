"""What a caller may write among the seeds, and what a file of seeds may hold."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossip import ConfigError, new_secret
from gossip.bus.addresses import Endpoint
from gossip.bus.seeds import FILE_BYTES_MAX, SEEDS_MAX, DnsSeed, FileSeed, HostSeed, Seed, parse_seeds


def addresses(seed: Seed) -> list[str]:
    return [endpoint.address for endpoint in seed.addresses()]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Name -> addresses; those that are not in it are unknown."""
    known: dict[str, list[str]] = {}

    def getaddrinfo(host: str, *_: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(0, 0, 0, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
def seed_file(tmp_path: Path) -> Callable[[str], FileSeed]:
    def write(text: str) -> FileSeed:
        path = tmp_path / "seeds"
        path.write_text(text, encoding="utf-8")
        (seed,) = parse_seeds([f"file:{path}"])
        assert isinstance(seed, FileSeed)
        return seed

    return write


# texts ------------------------------------------------------------------------------------------------------------------


def test_each_form_is_a_kind_of_seed() -> None:
    assert parse_seeds(["10.0.0.5:7400", "[::1]:7400", "a.internal:1", "dns:b.internal:2", "dns:[2001:db8::1]:3"]) == (
        HostSeed("10.0.0.5", 7400),
        HostSeed("::1", 7400),
        HostSeed("a.internal", 1),
        DnsSeed("b.internal", 2),
        DnsSeed("2001:db8::1", 3),
    )


def test_a_seed_that_is_written_twice_is_one() -> None:
    twice = ["127.0.0.1:1", "localhost:1", "[::ffff:127.0.0.1]:1", "dns:a:1", "dns:a:1", "file:x", "file:./x"]
    assert len(parse_seeds(twice)) == 3


def test_only_names_and_files_have_to_be_asked_for() -> None:
    seeds = parse_seeds(["10.0.0.5:7400", "[::1]:7400", "localhost:1", "a.internal:1", "dns:localhost:1", "file:x"])
    assert [seed.is_name for seed in seeds] == [False, False, False, True, True, True]


def test_the_path_of_a_file_is_relative_to_where_the_peer_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (seed,) = parse_seeds(["file:etc/seeds"])
    monkeypatch.chdir("/")
    assert seed.host == str(tmp_path / "etc/seeds")


@pytest.mark.parametrize(
    ("seeds", "why"),
    [
        ("10.0.0.5:7400", "one text, and its characters"),
        (7400, "is no list"),
        ([7400], "not a text"),
        (["10.0.0.5"], r"ends with one port.*Say '10\.0\.0\.5:7400'"),
        (["10.0.0.5:0"], "ends with one port"),
        (["10.0.0.5:1,2"], "ends with one port"),
        (["::1"], r"Say '\[::1\]:7400'"),
        (["::1:7400"], "in brackets"),
        (["[fe80::1%eth0]:7400"], "link-local"),
        (["0.0.0.0:7400"], "nobody can be reached"),
        (["[::]:7400"], "nobody can be reached"),
        (["dns:"], "no address or name"),
        (["dns:gossip"], "Say 'dns:gossip:7400'"),
        (["dns:file:x"], "not a number"),
        (["dns:0.0.0.0:1"], "nobody can be reached"),
        (["file:"], "names no file"),
        (["file:a\0b"], "names no file"),
        (["http://10.0.0.5:7400"], "several colons"),
    ],
)
def test_what_is_no_seed_is_refused_with_the_reason(seeds: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_seeds(seeds)


# names ------------------------------------------------------------------------------------------------------------------


def test_a_host_is_one_address_and_a_dns_seed_is_all(names: dict[str, list[str]]) -> None:
    names["many"] = ["2001:db8::1", "10.0.0.5", "10.0.0.6"]
    assert addresses(HostSeed("many", 7400)) == ["10.0.0.5:7400"]
    assert addresses(DnsSeed("many", 7400)) == ["10.0.0.5:7400", "10.0.0.6:7400", "[2001:db8::1]:7400"]


# files ------------------------------------------------------------------------------------------------------------------


def test_a_file_holds_a_seed_a_line_with_comments_and_blank_lines(
    names: dict[str, list[str]], seed_file: Callable[[str], FileSeed], caplog: pytest.LogCaptureFixture
) -> None:
    names["many"] = ["10.0.0.7", "10.0.0.8"]
    seed = seed_file("\ufeff# peers\n\n  127.0.0.1:1  # mine\r\n[::1]:2\ndns:many:3\nmany:4\n\t\n127.0.0.1:1")
    assert addresses(seed) == ["127.0.0.1:1", "[::1]:2", "10.0.0.7:3", "10.0.0.8:3", "10.0.0.7:4"]
    assert caplog.messages == []


def test_a_file_is_read_again_at_every_question(seed_file: Callable[[str], FileSeed]) -> None:
    seed = seed_file("127.0.0.1:1")
    assert addresses(seed) == ["127.0.0.1:1"]
    Path(seed.path).write_text("127.0.0.1:2")
    assert addresses(seed) == ["127.0.0.1:2"]
    Path(seed.path).write_text("# nobody for now")
    assert addresses(seed) == []


def test_a_file_that_is_not_there_or_is_none_is_not_known_yet(tmp_path: Path) -> None:
    for seed in parse_seeds([f"file:{tmp_path}/later", f"file:{tmp_path}"]):
        with pytest.raises((FileNotFoundError, IsADirectoryError)):
            addresses(seed)


def test_an_unknown_name_in_a_file_keeps_nothing_else_back(
    names: dict[str, list[str]], seed_file: Callable[[str], FileSeed]
) -> None:
    names["known"] = ["10.0.0.5"]
    found: list[Endpoint] = []
    with pytest.raises(OSError, match="no such name"):  # noqa: PT012 - what came before the error is what counts
        for endpoint in seed_file("unknown:1\ndns:known:2\n127.0.0.1:3").addresses():
            found.append(endpoint)
    assert found == [Endpoint("127.0.0.1", 3), Endpoint("10.0.0.5", 2)]  # names may take their time


BAD = "127.0.0.1:1\n127.0.0.1\nfile:/etc/hosts\n[fe80::1%eth0]:1\nno such:thing\n::1:7400\n127.0.0.1:2"


def test_bad_lines_are_ignored_and_told_once(seed_file: Callable[[str], FileSeed], caplog: pytest.LogCaptureFixture) -> None:
    seed = seed_file(BAD)
    for _ in range(3):
        assert addresses(seed) == ["127.0.0.1:1", "127.0.0.1:2"]
    (told,) = caplog.records
    assert (told.name, told.levelno) == ("gossip", logging.WARNING)
    assert told.getMessage().startswith(f"! seeds in {seed.path}: line 2, of 9 characters, is neither")
    assert "line 3, of 15 characters" in told.getMessage()
    assert told.getMessage().endswith("; and 2 more")


def test_what_a_bad_line_says_is_not_told_for_it_may_be_a_secret(
    seed_file: Callable[[str], FileSeed], caplog: pytest.LogCaptureFixture
) -> None:
    secret = new_secret()
    addresses(seed_file(f"{secret}\n"))
    (told,) = caplog.records
    assert "line 1, of 43 characters" in told.getMessage()
    assert secret[:8] not in told.getMessage()


def test_other_bad_lines_are_told_again(seed_file: Callable[[str], FileSeed], caplog: pytest.LogCaptureFixture) -> None:
    seed = seed_file(BAD)
    addresses(seed)
    Path(seed.path).write_text("nonsense")
    addresses(seed)
    assert len(caplog.records) == 2
    assert "line 1, of 8 characters" in caplog.messages[1]


def test_what_is_no_text_is_a_bad_line(seed_file: Callable[[str], FileSeed], caplog: pytest.LogCaptureFixture) -> None:
    seed = seed_file("")
    Path(seed.path).write_bytes(b"\x00\xff\xfe\x80\n127.0.0.1:1\n")
    assert addresses(seed) == ["127.0.0.1:1"]
    assert len(caplog.records) == 1


def test_a_file_has_a_bound_and_no_line_is_cut(seed_file: Callable[[str], FileSeed], caplog: pytest.LogCaptureFixture) -> None:
    line = "127.0.0.1:65000\n"
    padding = "#" * (FILE_BYTES_MAX - len(line) - len("127.0.0.1:65") - 1) + "\n"
    assert addresses(seed_file(line + padding + line)) == ["127.0.0.1:65000"]  # not 127.0.0.1:65 as well
    assert f"longer than {FILE_BYTES_MAX} bytes" in caplog.text


def test_seeds_beyond_the_bound_are_ignored_and_told(
    seed_file: Callable[[str], FileSeed], caplog: pytest.LogCaptureFixture
) -> None:
    seed = seed_file("".join(f"127.0.0.1:{port}\n" for port in range(1, SEEDS_MAX + 10)))
    assert len(addresses(seed)) == SEEDS_MAX
    assert f"more than {SEEDS_MAX} seeds, those from line {SEEDS_MAX + 1} on" in caplog.text


def test_a_device_without_end_is_read_no_further_than_the_bound() -> None:
    if not os.path.exists("/dev/zero"):
        pytest.skip("no /dev/zero here")
    assert addresses(FileSeed("/dev/zero")) == []
