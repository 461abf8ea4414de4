"""Follow the frames of a radar: a nowcast for each that arrives, once, and scores of those before."""

from __future__ import annotations

import importlib
import inspect
import json
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial as bound
from pathlib import Path
from typing import Any

import numpy as np

from xvar.analysis.forecast_options import Kind
from xvar.analysis.verify import THRESHOLDS
from xvar.assimilation import assimilate
from xvar.cf.times import parse_duration
from xvar.errors import Faults, InputError, refuse_unknown, require
from xvar.io.writing import NETCDF, ZARR, durable, refuse_missing_folder
from xvar.runs.lock import locked
from xvar.service.follower import Follower, opened_output, span_of
from xvar.service.inbox import Inbox, read_frames
from xvar.service.journal import STATE, Journal, Status
from xvar.service.nowcast import OF_MANY_WINDOWS
from xvar.service.scores import Scores

LOOK = 1.0  # seconds between looks at the folder, if nothing else is stated


def follow(
    pattern: str,
    output: str,
    lead: Any = "60min",
    variable: str | None = None,
    *,
    every_frame: bool = False,
    every: Any = None,
    kind: Kind = "sharp",
    members: int | None = None,
    seed: int | None = None,
    above: Sequence[float] | None = None,
    cadence: Any = None,
    first_guess: str | None = "previous_window",
    keep: Any = None,
    scores_of: Any = "24h",
    poll: float | None = None,
    settle: float = 0.1,
    patience: float = 60.0,
    once: bool = False,
    png: bool = False,
    geojson: bool = False,
    command: str | None = None,
    group: str | None = None,
    time_from_name: str | None = None,
    clip_negative: bool = False,
    trusted: bool = False,
    say: Callable[[str], object] = print,
    stop: threading.Event | None = None,
    **options: Any,
) -> Status:
    """Make a nowcast for each frame that arrives in a folder, until it is stopped.

    Each forecast is made once, also if the process is killed and started again. Files may be late, out of order,
    incomplete while they are written, broken, or there twice; frames that are missing in a window are frames without
    values. Frames that arrive are compared with the forecasts of their time.

    Parameters
    ----------
    pattern : str
        A folder, or a pattern of files such as ``radar/*.h5``, of any format that `xvar.open` reads; a file holds one
        frame or several.
    output : str
        Pattern of the outputs, with the time of the frame: ``out/nowcast_{time:%Y%m%d%H%M}.nc``. Beside them are
        ``status.json``, ``scores.csv`` (a row for each pair of a forecast and a frame) and a hidden state.
    lead, variable, every, kind, members, seed, above, cadence
        As in `xvar.nowcast`.
    every_frame : bool
        A forecast for every frame, also if several have arrived at once or a frame is late; else for the newest alone.
    first_guess : {"previous_window", None}
        Each minimisation begins at the solution of the forecast before, which takes less than half of the evaluations;
        None: from scratch, so that the bits of a forecast depend on its own frames alone.
    keep : duration, optional
        Outputs of frames that are older than the newest by more than this, and by more than `lead`, are removed.
    scores_of : duration
        Span of the rolling scores.
    poll : float, optional
        Seconds between looks at the folder, as for network file systems, which send no events. Default: events of the
        file system by watchfiles if it is installed, and a look each second.
    settle : float
        A file is read if it has not changed for so many seconds.
    patience : float
        A file that cannot be read, or has no value, counts as broken after so many seconds without a change.
    once : bool
        Return when everything in the folder is done, instead of waiting for more.
    png : bool
        Draw each forecast into a picture beside it.
    geojson : bool
        Write areas of each forecast, and arrows of its motion, as GeoJSON beside it: ``NAME.forecast.geojson`` and
        ``NAME.motion.geojson``.
    command : str
        Command that is run with the path of each output as its last argument; at least once for each.
    group, time_from_name, clip_negative, trusted
        As in `xvar.open`.
    say : callable (str)
        Receives a line for each forecast and for each file that cannot be used.
    stop : threading.Event, optional
        Ends the service after the forecast in progress.
    **options
        Options of `assimilate`, for one window.

    Returns
    -------
    Status
        The counts of frames, forecasts, duplicates, broken files and failures, also of processes before.

    Raises
    ------
    InputError
        If an option is wrong, the folder does not exist, or another process makes these outputs.
    StoreError
        If the disk refuses: an OSError with the path. Started again, the service continues.
    """
    known = [name for name in inspect.signature(assimilate).parameters if name not in ("data", *OF_MANY_WINDOWS)]
    refuse_unknown(options, known, "follow()")
    place = _check_output(output)
    faults = Faults()
    spans = {"lead": lead, "keep": keep, "scores_of": scores_of, "cadence": cadence}
    seconds = {name: parse_duration(value, name, faults) for name, value in spans.items() if value is not None}
    faults.check_choice("first_guess", first_guess, ("previous_window", None), "previous_window")
    faults.raise_if_any()
    reading: dict[str, Any] = {"group": group, "time_from_name": time_from_name, "clip_negative": clip_negative}
    reading["trusted"] = trusted
    inbox = Inbox(pattern, bound(read_frames, variable=variable, **reading), settle, patience)
    refuse_missing_folder(inbox.folder / "frame")
    thresholds = THRESHOLDS if above is None else tuple(above)
    products: list[Callable[[Path], object]] = [*([draw] if png else []), *([write_geojson] if geojson else [])]
    if command is not None:
        products.append(bound(_run, shlex.split(command)))
    with locked(place / STATE):
        follower = Follower(
            inbox=inbox,
            output=output,
            lead=lead,
            thresholds=thresholds,
            options=options,
            how={"every": every, "kind": kind, "members": members, "seed": seed},
            journal=Journal.open(place / STATE),
            scores=Scores(place / "scores.csv", thresholds, span_of(seconds["scores_of"] or 0.0)),
            variable=variable,
            stated_cadence=seconds.get("cadence"),
            every_frame=every_frame,
            keep=None if keep is None else span_of(seconds["keep"] or 0.0),
            warm=first_guess is not None,
            products=products,
            say=say,
        )
        _serve(follower, poll, stop or threading.Event(), once=once)
    return follower.status


