"""A page to browse an analysis: ``xvar view``. It needs the extra ``xvar[view]``, and no network."""

from __future__ import annotations

import html
import secrets
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from xvar.analysis.outputs import SHOWN, Part
from xvar.errors import Fault, InputError, require
from xvar.plot.canvas import moment
from xvar.plot.colours import RATE, RATES
from xvar.plot.panes import Pictures
from xvar.plot.windows import Record

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.server.server import Server

__all__ = ["make_server", "serve", "view"]

ADDRESS = "localhost"
#: Telephones show the page at their own width; colours of the page and the pictures are those of paper.
HEAD = """{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
{% endblock %}"""
PLAYING = 500  # milliseconds of a frame
LEGEND = (
    "First: as observed, if there is a frame. Second: analysis, then forecast, under the motion; points whose "
    "trajectory comes from outside the grid are left out. Third: verification by lead time, beside persistence. Dark "
    "grey: never known, land or no data. Light grey: not observed, or from outside the grid."
)


def make_server(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    part: Part = SHOWN,
    members: int | None = None,
    coastlines: str | None = None,
    port: int = 0,
) -> Server:
    """Make the server of a page, reachable from this machine only.

    `truth` is the observed record, by default the last frames of the windows; arrows are of the `part` of the motion;
    the page shows the probability of as much rain by `members` of the forecast; `coastlines`, "10m", "50m" or "110m",
    are those of Natural Earth; port 0 is a free one. The server of
    Bokeh is started by ``.start()``, and ``.io_loop.start()`` runs it; its page is at ``.prefix``, a random token, of
    ``.port``. InputError if `analysis` is no analysis, the truth does not fit it, or the port is in use.
    """
    require("bokeh", "view", "the page")
    from bokeh.application import Application
    from bokeh.application.handlers.function import FunctionHandler
    from bokeh.server.server import Server

    application = Application(FunctionHandler(view(analysis, truth, part=part, members=members, coastlines=coastlines)))
    try:
        # Other users of this machine reach the port, too: only the address that is printed has the token.
        return Server({"/": application}, address=ADDRESS, port=port, prefix=f"/{secrets.token_urlsafe(24)}")
    except OSError as error:
        raise InputError(Fault(f"port {port}: {error}", "a free port", "--port 0", code="port-in-use")) from error


def view(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    part: Part = SHOWN,
    members: int | None = None,
    coastlines: str | None = None,
) -> Callable[[Document], None]:
    """Return a function that fills a document of Bokeh; in a notebook ``bokeh.io.show(view(analysis))`` shows it.

    The arguments are those of `make_server`.
    """
    record = Record(analysis, truth, part, members, coastlines)
    return lambda document: make_document(document, record)


def serve(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    browser: bool = True,
    say: Callable[[str], object] | None = None,
    **options: Any,
) -> None:
    """Serve the page of `make_server` with its options until interrupted; `say` is called with the address."""
    server = make_server(analysis, truth, **options)
    server.start()
    address = f"http://{ADDRESS}:{server.port}{server.prefix}/"
    if say is not None:
        say(address)
    with tempfile.TemporaryDirectory(prefix="xvar-") as folder:
        if browser:
            # The arguments of a browser are shown to other users: it gets a file that only this user reads.
            page = Path(folder) / "view.html"
            page.write_text(f'<meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8")
            server.io_loop.add_callback(webbrowser.open, page.as_uri())
        try:
            server.io_loop.start()
        except KeyboardInterrupt:
            pass
        finally:
            server.stop()


def make_document(document: Document, record: Record) -> None:
    """Put the page into the document of one visitor, with sliders of its own."""
    from bokeh.models import Div, Select, Slider, Toggle

    page = Pictures(record)
    wide: dict[str, Any] = {"step": 1, "start": 0, "value": 0, "sizing_mode": "stretch_width", "show_value": False}
    time = Slider(end=max(page.frames - 1, 1), name="time", **wide)
    several = record.windows > 1
    window = Slider(end=max(record.windows - 1, 1), name="window", visible=several, **wide)
    event = Slider(end=len(RATES), name="event", visible=record.members is not None, **wide)
    # A slider of Bokeh puts a colon behind its title.
    labels = {one.name: Div(name=f"label of {one.name}", visible=one.visible) for one in (time, window, event)}
    scores = Select(options=list(page.choices()), value="RMSE", name="score", width=180)
    play = Toggle(label="Play", width=70, name="play")
    heading = Div(name="heading", sizing_mode="stretch_width")

    def show() -> None:
        frame = int(time.value)
        page.show(frame)
        film = page.shown.film
        text = f"{record.name.replace('_', ' ')}, {moment(film.times[frame])}: {film.caption(frame)}"
        heading.text = f"<h2 style='margin:0'>{html.escape(text)}</h2>"
        labels["time"].text = f"lead time: {film.caption(frame).removeprefix('forecast ')}"
        labels["window"].text = f"window until {moment(film.times[film.leads <= 0][-1])}"
        limit = page.limit
        labels["event"].text = "probability: off" if limit is None else f"probability of {limit:g} {RATE} or more"

    def choose(index: int) -> None:
        page.choose(index)
        scores.options = list(page.choices())
        time.update(end=max(page.frames - 1, 1), value=min(int(time.value), page.frames - 1))
        show()

    def switch(number: int) -> None:
        page.switch(RATES[number - 1] if number else None)
        show()

    def advance() -> None:
        time.value = (int(time.value) + 1) % page.frames

    playing: list[Any] = []

    def toggle(_name: str, _old: bool, new: bool) -> None:
        play.label = "Pause" if new else "Play"
        if new:
            playing.append(document.add_periodic_callback(advance, PLAYING))
        elif playing:
            document.remove_periodic_callback(playing.pop())

    time.on_change("value", lambda _name, _old, _new: show())
    # Throttled: a window is computed when the slider is released, not at each position that it passes.
    window.on_change("value_throttled", lambda _name, _old, new: choose(int(new)))
    event.on_change("value", lambda _name, _old, new: switch(int(new)))
    scores.on_change("value", lambda _name, _old, new: page.show_score(*page.choices().get(str(new), ("rmse", None))))
    play.on_change("active", toggle)
    show()
    document.template = HEAD
    document.title = f"xvar: {record.name}"
    document.add_root(_layout(page, heading, play, [(labels[one.name], one) for one in (time, window, event)], scores))


def _layout(page: Pictures, heading: Any, play: Any, sliders: Sequence[tuple[Any, Any]], scores: Any) -> Any:
    """Return the page: heading, controls, pictures and legend, one below the other."""
    from bokeh.layouts import column, row
    from bokeh.models import Div

    wrapped: dict[str, Any] = {"sizing_mode": "stretch_width", "styles": {"flex-wrap": "wrap"}}
    parts = [
        column(*pair, visible=pair[1].visible, styles={"min-width": "15em", "flex": "1 1 15em"}) for pair in sliders
    ]
    controls = row(play, *parts, spacing=16, **wrapped)
    pictures = row(page.observed, column(page.analysed, page.key), column(scores, page.skill), **wrapped)
    legend = Div(text=LEGEND, sizing_mode="stretch_width")
    return column(heading, controls, pictures, legend, sizing_mode="stretch_width")
