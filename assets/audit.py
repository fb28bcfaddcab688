"""``make audit``: whether dependencies have known holes; it fails where it could not look, which is no good news.

pip-audit asks about the packages of this environment, npm about those that `package-lock.json` beside this file pins.
Without a way to their services both would report that nothing was found.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fetch import find_npm

__all__ = ["judge_npm", "judge_python", "main"]

HERE = Path(__file__).resolve().parent
#: Seconds for each of the two.
LIMIT = 600


def judge_python(text: str) -> list[str]:
    """Return what is wrong by pip-audit's JSON: holes, and packages that were not looked up."""
    try:
        packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return ["pip-audit gave no report; is it installed, and is its service reachable?"]
    # p3s itself is on no index.
    asked = [one for one in packages if one["name"] != "p3s"]
    skipped = [one["name"] for one in asked if "skip_reason" in one]
    found = [f"{one['name']}: {hole['id']}" for one in asked for hole in one.get("vulns", [])]
    if not asked or skipped:
        found.append(f"{len(skipped)} of {len(asked)} Python packages could not be looked up: {', '.join(skipped[:5])}")
    return found


def judge_npm(text: str) -> list[str]:
    """Return what is wrong by the JSON of ``npm audit``."""
    try:
        counts: dict[str, int] = json.loads(text)["metadata"]["vulnerabilities"]
    except (ValueError, KeyError, TypeError):
        return ["npm could not look its packages up"]
    return [
        f"{number} npm packages with {level} holes" for level, number in counts.items() if number and level != "total"
    ]


def main() -> int:
    """Ask both and return 0 only if all was looked up and nothing was found."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    found = judge_python(_run(command))
    npm = find_npm()
    found += judge_npm(_run([*npm, "audit", "--json"])) if npm else ["there is no npm to ask about its packages"]
    for line in found:
        sys.stderr.write(f"audit: {line}\n")
    if not found:
        sys.stderr.write("audit: all packages were looked up, and none has a known hole\n")
    return 1 if found else 0


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, timeout=LIMIT)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
