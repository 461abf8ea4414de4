"""The commands and their options; what they do is loaded when they run."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from xvar.cli.options_file import ATTRIBUTE, as_toml, load
from xvar.cli.pipes import incoming, outgoing
from xvar.cli.wording import in_shell
from xvar.errors import InputError

# Exit codes.
PROBLEM = 2  # a call, an input or a file cannot be used
FAILED = 3  # some windows failed
UNFINISHED = 4  # some windows were not run
INTERRUPTED = 130


class Commands(TyperGroup):
    """All commands; what is wrong with an input is a message, no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # Who reads has seen enough; nothing more is to be flushed to it at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from error
        except (InputError, OSError) as error:
            typer.echo(f"xvar: {in_shell(str(error), _typed(ctx))}", err=True)
            raise typer.Exit(PROBLEM) from error


application = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 2 a call, an input or a file that cannot be used, 3 windows failed, "
    "4 windows were not run, 130 interrupted.",
)

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT", help="What to write, .nc or .zarr; - for NetCDF into a pipe.")
]
MaybeOutput = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write the scores, .nc or .zarr.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Group = Annotated[str | None, typer.Option(help="Group of the file, where the record is in one.")]
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE... [VARIABLE]",
        help="A file, several, a pattern such as 'radar_*.nc', a URL, or - for NetCDF from a pipe; "
        "then the variable, where there are several.",
    ),
]
Truth = Annotated[
    list[str] | None, typer.Argument(metavar="[TRUTH]...", help="The observed record, a file or several.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=load,
        help="Options from a file of TOML, or those of an earlier output.",
    ),
]
ShowConfig = Annotated[
    bool, typer.Option("--show-config", help="Print the options as such a file, and do nothing else.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"xvar {version('xvar')}")
        raise typer.Exit


@application.callback()
def options(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  (read by its callback)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """4D-Var for xarray: the motion in a sequence of images, and the forecast it gives."""
    _quiet_libraries(_typed(context))


def _typed(context: typer.Context) -> Any:
    """The command that was typed, from the context of all of them."""
    commands: Any = context.command
    return commands.get_command(context, str(context.invoked_subcommand)) or commands


def _quiet_libraries(command: Any) -> None:
    """Show the warnings that are about the input, in a line each; nobody at a shell can act on the others."""
    from xvar.errors import AnalysisWarning, InputWarning

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"xvar: warning: {in_shell(str(message), command)}", err=True)

    warnings.simplefilter("ignore")
    for category in (InputWarning, AnalysisWarning):
        warnings.simplefilter("always", category)
    warnings.showwarning = show


def _split(inputs: Sequence[str]) -> tuple[list[str], str | None]:
    """Files, and the variable where the last word is no file."""
    last = inputs[-1]
    is_file = last == "-" or Path(last).suffix or Path(last).exists() or any(mark in last for mark in "*?[/\\")
    if len(inputs) == 1 or is_file:
        return list(inputs), None
    return list(inputs[:-1]), last


def _frames_or_duration(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.strip().lstrip("+-").isdigit() else text


def _given(**options: Any) -> dict[str, Any]:
    """Options that were given: defaults stand in one place, the function's signature."""
    return {name: value for name, value in options.items() if value not in (None, (), [], False)}


def _say(text: str) -> None:
    """A line for who sits at the terminal."""
    if sys.stderr.isatty():
        typer.echo(text, err=True)


@application.command(
    epilog="Examples: xvar assimilate radar.nc -o analysis.nc; "
    "xvar assimilate 'sst_*.nc' analysed_sst -o currents.zarr --window 3D"
)
def assimilate(
    context: typer.Context,
    inputs: Inputs,
    output: Output,
    window: Annotated[
        str | None, typer.Option(help="Length of a window, in frames or as a duration: 4, 15min, 3D.")
    ] = None,
    stride: Annotated[str | None, typer.Option(help="From one window to the next, likewise.")] = None,
    partial: Annotated[str | None, typer.Option(help="Frames that fill no window: drop or keep.")] = None,
    constraint: Annotated[str | None, typer.Option(help="The model is perfect: strong, or not: weak.")] = None,
    background: Annotated[
        str | None, typer.Option(help='"cycled": each window begins from the forecast of the one before.')
    ] = None,
    land: Annotated[str | None, typer.Option(help='Variable with the land, or "never_valid".')] = None,
    coast: Annotated[
        str | None, typer.Option(help="free, or no_flow: no current of the sea crosses the coast.")
    ] = None,
    units: Annotated[str | None, typer.Option(help="Units of the variable, where the file has none.")] = None,
    dx: Annotated[float | None, typer.Option(help="Metres between columns, where there are no coordinates.")] = None,
    dy: Annotated[float | None, typer.Option(help="Metres between rows.")] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Bring frames into order of time.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse infinite values.")] = False,
    errors: Annotated[str | None, typer.Option(help="A window that fails: raise, or continue.")] = None,
    batch: Annotated[str | None, typer.Option(help="Windows of a task, or its memory: 8, 500MiB.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64.")] = None,
    device: Annotated[str | None, typer.Option(help="Device of torch, such as cuda.")] = None,
    save: Annotated[list[str] | None, typer.Option(help="Also: increment, innovation, residual, cost_history.")] = None,
    workers: Annotated[int | None, typer.Option(help="Start that many worker processes on this machine.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler: tcp://host:8786.")] = None,
    group: Group = None,
    overwrite: Overwrite = False,
    config: Config = None,  # noqa: ARG001  (read by its callback)
    show_config: ShowConfig = False,
) -> None:
    """Find the motion in a record of images; run again after an end of any kind, it does what is missing."""
    import time

    from xvar.execution.batches import WindowError
    from xvar.execution.workers import WorkerError
    from xvar.io.reading import open_files
    from xvar.io.writing import check_target
    from xvar.runs import Interrupted, run

    if show_config:
        typer.echo(as_toml(context), nl=False)
        return
    if str(output) != "-":
        check_target(output, overwrite=True)  # what is there already may be the beginning of this run
    files, variable = _split(inputs)
    options = _given(
        window=_frames_or_duration(window),
        stride=_frames_or_duration(stride),
        partial=partial,
        constraint=constraint,
        background=background,
        land=land,
        coast=coast,
        units=units,
        dx=dx,
        dy=dy,
        sort=sort,
        strict=strict,
        errors=errors,
        batch=_frames_or_duration(batch),
        dtype=dtype,
        device=device,
        save=tuple(save or ()),
    )
    began = time.perf_counter()
    try:
        with (
            incoming(files) as paths,
            open_files(paths, group) as record,
            outgoing(output) as target,
        ):
            report = run(
                record.assign_attrs({ATTRIBUTE: as_toml(context)}),
                target,
                variable=variable,
                overwrite=overwrite,
                workers=workers,
                scheduler=scheduler,
                progress=True,
                **options,
            )
    except Interrupted as end:
        typer.echo(f"xvar: {end}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (WindowError, WorkerError) as error:
        typer.echo(f"xvar: {error}", err=True)
        raise typer.Exit(FAILED if isinstance(error, WindowError) else UNFINISHED) from None
    for index, reason in report.failed.items():
        typer.echo(f"xvar: window {index} failed: {reason}", err=True)
    if report.before == report.windows:
        _say(f"{output}: all {report.windows} windows were done already")
    else:
        before = f", {report.before} of them before" if report.before else ""
        _say(f"{report}{before}, in {time.perf_counter() - began:.1f} s")
    if report.failed:
        raise typer.Exit(FAILED)


@application.command(
    epilog="Exit codes: 0 all windows done, 3 all were run and some failed, 4 some were not run. "
    "Example: xvar status analysis.zarr && xvar forecast analysis.zarr -o forecast.nc"
)
def status(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="What `xvar assimilate -o` writes or wrote.")],
    json: AsJson = False,
) -> None:
    """Say which windows of a run are done, failed (and why), or not run; the exit code says whether all are done."""
    import json as format_json

    from xvar.runs import status as call
    from xvar.runs.report import ranges

    report = call(store)
    if json:
        known = {"windows": report.windows, "done": report.done, "failed": report.failed, "not_run": report.not_run}
        typer.echo(format_json.dumps({**known, "outcomes": report.outcomes, "running": report.running}))
    else:
        typer.echo(str(report))
        typer.echo(f"outcomes: {', '.join(f'{count} {word}' for word, count in report.outcomes.items())}")
        for window, reason in report.failed.items():
            typer.echo(f"window {window} failed: {reason}")
        if report.left:
            typer.echo(f"not run: {ranges(report.not_run)}")
            typer.echo(
                f"running: {report.running}"
                if report.running
                else "nobody runs it: the same xvar assimilate goes on with what is missing"
            )
    if report.left:
        raise typer.Exit(UNFINISHED)
    if report.failed:
        raise typer.Exit(FAILED)


@application.command(epilog="Example: xvar forecast analysis.nc -o forecast.nc --lead 30min")
def forecast(
    context: typer.Context,
    analysis: Annotated[str, typer.Argument(metavar="ANALYSIS", help="What `xvar assimilate` wrote.")],
    output: Output,
    lead: Annotated[str, typer.Option(help="How far ahead, such as 30min.")] = "30min",
    every: Annotated[str | None, typer.Option(help="Time between forecasts; default: that between frames.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave out transient, growth or power_limit; may be given several times."),
    ] = None,
    overwrite: Overwrite = False,
    config: Config = None,  # noqa: ARG001  (read by its callback)
    show_config: ShowConfig = False,
) -> None:
    """Extrapolate the last images of an analysis."""
    from xvar.analysis.forecast import forecast as call
    from xvar.io.reading import open_files
    from xvar.io.writing import check_target, write

    if show_config:
        typer.echo(as_toml(context), nl=False)
        return
    if str(output) != "-":
        check_target(output, overwrite=overwrite)
    with incoming([analysis]) as paths, open_files(paths) as analysed, outgoing(output) as target:
        result = call(analysed, lead, every, without=tuple(without or ()))
        write(result, target, overwrite=overwrite)
    _say(f"{output}: {result.sizes['lead_time']} lead times of {result.sizes['window']} windows")


@application.command(epilog="Example: xvar geographic currents.nc -o currents-east-north.nc")
def geographic(
    analysis: Annotated[str, typer.Argument(metavar="ANALYSIS", help="What `xvar assimilate` wrote.")],
    output: Output,
    overwrite: Overwrite = False,
) -> None:
    """Add the motion towards east and north to an analysis on any grid."""
    from xvar.analysis.to_geographic import to_geographic
    from xvar.io.reading import open_files
    from xvar.io.writing import check_target, write

    if str(output) != "-":
        check_target(output, overwrite=overwrite)
    with incoming([analysis]) as paths, open_files(paths) as analysed, outgoing(output) as target:
        write(to_geographic(analysed), target, overwrite=overwrite)
    _say(f"{output}: eastward and northward added")


@application.command(epilog="Example: xvar verify forecast.nc radar.nc --threshold 0.5 --threshold 5")
def verify(
    context: typer.Context,
    result: Annotated[str, typer.Argument(metavar="FORECAST", help="What `xvar forecast` wrote, or an analysis.")],
    truth: Annotated[list[str], typer.Argument(metavar="TRUTH...", help="The observed record, a file or several.")],
    output: MaybeOutput = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="Of events, in mm h-1 for rain; may be given several times.")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="Side of the squares of the FSS, such as 10km.")] = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    config: Config = None,  # noqa: ARG001  (read by its callback)
    show_config: ShowConfig = False,
) -> None:
    """Compare a forecast with what was observed, or a motion with the true one."""
    from xvar.analysis.verify import verify as call
    from xvar.cli.tables import print_json, print_scores
    from xvar.io.reading import open_files
    from xvar.io.writing import check_target, write

    if show_config:
        typer.echo(as_toml(context), nl=False)
        return
    if output is not None:
        check_target(output, overwrite=overwrite)
    with incoming([result]) as paths, open_files(paths) as compared, open_files(truth) as observed:
        scores = call(compared, observed, **_given(thresholds=tuple(threshold or ()), scale=scale))
    if output is not None:
        write(scores, output, overwrite=overwrite)
    if as_json:
        print_json(scores)
    else:
        print_scores(scores)


