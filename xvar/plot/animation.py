"""Observed images beside the analysis and its forecast, frame by frame."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.forecast import forecast as extrapolate
from xvar.analysis.outputs import SHOWN, Part, configuration_of, motion_of
from xvar.analysis.probability import probability
from xvar.errors import Fault, InputError
from xvar.plan.configuration import Configuration
from xvar.plot.canvas import (
    Canvas,
    Pair,
    components,
    draw_arrows,
    draw_key,
    last_step,
    lead_label,
    make_canvas,
    moment,
    new_figure,
    seconds_of,
    typical_speed,
)
from xvar.plot.colours import SPEED, Scale, field_scale, in_symbols, probability_scale
from xvar.plot.facets import Window, check_index, select
from xvar.plot.forecasts import observed_at

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure

SIDE = 4.2  # inches, longer side of a panel
SUFFIXES = (".gif", ".mp4")


@dataclass(frozen=True)
class Film:
    """The frames of one window and its forecast."""

    times: NDArray[Any]  # (frame,)
    leads: NDArray[np.float64]  # (frame,), seconds since the end of the window, at most 0 for frames of the analysis
    values: NDArray[Any]  # (frame, y, x), NaN if a trajectory comes from outside the grid
    observed: NDArray[Any] | None  # (frame, y, x), NaN without a truth
    motion: Pair | None  # steady, or at the end of the window
    ahead: xr.Dataset  # the forecast

    def caption(self, frame: int) -> str:
        """Return "analysis", or "forecast" with the lead time."""
        seconds = float(self.leads[frame])
        return f"forecast {lead_label(seconds, float(self.leads.max()))}" if seconds > 0 else "analysis"


def animation(
    data: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    window: Window = -1,
    member: int = 0,
    above: float | None = None,
    lead: Any = None,
    part: Part = SHOWN,
    milliseconds: int = 400,
    coastlines: str | None = None,
    figure: Figure | None = None,
) -> FuncAnimation:
    """Show the observations beside the analysis and its forecast, frame by frame.

    Parameters
    ----------
    data : Dataset
        An analysis: the frames of the window, then its forecast, under the arrows of the motion; or a forecast alone.
        Points whose trajectory comes from outside the grid are left out.
    truth : Dataset or DataArray, optional
        The observed record, on the left at the same times; "not observed" if it has no frame.
    window : int or time
        Index of the window, or a time that it holds.
    member : int
        Index of the member of an ensemble.
    above : float, optional
        Threshold in mm h-1: of a forecast with members the probability of as much or more is shown.
    lead : duration, optional
        Length of the forecast from an analysis, such as "30min". Default: the length of the window.
    part : {"steady", "total"}
        Arrows of the steady motion, if the analysis has one, or of the total at the end of the window.
    milliseconds : int
        Time between two frames.
    coastlines : {"10m", "50m", "110m"}, optional
        As for `xvar.plot.motion`.
    figure : matplotlib Figure, optional
        Figure to draw in.

    Returns
    -------
    matplotlib FuncAnimation
        `xvar.plot.write_animation` writes it to a file; in a notebook ``.to_jshtml()`` shows it.

    Raises
    ------
    InputError
        If `data` is no analysis or forecast, there is no such window, or the truth does not fit the data.
    """
    from matplotlib.animation import FuncAnimation

    configuration = configuration_of(data, "{variable}", "lead_time" if "lead_time" in data.dims else "step")
    name = configuration.variable
    index = check_index(window, "window", data)
    if above is not None:
        product = probability(data, float(above))
        (chance,) = product.data_vars.values()
        units = in_symbols(product["threshold"].attrs.get("units", ""))
        data = data.assign({name: chance.drop_vars("threshold").assign_attrs(data[name].attrs)})
    data = select(data, "member", member if above is None else 0)
    canvas = make_canvas(data[name], data, configuration, coastlines)
    film = make_film(data.isel({"window": [index]}, missing_dims="ignore"), truth, configuration, canvas, lead, part)
    columns = [film.values] if film.observed is None else [film.observed, film.values]
    scales = [field_scale(columns, data[name], configuration)] * len(columns)
    if above is not None:
        scales[-1] = probability_scale(f"probability of {above:g} {units} or more")
    if figure is None:
        width, height = canvas.panel_size(SIDE)
        bars = 1 if above is None else len(columns)
        figure = new_figure(figsize=(width * len(columns) + 1.5 * bars, height + 1.0))
    drawn, meshes = _draw(figure, canvas, film, columns, scales, one_bar=above is None)
    heading = figure.suptitle("", fontsize=11)
    titles = [ax.set_title("", loc="left", fontsize=10) for ax in drawn]
    absent = drawn[0].text(0.5, 0.5, "", transform=drawn[0].transAxes, ha="center", color="0.4")

    def show(frame: int) -> list[Any]:
        heading.set_text(f"{name.replace('_', ' ')}, {moment(film.times[frame])}")
        if film.observed is not None:
            titles[0].set_text("observed")
            absent.set_text("" if np.isfinite(film.observed[frame]).any() else "not observed")
        titles[-1].set_text(film.caption(frame))
        for mesh, values, scale in zip(meshes, columns, scales, strict=True):
            mesh.set_array(scale.convert(values[frame]))
        return [*meshes, *titles, heading, absent]

    # One layout for all frames, so that nothing jumps.
    show(len(film.times) - 1)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return FuncAnimation(figure, show, frames=len(film.times), interval=milliseconds, blit=False)


def _draw(
    figure: Figure, canvas: Canvas, film: Film, columns: list[NDArray[Any]], scales: list[Scale], *, one_bar: bool
) -> tuple[Any, list[Any]]:
    """Draw the first frame of each column, with one colour bar for all or one for each; return axes and images."""
    drawn = figure.subplots(1, len(columns), squeeze=False, subplot_kw=canvas.subplot)[0]
    meshes = []
    for ax, values, scale in zip(drawn, columns, scales, strict=True):
        canvas.prepare(ax, left=ax is drawn[0])
        if film.motion is not None:
            moving = np.isfinite(film.motion[0])
            canvas.ground(ax, moving, np.zeros_like(moving))
        meshes.append(canvas.image(ax, scale.convert(values[0]), **scale.style))
    if film.motion is not None:
        typical = typical_speed([film.motion])
        arrows = draw_arrows(drawn[-1], canvas, *film.motion, typical, count=14)
        draw_key(drawn[-1], arrows, typical, SPEED)
    places: list[Any] = [list(drawn)] if one_bar else list(drawn)
    for mesh, scale, place in zip(meshes[-len(places) :], scales[-len(places) :], places, strict=True):
        figure.colorbar(mesh, ax=place, label=scale.label, shrink=0.85, **scale.bar)
    return drawn, meshes


def make_film(
    chosen: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None,
    configuration: Configuration,
    canvas: Canvas,
    lead: Any,
    part: Part,
) -> Film:
    """Return the frames of one window, of an analysis with a forecast of it or of a forecast alone."""
    name = configuration.variable
    times, fields, motion, ahead = [], [], None, chosen
    if "step" in chosen[name].dims:
        one = chosen.isel({"window": 0}, missing_dims="ignore")
        present = one["time"].notnull().values
        times.append(one["time"].values[present])
        fields.append(one[name].transpose("step", *canvas.dims).values[present])
        if {"u", "v"} <= set(chosen.data_vars):
            motion = components(*motion_of(one.isel(step=last_step(one)), part), canvas)
        ahead = extrapolate(chosen, times[0][-1] - times[0][0] if lead is None else lead)
    one = ahead.isel({"window": 0}, missing_dims="ignore").transpose("lead_time", *canvas.dims, ...)
    reference = times[0][-1] if times else one["forecast_reference_time"].values
    times.append(one["time"].values)
    fields.append((one[name].where(one["origin"] == 0) if "origin" in one else one[name]).values)
    valid = np.concatenate(times)
    observed = None if truth is None else observed_at(valid, truth, one[name], configuration)
    return Film(valid, seconds_of(valid - reference), np.concatenate(fields), observed, motion, ahead)


def write_animation(
    film: FuncAnimation, path: str | Path, *, frames_per_second: int = 3, dots_per_inch: float = 100.0
) -> Path:
    """Write an animation, completely or not at all.

    Parameters
    ----------
    film : matplotlib FuncAnimation
        As `animation` returns it.
    path : str or Path
        A ``.gif``, written by pillow, or an ``.mp4``, written by the program ffmpeg: that on the PATH (or in
        matplotlib's ``animation.ffmpeg_path``), else that of the extra ``xvar[film]``.
    frames_per_second : int
    dots_per_inch : float

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the suffix is another, or ffmpeg is not installed.
    """
    import matplotlib as mpl
    from matplotlib.animation import FFMpegWriter, PillowWriter

    target = check_film(path)
    writer: Any = PillowWriter(fps=frames_per_second)
    if target.suffix.lower() == ".mp4":
        # Players need even sides and 4:2:0 subsampling.
        even = ["-pix_fmt", "yuv420p", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"]
        writer = FFMpegWriter(fps=frames_per_second, codec="h264", extra_args=even)
    with (
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder,
        mpl.rc_context({"animation.ffmpeg_path": _ffmpeg() or "ffmpeg"}),
    ):
        whole = Path(folder) / target.name
        film.save(whole, writer=writer, dpi=dots_per_inch)
        whole.replace(target)
    return target


def check_film(path: str | Path) -> Path:
    """Return the path; InputError if its suffix is no ``.gif`` or ``.mp4``, or ``.mp4`` and ffmpeg is missing."""
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        expected = f"a name that ends in {' or '.join(SUFFIXES)}"
        raise InputError(Fault(f"{target.name!r}", expected, f"{target.stem or 'film'}.gif", code="unknown-suffix"))
    if target.suffix.lower() == ".mp4" and _ffmpeg() is None:
        fix = "pip install 'xvar[film]', or apt, brew or conda install ffmpeg; or write a .gif"
        raise InputError(
            Fault(f"{target.name!r} without the program ffmpeg", "an installed ffmpeg", fix, code="missing-program")
        )
    return target


def _ffmpeg() -> str | None:
    """Return the program ffmpeg that matplotlib finds, else that of the extra."""
    import matplotlib as mpl
    from matplotlib.animation import FFMpegWriter

    if FFMpegWriter.isAvailable():
        return str(mpl.rcParams["animation.ffmpeg_path"])
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None
