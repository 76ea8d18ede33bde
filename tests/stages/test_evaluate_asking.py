"""What the engine receives and what becomes of its answer: images, prefixes, options, probabilities, masks, batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1 import protocols, rle
from iadr1.atomic import write_text_atomic
from iadr1.errors import DataError, ModelError, UsageError
from iadr1.geometry import Box
from iadr1.images import open_image
from iadr1.masks import MaskResult
from iadr1.models import Request
from iadr1.models.base import IMAGE_SLOT, Unweighed
from iadr1.records import PredictedBox, Prediction, Sample, meta_path, read_records, write_records
from iadr1.stages.evaluate.asking import batches
from iadr1.stages.evaluate.masks import masks_of
from iadr1.stages.scoring.pixel import MaskRecord
from tests.stages.evaluate_world import KINDS, SCRATCH, World, detection, expression, leave_out_pictures, sample, yes_no
from tests.stages.fake_engine import BAD, NORMAL, YES, FakeEngine, share

LETTER = "<think>.</think><answer>A</answer>"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    leave_out_pictures(monkeypatch)
    return World(tmp_path)


def slots(request: Request) -> int:
    """Image parts of what is sent."""
    if request.plain is not None:
        return request.plain.count(IMAGE_SLOT)
    return sum(part["type"] == "image" for message in request.messages for part in message["content"])


# images

ASKED: dict[str, tuple[str, list[Sample]]] = {
    "choice": ("mmad", [detection("a1", bad=True), sample("a2"), sample("b1")]),
    "anomaly": ("iad", [yes_no("a", SCRATCH), yes_no("b")]),
    "grounding": ("grounding", [expression("a"), expression("b")]),
}
PROTOCOLS = [(name, task) for name in protocols.names() for task in protocols.load(name).tasks]


@pytest.mark.parametrize("shots", [0, 1, 2, 3])
@pytest.mark.parametrize(("name", "task"), PROTOCOLS)
def test_what_is_asked_for_is_what_is_sent(world: World, name: str, task: str, shots: int) -> None:
    """One image part and one image for every reference and for the query, in every request of every protocol."""
    benchmark, samples = ASKED[task]
    write_records(world.data, samples)
    engine = FakeEngine(default=LETTER)
    if shots > protocols.load(name).max_shots:
        with pytest.raises(UsageError, match="shots"):
            world.run(engine, benchmark, protocol=name, shots=shots)
        return
    world.run(engine, benchmark, protocol=name, shots=shots)
    assert engine.asked
    for request in (*engine.asked, *(request for request, _ in engine.weighed)):
        assert slots(request) == len(request.images) == shots + 1
    assert {request.plain is None for request in engine.asked} == {protocols.load(name).chat}
    assert {prediction.images for prediction in world.predictions()} == {shots + 1}


@pytest.mark.parametrize("template", ["random", "similar"])
def test_references_stand_in_their_order_before_the_query(world: World, template: str) -> None:
    write_records(world.data, [sample("a1")])
    engine = FakeEngine(default=LETTER)
    world.run(engine, shots=2, template=template)
    sizes = [image.size for image in engine.asked[0].images]
    assert sizes == {"random": [(200, 100), (40, 30)], "similar": [(60, 20), (40, 30)]}[template] + [(200, 100)]


def test_an_image_of_a_batch_is_opened_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def spy(path: Path) -> Image.Image:
        opened.append(path.name)
        return open_image(path)

    monkeypatch.setattr("iadr1.stages.evaluate.asking.open_image", spy)
    write_records(world.data, [sample("a1"), sample("a2"), sample("b1")])
    world.run(FakeEngine(default=LETTER), shots=1, batch_size=3)
    assert sorted(opened) == ["a.png", "b.png", "r.png"]


def test_images_are_scaled_as_the_protocol_says_and_boxes_are_of_the_stored_image(world: World, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    shipped = Path(protocols.find("detection")).read_text(encoding="utf-8")
    file.write_text(shipped.replace("name: detection", "name: small") + "fit_wh: [100, 100]\n", encoding="utf-8")
    write_records(world.data, [yes_no("a", SCRATCH)])
    engine = FakeEngine()  # sees everything as 112 x 112 and names the box (28, 28, 56, 84)
    world.run(engine, "detection", protocol=str(file))
    assert engine.asked[0].images[0].size == (100, 50)
    [prediction] = world.predictions()
    assert prediction.boxes[0].box == pytest.approx((50, 25, 100, 75))


# texts


def test_a_growing_list_does_not_depend_on_limit_or_batch(world: World) -> None:
    items = [detection("a1", bad=True), sample("a2", question="Second?"), sample("a3", question="Third?")]
    write_records(world.data, items)
    asked: dict[str, Any] = {}
    ways: list[dict[str, Any]] = [{}, {"limit": 1}, {"limit": 2, "seed": 1}, {"batch_size": 1}]
    for number, settings in enumerate(ways):
        engine = FakeEngine(default="A")
        world.run(engine, protocol="mmad", out=world.folder / str(number), **settings)
        for request in engine.asked:
            assert asked.setdefault(request.id, request.messages) == request.messages
    text = str(asked["a3"])
    assert text.index("Is there any defect?") < text.index("Second?") < text.index("Third?")
    assert "Third?" not in str(asked["a2"])


def test_only_the_first_question_of_an_image_where_the_protocol_asks_no_more(world: World) -> None:
    write_records(world.data, [yes_no("a1", SCRATCH), yes_no("a2", SCRATCH), yes_no("b1")])
    engine = FakeEngine(default="<answer>Yes</answer>")
    result = world.run(engine, "iad", protocol="iadr1-repo")
    assert [request.id for request in engine.asked] == ["a1", "b1"]
    assert result.asked == 2


def test_domain_knowledge_comes_from_the_sidecar(world: World) -> None:
    write_records(world.data, [sample("a1")])
    with pytest.raises(UsageError, match=r"samples\.meta\.json: there is no domain knowledge: no such file"):
        world.run(FakeEngine(default="A"), domain_knowledge=True)
    write_text_atomic(meta_path(world.data), '{"root": "."}')
    with pytest.raises(UsageError, match="there is no domain knowledge under 'domain_knowledge'"):
        world.run(FakeEngine(default="A"), domain_knowledge=True)
    write_text_atomic(meta_path(world.data), '{"root": ".", "domain_knowledge": {"X": {"nut": {"good": "Even."}}}}')
    with pytest.raises(DataError, match=r"samples\.jsonl: sample 'a1': there is no domain knowledge about 'bolt'"):
        world.run(FakeEngine(default="A"), domain_knowledge=True)
    knowledge = '{"X": {"bolt": {"good": "The bolt is even.", "bent": "The bolt is bent."}}}'
    write_text_atomic(meta_path(world.data), f'{{"root": ".", "domain_knowledge": {knowledge}}}')
    engine = FakeEngine(default="A")
    world.run(engine, domain_knowledge=True)
    assert "The bolt is even.\\nThe bolt is bent." in str(engine.asked[0].messages)


# the order of the options


def test_every_rotation_is_asked_and_answers_are_in_the_samples_own_letters(world: World) -> None:
    write_records(world.data, [sample("a1"), detection("b1", bad=False)])
    engine = FakeEngine(default=LETTER)  # always the first option shown
    result = world.run(engine, option_order="circular")
    predictions = world.predictions()
    assert [p.key for p in predictions] == ["a1", "a1#1", "a1#2", "a1#3", "b1", "b1#1"]
    assert [p.answer for p in predictions] == ["A", "B", "C", "D", "A", "B"]
    assert [p.order for p in predictions] == ["", "BCDA", "CDAB", "DABC", "", "BA"]
    assert result.asked == 6
    assert result.protocol.name == "anomalyr1+option_order=circular"


def test_a_seeded_order_depends_on_question_and_seed_only(world: World) -> None:
    keys = [f"{image}{number}" for image in "abcd" for number in range(5)]
    write_records(world.data, [sample(key) for key in keys])
    orders: dict[int, dict[str, str]] = {}
    for seed in (0, 1):
        world.run(FakeEngine(default=LETTER), option_order="seeded", seed=seed, out=world.folder / f"s{seed}")
        found = world.predictions(world.folder / f"s{seed}")
        orders[seed] = {p.sample_id: p.order for p in found}
        for prediction in found:
            assert prediction.answer == (prediction.order or "ABCD")[0]
    assert len(set(orders[0].values())) > 5
    assert orders[0] != orders[1]
    world.run(FakeEngine(default=LETTER), option_order="seeded", limit=7, out=world.folder / "few")
    few = world.predictions(world.folder / "few")
    assert {p.sample_id: p.order for p in few}.items() <= orders[0].items()


# probabilities


def test_the_most_probable_option_is_the_answer(world: World) -> None:
    write_records(world.data, [sample("a1"), detection("a2", bad=True)])
    engine = FakeEngine()
    world.run(engine, scoring="logprob", option_order="circular")
    assert engine.asked == []
    assert {words for _, words in engine.weighed} == {("A", "B", "C", "D"), ("A", "B")}
    assert all(request.prefix == "<think></think><answer>" for request, _ in engine.weighed)
    for prediction in world.predictions():
        options = list(KINDS)[: 4 if prediction.sample_id == "a1" else 2]
        order = prediction.order or "".join(options)
        weights = {own: share(prediction.key, shown) for own, shown in zip(order, options, strict=True)}
        expected = {own: weights[own] / sum(weights.values()) for own in options}
        assert prediction.probabilities == pytest.approx(expected)
        assert list(prediction.probabilities or ()) == options
        assert prediction.answer == max(expected, key=lambda letter: expected[letter])
        assert prediction.parse == "ok"
    assert world.run_file()["scoring"] == "logprob"


def test_yes_or_no_by_probability(world: World) -> None:
    write_records(world.data, [yes_no("a", SCRATCH)])
    engine = FakeEngine()
    world.run(engine, "iad", scoring="logprob")
    [prediction] = world.predictions()
    assert (prediction.answer, prediction.probabilities, prediction.score) == ("Yes", {"Yes": YES, "No": 1 - YES}, YES)
    assert len(engine.weighed) == 1


def test_without_probabilities_nothing_is_chosen(world: World) -> None:
    write_records(world.data, [sample("a1")])
    with pytest.raises(ModelError, match="stored answers carry no probabilities"):
        world.run(world.answers({"a1": "A"}), scoring="logprob")


@pytest.mark.parametrize("benchmark", ["iad", "detection"])
def test_the_anomaly_score_is_the_probability_of_yes_to_the_bare_question(world: World, benchmark: str) -> None:
    write_records(world.data, [yes_no("a", SCRATCH), yes_no("b")])
    engine = FakeEngine()
    result = world.run(engine, benchmark, shots=2)
    assert [p.score for p in world.predictions()] == [YES, YES]
    assert result.no_score is None
    for (request, words), asked in zip(engine.weighed, engine.asked, strict=True):
        assert words == ("Yes", "No")
        assert request.images == asked.images
        assert request.messages[0]["content"][-1]["text"] == "Any defects? Answer with Yes or No."


def test_an_engine_without_scores_is_told_once_and_the_run_goes_on(world: World) -> None:
    write_records(world.data, [yes_no("a", SCRATCH), yes_no("b"), yes_no("c"), yes_no("d")])
    engine = FakeEngine(no_probabilities="no log probabilities here")
    result = world.run(engine, "iad")
    assert [p.score for p in world.predictions()] == [None] * 4
    assert result.no_score == world.run_file()["no_score"] == "no log probabilities here"
    assert result.unscored == 4
    assert engine.refused == 1
    # Also when a later call asks nothing.
    assert world.run(FakeEngine(), "iad").no_score == "no log probabilities here"


def test_one_answer_without_a_score_does_not_cost_the_others_theirs(world: World) -> None:
    """A server may give no probability of either word for one image."""
    write_records(world.data, [yes_no(key, SCRATCH) for key in "abcd"])
    engine = FakeEngine(unweighable={"c"})
    result = world.run(engine, "iad", batch_size=4)
    assert [p.score for p in world.predictions()] == [YES, YES, None, YES]
    told = "the engine gave no probability of Yes or No"
    assert (result.unscored, result.no_score, result.failed) == (1, told, 0)


def test_an_engine_that_gave_scores_and_then_fails_ends_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_records(world.data, [yes_no(key, SCRATCH) for key in "abcdr"])  # a chunk of four images, and one more
    engine = FakeEngine()
    plain = engine.probabilities

    def once(requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        monkeypatch.setattr(engine, "probabilities", plain)
        found = plain(requests, words)
        engine.no_probabilities = "no server answers"
        return found

    monkeypatch.setattr(engine, "probabilities", once)
    with pytest.raises(ModelError, match="no server answers"):
        world.run(engine, "iad", batch_size=1)


def test_a_server_that_cannot_be_asked_for_scores_ends_the_run(world: World) -> None:
    class Down(FakeEngine):
        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            raise ModelError("no server answers")

    write_records(world.data, [yes_no("a", SCRATCH)])
    with pytest.raises(ModelError, match="no server answers"):
        world.run(Down(), "iad")


def test_an_option_without_probabilities_is_no_answer(world: World) -> None:
    write_records(world.data, [yes_no("a", SCRATCH), yes_no("b")])
    result = world.run(FakeEngine(unweighable={"b"}), "iad", scoring="logprob")
    assert [(p.answer, p.error) for p in world.predictions()] == [
        ("Yes", None), (None, "the engine gave no probabilities"),
    ]  # fmt: skip
    assert (result.failed, result.first_failure) == (1, "the engine gave no probabilities")


def test_why_an_engine_gave_no_probabilities_is_told(world: World) -> None:
    class Broken(FakeEngine):
        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            found = super().probabilities(requests, words)
            return [Unweighed("nan for 'Yes'") if request.id.startswith("b") else given
                    for request, given in zip(requests, found, strict=True)]  # fmt: skip

    write_records(world.data, [yes_no("a", SCRATCH), yes_no("b")])
    assert world.run(Broken(), "iad").no_score == "nan for 'Yes'"
    result = world.run(Broken(), "iad", scoring="logprob", out=world.folder / "other")
    assert (result.failed, result.first_failure) == (1, "nan for 'Yes'")


def test_multiple_choice_has_no_anomaly_score(world: World) -> None:
    write_records(world.data, [detection("a1", bad=True)])
    engine = FakeEngine(default=LETTER)
    assert world.run(engine).no_score is None
    assert engine.weighed == []
    assert world.predictions()[0].score is None


# answers


def test_tokens_time_and_the_end_are_kept(world: World) -> None:
    write_records(world.data, [sample("a1"), sample("b1")])
    engine = FakeEngine({"a1": "word " * 3, "b1": "word " * 9})
    world.run(engine, max_new_tokens=5, shots=1)
    found = [(p.finished, p.prompt_tokens, p.completion_tokens, p.seconds) for p in world.predictions()]
    assert found == [(True, 30, 3, 0.25), (False, 30, 9, 0.25)]


def test_a_question_a_server_did_not_answer_is_told_and_asked_again(world: World) -> None:
    write_records(world.data, [yes_no("a", SCRATCH), yes_no("b"), yes_no("c")])
    first = FakeEngine(default=NORMAL, errors={"b": "500 after 5 tries"})
    result = world.run(first, "detection")
    assert (result.asked, result.failed, result.first_failure) == (3, 1, "500 after 5 tries")
    wrong = world.predictions()[1]
    assert (wrong.error, wrong.answer, wrong.parse, wrong.score) == (
        "500 after 5 tries", None, "failed: no answer", None,
    )  # fmt: skip
    assert [request.id for request, _ in first.weighed] == ["a", "c"]
    again = FakeEngine(default=NORMAL)
    result = world.run(again, "detection")
    assert (result.failed, result.resumed, [request.id for request in again.asked]) == (0, 2, ["b"])
    assert sorted(p.key for p in world.predictions()) == ["a", "b", "c"]


def test_half_a_character_is_kept_as_text(world: World) -> None:
    """JSON can spell what no UTF-8 file can hold."""
    write_records(world.data, [yes_no("a", SCRATCH), yes_no("b")])
    world.run(FakeEngine({"a": "\ud800 " + BAD}, errors={"b": "odd \udfff"}), "detection")
    first, second = world.predictions()
    assert first.raw == "\\ud800 " + BAD
    assert len(first.boxes) == 1
    assert second.error == "odd \\udfff"


# masks


def test_masks_are_drawn_in_predicted_boxes(world: World) -> None:
    pytest.importorskip("torch")
    write_records(world.data, [yes_no("a", SCRATCH), yes_no("b"), yes_no("c")])
    result = world.run(FakeEngine({"b": NORMAL}, default=BAD), "detection", masks=True)
    found = list(read_records(result.out / "masks.jsonl", MaskRecord))
    assert [(record.key, len(record.masks)) for record in found] == [("a", 1), ("b", 0), ("c", 1)]
    [drawn] = found[0].masks
    assert drawn.box == world.predictions()[0].boxes[0].box
    mask = rle.decode(rle.parse(drawn.mask_rle))
    assert mask.shape == (100, 200)
    assert mask.sum() == drawn.area_px
    assert world.run_file()["masks"] == "tiny-sam2"
    with pytest.raises(UsageError, match=r"with the masks of tiny-sam2, this run's is no segmenter"):
        world.run(FakeEngine(), "detection")


class Islands:
    """Marks the whole image but its middle column."""

    name = "islands"

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        mask = np.ones((image.height, image.width), dtype=np.bool_)
        mask[:, image.width // 2] = False
        return [MaskResult(mask, 0.5, self.name) for _ in boxes]


def test_masks_are_cleaned_as_those_of_detect() -> None:
    box = (10.0, 10.0, 30.0, 40.0)
    prediction = Prediction(
        sample_id="a", protocol="p", model="m", engine="e", boxes=(PredictedBox(box=box, label="hole"),)
    )
    [drawn] = masks_of(Islands(), prediction, Image.new("RGB", (100, 50))).masks
    assert (drawn.label, drawn.mask_score, drawn.mask_source) == ("hole", 0.5, "islands")
    found = rle.box(rle.parse(drawn.mask_rle))
    assert found is not None
    assert found == pytest.approx(box, abs=6)  # the box, slightly grown


def test_masks_and_predictions_stay_together_when_a_run_is_cut(world: World) -> None:
    pytest.importorskip("cv2")
    items = [yes_no(key, SCRATCH) for key in "abcd"]
    write_records(world.data, items)
    world.run(FakeEngine(), "detection", masks=True)
    whole = (world.out / "masks.jsonl").read_bytes()
    lines = (world.out / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    (world.out / "predictions.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:30])
    world.run(FakeEngine(), "detection", masks=True)
    assert (world.out / "masks.jsonl").read_bytes() == whole
    assert (world.out / "predictions.jsonl").read_bytes() == b"".join(lines)


# batches


def test_batches_are_of_whole_images_where_these_fit() -> None:
    def sizes(images: list[int], size: int) -> list[list[Any]]:
        questions: Any = [[f"{image}{number}" for number in range(count)] for image, count in enumerate(images)]
        return list(batches(questions, size))

    assert sizes([2, 1, 3], 3) == [["00", "01", "10"], ["20", "21", "22"]]
    assert sizes([2, 2, 2], 3) == [["00", "01"], ["10", "11"], ["20", "21"]]
    assert sizes([5], 2) == [["00", "01"], ["02", "03"], ["04"]]
    assert sizes([1, 5, 1], 4) == [["00"], ["10", "11", "12", "13"], ["14", "20"]]
    assert sizes([], 4) == []


def test_questions_of_an_image_that_stand_apart_in_the_file_are_asked_together(world: World) -> None:
    write_records(world.data, [sample(f"{image}{number}") for number in range(3) for image in "ab"])
    engine = FakeEngine(default=LETTER)
    world.run(engine, batch_size=1)
    assert [request.id for request in engine.asked] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert engine.batches == [3, 3]


def test_a_server_gets_enough_to_be_busy_and_the_local_engine_enough_to_sort(world: World) -> None:
    from iadr1.stages.evaluate.settings import chunk_of

    assert chunk_of(world.config(batch_size=2)) == 8
    assert chunk_of(world.config(engine="server", concurrency=8)) == 32
