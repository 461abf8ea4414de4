"""``xvar plot``, ``animate`` and ``view``: pictures from a shell."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from xvar.errors import Fault, InputError
from xvar.io.reading import open_files

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
    """Refuse where an extra is not installed.

    Raises
    ------
    InputError
        With the line that installs it.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise InputError(Fault(f"no {module}", f"the extra xvar[{extra}]", f"pip install 'xvar[{extra}]'"))


def check_picture(output: Path, suffixes: Sequence[str], *, overwrite: bool) -> None:
    """Refuse a place where no picture can be written, before anything was computed.

    Raises
    ------
    InputError
        Where the suffix is none of these, the folder is missing, or there is something already.
    """
    if output.suffix.lower() not in suffixes:
        ends = ", ".join(suffixes)
        raise InputError(Fault(f"{output.name!r}", f"a name that ends in {ends}", str(output.with_suffix(suffixes[0]))))
    if not output.parent.is_dir():
        raise InputError(
            Fault(f"no folder {str(output.parent)!r}", "a folder that exists", f"mkdir -p {output.parent}")
        )
    if output.exists() and not overwrite:
        raise InputError(Fault(f"{str(output)!r}, which exists", "a new name", "another name, or --overwrite"))


def draw(
    source: str, truth: Sequence[str], output: Path, kind: str, options: dict[str, Any], *, overwrite: bool
) -> None:
    """Draw one picture into a file, whole or not at all.

    Parameters
    ----------
    source : str
        An analysis, a forecast or scores.
    truth : sequence of str
        Files of the observed record, below a forecast.
    output : Path
        The picture.
    kind : str
        One of `KINDS`.
    options : dict
        Of the picture.
    overwrite : bool
        Replace what is there.
    """
    need("plot", "matplotlib")
    if kind not in KINDS:
        raise InputError(Fault(f"--kind {kind}", f"one of {', '.join(KINDS)}", "--kind motion"))
    for name in options:
        if name not in KINDS[kind]:
            known = ", ".join(f"--{option}" for option in KINDS[kind]) or "none"
            raise InputError(Fault(f"--{name} of a picture of kind {kind}", f"its options: {known}", "leave it out"))
    if truth and kind != "forecast":
        raise InputError(Fault(f"an observed record beside --kind {kind}", "that of a forecast", "--kind forecast"))
    check_picture(output, PICTURES, overwrite=overwrite)
    import matplotlib as mpl

    mpl.use("agg")  # nothing is shown, and no display is needed
    with ExitStack() as stack:
        data = stack.enter_context(open_files([source]))
        observed = [stack.enter_context(open_files(truth))] if truth else []
        made = getattr(data.var4d.plot, kind)(*(observed if kind == "forecast" else []), **options)
        figure = getattr(made, "fig", None) or getattr(made, "figure", None) or made
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            whole = Path(folder) / output.name
            figure.savefig(whole, dpi=DOTS)
            whole.replace(output)


def animate(
    source: str,
    truth: Sequence[str],
    output: Path,
    *,
    window: int,
    lead: str | None,
    frames_per_second: int,
    overwrite: bool,
) -> None:
    """Write an animation of one window."""
    need("plot", "matplotlib")
    import matplotlib as mpl

    mpl.use("agg")
    from xvar.plot import animation, check_film, write_animation

    check_picture(output, FILMS, overwrite=overwrite)
    check_film(output)
    with ExitStack() as stack:
        data = stack.enter_context(open_files([source]))
        observed = stack.enter_context(open_files(truth)) if truth else None
        film = animation(data, observed, window=window, lead=lead)
        write_animation(film, output, frames_per_second=frames_per_second)


def look(source: str, truth: Sequence[str], *, port: int, browser: bool, say: Callable[[str], object]) -> None:
    """Serve the page until interrupted."""
    need("view", "bokeh")
    need("plot", "matplotlib")
    from xvar.plot.page import serve

    with ExitStack() as stack:
        data = stack.enter_context(open_files([source]))
        observed = stack.enter_context(open_files(truth)) if truth else None
        serve(data, observed, port=port, browser=browser, say=say)
