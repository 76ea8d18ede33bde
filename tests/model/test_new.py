"""`iadr1 model new`: a whole checkpoint of the real architecture, and sizes that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from iadr1 import cli
from iadr1.config import NewModelConfig
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.models.loading import load_weights
from iadr1.models.profiles import profile_of
from iadr1.prompts import TAGS, render_prompt, render_target
from iadr1.records import Sample, read_records, write_records
from iadr1.stages.model import new as stage
from iadr1.stages.model.new import NewModel, new_model
from iadr1.stages.training.small import read_sections
from tests.pretrain.world import SIZES, verdict, write_world
from tests.stages.launching import difference


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A samples file about four drawn images."""
    return write_world(tmp_path_factory.mktemp("world"), 4)


def config(data: Path, out: Path, **changes: Any) -> NewModelConfig:
    return NewModelConfig(data=data, out=out, **(SIZES | changes))


@pytest.fixture(scope="module")
def made(world: Path, tmp_path_factory: pytest.TempPathFactory) -> NewModel:
    return new_model(config(world, tmp_path_factory.mktemp("made") / "model"))


def test_it_is_a_whole_checkpoint_that_answers(made: NewModel, world: Path) -> None:
    model, processor = load_weights(made.out, "cpu", torch.float32, "sdpa")
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert sum(p.numel() for p in model.parameters()) == made.parameters
    assert len(processor.tokenizer) == made.tokens <= 400 + 7 + 8 + 47
    profile = profile_of(model.config, processor)
    assert profile.input_wh((640, 480)) == (56, 56)
    sample = next(read_records(world, Sample))
    text = processor.apply_chat_template(render_prompt(sample, "boxes"), tokenize=False, add_generation_prompt=True)
    image = profile.prepare(Image.new("RGB", (640, 480), (10, 200, 90)))
    inputs = processor(text=[text], images=[image], return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 4]]
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 4
    answer = model.generate(**inputs, max_new_tokens=3)
    assert answer.shape[1] <= inputs["input_ids"].shape[1] + 3
    assert sorted(model.generation_config.eos_token_id) == sorted(
        processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    )


def test_the_image_reaches_every_block_and_the_settings_their_places(made: NewModel) -> None:
    model, _ = load_weights(made.out, "cpu", torch.float32, "sdpa")
    vision, text = model.config.vision_config, model.config.text_config
    assert (vision.depth, vision.hidden_size, vision.num_heads, vision.intermediate_size) == (1, 32, 2, 64)
    assert list(vision.fullatt_block_indexes) == [0]
    assert (text.num_hidden_layers, text.hidden_size, text.num_attention_heads) == (1, 48, 2)
    assert (text.num_key_value_heads, text.intermediate_size, text.tie_word_embeddings) == (1, 96, True)
    rope = text.rope_parameters
    assert (rope["rope_theta"], rope["mrope_section"]) == (NewModelConfig().rope_theta, [4, 4, 4])


def test_tags_and_numbers_up_to_the_side_are_one_token_and_nothing_is_lost(made: NewModel, world: Path) -> None:
    tokenizer = load_weights(made.out, "cpu", torch.float32, "sdpa")[1].tokenizer
    assert all(len(tokenizer(tag).input_ids) == 1 for tag in TAGS)
    assert TAGS[0] in tokenizer.decode(tokenizer(TAGS[0]).input_ids, skip_special_tokens=True)
    assert all(len(tokenizer(str(number)).input_ids) == 1 for number in range(57))
    assert [tokenizer.decode([t]) for t in tokenizer("560,57,7").input_ids] == ["56", "0", ",", "5", "7", ",", "7"]
    for text in ("Maß: 5 µm, 欠陥 😀", *(sample.question for sample in read_records(world, Sample))):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_without_numbers_digits_are_one_token_each(world: Path) -> None:
    tokenizer = stage.build_tokenizer(stage.corpus(read_records(world, Sample), 56), 400)
    assert [tokenizer.decode([t]) for t in tokenizer("120").input_ids] == ["1", "2", "0"]


