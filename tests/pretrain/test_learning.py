"""The losses are the model's own, and a small model learns from them."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from iadr1.prompts import render_target
from iadr1.stages.pretrain.fast import grid_of, patchify
from iadr1.stages.pretrain.learning import Turn
from iadr1.stages.pretrain.lessons import Lesson
from iadr1.stages.pretrain.loop import optimizers
from tests.pretrain.world import learner, new, settings, write_world


@pytest.fixture(scope="module")
def made(model: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A learner with the weights as they were drawn."""
    return learner(model, world, tmp_path_factory.mktemp("cache"))[0]


@pytest.mark.parametrize("shots", [0, 1])
def test_the_loss_of_answers_is_what_the_model_computes_itself(made: Any, shots: int) -> None:
    """Row by row through `forward` with labels, which sees neither padding nor another row."""
    rng, rows = random.Random(0), [0, 2, 4]
    references = made.pictures.references[made.pictures.reference_of[rows]]
    pixels = made.pictures.images[rows]
    texts, owners, losses = [], [], []
    with torch.no_grad():
        query, reference = made._see(pixels)[0], made._see(references)[0]
        seen = torch.cat([reference, query], 1) if shots else query
        for place, row in enumerate(rows):
            found = made.lessons.about(made.scenes.items[row], (112, 112), rng, count=2, shots=shots)
            texts += found
            owners += [place] * 2
        for text, owner in zip(texts, owners, strict=True):
            shown = np.stack([references[owner], pixels[owner]]) if shots else pixels[owner][None]
            ids = torch.tensor([text.prompt + text.target])
            labels = torch.tensor([[-100] * len(text.prompt) + text.target])
            out = made.model(
                input_ids=ids,
                labels=labels,
                pixel_values=patchify(shown, made.processor, made.layout),
                image_grid_thw=grid_of(len(shown), made.layout),
                mm_token_type_ids=(ids == made._slot).long(),
            )
            losses.append(out.loss.item() * len(text.target))
        ours = made._language_loss(texts, seen[owners]).item()
    assert len({len(text) for text in texts}) > 2  # so that there is padding
    assert ours == pytest.approx(sum(losses) / sum(len(text.target) for text in texts), rel=1e-5)


def test_the_image_matters_to_the_loss(made: Any) -> None:
    """Else the comparison above could not tell whose features are in whose slots."""
    lesson = made.lessons.about(made.scenes.items[0], (112, 112), random.Random(0), count=1, shots=0)
    with torch.no_grad():
        one, other = (made._language_loss(lesson, made._see(made.pictures.images[[row]])[0]).item() for row in (0, 1))
    assert abs(one - other) > 1e-4


def test_lessons_are_the_projects_prompts_and_answers(made: Any) -> None:
    rng, texts = random.Random(3), []
    decode = made.processor.tokenizer.decode
    for _ in range(60):
        scene = made.scenes.items[0]
        verdict, second = made.lessons.about(scene, (112, 112), rng, count=2, shots=1)
        assert verdict.prompt.count(made._slot) == 2 * made.layout.tokens**2
        assert second.target[-1] == made.processor.tokenizer.eos_token_id
        texts.append((decode(verdict.target), decode(second.target)))
    formats = {"direct" if "<answer>" not in v else "boxes" if "[" in v else "structured" for v, _ in texts}
    assert formats == {"boxes", "structured", "direct"}
    assert all(v.endswith("<|im_end|>") for v, _ in texts)
    assert len({second for _, second in texts}) > 3


def test_a_drill_asks_for_the_letter_of_the_text_that_is_given(made: Any) -> None:
    decode, places = made.processor.tokenizer.decode, set()
    for seed in range(20):
        drill = made.lessons.drill(random.Random(seed))
        assert made._slot not in drill.prompt
        asked, target = decode(drill.prompt), decode(drill.target)
        options = dict(re.findall(r"^([A-D])\. (.*?)(?:<\|im_end\|>)?$", asked, re.MULTILINE))
        assert len(options) == 4
        text = asked.rpartition("<think>It is ")[2].removesuffix(".")  # what it is, is given, not graded
        letter = next(letter for letter, option in options.items() if option == text)
        assert target == f" This is {text} ({letter}). So the answer is {letter}.</think><answer>{letter}</answer>"
        places.add(letter)
    assert places == set("ABCD")


