"""Look for known vulnerabilities in what the locks pin.

Advisories come from PyPI or, where it has none, from OSV. Asked about first is a release that is known to be bad: a
source that does not know it has no advisory data to offer, and what it says of the locks is worth nothing.

Ends with 0 when nothing is known, 1 when something is, 2 when no source has advisory data.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements.lock", "requirements.runtime.lock")
#: Released with holes that every source of advisories lists.
_KNOWN_BAD: Final = "django==3.2"


def main() -> int:
    """Audit the locks by the first source that knows anything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--offline-is-fine", action="store_true", help="End with 0 when no source has advisory data.")
    parser.add_argument("--osv-url", help="Ask only this OSV server.")
    parser.add_argument("locks", nargs="*", type=Path, default=[ROOT / name for name in LOCKS])
    given = parser.parse_args()
    osv = ["--vulnerability-service", "osv"]
    sources = [[*osv, "--osv-url", given.osv_url]] if given.osv_url else [["--vulnerability-service", "pypi"], osv]
    source = next((one for one in sources if _knows_anything(one)), None)
    if source is None:
        return _no_data(given.offline_is_fine, "no source of advisories answers with any")
    found = False
    for lock in given.locks:
        told = _ask(source, lock, hashed=True)
        if told is None:
            return _no_data(given.offline_is_fine, f"the source stopped answering at {lock.name}")
        found = _tell(lock, told) or found
    return int(found)


def _no_data(is_fine: bool, why: str) -> int:
    print(f"NOT AUDITED: {why}. Nothing is known about the locked releases; run make audit where there is a network.")
    return 0 if is_fine else 2


def _knows_anything(source: list[str]) -> bool:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"{_KNOWN_BAD}\n")
        file.flush()
        told = _ask(source, Path(file.name), hashed=False)
    return told is not None and any(one.get("vulns") for one in told)


def _ask(source: list[str], requirements: Path, *, hashed: bool) -> list[dict[str, Any]] | None:
    """Return what is known of each release, ``None`` when the source does not answer."""
    command = [sys.executable, "-m", "pip_audit", *source, "--requirement", str(requirements), "--disable-pip",
               "--require-hashes" if hashed else "--no-deps", "--format", "json", "--progress-spinner", "off",
               "--desc", "off", "--timeout", "15"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return None
    return dependencies


def _tell(lock: Path, told: list[dict[str, Any]]) -> bool:
    """Print what was found. Returns whether anything was."""
    bad = [one for one in told if one.get("vulns")]
    for one in bad:
        for hole in one["vulns"]:
            fixed = ", ".join(hole["fix_versions"]) or "none yet"
            print(f"{lock.name}: {one['name']} {one['version']}: {hole['id']}; fixed in: {fixed}")
    for one in told:
        if "skip_reason" in one:
            print(f"{lock.name}: not audited: {one['name']}: {one['skip_reason']}")
    print(f"{lock.name}: {len(told)} releases, {len(bad)} of them with known vulnerabilities")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