def test_near_numbers_begin_alike(made: NewModel) -> None:
    model, processor = load_weights(made.out, "cpu", torch.float32, "sdpa")
    table = model.get_input_embeddings().weight.detach()
    rows = table[[processor.tokenizer.convert_tokens_to_ids(str(number)) for number in range(57)]]
    alike = torch.nn.functional.cosine_similarity(rows.unsqueeze(0), rows.unsqueeze(1), dim=-1)
    near, far = alike.diagonal(1).mean(), alike.diagonal(28).mean()
    assert near > 0.4
    assert far < 0.25
    assert rows.norm(dim=1).mean().item() == pytest.approx(table[:256].norm(dim=1).mean().item(), rel=0.2)


ROOM: dict[str, Any] = {"text_layers": 3, "text_width": 192, "text_heads": 4, "text_kv_heads": 2, "circuits": True}


def test_the_first_heads_look_back_and_the_next_find_a_token_again(world: Path, tmp_path: Path) -> None:
    """Before any training, in a random sequence told twice."""
    once = torch.randperm(256, generator=torch.Generator().manual_seed(0))[:30]
    told = torch.cat([once, once]).unsqueeze(0)
    follows, again = {}, {}
    for circuits in (True, False):
        sizes = ROOM | {"mrope_section": "8,8,8", "circuits": circuits}
        made = new_model(config(world, tmp_path / str(circuits), **sizes))
        model, _ = load_weights(made.out, "cpu", torch.float32, "eager")
        with torch.no_grad():
            said = model.model.language_model(input_ids=told, output_attentions=True, use_cache=False)
        first, second = (layer[0] for layer in said.attentions[:2])
        # From a token of the second telling: to what followed it in the first, and to itself in the first.
        follows[circuits], again[circuits] = second[0].diagonal(-29)[1:].mean(), second[2].diagonal(-30).mean()
        if circuits:
            assert first[0].diagonal(-1)[5:].min() > 0.9
            assert first[1].diagonal(-2)[5:].min() > 0.9
    assert follows[True] > 0.3
    assert again[True] > 0.15
    assert max(follows[False], again[False]) < 0.1


