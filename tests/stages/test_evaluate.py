"""Evaluation end to end: from samples and ugly answers to figures, held-out images apart, and with a real model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from iadr1 import leaks
from iadr1.config import EvalConfig
from iadr1.errors import UsageError
from iadr1.geometry import BoxSpace
from iadr1.models.profiles import PROFILES
from iadr1.records import read_records, write_records
from iadr1.stages.evaluate import run
from tests.stages.evaluate_world import SCRATCH, World, expression, leave_out_pictures, sample, ugly, yes_no


@pytest.fixture
def pictured(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def world(pictured: World, monkeypatch: pytest.MonkeyPatch) -> World:
    leave_out_pictures(monkeypatch)
    return pictured


# figures


def test_choice_from_ugly_texts(world: World) -> None:
    result = world.run(world.write(ugly()))
    assert [p.answer for p in world.predictions()] == ["A", "A", "B", None, "A", "B", "E"]
    assert [p.parse.partition(":")[0] for p in world.predictions()] == [
        *("ok", "ok", "truncated", "failed", "repaired", "repaired", "failed")
    ]
    metrics = json.loads((world.out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == json.loads(json.dumps(result.metrics))
    expected = {
        "Anomaly Detection": 75.0,
        "Defect Classification": 50.0,
        "average": 62.5,
        "overkill": 50.0,
        "miss": 0.0,
    }
    assert {key: metrics["strict"]["X"][key] for key in expected} == pytest.approx(expected)
    assert metrics["parsed"]["X"]["Defect Classification"] == pytest.approx(200 / 3)
    assert metrics["parse_rate"] == pytest.approx(500 / 7)
    assert (metrics["questions"], metrics["images"], metrics["errors"]) == (7, 4, 0)
    held_out, trained = metrics["splits"]["held-out categories"], metrics["splits"]["trained categories"]
    assert held_out["strict"]["average"]["average"] == 100.0
    assert trained["strict"]["average"]["average"] == pytest.approx((50 + 100 / 3) / 2)
    assert (result.asked, result.resumed, result.failed) == (7, 0, 0)


def test_the_hash_stands_beside_the_numbers(pictured: World) -> None:
    result = pictured.run(pictured.write(ugly()))
    digest = result.protocol.digest
    info = pictured.run_file()
    assert info["finished"]
    assert info["protocol"]["hash"] == digest == result.metrics["protocol"]["hash"]
    assert info["protocol"]["definition"] == json.loads(json.dumps(result.protocol.definition()))
    assert {prediction.protocol for prediction in pictured.predictions()} == {digest}
    for name in ("table.md", "table.tex", "report.html"):
        assert digest in (pictured.out / name).read_text(encoding="utf-8")


def test_everything_is_written_and_named(pictured: World) -> None:
    pytest.importorskip("matplotlib")
    result = pictured.run(pictured.write(ugly()))
    named = [path.name for path in result.files]
    assert sorted(named) == sorted(path.name for path in pictured.out.iterdir() if path.name != ".lock")
    assert {"predictions.jsonl", "metrics.json", "table.md", "table.tex", "report.html", "run.json"} < set(named)
    assert sum(name.endswith(".png") for name in named) >= 2
    console = Console(width=160)
    with console.capture() as capture:
        console.print(result)
    assert "75.0" in capture.get()


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
    metrics = world.run(engine, "iad").metrics
    assert metrics["strict"]["average"]["Anomaly Detection"] == 75.0
    strict = metrics["strict"]["average"]
    assert (strict["overkill"], strict["miss"], metrics["detection"]["average"]["undecided"]) == (50.0, 0.0, 25.0)
    words = metrics["words"]["average"]
    assert (words["type_accuracy"], words["location_accuracy"]) == (50.0, 50.0)
    assert metrics["parse_rate"] == 75.0


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
    metrics = world.run(engine, "detection").metrics
    assert metrics["strict"]["average"]["Anomaly Detection"] == 50.0
    boxes = metrics["boxes"]["average"]
    assert (boxes["recall@0.5"], boxes["precision@0.5"], boxes["f1@0.5"]) == (50.0, 50.0, 50.0)
    assert boxes["mean_iou"] == pytest.approx(0.5, abs=0.01)


def test_grounding(world: World) -> None:
    profile = replace(PROFILES["qwen2_5_vl"], box_space=BoxSpace.NORM1000)
    write_records(world.data, [expression(key) for key in "abc"])
    texts = [boxes_text((0, 0, 250, 500)), boxes_text((0, 0, 250, 250)), "<answer>[]</answer>"]
    engine = world.answers(dict(zip("abc", texts, strict=True)), profile=profile)
    metrics = world.run(engine, "grounding").metrics
    assert metrics["strict"]["average"]["acc@0.5"] == pytest.approx(100 / 3)
    assert metrics["grounding"]["average"]["mean_iou"] == pytest.approx(0.5)
    assert metrics["parse_rate"] == pytest.approx(200 / 3)


def test_prices_make_a_cost(world: World) -> None:
    engine = world.write(ugly())
    assert "cost" not in world.run(engine, out=world.folder / "free").metrics
    metrics = world.run(engine, price_prompt=2.0, price_completion=8.0).metrics
    tokens = metrics["tokens"]
    assert metrics["cost"] == pytest.approx((2 * tokens["prompt"] + 8 * tokens["completion"]) / 1e6)


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
    table = (world.out / "table.md").read_text(encoding="utf-8")
    assert "answers.jsonl \N{DAGGER}, protocol anomalyr1" in table
    assert "held-out images (2)" in table
    assert "trained images (5)" in table
    run_file = json.loads((world.out / "run.json").read_text(encoding="utf-8"))
    assert run_file["leaks"] == metrics["leaks"]


def test_figures_of_boxes_are_marked_too(world: World) -> None:
    engine = world.write([(yes_no("a", SCRATCH), "<answer>[]</answer>"), (yes_no("b"), "<answer>[]</answer>")])
    world.run(engine, "detection", leaks=manifest_file(world, "a"), allow_leaks=True)
    assert "answers.jsonl \N{DAGGER}, protocol detection" in (world.out / "table.md").read_text(encoding="utf-8")


def test_a_refused_run_leaves_what_was_found_for_the_answers_that_are_there(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine, leaks=manifest_file(world, "a"), allow_leaks=True)
    before = {path.name: path.read_bytes() for path in world.out.iterdir()}
    other = manifest_file(world, "b", "c")
    with pytest.raises(UsageError, match=r"trained on 2 of the 4 images.*: b\.png, c\.png \(leave them out of --data"):
        world.run(engine, leaks=other)
    with pytest.raises(UsageError, match="of the protocol"):
        world.run(engine, leaks=other, allow_leaks=True, shots=1)
    assert {path.name: path.read_bytes() for path in world.out.iterdir()} == before


def test_a_manifest_of_other_images_lets_pass_and_tells_images_from_categories(world: World) -> None:
    other = {"category": "Hex-Nut"}
    questions = [*ugly()[:4], (sample("d1", **other), "<answer>A</answer>"), (sample("d2", **other), "<answer>B")]
    engine = world.write([(item.model_copy(update={"held_out": False}), text) for item, text in questions])
    path = manifest_file(world, "c")
    Image.new("RGB", (200, 100), "white").save(world.folder / "c.png")
    result = world.run(engine, leaks=path)
    metrics = result.metrics
    assert metrics["includes_trained_images"] == 0
    assert metrics["leaks"]["images"] == {"held-out images": 3, "held-out categories": 1, "trained images": 0}
    assert {name: part["questions"] for name, part in metrics["splits"].items()} == {
        "held-out images": 4, "held-out categories": 2,
    }  # fmt: skip
    assert "answers.jsonl \N{DAGGER}" not in (world.out / "table.md").read_text(encoding="utf-8")
    told = "By train.leak.json, of 4 images 3 are held-out ones of trained categories, 1 are of held-out categories."
    assert result.leaks is not None
    assert result.leaks.sentence() == told
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
    result = world.run(engine, leaks=path)
    assert (result.metrics["leaks"]["near"], result.metrics["includes_trained_images"]) == (1, 0)
    assert result.leaks is not None
    assert "1 look like a trained image, see leaks.jsonl." in result.leaks.sentence()


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


# a real model


@pytest.mark.parametrize("benchmark", ["mmad", "detection"])
def test_a_real_model_runs_through(world: World, tiny_model: Path, benchmark: str) -> None:
    """Random weights write rubbish: it must come out as unread answers, not as wrong figures or a crash."""
    items = [item for item, _ in ugly()] if benchmark == "mmad" else [yes_no("a", SCRATCH), yes_no("b")]
    write_records(world.data, items)
    settings = {"data": world.data, "out": world.out, "model": str(tiny_model), "max_new_tokens": 8, "device": "cpu"}
    notes: list[str] = []
    result = run(EvalConfig(benchmark=benchmark, **settings), on_note=notes.append)  # type: ignore[arg-type]
    assert notes == [f"loading {tiny_model} ..."]
    assert result.metrics["questions"] == len(items)
    assert [p.sample_id for p in world.predictions()] == [item.id for item in items]
    assert all(p.prompt_tokens > 16 and p.seconds > 0 for p in world.predictions())
