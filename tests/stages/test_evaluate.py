"""Evaluation end to end, with stored ugly answers and with a tiny random model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1 import leaks
from iadr1.config import EvalConfig
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.geometry import BoxSpace
from iadr1.models import Completion, Request
from iadr1.models.base import Profile
from iadr1.models.profiles import PROFILES
from iadr1.models.replay import ReplayEngine
from iadr1.records import Defect, Prediction, Sample, read_records, write_records
from iadr1.stages.evaluate import EvalResult, run

OPTIONS = {"A": "Yes.", "B": "No."}
KINDS = {"A": "Scratch.", "B": "Hole.", "C": "Stain.", "D": "Dent."}


def sample(key: str, **fields: object) -> Sample:
    given = {
        "dataset": "X",
        "category": "bolt",
        "split": "test",
        "image": f"{key[0]}.png",
        "references": ("r.png",),
        "task": "choice",
        "question": "What kind of defect is it?",
        "options": KINDS,
        "answer": "A",
        "question_type": "Defect Classification",
        "is_anomalous": True,
        **fields,
    }
    return Sample.model_validate({"id": key, **given})


def detection(key: str, *, bad: bool, **fields: object) -> Sample:
    return sample(
        key,
        question="Is there any defect?",
        options=OPTIONS,
        answer="A" if bad else "B",
        question_type="Anomaly Detection",
        is_anomalous=bad,
        **fields,
    )


class World:
    """A folder with images, samples and stored answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in "abcdr":
            Image.new("RGB", (200, 100), (90, 90, 90)).save(folder / f"{name}.png")
        self.data = folder / "samples.jsonl"
        self.out = folder / "out"

    def write(self, answers: Sequence[tuple[Sample, str]]) -> ReplayEngine:
        write_records(self.data, [item for item, _ in answers])
        return self.answers({item.id: text for item, text in answers})

    def answers(self, texts: Mapping[str, str], *, profile: Profile | None = None) -> ReplayEngine:
        path = self.folder / "answers.jsonl"
        lines = [json.dumps({"id": key, "text": text}) for key, text in texts.items()]
        path.write_text("\n".join(lines), encoding="utf-8")
        return ReplayEngine(str(path), profile=profile or PROFILES["qwen2_5_vl"])

    def run(self, engine: ReplayEngine, benchmark: str = "mmad", **settings: object) -> EvalResult:
        given = {"data": self.data, "out": self.out, "batch_size": 2, **settings}
        return run(EvalConfig(benchmark=benchmark, **given), engine=engine)  # type: ignore[arg-type]

    def predictions(self) -> list[Prediction]:
        return list(read_records(self.out / "predictions.jsonl", Prediction))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ugly() -> list[tuple[Sample, str]]:
    """Seven questions on four images; strict: detection (1/2 normal, 1/1 anomalous), classification 2 of 4."""
    return [
        (detection("a1", bad=True), "<think>A dent is visible.</think><answer>A</answer>"),
        (sample("a2"), "<think>so it is\nB</think>\n<answer> (a) Scratch. </answer>"),
        (detection("b1", bad=False, held_out=True), "<answer>B"),
        (detection("c1", bad=False), "A crack? I cannot tell. <answer></answer>"),
        (sample("d1", held_out=True), "The answer is B. Wait, the answer is A."),
        (sample("d2"), "<answer>B</answer>"),
        (sample("d3"), "\x00 \U0001f600 </answer><answer>E</answer>"),
    ]


# scoring end to end