@application.command(
    epilog="Examples: xvar plot analysis.nc -o motion.png --style colours; "
    "xvar plot forecast.nc radar.nc -o forecast.png --kind forecast"
)
def plot(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE", help="An analysis, a forecast or scores.")],
    truth: Truth = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PICTURE", help="What to write: .png, .pdf, .svg.")
    ] = Path("picture.png"),
    kind: Annotated[
        str,
        typer.Option(
            help="motion, field, innovation, residual, increment, forcing, cost, cost_history, forecast or skill."
        ),
    ] = "motion",
    style: Annotated[str | None, typer.Option(help="Of a motion: arrows, streamlines or colours.")] = None,
    window: Annotated[int | None, typer.Option(help="Which window; default: the last.")] = None,
    col: Annotated[str | None, typer.Option(help="A panel for each window, step, interval or lead_time.")] = None,
    variable: Annotated[str | None, typer.Option(help="Of a field: which variable.")] = None,
    score: Annotated[str | None, typer.Option(help="Of a skill: rmse, csi, fss, ...")] = None,
    overwrite: Overwrite = False,
    config: Config = None,  # noqa: ARG001  (read by its callback)
    show_config: ShowConfig = False,
) -> None:
    """Draw an analysis, a forecast or scores into a picture."""
    from xvar.cli.pictures import draw

    if show_config:
        typer.echo(as_toml(context), nl=False)
        return
    options = {"style": style, "window": window, "col": col, "variable": variable, "score": score}
    given = {name: value for name, value in options.items() if value is not None}
    draw(source, truth or (), output, kind, given, overwrite=overwrite)
    _say(str(output))


