"""Pictures of the page: observed, analysis and forecast with its probability, arrow scale, scores by lead time."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.errors import printable
from xvar.plot.canvas import HIDDEN, LAND, edges, moment, round_speed, seconds_of, unit_of_time
from xvar.plot.colours import SPEED, Scale, in_symbols, probability_scale
from xvar.plot.windows import Record, Shown

WIDTH, HEIGHT = 300, 480  # pixels of a picture, at most: one fits a telephone
TRANSPARENT = "#00000000"


class Pictures:
    """Pictures and their data."""

    def __init__(self, record: Record) -> None:
        from bokeh.models import ColumnDataSource

        self.record = record
        self.shown: Shown = record.window(0)
        self.chance = probability_scale("probability")
        self.limit: float | None = None  # mm h-1, of the probability that is shown
        self.score = "rmse"
        self.level: int | None = None  # number of the threshold of the score
        self.images = [ColumnDataSource({"image": [], "values": []}) for _ in range(3)]
        self.layers: list[tuple[Any, Any]] = []  # image and colour bar of the forecast and of the probability
        self.arrows = ColumnDataSource({"x": [], "y": [], "x_end": [], "y_end": [], "speed": []})
        self.scores = ColumnDataSource({"lead": [], "forecast": [], "persistence": []})
        self.observed = self._map(0, "observed")
        self.analysed = self._map(1, "analysis and forecast")
        self._draw_arrows(self.analysed)
        self.scale_arrow = ColumnDataSource({"x": [], "y": [], "x_end": [], "y_end": [], "speed": []})
        self.key = self._key()
        self._fill_key()
        self.skill = self._skill()
        self._fill_scores()

    @property
    def frames(self) -> int:
        """Number of frames of the window."""
        return len(self.shown.film.times)

    def choose(self, index: int) -> None:
        """Show another window."""
        self.shown = self.record.window(index)
        self._fill_key()
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
        self._georeference(plane)  # above the images, below the arrows
        outlines = canvas.outlines
        plane.multi_line(
            [line[:, 0] for line in outlines], [line[:, 1] for line in outlines], color="black", name="coastlines"
        )
        self.switch(self.limit)
        return plane

    def _georeference(self, plane: Any) -> None:
        """Label the edges in degrees, and draw lines of latitude and longitude that are not straight."""
        canvas = self.record.canvas
        if canvas.reference is None:
            return
        for axis, vertical in ((plane.yaxis, True), (plane.xaxis, False)):
            values, levels, ticks = canvas.reference.graticule(canvas.north or 0.0, vertical=vertical)
            if not canvas.geographic:
                style: dict[str, Any] = {"line_color": "#4d4d4d", "line_alpha": 0.6, "line_dash": "dotted"}
                plane.contour(canvas.reference.x, canvas.reference.y, values, levels, **style)
            axis.ticker, axis.axis_label = list(ticks), ""
            axis.major_label_overrides = ticks

    def _key(self) -> Any:
        """Return a strip with an arrow of a round speed, to the scale of the map above it."""
        from bokeh.models import Range1d

        x = edges(self.record.canvas.x)
        options: dict[str, Any] = {"x_range": Range1d(*x), "y_range": Range1d(0, 1), "frame_height": 24}
        plane = _plane("arrow scale", "", frame_width=self.analysed.frame_width, tools="", **options)
        plane.axis.visible = plane.grid.visible = False
        plane.outline_line_color = None
        self._draw_arrows(plane, self.scale_arrow)
        style = {"text_baseline": "middle", "text_font_size": "12px", "x_offset": 8}
        plane.text("x_end", "y", text="speed", source=self.scale_arrow, **style)
        return plane

    def _fill_key(self) -> None:
        low, _ = edges(self.record.canvas.x)
        if not self.shown.typical > 0:
            self.scale_arrow.data = {name: [] for name in self.scale_arrow.data}
            return
        speed = round_speed(self.shown.typical)
        end = low + speed * self.shown.unit
        words = [f"{speed:g} {SPEED}"]
        self.scale_arrow.data = {"x": [low], "y": [0.5], "x_end": [end], "y_end": [0.5], "speed": words}

    def _draw_arrows(self, plane: Any, source: Any = None) -> None:
        from bokeh.models import Arrow, VeeHead

        source = self.arrows if source is None else source
        ends = {"x_start": "x", "y_start": "y", "x_end": "x_end", "y_end": "y_end", "source": source}
        for colour, width, size in (("white", 3.4, 8), ("black", 1.4, 6)):
            head = VeeHead(size=size, line_color=colour, fill_color=colour)
            plane.add_layout(Arrow(end=head, line_color=colour, line_width=width, **ends))

    def _skill(self) -> Any:
        plane = _plane("skill", "", frame_width=280, frame_height=260, tools="save,hover")
        for name, colour, dash in (("forecast", "#1f77b4", "solid"), ("persistence", "#777777", "dashed")):
            plane.line(
                "lead",
                name,
                name=name,
                source=self.scores,
                color=colour,
                line_width=2,
                line_dash=dash,
                legend_label=name,
            )
            plane.scatter("lead", name, source=self.scores, color=colour, size=7)
        plane.legend.location = "bottom_right"
        plane.legend.background_fill_alpha = 0.7
        plane.y_range.start = 0
        return plane

    def choices(self) -> dict[str, tuple[str, int | None]]:
        """Return the scores that can be shown, by their names: RMSE, and CSI by threshold."""
        scores = self.shown.scores
        named: dict[str, tuple[str, int | None]] = {"RMSE": ("rmse", None)}
        if scores is not None and "csi" in scores:
            units = in_symbols(scores["threshold"].attrs.get("units", ""))
            for number, threshold in enumerate(scores["threshold"].values):
                named[f"CSI at {threshold:g} {units}"] = ("csi", number)
        return named

    def show_score(self, name: str, level: int | None) -> None:
        """Show another score."""
        self.score, self.level = name, level
        self._fill_scores()

    def _fill_scores(self) -> None:
        scores = self.shown.scores
        if scores is None:
            self.scores.data = {name: [] for name in self.scores.data}
            self.skill.title.text = "no frame was observed after this window"
            return
        seconds = seconds_of(scores["lead_time"])
        length, unit = unit_of_time(float(seconds.max()))
        one = scores if self.level is None else scores.isel(threshold=self.level)
        score = one[self.score]
        persistence = one.get(f"{self.score}_persistence", score * np.nan)
        self.scores.data = {"lead": seconds / length, "forecast": score.values, "persistence": persistence.values}
        self.skill.title.text = "verification of this window"
        self.skill.xaxis.axis_label = f"lead time ({unit})"
        units = in_symbols(score.attrs.get("units", "1"))
        self.skill.yaxis.axis_label = self.score.upper() + ("" if units == "1" else f" ({units})")


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
