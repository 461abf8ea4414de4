"""Tables, facts and JSON on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from xvar.cli.terminal import say
from xvar.errors import printable
from xvar.plan.configuration import ATTRIBUTE, Configuration

#: score -> heading, decimals
PLAIN = {
    "rmse": ("RMSE", 3),
    "crps": ("CRPS", 3),
    "spread": ("spread", 3),
    "bias": ("bias", 3),
    "correlation": ("correlation", 3),
    "end_point_error": ("end-point error (m/s)", 4),
    "vector_rmse": ("vector RMSE (m/s)", 4),
    "angular_error": ("angle (degrees)", 1),
    "vector_correlation": ("correlation", 3),
}
EVENTS = {"csi": "CSI", "fss": "FSS", "brier_skill": "Brier skill"}


def console() -> Console:
    """Return standard output; in a file or a pipe wide enough that no line is folded."""
    return Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=200)


def print_scores(scores: xr.Dataset) -> None:
    """Print a row for each score and its persistence, a column for each lead time or step."""
    by_lead = "lead_time" in scores.dims
    heads = map(lead_text, scores["lead_time"].values) if by_lead else map(str, range(scores.sizes["step"]))
    table = Table("lead time" if by_lead else "step", *(Column(head, justify="right") for head in heads))
    for name, (heading, decimals) in PLAIN.items():
        _add_rows(table, heading, scores, name, decimals)
    for number, threshold in enumerate(scores["threshold"].values if "threshold" in scores.dims else []):
        table.add_section()
        units = scores["threshold"].attrs.get("units", "1")
        for name, heading in EVENTS.items():
            _add_rows(table, f"{heading} at {threshold:g} {units}", scores, name, 3, threshold=number)
    table.add_section()
    table.add_row("pairs", *(str(int(count)) for count in scores["number_of_pairs"]))
    say(_heading(scores))
    console().print(table)
    missing = int(scores["number_without_truth"].sum())
    if missing:
        say(f"{missing} forecasts are without observations, and not counted.")
    if "comment" in scores.attrs:
        say(str(scores.attrs["comment"]))


def _heading(scores: xr.Dataset) -> str:
    """Return the title of the table."""
    if "rmse" not in scores:
        return "Motion against the truth"
    text = scores.attrs.get(ATTRIBUTE)
    name = "Forecast" if text is None else f"Forecast of {Configuration.from_json(text).variable}"
    parts = [f"{name} in {scores['rmse'].attrs.get('units', '1')}"]
    if "rmse_persistence" in scores:
        parts.append("persistence keeps the last frame")
    if "scale" in scores.coords:
        parts.append(f"FSS in squares of {float(scores['scale']) / 1e3:g} km")
    return "; ".join(parts)


def _add_rows(table: Table, heading: str, scores: xr.Dataset, name: str, decimals: int, **at: int) -> None:
    # Text, not a string: rich obeys [markup] in strings.
    rows = (name, Text(printable(heading)), None), (f"{name}_persistence", "  persistence", "dim")
    for key, title, style in rows:
        if key in scores:
            numbers = scores[key].isel(at).values
            table.add_row(title, *("-" if np.isnan(one) else f"{one:.{decimals}f}" for one in numbers), style=style)


def lead_text(lead: Any) -> str:
    """Return a lead time in its largest whole unit."""
    seconds = float(np.asarray(lead) / np.timedelta64(1, "s"))
    if seconds % 86400 == 0:
        return f"{seconds / 86400:g} d"
    return f"{seconds / 3600:g} h" if seconds % 3600 == 0 else f"{seconds / 60:g} min"


def print_json(scores: xr.Dataset) -> None:
    """Print scores as JSON: lead times in seconds, null for missing values."""
    fields: dict[str, Any] = {}
    for name, part in scores.variables.items():
        values = part.values
        if values.dtype.kind == "m":
            values = values / np.timedelta64(1, "s")
        elif values.dtype.kind not in "iuf":
            values = values.astype(str)
        if values.dtype.kind == "f":
            values = np.where(np.isfinite(values), values.astype(object), np.array(None))
        units = "s" if part.dtype.kind == "m" else part.attrs.get("units")
        fields[str(name)] = {"dims": list(part.dims), "units": units, "values": values.tolist()}
    say(json.dumps(fields))


def print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one fact a line."""
    if as_json:
        say(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        for line in value if isinstance(value, list) else [value]:
            say(f"{name:<{width}}  {line}")
            name = ""