def _serve(follower: Follower, poll: float | None, stop: threading.Event, *, once: bool) -> None:
    """Let a follower look at the folder until it is stopped; its status reports how it ends."""
    follower.begin()
    for module in ("xvar.core.methods.image_motion", "xvar.core.methods.nowcast", "scores.categorical"):
        importlib.import_module(module)  # now, not when the first frame waits
    try:
        for _ in _looks(follower.inbox, poll, stop, once=once):
            while not stop.is_set() and follower.step(stop):
                pass
    except BaseException as error:
        follower.status.last_error = f"{type(error).__name__}: {error}"
        follower.write_status("failed")
        raise
    follower.write_status("stopped")


def _check_output(output: str) -> Path:
    """Return the folder of the outputs, which is made; InputError if the pattern cannot be used."""
    moment = np.datetime64("2001-02-03T04:05:06", "us").item()
    suffixes = (*NETCDF, *ZARR)
    try:
        names = {output.format(time=moment), output.format(time=moment.replace(minute=10))}
    except (KeyError, IndexError, ValueError):
        names = set()
    path = Path(output).expanduser()
    if len(names) < 2 or path.suffix.lower() not in suffixes or "{" in str(path.parent):
        raise InputError(
            code="output-pattern",
            found=f"output {output!r}",
            expected="the name of a NetCDF file or Zarr store with the time of the frame to the minute, in one folder",
            fix="-o 'out/nowcast_{time:%Y%m%d%H%M}.nc'",
        )
    refuse_missing_folder(path.parent)
    path.parent.mkdir(exist_ok=True)
    return path.parent


def _looks(inbox: Inbox, poll: float | None, stop: threading.Event, *, once: bool) -> Iterator[None]:
    """Yield whenever something in the folder may have changed."""
    changes: Iterator[Any] | None = None
    if poll is None and not once:
        changes = _events(inbox.folder, stop)
    while not stop.is_set():
        yield
        pause = inbox.pause
        if pause is not None:
            stop.wait(pause)
        elif once:
            return
        elif changes is not None:
            next(changes, None)
        else:
            stop.wait(poll or LOOK)


def _events(folder: Path, stop: threading.Event) -> Iterator[Any] | None:
    """Return events of the file system, one a second at least; None if watchfiles is not installed."""
    try:
        watchfiles = require("watchfiles", "follow", "events of the file system")
    except InputError:
        return None
    milliseconds = int(1000 * LOOK)
    options: dict[str, Any] = {"debounce": 50, "step": 20, "rust_timeout": milliseconds, "yield_on_timeout": True}
    events: Iterator[Any] = watchfiles.watch(folder, watch_filter=None, stop_event=stop, **options)
    return events


def draw(path: Path) -> Path:
    """Draw the forecast of an output into a picture beside it."""
    from xvar.plot.forecasts import forecast as panels

    pyplot = require("matplotlib.pyplot", "plot", "pictures")
    target = path.with_suffix(".png")
    pyplot.switch_backend("agg")
    with opened_output(path) as output, durable(target) as file:
        made = panels(output)
        figure: Any = getattr(made, "fig", None) or made.figure
        figure.savefig(file, format="png", dpi=100)
        pyplot.close(figure)
    return target


def write_geojson(path: Path) -> None:
    """Write the areas of an output, and the arrows of its motion, beside it."""
    from xvar.analysis.to_geojson import to_geojson

    with opened_output(path) as output:
        for of in ("forecast", "motion"):
            with durable(path.with_suffix(f".{of}.geojson")) as file:
                file.write(json.dumps(to_geojson(output, of)).encode())


def _run(words: Sequence[str], path: Path) -> None:
    """Run the command of the user with an output; a command that fails is an error."""
    done = subprocess.run([*words, str(path)], check=False)
    if done.returncode:
        message = f"{shlex.join(words)} ended with exit code {done.returncode}"
        raise RuntimeError(message)
