"""A real terminal for tests: tmux holds it, keys go in, what stands on the screen comes out."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

DEADLINE_S = 40.0
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed (.ci/tools): no terminal to test in")


class Terminal:
    """One tmux server of its own with one pane. A context manager: it ends with its server, by its own socket."""

    def __init__(
        self, command: list[str], *, width: int = 80, height: int = 24, environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = f"gossip-test-{uuid.uuid4().hex[:12]}"
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("GOSSIP_", "TMUX"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), clean.get("PATH", os.defpath)])
        self._environment = {**clean, "PATH": path, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", **(environment or {})}
        size = ["-x", str(width), "-y", str(height)]
        self._tmux("-f", os.devnull, "new-session", "-d", *size, shlex.join(command))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server", check=False)

    def press(self, *keys: str) -> None:
        """Keys by tmux's names (`Enter`, `C-c`), or as themselves."""
        self._tmux("send-keys", "-t", "0", *keys)

    def type(self, text: str) -> None:
        """This text, letter by letter."""
        self._tmux("send-keys", "-t", "0", "-l", text)

    def resize(self, width: int, height: int) -> None:
        """Another size; whatever runs gets a SIGWINCH."""
        self._tmux("resize-window", "-t", "0", "-x", str(width), "-y", str(height))

    @property
    def screen(self) -> str:
        """What stands there now."""
        return self._tmux("capture-pane", "-p", "-t", "0").stdout

    @property
    def pid(self) -> int:
        """Of the process in the pane."""
        return int(self._tmux("display-message", "-p", "-t", "0", "#{pane_pid}").stdout)

    def until(self, wanted: str | Callable[[str], object]) -> str:
        """The first screen that shows this text, or of which this is true."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            screen = self.screen
            if wanted in screen if isinstance(wanted, str) else wanted(screen):
                return screen
            assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {wanted!r}; the screen:\n{screen}"
            time.sleep(0.05)

    def _tmux(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["tmux", "-L", self._name, *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, encoding="utf-8", timeout=DEADLINE_S, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done