def test_choice_from_ugly_texts(world: World) -> None:
    result = world.run(world.write(ugly()))
    assert [p.answer for p in world.predictions()] == ["A", "A", "B", None, "A", "B", None]
    assert [p.parse.partition(":")[0] for p in world.predictions()] == [
        *("ok", "ok", "truncated", "failed", "repaired", "repaired", "failed")
    ]
    metrics = json.loads((world.out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == json.loads(json.dumps(result.metrics))
    every = metrics
    assert every["strict"]["X"] == pytest.approx(
        {
            "Anomaly Detection": 75.0,
            "Defect Classification": 50.0,
            "average": 62.5,
            "overkill": 50.0,
            "miss": 0.0,
        }
    )
    assert every["parsed"]["X"]["Defect Classification"] == pytest.approx(200 / 3)
    assert every["parse_rate"] == pytest.approx(500 / 7)
    assert (every["questions"], every["images"], every["errors"]) == (7, 4, 0)
    low, high = every["interval_95"]["average"]
    assert low < 62.5 < high
    held_out, trained = metrics["splits"]["held-out categories"], metrics["splits"]["trained categories"]
    assert held_out["strict"]["average"] == {
        "Anomaly Detection": 100.0,
        "Defect Classification": 100.0,
        "average": 100.0,
        "overkill": 0.0,
    }
    assert trained["strict"]["average"]["average"] == pytest.approx((50 + 100 / 3) / 2)
    assert (result.samples, result.resumed, result.failed) == (7, 0, 0)
    assert "| Average | 75.00 | 50.00 |" in (world.out / "table.md").read_text(encoding="utf-8")
    run_file = json.loads((world.out / "run.json").read_text(encoding="utf-8"))
    assert run_file["finished"]
    assert run_file["protocol"]["hash"] == metrics["protocol"] == world.predictions()[0].protocol


def yes_no(key: str, *defects: Defect, **fields: object) -> Sample:
    bad = bool(defects)
    return sample(
        key,
        task="anomaly",
        question="Any defects?",
        options={},
        answer="Yes" if bad else "No",
        question_type="Anomaly Detection",
        is_anomalous=bad,
        defects=defects,
        **fields,
    )


SCRATCH = Defect(type="scratch", box=(0, 0, 50, 50), location="top left")


def test_structured(world: World) -> None:
    engine = world.write(
        [
            (
                yes_no("a", SCRATCH),
                "<think>.</think><location>top left</location><type>Scratch</type><answer>Yes</answer>",
            ),
            (yes_no("b", SCRATCH), "<location>center</location><type>hole</type><answer>Yes</answer>"),
            (yes_no("c"), "<answer>perhaps</answer>"),
            (yes_no("d"), "<answer>No</answer>"),
        ]
    )
    scores = world.run(engine, "anomaly").metrics
    expected = {
        "balanced_accuracy": 75.0,
        "overkill": 50.0,
        "miss": 0.0,
        "undecided": 25.0,
        "type_accuracy": 50.0,
        "location_accuracy": 50.0,
        "location_images": 2,
        "parse_rate": 75.0,
    }
    assert {key: scores[key] for key in expected} == expected


def boxes_text(*boxes: tuple[float, float, float, float]) -> str:
    return f"<answer>{json.dumps([{'bbox_2d': list(box), 'label': 'scratch'} for box in boxes])}</answer>"


@pytest.mark.parametrize("space", list(BoxSpace))
def test_detection_reads_boxes_in_the_models_space(world: World, space: BoxSpace) -> None:
    """The image is 200x100 and its defect the left upper quarter, whatever numbers the model writes for it."""
    samples = [yes_no("a", SCRATCH), yes_no("b", SCRATCH), yes_no("c"), yes_no("d")]
    profile = replace(PROFILES["qwen2_5_vl"], box_space=space)
    width, height = profile.input_wh((200, 100))
    assert width != 200
    right = {
        BoxSpace.INPUT_PX: (0, 0, width // 4, height // 2),
        BoxSpace.NORM1000: (0, 0, 250, 500),
        BoxSpace.UNIT: (0, 0, 0.25, 0.5),
        BoxSpace.UNIT_SQUARE: (0, 0.25, 0.25, 0.5),
    }[space]
    write_records(world.data, samples)
    texts = ["rubbish", boxes_text(right), boxes_text(right), "<answer>[]</answer>"]
    engine = world.answers(dict(zip("abcd", texts, strict=True)), profile=profile)
    scores = world.run(engine, "detection").metrics
    assert scores["balanced_accuracy"] == 50.0
    assert (scores["overkill"], scores["miss"], scores["undecided"]) == (50.0, 50.0, 25.0)
    assert (scores["recall"], scores["precision"], scores["f1"]) == (50.0, 50.0, 50.0)
    assert scores["mean_iou"] == pytest.approx(0.5, abs=0.01)


def test_grounding(world: World) -> None:
    targets = [
        sample(key, task="grounding", options={}, answer="", is_anomalous=None, defects=(SCRATCH,)) for key in "abc"
    ]
    profile = replace(PROFILES["qwen2_5_vl"], box_space=BoxSpace.NORM1000)
    write_records(world.data, targets)
    texts = [boxes_text((0, 0, 250, 500)), boxes_text((0, 0, 250, 250)), "<answer>[]</answer>"]
    engine = world.answers(dict(zip("abc", texts, strict=True)), profile=profile)
    scores = world.run(engine, "grounding").metrics
    assert scores["acc@0.5"] == pytest.approx(100 / 3)
    assert scores["mean_iou"] == pytest.approx(0.5)
    assert scores["parse_rate"] == pytest.approx(200 / 3)


def test_a_question_counts_under_its_subtask(world: World) -> None:
    """As the readers say it; the raw type is no longer folded here."""
    details = {"question_type": "Object Details", "subtask": "Object Analysis"}
    engine = world.write([(sample("a1", **details), "<answer>A</answer>"), (sample("b1"), "<answer>B</answer>")])
    assert world.run(engine).metrics["strict"]["X"] == {
        "Object Analysis": 100.0, "Defect Classification": 0.0, "average": 50.0,
    }  # fmt: skip


# images the model was trained on


PICTURES = {"a": 3, "b": 5, "c": 7, "d": 11}
"""Image -> the width of its stripes: four pictures whose hashes are far apart."""


def trained_on(world: World, *names: str, category: str = "bolt") -> leaks.LeakManifest:
    """Draw the four pictures and the manifest of a training on some of them, under other names."""
    training = world.folder / "training"
    training.mkdir(exist_ok=True)
    for name, width in PICTURES.items():
        pixels = np.fromfunction(lambda y, x, w=width: 60 + 120 * ((x * w + y * w * w) // 37 % 2), (100, 200))
        Image.fromarray(pixels.astype(np.uint8)).save(world.folder / f"{name}.png")
        shutil.copy(world.folder / f"{name}.png", training / f"t{name}.png")
    samples = [sample(name, image=f"t{name}.png", category=category) for name in names]
    return leaks.build_manifest(samples, training)


def manifest_file(world: World, *names: str, category: str = "bolt") -> Path:
    path = world.folder / "train.leak.json"
    leaks.write(path, trained_on(world, *names, category=category))
    return path


def test_a_silent_overlap_is_refused_before_a_model_is_loaded(world: World) -> None:
    world.write(ugly())
    config = EvalConfig(data=world.data, out=world.out, model="no/such/model", leaks=manifest_file(world, "a", "d"))
    with pytest.raises(UsageError) as caught:
        run(config)
    assert "the model was trained on 2 of the 4 images to be asked about: a.png, d.png" in str(caught.value)
    assert "leave them out of --data" in str(caught.value)
    assert "--allow-leaks" in str(caught.value)
    found = {match.image: match.match for match in read_records(world.out / "leaks.jsonl", leaks.ImageMatch)}
    assert found == {"a.png": "ta.png", "b.png": None, "c.png": None, "d.png": "td.png"}
    assert not (world.out / "run.json").exists()


def test_allowed_leaks_mark_every_figure_they_are_in_and_stand_apart(world: World) -> None:
    engine = world.write(ugly())
    calls: list[tuple[int, int]] = []
    config = EvalConfig(
        data=world.data, out=world.out, batch_size=2, leaks=manifest_file(world, "a", "d"), allow_leaks=True
    )
    metrics = run(config, engine=engine, comparing=lambda done, total: calls.append((done, total))).metrics
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert metrics["includes_trained_images"] == 2
    assert metrics["leaks"]["images"] == {"held-out images": 2, "held-out categories": 0, "trained images": 2}
    assert {name: part["questions"] for name, part in metrics["splits"].items()} == {
        "held-out images": 2, "trained images": 5,
    }  # fmt: skip
    # b1 right, c1 unread: both detection on normal images.
    assert metrics["splits"]["held-out images"]["strict"]["average"]["overkill"] == 50.0
    assert metrics["splits"]["trained images"]["strict"]["average"]["Defect Classification"] == 50.0
    assert metrics["strict"]["X"]["average"] == 62.5
    rows = [line.split("|")[1].strip() for line in (world.out / "table.md").read_text().splitlines() if line[:1] == "|"]
    assert rows[2:6] == ["X \N{DAGGER}", "Average \N{DAGGER}", "- held-out images", "- trained images"]
    assert "include 2 images that the model was trained on" in (world.out / "table.md").read_text()
    run_file = json.loads((world.out / "run.json").read_text(encoding="utf-8"))
    assert run_file["leaks"] == metrics["leaks"]


def test_figures_of_boxes_are_marked_too(world: World) -> None:
    engine = world.write([(yes_no("a", SCRATCH), "<answer>[]</answer>"), (yes_no("b"), "<answer>[]</answer>")])
    world.run(engine, "detection", leaks=manifest_file(world, "a"), allow_leaks=True)
    head = (world.out / "table.md").read_text(encoding="utf-8").splitlines()[2]
    assert head == "|  | all \N{DAGGER} | held-out images | trained images |"


def test_a_manifest_of_other_images_lets_pass_and_tells_images_from_categories(world: World) -> None:
    other = {"category": "Hex-Nut"}
    questions = [*ugly()[:4], (sample("d1", **other), "<answer>A</answer>"), (sample("d2", **other), "<answer>B")]
    engine = world.write([(item.model_copy(update={"held_out": False}), text) for item, text in questions])
    path = manifest_file(world, "c")
    Image.new("RGB", (200, 100), "white").save(world.folder / "c.png")
    metrics = world.run(engine, leaks=path).metrics
    assert metrics["includes_trained_images"] == 0
    assert metrics["leaks"]["images"] == {"held-out images": 3, "held-out categories": 1, "trained images": 0}
    assert {name: part["questions"] for name, part in metrics["splits"].items()} == {
        "held-out images": 4, "held-out categories": 2,
    }  # fmt: skip
    table = (world.out / "table.md").read_text(encoding="utf-8")
    assert "\N{DAGGER}" not in table
    told = "By train.leak.json, of 4 images 3 are held-out ones of trained categories, 1 are of held-out categories."
    assert told in table
    # The other way round: what the manifest lists is trained, with or without images of it.
    leaks.write(path, leaks.LeakManifest(categories=("hex_nut",), images=()))
    assert {n: p["questions"] for n, p in world.run(engine, leaks=path).metrics["splits"].items()} == {
        "held-out images": 2, "held-out categories": 4,
    }  # fmt: skip


def test_a_copy_in_another_format_is_found_and_a_second_run_looks_at_nothing_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = world.write(ugly())
    path = manifest_file(world, "a")
    Image.open(world.folder / "a.png").save(world.folder / "copy.bmp")
    (world.folder / "copy.bmp").replace(world.folder / "a.png")
    with pytest.raises(UsageError, match="1 of the 4 images"):
        world.run(engine, leaks=path)
    with monkeypatch.context() as patched:
        patched.setattr("iadr1.leaks.matching.perceptual_hash", None)  # calling it would fail
        assert world.run(engine, leaks=path, allow_leaks=True).metrics["includes_trained_images"] == 1
    # An image that was not looked at, since its very file was trained on, is looked at for another manifest.
    assert world.run(engine, leaks=manifest_file(world, "b"), allow_leaks=True).metrics["includes_trained_images"] == 1
    Image.open(world.folder / "b.png").save(world.folder / "training/tb.bmp")
    leaks.write(path, leaks.build_manifest([sample("b", image="tb.bmp")], world.folder / "training"))
    with pytest.raises(UsageError, match=r"1 of the 4 images.*: b\.png"):
        world.run(engine, leaks=path)


def test_what_looks_like_a_trained_image_is_told_and_held_out(world: World) -> None:
    engine = world.write(ugly())
    manifest = trained_on(world, "a")
    [first] = manifest.images
    close = {"sha256": "0" * 64, "phash": f"{int(first.phash or '', 16) ^ 1:016x}"}
    path = world.folder / "x.leak.json"
    leaks.write(path, manifest.model_copy(update={"images": (first.model_copy(update=close),)}))
    metrics = world.run(engine, leaks=path).metrics
    assert (metrics["leaks"]["near"], metrics["includes_trained_images"]) == (1, 0)
    assert "1 look like a trained image, see leaks.jsonl." in (world.out / "table.md").read_text(encoding="utf-8")


def test_a_model_s_own_folder_says_what_it_was_trained_on(world: World) -> None:
    world.write(ugly())
    manifest = trained_on(world, "b")
    folder = world.folder / "run"
    entry = leaks.write_for_run(folder, manifest)
    (folder / "run.json").write_text(json.dumps({"command": "train", "leak_manifest": entry}), encoding="utf-8")
    for model in ("model", "checkpoint-20"):
        (folder / model).mkdir()
        config = EvalConfig(data=world.data, out=world.out, model=str(folder / model))
        with pytest.raises(UsageError, match=r"run/leak\.json: the model was trained on 1 of the 4 images.*: b\.png"):
            run(config)
        with pytest.raises(UsageError, match="1 of the 4 images"):
            run(replace(config, model="no/such/model", leaks=folder))
    moved = world.folder / "moved"
    leaks.write(moved / "leak.json", manifest)
    with pytest.raises(UsageError, match=r"moved/leak\.json: the model was trained on 1"):
        run(EvalConfig(data=world.data, out=world.out, model=str(moved)))
    engine = world.answers({})
    engine.model = str(moved)
    with pytest.raises(UsageError, match=r"moved/leak\.json: the model was trained on 1"):
        world.run(engine)


def test_without_a_manifest_only_marks_split(world: World) -> None:
    unmarked = [(item.model_copy(update={"held_out": False}), text) for item, text in ugly()]
    metrics = world.run(world.write(unmarked)).metrics
    assert metrics["splits"] == {}
    assert not {"leaks", "includes_trained_images"} & set(metrics)
    assert not (world.out / "leaks.jsonl").exists()


def test_leaks_that_lead_nowhere_are_told(world: World) -> None:
    engine = world.write(ugly())
    with pytest.raises(UsageError, match=r"no leak manifest in .*looked for leak\.json"):
        world.run(engine, leaks=world.folder)
    with pytest.raises(UsageError, match="no file or folder"):
        world.run(engine, leaks=world.folder / "nothing")


# bad images


def test_a_bad_image_is_recorded_and_wrong_and_the_rest_goes_on(world: World) -> None:
    engine = world.write(ugly())
    (world.folder / "a.png").write_bytes(b"no image")
    Image.new("RGB", (500, 1)).save(world.folder / "b.png")  # no model input has this aspect ratio
    result = world.run(engine)
    wrong = [p for p in world.predictions() if p.error is not None]
    assert [p.sample_id for p in wrong] == ["a1", "a2", "b1"]
    assert "a.png" in str(wrong[0].error)
    assert "aspect ratio" in str(wrong[2].error)
    assert all(p.answer is None and p.parse.startswith("failed") for p in wrong)
    assert result.failed == 3
    assert result.metrics["strict"]["X"]["miss"] == 100.0
    assert len(world.predictions()) == 7


# shots


class Spy(ReplayEngine):
    """Notes what it is asked."""

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        self.seen = [*getattr(self, "seen", []), *requests]
        return super().generate(requests, max_new_tokens=max_new_tokens)


@pytest.mark.parametrize("shots", [0, 1])
def test_one_image_for_each_slot(world: World, shots: int) -> None:
    Image.new("RGB", (40, 30)).save(world.folder / "r.png")
    spy = Spy(world.write(ugly()).model)
    world.run(spy, shots=shots)
    for request in spy.seen:
        slots = [part for part in request.messages[0]["content"] if part["type"] == "image"]
        assert len(slots) == len(request.images) == shots + 1
        assert [image.size for image in request.images] == [(40, 30)] * shots + [(200, 100)]


def test_more_shots_than_references(world: World) -> None:
    with pytest.raises(DataError, match=r"sample 1 \('a1'\).*1 references, 2 are asked for"):
        world.run(world.write(ugly()), shots=2)


# resuming


def test_a_killed_run_goes_on(world: World, tmp_path: Path) -> None:
    engine = world.write(ugly())
    world.run(engine)
    whole = world.predictions()
    path = world.out / "predictions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    calls: list[tuple[int, int]] = []
    spy = Spy(engine.model)
    config = EvalConfig(benchmark="mmad", data=world.data, out=world.out, batch_size=3)
    result = run(config, engine=spy, progress=lambda done, total: calls.append((done, total)))
    assert world.predictions() == whole
    assert [request.id for request in spy.seen] == ["c1", "d1", "d2", "d3"]
    assert calls == [(3, 7), (6, 7), (7, 7)]
    assert result.resumed == 3


def test_a_finished_run_asks_nothing(world: World) -> None:
    engine = world.write(ugly())
    first = world.run(engine)
    spy = Spy(engine.model)
    second = world.run(spy)
    assert not hasattr(spy, "seen") or spy.seen == []
    assert second.metrics == first.metrics
    assert len(world.predictions()) == 7


def test_another_protocol_model_or_data_is_refused(world: World) -> None:
    engine = world.write(ugly())
    key = world.run(engine).metrics["protocol"]
    before = (world.out / "predictions.jsonl").read_bytes()
    with pytest.raises(UsageError, match=rf"protocol {key}, this run's is [0-9a-f]{{16}} \(give another --out"):
        world.run(engine, shots=1)
    with pytest.raises(UsageError, match="of the protocol"):
        world.run(engine, max_new_tokens=17)
    other = world.answers({item.id: "<answer>A</answer>" for item, _ in ugly()})
    with pytest.raises(UsageError, match=f"of the model {engine.fingerprint}, this run's is {other.fingerprint}"):
        world.run(other)
    engine = world.write([*ugly(), (sample("d4"), "<answer>A</answer>")])
    engine.fingerprint = before.decode().partition("@")[2][:16]
    with pytest.raises(UsageError, match="for the samples file"):
        world.run(engine)
    assert (world.out / "predictions.jsonl").read_bytes() == before


def test_batch_size_and_names_are_no_part_of_the_protocol(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine, batch_size=1)
    assert world.run(engine, batch_size=32, device="cpu").resumed == 7


def test_limit_draws_with_the_seed(world: World) -> None:
    engine = world.write(ugly())
    drawn = {}
    for seed in range(4):
        world.run(engine, limit=3, seed=seed, out=world.folder / f"out{seed}")
        path = world.folder / f"out{seed}" / "predictions.jsonl"
        drawn[seed] = [p.sample_id for p in read_records(path, Prediction)]
        assert len(drawn[seed]) == 3
        assert drawn[seed] == sorted(drawn[seed])
    assert len({tuple(keys) for keys in drawn.values()}) > 1


# what a folder may hold


@pytest.mark.parametrize("command", ["detect", "train"])
def test_another_commands_folder_is_refused_before_a_model_is_loaded(world: World, command: str) -> None:
    world.write(ugly())
    world.out.mkdir()
    run_file = world.out / "run.json"
    run_file.write_text(json.dumps({"command": command}), encoding="utf-8")
    config = EvalConfig(benchmark="mmad", data=world.data, out=world.out, model="no/such/model")
    with pytest.raises(UsageError, match=rf"a run of another command \({command}\).*another --out"):
        run(config)
    assert json.loads(run_file.read_text(encoding="utf-8")) == {"command": command}
    run_file.write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match=r"run\.json: cannot read"):
        run(config)


@pytest.mark.parametrize("inside", ["", "deep/out"])
def test_an_out_that_is_a_file_is_refused_before_a_model_is_loaded(world: World, inside: str) -> None:
    world.write(ugly())
    config = EvalConfig(benchmark="mmad", data=world.data, out=world.folder / "a.png" / inside, model="no/such/model")
    with pytest.raises(OutputError, match=r"a\.png: this is a file, not a folder \(give another --out\)"):
        run(config)


def test_an_out_that_may_not_be_written_to_is_refused_before_a_model_is_loaded(world: World) -> None:
    world.write(ugly())
    world.out.mkdir(mode=0o500)
    if os.access(world.out, os.W_OK):
        pytest.skip("root may write everywhere")
    config = EvalConfig(benchmark="mmad", data=world.data, out=world.out, model="no/such/model")
    with pytest.raises(OutputError, match="cannot be written to"):
        run(config)


def test_answers_of_another_dtype_or_about_other_images_are_refused(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine, limit=3, dtype="float32")
    before = {path.name: path.read_bytes() for path in world.out.iterdir()}
    with pytest.raises(UsageError, match=r"of the dtype float32, this run's is bfloat16 \(give another --out"):
        world.run(engine, dtype="bfloat16")
    other = world.folder / "other"
    shutil.copytree(world.folder, other, ignore=shutil.ignore_patterns("out"))
    with pytest.raises(UsageError, match=f"about the images in {world.folder}, this run's is {other}"):
        world.run(engine, dtype="float32", root=other)
    assert {path.name: path.read_bytes() for path in world.out.iterdir()} == before
    # The same folder by another name is the same.
    assert world.run(engine, dtype="float32", root=other / "..").resumed == 3


def test_a_mended_image_is_asked_again(world: World) -> None:
    engine = world.write(ugly())
    good = (world.folder / "a.png").read_bytes()
    (world.folder / "a.png").write_bytes(b"no image")
    assert world.run(engine).failed == 2
    (world.folder / "a.png").write_bytes(good)
    spy = Spy(engine.model)
    result = world.run(spy)
    assert [request.id for request in spy.seen] == ["a1", "a2"]
    assert (result.failed, result.resumed, result.metrics["errors"]) == (0, 5, 0)
    assert sorted(p.sample_id for p in world.predictions()) == [item.id for item, _ in ugly()]
    straight = world.run(engine, out=world.folder / "straight")
    assert result.metrics == straight.metrics


def test_the_images_may_lie_elsewhere(world: World) -> None:
    engine = world.write(ugly())
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir()
    for path in world.folder.glob("*.png"):
        path.rename(elsewhere / path.name)
    assert world.run(engine, root=elsewhere).failed == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from iadr1.config import EvalConfig
from iadr1.stages.evaluate import run

data, out, answers = map(Path, sys.argv[1:])
config = EvalConfig(benchmark="mmad", data=data, out=out, engine="replay", model=str(answers), batch_size=2)
run(config, progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 4 else None)
"""


def test_kill_9_loses_no_answer_that_was_counted(world: World) -> None:
    engine = world.write(ugly())
    straight = world.run(engine, out=world.folder / "straight")
    words = [str(world.data), str(world.out), engine.model]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(world.predictions()) == 4
    result = world.run(engine)
    assert result.resumed == 4
    assert result.metrics == straight.metrics
    whole = list(read_records(straight.out / "predictions.jsonl", Prediction))
    assert world.predictions() == whole


# wrong use


def test_wrong_settings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = world.write(ugly())
    with pytest.raises(UsageError, match=r"no benchmark 'mmda'.*mmad"):
        world.run(engine, "mmda")
    with pytest.raises(UsageError, match="batch_size is 0"):
        world.run(engine, batch_size=0)
    with pytest.raises(UsageError, match="limit is 0"):
        world.run(engine, limit=0)
    with pytest.raises(UsageError, match="seed is -1"):
        world.run(engine, seed=-1)
    monkeypatch.chdir(world.folder)
    with pytest.raises(UsageError, match="'iadr1 prepare'"):
        run(EvalConfig(benchmark="grounding"), engine=engine)


@pytest.mark.parametrize(
    ("samples", "benchmark", "message"),
    [
        ([sample("a1"), sample("a1")], "mmad", "occurs twice"),
        ([sample("a1")], "anomaly", "task is 'choice'"),
        ([sample("a1", question_type="Anomaly Detection", is_anomalous=None)], "mmad", "anomalous"),
        ([sample("a1", question_type="Colour")], "mmad", r"sample 1 \('a1'\): its subtask 'Colour' is none of MMAD's"),
        ([sample("a1", task="grounding", answer="", options={})], "grounding", "no box"),
    ],
)
def test_unfit_samples(world: World, samples: list[Sample], benchmark: str, message: str) -> None:
    write_records(world.data, samples)
    with pytest.raises(DataError, match=message):
        world.run(world.answers({}), benchmark)
    assert not world.out.exists()


def test_empty_samples_file(world: World) -> None:
    world.data.write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="empty"):
        world.run(world.answers({}))


# a real model


@pytest.mark.parametrize("benchmark", ["mmad", "detection"])
def test_a_real_model_runs_through(world: World, tiny_model: Path, benchmark: str) -> None:
    """Random weights write rubbish: it must come out as unread answers, not as wrong figures or a crash."""
    items = [item for item, _ in ugly()] if benchmark == "mmad" else [yes_no("a", SCRATCH), yes_no("b")]
    write_records(world.data, items)
    settings = {"data": world.data, "out": world.out, "model": str(tiny_model), "max_new_tokens": 8, "device": "cpu"}
    result = run(EvalConfig(benchmark=benchmark, **settings))  # type: ignore[arg-type]
    assert result.metrics["questions"] == len(items)
    assert [p.sample_id for p in world.predictions()] == [item.id for item in items]
    assert all(p.prompt_tokens > 16 and p.seconds > 0 for p in world.predictions())
