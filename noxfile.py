"""The tests on every CPython there is here: `make test-all`, or `nox -s tests-3.12 -- tests/core` for some of them on one.

What starts processes (clusters, the command line, the README's demo) is left to `make test`: it tests the machine more
than the interpreter, and takes longer than all the rest.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
WITH_PROCESSES = (
    "cluster gateway hostile hosts test_cli.py test_cli_ask.py test_cli_completion.py test_cli_demo.py test_cli_doctor.py "
    "test_cli_top.py test_observer.py test_readme.py test_secret_files.py"
).split()
TOOLS = ("hypothesis", "pytest")  # what the tests need of the extra `dev`: no mypy, no ruff

nox.needs_version = ">=2025.10.14"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # skipped, and said to be, on build servers too


def pyenv_folders() -> list[str]:
    """Where pyenv keeps its interpreters. They are on no PATH, and its shims are there without the interpreter they promise."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return sorted(str(folder) for folder in root.glob("versions/3.*/bin"))


os.environ["PATH"] = os.pathsep.join([*pyenv_folders(), os.environ.get("PATH", os.defpath)])


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests that start no processes."""
    wanted = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
    session.install("--editable", ".", *(need for need in wanted if need.startswith(TOOLS)))
    chosen = session.posargs or ["tests", *(f"--ignore=tests/{place}" for place in WITH_PROCESSES)]
    session.run("python", "-m", "pytest", "-p", "no:cacheprovider", *chosen)
