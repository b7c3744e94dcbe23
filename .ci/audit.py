"""Are known vulnerabilities published for what is installed here? `make audit`; needs the network.

Fails on findings alone. Where the advisory service cannot be reached, or does not know our own dependencies (a mirror of the
package index without advisories), nothing was audited, and that is said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

OURS = {"msgpack", "pyzmq", "uhashring"}  # what every embedded peer brings along
ACCEPTED: dict[str, str] = {}  # advisory -> why it does not concern us
PATIENCE_S = 120


def report() -> list[dict[str, Any]] | None:
    """What pip-audit found of each distribution, None if it could not ask."""
    options = ["--format", "json", "--progress-spinner", "off", "--timeout", "10", "--skip-editable"]
    command = [sys.executable, "-m", "pip_audit", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return found


def main() -> None:
    found = report()
    audited = {item["name"].lower(): item for item in found or () if "vulns" in item}
    findings = [
        f"{name} {item['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for name, item in sorted(audited.items())
        for flaw in item["vulns"]
        if flaw["id"] not in ACCEPTED
    ]
    if findings:
        sys.exit("audit: known vulnerabilities\n  " + "\n  ".join(findings))
    if not audited.keys() >= OURS:
        print("audit: skipped: service unreachable, no advisories for", ", ".join(sorted(OURS - audited.keys())))
    else:
        print(f"audit: nothing known against {len(audited)} distributions, {', '.join(sorted(OURS))} among them")


if __name__ == "__main__":
    main()
