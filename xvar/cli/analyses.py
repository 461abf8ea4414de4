"""Results of an analysis from a shell: the commands ``forecast``, ``geographic``, ``verify`` and ``diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xvar.cli.configuration import configurable
from xvar.cli.parameters import Analysis, AsJson, Output, Overwrite, Trusted, stated
from xvar.cli.terminal import finish, opened, outgoing, say


@configurable
def forecast(
    analysis: Analysis,
    output: Output,
    lead: Annotated[str, typer.Option(help="How far ahead, such as 30min.")] = "30min",
    every: Annotated[str | None, typer.Option(help="Time between forecasts; default: that between frames.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave out transient, growth, power_limit, short_waves or motion_fading; may be repeated."),
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


def geographic(analysis: Analysis, output: Output, trusted: Trusted = False, overwrite: Overwrite = False) -> None:
    """Add the motion towards east and north to an analysis on any grid."""
    from xvar.analysis.to_geographic import to_geographic
    from xvar.io.writing import write

    with outgoing(output, overwrite=overwrite) as target, opened([analysis], trusted=trusted) as analysed:
        write(to_geographic(analysed), target, overwrite=overwrite)
    finish(output, "eastward and northward added")


@configurable
def verify(
    result: Annotated[str, typer.Argument(metavar="FORECAST", help="What `xvar forecast` wrote, or an analysis.")],
    truth: Annotated[list[str], typer.Argument(metavar="TRUTH", help="The observed record, a file or several.")],
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
