"""Ctrl-C and SIGTERM end what is being watched or waited for, and with it the command, gracefully."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from .. import Watch


class Stop:
    """What SIGINT and SIGTERM do: end the watch, now or as soon as there is one."""

    def __init__(self) -> None:
        self.asked = False
        self._watch: Watch | None = None
        self._raises = False

    def ask(self, *_: object) -> None:
        """The handler of the signals: touches nothing that could be in use."""
        self.asked = True
        if self._watch is not None:
            self._watch.close()
        if self._raises:
            raise KeyboardInterrupt

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Within the block, where an answer is waited for, a signal raises KeyboardInterrupt; so does one that came before."""
        self._raises = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._raises = False

    def ends(self, watch: Watch) -> Watch:
        """From now on a signal ends this watch; so does one that came before."""
        self._watch = watch
        if self.asked:
            watch.close()
        return watch


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Within the block both signals only ask to stop; the handlers from before come back after it."""
    stop = Stop()
    former = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
