"""Runs from a shell: the commands ``assimilate`` and ``status``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from xvar.cli.configuration import ATTRIBUTE, as_toml, configurable
from xvar.cli.parameters import FLAGS, AsJson, Inputs, Output, Trusted, files_as_reading, options_of_table
from xvar.cli.terminal import FAILED, INTERRUPTED, UNFINISHED, complain, finish, opened_record, outgoing, say


@configurable
@options_of_table(*FLAGS)
@files_as_reading()
def assimilate(
    context: typer.Context,
    inputs: Inputs,
    output: Output,
    workers: Annotated[
        str,
        typer.Option(help="Worker processes on this machine: a number, 0 for threads, or auto."),
    ] = "auto",
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler: tcp://host:8786.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what another run or program wrote.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run windows that failed again.")] = False,
    accept_versions: Annotated[
        bool, typer.Option("--accept-versions", help="Resume a run of another version of xvar, torch or Python.")
    ] = False,
    *,
    reading: Mapping[str, Any],
    **options: Any,
) -> None:
    """Find the motion in a record of images; an interrupted run goes on if it is started again."""
    import time

    from xvar.execution.batches import WindowError
    from xvar.execution.workers import WorkerError
    from xvar.runs import Interrupted, run
    from xvar.runs.outcome import warn_of_outcome

    began = time.perf_counter()
    processes: Any = (int(workers) or None) if workers.isdigit() else workers
    try:
        # An existing file may be the beginning of this run.
        with (
            outgoing(output, overwrite=True) as target,
            opened_record(inputs, **reading) as (record, variable),
        ):
            report = run(
                record.assign_attrs({ATTRIBUTE: as_toml(context)}),
                target,
                variable=variable,
                overwrite=overwrite,
                retry_failed=retry_failed,
                accept_versions=accept_versions,
                workers=processes,
                scheduler=scheduler,
                progress=True,
                **options,
            )
            warn_of_outcome(report, target)
    except Interrupted as end:
        complain(end)
        raise typer.Exit(INTERRUPTED) from None
    except (WindowError, WorkerError) as error:
        complain(error)
        raise typer.Exit(FAILED if isinstance(error, WindowError) else UNFINISHED) from None
    for index, reason in report.failed.items():
        complain(f"window {index} failed: {reason}")
    for text in report.damaged:
        complain(f"{text}; it was written again")
    if report.before == report.windows:
        finish(output, f"all {report.windows} windows were done already")
    else:
        before = f", {report.before} of them before" if report.before else ""
        way = f", {report.way}" if report.way else ""
        finish(output, f"{report.counts}{before}, in {time.perf_counter() - began:.1f} s{way}")
    if report.failed:
        raise typer.Exit(FAILED)


def status(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="The output of `xvar assimilate`, or status.json.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything; windows that are damaged or absent are not run.")
    ] = False,
    as_json: AsJson = False,
    trusted: Trusted = False,
) -> None:
    """Print which windows of a run are done, failed (and why), or not run; the exit code tells them apart.

    Of a service, from its status.json: what it did last, with exit code 0 if it runs and frames arrive, else 4.
    """
    import json

    from xvar.io.untrusted import check_untrusted
    from xvar.runs import status as call
    from xvar.runs.report import ranges

    if store.suffix == ".json":
        _status_of_service(store, as_json=as_json)
        return
    if store.exists() and not trusted:
        check_untrusted(store)
    report = call(store, verify=verify)
    if as_json:
        known = {"windows": report.windows, "done": report.done, "failed": report.failed, "not_run": report.not_run}
        known |= {"outcomes": report.outcomes, "running": report.running, "damaged": report.damaged}
        say(json.dumps(known))
    else:
        say(report)
        say(f"outcomes: {', '.join(f'{count} {word}' for word, count in report.outcomes.items())}")
        for window, reason in report.failed.items():
            say(f"window {window} failed: {reason}")
        for text in report.damaged:
            say(text)
        if report.left:
            say(f"not run: {ranges(report.not_run)}")
            idle = "no process runs it: the same xvar assimilate goes on with the missing windows"
            say(f"running: {report.running}" if report.running else idle)
    if report.left or report.damaged:
        raise typer.Exit(UNFINISHED)
    if report.failed:
        raise typer.Exit(FAILED)


def _status_of_service(path: Path, *, as_json: bool) -> None:
    """Print the status of `xvar follow`."""
    import json

    from xvar.service.journal import read_status

    found, healthy = read_status(path)
    if as_json:
        say(json.dumps(found))
    else:
        for name, value in found.items():
            if name == "scores":
                for lead, one in value.items():
                    error, last = one["rmse"], one["rmse_persistence"]
                    say(f"{lead} min: RMSE {error:.3g}, persistence {last:.3g}, of {one['forecasts']} forecasts")
                continue
            text = ", ".join(f"{count} {key}" for key, count in value.items()) if name == "counts" else value
            say(f"{name.replace('_', ' ')}: {text}")
    if not healthy:
        raise typer.Exit(UNFINISHED)
