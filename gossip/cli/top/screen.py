"""The terminal of `gossip top`: rich draws, the keys come from the terminal itself, and all is as before when it ends.

Whatever ends the block (a key, a signal, an exception), the other screen, the cursor and the modes of the terminal come
back. Signals only ask to stop; nothing here is interrupted halfway.
"""

from __future__ import annotations

import os
import select
import sys
import termios
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from .keys import keys_of

STYLES = {
    "": "",
    "title": "bold",
    "head": "bold underline",
    "chosen": "reverse bold",
    "cursor": "reverse",
    "mark": "bold cyan",
    "good": "green",
    "doubt": "yellow",
    "bad": "bold red",
    "dim": "dim",
}
READ_MAX = 1024
ESCAPE_S = 0.02  # an escape sequence arrives whole; the key Esc comes alone


def text_of(lines: Sequence[Sequence[tuple[str, str]]]) -> list[Text]:
    """Lines of pieces as rich's texts."""
    return [Text.assemble(*((text, STYLES[style]) for text, style in line), no_wrap=True) for line in lines]


class Screen:
    """The other screen of the terminal, with keys. A context manager."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._keyboard = -1
        self._before: list[Any] | None = None
        self.gone = False  # whether nobody is at the terminal any more

    def __enter__(self) -> Screen:
        self._keyboard = _keyboard()
        try:
            if self._keyboard >= 0:
                self._before = termios.tcgetattr(self._keyboard)
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, _quiet(self._keyboard))
            self._live.__enter__()
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._live.__exit__(kind, error, trace)
        finally:
            self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._before)
        if self._keyboard >= 0:
            os.close(self._keyboard)
        self._keyboard, self._before = -1, None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as they are now."""
        try:
            found = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            found = os.terminal_size((80, 24))
        return found.columns or 80, found.lines or 24

    def keys(self, patience_s: float) -> Iterator[str]:
        """The keys that were pressed, after waiting so long for one."""
        if self._keyboard < 0:
            select.select([], [], [], patience_s)
            return
        if not select.select([self._keyboard], [], [], patience_s)[0]:
            return
        try:
            read = os.read(self._keyboard, READ_MAX)
            if read == b"\x1b" and select.select([self._keyboard], [], [], ESCAPE_S)[0]:
                read += os.read(self._keyboard, READ_MAX)
        except OSError:  # the terminal was hung up
            read = b""
        self.gone = not read
        yield from keys_of(read.decode("utf-8", "replace"))

    def draw(self, lines: Sequence[Sequence[tuple[str, str]]]) -> None:
        """These lines, from the top."""
        self._console.size = self.size
        self._live.update(Group(*text_of(lines)), refresh=True)


def _keyboard() -> int:
    """A descriptor of the terminal itself, since stdin may be a pipe; -1 where there is none."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1


def _quiet(keyboard: int) -> list[Any]:
    """No echo, each key at once; Ctrl-C goes on being a signal, Ctrl-Z does not stop what holds the other screen."""
    modes = termios.tcgetattr(keyboard)
    modes[3] &= ~(termios.ECHO | termios.ICANON)
    controls = modes[6]
    disabled = os.fpathconf(keyboard, "PC_VDISABLE") if "PC_VDISABLE" in os.pathconf_names else 0
    controls[termios.VSUSP] = bytes([disabled])
    controls[termios.VMIN], controls[termios.VTIME] = 1, 0
    return modes
