"""``xvar plot``, ``animate`` and ``view``: pictures from a shell."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from xvar.cli.inputs import opened
from xvar.cli.terminal import say
from xvar.errors import Fault, InputError
from xvar.io.writing import check_target

#: Pictures, and the options that each takes.
KINDS: dict[str, tuple[str, ...]] = {
    "motion": ("style", "window", "col"),
    "field": ("variable", "window", "col"),
    "innovation": ("window", "col"),
    "residual": ("window", "col"),
    "increment": ("window", "col"),
    "forcing": ("window", "col"),
    "cost": (),
    "cost_history": ("window",),
    "forecast": ("window",),
    "skill": ("score",),
}
DOTS = 130  # per inch
FILMS = (".gif", ".mp4")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".webp")


def need(extra: str, module: str) -> None:
    """Raise InputError with the line that installs an extra, if it is missing."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        fix = f"pip install 'xvar[{extra}]'"
        raise InputError(Fault(f"no {module}", f"the extra xvar[{extra}]", fix, code="missing-extra"))


@contextmanager
def _both(source: str, truth: Sequence[str], *, trusted: bool) -> Iterator[tuple[xr.Dataset, xr.Dataset | None]]:
    """Open an output, and the observed record if there is one."""
    with ExitStack() as stack:
        data = stack.enter_context(opened([source], trusted=trusted))
        yield data, stack.enter_context(opened(truth, trusted=trusted)) if truth else None


def draw(
    source: str,
    truth: Sequence[str],
    output: Path,
    kind: str,
    options: dict[str, Any],
    *,
    overwrite: bool,
    trusted: bool,
) -> None:
    """Draw a picture of an analysis, a forecast or scores into `output`, whole or not at all; `kind` is one of `KINDS`.

    `truth` are files of the observed record, below a forecast.
    """
    need("plot", "matplotlib")
    if kind not in KINDS:
        raise InputError(Fault(f"--kind {kind}", f"one of {', '.join(KINDS)}", "--kind motion", code="unknown-choice"))
    for name in options:
        if name not in KINDS[kind]:
            known = ", ".join(f"--{option}" for option in KINDS[kind]) or "none"
            found = f"--{name} of a picture of kind {kind}"
            raise InputError(Fault(found, f"its options: {known}", "leave it out", code="option-misplaced"))
    if truth and kind != "forecast":
        found = f"an observed record beside --kind {kind}"
        raise InputError(Fault(found, "that of a forecast", "--kind forecast", code="option-misplaced"))
    check_target(output, overwrite=overwrite, suffixes=PICTURES, usual=", ".join(PICTURES))
    import matplotlib as mpl

    mpl.use("agg")  # nothing is shown, and no display is needed
    with _both(source, truth, trusted=trusted) as (data, observed):
        made = getattr(data.var4d.plot, kind)(*([] if observed is None else [observed]), **options)
        figure = getattr(made, "fig", None) or getattr(made, "figure", None) or made
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            whole = Path(folder) / output.name
            figure.savefig(whole, dpi=DOTS)
            whole.replace(output)


def animate(
    source: str, truth: Sequence[str], output: Path, options: dict[str, Any], *, overwrite: bool, trusted: bool
) -> None:
    """Write an animation of one window; its options are `window`, `lead` and `frames_per_second`."""
    need("plot", "matplotlib")
    import matplotlib as mpl

    mpl.use("agg")
    from xvar.plot import animation, check_film, write_animation

    check_target(output, overwrite=overwrite, suffixes=FILMS, usual=", ".join(FILMS))
    check_film(output)
    with _both(source, truth, trusted=trusted) as (data, observed):
        film = animation(data, observed, window=options["window"], lead=options["lead"])
        write_animation(film, output, frames_per_second=options["frames_per_second"])


def look(source: str, truth: Sequence[str], *, port: int, browser: bool, trusted: bool) -> None:
    """Serve the page until interrupted."""
    need("view", "bokeh")
    need("plot", "matplotlib")
    from xvar.plot.page import serve

    with _both(source, truth, trusted=trusted) as (data, observed):
        serve(data, observed, port=port, browser=browser, say=lambda address: say(f"{address} (Ctrl-C ends)"))
