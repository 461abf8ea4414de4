"""Pictures from a shell: the commands ``plot``, ``animate`` and ``view``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
import xarray as xr

from xvar.cli.configuration import configurable
from xvar.cli.parameters import Analysis, Overwrite, Part, Trusted, Truth, stated
from xvar.cli.terminal import finish, opened, say
from xvar.errors import Fault, InputError, require
from xvar.io.writing import check_target, durable

#: Pictures, and the options that each takes.
KINDS: dict[str, tuple[str, ...]] = {
    "motion": ("style", "part", "window", "col", "coastlines"),
    "field": ("variable", "window", "col", "coastlines"),
    **dict.fromkeys(("innovation", "residual", "increment", "forcing"), ("window", "col", "coastlines")),
    "cost": (),
    "cost_history": ("window",),
    "forecast": ("window", "coastlines"),
    "fan": ("window", "point"),
    "probability": ("above", "window", "lead_time", "coastlines"),
    "stamps": ("window", "lead_time", "coastlines"),
    "skill": ("score",),
    "rank_histogram": (),
    "reliability": ("lead_time",),
}
WITH_TRUTH = ("forecast", "fan")
DOTS = 130  # per inch
Window = Annotated[str | None, typer.Option(help="Index of the window, or a time that it holds; default: the last.")]
Coastlines = Annotated[
    str | None,
    typer.Option(help="10m, 50m or 110m: Natural Earth's coastlines and borders, which cartopy downloads once."),
]
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
    kind: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(list(KINDS)[:-1])} or {list(KINDS)[-1]}; by default the motion of an analysis, "
            "a forecast at its lead times, or scores by lead time (skill)."
        ),
    ] = None,
    style: Annotated[str | None, typer.Option(help="Of a motion: arrows, streamlines or colours.")] = None,
    part: Part = None,
    window: Window = None,
    col: Annotated[str | None, typer.Option(help="A panel for each window, step, interval or lead_time.")] = None,
    variable: Annotated[str | None, typer.Option(help="Of a field: which variable.")] = None,
    score: Annotated[str | None, typer.Option(help="Of a skill: rmse, csi, fss, spread, ...")] = None,
    above: Annotated[float | None, typer.Option(help="Threshold of a probability, in mm h-1 for rain.")] = None,
    point: Annotated[
        tuple[float, float] | None, typer.Option(metavar="Y X", help="Of a fan: coordinates of the file.")
    ] = None,
    lead_time: Annotated[int | None, typer.Option(help="Which lead time, counted from 0; -1 is the last.")] = None,
    coastlines: Coastlines = None,
    trusted: Trusted = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw an analysis, a forecast or scores into a picture."""
    require("matplotlib", "plot", "pictures")
    if kind is not None and kind not in KINDS:
        raise InputError(Fault(f"--kind {kind}", f"one of {', '.join(KINDS)}", "--kind motion", code="unknown-choice"))
    options = stated(style=style, part=part, window=_window(window), col=col, variable=variable, score=score)
    options |= stated(above=above, point=point, lead_time=lead_time, coastlines=coastlines)
    check_target(output, overwrite=overwrite, suffixes=PICTURES, usual=", ".join(PICTURES))
    with _both(source, truth, trusted=trusted) as (data, observed):
        kind = kind or _usual(data)
        _check_options(kind, options, beside=observed is not None)
        made = getattr(data.var4d.plot, kind)(*([] if observed is None else [observed]), **options)
        figure = getattr(made, "fig", None) or getattr(made, "figure", None) or made
        with durable(output) as file:
            figure.savefig(file, format=output.suffix[1:], dpi=DOTS)
    finish(output)


def _window(text: str | None) -> int | str | None:
    """Return an index, or the text of a time."""
    return int(text) if text is not None and text.removeprefix("-").isdigit() else text


def _usual(data: xr.Dataset) -> str:
    """Return the kind of picture of an output without ``--kind``."""
    return "skill" if "number_of_pairs" in data else "forecast" if "lead_time" in data.dims else "motion"


def _check_options(kind: str, options: Mapping[str, object], *, beside: bool) -> None:
    """Raise InputError if a picture of this kind takes no such option, or no observed record."""
    for name in options:
        if name not in KINDS[kind]:
            known = ", ".join(f"--{option.replace('_', '-')}" for option in KINDS[kind]) or "none"
            found = f"--{name.replace('_', '-')} of a picture of kind {kind}"
            raise InputError(Fault(found, f"its options: {known}", "leave it out", code="option-misplaced"))
    if beside and kind not in WITH_TRUTH:
        found = f"an observed record beside --kind {kind}"
        raise InputError(Fault(found, f"that of {' or '.join(WITH_TRUTH)}", "--kind forecast", code="option-misplaced"))


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
    window: Window = None,
    member: Annotated[int, typer.Option(help="Which member of an ensemble.")] = 0,
    above: Annotated[
        float | None, typer.Option(help="Threshold in mm h-1: of an ensemble, the probability of as much or more.")
    ] = None,
    frames_per_second: Annotated[int, typer.Option(help="Frames that are shown in a second.", min=1)] = 3,
    coastlines: Coastlines = None,
    trusted: Trusted = False,
    overwrite: Overwrite = False,
) -> None:
    """Show what was observed beside the analysis and its forecast, as an animation."""
    require("matplotlib", "plot", "pictures")
    from xvar.plot.animation import animation, check_film, write_animation

    check_target(output, overwrite=overwrite, suffixes=FILMS, usual=", ".join(FILMS))
    check_film(output)
    with _both(source, truth, trusted=trusted) as (data, observed):
        options = stated(part=part, above=above, window=_window(window), coastlines=coastlines)
        film = animation(data, observed, lead=lead, member=member, **options)
        write_animation(film, output, frames_per_second=frames_per_second)
    finish(output)


def view(
    analysis: Analysis,
    truth: Truth = None,
    part: Part = None,
    members: Annotated[
        int | None, typer.Option(help="Of rain: members of the forecast, whose probabilities can be chosen.")
    ] = None,
    coastlines: Coastlines = None,
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
        options = stated(part=part, members=members, coastlines=coastlines)
        serve(data, observed, port=port, browser=browser, say=lambda text: say(f"{text} (Ctrl-C ends)"), **options)
