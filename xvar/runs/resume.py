"""Choose what of a store is kept: the run that it holds must be the same, with the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import InputError, Status
from xvar.execution.batches import Batch, LazyTasks
from xvar.runs.journal import State
from xvar.runs.manifest import Manifest
from xvar.runs.store import Store
from xvar.runs.tasks import frames_tasks, unreadable


def resumed(store: Store, manifest: Manifest, *, overwrite: bool, accept_versions: bool) -> State | None:
    """Return the journal of the run that is resumed; None if the run begins anew.

    InputError if the store holds another run, or one of other versions, and is not to be replaced.
    """
    # Perhaps a run that replaces another was under way.
    for instead in (True, False) if overwrite and store.new.exists() else (False,):
        store.instead = instead
        found = store.state()
        differences = None if found is None else found.manifest.differences(manifest)
        if found is None or differences:
            continue
        others = found.manifest.other_versions(manifest)
        if accept_versions or not others:
            return found
        if not overwrite:
            raise InputError(
                code="other-versions",
                found=f"{str(store.path)!r}, a run of other versions: {'; '.join(others)}",
                expected="the versions of the run, so that all windows have the bits of one",
                fix="accept_versions=True (--accept-versions), or install those versions",
            )
    if not overwrite and (store.path.exists() or store.place.exists()):
        what = (
            "which is no run of xvar, or was written by a version before 0.2"
            if differences is None
            else f"a run with other input or options: {'; '.join(differences)}"
        )
        raise InputError(
            code="store-of-another-run",
            found=f"{str(store.path)!r}, {what}",
            expected="a new name, or the store of the same run, which is resumed",
            fix="another name, or overwrite=True (--overwrite): what is there stays until the new is complete",
        )
    store.instead = store.path.exists()
    return None


def compare_frames(analysis: xr.Dataset, deferred: LazyTasks, state: State, client: Any) -> None:
    """Raise InputError if the frames of windows that are done are not those that were solved."""
    batches = deferred.batches
    known = state.frames * (state.status != Status.NOT_RUN)
    wanted = [index for index, batch in enumerate(batches) if known[batch.begin : batch.end].any()]
    if not wanted:
        return
    import dask.threaded

    graph, keys = frames_tasks(analysis, deferred, wanted)
    try:
        results = (dask.threaded.get if client is None else client.get)(graph, keys)
    except (OSError, RuntimeError, ValueError) as error:
        raise unreadable(error, batches[wanted[0]], batches[wanted[-1]]) from error
    for index, now in zip(wanted, results, strict=True):
        then = known[batches[index].begin : batches[index].end]
        others = np.flatnonzero((then != 0) & (now[: len(then)] != then))
        if others.size:
            raise InputError(
                code="other-frames",
                index=batches[index].name(int(others[0])),
                found="frames or times that are not those which were solved into this store",
                expected="the record of the run, which is resumed; frames may follow it",
                fix="the record as it was, another name, or overwrite=True (--overwrite)",
            )


def failed_windows(status: NDArray[np.int8], batches: Sequence[Batch]) -> list[int]:
    """Return the windows that failed, of cycled windows also those behind them in their chain."""
    failed = np.isin(status, (Status.DIVERGED, Status.FAILED))
    for batch in batches:
        lead = () if batch.lead is None else batch.lead
        for window, seconds in zip(range(batch.begin, min(batch.end, len(failed))), lead, strict=False):
            failed[window] |= window > 0 and np.isfinite(seconds) and failed[window - 1]
    return [int(window) for window in np.flatnonzero(failed)]
