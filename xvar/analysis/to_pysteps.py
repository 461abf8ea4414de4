"""Motion in the conventions of pysteps."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import SHOWN, Part, motion_of, read_analysis
from xvar.cf.times import parse_duration
from xvar.errors import Fault, Faults, InputError

CELL, FRAME = 1e3, 300  # metres and seconds of images without coordinates: the result is in pixels a frame


def to_pysteps(data: xr.Dataset, window: int = -1, *, lead: Any = None, part: Part | None = None) -> NDArray[Any]:
    r"""Return the steady motion of a window, or the average motion after it, for nowcasts of pysteps.

    Nowcasts of pysteps keep the motion constant, while the displacement by the transient part of xvar's motion returns
    to zero. With `lead` the motion is the average of the total over the time from the last image:

    .. math:: w + q \, e^{-t / 2.5 \tau}

    with w the steady motion, q the transient motion at the last image, τ its lifetime and t the lead.

    Parameters
    ----------
    data : Dataset
        An analysis.
    window : int
        Index of the window.
    lead : duration, optional
        Length of the nowcast, such as "30min".
    part : {"steady", "total"}, optional
        The steady motion, if the analysis has one, or the total: its average over `lead`, else that at the last image.
        Default: "total" with `lead`, "steady" without.

    Returns
    -------
    ndarray (2, y, x)
        Displacement along the columns and along the rows of the image as it is stored, in pixels in the time between
        two frames: the ``velocity`` of ``pysteps.nowcasts``. Zero on land.

    Raises
    ------
    InputError
        If `data` is no analysis, `lead` no positive duration, or there is no such part.

    Examples
    --------
    >>> import xvar
    >>> analysis = xvar.datasets.sample().var4d.assimilate()
    >>> analysis.var4d.to_pysteps(lead="30min").shape
    (2, 128, 128)
    """
    faults = Faults()
    analysed = read_analysis(data, faults)
    horizon = None if lead is None else parse_duration(lead, "lead", faults)
    analysed = faults.require(analysed)
    grid, frame = analysed.grid, analysed.configuration.frame
    nowcast = analysed.configuration.nowcast()
    chosen = part or (SHOWN if lead is None else "total")
    last = data.isel(window=window, step=-1)
    components: tuple[xr.DataArray, ...] = motion_of(last, chosen)
    if chosen == "total" and horizon is not None and nowcast.transient is not None:
        share = nowcast.transient_share(horizon / frame)
        components = tuple(own - (1 - share) * last[f"{own.name}_transient"] for own in components)
    u, v = (own.transpose(*analysed.plane).values for own in components)
    if grid.metric is None:
        dy, dx = grid.spacing
    else:
        rows, columns = (slice(None) if up else slice(None, None, -1) for up in grid.ascending)
        dy, dx = grid.metric[:, rows, columns]
    down, right = (1 if up else -1 for up in grid.ascending)
    return np.nan_to_num(np.stack([right * u * frame / dx, down * v * frame / dy]))


def pysteps_motion(images: Any, *, units: str = "mm h-1", part: Part = SHOWN) -> NDArray[Any]:
    """Return the displacement of several images, as a motion method of pysteps.

    ``pysteps.motion.interface._methods["xvar"] = xvar.pysteps_motion`` registers it for
    ``pysteps.motion.get_method("xvar")``. It expects rates, not their logarithm as most other methods.

    Parameters
    ----------
    images : array (time, y, x)
        Rates at regular times, of which the last four are used; NaN or masked if not observed.
    units : str
        Units of the images: a rate, or "dBZ".
    part : {"steady", "total"}
        The steady motion, or the total at the last image.

    Returns
    -------
    ndarray (2, y, x)
        As `to_pysteps` returns it.

    Raises
    ------
    InputError
        If there are less than two images, or they hold nothing.

    Examples
    --------
    >>> import xvar
    >>> xvar.pysteps_motion(0.12 * xvar.datasets.sample()["rain"].values[:4]).shape
    (2, 128, 128)
    """
    from xvar.assimilation import assimilate
    from xvar.plan.windows import DEFAULT_FRAMES

    values: NDArray[Any] = np.ma.filled(np.ma.asarray(images, dtype="float32"), np.nan)
    if values.ndim != 3 or len(values) < 2:
        expected, fix = "two images or more, (time, y, x)", "pysteps_motion(rates[-4:])"
        raise InputError(Fault(f"shape {values.shape}", expected, fix, "images", code="too-few-images"))
    values = values[-DEFAULT_FRAMES:]
    times = np.datetime64("2000-01-01", "ns") + np.arange(len(values)) * np.timedelta64(FRAME, "s")
    record = xr.Dataset({"rain": (("time", "y", "x"), values, {"units": units})}, {"time": times})
    return to_pysteps(assimilate(record, "rain", window=len(values), dx=CELL, dy=CELL), part=part)
