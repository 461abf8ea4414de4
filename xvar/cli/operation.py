"""Nowcasts from a shell: the commands ``nowcast`` and ``follow``."""

from __future__ import annotations

import glob
import signal
import threading
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from xvar.cli.configuration import configurable
from xvar.cli.parameters import FLAGS, Inputs, Output, Overwrite, files_as_reading, options_of_table, stated
from xvar.cli.terminal import FAILED, finish, opened_record, outgoing, say

Lead = Annotated[str, typer.Option(help="How far ahead, such as 60min.")]
Every = Annotated[str | None, typer.Option(help="Time between forecasts; default: that between frames.")]
ForecastKind = Annotated[str, typer.Option("--kind", help="sharp, or mean: the forecast of least error.")]
Members = Annotated[int | None, typer.Option(help="Add the probabilities of an ensemble of so many members.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the ensemble; default: 0.")]
Above = Annotated[
    list[float] | None,
    typer.Option(help="Threshold of probabilities and scores, in mm h-1 for rain; may be given several times."),
]
Cadence = Annotated[str | None, typer.Option(help="Time between frames; default: the most common step.")]
#: Options of the table that a single window has a use for.
OF_A_WINDOW = tuple(name for name in FLAGS if name not in ("stride", "partial", "sort", "batch", "errors"))
#: Files of a pattern, the last by name, that a nowcast reads: three hours of 5-minute radar images.
LAST_FILES = 36


@configurable
@options_of_table(*OF_A_WINDOW)
@files_as_reading()
def nowcast(
    inputs: Inputs,
    output: Output,
    lead: Lead = "60min",
    every: Every = None,
    kind: ForecastKind = "sharp",
    members: Members = None,
    seed: Seed = None,
    above: Above = None,
    cadence: Cadence = None,
    hindcast: Annotated[
        bool, typer.Option(help="Compare a forecast from an earlier window with the frames that came.")
    ] = True,
    overwrite: Overwrite = False,
    *,
    reading: Mapping[str, Any],
    **options: Any,
) -> None:
    """Analyse the last window of a record and forecast from it, with probabilities and recent skill, into one file.

    Of a pattern the last 36 files are read, by name.
    """
    from xvar.io.writing import write
    from xvar.service.nowcast import nowcast as call

    # Path.glob takes no pattern that begins at the root.
    newest = [word for name in inputs for word in sorted(glob.glob(name))[-LAST_FILES:] or [name]]  # noqa: PTH207
    options |= stated(every=every, kind=kind, members=members, seed=seed, above=tuple(above or ()), cadence=cadence)
    with (
        outgoing(output, overwrite=overwrite) as target,
        opened_record(newest, **reading) as (record, variable),
    ):
        result = call(record, lead, variable, hindcast=hindcast, **options)
        write(result, target, overwrite=overwrite)
    moment = str(result["forecast_reference_time"].values[0]).partition(".")[0]
    seen = int((result["observed_share"] > 0).sum())
    missing = "" if seen == result.sizes["step"] else f", {seen} of {result.sizes['step']} frames"
    finish(output, f"{result.sizes['lead_time']} lead times from {moment}{missing}{_skill(result)}")


def _skill(result: Any) -> str:
    """Return the error of the earlier forecast beside that of persistence, at the last lead time that is known."""
    if "recent_rmse" not in result or not result["recent_rmse"].notnull().any():
        return ""
    known = result["recent_rmse"].dropna("lead_time").isel(lead_time=-1)
    error, last = float(known), float(result["recent_rmse_persistence"].sel(lead_time=known["lead_time"]))
    minutes = known["lead_time"].values / 60e9
    text = f"; the forecast before: RMSE {error:.3g} at {float(minutes):g} min"
    return text if last != last else f"{text}, persistence {last:.3g}"


@configurable
@options_of_table(*(name for name in OF_A_WINDOW if name not in ("background", "first_guess")))
@files_as_reading("site")
def follow(
    pattern: Annotated[
        str, typer.Argument(metavar="DIR|PATTERN", help="The folder of the frames, or a pattern: 'radar/*.h5'.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="'out/nowcast_{time:%Y%m%d%H%M}.nc', or .zarr.")
    ],
    variable: Annotated[str | None, typer.Option(help="The variable, if there are several.")] = None,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="A forecast for every frame, not only for the newest.")
    ] = False,
    lead: Lead = "60min",
    every: Every = None,
    kind: ForecastKind = "sharp",
    members: Members = None,
    seed: Seed = None,
    above: Above = None,
    cadence: Cadence = None,
    keep: Annotated[str | None, typer.Option(help="Remove outputs that are older, such as 2h.")] = None,
    scores_of: Annotated[str, typer.Option(help="Span of the rolling scores.")] = "24h",
    cold: Annotated[bool, typer.Option("--cold", help="Do not begin at the solution of the forecast before.")] = False,
    poll: Annotated[
        float | None, typer.Option(help="Seconds between looks at the folder, on network file systems.")
    ] = None,
    settle: Annotated[float, typer.Option(help="Seconds without a change after which a file is read.")] = 0.1,
    patience: Annotated[float, typer.Option(help="Seconds after which an unreadable file counts as broken.")] = 60.0,
    once: Annotated[bool, typer.Option("--once", help="End when everything in the folder is done.")] = False,
    png: Annotated[bool, typer.Option("--png", help="Draw each forecast into a picture beside it.")] = False,
    geojson: Annotated[
        bool, typer.Option("--geojson", help="Write areas of each forecast and arrows of its motion beside it.")
    ] = False,
    exec_: Annotated[
        str | None, typer.Option("--exec", metavar="CMD", help="Run a command with the path of each output.")
    ] = None,
    *,
    reading: Mapping[str, Any],
    **options: Any,
) -> None:
    """Make a nowcast for each frame that arrives in a folder, score those before, and go on after a kill.

    Beside the outputs are status.json, which `xvar status` reads, and scores.csv. SIGTERM and Ctrl-C end it after the
    forecast in progress.
    """
    from xvar.service.follow import follow as call

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    how = stated(
        every=every, kind=kind, members=members, seed=seed, above=tuple(above or ()), cadence=cadence, keep=keep
    )
    how |= stated(poll=poll, command=exec_)
    report = call(
        pattern,
        output,
        lead,
        variable,
        every_frame=every_frame,
        scores_of=scores_of,
        first_guess=None if cold else "previous_window",
        settle=settle,
        patience=patience,
        once=once,
        png=png,
        geojson=geojson,
        say=say,
        stop=stop,
        **how,
        **reading,
        **options,
    )
    finish(output, ", ".join(f"{count} {name}" for name, count in report.counts.items()))
    if once and report.counts["failed"]:
        raise typer.Exit(FAILED)
