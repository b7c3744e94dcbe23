"""What a peer answers to `Recall`: so many a second, and one connection once; what an observer asks is in test_observer.py."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.effects import Answer, Asked, Happened, Remember, Remembered
from gossip.core.messages import History, Recall
from gossip.core.node import Node
from gossip.model import Event, EventKind

RATE = 5


@pytest.fixture
def node(node_of: Any) -> Node:
    node: Node = node_of(1, config=Config(limits=Limits(recalls_per_second_max=RATE)))
    return node


def looked_up(node: Node, make: Any, tokens: list[bytes], now: float) -> list[bytes]:
    """Whose questions are looked up, of these connections that each ask once."""
    asked = make.codec.encode(Recall("orders"))
    effects = [effect for token in tokens for effect in node.handle(Asked(token, asked), now)]
    return [effect.token for effect in effects if isinstance(effect, Remember)]


def test_so_many_questions_a_second_are_looked_up_and_the_rest_counted(node: Node, make: Any) -> None:
    tokens = [b"%d" % number for number in range(100)]
    assert looked_up(node, make, tokens, 0.0) == tokens[:RATE]
    assert node.local.counters["recalls_refused"] == 100 - RATE
    for tenth in range(1, 101):
        looked_up(node, make, tokens, tenth / 10)
    assert 101 * 100 - node.local.counters["recalls_refused"] <= 11 * RATE


def test_a_flood_over_one_connection_crowds_out_nobody_else(node: Node, make: Any) -> None:
    assert looked_up(node, make, [b"flood"] * 1_000, 0.0) == [b"flood"]
    assert looked_up(node, make, [b"a", b"flood", b"b"], 0.5) == [b"a", b"b"]
    assert looked_up(node, make, [b"flood"], 1.0) == [b"flood"]


def test_refusals_are_told_once_a_minute(node: Node, make: Any) -> None:
    asked = make.codec.encode(Recall("orders"))
    told = [
        effect.reason
        for second in range(30)
        for _ in range(3)
        for effect in node.handle(Asked(b"flood", asked), float(second))
        if isinstance(effect, Happened) and effect.kind is EventKind.NOTICE
    ]
    assert len(told) == 1
    assert "recalls_refused" in told[0]


def test_an_answer_of_many_words_goes_in_frames_that_others_take(node: Node, make: Any) -> None:
    events = tuple(Event(seq, 0.0, EventKind.NOTICE, None, None, None, "名" * 600) for seq in range(300))
    answers = [effect for effect in node.handle(Remembered(b"token", events), 0.0) if isinstance(effect, Answer)]
    told = [make.codec.decode(answer.frame) for answer in answers]
    assert all(isinstance(history, History) for history in told)
    assert [history.more for history in told] == [True] * (len(told) - 1) + [False]
    assert [event.seq for history in told for event in history.events] == list(range(300))