def test_the_vision_tower_is_taken_over(made: NewModel, world: Path, tmp_path: Path) -> None:
    new, _ = load_weights(
        new_model(config(world, tmp_path / "next", vision=made.out, seed=5)).out, "cpu", torch.float32, "sdpa"
    )
    old, _ = load_weights(made.out, "cpu", torch.float32, "sdpa")
    for (name, ours), theirs in zip(new.model.visual.named_parameters(), old.model.visual.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert not torch.equal(new.get_input_embeddings().weight, old.get_input_embeddings().weight)


def test_a_vision_tower_of_another_form_is_refused(made: NewModel, world: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"vision tower of .* is of another form .*every vision_ setting"):
        new_model(config(world, tmp_path / "next", vision=made.out, vision_width=64))
    assert not (tmp_path / "next").exists()


def test_words_of_the_prompts_and_of_the_samples_are_learned(world: Path) -> None:
    samples = list(read_records(world, Sample))
    tokenizer = stage.build_tokenizer(stage.corpus(samples, 56), 1200)
    assert len(tokenizer("Reference image of a normal product:").input_ids) == 7
    assert len(tokenizer(" defect").input_ids) == 1
    taught = [render_target(sample, "choice") for sample in samples if sample.task == "choice"]
    untaught = stage.build_tokenizer(stage.corpus([], 56), 1200)
    assert sum(len(tokenizer(t).input_ids) for t in taught) < 0.6 * sum(len(untaught(t).input_ids) for t in taught)


def test_the_same_seed_gives_the_same_weights(made: NewModel, world: Path, tmp_path: Path) -> None:
    same, other = (new_model(config(world, tmp_path / str(seed), seed=seed)).out for seed in (0, 1))
    assert difference(made.out, same) == 0.0
    assert difference(made.out, other) > 0.0
    assert (made.out / "tokenizer.json").read_bytes() == (same / "tokenizer.json").read_bytes()


def test_the_card_says_how_it_was_made_and_under_which_licence(made: NewModel) -> None:
    card = (made.out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: cc0-1.0\n")
    assert "side=56" in card
    assert "seed=0" in card


def test_a_folder_that_holds_something_is_left_alone(world: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    with pytest.raises(UsageError, match=r"the folder is not empty \(choose another --out\)"):
        new_model(config(world, tmp_path / "model"))


def test_a_folder_appears_whole_or_not_at_all(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage, "write_text_atomic", full)
    out = tmp_path / "model"
    out.mkdir()  # an empty one is taken
    with pytest.raises(OutputError, match="No space left on device"):
        new_model(config(world, out))
    assert not any(out.iterdir())
    monkeypatch.undo()
    assert new_model(config(world, out)).out == out
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_samples_that_name_no_box_or_no_verdict_teach_words_too(tmp_path: Path) -> None:
    boxless = {"answer": "Yes", "is_anomalous": True, "defects": ({"type": "hole"},)}
    samples = [verdict("a.png", **boxless), verdict("b.png", is_anomalous=None)]
    samples.append(verdict("c.png", task="grounding", answer="", defects=({"type": "hole"},)))
    write_records(tmp_path / "s.jsonl", samples)
    assert new_model(config(tmp_path / "s.jsonl", tmp_path / "model")).tokens > 256


def test_no_samples_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no samples file"):
        new_model(config(tmp_path / "s.jsonl", tmp_path / "model"))
    (tmp_path / "s.jsonl").touch()
    with pytest.raises(DataError, match="the file holds no sample"):
        new_model(config(tmp_path / "s.jsonl", tmp_path / "model"))


def test_only_limit_samples_are_read(world: Path, tmp_path: Path) -> None:
    data = tmp_path / "s.jsonl"
    first = world.read_text(encoding="utf-8").splitlines()[0]
    data.write_text(f"{first}\nno sample\n", encoding="utf-8")
    assert new_model(config(data, tmp_path / "model", limit=1)).tokens > 0
    with pytest.raises(DataError):
        new_model(config(data, tmp_path / "other"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"side": 60}, "side is 60, it must be a multiple of 28"),
        ({"side": 0}, "side is 0"),
        ({"vocabulary": 100}, "vocabulary is 100, it must be at least 256"),
        ({"vision_width": 36}, "vision_width is 36, it must be a multiple of 4 for each of 2 heads"),
        ({"text_width": 50}, "text_width is 50, it must be a multiple of 2 for each of 2 heads"),
        ({"text_heads": 0}, "text_heads is 0"),
        ({"text_kv_heads": 0}, "text_kv_heads is 0"),
        ({"text_heads": 3, "text_kv_heads": 2, "text_width": 72}, "does not divide text_heads 3"),
        ({"mrope_section": "4,4,5"}, "its parts must add up to 12"),
        ({"mrope_section": "4,8"}, "three whole numbers"),
        ({"mrope_section": "0,6,6"}, "three whole numbers from 1 on"),
        ({"rope_theta": 0.0}, "rope_theta is 0.0"),
        ({"vision_depth": 0}, "vision_depth is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"circuits": True}, "the circuits have no room"),
        (ROOM | {"text_layers": 2, "mrope_section": "8,8,8"}, "the circuits have no room"),
        (ROOM | {"text_kv_heads": 4, "mrope_section": "8,8,8"}, "the circuits have no room"),
        ({"vision": Path("nowhere")}, "no model folder 'nowhere'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(world: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        new_model(config(world, tmp_path / "model", **changes))
    assert not (tmp_path / "model").exists()


def test_sections_are_read() -> None:
    assert read_sections(" 2, 11,11") == [2, 11, 11]


def test_the_command(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{key}={value}" for key, value in SIZES.items()]
    with pytest.raises(SystemExit) as ended:
        cli.main(["model", "new", "--data", str(world), "--out", str(tmp_path / "m"), *words])
    assert ended.value.code in (0, None)
    assert f"{tmp_path / 'm'} (0.12 M random parameters, " in capsys.readouterr().out
