"""Run all benchmarks: ``python -m benchmarks`` writes results.md, results.json and pictures beside this file."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads a numerical library

import argparse
import datetime
import json
import platform
import re
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import xvar
from benchmarks import nowcast, speed

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- benchmark table -->", "<!-- end benchmark table -->"


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    processor = platform.processor() or platform.machine()
    details = Path("/proc/cpuinfo")
    if details.exists():
        found = re.search(r"model name\s*:\s*(.+)", details.read_text())
        processor = found[1] if found else processor
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "processor": f"{processor}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "xarray": xr.__version__,
        "numpy": np.__version__,
        "xvar": getattr(xvar, "__version__", "from source"),
    }


def refresh(path: Path, table: str) -> None:
    """Put the table between the markers of a file."""
    before, rest = path.read_text().split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", choices=("speed", "nowcast"), help="only one of the two")
    parser.add_argument("--readme", action="store_true", help="refresh the tables in README.md, too")
    options = parser.parse_args()
    torch.set_num_threads(1)

    store = HERE / "results.json"
    results = json.loads(store.read_text()) if store.exists() else {}
    where = machine()
    if options.part != "nowcast":
        rows = speed.measure()
        results["speed"] = {"machine": where, "rows": rows, "table": speed.table(rows)}
    comparison = nowcast.compare() if options.part != "speed" else None
    if comparison is not None:
        results["nowcast"] = {
            "machine": where,
            **nowcast.as_json(comparison),
            "table": nowcast.summary(comparison),
            "details": nowcast.details(comparison),
        }
        nowcast.draw(comparison, HERE)

    store.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    parts = []
    for name, title in (("speed", "Speed"), ("nowcast", "Nowcasts")):
        if name in results:
            measured = ", ".join(f"{key} {value}" for key, value in results[name]["machine"].items() if key != "date")
            parts += [f"{title}, {results[name]['machine']['date']} ({measured}):", "", results[name]["table"], ""]
    summary = "\n".join(parts).rstrip()
    details = results.get("nowcast", {}).get("details", "")
    text = f"# Benchmarks\n\nWritten by `python -m benchmarks`.\n\n{summary}\n"
    (HERE / "results.md").write_text(f"{text}\n## Every event\n\n{details}\n" if details else text)
    if options.readme:
        refresh(README, summary)
    print(summary)


if __name__ == "__main__":
    main()
