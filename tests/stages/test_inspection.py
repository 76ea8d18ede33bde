"""Modes, verdicts and errors of the inspector, and what it writes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.errors import ModelError, NoProbabilitiesError, UsageError
from iadr1.geometry import Box
from iadr1.masks import MaskResult
from iadr1.models.base import Completion, Request, Unweighed
from iadr1.records import Verdict
from iadr1.stages.inspection import Inspector, InspectSettings, Loaded, Photo, artefacts
from iadr1.stages.inspection import inspector as room
from tests.stages.fake_engine import BAD, NORMAL, FakeEngine


class Scored(FakeEngine):
    """Gives each request the P(Yes) that stands for its id; a text is why there is none."""

    def __init__(self, shares: Mapping[str, float | str], *, default: str = BAD, **texts: str) -> None:
        super().__init__({name.replace("_", "."): text for name, text in texts.items()}, default=default)
        self.shares = shares

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        self.weighed += [(request, tuple(words)) for request in requests]
        for request in requests:
            if isinstance(self.shares[request.id], str):
                raise NoProbabilitiesError(f"no probabilities for {request.id!r}: {self.shares[request.id]}")
        return [{"Yes": float(self.shares[one.id]), "No": 1 - float(self.shares[one.id])} for one in requests]


def _loaded(*names: str, size: tuple[int, int] = (112, 112), references: int = 0) -> list[Loaded]:
    shown = tuple(Image.new("RGB", size, (200, 200, 200)) for _ in range(references))
    return [
        Loaded(Photo(Path(name), name, name), Image.new("RGB", size), shown, ("good.png",) * references)
        for name in names
    ]


def _verdicts(engine: FakeEngine, settings: InspectSettings, *names: str) -> list[Verdict]:
    return [finding.record.verdict for finding in Inspector(engine, settings).inspect(_loaded(*names))]


def test_direct_scores_and_writes_nothing() -> None:
    engine = Scored({"a.png": 0.9, "b.png": 0.5, "c.png": 0.1})
    findings = Inspector(engine, InspectSettings(mode="direct")).inspect(_loaded("a.png", "b.png", "c.png"))
    # A score is above the threshold only where it is greater.
    assert [finding.record.verdict for finding in findings] == ["anomalous", "normal", "normal"]
    record = findings[0].record
    assert (record.score, record.mode, record.threshold, record.raw, record.reasoning) == (0.9, "direct", 0.5, "", None)
    assert engine.asked == []


def test_two_pass_reasons_about_the_suspicious_only() -> None:
    engine = Scored({"a.png": 0.9, "b.png": 0.2})
    first, second = (one.record for one in Inspector(engine, InspectSettings()).inspect(_loaded("a.png", "b.png")))
    assert [request.id for request in engine.asked] == ["a.png"]
    assert (first.verdict, first.mode, first.reasoning, len(first.defects)) == ("anomalous", "think", "A dark line.", 1)
    assert (second.verdict, second.mode, second.defects) == ("normal", "direct", ())
    assert (first.prompt_tokens, first.completion_tokens, second.prompt_tokens) == (20, len(BAD.split()), 0)
    assert first.defects[0].score == 0.9


def test_reasoning_that_contradicts_the_score_makes_it_undecided() -> None:
    engine = Scored({"a.png": 0.9, "b.png": 0.8}, a_png=NORMAL, b_png="hm")
    records = [one.record for one in Inspector(engine, InspectSettings()).inspect(_loaded("a.png", "b.png"))]
    assert [record.verdict for record in records] == ["undecided", "undecided"]
    assert records[0].parse == "ok; the reasoning says normal, which contradicts the score 0.9"
    assert (records[0].score, records[0].raw) == (0.9, NORMAL)
    assert records[1].parse.startswith("failed")


def test_the_band_is_undecided_and_reasoned_about() -> None:
    shares = {"a.png": 0.39, "b.png": 0.4, "c.png": 0.7, "d.png": 0.71}
    engine = Scored(shares)
    settings = InspectSettings().calibrated(0.6, (0.4, 0.7), "abc")
    records = [one.record for one in Inspector(engine, settings).inspect(_loaded(*shares))]
    assert [record.verdict for record in records] == ["normal", "undecided", "undecided", "anomalous"]
    assert [request.id for request in engine.asked] == ["b.png", "c.png", "d.png"]
    assert {(record.threshold, record.calibration) for record in records} == {(0.6, "abc")}


def test_think_goes_by_what_is_written_and_keeps_the_score() -> None:
    engine = Scored({"a.png": 0.9, "b.png": 0.1}, a_png=NORMAL)
    records = [
        one.record for one in Inspector(engine, InspectSettings(mode="think")).inspect(_loaded("a.png", "b.png"))
    ]
    assert [(record.verdict, record.score, record.threshold) for record in records] == [
        ("normal", 0.9, None),
        ("anomalous", 0.1, None),
    ]


def test_structured_reasoning_tells_place_and_kind() -> None:
    text = "<think>A dent.</think><location>centre</location><type>dent</type><answer>Yes</answer>"
    settings = InspectSettings(mode="think", reasoning="structured")
    (finding,) = Inspector(FakeEngine(default=text), settings).inspect(_loaded("a.png"))
    assert (finding.record.verdict, finding.record.defects) == ("anomalous", ())
    assert finding.record.reasoning == "A dent. (place: centre; kind: dent)"


def test_a_request_without_an_answer_costs_its_own_photo_only() -> None:
    engine = Scored({"a.png": 0.9, "b.png": "too large", "c.png": 0.9, "d.png": 0.9})
    engine.errors["c.png"] = "timed out"
    records = [one.record for one in Inspector(engine, InspectSettings()).inspect(_loaded(*engine.shares))]
    assert [record.verdict for record in records] == ["anomalous", "undecided", "undecided", "anomalous"]
    assert [record.error for record in records] == [None, "no probabilities for 'b.png': too large", "timed out", None]


@pytest.mark.parametrize("mode", ["direct", "two-pass"])
@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1, 1.1])
def test_what_is_no_probability_is_the_error_of_its_photo(mode: str, score: float) -> None:
    engine = Scored({"a.png": score, "b.png": 0.1})
    broken, fine = (
        one.record for one in Inspector(engine, InspectSettings(mode=mode)).inspect(_loaded(*engine.shares))
    )
    assert (broken.verdict, broken.score) == ("undecided", None)
    assert broken.error == f"the engine gave {score:g} for the probability of Yes, it must be within 0 and 1"
    assert (fine.verdict, fine.error) == ("normal", None)


def test_why_a_photo_has_no_score_is_its_error_where_the_mode_needs_one() -> None:
    class Broken(FakeEngine):
        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            return [Unweighed("no finite probabilities")] * len(requests)

    for mode, error in (
        ("direct", "no finite probabilities"),
        ("two-pass", "no finite probabilities"),
        ("think", None),
    ):
        inspector = Inspector(Broken(), InspectSettings(mode=mode))
        for _ in range(2):  # never too many of them
            found = [one.record for one in inspector.inspect(_loaded("a.png", "b.png", "c.png", "d.png"))]
            assert {(one.error, one.score) for one in found} == {(error, None)}
        assert inspector.no_score == "no finite probabilities"


def test_a_bad_beginning_is_not_told_as_if_nothing_had_a_score() -> None:
    class Late(FakeEngine):
        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            return [Unweighed("nan") if request.id.startswith("a") else {"Yes": 0.2, "No": 0.8} for request in requests]

    inspector = Inspector(Late(), InspectSettings(mode="direct"))
    (first,) = inspector.inspect(_loaded("a.png"))
    assert (first.record.error, inspector.no_score) == ("nan", "nan")
    (second,) = inspector.inspect(_loaded("b.png"))
    assert (second.record.score, inspector.no_score) == (0.2, None)


@pytest.mark.parametrize("mode", ["direct", "two-pass"])
def test_modes_that_need_scores_refuse_an_engine_without(mode: str) -> None:
    engine = FakeEngine(no_probabilities="stored answers carry none")
    with pytest.raises(ModelError, match=rf"{mode}.*stored answers carry none.*--mode think"):
        Inspector(engine, InspectSettings(mode=mode)).inspect(_loaded("a.png", "b.png", "c.png"))
    assert _verdicts(engine, InspectSettings(mode="think"), "a.png") == ["anomalous"]


def test_several_references_stand_before_the_photo() -> None:
    engine = FakeEngine()
    (finding,) = Inspector(engine, InspectSettings(shots=2)).inspect(_loaded("a.png", references=2))
    kinds = [part["type"] for part in engine.asked[0].messages[0]["content"]]
    assert kinds == ["text", "image", "image", "text", "image", "text"]
    assert len(engine.asked[0].images) == 3
    assert finding.record.references == ("good.png", "good.png")


def test_what_a_digest_tells_apart() -> None:
    base = InspectSettings()
    same = [
        dataclasses.replace(base, mode="direct"),
        dataclasses.replace(base, reasoning="structured"),
        dataclasses.replace(base, max_new_tokens=7),
        base.calibrated(0.9, (0.8, 0.95), "abc"),
    ]
    other = [dataclasses.replace(base, shots=1), dataclasses.replace(base, tiles="2x2")]
    assert {one.score_digest for one in same} == {base.score_digest}
    assert len({one.score_digest for one in (base, *other)}) == 3
    assert len({one.digest for one in (base, *same, *other)}) == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "fast"}, "no mode 'fast' .known: direct, think, two-pass"),
        ({"reasoning": "poem"}, "no reasoning 'poem'"),
        ({"tiles": "9x9"}, "'9x9', a side has at most 8"),
        ({"tiles": "99x99"}, "'99x99', a side has at most 8"),
        ({"tiles": "2"}, "off, auto, or columns x rows such as 3x2"),
        ({"threshold": float("nan")}, "within 0 and 1"),
        ({"threshold": 1.1}, "within 0 and 1"),
        ({"band": (0.5, 0.4)}, "the smaller first"),
        ({"max_new_tokens": 0}, "at least 1"),
    ],
)
def test_wrong_settings(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        InspectSettings(**values)  # type: ignore[arg-type]


class _Half:
    """The left half of each box."""

    name = "half"

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        results = []
        for x1, y1, x2, y2 in boxes:
            mask = np.zeros((image.height, image.width), dtype=bool)
            mask[int(y1) : int(y2), int(x1) : int((x1 + x2) / 2)] = True
            results.append(MaskResult(mask, 0.5, "half"))
        return results


def test_masks_overlay_and_their_agreement_with_the_box(tmp_path: Path) -> None:
    (finding,) = Inspector(FakeEngine(), InspectSettings(), segmenter=_Half()).inspect(_loaded("a.png"))
    assert finding.record.defects[0].mask is None
    assert finding.record.defects[0].agreement == pytest.approx(0.5)
    record = artefacts.write(finding, tmp_path, "x/a", overlays=True)
    assert (record.defects[0].mask, record.overlay) == ("masks/x/a_0.png", "overlays/x/a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks/x/a_0.png")) > 0, finding.masks[0])
    assert artefacts.write(finding, tmp_path, "y", overlays=False).overlay is None


def test_a_model_that_loops_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_DEFECTS", 2)
    boxes = ", ".join(f'{{"bbox_2d": [{20 * n}, 0, {20 * n + 9}, 9], "label": "hole"}}' for n in range(4))
    (finding,) = Inspector(FakeEngine(default=f"<answer>[{boxes}]</answer>"), InspectSettings()).inspect(
        _loaded("a.png")
    )
    assert len(finding.record.defects) == 2
    assert finding.record.parse.endswith("only the first 2 of 4 boxes are kept")


class _Dies(FakeEngine):
    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        raise ModelError("out of memory")


@pytest.mark.parametrize("mode", ["direct", "think", "two-pass"])
@pytest.mark.parametrize("photos", [1, 5])
def test_a_server_that_cannot_be_asked_is_no_lack_of_probabilities(mode: str, photos: int) -> None:
    class Down(FakeEngine):
        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            self.refused += 1
            raise ModelError("no server answers at http://localhost:1/v1", hint="check --base-url")

    engine = Down()
    names = [f"{number}.png" for number in range(photos)]
    with pytest.raises(ModelError, match=r"^no server answers at http://localhost:1/v1 \(check --base-url\)$"):
        Inspector(engine, InspectSettings(mode=mode)).inspect(_loaded(*names))
    assert engine.refused == 1


def test_an_engine_that_fails_ends_the_run() -> None:
    with pytest.raises(ModelError, match="out of memory"):
        Inspector(_Dies(), InspectSettings()).inspect(_loaded("a.png"))
