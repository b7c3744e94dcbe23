"""docs/api.md: current, complete, and its generator says what is missing."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import gossip

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gossip_reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def faults_after(reference: ModuleType, folder: Path, file: str, old: str, new: str) -> str:
    """What the generator says of the package after one change of its source."""
    shutil.copytree(ROOT / "gossip", folder / "gossip", ignore=shutil.ignore_patterns("__pycache__"))
    place = folder / "gossip" / file
    text = place.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file} has {text.count(old)} of {old!r}: change this test"
    place.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(reference.Faults) as caught:
        reference.page_of(reference.Package.read(folder / "gossip"))
    return str(caught.value)


def test_the_page_is_current() -> None:
    checked = [sys.executable, ROOT / "docs" / "reference.py", "--check"]
    run = subprocess.run(checked, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


def test_every_public_name_is_on_the_page(page: str) -> None:
    shown = set(re.findall(r"^(?:#+ | *- |)`?(?:gossip\.)?(\w+)`?(?=:| \(|$)", page, re.MULTILINE))
    assert sorted(set(gossip.__all__) - shown) == []


@pytest.mark.parametrize("kind", ["Peer", "Registration", "Watch"])
def test_every_public_call_of_a_live_object_is_on_the_page(reference: ModuleType, page: str, kind: str) -> None:
    live = {name for name in dir(getattr(gossip, kind)) if not name.startswith("_") and not name.isupper()} - reference.INTERNAL
    assert [name for name in sorted(live) if f"#### `{kind}.{name}`" not in page] == []


def test_what_must_be_awaited_says_so(page: str) -> None:
    assert "await AsyncPeer.register(" in page
    assert "await AsyncWatch.get(" in page
    assert "\nAsyncPeer.watch(" in page
    assert "await Peer." not in page


def test_every_field_of_the_settings_has_its_default_and_the_presets_are_there(page: str) -> None:
    for part in ("heartbeats", "detection", "repair", "overlay", "joining", "limits", "links", "balancing"):
        assert f"### `config.{part}`" in page
    assert "| `interval_s` | `float` | `1.0` | more: less idle traffic" in page


def test_every_link_leads_to_a_heading(reference: ModuleType, page: str) -> None:
    met: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE):
        anchor = reference.slug(heading)
        anchors.add(f"{anchor}-{met[anchor]}" if met[anchor] else anchor)
        met[anchor] += 1
    assert [link for link in re.findall(r"\]\(#([^)]*)\)", page) if link not in anchors] == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("model.py", '"""`(service, id)`."""', "", "Instance.key has no docstring"),
        ("errors.py", '"""No instance answers the question. The message names the nearest known services."""', "pass",
         "NoInstances has no docstring"),
        ("__init__.py", '    "ConfigError",\n    "Event",', '    "Config2",\n    "ConfigError",\n    "Event",',
         "Config2 is public and has no place"),
        ("__init__.py", '    "Lookups",\n', "", "Lookups has a place and is not public"),
        ("catalogue/reads.py", "class Reads:\n", "class Reads:\n    def fresh(self) -> None:\n        '''New.'''\n\n",
         "Peer.fresh has no place"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(reference: ModuleType, tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    assert said in faults_after(reference, tmp_path, file, old, new)
