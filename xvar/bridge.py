"""The one place where arrays with labels become tensors, and back.

The core sees (window, frame, y, x) with both coordinates ascending, in the machine's byte order; the caller sees the
order of the input. A batch of windows is solved from plain arrays alone, so that it may run anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.grid import HorizontalGrid

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.grid import Grid
    from xvar.core.motion import ImageMotion
    from xvar.core.nowcast import Nowcast

Array = NDArray[Any]


def to_tensor(values: Array, *, dtype: str, device: str | None) -> Tensor:
    """A tensor of its own: torch takes no foreign byte order, no negative strides and nothing read-only."""
    import torch

    native = np.array(values, dtype=dtype, order="C", copy=True)
    return torch.from_numpy(native).to(device) if device else torch.from_numpy(native)


def to_array(tensor: Tensor) -> Array:
    """A numpy array of a tensor."""
    return np.asarray(tensor.detach().cpu().numpy())


def core_grid(grid: HorizontalGrid) -> Grid:
    """The grid as the core wants it."""
    import torch

    from xvar.core.grid import Grid

    metric = None if grid.metric is None else torch.from_numpy(np.array(grid.metric, dtype="float64"))
    return Grid(shape=grid.shape, spacing=grid.spacing, metric=metric)


def ascending(values: Array, grid: HorizontalGrid) -> Array:
    """Rows and columns in the order of ascending coordinates; applied twice it gives back the order of the input."""
    y, x = (slice(None) if up else slice(None, None, -1) for up in grid.ascending)
    return values[..., y, x]


def solve_windows(
    frames: Array, seconds: tuple[float, ...], grid: HorizontalGrid, motion: ImageMotion, *, dtype: str, device: str | None
) -> Mapping[str, Array]:
    """Analyse one batch of windows.

    Parameters
    ----------
    frames : array (window, frame, y, x)
        The frames of each window, in the order of the input, NaN where nothing was observed.
    seconds : tuple of float
        Time of each frame after the first.
    grid : HorizontalGrid
        The grid of the input.
    motion : ImageMotion
        What is to be solved, and how.
    dtype, device : str
        Of the tensors.

    Returns
    -------
    mapping of str to array
        The output variables by name, (window, ...), in the order of the input.
    """
    tensors = motion.analyse(to_tensor(ascending(frames, grid), dtype=dtype, device=device), seconds, core_grid(grid))
    fields = {name: to_array(values) for name, values in tensors.items()}
    return {name: np.ascontiguousarray(ascending(v, grid)) if v.shape[-2:] == grid.shape else v for name, v in fields.items()}


def extrapolate_windows(
    observed: Array,
    u: Array,
    v: Array,
    growth: Array,
    image_scale: Array,
    *,
    grid: HorizontalGrid,
    nowcast: Nowcast,
    leads: tuple[float, ...],
    frame: float,
    dtype: str,
    device: str | None,
) -> tuple[Array, Array]:
    """Extrapolate one batch of windows.

    Parameters
    ----------
    observed, u, v : array (window, y, x)
        The last image, and the motion at its time.
    growth : array (window, source, y, x)
        Its sources.
    image_scale : array (window,)
        The deviation of the images.
    grid, nowcast, leads, frame
        See `Nowcast.extrapolate`.
    dtype, device : str
        Of the tensors.

    Returns
    -------
    forecast, origin : array (window, lead, y, x)
    """

    def tensor(values: Array) -> Tensor:
        return to_tensor(ascending(values, grid), dtype=dtype, device=device)

    velocity = np.stack([ascending(u, grid), ascending(v, grid)], axis=1)
    images, outside = nowcast.extrapolate(
        tensor(observed)[:, None],
        to_tensor(velocity, dtype=dtype, device=device),
        tensor(growth),
        to_tensor(image_scale, dtype=dtype, device=device),
        leads,
        frame,
        core_grid(grid),
    )
    return ascending(to_array(images), grid), ascending(to_array(outside).astype("int8"), grid)
