"""The commands; the modules that they need are imported when they run."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from xvar.cli.exports import export
from xvar.cli.operation import follow, nowcast
from xvar.cli.parameters import (
    ATTRIBUTE,
    FLAGS,
    READING,
    Analysis,
    AsJson,
    ClipNegative,
    Group,
    Inputs,
    Output,
    Overwrite,
    Site,
    TimeFromName,
    Trusted,
    as_toml,
    configurable,
    options_of_table,
    stated,
)
from xvar.cli.pictures import animate, plot, view
from xvar.cli.terminal import (
    FAILED,
    INTERRUPTED,
    UNFINISHED,
    UNUSABLE,
    complain,
    finish,
    in_shell,
    opened,
    opened_record,
    outgoing,
    say,
)
from xvar.errors import AnalysisWarning, InputError, InputWarning


class Commands(TyperGroup):
    """All commands; a fault of the input is a message without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # The reader has closed the pipe; nothing more may be flushed into it at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from error
        except (InputError, OSError) as error:
            complain(in_shell(str(error), _typed(ctx)))
            raise typer.Exit(UNUSABLE) from error


application = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 2 a call, an input or a file that cannot be used, 3 windows failed, "
    "4 windows were not run, 130 interrupted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"xvar {version('xvar')}")
        raise typer.Exit


