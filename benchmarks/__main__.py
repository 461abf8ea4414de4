"""Run all benchmarks: ``python -m benchmarks`` writes results.md, results.json and pictures beside this file."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads a numerical library

import argparse
import datetime
import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import xvar
from benchmarks import ablation, ensembles, gpu, learning, longer, nowcast, speed, twins
from xvar.core.paths import is_compiled

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- benchmark table -->", "<!-- end benchmark table -->"
PARTS = {
    "speed": "Speed",
    "nowcast": "Nowcasts",
    "longer": "Nowcasts to 90 minutes",
    "ablation": "What each part and number is worth",
    "twins": "End-point error in pixels a frame, of motions that are known",
    "ensembles": "Ensembles",
    "learn": "Learned parts of a model",
    "gpu": "Devices",
}
DETAILS = (
    ("nowcast", "details", "Every event"),
    ("nowcast", "behind", "Where xvar does not win"),
)
SHORT = ("speed", "nowcast")  # those that the README has


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
        "numba": version("numba") if is_compiled() else "not used",
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
    parser.add_argument("part", nargs="?", choices=tuple(PARTS), help="only one of them")
    parser.add_argument("--readme", action="store_true", help="refresh the tables in README.md, too")
    options = parser.parse_args()
    torch.set_num_threads(1)

    store = HERE / "results.json"
    results = json.loads(store.read_text()) if store.exists() else {}
    for part in PARTS if options.part is None else [options.part]:
        found = measured(part)
        if found is not None:
            results[part] = {"machine": machine(), **found}
    store.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    sections = {part: section(title, results[part]) for part, title in PARTS.items() if part in results}
    summary = "\n\n".join(text for part, text in sections.items() if part in SHORT)
    whole = ["# Benchmarks", "Written by `python -m benchmarks`.", *sections.values()]
    whole += [f"## {title}\n\n{results[part][key]}" for part, key, title in DETAILS if key in results.get(part, {})]
    (HERE / "results.md").write_text("\n\n".join(whole) + "\n")
    if options.readme:
        refresh(README, summary)
    print(summary if options.part in (None, *SHORT) else sections.get(options.part, "nothing to measure it on"))


def section(title: str, result: dict[str, Any]) -> str:
    """A table under its title, the day and the machine."""
    told = ", ".join(f"{key} {value}" for key, value in result["machine"].items() if key != "date")
    return f"{title}, {result['machine']['date']} ({told}):\n\n{result['table']}"


def measured(part: str) -> dict[str, Any] | None:
    """The figures of a part, and its table; nothing where the data is not there."""
    if part == "speed":
        rows = speed.measure()
        return {"rows": rows, "table": speed.table(rows)}
    if part == "gpu":
        found_rows = gpu.measure()
        return {"rows": found_rows, "table": gpu.table(found_rows)}
    if part == "twins":
        errors = twins.measure()
        return {"errors": errors, "table": twins.table(errors)}
    if part == "ensembles":
        found = ensembles.measure()
        return {"scores": ensembles.as_json(found), "table": ensembles.table(found)} if found else None
    if part == "longer":
        judged = longer.measure()
        return {"scores": longer.as_json(judged), "table": longer.table(judged)} if judged else None
    if part == "learn":
        figures = learning.measure()
        return {"figures": figures, "table": learning.table(figures)}
    if part == "ablation":
        parts, numbers = ablation.run(ablation.ablations()), ablation.run(ablation.sensitivities(), every=2)
        return None if parts is None or numbers is None else {"table": ablation.summary(parts, numbers)}
    comparison = nowcast.compare()
    if comparison is None:
        return None
    nowcast.draw(comparison, HERE)
    return {
        **nowcast.as_json(comparison),
        "table": nowcast.summary(comparison),
        "details": nowcast.details(comparison),
        "behind": nowcast.behind(comparison),
    }


if __name__ == "__main__":
    main()
