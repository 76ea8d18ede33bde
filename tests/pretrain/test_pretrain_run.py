"""Whole runs: gone on with after `kill -9`, what is refused, what a failure leaves."""

from __future__ import annotations

import json
import math
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from iadr1.config import PretrainConfig
from iadr1.errors import ConfigError, DataError, Iadr1Error, ModelError, OutputError, UsageError
from iadr1.models.loading import load_weights
from iadr1.records import read_records, write_records
from iadr1.stages import pretrain
from iadr1.stages.pretrain import loop as loops
from iadr1.stages.pretrain.learning import Learner
from iadr1.stages.pretrain.loop import Loop, PretrainStep, optimizers, rate
from iadr1.stages.training.folder import mark_checkpoint, whole_checkpoints
from tests.pretrain.world import learner, settings, verdict
from tests.stages.launching import difference, python, run, weights

KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
from iadr1 import cli
from iadr1.stages.pretrain import loop

def killed(folder, **_):
    if folder.name == "checkpoint-4":
        os.kill(os.getpid(), signal.SIGKILL)
    mark(folder, **_)

mark, loop.mark_checkpoint = loop.mark_checkpoint, killed
cli.main({words!r})
"""


class _Stopped(BaseException):
    """A run that is stopped at a place of the test's choice."""


def words(config: PretrainConfig) -> list[str]:
    """The command line of a run."""
    given = {key: value for key, value in vars(config).items() if value is not None}
    return [
        "pretrain",
        *(f"{key}={json.dumps(value) if isinstance(value, bool) else value}" for key, value in given.items()),
    ]


