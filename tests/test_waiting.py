"""Who waits is woken by each ring, and by none that comes after the wait."""

from __future__ import annotations

import threading

import pytest

from gossip.waiting import Waiters


class Bell:
    """Counts how often it was rung."""

    def __init__(self) -> None:
        self.rung = 0

    def set(self) -> None:
        self.rung += 1


def test_a_bell_rings_inside_its_block_only() -> None:
    waiters, bell = Waiters(), Bell()
    waiters.ring()
    with waiters.joined(bell):
        waiters.ring()
        waiters.ring()
    waiters.ring()
    assert (bell.rung, len(waiters)) == (2, 0)


def test_a_wait_that_fails_leaves_no_bell() -> None:
    waiters = Waiters()
    with pytest.raises(TimeoutError), waiters.joined(Bell()):
        raise TimeoutError
    assert len(waiters) == 0


def test_each_of_those_who_wait_is_woken_once_a_ring() -> None:
    waiters, one, other = Waiters(), Bell(), Bell()
    with waiters.joined(one), waiters.joined(other):
        waiters.ring()
    assert (one.rung, other.rung) == (1, 1)


def test_who_leaves_while_the_others_are_rung_disturbs_nobody() -> None:
    waiters, last = Waiters(), Bell()

    class Leaver(Bell):
        def set(self) -> None:
            super().set()
            waiters.bells.remove(self)

    leaver = Leaver()
    waiters.bells += [leaver, last]
    waiters.ring()
    waiters.ring()
    assert (leaver.rung, last.rung) == (1, 2)


def test_what_comes_between_joining_and_waiting_is_not_missed() -> None:
    waiters, woken = Waiters(), threading.Event()
    with waiters.joined(woken):
        waiters.ring()
        assert woken.wait(0)
