"""What a command is doing, on stderr, for whoever sits at a terminal; nothing anywhere else.

One line, written over and over, that is gone when the command has something to say. A command that takes less than
`QUIET_S` shows none.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType

QUIET_S = 1.0
STEP_S = 0.1
WIDTH = 79


class Progress:
    """A context manager; call it with what is being done. For one thread."""

    def __init__(self, command: str, quiet_s: float = QUIET_S) -> None:
        self._command = command
        self._quiet_s = quiet_s
        self._what = ""
        self._began = time.monotonic()
        self._over = threading.Event()
        self._teller: threading.Thread | None = None

    def __call__(self, what: str) -> None:
        """From now on this is being done. O(1), so it may be called often."""
        self._what = what

    def __enter__(self) -> Progress:
        self._began = time.monotonic()
        if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            self._teller = threading.Thread(target=self._tell, name="progress", daemon=True)
            self._teller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        if self._teller is not None:
            self._teller.join()

    def _tell(self) -> None:
        told = self._over.wait(self._quiet_s)
        shown = False
        while not told:
            seconds = time.monotonic() - self._began
            line = f"gossip {self._command}: {seconds:.0f} s  {self._what}"
            sys.stderr.write(f"\r\x1b[K{line[:WIDTH]}")
            sys.stderr.flush()
            shown = True
            told = self._over.wait(STEP_S)
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