@pytest.fixture(scope="module")
def straight(model: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainConfig:
    """A finished run of six steps."""
    config = settings(model, world, tmp_path_factory.mktemp("straight") / "run")
    pretrain.run(config)
    return config


def test_a_run_leaves_a_model_its_log_and_where_it_comes_from(straight: PretrainConfig) -> None:
    model, _ = load_weights(straight.out / "model", "cpu", torch.float32, "sdpa")
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert {str(w.dtype) for w in weights(straight.out / "model").values()} == {"float16"}
    lines = list(read_records(straight.out / "log.jsonl", PretrainStep))
    assert [(line.step, line.phase) for line in lines] == [(n, "vision" if n < 3 else "joint") for n in range(1, 7)]
    assert [line.language is None for line in lines] == [n < 3 for n in range(1, 7)]
    assert [line.learning_rate for line in lines] == [pytest.approx(1e-3 * rate(n, straight)) for n in range(1, 7)]
    info = json.loads((straight.out / "run.json").read_text(encoding="utf-8"))
    assert (info["state"], info["steps"], info["base_licence"]) == ("finished", 6, "cc0-1.0")
    assert info["loss_end"] == lines[-1].language
    manifest = json.loads((straight.out / "model" / "leak.json").read_text(encoding="utf-8"))
    assert len(manifest["images"]) == 24  # the photos of good products too
    assert (straight.out / "model" / "README.md").exists()
    assert [path.name for path in straight.out.glob("checkpoint-*")] == ["checkpoint-6"]
    assert not (straight.out / "cache").exists()


def test_the_same_command_again_does_nothing(straight: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loop, "run", None)
    summary = pretrain.run(straight)
    assert summary.already_finished
    assert (summary.steps, summary.resumed_from) == (6, None)


def test_a_killed_run_goes_on_to_the_very_weights_of_a_straight_one(
    straight: PretrainConfig, model: Path, world: Path, tmp_path: Path
) -> None:
    config = settings(model, world, tmp_path / "run")
    killed = run(python("-c", KILLED_WHILE_SAVING.format(words=words(config))), tmp_path)
    assert killed.code == -signal.SIGKILL, killed.err
    half = config.out / "checkpoint-4"
    assert (half / "model.safetensors").exists()
    assert not (half / "iadr1.json").exists()
    assert (config.out / "checkpoint-2" / "iadr1.json").exists()
    pictures: list[int] = []
    summary = pretrain.run(config, on_picture=lambda done, total: pictures.append(done))
    assert (summary.resumed_from, summary.steps) == (2, 6)
    assert not pictures  # the cache was whole
    assert difference(config.out / "model", straight.out / "model") == 0.0
    assert difference(model, straight.out / "model") > 1e-3
    again, first = (list(read_records(c.out / "log.jsonl", PretrainStep)) for c in (config, straight))
    assert again == first


def test_the_rate_rises_and_falls() -> None:
    config = settings(Path("m"), Path("d"), Path("o"), steps=100, warmup_steps=10)
    rates = [rate(step, config) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert max(rates) == rates[9] == pytest.approx(1, abs=0.05)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.03, abs=1e-3)


def test_matrices_inside_the_towers_are_muons_and_everything_has_one_optimizer(
    model: Path, world: Path, tmp_path: Path
) -> None:
    made, _ = learner(model, world, tmp_path)
    adam, muon = optimizers(made.model, made.heads, settings(model, world, tmp_path))
    groups = [[id(p) for group in optimizer.param_groups for p in group["params"]] for optimizer in (adam, muon)]
    every = {id(p) for p in (*made.model.parameters(), *made.heads.parameters())}
    assert sorted(groups[0] + groups[1]) == sorted(every)
    names = {name for name, p in made.model.named_parameters() if id(p) in groups[1]}
    assert "model.visual.blocks.0.attn.qkv.weight" in names
    assert not [name for name in names if "embed" in name or "norm" in name]


def bare_loop(config: PretrainConfig, save: Any = lambda folder: None) -> Loop:
    """A loop over a model of one weight."""
    one = torch.nn.Linear(2, 2)
    stand_in: Any = type("L", (), {"model": one, "heads": torch.nn.Linear(2, 1)})()
    return Loop(stand_in, config, "hash", save, lambda line: None, lambda: 1.0)


def test_an_older_checkpoint_goes_only_once_the_newer_one_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(Path("m"), Path("d"), tmp_path)
    loop = bare_loop(config)
    loop._keep(2, [])
    (tmp_path / "checkpoint-best").mkdir()  # somebody's own
    (tmp_path / "checkpoint-1").mkdir()
    mark_checkpoint(tmp_path / "checkpoint-1", config_hash="another run", step=1)
    before: list[set[int]] = []

    def marked(folder: Path, **values: Any) -> None:
        before.append({checkpoint.step for checkpoint in whole_checkpoints(tmp_path, "hash")})
        assert (folder / "state.pt").exists()
        mark_checkpoint(folder, **values)

    monkeypatch.setattr(loops, "mark_checkpoint", marked)
    loop._keep(4, [])
    assert before == [{2}]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-4", "checkpoint-best", "checkpoint-1"}


def test_a_loss_that_is_no_number_stops_the_run_before_it_spoils_anything(
    model: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Learner.joint_step

    def broken(self: Learner, rng: Any) -> Any:
        losses = real(self, rng)
        calls.append(1)
        return type(losses)(losses.total * (math.nan if len(calls) == 2 else 1), losses.language, losses.dense, None)

    calls: list[int] = []
    monkeypatch.setattr(Learner, "joint_step", broken)
    config = settings(model, world, tmp_path / "run", save_steps=3)
    with pytest.raises(ModelError, match=r"step 4 has a loss .*checkpoint-3 is whole.*lower learning_rate"):
        pretrain.run(config)
    assert [line.step for line in read_records(config.out / "log.jsonl", PretrainStep)] == [1, 2, 3]
    assert [checkpoint.step for checkpoint in whole_checkpoints(config.out)] == [3]


def test_a_full_disk_is_told_with_where_to_go_on(
    model: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def full(content: Any, path: Path) -> None:
        save(content, path)
        if "checkpoint-4" in str(path):
            raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")

    monkeypatch.setattr(torch, "save", full)
    config = settings(model, world, tmp_path / "run")
    with pytest.raises(OutputError, match=r"disk is full.*goes on from checkpoint-2, which is whole"):
        pretrain.run(config)
    monkeypatch.undo()
    assert pretrain.run(config).resumed_from == 2


def test_vision_alone_is_a_run_too_and_what_has_no_effect_is_said(model: Path, world: Path, tmp_path: Path) -> None:
    data = tmp_path / "s.jsonl"
    shutil.copy(world.parent / "000000.jpg", tmp_path)
    write_records(data, [verdict("000000.jpg")])
    notes: list[str] = []
    config = settings(model, data, tmp_path / "run", steps=1, vision_steps=1)
    summary = pretrain.run(config, on_note=notes.append)
    assert summary.loss == next(read_records(config.out / "log.jsonl", PretrainStep)).loss
    assert notes == [
        f"loading {config.model} ...",
        "the samples hold fewer than four options: drills are left out",
        "no image has a photo of a good product: reference_share has no effect",
    ]
    assert "Loss of the vision tower" in (config.out / "model" / "README.md").read_text(encoding="utf-8")


def test_a_run_from_a_checkpoint_begins_with_its_heads(straight: PretrainConfig, tmp_path: Path) -> None:
    checkpoint = straight.out / "checkpoint-6"
    taken: list[dict[str, torch.Tensor]] = []

    def look(loop: Loop, _: Any) -> None:
        taken.append(loop.learner.heads.state_dict())
        raise _Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "run", look)
        for name, start in (("checkpoint", checkpoint), ("model", straight.out / "model")):
            config = replace(straight, model=str(start), out=tmp_path / name, whiten=False)
            with pytest.raises(_Stopped):
                pretrain.run(config)
    heads = torch.load(checkpoint / "state.pt", weights_only=True)["heads"]
    assert all(torch.equal(taken[0][name], value) for name, value in heads.items())
    assert not torch.equal(taken[1]["cell.weight"], heads["cell.weight"])


def test_heads_for_other_defect_types_are_refused(straight: PretrainConfig, tmp_path: Path) -> None:
    place = tmp_path / "checkpoint"
    shutil.copytree(straight.out / "checkpoint-6", place)
    state = torch.load(place / "state.pt", weights_only=True)
    state["heads"]["cell.bias"] = torch.zeros(99)
    torch.save(state, place / "state.pt")
    with pytest.raises(UsageError, match="heads are for other defect types") as caught:
        pretrain.run(replace(straight, model=str(place), out=tmp_path / "run", whiten=False))
    assert "without state.pt" in str(caught.value.hint)


@pytest.mark.parametrize("content", [b"", b"no such thing", {"model": {}}])
def test_a_file_that_holds_no_heads_is_refused(
    straight: PretrainConfig, tmp_path: Path, content: bytes | dict[str, object]
) -> None:
    place = tmp_path / "checkpoint"
    shutil.copytree(straight.out / "model", place)
    if isinstance(content, bytes):
        (place / "state.pt").write_bytes(content)
    else:
        torch.save(content, place / "state.pt")
    with pytest.raises(ModelError, match=r"state\.pt: holds no dense heads"):
        pretrain.run(replace(straight, model=str(place), out=tmp_path / "run", whiten=False))


def test_what_was_made_of_other_data_is_not_used(model: Path, world: Path, tmp_path: Path) -> None:
    """A run that was stopped before its first step has no claim on its folder, its pictures have none on the next."""
    for name in ("000000.jpg", "000001.jpg"):
        shutil.copy(world.parent / name, tmp_path)
    data = tmp_path / "s.jsonl"
    config = settings(model, data, tmp_path / "run", steps=1, vision_steps=1, drills=0, reference_share=0.0)

    def stop(*_: Any) -> None:
        raise _Stopped

    seen: list[int] = []
    for image, monkey in (("000000.jpg", True), ("000001.jpg", False)):
        write_records(data, [verdict(image)])
        with pytest.MonkeyPatch.context() as patch:
            if monkey:
                patch.setattr(Loop, "run", stop)
                with pytest.raises(_Stopped):
                    pretrain.run(config, on_picture=lambda done, total: seen.append(done))
                assert (config.out / "cache" / "labels.npz").exists()
            else:
                pretrain.run(config, on_picture=lambda done, total: seen.append(done))
    assert seen == [1, 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 0}, "steps is 0, it must be at least 1"),
        ({"vision_steps": 7}, "vision_steps is 7, there are 6 steps in all"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"muon_rate": 0.0}, "muon_rate is 0.0, it must be above 0"),
        ({"dense": -1.0}, "dense is -1.0"),
        ({"threads": 0}, "threads is 0"),
        ({"seed": 2**32}, "seed is"),
        ({"reference_share": 1.5}, "reference_share is 1.5"),
        ({"formats": "boxes=1,boxed=2"}, "formats holds 'boxed=2'"),
        ({"formats": "boxes=0"}, "formats holds 'boxes=0'"),
        ({"formats": "boxes=1,boxes=2"}, "formats holds 'boxes=2'"),
        ({"formats": " "}, "formats is empty"),
        ({"resume": "maybe"}, "no resume 'maybe'"),
        ({"data": Path("nowhere.jsonl")}, "no samples file 'nowhere.jsonl'"),
        ({"model": "nowhere"}, "no model 'nowhere'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    model: Path, world: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Iadr1Error, match=says) as caught:
        pretrain.run(replace(settings(model, world, tmp_path / "run"), **changes))
    assert isinstance(caught.value, UsageError | ConfigError | ModelError)
    assert not (tmp_path / "run").exists()


def edited(model: Path, to: Path, **changes: Any) -> Path:
    """A copy of a model with other values in its configuration, `a__b` for `b` of the part `a`."""
    shutil.copytree(model, to)
    for name in ("config.json", "processor_config.json"):
        content = json.loads((to / name).read_text(encoding="utf-8"))
        for key, value in changes.items():
            part, _, inner = key.rpartition("__")
            place = content.get(part, {}) if part else content
            if inner in place:
                place[inner] = value
        (to / name).write_text(json.dumps(content), encoding="utf-8")
    return to


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_processor__size": {"shortest_edge": 3136, "longest_edge": 12_845_056}}, "takes several sizes"),
        ({"model_type": "qwen2_vl"}, "models of the family qwen2_5_vl, this is a 'qwen2_vl'"),
        ({"vision_config__window_size": 28, "vision_config__fullatt_block_indexes": []}, "see windows only"),
    ],
)
def test_a_model_that_cannot_be_pretrained_is_refused_before_pictures_are_read(
    model: Path, world: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    other = edited(model, tmp_path / "other", **changes)
    with pytest.raises(UsageError, match=says):
        pretrain.run(settings(other, world, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_wrong_data_is_told_before_the_folder_is_made(model: Path, tmp_path: Path) -> None:
    write_records(tmp_path / "s.jsonl", [verdict("a.png", task="grounding", answer="")])
    with pytest.raises(DataError, match="names none"):
        pretrain.run(settings(model, tmp_path / "s.jsonl", tmp_path / "run"))
    assert not (tmp_path / "run").exists()
