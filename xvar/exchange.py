"""The motion in the conventions of other packages."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Problems
from xvar.forecast import read_analysis


def to_pysteps(data: xr.Dataset, window: int = -1) -> NDArray[Any]:
    """The motion at the end of a window as pysteps takes it.

    Parameters
    ----------
    data : Dataset
        An analysis.
    window : int
        Which of its windows.

    Returns
    -------
    ndarray (2, y, x)
        Displacement along the columns and along the rows of the image as it is stored, in pixels in the time between
        two frames: the ``velocity`` of ``pysteps.nowcasts``. Zero where there is no motion, on land.

    Raises
    ------
    InputError
        Where `data` is no analysis.

    Examples
    --------
    >>> import xvar
    >>> analysis = xvar.datasets.sample().var4d.assimilate()
    >>> analysis.var4d.to_pysteps().shape
    (2, 128, 128)
    """
    problems = Problems()
    analysed = read_analysis(data, problems)
    problems.refuse()
    assert analysed is not None
    grid, frame = analysed.grid, analysed.configuration.frame
    last = data[["u", "v"]].isel(window=window, step=-1)
    u, v = (last[name].transpose(*analysed.plane).values for name in ("u", "v"))
    if grid.metric is None:
        dy, dx = grid.spacing
    else:
        rows, columns = (slice(None) if up else slice(None, None, -1) for up in grid.ascending)
        dy, dx = grid.metric[:, rows, columns]
    down, right = (1 if up else -1 for up in grid.ascending)
    return np.nan_to_num(np.stack([right * u * frame / dx, down * v * frame / dy]))