@application.callback()
def options(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  (read by its callback)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """4D-Var for xarray: the motion in a sequence of images, and the forecast it gives."""
    command = _typed(context)

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        complain(f"warning: {in_shell(str(message), command)}")

    # Lines about the input and the analysis; a user of the shell cannot act on warnings of libraries.
    warnings.simplefilter("ignore")
    for category in (InputWarning, AnalysisWarning):
        warnings.simplefilter("always", category)
    warnings.showwarning = show


def _typed(context: typer.Context) -> Any:
    """Return the command that was typed, from the context of all commands."""
    commands: Any = context.command
    return commands.get_command(context, str(context.invoked_subcommand)) or commands


@application.command(
    epilog="Examples: xvar assimilate radar.nc -o analysis.nc; "
    "xvar assimilate 'sst_*.nc' analysed_sst -o currents.zarr --window 3D"
)
@configurable
@options_of_table(*FLAGS)
def assimilate(
    context: typer.Context,
    inputs: Inputs,
    output: Output,
    workers: Annotated[
        str,
        typer.Option(help="Worker processes on this machine: a number, 0 for threads, or auto."),
    ] = "auto",
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler: tcp://host:8786.")] = None,
    site: Site = None,
    group: Group = None,
    time_from_name: TimeFromName = None,
    clip_negative: ClipNegative = False,
    trusted: Trusted = False,
    overwrite: Overwrite = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run windows that failed again.")] = False,
    accept_versions: Annotated[
        bool, typer.Option("--accept-versions", help="Resume a run of another version of xvar, torch or Python.")
    ] = False,
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
    reading = {"site": site, "time_from_name": time_from_name, "clip_negative": clip_negative}
    try:
        # An existing file may be the beginning of this run.
        with (
            outgoing(output, overwrite=True) as target,
            opened_record(inputs, group, trusted=trusted, **reading) as (record, variable),
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


@application.command(
    epilog="Exit codes: 0 all windows done, 3 all were run and some failed, 4 some were not run or are damaged. "
    "Example: xvar status analysis.zarr && xvar forecast analysis.zarr -o forecast.nc"
)
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


@application.command(
    epilog="Examples: xvar forecast analysis.nc -o forecast.nc --lead 30min; "
    "xvar forecast analysis.nc -o members.nc --members 20 --seed 1"
)
@configurable
def forecast(
    analysis: Analysis,
    output: Output,
    lead: Annotated[str, typer.Option(help="How far ahead, such as 30min.")] = "30min",
    every: Annotated[str | None, typer.Option(help="Time between forecasts; default: that between frames.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave out transient, growth, power_limit or motion_fading; may be given several times."),
    ] = None,
    kind: Annotated[str, typer.Option(help="sharp, or mean: the forecast of least error.")] = "sharp",
    members: Annotated[int | None, typer.Option(help="Members of an ensemble, such as 20.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the ensemble; default: 0.")] = None,
    trusted: Trusted = False,
    overwrite: Overwrite = False,
) -> None:
    """Extrapolate the last images of an analysis."""
    from xvar.analysis.forecast import forecast as call
    from xvar.io.writing import write

    with outgoing(output, overwrite=overwrite) as target, opened([analysis], trusted=trusted) as analysed:
        options = stated(kind=kind, members=members, seed=seed, without=tuple(without or ()))
        result = call(analysed, lead, every, **options)
        write(result, target, overwrite=overwrite)
    finish(output, f"{result.sizes['lead_time']} lead times of {result.sizes['window']} windows")


@application.command(epilog="Example: xvar geographic currents.nc -o currents-east-north.nc")
def geographic(analysis: Analysis, output: Output, trusted: Trusted = False, overwrite: Overwrite = False) -> None:
    """Add the motion towards east and north to an analysis on any grid."""
    from xvar.analysis.to_geographic import to_geographic
    from xvar.io.writing import write

    with outgoing(output, overwrite=overwrite) as target, opened([analysis], trusted=trusted) as analysed:
        write(to_geographic(analysed), target, overwrite=overwrite)
    finish(output, "eastward and northward added")


@application.command(epilog="Example: xvar verify forecast.nc radar.nc --threshold 0.5 --threshold 5")
@configurable
def verify(
    result: Annotated[str, typer.Argument(metavar="FORECAST", help="What `xvar forecast` wrote, or an analysis.")],
    truth: Annotated[list[str], typer.Argument(metavar="TRUTH...", help="The observed record, a file or several.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write the scores, .nc or .zarr.")
    ] = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="Of events, in mm h-1 for rain; may be given several times.")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="Side of the squares of the FSS, such as 10km.")] = None,
    as_json: AsJson = False,
    trusted: Trusted = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare a forecast with what was observed, or a motion with the true one."""
    from xvar.analysis.verify import verify as call
    from xvar.cli.tables import print_json, print_scores
    from xvar.io.writing import check_target, write

    if output is not None:
        check_target(output, overwrite=overwrite)
    with opened([result], trusted=trusted) as compared, opened(truth, trusted=trusted) as observed:
        scores = call(compared, observed, **stated(thresholds=tuple(threshold or ()), scale=scale))
    if output is not None:
        write(scores, output, overwrite=overwrite)
    (print_json if as_json else print_scores)(scores)
    if output is not None:
        finish(
            output,
            f"scores of {scores.sizes['lead_time' if 'lead_time' in scores.sizes else 'step']} times",
            aside=as_json,
        )


@application.command(epilog="Example: xvar diagnose analysis.nc, of xvar assimilate --save innovation --save residual")
def diagnose(
    analysis: Analysis,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write the diagnostics, .nc or .zarr.")
    ] = None,
    as_json: AsJson = False,
    trusted: Trusted = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare an analysis with its stated errors: 2 J / p, estimates of R and HBH^T, degrees of freedom for signal."""
    from xvar.analysis.diagnose import diagnose as call
    from xvar.cli.tables import print_json
    from xvar.io.writing import check_target, write

    if output is not None:
        check_target(output, overwrite=overwrite)
    with opened([analysis], trusted=trusted) as analysed:
        found = call(analysed)
    if output is not None:
        write(found, output, overwrite=overwrite)
    if as_json:
        print_json(found)
    else:
        say(found.attrs["comment"])
    if output is not None:
        finish(output, "diagnostics", aside=as_json)


application.command(epilog="Example: xvar export nowcast.nc -o motion.geojson --of motion --every 8")(export)
application.command(epilog="Example: xvar nowcast 'radar/*.nc' -o nowcast.nc --lead 60min --members 20")(nowcast)
application.command(epilog="Example: xvar follow radar -o 'out/nowcast_{time:%Y%m%d%H%M}.nc' --every-frame --keep 6h")(
    follow
)
application.command(
    epilog="Examples: xvar plot analysis.nc -o motion.png --style colours; "
    "xvar plot forecast.nc radar.nc -o forecast.png --kind forecast"
)(plot)
application.command(epilog="Example: xvar animate analysis.nc radar.nc -o storm.gif --lead 30min")(animate)
application.command(epilog="Example: xvar view analysis.nc radar.nc")(view)


@application.command(epilog="Example: xvar info radar.nc")
@options_of_table(*READING)
def info(
    inputs: Inputs,
    site: Site = None,
    group: Group = None,
    time_from_name: TimeFromName = None,
    clip_negative: ClipNegative = False,
    trusted: Trusted = False,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Print how a file is read: variable, axes, spacing, units, times, gaps; of an analysis its summary."""
    from xvar.analysis.summary import summary
    from xvar.check import describe
    from xvar.cli.tables import print_facts
    from xvar.plan.configuration import ATTRIBUTE as CONFIGURATION

    reading = {"site": site, "time_from_name": time_from_name, "clip_negative": clip_negative}
    with opened_record(inputs, group, trusted=trusted, **reading) as (record, variable):
        is_analysis = CONFIGURATION in record.attrs and "status" in record
        facts = {"analysis": summary(record).splitlines()} if is_analysis else describe(record, variable, **options)
        print_facts(facts, as_json=as_json)


@application.command(epilog="Example: xvar check radar.nc. Exit codes: 0 all passed, 1 a test failed, 2 unusable.")
@configurable
@options_of_table(*FLAGS)
def check(
    context: typer.Context,
    inputs: Inputs,
    site: Site = None,
    group: Group = None,
    time_from_name: TimeFromName = None,
    clip_negative: ClipNegative = False,
    trusted: Trusted = False,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Print how a file is read, and whether a known motion of its images is found again."""
    from xvar.check import record as examine

    reading = {"site": site, "time_from_name": time_from_name, "clip_negative": clip_negative}
    with opened_record(inputs, group, trusted=trusted, **reading) as (data, variable):
        examination = examine(data, variable, **options)
    say(examination.to_json() if as_json else in_shell(str(examination), context.command))
    if not examination.passed:
        raise typer.Exit(UNUSABLE if examination.faults else 1)


@application.command()
def demo() -> None:
    """Assimilate and forecast the storm that ships with xvar, in the current folder."""
    from xvar.cli.demonstration import demonstrate

    demonstrate()
