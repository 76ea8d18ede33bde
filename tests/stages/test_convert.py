"""`iadr1 convert`: each format as its trainer reads it, and the same boxes after the way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from iadr1.datasets.expert_ad import SOURCE as EXPERT_AD
from iadr1.datasets.refcoco import SOURCE as REFCOCO
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.geometry import BoxFrame, BoxSpace, iou
from iadr1.prompts import instruction, parse
from iadr1.records import Defect, Sample, read_records, write_records
from iadr1.stages.convert import Conversion, run

WH = (427, 640)
LADY = (103.93, 299.99, 238.15, 477.41)

CHOICE = Sample(
    id="c", dataset="Set", category="bolt", split="train", image="photos/a.png", references=("photos/ref.png",),
    task="choice", question="Which defect?", options={"A": "dent", "B": "scratch"}, answer="B",
    question_type="Defect Classification", is_anomalous=True, reasoning="It is long.", image_size=WH,
    defects=(Defect(type="scratch", box=(10, 20, 210, 420)),),
)  # fmt: skip
YES = Sample(
    id="y", dataset="Set", category="bolt", split="train", image="photos/a.png", references=("photos/ref.png",),
    task="anomaly", question="Are there any defects?", answer="Yes", question_type="Anomaly Detection",
    is_anomalous=True, reasoning="It is long.", image_size=WH,
    defects=(Defect(type="scratch", box=(10, 20, 210, 420), location="center"),
             Defect(type="hole ü", box=(0, 0, 30, 40), location="top left")),
)  # fmt: skip
NO = YES.model_copy(update={"id": "n", "answer": "No", "is_anomalous": False, "defects": (), "reasoning": None})
WHERE = Sample(
    id="w", dataset="refcoco", category="1", split="train", image="photos/a.png", task="grounding",
    question="Please provide the bounding box coordinate of the region this sentence describes: the lady.",
    question_type="Referring Expression", defects=(Defect(type="the lady", box=LADY),),
)  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    (tmp_path / "photos").mkdir()
    for name in ("a", "ref"):
        Image.new("RGB", WH, (90, 90, 90)).save(tmp_path / f"photos/{name}.png")

    def write(*samples: Sample) -> Path:
        write_records(tmp_path / "s.jsonl", samples)
        return tmp_path / "s.jsonl"

    return write


Write = Callable[..., Path]


def rows(plan: Conversion) -> list[dict[str, Any]]:
    run(plan)
    text = plan.out.read_text(encoding="utf-8")
    found = json.loads(text) if plan.out.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    assert isinstance(found, list)
    return found


def plan(file: Path, to: str, name: str, **values: Any) -> Conversion:
    return Conversion(file=file, to=to, out=file.parent / "out" / name, **values)


def lines(found: Conversion) -> str:
    return "\n".join(run(found).lines)


# AnomalyR1


def test_anomalyr1_gets_problem_and_letter_and_the_yaml_it_loads(write: Write, tmp_path: Path) -> None:
    made = plan(write(CHOICE), "anomalyr1", "few.jsonl")
    assert rows(made) == [{"image": "photos/a.png", "problem": "Which defect?\nA. dent\nB. scratch", "solution": "B"}]
    named = yaml.safe_load((tmp_path / "out/few.yaml").read_text(encoding="utf-8"))
    assert named == {"datasets": [{"json_path": str(tmp_path / "out/few.jsonl"), "sampling_strategy": "all"}]}
    assert f"relative to {tmp_path}: give it as --image_root" in lines(made)


def test_a_yaml_file_of_somebody_else_is_left_as_it_is(write: Write, tmp_path: Path) -> None:
    made = plan(write(CHOICE), "anomalyr1", "few.jsonl")
    for _ in range(2):  # its own is written again
        run(made)
    recipe = tmp_path / "out/few.yaml"
    recipe.write_text("reward: roam\n", encoding="utf-8")
    with pytest.raises(OutputError, match=r"few\.yaml: the file is there already and names no data set"):
        run(made)
    assert recipe.read_text(encoding="utf-8") == "reward: roam\n"


def test_a_format_refuses_what_it_cannot_hold_and_writes_nothing(write: Write) -> None:
    made = plan(write(CHOICE, YES), "anomalyr1", "few.jsonl")
    with pytest.raises(UsageError, match=r"s\.jsonl:2: anomalyr1 \(\.jsonl\) cannot hold a sample of task 'anomaly'"):
        run(made)
    assert not list(made.out.parent.iterdir())
    summary = run(replace(made, task="choice"))
    assert (summary.written, summary.left_out) == (1, 1)


# VLM-R1


def test_rec_json_is_the_published_entry(write: Write) -> None:
    (row,) = rows(plan(write(WHERE), "vlm-r1", "refcoco_train.json"))
    assert row == {
        "height": 640, "width": 427, "id": 0, "dataset_name": "refcoco", "category_id": 1,
        "bbox_list": [[103.93, 299.99, 237.15, 476.41]], "text_type": "caption", "image": "photos/a.png",
        "problem": WHERE.question, "normal_caption": "the lady", "solution": [103.93, 299.99, 238.15, 477.41],
        "normalized_solution": [243, 468, 557, 745],
    }  # fmt: skip


def test_rec_json_read_back_gives_the_same_boxes(write: Write, tmp_path: Path) -> None:
    other = WHERE.model_copy(update={"id": "v", "defects": (Defect(type="hat", box=(0, 0, 427, 640)),)})
    made = plan(write(WHERE, other), "vlm-r1", "refcoco_train.json")
    made = replace(made, out=tmp_path / "refcoco_train.json")
    run(made)
    back = list(REFCOCO.read(tmp_path))
    assert [sample.defects[0].box for sample in back] == [LADY, (0, 0, 427, 640)]
    assert [sample.defects[0].type for sample in back] == ["the lady", "hat"]
    assert [(sample.question, sample.category, sample.dataset, sample.split) for sample in back] == [
        (WHERE.question, "1", "refcoco", "train")
    ] * 2


def test_rec_json_in_0_to_1000_for_internvl(write: Write) -> None:
    made = plan(write(WHERE), "vlm-r1", "r.json", box_space="norm1000")
    (row,) = rows(made)
    assert row["solution"] == [243, 469, 558, 746]
    assert "boxes are 0..1000 of the image" in lines(made)


@pytest.mark.parametrize("boxes", [0, 2])
def test_rec_json_holds_one_box_an_entry(write: Write, boxes: int) -> None:
    sample = WHERE.model_copy(update={"defects": WHERE.defects * boxes})
    with pytest.raises(DataError, match=rf"s\.jsonl:1: .*sample 'w' has {boxes} \(let --out end in \.jsonl"):
        run(plan(write(sample), "vlm-r1", "r.json"))


def test_vlm_r1_conversations(write: Write) -> None:
    found = rows(plan(write(CHOICE, YES, WHERE), "vlm-r1", "r.jsonl"))
    assert found[0] == {
        "id": 0,
        "image": "photos/a.png",
        "conversations": [
            {"from": "human", "value": "<image>Which defect?\nA. dent\nB. scratch"},
            {"from": "gpt", "value": "B"},
        ],
    }
    assert found[1]["conversations"][1]["value"] == "Yes"
    # What the REC reward parses: four numbers.
    assert json.loads(found[2]["conversations"][1]["value"]) == list(LADY)
    assert [row["id"] for row in found] == [0, 1, 2]


def test_vlm_r1_several_boxes_are_fenced_json(write: Write) -> None:
    found = rows(plan(write(YES, NO), "vlm-r1", "r.jsonl", fmt="boxes"))
    body = found[0]["conversations"][1]["value"].removeprefix("```json\n").removesuffix("\n```")
    assert json.loads(body) == [
        {"bbox_2d": [10, 20, 210, 420], "label": "scratch"}, {"bbox_2d": [0, 0, 30, 40], "label": "hole ü"},
    ]  # fmt: skip
    assert found[1]["conversations"][1]["value"] == "```json\n[]\n```"


# LLaMA-Factory


def test_llama_factory_conversations(write: Write, tmp_path: Path) -> None:
    found = rows(plan(write(YES, NO), "llama-factory", "expert_ad.json"))
    asked = f"<image>Are there any defects? {instruction('structured')}"
    assert [row["messages"][0] for row in found] == [{"role": "user", "content": asked}] * 2
    assert [row["images"] for row in found] == [[str(tmp_path / "photos/a.png")]] * 2
    read = [parse(row["messages"][1]["content"], "structured") for row in found]
    assert [(one.status, one.is_anomalous) for one in read] == [("ok", True), ("ok", False)]
    assert (read[0].think, read[0].types, read[0].locations) == (
        "It is long.", ("scratch", "hole ü"), ("center", "top left"),
    )  # fmt: skip


def test_llama_factory_s_dataset_info_keeps_its_other_entries(write: Write, tmp_path: Path) -> None:
    info = tmp_path / "out/dataset_info.json"
    info.parent.mkdir()
    info.write_text('{"mine": {"file_name": "mine.json"}}', encoding="utf-8")
    run(plan(write(YES), "llama-factory", "expert_ad.json"))
    entries = json.loads(info.read_text(encoding="utf-8"))
    assert entries["mine"] == {"file_name": "mine.json"}
    assert entries["expert_ad"] == {
        "file_name": "expert_ad.json", "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }  # fmt: skip


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_dataset_info_is_left_as_it_is(write: Write, tmp_path: Path, text: str) -> None:
    info = tmp_path / "out/dataset_info.json"
    info.parent.mkdir()
    info.write_text(text, encoding="utf-8")
    with pytest.raises(OutputError, match=r"dataset_info\.json"):
        run(plan(write(YES), "llama-factory", "expert_ad.json"))
    assert info.read_text(encoding="utf-8") == text


def test_llama_factory_read_back_by_the_reader_of_expert_ad(write: Write, tmp_path: Path) -> None:
    file = write(YES, NO)
    made = plan(file, "llama-factory", "expert_ad.json", shots=1, image_root=tmp_path)
    run(made)
    back = list(EXPERT_AD.read(tmp_path, annotations=made.out))
    for found, sample in zip(back, (YES, NO), strict=True):
        assert (found.image, found.references, found.answer) == (sample.image, sample.references, sample.answer)
        assert (found.reasoning, found.is_anomalous) == (sample.reasoning, sample.is_anomalous)
        assert found.question.startswith(sample.question)
        kinds = [(defect.type, defect.location) for defect in sample.defects]
        assert [(defect.type, defect.location) for defect in found.defects] == kinds


def test_references_come_first_with_a_mark_each(write: Write, tmp_path: Path) -> None:
    (row,) = rows(plan(write(YES), "llama-factory", "e.json", shots=1))
    assert row["images"] == [str(tmp_path / "photos/ref.png"), str(tmp_path / "photos/a.png")]
    assert row["messages"][0]["content"].startswith(
        "Reference image of a normal product:<image>Query image:<image>Are there any defects?"
    )


# ms-swift


def test_ms_swift_places_the_boxes_itself(write: Write, tmp_path: Path) -> None:
    found = rows(plan(write(YES, NO), "ms-swift", "s.jsonl", fmt="boxes"))
    assert found[0]["images"] == [str(tmp_path / "photos/a.png")]
    assert found[0]["objects"] == {
        "ref": [], "bbox": [[10, 20, 210, 420], [0, 0, 30, 40]], "bbox_type": "real",
    }  # fmt: skip
    answer = found[0]["messages"][1]["content"]
    assert answer.count("<bbox>") == 2
    # What the model learns once the marks are replaced is an answer we read.
    for box in ("[11, 21, 211, 421]", "[1, 1, 31, 41]"):
        answer = answer.replace("<bbox>", box, 1)
    read = parse(answer, "boxes", frame=BoxFrame(BoxSpace.INPUT_PX, WH, WH))
    assert read.status == "ok"
    assert [(box.label, box.box) for box in read.boxes or ()] == [
        ("scratch", (11, 21, 211, 421)), ("hole ü", (1, 1, 31, 41)),
    ]  # fmt: skip
    assert found[1]["objects"]["bbox"] == []
    assert "<bbox>" not in found[1]["messages"][1]["content"]


def test_ms_swift_without_boxes_has_no_objects(write: Write) -> None:
    (row,) = rows(plan(write(CHOICE), "ms-swift", "s.jsonl"))
    assert set(row) == {"messages", "images"}


def test_ms_swift_grpo_leaves_the_answer_to_the_reward(write: Write) -> None:
    found = rows(plan(write(CHOICE, WHERE), "ms-swift", "s.jsonl", method="grpo", box_space="norm1000"))
    assert [len(row["messages"]) for row in found] == [1, 1]
    assert found[0]["solution"] == "B"
    assert json.loads(found[1]["solution"]) == [{"bbox_2d": [243, 469, 558, 746], "label": "the lady"}]


@pytest.mark.parametrize(
    ("to", "name", "text"),
    [("ms-swift", "s.jsonl", "a <bbox> b"), ("ms-swift", "s.jsonl", "<ref-object>"), ("ms-swift", "s.jsonl", "<image>"),
     ("llama-factory", "s.json", "<image>")],
)  # fmt: skip
def test_a_trainer_s_mark_in_a_text_is_refused(write: Write, to: str, name: str, text: str) -> None:
    sample = YES.model_copy(update={"question": text})
    with pytest.raises(DataError, match=r"s\.jsonl:1: .*sample 'y' contains"):
        run(plan(write(sample), to, name))


# TRL


def loaded(path: Path, cache: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    table = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
    return table.cast_column("images", [datasets.Image()])


def test_trl_sft_loads_with_pictures(write: Write, tmp_path: Path) -> None:
    made = plan(write(CHOICE, YES, NO), "trl", "s.jsonl", shots=1)
    run(made)
    table = loaded(made.out, tmp_path / "cache")
    assert table.column_names == ["id", "prompt", "completion", "images"]
    row = table[1]
    assert [image.size for image in row["images"]] == [WH, WH]
    (turn,) = row["prompt"]
    assert [part["type"] for part in turn["content"]] == ["text", "image", "text", "image", "text"]
    assert turn["content"][-1]["text"] == f"Are there any defects? {instruction('structured')}"
    assert parse(row["completion"][0]["content"][0]["text"], "structured").is_anomalous is True
    # TRL fills each part of the type image that has no member `image`.
    assert not any("image" in part for part in turn["content"])


def test_trl_grpo_has_what_rewards_need(write: Write, tmp_path: Path) -> None:
    made = plan(write(CHOICE, WHERE), "trl", "s.jsonl", method="grpo", box_space="qwen2.5-input")
    run(made)
    table = loaded(made.out, tmp_path / "cache")
    assert table.column_names == ["id", "prompt", "images", "solution", "task", "image_size"]
    assert table["solution"][0] == "B"
    (box,) = json.loads(table["solution"][1])
    # 427x640 is seen as 420x644 (formats, section 22.2).
    assert box == {"bbox_2d": [102, 302, 234, 480], "label": "the lady"}
    assert table["image_size"][1] == list(WH)


# boxes


@pytest.mark.parametrize(
    ("space", "frame"),
    [
        ("pixels", BoxFrame(BoxSpace.INPUT_PX, WH, WH)),
        ("norm1000", BoxFrame(BoxSpace.NORM1000, WH, WH)),
        ("qwen2.5-input", BoxFrame(BoxSpace.INPUT_PX, WH, (420, 644))),
    ],
)
def test_boxes_survive_the_way_to_the_model_and_back(write: Write, space: Any, frame: BoxFrame) -> None:
    (row,) = rows(plan(write(YES), "llama-factory", "s.json", fmt="boxes", box_space=space))
    read = parse(row["messages"][1]["content"], "boxes", frame=frame)
    assert read.status == "ok"
    for found, defect in zip(read.boxes or (), YES.defects, strict=True):
        assert defect.box is not None
        assert iou(found.box, defect.box) > 0.97


def test_max_pixels_is_the_bound_of_the_input(write: Write) -> None:
    made = plan(write(YES), "llama-factory", "s.json", fmt="boxes", box_space="qwen2.5-input", max_pixels=200_704)
    (row,) = rows(made)
    read = parse(row["messages"][1]["content"], "boxes", frame=BoxFrame(BoxSpace.INPUT_PX, WH, (364, 532)))
    assert iou((read.boxes or ())[0].box, (10, 20, 210, 420)) > 0.98
    assert "min_pixels=3136 and max_pixels=200704: the training must resize alike" in lines(made)


def test_how_boxes_are_written_is_never_guessed(write: Write) -> None:
    with pytest.raises(UsageError, match="--box-space"):
        run(plan(write(WHERE), "trl", "s.jsonl"))
    run(plan(write(CHOICE), "trl", "s.jsonl"))


def test_the_size_is_the_file_s_where_the_sample_does_not_say(write: Write) -> None:
    (row,) = rows(plan(write(WHERE.model_copy(update={"image_size": None})), "vlm-r1", "r.json"))
    assert (row["width"], row["height"]) == WH


@pytest.mark.parametrize(("method", "to"), [("sft", "trl"), ("grpo", "trl"), (None, "vlm-r1")])
def test_a_defect_without_a_box_is_not_dropped(write: Write, method: Any, to: str) -> None:
    sample = YES.model_copy(update={"defects": (*YES.defects, Defect(type="smell"))})
    with pytest.raises(DataError, match=r"s\.jsonl:1: sample 'y' has a defect without a box: 'smell'"):
        run(plan(write(sample), to, "s.jsonl", method=method, fmt="boxes", box_space="norm1000"))


def test_an_extreme_shape_is_told(write: Write, tmp_path: Path) -> None:
    sample = YES.model_copy(update={"image_size": (3000, 10)})
    with pytest.raises(DataError, match=r"s\.jsonl:1: Qwen2\.5-VL cannot take the image: aspect ratio"):
        run(plan(write(sample), "trl", "s.jsonl", fmt="boxes", box_space="qwen2.5-input"))


# paths and options


def test_paths_relative_to_another_folder(write: Write, tmp_path: Path) -> None:
    file = write(YES)
    (row,) = rows(plan(file, "trl", "s.jsonl", image_root=tmp_path / "photos"))
    assert row["images"] == ["a.png"]
    (row,) = rows(plan(file, "vlm-r1", "s.jsonl", image_root=tmp_path.parent))
    assert row["image"] == f"{tmp_path.name}/photos/a.png"
    with pytest.raises(DataError, match="is not below --image-root"):
        run(plan(file, "trl", "s.jsonl", image_root=tmp_path / "out"))


def test_a_missing_image_names_its_line(write: Write, tmp_path: Path) -> None:
    file = write(YES, NO.model_copy(update={"image": "photos/none.png"}))
    with pytest.raises(DataError, match=r"s\.jsonl:2: no image 'photos/none\.png' below"):
        run(plan(file, "trl", "s.jsonl"))
    assert not (tmp_path / "out/s.jsonl").exists()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"to": "coco"}, "no format 'coco'"),
        ({"to": "llama-factory", "method": "grpo", "out": "x.json"}, "llama-factory has no format for --method grpo"),
        ({"to": "llama-factory"}, "llama-factory does not read .jsonl (let --out end in .json)"),
        ({"to": "vlm-r1", "out": "x.csv"}, "(let --out end in .json or .jsonl)"),
        ({"to": "vlm-r1", "shots": 1}, "vlm-r1 takes one image and no references"),
        ({"to": "anomalyr1", "box_space": "pixels"}, "anomalyr1 (grpo) does not take boxes as pixels"),
        ({"to": "ms-swift", "box_space": "norm1000"}, "ms-swift (sft) does not take boxes as norm1000"),
        ({"to": "trl", "max_pixels": 5000}, "--max-pixels bounds Qwen2.5-VL's input only"),
        ({"to": "trl", "out": "s.jsonl"}, "--out is the file that is read"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    write: Write, tmp_path: Path, values: Mapping[str, Any], told: str
) -> None:
    file = write(YES)
    with pytest.raises(UsageError) as raised:
        run(Conversion(file=file, **{**values, "out": tmp_path / values.get("out", "x.jsonl")}))
    assert told in str(raised.value)
    assert list(read_records(file, Sample)) == [YES]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"shots": 2}, "sample 'y' has 1 references, --shots 2 asks for more"),
        ({"fmt": "grounding"}, "cannot be answered in the format 'grounding'"),
        ({"task": "choice"}, "the file holds no sample of task 'choice'"),
    ],
)
def test_samples_that_do_not_fit_are_refused(write: Write, values: Mapping[str, Any], told: str) -> None:
    with pytest.raises((DataError, UsageError)) as raised:
        run(plan(write(YES), "trl", "s.jsonl", **values))
    assert told in str(raised.value)


def test_an_undecided_sample_cannot_teach_a_verdict(write: Write) -> None:
    sample = YES.model_copy(update={"is_anomalous": None, "defects": ()})
    with pytest.raises(DataError, match=r"s\.jsonl:1: sample 'y' does not say whether it is anomalous"):
        run(plan(write(sample), "trl", "s.jsonl"))


def test_missing_reasoning_is_told_for_sft_only(write: Write) -> None:
    file = write(YES, NO)
    assert "1 answers have no reasoning" in lines(plan(file, "trl", "s.jsonl"))
    assert "reasoning" not in lines(plan(file, "trl", "s.jsonl", method="grpo"))
