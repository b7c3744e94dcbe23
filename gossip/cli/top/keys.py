"""What a terminal sends, as the names of keys. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "[C": "right",
    "[D": "left",
    "OA": "up",
    "OB": "down",
    "OC": "right",
    "OD": "left",
    "[H": "home",
    "[F": "end",
    "[1~": "home",
    "[4~": "end",
    "[5~": "pageup",
    "[6~": "pagedown",
    "[Z": "backtab",
    "OH": "home",
    "OF": "end",
}
_CONTROLS = {"\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace", "\x1b": "escape"}
_KEY = re.compile(r"\x1b(\[[0-9;]*[A-Za-z~]|O[A-Z])|.", re.DOTALL)


def keys_of(text: str) -> Iterator[str]:
    """The names of the keys that sent this: letters as themselves, sequences nobody knows left out."""
    for match in _KEY.finditer(text):
        sequence = match.group(1)
        if sequence is not None:
            if sequence in _SEQUENCES:
                yield _SEQUENCES[sequence]
        else:
            yield _CONTROLS.get(match.group(), match.group())
