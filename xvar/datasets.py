"""Sample data and twin experiments."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import NetCDF4BackendEntrypoint

from xvar.cf.axes import Axes, canonical, find_axes
from xvar.cf.conventions import to_cf
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.cf.times import Times, parse_duration, read_times
from xvar.cf.units import same_units, units_of
from xvar.errors import Faults
from xvar.plan.bridge import Bridge

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]
Pair = tuple[Hashable, Hashable]

_BREST = "radar-meteonet-brest-20180103.nc"


def sample() -> xr.Dataset:
    """Open the rain over Brest in the storm of 3 January 2018, the rain case of Filoche et al. (2021) [1]_.

    Returns
    -------
    xarray.Dataset
        ``rain(time, y, x)``, shape (7, 128, 128), float32, rain of 5 minutes in ``0.01 mm (5 min)-1`` (0.12 times the
        value is mm h-1), and ``valid(y, x)``, int8. A frame every 5 minutes; ``y`` (descending) and ``x`` in metres,
        1200 m apart. In memory; each call returns a new Dataset.

    Notes
    -----
    Data of Météo-France, MeteoNet [2]_, under the Etalab Open Licence 2.0, cut and converted to NetCDF. The file is
    part of the package; nothing is downloaded. Its README has the attribution that copies need.

    References
    ----------
    .. [1] Filoche, A., Béréziat, D., Brajard, J. and Charantonis, A. (2021). Variational assimilation of geophysical
       images leveraging deep learning tools. ORASIS 2021.
    .. [2] Larvor, G., Berthomier, L., Chabot, V., Le Pape, B., Pradel, B. and Perez, L. (2020). MeteoNet, an open
       reference weather dataset by Météo-France. https://meteonet.umr-cnrm.fr/

    Examples
    --------
    >>> import xvar.datasets
    >>> dict(xvar.datasets.sample().sizes)
    {'time': 7, 'y': 128, 'x': 128}
    """
    with (
        as_file(files("xvar") / "data" / _BREST) as path,
        xr.open_dataset(path, engine=NetCDF4BackendEntrypoint) as radar,
    ):
        return radar.load()


#: Names of velocity components along x and y, in the order of the search.
VELOCITIES = (
    ("u", "v"),
    ("ugos", "vgos"),
    ("uo", "vo"),
    ("water_u", "water_v"),
    ("surface_eastward_sea_water_velocity", "surface_northward_sea_water_velocity"),
)
MEAN = 15.0  # degree_Celsius, mean of the images


def twin(
    truth: xr.Dataset,
    *,
    velocity: Pair | None = None,
    times: Any = None,
    image: xr.DataArray | None = None,
    exponent: float = 3.0,
    noise: float = 0.05,
    clouds: float = 0.0,
    irregular: float = 0.0,
    seed: int = 0,
) -> xr.Dataset:
    r"""Make images that a given velocity moves, for a twin experiment.

    .. math:: I(x, t) = I_0(X(0)) + \epsilon, \qquad \dot X = w(X, t), \quad X(t) = x

    Every image follows from the first by exact characteristics, in steps of at most a fifth of a cell, and one
    interpolation of high order of a field that is known between the points: nothing is smoothed on the way, and no
    model of xvar is used. Parcels from outside move with the velocity of the edge, in a field that continues there.

    Parameters
    ----------
    truth : Dataset
        The velocity (time, y, x) in m s-1, positive along increasing coordinates, linear between its points and times,
        missing on land.
    velocity : tuple of hashable, optional
        Names of its components along x and y. Default: the first pair of u and v, ugos and vgos, uo and vo, water_u and
        water_v.
    times : duration or sequence of dates, optional
        Times of the images, or the time between them, within those of the velocity. Default: those of the velocity.
    image : DataArray (y, x), optional
        The first image, on the grid of the velocity, complete; read by cubic interpolation. Default: a Gaussian random
        field with a one-dimensional spectrum of :math:`k^{-p}` and a standard deviation of 1 K.
    exponent : float
        The exponent p of that spectrum.
    noise : float
        Standard deviation of the noise of each pixel, in K.
    clouds : float
        Share of each image that clouds hide, in patches of a tenth of its side: 0 or more, below 1.
    irregular : float
        Share of an interval, below 0.5, by which all images but the first are early or late.
    seed : int
        Seed of the image, the noise, the clouds and the times, each with a generator of its own, so that noise does not
        change the clouds.

    Returns
    -------
    Dataset
        ``temperature`` (time, y, x) in degree_Celsius, NaN under clouds and on land, and the true velocity at its
        times, under its names; strict CF, in memory.

    Raises
    ------
    InputError
        If there is no velocity (time, y, x) in m s-1, or an option is out of range.

    References
    ----------
    Le Traon, P. Y., Klein, P., Hua, B. L., Dibarboure, G. (2008) Do altimeter wavenumber spectra agree with the
    interior or surface quasigeostrophic theory? doi:10.1175/2007JPO3806.1 (spectra of the surface of the ocean).

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr, xvar
    >>> current = np.full((2, 16, 16), 0.2)
    >>> truth = xr.Dataset(
    ...     {name: (("time", "y", "x"), current, {"units": "m s-1"}) for name in ("u", "v")},
    ...     coords={
    ...         "time": pd.date_range("2024-01-01", periods=2, freq="1D"),
    ...         "y": ("y", np.arange(16) * 1e4, {"units": "m", "standard_name": "projection_y_coordinate"}),
    ...         "x": ("x", np.arange(16) * 1e4, {"units": "m", "standard_name": "projection_x_coordinate"}),
    ...     },
    ... )
    >>> images = xvar.datasets.twin(truth, times="6h")
    >>> dict(images["temperature"].sizes)
    {'time': 5, 'y': 16, 'x': 16}
    """
    import torch

    from xvar.core.models.characteristics import departures, smooth_noise

    faults = Faults()
    names = _velocity_names(truth, velocity, faults)
    for name, value, below in (("clouds", clouds, 1.0), ("irregular", irregular, 0.5), ("noise", noise, np.inf)):
        if not 0 <= value < below:
            expected = "0 or more" if below == np.inf else f"0 or more, below {below:g}"
            faults.add(code="out-of-range", found=f"{name}={value}", expected=expected, fix=f"{name}=0.1")
    faults.raise_if_any()
    first = truth[names[0]]
    axes = faults.require(find_axes(first, faults))
    components = [_component(truth[name], axes, faults) for name in names]
    grid = horizontal_grid(first, axes, faults, mapping=truth)
    known = read_times(first, axes, faults)
    grid, known = faults.require(grid), faults.require(known)
    streams = [torch.Generator().manual_seed(4 * seed + index) for index in range(4)]
    seconds = _image_times(times, known, irregular, streams[3], faults)
    start = _first_image(image, grid, exponent, streams[0], faults)
    faults.raise_if_any()
    metres = np.stack(components, axis=1).astype("float64")
    bridge = Bridge(grid, None, "float64")
    cells = bridge.tensor(np.nan_to_num(metres)) * bridge.core_grid().cells_per_metre(dtype=torch.float64)
    held = slice(0, max(int(np.searchsorted(known.seconds, seconds[-1])) + 1, 2))
    moved = bridge.array(start(departures(cells[held], known.seconds[held].tolist(), seconds.tolist())))
    shape = moved.shape
    temperature = moved + noise * torch.randn(shape, generator=streams[1], dtype=torch.float64).numpy()
    temperature[:, ~np.isfinite(metres).all(axis=(0, 1))] = np.nan
    if clouds:
        cover = smooth_noise(shape[0], (shape[1], shape[2]), min(shape[1:]) / 20, streams[2]).numpy()
        temperature[cover > np.quantile(cover, 1 - clouds, axis=(1, 2), keepdims=True)] = np.nan
    return _dataset(truth, names, axes, known, metres, seconds, temperature)


def _velocity_names(truth: xr.Dataset, velocity: Pair | None, faults: Faults) -> Pair:
    for pair in VELOCITIES if velocity is None else (velocity,):
        if all(name in truth for name in pair):
            return pair
    found = f"the variables {', '.join(map(str, truth.data_vars)) or 'none'}"
    expected = "two components of a velocity" if velocity is None else f"{velocity[0]!r} and {velocity[1]!r}"
    faults.add(code="no-velocity", found=found, expected=expected, fix='velocity=("name along x", "name along y")')
    return "u", "v"


def _component(array: xr.DataArray, axes: Axes, faults: Faults) -> Array:
    units = units_of(array, None, faults)
    if units is not None and not same_units(units, "m s-1"):
        fix = f'ds[{array.name!r}] = (factor * ds[{array.name!r}]).assign_attrs(units="m s-1")'
        faults.add(code="wrong-units", variable=array.name, found=f"units {units!r}", expected="m s-1", fix=fix)
    image = canonical(array, axes, faults)
    return np.empty((0, 0, 0)) if image is None else np.asarray(image.values)


def _image_times(times: Any, known: Times, irregular: float, generator: Any, faults: Faults) -> Array:
    """Return the times of the images, in seconds from the first velocity."""
    last = known.seconds[-1]
    if times is None:
        seconds = known.seconds.copy()
    elif (isinstance(times, Sequence) and not isinstance(times, str)) or isinstance(times, (np.ndarray, xr.DataArray)):
        seconds = (np.asarray(times, dtype="datetime64[ns]") - known.values[0]) / np.timedelta64(1, "s")
    else:
        every = parse_duration(times, "times", faults)
        seconds = known.seconds[:1] if every is None else np.arange(0.0, last + 1e-6 * every, every)
    if irregular and len(seconds) > 1:
        import torch

        moved = torch.rand(len(seconds), generator=generator, dtype=torch.float64).numpy() * 2 - 1
        # Whole seconds, as precise as times in files.
        interval = np.diff(seconds, prepend=seconds[0]).clip(min=0)
        seconds = np.round(seconds + irregular * moved * interval).clip(known.seconds[0], last)
    if len(seconds) < 1 or seconds[0] < 0 or seconds[-1] > last or (np.diff(seconds) <= 0).any():
        found = f"{len(seconds)} times of images from {seconds.min(initial=0):g} to {seconds.max(initial=0):g} s"
        expected = f"ascending times within those of the velocity, 0 to {last:g} s"
        fix = 'times="1h", or dates within the record'
        faults.add(code="times-out-of-range", found=found, expected=expected, fix=fix)
    return seconds


def _first_image(
    image: xr.DataArray | None, grid: HorizontalGrid, exponent: float, generator: Any, faults: Faults
) -> Callable[[Tensor], Tensor]:
    """Return the first image as a function of positions (time, 2, y, x), to images (time, y, x)."""
    import torch

    from xvar.core.interpolate import sample as interpolated
    from xvar.core.models.characteristics import RandomImage

    if image is None:
        rows, columns = grid.shape
        random = RandomImage.draw((rows, columns), exponent, generator)
        return lambda positions: torch.stack([random(position[None])[0] for position in positions]) + MEAN
    own = np.asarray(image.squeeze(drop=True).values, dtype="float64")
    if own.shape != grid.shape or not np.isfinite(own).all():
        faults.add(
            code="image-not-on-grid",
            variable="image",
            found=f"shape {own.shape}, {int((~np.isfinite(own)).sum())} missing values",
            expected=f"a complete field on the grid of the velocity, {grid.shape}",
            fix='image.interp_like(truth).interpolate_na("x").interpolate_na("y")',
        )
    first = Bridge(grid, None, "float64").tensor(own)
    return lambda positions: interpolated(first.expand(len(positions), 1, -1, -1), positions, "cubic")[:, 0]


def _dataset(
    truth: xr.Dataset, names: Pair, axes: Axes, known: Times, metres: Array, seconds: Array, temperature: Array
) -> xr.Dataset:
    """Return the images and the velocity at their times as a Dataset."""
    dims, first = (axes.time, axes.y, axes.x), truth[names[0]]
    stated = {**first.attrs, **first.encoding}
    mapping = {key: stated[key] for key in ("grid_mapping",) if key in stated}
    attrs = {
        "long_name": "temperature that the velocity moves",
        "standard_name": "sea_surface_temperature",
        "units": "degree_Celsius",
        "units_metadata": "temperature: on_scale",
        **mapping,
    }
    after = np.searchsorted(known.seconds, seconds).clip(1, len(known.seconds) - 1)
    before = after - 1
    share = ((seconds - known.seconds[before]) / (known.seconds[after] - known.seconds[before]))[:, None, None]
    fields: dict[Hashable, Any] = {"temperature": (dims, temperature.astype("float32"), attrs)}
    for index, name in enumerate(names):
        values = (1 - share) * metres[before, index] + share * metres[after, index]
        fields[name] = (dims, values.astype("float32"), {**truth[name].attrs, **mapping})
    begin, step = known.values[0], np.round(seconds * 1e9).astype("int64").astype("timedelta64[ns]")
    dates = begin + step if known.values.dtype.kind == "M" else np.array([begin + s.item() for s in step])
    time = first.coords.get(axes.time)
    kept = {key: part for key, part in first.coords.items() if axes.time not in part.dims and part.ndim}
    coords = {**kept, axes.time: (axes.time, dates, {} if time is None else dict(time.attrs))}
    return to_cf(xr.Dataset(fields, coords), truth, action="twin()")