def test_the_dense_loss_falls_to_nothing_where_the_heads_are_right(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that know the labels of a turned picture have no loss on them, and others have one."""
    rows = [row for row in range(16) if made.pictures.labels.token[row].any()][:4]
    turn = Turn(mirror=True, transpose=True)
    patch, cell, box = made._dense_labels(rows, turn)
    places = made._places.expand(4, -1, -1)
    one_hot = [50.0 * torch.nn.functional.one_hot(part, len(made._weights)).float() for part in (patch, cell)]
    monkeypatch.setattr(made.heads.patch, "forward", lambda _: one_hot[0])
    monkeypatch.setattr(made.heads.cell, "forward", lambda _: one_hot[1])
    near = -((made._bins - box.unsqueeze(-1)) ** 2) / (2 * (5 / made.layout.side) ** 2)
    monkeypatch.setattr(made.heads.box, "forward", lambda _: near.flatten(-2))
    monkeypatch.setattr(made.heads.place, "forward", lambda _: places)
    features = torch.zeros(4, made.layout.tokens**2, 8)
    # Classes are shared between neighbours, so that what is left is the labels' own entropy.
    hit = cell > 0
    wanted = near.softmax(-1)[hit]
    least = -(wanted * wanted.log()).sum(-1).mean().item()
    assert made._dense_loss(features, features, rows, turn).item() == pytest.approx(least, abs=1e-5)
    assert made._dense_loss(features, features, rows, Turn()).item() > least + 0.1
    monkeypatch.setattr(made.heads.place, "forward", lambda _: places.flip(-1))
    assert made._dense_loss(features, features, rows, turn).item() > least + 0.1


def test_bare_boxes_are_the_boxes_answer_behind_the_image_alone(made: Any) -> None:
    scene, decode = made.scenes.items[0], made.processor.tokenizer.decode
    lesson = made.lessons.bare_boxes(scene, (112, 112))
    image = made.processor.image_token * made.layout.tokens**2
    assert decode(lesson.prompt) == f"<|vision_start|>{image}<|vision_end|>"
    sample = made.scenes.verdict(scene)
    assert f"{render_target(sample, 'boxes', frame=made.lessons._profile.frame((112, 112)))}<|im_end|>" == decode(
        lesson.target
    )


def test_a_step_asks_for_bare_boxes_except_beside_references(
    model: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for share, bare, count in ((0.0, True, 4), (0.0, False, 0), (1.0, True, 0)):
        taught, _ = learner(model, world, tmp_path, reference_share=share, bare_boxes=bare, drills=0)
        graded: list[int] = []
        monkeypatch.setattr(
            taught,
            "_language_loss",
            lambda texts, seen, to=graded: to.extend(len(t.prompt) for t in texts) or seen.sum(),
        )
        taught.joint_step(random.Random(1))
        assert graded.count(taught.layout.tokens**2 + 2) == count


def test_a_step_depends_on_its_own_chance_alone(made: Any) -> None:
    losses = [made.joint_step(random.Random("42/7")).total.item() for _ in range(2)]
    assert losses[0] == losses[1] != made.joint_step(random.Random("42/8")).total.item()
    assert made.vision_step(random.Random("42/7")).language is None


def test_half_as_many_images_are_shown_with_a_reference(
    model: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, _ = learner(model, world, tmp_path, reference_share=1.0, drills=0)
    seen: list[Any] = []

    def about(scene: Any, *_: Any, **given: Any) -> list[Lesson]:
        seen.append((scene, given))
        return [Lesson([1], [2])]

    monkeypatch.setattr(shown.lessons, "about", about)
    monkeypatch.setattr(shown, "_language_loss", lambda texts, features: features.sum() * 0 + features.shape[1])
    losses = shown.joint_step(random.Random(0))
    assert losses.language == 2 * shown.layout.tokens**2
    assert losses.drills is None
    assert len(seen) == 2
    assert all(scene.reference and kw["shots"] == 1 for scene, kw in seen)


def test_it_learns(tmp_path: Path) -> None:
    """The loss of the answers about eight images falls by more than half in thirty steps."""
    torch.set_num_threads(1)
    data = write_world(tmp_path, 8)
    model = new(tmp_path / "model", data, text_width=64, mrope_section="4,6,6", seed=1)
    taught, _ = learner(model, data, tmp_path / "cache", images=8, drills=0)
    config = settings(model, data, tmp_path / "run", learning_rate=4e-3, muon_rate=8e-3)
    groups = optimizers(taught.model, taught.heads, config)
    losses = []
    torch.manual_seed(0)
    for step in range(30):
        found = taught.joint_step(random.Random(step))
        for optimizer in groups:
            optimizer.zero_grad(set_to_none=True)
        found.total.backward()  # type: ignore[no-untyped-call]
        for optimizer in groups:
            optimizer.step()
        losses.append((found.language, found.dense))
    language, dense = zip(*losses, strict=True)
    assert np.mean(language[-5:]) < 0.5 * language[0]
    assert np.mean(dense[-5:]) < 0.9 * dense[0]
