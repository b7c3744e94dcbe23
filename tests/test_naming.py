"""What a peer, its cluster and its zone may be called, and that a refusal says what to do."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from gossip.errors import ConfigError
from gossip.naming import checked_cluster, checked_id, checked_name, checked_question, checked_zone, host_name


@pytest.mark.parametrize(
    ("checked", "good", "bad"),
    [
        (checked_name, ("a", "A-1_b.c", "x" * 64), ("", "x" * 65, "a b", "ä", "a\n", None, 5)),
        (checked_id, ("a-1", "h:80", "[::1]:7", "a@b", "a%b/c", "x" * 128), ("", "x" * 129, "a b", "a\n", b"a")),
        (checked_cluster, ("default", "a.b"), ("", "a/b", "a\n", None)),
        (checked_zone, ("", "eu/west:1"), ("x" * 65, "a b", "a\n", None)),
    ],
)
def test_names_have_an_alphabet(checked: Callable[[object], str], good: tuple[str, ...], bad: tuple[object, ...]) -> None:
    assert [checked(name) for name in good] == list(good)
    for name in bad:
        with pytest.raises(ConfigError, match="Nothing was started"):
            checked(name)


def test_a_question_may_be_any_text_and_nothing_else() -> None:
    assert checked_question("web/10.0.0.1:80 ä") == "web/10.0.0.1:80 ä"
    with pytest.raises(ConfigError, match="that is no text"):
        checked_question(5)


@pytest.mark.parametrize(("host", "name"), [("box-1", "box-1"), ("bö x", "b--x"), ("", "peer"), ("h" * 90, "h" * 64)])
def test_the_host_name_becomes_a_name(monkeypatch: pytest.MonkeyPatch, host: str, name: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert checked_name(host_name()) == name
