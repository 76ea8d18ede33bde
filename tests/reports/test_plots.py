"""The reward curve is a real picture of the numbers given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.errors import OutputError
from iadr1.reports.plots import plot_reward_curve, smooth


def draw(path: Path, reward: list[float]) -> Path:
    count = len(reward)
    return plot_reward_curve(
        path,
        steps=list(range(1, count + 1)),
        reward=reward,
        reward_std=[0.1] * count,
        parse_rate=[1.0] * count,
        completion_length=[30.0] * count,
        title="a run",
    )


def test_smooth_is_a_centred_running_mean() -> None:
    assert smooth([0, 3, 6, 9], span=3).tolist() == [1.5, 3.0, 6.0, 7.5]
    assert smooth([5.0], span=8).tolist() == [5.0]


@pytest.mark.parametrize("reward", [[0.5], [0.1, 0.4, 0.9, 0.8]])
def test_curve_depends_on_the_rewards(tmp_path: Path, reward: list[float]) -> None:
    first = np.asarray(Image.open(draw(tmp_path / "a.png", reward)).convert("RGB"))
    second = np.asarray(Image.open(draw(tmp_path / "b.png", [value + 0.05 * i for i, value in enumerate(reward)])))
    assert first.shape[:2] == (624, 960)
    assert first.std() > 5
    if len(reward) > 1:
        assert (first != second[..., :3]).any()


def test_curve_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write"):
        draw(tmp_path / "file" / "curve.png", [0.1, 0.2])
