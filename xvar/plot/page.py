"""A page to browse an analysis: ``xvar view``. It needs the extra ``xvar[view]``, and no network."""

from __future__ import annotations

import html
import secrets
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import SHOWN, Part
from xvar.errors import Fault, InputError, printable, require
from xvar.plot.canvas import HIDDEN, LAND, edges, moment, seconds_of, unit_of_time
from xvar.plot.colours import RATE, RATES, Scale, in_symbols, probability_scale
from xvar.plot.windows import Record, Shown

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.server.server import Server

__all__ = ["make_server", "serve", "view"]

ADDRESS = "localhost"
WIDTH, HEIGHT = 345, 480  # pixels of a picture, at most
PLAYING = 500  # milliseconds of a frame
TRANSPARENT = "#00000000"
LEGEND = (
    "Left: as observed, if there is a frame. Middle: analysis, then forecast, under the motion; points whose "
    "trajectory comes from outside the grid are left out. Right: error by lead time, beside persistence. Dark "
    "grey is never known."
)
FORECAST = "forecast"


def make_server(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    part: Part = SHOWN,
    members: int | None = None,
    port: int = 0,
) -> Server:
    """Make the server of a page, reachable from this machine only.

    `truth` is the observed record, by default the last frames of the windows; arrows are of the `part` of the motion;
    the page shows the probability of as much rain by `members` of the forecast; port 0 is a free one. The server of
    Bokeh is started by ``.start()``, and ``.io_loop.start()`` runs it; its page is at ``.prefix``, a random token, of
    ``.port``. InputError if `analysis` is no analysis, the truth does not fit it, or the port is in use.
    """
    require("bokeh", "view", "the page")
    from bokeh.application import Application
    from bokeh.application.handlers.function import FunctionHandler
    from bokeh.server.server import Server

    application = Application(FunctionHandler(view(analysis, truth, part=part, members=members)))
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
) -> Callable[[Document], None]:
    """Return a function that fills a document of Bokeh; in a notebook ``bokeh.io.show(view(analysis))`` shows it.

    The arguments are those of `make_server`.
    """
    record = Record(analysis, truth, part, members)
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
    from bokeh.layouts import column, row
    from bokeh.models import Div, Select, Slider, Toggle

    page = _Pictures(record)
    wide: dict[str, Any] = {"step": 1, "start": 0, "value": 0, "sizing_mode": "stretch_width"}
    time = Slider(end=max(page.frames - 1, 1), title="frame", name="time", **wide)
    several = record.windows > 1
    window = Slider(end=max(record.windows - 1, 1), title="window", name="window", visible=several, **wide)
    events = {f"probability of {limit:g} {RATE} or more": limit for limit in RATES}
    event = Select(options=[FORECAST, *events], value=FORECAST, name="event", visible=record.members is not None)
    play = Toggle(label="Play", width=70, name="play")
    heading = Div(name="heading", sizing_mode="stretch_width")

    def show() -> None:
        frame = int(time.value)
        page.show(frame)
        film = page.shown.film
        text = f"{record.name.replace('_', ' ')}, {moment(film.times[frame])}: {film.caption(frame)}"
        heading.text = f"<h2 style='margin:0'>{html.escape(text)}</h2>"

    def choose(index: int) -> None:
        page.choose(index)
        time.update(end=max(page.frames - 1, 1), value=min(int(time.value), page.frames - 1))
        show()

    def switch(text: str) -> None:
        page.switch(events.get(text))
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
    event.on_change("value", lambda _name, _old, new: switch(str(new)))
    play.on_change("active", toggle)
    show()
    document.title = f"xvar: {record.name}"
    controls = row(play, time, window, event, sizing_mode="stretch_width")
    pictures = row(page.observed, page.analysed, page.skill, styles={"flex-wrap": "wrap", "width": "100%"})
    document.add_root(column(heading, controls, pictures, Div(text=LEGEND), sizing_mode="stretch_width"))


