"""The pictures of a run: real pictures of the figures given, whatever their number and names."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from iadr1.errors import MissingExtraError, OutputError
from iadr1.reports import charts
from iadr1.reports.charts import MOST_BARS, Bar, MapRows, plot_bars, plot_heat_map
from iadr1.reports.result_plots import BARS, HEAT_MAP, write_plots
from tests.reports.metrics_world import anomaly, choice, grounding

pytestmark = pytest.mark.filterwarnings("error")
COLUMNS = [("a", "A"), ("b", "B\nb")]
FRAME = (213, 94, 0)


def read(path: Path) -> NDArray[np.int16]:
    return np.asarray(Image.open(path).convert("RGB")).astype(np.int16)


def near(picture: NDArray[np.int16], colour: tuple[float, ...]) -> int:
    """How many pixels have nearly this colour (0..255)."""
    return int((np.abs(picture - np.asarray(colour)).max(axis=-1) < 8).sum())


def cell(value: float) -> tuple[float, ...]:
    return tuple(255 * part for part in mpl.colormaps["cividis"](value / 100)[:3])


def test_cells_are_coloured_by_their_value_on_a_fixed_scale(tmp_path: Path) -> None:
    path = tmp_path / "new" / "map.png"
    picture = read(plot_heat_map(path, [MapRows("", {"x": {"a": 100.0, "b": 12.0}})], COLUMNS, title="t"))
    assert near(picture, cell(100)) > 1000 < near(picture, cell(12))
    assert not near(picture, FRAME)
    missing = read(plot_heat_map(path, [MapRows("", {"x": {"a": 100.0}})], COLUMNS, title="t"))
    assert near(missing, cell(12)) == 0


def test_own_rows_are_framed_and_others_are_not(tmp_path: Path) -> None:
    groups = [MapRows("mine", {"x": {"a": 60.0}}, own=True), MapRows("others", {"y": {"a": 40.0}})]
    picture = read(plot_heat_map(tmp_path / "map.png", groups, COLUMNS, title="t"))
    frame = (np.abs(picture - np.asarray(FRAME)).max(axis=-1) < 8).any(axis=1).nonzero()[0]
    other = (np.abs(picture - np.asarray(cell(40))).max(axis=-1) < 8).sum(axis=1).argmax()
    assert frame.max() < other


def test_bars_stand_best_first(tmp_path: Path) -> None:
    bars = [Bar("low", 20.0, None, 3), Bar("high", 90.0, (80.0, 95.0), 4000)]
    picture = read(plot_bars(tmp_path / "bars.png", bars, title="t", label="percent"))
    blue = (picture[..., 2] - picture[..., 0] > 90).sum(axis=1)
    long, short = (blue > 0.8 * blue.max()).nonzero()[0], ((blue > 0) & (blue < 0.4 * blue.max())).nonzero()[0]
    assert long.mean() < short.mean()
    assert short.size > 5


def test_of_very_many_categories_the_best_and_the_worst_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(charts, "_draw_bars", lambda axes, bars: drawn.extend(bars))
    bars = [Bar(f"c{place}", float(place), None, 1) for place in range(101)]
    picture = read(plot_bars(tmp_path / "bars.png", bars, title="t", label="percent"))
    assert len(drawn) == MOST_BARS
    assert [drawn[0].name, drawn[29].name, drawn[30].name, drawn[-1].name] == ["c100", "c71", "c29", "c0"]
    assert picture.shape[0] < 3000


@pytest.mark.parametrize("name", ["x", "a_very_long_name_of_a_category_" * 4, r"$\frac{$ & <b> %", "瓶子" * 60, "\n"])
def test_any_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    heat = plot_heat_map(tmp_path / "map.png", [MapRows(name, {name: {"a": 1.0}}, own=True)], COLUMNS, title=name)
    bars = plot_bars(tmp_path / "bars.png", [Bar(name, 1.0, (0.0, 9.0), 1)], title=name, label=name, note=name)
    assert 300 < read(heat).shape[1] < 2000
    assert read(bars).shape[1] == 1140


@pytest.mark.parametrize(
    ("metrics", "task", "names"),
    [
        (choice("VisA", "DS-MVTec"), "choice", [HEAT_MAP, BARS]),
        (anomaly("VisA", "DAGM"), "anomaly", [HEAT_MAP, BARS]),
        (grounding(), "grounding", [BARS]),
    ],
)
def test_a_run_is_drawn(tmp_path: Path, metrics: dict[str, Any], task: str, names: list[str]) -> None:
    found = write_plots(tmp_path, metrics, task=task)
    assert [path.name for path in found] == names
    assert all(read(path).std() > 5 for path in found)


def test_what_is_drawn_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps: list[Any] = []
    bars: list[Any] = []
    monkeypatch.setattr(
        "iadr1.reports.result_plots.plot_heat_map", lambda path, groups, heads, **_: maps.append(groups)
    )
    monkeypatch.setattr("iadr1.reports.result_plots.plot_bars", lambda path, found, **_: bars.append(found))
    write_plots(tmp_path, choice("VisA"), task="choice")
    own, others = maps.pop()
    assert own.own
    assert list(own.rows) == ["VisA", "Average"]
    assert own.heading == "tiny, protocol anomalyr1 v1 0123456789abcdef, 1-shot, n = 1,234"
    assert [name.split("\n")[0] for name in others.rows] == [
        "Random Chance",
        "GPT-4o",
        "AnomalyR1 (ours) 3B \N{DAGGER}",
    ]
    # The category without an average is left out.
    assert bars.pop() == [Bar("VisA / nut", 10.0, (1.0, 50.0), 7)]
    write_plots(tmp_path, anomaly("VisA", "DAGM"), task="anomaly")
    own, others = maps.pop()
    assert own.rows["normal images"]["DAGM"] == 80.0
    assert len(others.rows) == 3
    assert all(set(row) == {"VisA", "DAGM"} for row in others.rows.values()), "an average over other sets"
    write_plots(tmp_path, grounding(), task="grounding")
    assert bars[-1] == [Bar(f"RefCOCO test{end}", 40.0, (30.0, 50.0), n) for end, n in (("A", 5), ("B", 7))]


def test_nothing_global_is_changed(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    groups = [MapRows("g", {"x": {"a": 60.0}}, own=True)]

    def draw(number: int) -> None:
        plot_heat_map(tmp_path / f"{number}.png", groups, COLUMNS, title="t")

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(tmp_path / f"{number}.png").read_bytes() for number in range(3)}) == 1
    assert dict(mpl.rcParams) == before


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"matplotlib.*iadr1\[eval\]"):
        write_plots(tmp_path, choice("VisA"), task="choice")


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_plots(tmp_path / "file", choice("VisA"), task="choice")


def test_there_must_be_something_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows"):
        plot_heat_map(tmp_path / "x.png", [MapRows("", {})], COLUMNS, title="t")
    with pytest.raises(ValueError, match="category"):
        plot_bars(tmp_path / "x.png", [], title="t", label="l")
