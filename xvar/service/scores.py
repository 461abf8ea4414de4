"""Rolling scores: each pair of a forecast and a frame is scored once, and the pairs of the last day are pooled."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial as bound
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.analysis.verify import verify
from xvar.cf.metadata import attributes
from xvar.io.writing import durable

EVENTS = ("hits", "misses", "false_alarms")
OF = ("", "_persistence")
Row = dict[str, Any]
Time = np.datetime64


@dataclass
class Scores:
    """Table of the scored pairs, a row for each, on disk as CSV: the last `span` before the newest frame."""

    path: Path
    thresholds: Sequence[float]
    span: np.timedelta64
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self.rows = [_numbers(row) for row in csv.DictReader(file)]
        self._known = {(row["reference_time"], row["time"]) for row in self.rows}

    def has(self, reference: Time, time: Time) -> bool:
        """Return whether a pair was scored."""
        return (str(reference), str(time)) in self._known

    def add(self, forecasts: Mapping[Time, xr.Dataset], time: Time, frame: xr.Dataset) -> int:
        """Score the forecasts of a time, by the end of their windows, against the frame that came; return their number.

        The means and counts are those of `verify`, of the forecasts and of the last frames of their windows.
        """
        if not forecasts:
            return 0
        ordered = sorted(forecasts.items(), reverse=True)
        like = ordered[0][1]
        configuration = configuration_of(like)
        name = configuration.variable
        leads = np.array([time - reference for reference, _ in ordered]).astype("timedelta64[ns]")
        rows: list[Row] = [
            {"reference_time": str(reference), "time": str(time), "lead_seconds": int(lead / np.timedelta64(1, "s"))}
            for (reference, _), lead in zip(ordered, leads, strict=True)
        ]
        last = {"": [_at(one, name, lead) for (_, one), lead in zip(ordered, leads, strict=True)]}
        last["_persistence"] = [one[f"{name}_observed"].isel(window=0).values for _, one in ordered]
        for suffix, fields in last.items():
            found = verify(_valid_at(like, name, time, leads, fields), frame, thresholds=self.thresholds)
            for index, row in enumerate(rows):
                at = found.isel(lead_time=index)
                row[f"pairs{suffix}"] = int(at["number_of_pairs"])
                row[f"bias{suffix}"], row[f"square{suffix}"] = float(at["bias"]), float(at["rmse"]) ** 2
                for event in EVENTS if "threshold" in found.coords else ():
                    for number, threshold in enumerate(found["threshold"].values):
                        row[f"{event}{suffix}_{threshold:g}"] = int(at[event][number])
        self.rows += rows
        self._known |= {(row["reference_time"], row["time"]) for row in rows}
        return len(rows)

    def write(self, newest: Time) -> None:
        """Bring the table to the disk, without what is older than its span."""
        first = str(newest - self.span)
        self.rows = [row for row in self.rows if row["time"] >= first]
        self._known = {(row["reference_time"], row["time"]) for row in self.rows}
        text = io.StringIO()
        names = list(dict.fromkeys(key for row in self.rows for key in row))
        table = csv.DictWriter(text, names, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        with durable(self.path) as file:
            file.write(text.getvalue().encode())

    def by_lead(self) -> dict[str, dict[str, float]]:
        """Return the error and that of persistence, over all pairs of the table, by lead time in minutes."""
        found = {}
        for lead in sorted({row["lead_seconds"] for row in self.rows}):
            chosen = [[row for row in self.rows if row["lead_seconds"] == lead]]
            with np.errstate(invalid="ignore", divide="ignore"):
                errors = [np.sqrt(_weighted(chosen, "square", one) / _sums(chosen, f"pairs{one}"))[0] for one in OF]
            rmse, persistence = (round(float(error), 6) for error in np.nan_to_num(errors))
            found[f"{lead / 60:g}"] = {"forecasts": len(chosen[0]), "rmse": rmse, "rmse_persistence": persistence}
        return found

    def pooled(self, like: xr.Dataset) -> xr.Dataset | None:
        """Return the scores over all pairs of the table by lead time, as `verify` does; None without a pair.

        `like` is a forecast of the same variable, whose lead times they have.
        """
        if not self.rows:
            return None
        configuration = configuration_of(like)
        leads = like["lead_time"].values
        chosen = [
            [row for row in self.rows if row["lead_seconds"] == lead]
            for lead in (leads / np.timedelta64(1, "s")).astype(int)
        ]
        units = str(like[configuration.variable].attrs.get("units", "1"))
        describe = bound(attributes, variable=configuration.variable, kind=configuration.kind, units=units)
        fields: dict[str, tuple[tuple[str, ...], NDArray[np.float64]]] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            for suffix in OF:
                pairs = _sums(chosen, f"pairs{suffix}")
                fields[f"rmse{suffix}"] = ("lead_time",), np.sqrt(_weighted(chosen, "square", suffix) / pairs)
                if not suffix:
                    fields["bias"] = ("lead_time",), _weighted(chosen, "bias", suffix) / pairs
                events = [
                    [_sums(chosen, f"{event}{suffix}_{threshold:g}") for threshold in self.thresholds]
                    for event in EVENTS
                ]
                if self.thresholds and f"hits{suffix}_{self.thresholds[0]:g}" in self.rows[-1]:
                    hits, misses, alarms = np.array(events).transpose(0, 2, 1)
                    fields[f"csi{suffix}"] = ("lead_time", "threshold"), hits / (hits + misses + alarms)
        coordinates: dict[str, Any] = {"lead_time": like["lead_time"].variable}
        if "csi" in fields:
            about = attributes("threshold", units="mm h-1" if configuration.kind == "rain" else units)
            coordinates["threshold"] = ("threshold", np.array(self.thresholds, dtype=float), about)
        data = {name: (dims, values, describe(name)) for name, (dims, values) in fields.items()}
        return xr.Dataset(data, coordinates, dict(like.attrs))


def _at(forecast: xr.Dataset, name: str, lead: np.timedelta64) -> NDArray[Any]:
    """Return the field (y, x) of a forecast at a lead time."""
    return np.asarray(forecast[name].isel(window=0).sel(lead_time=lead).values)


def _valid_at(
    like: xr.Dataset, name: str, time: Time, leads: NDArray[Any], fields: Sequence[NDArray[Any]]
) -> xr.Dataset:
    """Return fields of one valid time as a forecast with the lead times `leads`, on the grid of another."""
    plane = like[name].dims[-2:]
    kept: dict[Any, Any] = {key: part for key, part in like.coords.items() if set(part.dims) <= set(plane)}
    kept |= {"lead_time": leads, "time": (("window", "lead_time"), np.full((1, len(leads)), time, "datetime64[ns]"))}
    mapping = like[name].attrs.get("grid_mapping")
    others = {mapping: like[mapping]} if mapping in like.data_vars else {}
    values = np.stack(fields)[None]
    return xr.Dataset(
        {name: (("window", "lead_time", *plane), values, like[name].attrs), **others}, kept, dict(like.attrs)
    )


def _sums(chosen: Sequence[Sequence[Row]], key: str) -> NDArray[np.float64]:
    return np.array([sum(row.get(key, 0) for row in rows) for rows in chosen], dtype=float)


def _weighted(chosen: Sequence[Sequence[Row]], key: str, suffix: str) -> NDArray[np.float64]:
    """Return the sums of means times their numbers of pairs."""
    return np.array(
        [sum(row[key + suffix] * row[f"pairs{suffix}"] for row in rows if row[f"pairs{suffix}"]) for rows in chosen]
    )


def _numbers(row: Mapping[str, str]) -> Row:
    """Return a row of the file with its numbers."""
    return {
        key: value if "time" in key else int(value) if value.isdigit() else float(value)
        for key, value in row.items()
        if value != ""
    }
