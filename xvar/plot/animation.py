"""Observed images beside the analysis and its forecast, moving."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.forecast import forecast as extrapolate
from xvar.analysis.verify.truth import find_truth, read_truth
from xvar.cf.axes import Axes as AxisNames
from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import Configuration
from xvar.plot.canvas import (
    Canvas,
    configuration_of,
    last_step,
    make_canvas,
    moment,
    new_figure,
    seconds_of,
    unit_of_time,
)
from xvar.plot.colours import field_scale
from xvar.plot.vectors import draw_arrows, draw_key, typical_speed

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure

SIDE = 4.2  # inches of the longer side of a panel
SUFFIXES = (".gif", ".mp4")


@dataclass(frozen=True)
class Film:
    """What is shown, frame by frame.

    Attributes
    ----------
    times : ndarray (frame,)
        Valid times.
    leads : ndarray (frame,) of float
        Seconds since the end of the window; 0 and less are of the analysis.
    values : ndarray (frame, y, x)
        Analysis, then forecast, in the units of the variable.
    outside : ndarray (frame, y, x) of bool
        Where a parcel comes from outside the grid, and the last frame stands for it.
    observed : ndarray (frame, y, x) or None
        The truth at these times, NaN where there is none.
    motion : tuple of ndarray (y, x) or None
        At the end of the window, where the data have it.
    """

    times: NDArray[Any]
    leads: NDArray[np.float64]
    values: NDArray[Any]
    outside: NDArray[np.bool_]
    observed: NDArray[Any] | None
    motion: tuple[NDArray[Any], NDArray[Any]] | None


def animation(
    data: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    window: int = -1,
    lead: Any = None,
    milliseconds: int = 400,
    figure: Figure | None = None,
) -> FuncAnimation:
    """Show what was observed beside what was analysed and forecast, frame after frame.

    Parameters
    ----------
    data : Dataset
        An analysis: the frames of the window and then its forecast, under the arrows of the motion at the end of the
        window; or a forecast, alone. Where a parcel comes from outside the grid nothing is shown.
    truth : Dataset or DataArray, optional
        The observed record, on the left at the same times; a panel says where it has no frame.
    window : int
        Which.
    lead : duration, optional
        How far an analysis is carried on: "30min". Default: as long as the window.
    milliseconds : int
        Between two frames.
    figure : matplotlib Figure, optional
        Where to draw.

    Returns
    -------
    matplotlib FuncAnimation
        `xvar.plot.write_animation` writes it to a file; in a notebook ``.to_jshtml()`` shows it.

    Raises
    ------
    InputError
        Where `data` is neither, or the truth does not fit it.
    """
    from matplotlib.animation import FuncAnimation

    configuration = configuration_of(data, "an analysis or a forecast")
    name = configuration.variable
    if name not in data or not {"lead_time", "step"} & set(data[name].dims):
        raise InputError(
            Fault(
                "a Dataset without the images of an analysis or a forecast",
                "what assimilate() or forecast() gives",
                'ds.var4d.assimilate().var4d.plot.animation(ds, lead="30min")',
            )
        )
    windows = data.sizes.get("window", 1)
    if not -windows <= window < windows:
        raise InputError(Fault(f"window {window}", f"one of the {windows}", "window=-1"))
    chosen = data.isel(window=[window]) if "window" in data.dims else data
    around = {dim: 0 for dim in ("window", "step", "lead_time") if dim in chosen[name].dims}
    canvas = make_canvas(chosen[name].isel(around), data, configuration)
    film = make_film(chosen, truth, configuration, canvas, lead)
    shown = np.where(film.outside, np.nan, film.values)
    everything = [shown, *([] if film.observed is None else [film.observed])]
    scale = field_scale(
        xr.DataArray(np.concatenate([part.ravel() for part in everything]), attrs=data[name].attrs, name=name),
        configuration,
    )
    columns = [shown] if film.observed is None else [film.observed, shown]
    width = SIDE * min(1.0, canvas.shape_ratio)
    height = SIDE / max(1.0, canvas.shape_ratio)
    if figure is None:
        figure = new_figure(figsize=(width * len(columns) + 1.5, height + 1.0))
    drawn = figure.subplots(1, len(columns), squeeze=False, subplot_kw=canvas.subplot)[0]
    moving = None if film.motion is None else np.isfinite(film.motion[0])
    meshes = []
    for ax, values in zip(drawn, columns, strict=True):
        canvas.prepare(ax, left=ax is drawn[0])
        if moving is not None:
            canvas.ground(ax, moving, np.zeros(moving.shape, dtype=bool))
        meshes.append(canvas.image(ax, values[0] * scale.factor, **scale.style))
    if film.motion is not None:
        typical = typical_speed([film.motion])
        arrows = draw_arrows(drawn[-1], canvas, *film.motion, typical, count=14)
        draw_key(drawn[-1], arrows, typical, "m/s")
    figure.colorbar(meshes[-1], ax=list(drawn), label=scale.label, shrink=0.85, **scale.bar)
    heading = figure.suptitle("", fontsize=11)
    titles = [ax.set_title("", loc="left", fontsize=10) for ax in drawn]
    absent = drawn[0].text(0.5, 0.5, "", transform=drawn[0].transAxes, ha="center", color="0.4")

    def show(frame: int) -> list[Any]:
        heading.set_text(f"{name.replace('_', ' ')}, {moment(film.times[frame])}")
        seconds = float(film.leads[frame])
        length, unit = unit_of_time(float(film.leads.max(initial=0.0)))
        titles[-1].set_text(f"forecast +{seconds / length:g} {unit}" if seconds > 0 else "analysis")
        meshes[-1].set_array(shown[frame] * scale.factor)
        if film.observed is not None:
            titles[0].set_text("observed")
            meshes[0].set_array(film.observed[frame] * scale.factor)
            absent.set_text("" if np.isfinite(film.observed[frame]).any() else "not observed")
        return [*meshes, *titles, heading, absent]

    # One layout for all frames: nothing jumps, and it is not sought again for each.
    show(len(film.times) - 1)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return FuncAnimation(figure, show, frames=len(film.times), interval=milliseconds, blit=False)


def make_film(
    chosen: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None,
    configuration: Configuration,
    canvas: Canvas,
    lead: Any,
) -> Film:
    """The frames of one window."""
    name = configuration.variable
    motion = None
    parts = []
    if "step" in chosen[name].dims:
        analysed = chosen[name].isel({dim: 0 for dim in ("window",) if dim in chosen[name].dims})
        steps = chosen["time"].isel({dim: 0 for dim in ("window",) if dim in chosen["time"].dims})
        present = steps.notnull().values
        span = steps.values[present][-1] - steps.values[present][0]
        parts.append((steps.values[present], analysed.transpose("step", *canvas.dims).values[present]))
        reference = steps.values[present][-1]
        if {"u", "v"} <= set(chosen.data_vars):
            own = {"window": 0, "step": last_step(chosen, 0)}
            last = chosen[["u", "v"]].isel({dim: place for dim, place in own.items() if dim in chosen["u"].dims})
            u, v = (last[part].transpose(*canvas.dims).values.astype(np.float64) for part in ("u", "v"))
            motion = (u, v)
        chosen = extrapolate(chosen, span if lead is None else lead)
    one = chosen.isel({dim: 0 for dim in ("window",) if dim in chosen[name].dims})
    if not parts:
        reference = one["forecast_reference_time"].values
    parts.append((one["time"].values, one[name].transpose("lead_time", *canvas.dims).values))
    times = np.concatenate([when for when, _ in parts])
    leads = np.array([seconds_of(when - reference) for when in times])
    values = np.concatenate([field for _, field in parts])
    observed = None
    if truth is not None:
        faults = Faults()
        variable = find_truth(truth, name, configuration.kind, faults)
        like = one[name].transpose("lead_time", *canvas.dims)
        known = (
            None
            if variable is None
            else read_truth(
                variable,
                like,
                AxisNames("time", *canvas.dims),
                str(like.attrs.get("units", "1")),
                faults,
                frame=configuration.frame,
            )
        )
        faults.raise_if_any()
        assert known is not None
        observed = known.at(times)
    outside = np.zeros(values.shape, dtype=bool)
    if "origin" in one:
        outside[-one.sizes["lead_time"] :] = one["origin"].transpose("lead_time", *canvas.dims).values != 0
    return Film(times, leads, values, outside, observed, motion)


def write_animation(
    film: FuncAnimation, path: str | Path, *, frames_per_second: int = 3, dots_per_inch: float = 100.0
) -> Path:
    """Write an animation whole or not at all.

    Parameters
    ----------
    film : matplotlib FuncAnimation
        What `animation` gives.
    path : str or Path
        A ``.gif``, which pillow writes, or an ``.mp4``, which needs the program ffmpeg: that on the PATH (or where
        matplotlib's ``animation.ffmpeg_path`` says), else the one that the extra ``xvar[film]`` brings.
    frames_per_second : int
    dots_per_inch : float

    Returns
    -------
    Path

    Raises
    ------
    InputError
        Where the suffix is another, or ffmpeg is not installed.
    """
    import matplotlib as mpl
    from matplotlib.animation import FFMpegWriter, PillowWriter

    target = check_film(path)
    writer: Any = PillowWriter(fps=frames_per_second)
    if target.suffix.lower() == ".mp4":
        # Players want even sides and four bits of colour for twelve.
        writer = FFMpegWriter(
            fps=frames_per_second,
            codec="h264",
            extra_args=["-pix_fmt", "yuv420p", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"],
        )
    with (
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder,
        mpl.rc_context({"animation.ffmpeg_path": _ffmpeg() or "ffmpeg"}),
    ):
        whole = Path(folder) / target.name
        film.save(whole, writer=writer, dpi=dots_per_inch)
        whole.replace(target)
    return target


def check_film(path: str | Path) -> Path:
    """Refuse a name that no animation can be written under.

    Parameters
    ----------
    path : str or Path
        The name.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        Where the suffix is neither ``.gif`` nor ``.mp4``, or is the latter without the program ffmpeg.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(Fault(f"{target.name!r}", f"a name that ends in {' or '.join(SUFFIXES)}", "film.gif"))
    if target.suffix.lower() == ".mp4" and _ffmpeg() is None:
        fix = "pip install 'xvar[film]', or apt, brew or conda install ffmpeg; or write a .gif"
        raise InputError(Fault(f"{target.name!r} without the program ffmpeg", "one that writes films", fix))
    return target


def _ffmpeg() -> str | None:
    """The program that writes films: the one that matplotlib finds, else that of the extra."""
    import matplotlib as mpl
    from matplotlib.animation import FFMpegWriter

    if FFMpegWriter.isAvailable():
        return str(mpl.rcParams["animation.ffmpeg_path"])
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None
