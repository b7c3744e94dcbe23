"""Fuzz one target or all, guided by coverage: `make fuzz SECONDS=60`. Without atheris the corpus is run, and it says so.

    python -m tests.fuzz.run [--seconds N] [--keep FOLDER] [codec|certificate|node|court|observer ...]

A finding ends it with the input that caused it: keep that under tests/fuzz/corpus/<target>/, where every test run tries it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"


def replay(target: str) -> int:
    """Run the corpus of a target; how many inputs."""
    from tests.fuzz.targets import TARGETS

    files = sorted((CORPUS / target).iterdir())
    for file in files:
        TARGETS[target](file.read_bytes())
    return len(files)


def fuzz(target: str, seconds: int, found: Path) -> None:
    """This process becomes the fuzzer; libFuzzer ends it. New inputs go to `found`."""
    import atheris

    with atheris.instrument_imports(include=["gossip"]):
        from tests.fuzz import targets

    def tried(data: bytes) -> None:
        try:
            targets.TARGETS[target](data)
        except Exception:
            (found.parent / f"crash-{target}-{len(data)}").write_bytes(data)
            raise

    longest = 4096 if target == "codec" else 1024
    options = [f"-max_total_time={seconds}", f"-max_len={longest}", "-len_control=0", "-timeout=10", "-rss_limit_mb=1024"]
    options += ["-print_final_stats=1", f"-artifact_prefix={found.parent}/"]
    atheris.Setup([sys.argv[0], *options, str(found), str(CORPUS / target)], tried)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", help="codec, node, observer; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--keep", type=Path, help="a folder that keeps what was found from run to run")
    parser.add_argument("--become", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    targets = given.targets or ["codec", "node", "observer"]
    if given.become:
        fuzz(targets[0], given.seconds, given.keep)
        return
    try:
        import atheris  # noqa: F401
    except ImportError:
        for target in targets:
            print(f"fuzz {target}: {replay(target)} inputs of the corpus hold; atheris is not installed (pip install '.[fuzz]')")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        for target in targets:
            found = folder / target
            found.mkdir(parents=True, exist_ok=True)
            share = max(1, given.seconds // len(targets))
            command = [sys.executable, "-m", "tests.fuzz.run", "--become", "--seconds", str(share), "--keep", str(found), target]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            lines = done.stdout.splitlines()
            if done.returncode:
                print("\n".join(lines[-60:]))
                for crash in sorted(folder.glob("crash-*")):
                    print(f"{crash.name}: {crash.read_bytes().hex()}")
                sys.exit(f"fuzz {target}: broken, see above")
            told = [line for line in lines if "number_of_executed_units" in line or "cov:" in line][-2:]
            print(f"fuzz {target}: nothing found in {share} s;", "; ".join(" ".join(line.split()) for line in told))


if __name__ == "__main__":
    main()
