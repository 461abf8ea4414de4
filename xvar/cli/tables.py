"""What commands print on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import typer
import xarray as xr
from rich.console import Console
from rich.table import Table

from xvar.configuration import ATTRIBUTE, Configuration

#: score -> heading, decimals
PLAIN = {
    "rmse": ("RMSE", 3),
    "rmse_persistence": ("persistence", 3),
    "bias": ("bias", 3),
    "correlation": ("correlation", 3),
    "end_point_error": ("end-point error (m/s)", 4),
    "vector_rmse": ("vector RMSE (m/s)", 4),
    "angular_error": ("angle (degrees)", 1),
    "vector_correlation": ("correlation", 3),
}
EVENTS = {"csi": "CSI", "fss": "FSS"}


def console() -> Console:
    """Stdout; in a file or a pipe wide enough that nothing is folded."""
    return Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=200)


def print_scores(scores: xr.Dataset) -> None:
    """Scores by lead time, or by step, beside those of persistence."""
    along = "lead_time" if "lead_time" in scores.dims else "step"
    plain = {name: shown for name, shown in PLAIN.items() if name in scores}
    table = Table(title=_title(scores), title_justify="left", title_style="bold")
    table.add_column("lead" if along == "lead_time" else "step", justify="right")
    for heading, _ in plain.values():
        table.add_column(heading, justify="right")
    table.add_column("pairs", justify="right")
    for index in range(scores.sizes[along]):
        row = scores.isel({along: index})
        first = lead_text(row["lead_time"].values) if along == "lead_time" else str(index)
        values = [_number(row[name], decimals) for name, (_, decimals) in plain.items()]
        table.add_row(first, *values, str(int(row["number_of_pairs"])))
    console().print(table)
    if "threshold" in scores.dims:
        console().print(_events(scores))
    missing = int(scores["number_without_truth"].sum())
    if missing:
        noun = "forecast times" if along == "lead_time" else "steps"
        typer.echo(f"{missing} {noun} without a truth are not counted.")
    if "comment" in scores.attrs:
        typer.echo(str(scores.attrs["comment"]))


def _title(scores: xr.Dataset) -> str:
    text = scores.attrs.get(ATTRIBUTE)
    name = "" if text is None else Configuration.from_json(text).variable
    if "rmse" not in scores:
        return "motion against the truth"
    return f"{name} ({scores['rmse'].attrs.get('units', '1')}) against persistence, the last frame kept"


def _events(scores: xr.Dataset) -> Table:
    units = scores["threshold"].attrs.get("units", "1")
    title = f"events at or above a threshold in {units}; FSS in squares of {float(scores['scale']) / 1e3:g} km"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("lead", justify="right")
    for heading in EVENTS.values():
        for threshold in scores["threshold"].values:
            table.add_column(f"{heading} {threshold:g}", justify="right")
            if f"{heading.lower()}_persistence" in scores:
                table.add_column("persistence", justify="right", overflow="fold")
    for index in range(scores.sizes["lead_time"]):
        cells = [lead_text(scores["lead_time"].values[index])]
        for name in EVENTS:
            for number in range(scores.sizes["threshold"]):
                for own in (name, f"{name}_persistence"):
                    if own in scores:
                        cells.append(_number(scores[own].isel(lead_time=index, threshold=number), 3))
        table.add_row(*cells)
    return table


def lead_text(lead: Any) -> str:
    """A lead time as people say it."""
    seconds = float(np.asarray(lead) / np.timedelta64(1, "s"))
    if seconds % 86400 == 0:
        return f"{seconds / 86400:g} d"
    return f"{seconds / 3600:g} h" if seconds % 3600 == 0 else f"{seconds / 60:g} min"


def _number(value: xr.DataArray, decimals: int) -> str:
    number = float(value)
    return "-" if np.isnan(number) else f"{number:.{decimals}f}"


def print_json(scores: xr.Dataset) -> None:
    """Scores as JSON: lead times in seconds, null for what could not be had."""
    fields: dict[str, Any] = {}
    for name, part in scores.variables.items():
        values = part.values
        if values.dtype.kind == "m":
            values = values / np.timedelta64(1, "s")
        elif values.dtype.kind not in "iuf":
            values = values.astype(str)
        fields[str(name)] = {"dims": list(part.dims), "units": _units(part), "values": _plain(values)}
    typer.echo(json.dumps(fields))


def _units(part: xr.Variable) -> str | None:
    return "s" if part.dtype.kind == "m" else part.attrs.get("units")


def _plain(values: Any) -> Any:
    listed = values.tolist()

    def clean(item: Any) -> Any:
        if isinstance(item, list):
            return [clean(part) for part in item]
        return None if isinstance(item, float) and not np.isfinite(item) else item

    return clean(listed)


def print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """One fact a line."""
    if as_json:
        typer.echo(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        for line in value if isinstance(value, list) else [value]:
            typer.echo(f"{name:<{width}}  {line}")
            name = ""
