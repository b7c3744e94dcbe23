"""Each story under `transcripts/` still goes as it is told: the real core, replayed and compared line by line.

After a change of the protocol: `pytest tests/test_transcripts.py --rewrite`, then review the diff.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from .transcripts.driver import replay

STORIES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
PROTOCOL = Path(__file__).parents[1] / "docs" / "protocol.md"
LINES_MAX = 120


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.stem)
def test_the_story_goes_as_it_is_told(story: Path, pytestconfig: pytest.Config) -> None:
    told = story.read_text(encoding="utf-8")
    now = replay(told)
    if pytestconfig.getoption("--rewrite"):
        story.write_text(now, encoding="utf-8")
        return
    difference = "\n".join(difflib.unified_diff(told.splitlines(), now.splitlines(), "as told", "as it goes now", lineterm=""))
    assert not difference, f"{story.name} (if that is meant, run again with --rewrite):\n{difference}"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.stem)
def test_a_story_is_short_enough_to_be_read(story: Path) -> None:
    assert len(story.read_text(encoding="utf-8").splitlines()) < LINES_MAX


def test_the_protocol_names_every_story() -> None:
    assert STORIES
    protocol = PROTOCOL.read_text(encoding="utf-8")
    assert [story.name for story in STORIES if story.name not in protocol] == []


def test_what_a_peer_does_is_told_even_where_only_prose_stood() -> None:
    assert replay("# A story\n\n> start a\n") == (
        "# A story\n\n> start a\n"
        "    0.000  a: listen to @a *\n"
        "           a: MEMBER_JOINED: a joined from a:7400\n"
        "           a: notice: a is synced\n"
    )


def test_an_unknown_command_is_an_error() -> None:
    with pytest.raises(KeyError, match="strat"):
        replay("> strat a\n")
