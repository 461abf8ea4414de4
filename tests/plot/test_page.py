"""The page: its data, and its behaviour in a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

pytest.importorskip("bokeh")
pytest.importorskip("matplotlib")

import xvar
from tests.faults.codes import codes
from tests.records import analysis
from xvar.errors import InputError
from xvar.plot.page import make_server, view
from xvar.plot.panes import Pictures
from xvar.plot.windows import Record

BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FIND = """
function find(root, selector) {
  const found = root.querySelector(selector);
  if (found) return found;
  for (const part of root.querySelectorAll('*')) {
    const inside = part.shadowRoot ? find(part.shadowRoot, selector) : null;
    if (inside) return inside;
  }
  return null;
}
return find(document, arguments[0]);
"""
HEADING = FIND.replace("return find(document, arguments[0]);", "return find(document, 'h2')?.textContent;")
IDLE = "return Boolean(window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle)"


def test_a_window_has_its_forecast_observations_and_scores() -> None:
    radar = xvar.datasets.sample()
    shown = Record(analysis(), radar).window(0)
    captions = [shown.film.caption(frame) for frame in (0, 3, 4, 6)]
    assert captions == ["analysis", "analysis", "forecast +5 min", "forecast +15 min"]
    np.testing.assert_allclose(shown.film.observed[5], radar["rain"][5])
    assert np.mean(shown.arrows[0]["x_end"] - shown.arrows[0]["x"]) > 0  # eastwards
    assert (shown.scores["rmse"] < shown.scores["rmse_persistence"]).all()


def test_arrows_are_of_the_steady_motion_or_of_the_total_at_each_frame() -> None:
    steady = Record(analysis()).window(0).arrows
    assert all(np.array_equal(steady[0]["speed"], one["speed"]) for one in steady)
    total = Record(analysis(), part="total").window(0)
    assert not np.array_equal(total.arrows[0]["speed"], total.arrows[3]["speed"])
    last = analysis().isel(window=0, step=-1)
    np.testing.assert_array_equal(total.film.motion[0], last["u"])
    np.testing.assert_array_equal(Record(analysis()).window(0).film.motion[1], last["v_steady"])


def test_the_default_record_is_the_last_frames_of_the_windows() -> None:
    shown = Record(analysis()).window(0)
    seen = np.isfinite(shown.film.observed).any(axis=(1, 2))
    assert list(np.flatnonzero(seen)) == [3, 6]  # the ends of both windows
    assert shown.scores["rmse"].notnull().sum() == 1


def test_orientation_and_colours_are_those_of_matplotlib() -> None:
    pictures = Pictures(Record(analysis(), xvar.datasets.sample()))
    pictures.show(3)
    values = pictures.images[0].data["values"][0]
    np.testing.assert_allclose(values[::-1], xvar.datasets.sample()["rain"][3] * 0.12, rtol=1e-6)  # from below
    classes = pictures.images[0].data["image"][0]
    assert (classes[values < 0.1] < 0).all()  # no rain
    assert set(np.unique(classes[(values >= 1) & (values < 2)])) == {3.5}
    before = pictures.arrows.data["x_end"]
    pictures.choose(1)
    pictures.show(0)
    assert not np.array_equal(before, pictures.arrows.data["x_end"])


def test_sliders_and_button_change_the_pictures() -> None:
    from bokeh.document import Document

    document = Document()
    view(analysis(), xvar.datasets.sample())(document)
    time_slider, play = (document.select_one({"name": name}) for name in ("time", "play"))
    plane = document.select_one({"name": "analysis and forecast"})
    assert plane.title.text == "analysis, 2018-01-03 22:45 UTC"
    time_slider.value = 6
    assert plane.title.text == "forecast +15 min, 2018-01-03 23:15 UTC"
    play.active = True
    assert len(document.session_callbacks) == 1
    play.active = False
    assert not document.session_callbacks


def test_sliders_say_lead_time_and_window_and_the_arrow_scale_is_that_of_the_map() -> None:
    from bokeh.document import Document

    document = Document()
    view(analysis(), xvar.datasets.sample())(document)
    time_slider, score, strip, plane, skill = (
        document.select_one({"name": name})
        for name in ("time", "score", "arrow scale", "analysis and forecast", "skill")
    )
    labels = [document.select_one({"name": f"label of {name}"}) for name in ("time", "window")]
    assert [one.text for one in labels] == ["lead time: analysis", "window until 2018-01-03 23:00 UTC"]
    assert not time_slider.title
    time_slider.value = 5
    assert labels[0].text == "lead time: +10 min"
    record = Record(analysis(), xvar.datasets.sample())
    shown = record.window(0)
    speed = float(Pictures(record).scale_arrow.data["speed"][0].removesuffix(" m s⁻¹"))
    arrow, first = Pictures(record).scale_arrow.data, shown.arrows[0]
    length = np.hypot(first["x_end"] - first["x"], first["y_end"] - first["y"])
    np.testing.assert_allclose((arrow["x_end"][0] - arrow["x"][0]) / speed, length / first["speed"], rtol=1e-5)
    assert strip.frame_width == plane.frame_width
    assert (strip.x_range.start, strip.x_range.end) == (plane.x_range.start, plane.x_range.end)
    assert skill.yaxis.axis_label.startswith("RMSE (0.01 mm")
    score.value = "CSI at 1 mm h⁻¹"
    assert skill.yaxis.axis_label == "CSI"
    drawn = skill.select_one({"name": "forecast"}).data_source.data["forecast"]
    np.testing.assert_array_equal(drawn, shown.scores["csi"].sel(threshold=1))


def test_the_page_of_a_georeferenced_analysis_is_a_map() -> None:
    from bokeh.document import Document

    from xvar.plot.page import make_document

    data = analysis().assign_coords(
        y=("y", np.linspace(49, 47, 128), {"units": "degrees_north"}),
        x=("x", np.linspace(-6, -3, 128), {"units": "degrees_east"}),
    )
    record = Record(data)
    record.canvas.__dict__["outlines"] = [np.array([[-5.0, 48.0], [-4.0, 48.5]])]
    document = Document()
    make_document(document, record)
    plane = document.select_one({"name": "observed"})
    assert set(plane.yaxis[0].major_label_overrides.values()) >= {"47.5°N", "48°N", "48.5°N"}
    lines = plane.select_one({"name": "coastlines"}).data_source.data
    np.testing.assert_array_equal(lines["ys"][0], [48.0, 48.5])


def test_a_dataset_that_is_no_analysis_is_refused() -> None:
    for data in (xvar.datasets.sample(), analysis().drop_vars(["u", "v"])):
        with pytest.raises(InputError) as error:
            make_server(data)
        assert codes(error.value) == ["not-an-analysis"]


@pytest.fixture
def address(tmp_path):
    analysis().to_netcdf(tmp_path / "analysis.nc")
    xvar.datasets.sample().to_netcdf(tmp_path / "radar.nc")
    command = [sys.executable, "-m", "xvar", "view", "analysis.nc", "radar.nc", "--no-browser"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.terminate()


def test_the_page_loads_nothing_from_the_network(address) -> None:
    with urllib.request.urlopen(address, timeout=60) as answer:
        page = answer.read().decode()
    assert "<title>xvar: rain</title>" in page
    assert "https://" not in page
    assert 'name="viewport"' in page


def test_the_page_is_not_there_without_its_token(address) -> None:
    root, _, token = address.rstrip("/").rpartition("/")
    assert len(token) >= 32
    for path in ("", "/", "/static/js/bokeh.min.js", f"/{token[:-1]}", "/" + "x" * len(token)):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(root + path, timeout=60)


def test_a_name_is_no_markup_in_the_label_of_a_point() -> None:
    from bokeh.document import Document
    from bokeh.models import HoverTool

    from xvar.plot.page import make_document

    evil = "<img src=x onerror=alert(1)>\x1b"
    document = Document()
    record = Record(analysis())
    record.name = evil
    make_document(document, record)
    plane = document.select_one({"name": "observed"})
    ((label, _),) = plane.select_one({"type": HoverTool}).tooltips
    assert label == "&lt;img src=x onerror=alert(1)&gt;\\x1b"


@pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with its driver")
@pytest.mark.long
def test_the_slider_changes_the_picture_in_a_browser(address, tmp_path) -> None:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "disable-dev-shm-usage",
    ):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.add_argument("--window-size=1300,800")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))

    def until(condition) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.2)

    try:
        browser.get(address)
        until(lambda: browser.execute_script(IDLE))
        until(lambda: browser.execute_script(HEADING) == "rain, 2018-01-03 22:45 UTC: analysis")
        picture = browser.execute_script(FIND, "canvas")

        def pixels() -> str:
            return browser.execute_script("return arguments[0].toDataURL()", picture)

        before = pixels()
        slider = browser.execute_script(FIND, ".noUi-handle")
        slider.send_keys("\ue014" * 4)  # the right arrow key
        until(lambda: browser.execute_script(HEADING) == "rain, 2018-01-03 23:05 UTC: forecast +5 min")
        until(lambda: pixels() != before)
    finally:
        browser.quit()