@application.command(epilog="Example: xvar animate analysis.nc radar.nc -o storm.gif --lead 30min")
def animate(
    context: typer.Context,
    analysis: Annotated[str, typer.Argument(metavar="FILE", help="What `xvar assimilate` or `forecast` wrote.")],
    truth: Truth = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILM", help="What to write: .gif, or .mp4 by ffmpeg (the extra film)."),
    ] = Path("film.gif"),
    lead: Annotated[str | None, typer.Option(help="How far ahead; default: as long as the window.")] = None,
    window: Annotated[int, typer.Option(help="Which window; -1 is the last.")] = -1,
    frames_per_second: Annotated[int, typer.Option(help="Frames that are shown in a second.", min=1)] = 3,
    overwrite: Overwrite = False,
    config: Config = None,  # noqa: ARG001  (read by its callback)
    show_config: ShowConfig = False,
) -> None:
    """Show what was observed beside the analysis and its forecast, as an animation."""
    from xvar.cli.pictures import animate as call

    if show_config:
        typer.echo(as_toml(context), nl=False)
        return
    call(
        analysis,
        truth or (),
        output,
        window=window,
        lead=lead,
        frames_per_second=frames_per_second,
        overwrite=overwrite,
    )
    _say(str(output))


@application.command(epilog="Example: xvar view analysis.nc radar.nc")
def view(
    analysis: Annotated[str, typer.Argument(metavar="ANALYSIS", help="What `xvar assimilate` wrote.")],
    truth: Truth = None,
    port: Annotated[int, typer.Option(help="Where the page is served on this machine; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Look at an analysis and its forecast on a page of this machine, until Ctrl-C."""
    from xvar.cli.pictures import look

    look(analysis, truth or (), port=port, browser=browser, say=lambda address: typer.echo(f"{address} (Ctrl-C ends)"))


@application.command(epilog="Example: xvar info radar.nc")
def info(
    inputs: Inputs,
    units: Annotated[str | None, typer.Option(help="Units of the variable, where the file has none.")] = None,
    dx: Annotated[float | None, typer.Option(help="Metres between columns, where there are no coordinates.")] = None,
    dy: Annotated[float | None, typer.Option(help="Metres between rows.")] = None,
    group: Group = None,
    as_json: AsJson = False,
) -> None:
    """Say how a file is understood: variable, axes, spacing, units, times, gaps; of an analysis its summary."""
    from xvar.cli.information import describe, describe_analysis, is_analysis
    from xvar.cli.tables import print_facts
    from xvar.io.reading import open_files

    files, variable = _split(inputs)
    with incoming(files) as paths, open_files(paths, group) as record:
        if is_analysis(record):
            facts = describe_analysis(record)
        else:
            facts = describe(record, variable, units=units, dx=dx, dy=dy)
        print_facts(facts, as_json=as_json)


@application.command(epilog="Example: xvar check radar.nc. Exit codes: 0 all passed, 1 a test failed, 2 unusable.")
def check(
    context: typer.Context,
    inputs: Inputs,
    land: Annotated[str | None, typer.Option(help='Variable with the land, or "never_valid".')] = None,
    units: Annotated[str | None, typer.Option(help="Units of the variable, where the file has none.")] = None,
    dx: Annotated[float | None, typer.Option(help="Metres between columns, where there are no coordinates.")] = None,
    dy: Annotated[float | None, typer.Option(help="Metres between rows.")] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Bring frames into order of time.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse infinite values.")] = False,
    constraint: Annotated[str | None, typer.Option(help="The model is perfect: strong, or not: weak.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64.")] = None,
    group: Group = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001  (read by its callback)
    show_config: ShowConfig = False,
) -> None:
    """Say how a file is understood, and whether a known motion of its images is found again."""
    from xvar.check import record as examine
    from xvar.io.reading import open_files

    if show_config:
        typer.echo(as_toml(context), nl=False)
        return
    files, variable = _split(inputs)
    options = _given(land=land, units=units, dx=dx, dy=dy, sort=sort, strict=strict, constraint=constraint, dtype=dtype)
    with incoming(files) as paths, open_files(paths, group) as data:
        examination = examine(data, variable, **options)
    typer.echo(examination.to_json() if as_json else in_shell(str(examination), context.command))
    if not examination.passed:
        raise typer.Exit(PROBLEM if examination.faults else 1)


@application.command()
def demo() -> None:
    """Assimilate and forecast the storm that ships with xvar, in the current folder."""
    from xvar.cli.demonstration import demonstrate

    demonstrate()
