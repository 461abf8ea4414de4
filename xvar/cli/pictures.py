"""Pictures from a shell: the commands ``plot``, ``animate`` and ``view``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
import xarray as xr

from xvar.cli.parameters import Analysis, Overwrite, Part, Trusted, Truth, configurable, stated
from xvar.cli.terminal import finish, opened, say
from xvar.errors import Fault, InputError, require
from xvar.io.writing import check_target, durable

#: Pictures, and the options that each takes.
KINDS: dict[str, tuple[str, ...]] = {
    "motion": ("style", "part", "window", "col"),
    "field": ("variable", "window", "col"),
    **dict.fromkeys(("innovation", "residual", "increment", "forcing"), ("window", "col")),
    "cost": (),
    "cost_history": ("window",),
    "forecast": ("window",),
    "fan": ("window", "point"),
    "probability": ("above", "window", "lead_time"),
    "stamps": ("window", "lead_time"),
    "skill": ("score",),
    "rank_histogram": (),
    "reliability": ("lead_time",),
}
WITH_TRUTH = ("forecast", "fan")
DOTS = 130  # per inch
FILMS = (".gif", ".mp4")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".webp")


@contextmanager
def _both(source: str, truth: Sequence[str] | None, *, trusted: bool) -> Iterator[tuple[xr.Dataset, xr.Dataset | None]]:
    """Open an output, and the observed record if there is one, and draw without a display."""
    require("matplotlib", "plot", "pictures").use("agg")
    with ExitStack() as stack:
        data = stack.enter_context(opened([source], trusted=trusted))
        yield data, stack.enter_context(opened(truth, trusted=trusted)) if truth else None


@configurable
def plot(
    source: Annotated[str, typer.Argument(metavar="FILE", help="An analysis, a forecast or scores.")],
    truth: Truth = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PICTURE", help="What to write: .png, .pdf, .svg.")
    ] = Path("picture.png"),
    kind: Annotated[str, typer.Option(help=f"{', '.join(list(KINDS)[:-1])} or {list(KINDS)[-1]}.")] = "motion",
    style: Annotated[str | None, typer.Option(help="Of a motion: arrows, streamlines or colours.")] = None,
    part: Part = None,
    window: Annotated[int | None, typer.Option(help="Which window; default: the last.")] = None,
    col: Annotated[str | None, typer.Option(help="A panel for each window, step, interval or lead_time.")] = None,
    variable: Annotated[str | None, typer.Option(help="Of a field: which variable.")] = None,
    score: Annotated[str | None, typer.Option(help="Of a skill: rmse, csi, fss, spread, ...")] = None,
    above: Annotated[float | None, typer.Option(help="Threshold of a probability, in mm/h for rain.")] = None,
    point: Annotated[
        tuple[float, float] | None, typer.Option(metavar="Y X", help="Of a fan: coordinates of the file.")
    ] = None,
    lead_time: Annotated[int | None, typer.Option(help="Which lead time, counted from 0; -1 is the last.")] = None,
    trusted: Trusted = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw an analysis, a forecast or scores into a picture."""
    require("matplotlib", "plot", "pictures")
    if kind not in KINDS:
        raise InputError(Fault(f"--kind {kind}", f"one of {', '.join(KINDS)}", "--kind motion", code="unknown-choice"))
    options = stated(style=style, part=part, window=window, col=col, variable=variable, score=score)
    options |= stated(above=above, point=point, lead_time=lead_time)
    for name in options:
        if name not in KINDS[kind]:
            known = ", ".join(f"--{option.replace('_', '-')}" for option in KINDS[kind]) or "none"
            found = f"--{name.replace('_', '-')} of a picture of kind {kind}"
            raise InputError(Fault(found, f"its options: {known}", "leave it out", code="option-misplaced"))
    if truth and kind not in WITH_TRUTH:
        found = f"an observed record beside --kind {kind}"
        raise InputError(Fault(found, f"that of {' or '.join(WITH_TRUTH)}", "--kind forecast", code="option-misplaced"))
    check_target(output, overwrite=overwrite, suffixes=PICTURES, usual=", ".join(PICTURES))
    with _both(source, truth, trusted=trusted) as (data, observed):
        made = getattr(data.var4d.plot, kind)(*([] if observed is None else [observed]), **options)
        figure = getattr(made, "fig", None) or getattr(made, "figure", None) or made
        with durable(output) as file:
            figure.savefig(file, format=output.suffix[1:], dpi=DOTS)
    finish(output)


@configurable
def animate(
    source: Annotated[str, typer.Argument(metavar="FILE", help="What `xvar assimilate` or `forecast` wrote.")],
    truth: Truth = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILM", help="What to write: .gif, or .mp4 by ffmpeg (the extra film)."),
    ] = Path("film.gif"),
    lead: Annotated[str | None, typer.Option(help="How far ahead; default: as long as the window.")] = None,
    part: Part = None,
    window: Annotated[int, typer.Option(help="Which window; -1 is the last.")] = -1,
    member: Annotated[int, typer.Option(help="Which member of an ensemble.")] = 0,
    above: Annotated[
        float | None, typer.Option(help="Threshold in mm/h: of an ensemble, the probability of as much or more.")
    ] = None,
    frames_per_second: Annotated[int, typer.Option(help="Frames that are shown in a second.", min=1)] = 3,
    trusted: Trusted = False,
    overwrite: Overwrite = False,
) -> None:
    """Show what was observed beside the analysis and its forecast, as an animation."""
    require("matplotlib", "plot", "pictures")
    from xvar.plot.animation import animation, check_film, write_animation

    check_target(output, overwrite=overwrite, suffixes=FILMS, usual=", ".join(FILMS))
    check_film(output)
    with _both(source, truth, trusted=trusted) as (data, observed):
        options = stated(part=part, above=above)
        film = animation(data, observed, window=window, lead=lead, member=member, **options)
        write_animation(film, output, frames_per_second=frames_per_second)
    finish(output)


def view(
    analysis: Analysis,
    truth: Truth = None,
    part: Part = None,
    members: Annotated[
        int | None, typer.Option(help="Of rain: members of the forecast, whose probabilities can be chosen.")
    ] = None,
    port: Annotated[int, typer.Option(help="Where the page is served on this machine; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
    trusted: Trusted = False,
) -> None:
    """Look at an analysis and its forecast on a page of this machine, until Ctrl-C.

    The address holds a random token: other users of the machine cannot open the page without it.
    """
    require("bokeh", "view", "the page")
    from xvar.plot.page import serve

    with _both(analysis, truth, trusted=trusted) as (data, observed):
        options = stated(part=part, members=members)
        serve(data, observed, port=port, browser=browser, say=lambda text: say(f"{text} (Ctrl-C ends)"), **options)
