"""The page itself: pictures, sliders and what they do."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.plot.canvas import HIDDEN, LAND
from xvar.plot.page.frames import Record, Shown

if TYPE_CHECKING:
    from bokeh.document import Document

WIDTH, HEIGHT = 345, 480  # pixels of a picture, at most
OWN_SIZE = {"flex": "none"}  # the row does not widen a picture beyond its frame
PLAYING = 500  # milliseconds of a frame
NOTHING = "#00000000"  # what is below shows through


def make_document(document: Document, record: Record) -> None:
    """Put the page into a document of Bokeh.

    Parameters
    ----------
    document : bokeh Document
        That of one visitor: each has sliders of her own.
    record : Record
        What is looked at.
    """
    from bokeh.layouts import column, row
    from bokeh.models import Div, Slider, Toggle

    page = _Pictures(record)
    frames = len(page.shown.film.times)
    wide = {"step": 1, "sizing_mode": "stretch_width"}
    time = Slider(start=0, end=max(frames - 1, 1), value=0, title="frame", name="time", **wide)
    last = max(record.windows - 1, 1)
    window = Slider(start=0, end=last, value=0, title="window", name="window", visible=record.windows > 1, **wide)
    play = Toggle(label="Play", width=70, name="play")
    heading = Div(name="heading", sizing_mode="stretch_width")

    def show() -> None:
        page.show(int(time.value))
        heading.text = (
            f"<h2 style='margin:0'>{html.escape(record.name.replace('_', ' '))}, "
            f"{page.shown.moment(int(time.value))}: {page.shown.caption(int(time.value))}</h2>"
        )

    def choose(index: int) -> None:
        page.choose(index)
        end = len(page.shown.film.times) - 1
        time.update(end=max(end, 1), value=min(int(time.value), end))
        show()

    def advance() -> None:
        time.value = (int(time.value) + 1) % len(page.shown.film.times)

    playing: list[Any] = []

    def toggle(_name: str, _old: bool, new: bool) -> None:
        play.label = "Pause" if new else "Play"
        if new:
            playing.append(document.add_periodic_callback(advance, PLAYING))
        elif playing:
            document.remove_periodic_callback(playing.pop())

    time.on_change("value", lambda _name, _old, _new: show())
    # A window is computed when the slider is let go, not at each that it passes.
    window.on_change("value_throttled", lambda _name, _old, new: choose(int(new)))
    play.on_change("active", toggle)
    show()
    document.title = f"xvar: {record.name}"
    document.add_root(
        column(
            heading,
            row(play, time, window, sizing_mode="stretch_width"),
            row(page.observed, page.analysed, page.skill, styles={"flex-wrap": "wrap", "width": "100%"}),
            Div(
                text="Left: as observed, where there is a frame. Middle: analysis, then forecast, under the motion; "
                "what comes from outside the grid is left out. Right: error by lead time, and that of the last frame "
                "kept. Dark grey is what is never known."
            ),
            sizing_mode="stretch_width",
        )
    )


class _Pictures:
    """Three pictures and the data behind them."""

    def __init__(self, record: Record) -> None:
        from bokeh.models import ColumnDataSource

        self.record = record
        self.shown: Shown = record.window(0)
        self.mapper, self.ticks = _mapper(record)
        self.images = [ColumnDataSource({"image": [], "values": []}) for _ in range(2)]
        self.arrows = ColumnDataSource({"x": [], "y": [], "x_end": [], "y_end": [], "speed": []})
        self.scores = ColumnDataSource({"lead": [], "forecast": [], "persistence": []})
        self.observed = self._map(0, "observed")
        self.analysed = self._map(1, "analysis and forecast")
        self._draw_arrows(self.analysed)
        self.skill = self._skill()
        self._fill_scores()

    def choose(self, index: int) -> None:
        """Go to another window."""
        self.shown = self.record.window(index)
        self._fill_scores()

    def show(self, frame: int) -> None:
        """Go to another frame of the window."""
        film = self.shown.film
        known = film.observed if film.observed is not None else np.full(film.values.shape, np.nan)
        carried = np.where(film.outside[frame], np.nan, film.values[frame])
        for source, values in zip(self.images, (known[frame], carried), strict=True):
            scaled = _upward(self.record, values * self.record.scale.factor).astype("float32")
            source.data = {"image": [_classes(self.record, scaled)], "values": [scaled]}
        arrows = self.shown.arrows[frame]
        self.arrows.data = {name: getattr(arrows, name) for name in ("x", "y", "x_end", "y_end", "speed")}
        seen = np.isfinite(known[frame]).any()
        self.observed.title.text = f"observed, {self.shown.moment(frame)}" if seen else "not observed at this time"
        self.analysed.title.text = f"{self.shown.caption(frame)}, {self.shown.moment(frame)}"

    def _map(self, number: int, name: str) -> Any:
        from bokeh.models import ColorBar, FixedTicker, HoverTool, LinearColorMapper
        from bokeh.plotting import figure

        canvas = self.record.canvas
        x, y = (_edges(values) for values in (canvas.x, canvas.y))
        ratio = canvas.shape_ratio
        plane = figure(
            name=name,
            x_range=x,
            y_range=y,
            frame_width=int(min(WIDTH, HEIGHT * ratio)),
            frame_height=int(min(HEIGHT, WIDTH / ratio)),
            x_axis_label=canvas.labels[1],
            y_axis_label=canvas.labels[0],
            tools="pan,wheel_zoom,box_zoom,reset,save",
            toolbar_location="above",
            styles=OWN_SIZE,
            background_fill_color=_grey(LAND),
            title=name,
        )
        plane.grid.visible = False
        plane.toolbar.autohide = True
        moving = _upward(self.record, self.record.moving)
        plane.image(
            [np.where(moving, 1.0, np.nan).astype("float32")],
            x=x[0],
            y=y[0],
            dw=x[1] - x[0],
            dh=y[1] - y[0],
            color_mapper=LinearColorMapper(palette=[_grey(HIDDEN)], low=0, high=1, nan_color=NOTHING),
        )
        image = plane.image(
            "image",
            source=self.images[number],
            x=x[0],
            y=y[0],
            dw=x[1] - x[0],
            dh=y[1] - y[0],
            color_mapper=self.mapper,
        )
        plane.add_tools(HoverTool(renderers=[image], tooltips=[(self.record.name, "@values{0.00}")]))
        if number == 1:
            bar = ColorBar(
                color_mapper=self.mapper,
                title=_plain(self.record.scale.label),
                orientation="horizontal",
                height=12,
                padding=2,
            )
            if self.ticks is not None:
                bar.ticker = FixedTicker(ticks=list(self.ticks))
                bar.major_label_overrides = {place: f"{value:g}" for place, value in self.ticks.items()}
            plane.add_layout(bar, "below")
        return plane

    def _draw_arrows(self, plane: Any) -> None:
        from bokeh.models import Arrow, VeeHead

        for colour, width, size in (("white", 3.4, 8), ("black", 1.4, 6)):
            plane.add_layout(
                Arrow(
                    end=VeeHead(size=size, line_color=colour, fill_color=colour),
                    x_start="x",
                    y_start="y",
                    x_end="x_end",
                    y_end="y_end",
                    line_color=colour,
                    line_width=width,
                    source=self.arrows,
                )
            )

    def _skill(self) -> Any:
        from bokeh.plotting import figure

        plane = figure(
            name="skill",
            frame_width=280,
            frame_height=260,
            tools="save,hover",
            toolbar_location="above",
            styles=OWN_SIZE,
            title="error by lead time, this window",
        )
        for name, colour, dash in (("forecast", "#1f77b4", "solid"), ("persistence", "#777777", "dashed")):
            plane.line("lead", name, source=self.scores, color=colour, line_width=2, line_dash=dash, legend_label=name)
            plane.scatter("lead", name, source=self.scores, color=colour, size=7)
        plane.legend.location = "bottom_right"
        plane.toolbar.autohide = True
        plane.y_range.start = 0
        plane.legend.background_fill_alpha = 0.7
        return plane

    def _fill_scores(self) -> None:
        scores = self.shown.scores
        if scores is None:
            self.scores.data = {"lead": [], "forecast": [], "persistence": []}
            self.skill.title.text = "no frame was observed after this window"
            return
        self.scores.data = {"lead": scores.lead, "forecast": scores.forecast, "persistence": scores.persistence}
        self.skill.title.text = "error by lead time, this window"
        self.skill.xaxis.axis_label = f"lead time ({scores.unit})"
        self.skill.yaxis.axis_label = scores.label


def _mapper(record: Record) -> tuple[Any, dict[float, float] | None]:
    """The colours of the pictures of matplotlib; where they are classes the numbers of these, and their limits."""
    from bokeh.models import LinearColorMapper
    from matplotlib.colors import to_hex

    colours = record.scale.style["cmap"]
    palette = [to_hex(colours(number)) for number in range(colours.N)]
    norm = record.scale.style.get("norm")
    if norm is None:
        low, high = record.scale.style["vmin"], record.scale.style["vmax"]
        return LinearColorMapper(palette=palette, low=low, high=max(high, low + 1e-6), nan_color=NOTHING), None
    limits = list(norm.boundaries)
    low_colour = to_hex(colours.get_under())
    mapper = LinearColorMapper(palette=palette, low=0, high=len(limits) - 1, low_color=low_colour, nan_color=NOTHING)
    return mapper, {float(number): float(limit) for number, limit in enumerate(limits[:-1])}


def _classes(record: Record, values: NDArray[Any]) -> NDArray[Any]:
    """Values as the mapper of colours takes them."""
    norm = record.scale.style.get("norm")
    if norm is None:
        return values
    numbers = np.digitize(values, norm.boundaries) - 0.5
    return np.where(np.isfinite(values), numbers, np.nan).astype("float32")


def _upward(record: Record, values: NDArray[Any]) -> NDArray[Any]:
    """Rows from below to above, columns from left to right."""
    up, right = (slice(None, None, 1 if part[1] > part[0] else -1) for part in (record.canvas.y, record.canvas.x))
    return np.ascontiguousarray(values[up, right])


def _edges(values: NDArray[np.float64]) -> tuple[float, float]:
    half = abs(values[1] - values[0]) / 2
    return float(values.min() - half), float(values.max() + half)


def _grey(level: str) -> str:
    return "#" + 3 * f"{round(255 * float(level)):02x}"


def _plain(label: str) -> str:
    """A label without TeX."""
    return label.replace("$^{-1}$", "⁻¹")