class _Pictures:
    """Three pictures and their data."""

    def __init__(self, record: Record) -> None:
        from bokeh.models import ColumnDataSource

        self.record = record
        self.shown: Shown = record.window(0)
        self.chance = probability_scale("probability")
        self.limit: float | None = None  # mm h-1, of the probability that is shown
        self.images = [ColumnDataSource({"image": [], "values": []}) for _ in range(3)]
        self.layers: list[tuple[Any, Any]] = []  # image and colour bar of the forecast and of the probability
        self.arrows = ColumnDataSource({"x": [], "y": [], "x_end": [], "y_end": [], "speed": []})
        self.scores = ColumnDataSource({"lead": [], "forecast": [], "persistence": []})
        self.observed = self._map(0, "observed")
        self.analysed = self._map(1, "analysis and forecast")
        self._draw_arrows(self.analysed)
        self.skill = self._skill()
        self._fill_scores()

    @property
    def frames(self) -> int:
        """Number of frames of the window."""
        return len(self.shown.film.times)

    def choose(self, index: int) -> None:
        """Show another window."""
        self.shown = self.record.window(index)
        self._fill_scores()

    def switch(self, limit: float | None) -> None:
        """Show the probability of so many mm h-1 or more, or the forecast."""
        self.limit = limit
        for layer, visible in zip(self.layers, (limit is None, limit is not None), strict=False):
            for part in layer:
                part.visible = visible

    def show(self, frame: int) -> None:
        """Show another frame of the window."""
        film = self.shown.film
        known = np.full(film.values.shape[1:], np.nan) if film.observed is None else film.observed[frame]
        scale = self.record.scale
        fields = [(scale, known), (scale, film.values[frame])]
        if self.limit is not None:
            fields.append((self.chance, self.shown.probability(frame, scale.original(self.limit))))
        for source, (scale, values) in zip(self.images, fields, strict=False):
            scaled = _upward(self.record, scale.convert(values)).astype("float32")
            source.data = {"image": [_classes(scale, scaled)], "values": [scaled]}
        self.arrows.data = dict(self.shown.arrows[frame])
        time = moment(film.times[frame])
        self.observed.title.text = f"observed, {time}" if np.isfinite(known).any() else "not observed at this time"
        self.analysed.title.text = f"{film.caption(frame)}, {time}"

    def _map(self, number: int, name: str) -> Any:
        from bokeh.models import ColorBar, FixedTicker, HoverTool, LinearColorMapper
        from matplotlib.colors import to_hex

        canvas = self.record.canvas
        x, y = edges(canvas.x), edges(canvas.y)
        plane = _plane(
            name,
            name,
            x_range=x,
            y_range=y,
            frame_width=int(min(WIDTH, HEIGHT * canvas.shape_ratio)),
            frame_height=int(min(HEIGHT, WIDTH / canvas.shape_ratio)),
            x_axis_label=canvas.labels[1],
            y_axis_label=canvas.labels[0],
            tools="pan,wheel_zoom,box_zoom,reset,save",
            background_fill_color=to_hex(LAND),
        )
        plane.grid.visible = False
        corners = {"x": x[0], "y": y[0], "dw": x[1] - x[0], "dh": y[1] - y[0]}
        moving = np.where(_upward(self.record, self.record.moving), 1.0, np.nan).astype("float32")
        hidden = LinearColorMapper(palette=[to_hex(HIDDEN)], low=0, high=1, nan_color=TRANSPARENT)
        plane.image([moving], color_mapper=hidden, **corners)
        label = html.escape(printable(self.record.name))  # of a file, which may hold anything
        shown = [(self.record.scale, self.images[number], label)]
        if number == 1 and self.record.members is not None:
            shown.append((self.chance, self.images[2], "probability"))
        for scale, source, words in shown:
            mapper, ticks = _mapper(scale)
            image = plane.image("image", source=source, color_mapper=mapper, name=words, **corners)
            plane.add_tools(HoverTool(renderers=[image], tooltips=[(words, "@values{0.00}")]))
            if number == 1:
                bar = ColorBar(color_mapper=mapper, title=scale.label, orientation="horizontal", height=12, padding=2)
                if ticks is not None:
                    bar.ticker = FixedTicker(ticks=list(ticks))
                    bar.major_label_overrides = {place: f"{value:g}" for place, value in ticks.items()}
                plane.add_layout(bar, "below")
                self.layers.append((image, bar))
        self.switch(self.limit)
        return plane

    def _draw_arrows(self, plane: Any) -> None:
        from bokeh.models import Arrow, VeeHead

        ends = {"x_start": "x", "y_start": "y", "x_end": "x_end", "y_end": "y_end", "source": self.arrows}
        for colour, width, size in (("white", 3.4, 8), ("black", 1.4, 6)):
            head = VeeHead(size=size, line_color=colour, fill_color=colour)
            plane.add_layout(Arrow(end=head, line_color=colour, line_width=width, **ends))

    def _skill(self) -> Any:
        plane = _plane("skill", "", frame_width=280, frame_height=260, tools="save,hover")
        for name, colour, dash in (("forecast", "#1f77b4", "solid"), ("persistence", "#777777", "dashed")):
            plane.line("lead", name, source=self.scores, color=colour, line_width=2, line_dash=dash, legend_label=name)
            plane.scatter("lead", name, source=self.scores, color=colour, size=7)
        plane.legend.location = "bottom_right"
        plane.legend.background_fill_alpha = 0.7
        plane.y_range.start = 0
        return plane

    def _fill_scores(self) -> None:
        scores = self.shown.scores
        if scores is None:
            self.scores.data = {name: [] for name in self.scores.data}
            self.skill.title.text = "no frame was observed after this window"
            return
        rmse, seconds = scores["rmse"], seconds_of(scores["lead_time"])
        length, unit = unit_of_time(float(seconds.max()))
        persistence = scores.get("rmse_persistence", rmse * np.nan)
        self.scores.data = {"lead": seconds / length, "forecast": rmse.values, "persistence": persistence.values}
        self.skill.title.text = "error by lead time, this window"
        self.skill.xaxis.axis_label = f"lead time ({unit})"
        self.skill.yaxis.axis_label = f"RMSE ({in_symbols(rmse.attrs.get('units', '1'))})"


