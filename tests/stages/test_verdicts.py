"""How a verdict follows from the score and from what is written: thresholds, band, contradictions, tiles."""

from __future__ import annotations

import math

import pytest
from PIL import Image
from pydantic import ValidationError

from iadr1 import prompts
from iadr1.errors import ModelError
from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.records import Verdict
from iadr1.stages.inspection import InspectSettings, Scores
from iadr1.stages.inspection.asking import Look
from iadr1.stages.inspection.verdicts import Reasoned, by_score, decide

BAD = '<think>A line.</think><answer>[{"bbox_2d": [1, 1, 5, 5], "label": "scratch"}]</answer>'
NORMAL = "<think>Even.</think><answer>[]</answer>"
UNREADABLE = "hm"
CALIBRATED = InspectSettings().calibrated(0.6, (0.4, 0.7), "abc")


def read(*texts: str) -> list[Reasoned]:
    """Answers about the looks of one photo."""
    frame = BoxFrame(BoxSpace.INPUT_PX, (8, 8), (8, 8))
    look = Look("a.png", Image.new("RGB", (8, 8)), (), frame)
    return [Reasoned(look, prompts.parse(text, "boxes", frame=frame), text) for text in texts]


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(0.0, "normal"), (0.5, "normal"), (math.nextafter(0.5, 1), "anomalous"), (1.0, "anomalous")],
)
def test_a_score_is_anomalous_only_above_the_threshold(score: float, verdict: Verdict) -> None:
    assert by_score(InspectSettings(), score) == verdict
    assert by_score(InspectSettings(threshold=score), score) == "normal"


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (math.nextafter(0.4, 0), "normal"),
        (0.4, "undecided"),
        (0.6, "undecided"),
        (math.nextafter(0.6, 1), "undecided"),
        (0.7, "undecided"),
        (math.nextafter(0.7, 1), "anomalous"),
    ],
)
def test_both_ends_of_the_band_are_undecided(score: float, verdict: Verdict) -> None:
    assert by_score(CALIBRATED, score) == verdict


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1.5, -0.5])
@pytest.mark.parametrize("settings", [InspectSettings(), CALIBRATED])
def test_no_verdict_is_made_of_what_is_no_score(settings: InspectSettings, score: float) -> None:
    with pytest.raises(ModelError, match=f"the score is {score:g}, it must be within 0 and 1"):
        by_score(settings, score)
    with pytest.raises(ModelError, match="the score is"):
        decide(settings, score, read(NORMAL))


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1.5"])
def test_no_calibration_is_made_of_what_is_no_score(score: str) -> None:
    with pytest.raises(ValidationError):
        Scores.model_validate_json(f'{{"normals": [0.1, {score}]}}')


@pytest.mark.parametrize(
    ("threshold", "score", "verdict"),
    [(0.3, 0.3, "normal"), (0.3, 0.35, "anomalous"), (0.9, 0.8, "normal"), (0.9, 0.95, "anomalous")],
)
def test_a_threshold_outside_the_band_decides_there(threshold: float, score: float, verdict: Verdict) -> None:
    assert by_score(InspectSettings().calibrated(threshold, (0.4, 0.7), "abc"), score) == verdict


@pytest.mark.parametrize(
    ("score", "text", "verdict"),
    [
        (0.9, BAD, "anomalous"),
        (0.9, NORMAL, "undecided"),
        (0.9, UNREADABLE, "undecided"),
        (0.9, None, "anomalous"),
        (0.5, BAD, "undecided"),  # in the band: what is written does not settle it
        (0.5, NORMAL, "undecided"),
        (0.5, None, "undecided"),
        (0.1, BAD, "undecided"),
        (0.1, NORMAL, "normal"),
        (0.1, UNREADABLE, "undecided"),
        (0.1, None, "normal"),
    ],
)
def test_the_score_decides_unless_the_reasoning_contradicts_it(
    score: float, text: str | None, verdict: Verdict
) -> None:
    found, note = decide(CALIBRATED, score, read(text) if text is not None else [])
    assert found == verdict
    contradicts = (score, text) in ((0.9, NORMAL), (0.1, BAD))
    said = "normal" if text == NORMAL else "anomalous"
    assert note == (f"the reasoning says {said}, which contradicts the score {score:.6g}" if contradicts else "")


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0, None])
def test_think_goes_by_what_is_written_alone(score: float | None) -> None:
    settings = InspectSettings(mode="think")
    found = [decide(settings, score, read(text)) for text in (BAD, NORMAL, UNREADABLE)]
    assert found == [("anomalous", ""), ("normal", ""), ("undecided", "")]
    assert decide(settings, score, []) == ("undecided", "")


@pytest.mark.parametrize(
    ("texts", "verdict"),
    [
        ((NORMAL, BAD, NORMAL), "anomalous"),
        ((UNREADABLE, BAD), "anomalous"),
        ((NORMAL, UNREADABLE), "undecided"),
        ((NORMAL, NORMAL), "normal"),
    ],
)
def test_a_defect_in_one_look_is_a_defect_and_normal_is_normal_in_all(texts: tuple[str, ...], verdict: Verdict) -> None:
    assert decide(InspectSettings(mode="think"), None, read(*texts)) == (verdict, "")
