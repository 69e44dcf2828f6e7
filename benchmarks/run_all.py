"""Runs the benchmarks one after another and rewrites the table in README.md beside this file."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER / "README.md"
#: What all share; and the studies, which take hours and have pages of their own: docs/ablations.md,
#: docs/panoptic.md.
NOT_BENCHMARKS = {"harness", "run_all", "ablations", "ablation_study", "ablation_tables", "panoptic"}
HEAD = "| benchmark | claim | ours | baseline | unit | times better | goal | met | machine |"
INTRO = f"""# Benchmarks

Each script runs its baseline and ours in turn, several times, and reports medians and ratios. `make bench`
runs all and rewrites this table; `python benchmarks/NAME.py --quick` runs one for at most a minute. A claim
without a baseline is a figure with a goal. "NO" is a goal that is not reached.

{HEAD}
|{" --- |" * 9}
"""


def main() -> int:
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="each ends within about a minute")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    rows, failed = read_rows(), []
    for name in arguments.names or names:
        print(f"== {name}", flush=True)
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--json"]
        done = subprocess.run(
            command + ["--quick"] * arguments.quick, stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout)
        try:
            result = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, json.JSONDecodeError):
            failed.append(name)
            continue
        rows[name] = [row(result, claim) for claim in result["claims"]]
        PAGE.write_text(INTRO + "\n".join(line for key in sorted(rows) for line in rows[key]) + "\n")
    if failed:
        print(f"ended without a result: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def read_rows() -> dict[str, list[str]]:
    """{benchmark: its lines} of the table as it stands; a run of some leaves the others."""
    rows: dict[str, list[str]] = {}
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    start = lines.index(HEAD) + 2 if HEAD in lines else len(lines)
    for line in lines[start:]:
        rows.setdefault(line.split("|")[1].strip(), []).append(line)
    return rows


def row(result: dict[str, Any], claim: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [result["benchmark"], claim["name"]]
    cells += [number(claim.get(key)) for key in ("ours", "baseline")]
    cells += [str(claim.get("unit") or ""), number(claim.get("ratio")), number(claim.get("goal"))]
    cells += [
        "" if claim.get("met") is None else "yes" if claim["met"] else "NO",
        str(result.get("machine", "")),
    ]
    return "| " + " | ".join(cells) + " |"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