def _plane(name: str, title: str, **options: Any) -> Any:
    """Return a picture that the row does not widen beyond its frame."""
    from bokeh.plotting import figure

    plane = figure(name=name, title=title, toolbar_location="above", styles={"flex": "none"}, **options)
    plane.toolbar.autohide = True
    return plane


def _mapper(scale: Scale) -> tuple[Any, dict[float, float] | None]:
    """Return the colours of the scale; if it has classes, their numbers with their lower limits."""
    from bokeh.models import LinearColorMapper
    from matplotlib.colors import to_hex

    colours = scale.style["cmap"]
    palette = [to_hex(colours(number)) for number in range(colours.N)]
    norm = scale.style.get("norm")
    if norm is None:
        low, high = scale.style["vmin"], scale.style["vmax"]
        return LinearColorMapper(palette=palette, low=low, high=max(high, low + 1e-6), nan_color=TRANSPARENT), None
    ticks = {float(number): float(limit) for number, limit in enumerate(norm.boundaries[:-1])}
    under = to_hex(colours.get_under())
    return LinearColorMapper(palette=palette, low=0, high=len(ticks), low_color=under, nan_color=TRANSPARENT), ticks


def _classes(scale: Scale, values: NDArray[Any]) -> NDArray[Any]:
    """Return values as the colour mapper needs them: numbers of classes if the scale has classes."""
    norm = scale.style.get("norm")
    if norm is None:
        return values
    numbers = np.digitize(values, norm.boundaries) - 0.5
    return np.where(np.isfinite(values), numbers, np.nan).astype("float32")


def _upward(record: Record, values: NDArray[Any]) -> NDArray[Any]:
    """Return rows from bottom to top, columns from left to right."""
    up, right = (slice(None, None, 1 if part[1] > part[0] else -1) for part in (record.canvas.y, record.canvas.x))
    return np.ascontiguousarray(values[up, right])
