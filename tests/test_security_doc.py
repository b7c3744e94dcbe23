"""What docs/security.md shows is run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_the_python_shown_runs(number: int, tmp_path: Path) -> None:
    assert len(BLOCKS) == 4
    bound = 'bind="127.0.0.1:0", seeds=[]'
    block = BLOCKS[number].replace('Peer("orders-1")', f'Peer("orders-1", {bound})')
    block = block.replace('Peer("orders-1", signing_key', f'Peer("orders-1", {bound}, signing_key')
    block = block.replace('bind="0.0.0.0:7400", advertise="10.0.0.5", seeds=["10.0.0.7:7400"]', bound)
    assert bound in block
    file = tmp_path / "shown.py"
    file.write_text(block, encoding="utf-8")
    run = subprocess.run([sys.executable, "-W", "error", file], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
