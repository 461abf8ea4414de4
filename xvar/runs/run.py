"""Run a long record into a store, and report how far a run is."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, Literal

import dask.config
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.assimilation import assimilate
from xvar.errors import Fault, InputError, Status, refuse_unknown
from xvar.execution import workers as processes
from xvar.execution.workers import connected, started
from xvar.io.structure import is_intact
from xvar.io.writing import NETCDF, refuse_missing_folder
from xvar.runs.computation import Computation
from xvar.runs.lock import holder_of, locked
from xvar.runs.netcdf_store import NetCDFStore
from xvar.runs.report import Progress, Report, watched
from xvar.runs.store import Store
from xvar.runs.zarr_store import ZarrStore


def run(
    data: xr.Dataset | xr.DataArray,
    store: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
    accept_versions: bool = False,
    workers: int | Literal["auto"] | None = None,
    scheduler: str | None = None,
    progress: bool | Progress = False,
    zarr_format: int | None = None,
    **options: Any,
) -> Report:
    """Assimilate a record into a Zarr store or a NetCDF file; the same call again completes it.

    Each batch of windows is a task that reads its frames, solves them and writes its part of the store. A run that is
    killed at any time loses the batches in flight only: the same call computes the rest, and the result has the same
    bits. Without a cluster the tasks run in threads of this process.

    Parameters
    ----------
    data : Dataset or DataArray
        The record, as for `assimilate`.
    store : path
        ``NAME.zarr`` or ``NAME.nc``, on a file system that all workers see. A Zarr store can be read while it grows:
        windows that were not run have ``status`` 0, and NaN. A NetCDF file is there when it is complete.
    overwrite : bool
        Replace what is at the place and is not of this run; it stays until the new results are complete. Results of
        this run are resumed all the same.
    retry_failed : bool
        Run windows that failed once more, such as those of files that could not be read. Of cycled windows those
        behind them, to the end of the chain, are run again too.
    accept_versions : bool
        Resume a run of another version of xvar, torch or Python, whose bits may differ.
    workers : int or "auto", optional
        Start that many worker processes, with one thread each, and use them. Default: threads of this process. "auto":
        the first batch is solved here, and processes are started if the others take longer in threads, of which Python
        runs one at a time, than with the start of processes. The bits do not depend on it.
    scheduler : str, optional
        Address of a scheduler of dask.distributed, such as ``tcp://host:8786``. Default: the active client, if any.
    progress : bool or callable (Report)
        Show a bar in a terminal or a notebook; or a function that is called at the beginning and whenever windows are
        finished.
    zarr_format : {2, 3}, optional
        Format of a new Zarr store; default: that of the zarr package.
    **options
        Options of `assimilate`. With ``errors="continue"`` windows that fail, or whose frames cannot be read, are
        marked, and the run continues with the others.

    Returns
    -------
    Report
        Windows done, failed and why.

    Raises
    ------
    InputError
        If input, options or place cannot be used: the store is of another run, or another run writes into it.
    WindowError
        If a window fails, unless ``errors="continue"``; what is finished is kept.
    StoreError
        If the disk refuses: an OSError with the path. What is finished is kept.
    Interrupted
        After Ctrl-C: a KeyboardInterrupt. What is finished is kept.

    Notes
    -----
    A store belongs to its run by content: models, functions, operators and options are compared by their state and
    code, and frames by digests: of a record in memory all of them, of a lazy record those of windows that are done, for
    which they are read once more. What a store holds is read and compared with its checksums; windows that are damaged
    or absent are run again.

    A batch whose worker died three times is submitted once more, one window a task; a window that kills its worker
    three times again is marked failed, and the run continues.
    """
    processes.refuse_start_in_import()
    known = {**inspect.signature(run).parameters, **inspect.signature(assimilate).parameters}
    refuse_unknown(options, [name for name in known if name not in ("data", "store", "options")], "run()")
    if "://" in os.fspath(store):
        raise InputError(
            code="store-is-a-url",
            found=f"{os.fspath(store)!r}",
            expected="a path of a file system that all workers see: a run locks its place and renames its results",
            fix="analysis.to_zarr(url) writes to an object store, without resuming",
        )
    if isinstance(workers, str) and workers != "auto":
        raise InputError(
            code="option-value",
            variable="workers",
            found=f"workers={workers!r}",
            expected='a number of processes, or "auto"',
            fix="workers='auto'",
        )
    if isinstance(workers, int) and scheduler is not None:
        raise InputError(
            code="workers-and-scheduler",
            found="workers= and scheduler=",
            expected="one of them: workers are started here",
            fix="leave one out",
        )
    holder = _store(store, zarr_format)
    refuse_missing_folder(holder.path)
    with connected(scheduler) as client:
        # Faults of the input are reported before workers are started, and before anything is locked.
        with dask.config.set({"num_workers": workers} if isinstance(workers, int) else {}):
            computation = Computation(data, holder, options)
        with locked(holder.path), watched(progress, holder.path.name) as computation.progress:
            computation.client = client
            computation.prepare(overwrite=overwrite, retry_failed=retry_failed, accept_versions=accept_versions)
            with started(computation.choose_workers() if workers == "auto" else workers) as own:
                computation.client = client if own is None else own
                return computation.complete()


def status(store: str | os.PathLike[str], *, verify: bool = False) -> Report:
    """Report the progress of the run into a store.

    Parameters
    ----------
    store : path
        A Zarr store or NetCDF file of `run`, finished or not, or any other analysis.
    verify : bool
        Read everything, and compare it with the checksums: windows that are damaged or absent count as not run.

    Returns
    -------
    Report
        Windows in all, done, failed (and why) and not run; with `verify` what is damaged.

    Raises
    ------
    InputError
        If there is no analysis.
    StoreError
        If the status of the windows is damaged.
    """
    path, holder = Path(store).expanduser(), _store(store)
    holder.instead = not holder.path.exists() and holder.new.exists()
    state = holder.state()
    if state is None:
        return Report(path, _status_of_analysis(path), running=holder_of(path))
    numbers = state.status.copy()
    if not verify:
        holder.check_status()
    damages = holder.damages(state) if verify else []
    for damage in damages:
        numbers[damage.begin : damage.end] = Status.NOT_RUN
    return Report(path, numbers, state.failures, running=holder_of(path), damaged=tuple(map(str, damages)))


def _store(store: str | os.PathLike[str], zarr_format: int | None = None) -> Store:
    """Return the store at a path, or where a symbolic link leads: overwriting replaces the file, not a link to it."""
    path = Path(store).expanduser()
    is_netcdf = path.suffix.lower() in NETCDF
    return NetCDFStore(path.resolve()) if is_netcdf else ZarrStore(path.resolve(), zarr_format=zarr_format)


def _status_of_analysis(path: Path) -> NDArray[np.int8]:
    """Return the status of windows of an analysis that `run` did not write."""
    if not path.exists():
        found, fix = f"no file {str(path)!r}", "check the path"
        raise InputError(Fault(found, "the output of xvar.run, or of xvar assimilate -o", fix, code="file-not-found"))
    try:
        if path.is_file() and not is_intact(path):
            raise OSError(f"{path}: its structure is not as it was written")
        with xr.open_dataset(path) if path.is_file() else xr.open_zarr(path) as file:
            return np.asarray(file["status"].values, dtype=np.int8)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            code="not-an-analysis",
            found=f"{str(path)!r}, which holds no analysis, or one that is damaged",
            expected="a store of xvar.run, or of xvar assimilate -o",
            fix="check the path; a run that is damaged is begun anew by its command with overwrite=True (--overwrite)",
        ) from error
