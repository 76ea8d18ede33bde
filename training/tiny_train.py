"""Trains the embedded model `tiny` on the scenes `tiny_data.py` rendered, on the CPU, in plain PyTorch.

    python training/tiny_train.py DATA OUT --minutes 80 --vision-minutes 10

First the vision tower alone learns dense labels (defect type of each patch and token, box of the defect a token lies
on); these heads are thrown away in the end. Then the whole model learns the project's own prompts and targets
(`iadr1.prompts`), with the dense loss beside the language loss. Checkpoints are complete model folders; a run that
was killed goes on from `OUT/state.pt`.

What is particular here and why (figures: docs/log.md): the patch embedding starts as whitened principal components;
matrices are trained by Muon, the rest by AdamW; vision attention runs as one batch instead of one call an image (the
same numbers, checked at start).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's usual name
import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl as qwen
from PIL import Image
from tiny_data import REFERENCES_EVERY
from tiny_model import GRID, MERGE, PATCH, SIDE, TEMPORAL, build_model, build_processor, build_tokenizer
from torch import Tensor, nn

from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.prompts import FORMATS, Format, instruction, question_text, render_prompt, render_target
from iadr1.records import Sample

TYPES = 8
"""Seven defect types and "none"."""
CELLS = GRID * GRID


# --- text ---------------------------------------------------------------------------------------------------------


def formats_of(sample: Sample) -> tuple[Format, ...]:
    """The answer formats a sample can teach."""
    by_task: dict[str, tuple[Format, ...]] = {
        "anomaly": ("boxes", "structured", "direct"),
        "choice": ("choice",),
        "grounding": ("grounding",),
    }
    return by_task[sample.task]


@dataclass
class Text:
    """One tokenised lesson: the ids of prompt and target, and the target's tokens that are graded (None: all)."""

    prompt: list[int]
    target: list[int]
    graded: frozenset[int] | None = None


class Lessons:
    """All lessons of the rendered scenes, tokenised when asked for."""

    def __init__(self, data: Path, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.lines = (data / "samples.jsonl").read_text(encoding="utf-8").splitlines()

    def pick(self, scene: int, rng: random.Random, *, shots: int) -> list[Text]:
        """Two lessons about a scene: one of the verdict formats and one of the questions."""
        rows = json.loads(self.lines[scene])
        width_height = {row["id"]: row.pop("wh") for row in rows}
        anomaly, *others = rows
        fmt = rng.choices(("boxes", "structured", "direct"), weights=(6, 3, 2))[0]
        chosen: list[tuple[dict[str, Any], Format]] = [(anomaly, fmt)]
        grounding = [row for row in others if row["task"] == "grounding"]
        if grounding and rng.random() < 0.35:
            chosen.append((rng.choice(grounding), "grounding"))
        else:
            chosen.append((rng.choice([row for row in others if row["task"] == "choice"]), "choice"))
        return [self.text(Sample.model_validate(row), f, tuple(width_height[row["id"]]), shots) for row, f in chosen]

    def option_texts(self) -> list[str]:
        """Every text that is an option somewhere in the first scenes."""
        rows = (row for line in self.lines[:2000] for row in json.loads(line))
        return sorted({text for row in rows for text in row.get("options", {}).values() if text not in ("Yes.", "No.")})

    def drill(self, rng: random.Random, texts: list[str]) -> Text:
        """A lesson without an image: which letter stands before a given text?

        The right text is given, so that only the look-up is learned. Without these lessons the model described the
        image well and always answered A (docs/log.md).
        """
        options = dict(zip("ABCD", rng.sample(texts, 4), strict=True))
        letter = rng.choice(list(options))
        reasoning = f"This is {options[letter]} ({letter}). So the answer is {letter}."
        sample = Sample(
            id="drill", dataset="drill", category="drill", split="train", image="none", task="choice",
            question="Which?", options=options, answer=letter, question_type="drill", reasoning=reasoning,
        )  # fmt: skip
        # The whole prompt: a look-up learned over a shorter distance does not carry over (docs/log.md).
        message = [{"role": "user", "content": question_text(sample, "choice")}]
        prompt = self.processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer([prompt, render_target(sample, "choice")]).input_ids
        letters = self.tokenizer(["(A", "(B", "(C", "(D", "is A", "is B", "is C", "is D"]).input_ids
        return Text(ids[0], ids[1], graded=frozenset(row[-1] for row in letters))

    def text(self, sample: Sample, fmt: Format, image_wh: tuple[int, int], shots: int) -> Text:
        """Prompt and target of one sample, with the image slots filled with image tokens."""
        messages = render_prompt(sample, fmt, shots=shots)
        prompt = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = prompt.replace("<|image_pad|>", "<|image_pad|>" * CELLS)
        target = render_target(sample, fmt, frame=BoxFrame(BoxSpace.INPUT_PX, image_wh, (SIDE, SIDE)))
        ids = self.tokenizer([prompt, target]).input_ids
        return Text(ids[0], [*ids[1], self.tokenizer.eos_token_id])


def corpus(lines: list[str]) -> Iterator[str]:
    """Every text the tokenizer is trained on: prompts and targets of the scenes, instructions many times."""
    for fmt in FORMATS:
        yield from [instruction(fmt)] * 500
    yield from ["system\nuser\nassistant\n", "Reference image of a normal product:", "Query image:"] * 500
    for line in lines:
        for row in json.loads(line):
            wh = tuple(row.pop("wh"))
            sample = Sample.model_validate(row)
            frame = BoxFrame(BoxSpace.INPUT_PX, wh, (SIDE, SIDE))
            yield "\n".join([sample.question, *(f"{k}. {v}" for k, v in sample.options.items())])
            yield render_target(sample, formats_of(sample)[0], frame=frame)


# --- images -------------------------------------------------------------------------------------------------------


def patchify(images: np.ndarray, processor: Any) -> Tensor:
    """uint8 (B, SIDE, SIDE, 3) -> pixel values (B * patches, 3 * TEMPORAL * PATCH^2), as the image processor does."""
    mean = torch.tensor(processor.image_processor.image_mean).view(1, 3, 1, 1)
    std = torch.tensor(processor.image_processor.image_std).view(1, 3, 1, 1)
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
    x = x.reshape(len(x), 3, GRID, MERGE, PATCH, GRID, MERGE, PATCH).permute(0, 2, 5, 3, 6, 1, 4, 7)
    x = x.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, TEMPORAL, -1, -1)
    return x.reshape(len(images) * CELLS * MERGE**2, -1)


def batched_attention(
    self: Any, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: Any = None, **_: Any
) -> Tensor:
    """The vision attention for images of equal size, as one batch; same numbers as transformers' loop."""
    count, images = hidden_states.shape[0], len(cu_seqlens) - 1
    q, k, v = self.qkv(hidden_states).reshape(count, 3, self.num_heads, -1).unbind(1)
    q, k = qwen.apply_rotary_pos_emb_vision(q, k, *position_embeddings)
    q, k, v = (t.view(images, count // images, self.num_heads, -1).transpose(1, 2).float() for t in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, scale=self.scaling)
    return self.proj(out.transpose(1, 2).reshape(count, -1).to(hidden_states.dtype))


def full_precision_attention(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """Attention in float32: its backward pass in bfloat16 is slower on the CPU."""
    return _ATTENTION(q.float(), k.float(), v.float(), **options).to(q.dtype)


_ATTENTION = F.scaled_dot_product_attention


def linear_embed(self: Any, hidden_states: Tensor) -> Tensor:
    """The patch embedding as a matrix product; same numbers as the 3-D convolution."""
    return F.linear(hidden_states.view(hidden_states.shape[0], -1), self.proj.weight.view(self.embed_dim, -1))


def speed_up(model: Any, pixels: Tensor) -> None:
    """Swap in the two faster forms above after checking that they give the same numbers."""
    grid = torch.tensor([[1, SIDE // PATCH, SIDE // PATCH]] * (len(pixels) // (CELLS * MERGE**2)))
    with torch.no_grad():
        before = model.model.visual(pixels, grid_thw=grid).pooler_output
        qwen.Qwen2_5_VLVisionAttention.forward = batched_attention
        qwen.Qwen2_5_VisionPatchEmbed.forward = linear_embed
        torch.nn.functional.scaled_dot_product_attention = full_precision_attention
        after = model.model.visual(pixels, grid_thw=grid).pooler_output
    if not torch.allclose(before, after, atol=1e-4, rtol=1e-3):
        raise RuntimeError(f"the faster vision attention differs by {(before - after).abs().max():.2e}")


def whiten(model: Any, images: np.ndarray, processor: Any) -> None:
    """Start the patch embedding as whitened principal components of real patches."""
    patches = patchify(images, processor).view(-1, 3, TEMPORAL, PATCH**2)[:, :, 0].reshape(-1, 3 * PATCH**2)
    patches = patches[torch.randperm(len(patches))[:20_000]]
    values, vectors = torch.linalg.eigh((patches.T @ patches / len(patches)).double())
    weight = model.model.visual.patch_embed.proj.weight
    values, vectors = values.flip(0)[: len(weight)], vectors.flip(1)[:, : len(weight)]
    filters = (vectors / (values + 5e-3).sqrt()).T.float().view(-1, 3, 1, PATCH, PATCH)
    weight.data.copy_((filters / TEMPORAL * 0.5).expand(-1, -1, TEMPORAL, -1, -1))


# --- learning -----------------------------------------------------------------------------------------------------


class DenseHeads(nn.Module):
    """Throw-away heads: defect type per patch, defect type and box per token."""

    def __init__(self, vision: int, text: int) -> None:
        super().__init__()
        self.patch, self.cell, self.box = nn.Linear(vision, TYPES), nn.Linear(text, TYPES), nn.Linear(text, 4)


class Trainer:
    """The two phases over one model; `drills` is the number of image-less lessons in a joint step."""

    def __init__(self, data: Path, model: Any, processor: Any, *, drills: int = 0) -> None:
        self.model, self.processor, self.drills = model, processor, drills
        self.images = np.load(data / "images.npy", mmap_mode="r")
        self.references = np.load(data / "references.npy", mmap_mode="r")
        self.labels = dict(np.load(data / "labels.npz"))
        self.lessons = Lessons(data, processor)
        self.heads = DenseHeads(model.config.vision_config.hidden_size, model.config.text_config.hidden_size)
        self.type_weight = torch.tensor([0.35] + [1.0] * (TYPES - 1))
        self.centres = self._cell_centres()
        self.rng = random.Random(0)
        self.option_texts = self.lessons.option_texts()
        image_token = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self.image_token, self.pad = image_token, processor.tokenizer.pad_token_id

    @staticmethod
    def _cell_centres() -> Tensor:
        middle = (torch.arange(GRID) + 0.5) / GRID
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        return torch.stack([x, y, x, y], -1).view(1, CELLS, 4)

    def scenes(self, count: int, *, with_reference: bool) -> list[int]:
        """Random scene numbers; only every fourth has a stored reference."""
        if with_reference:
            return [self.rng.randrange(len(self.references)) * REFERENCES_EVERY for _ in range(count)]
        return [self.rng.randrange(len(self.images)) for _ in range(count)]

    def see(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """Token features (B, CELLS, text) and patch features (B, CELLS, 4, vision) of images."""
        grid = torch.tensor([[1, SIDE // PATCH, SIDE // PATCH]] * len(pixels))
        out = self.model.model.visual(patchify(pixels, self.processor), grid_thw=grid)
        tokens = out.pooler_output.view(len(pixels), CELLS, -1)
        return tokens, out.last_hidden_state.view(len(pixels), CELLS, MERGE**2, -1)

    def dense_loss(self, tokens: Tensor, patches: Tensor, scenes: list[int], *, flip: tuple[bool, bool]) -> Tensor:
        """Type of each patch and token, and the offset of the defect's box from the token's centre."""
        patch, cell, box = self._dense_labels(scenes, flip)
        loss = F.cross_entropy(self.heads.patch(patches).float().flatten(0, 2), patch.flatten(), self.type_weight)
        loss = loss + F.cross_entropy(self.heads.cell(tokens).float().flatten(0, 1), cell.flatten(), self.type_weight)
        hit = cell > 0
        if hit.any():
            offset = (box - self.centres)[hit]
            loss = loss + 4 * F.smooth_l1_loss(self.heads.box(tokens).float()[hit], offset, beta=0.05)
        return loss

    def _dense_labels(self, scenes: list[int], flip: tuple[bool, bool]) -> tuple[Tensor, Tensor, Tensor]:
        patch, cell, box = (self.labels[name][scenes] for name in ("patch_type", "cell_type", "cell_box"))
        box = box.astype(np.float32)
        if flip[0]:
            patch, cell, box = patch[:, :, ::-1], cell[:, :, ::-1], box[:, :, ::-1]
            box = np.stack([1 - box[..., 2], box[..., 1], 1 - box[..., 0], box[..., 3]], -1)
        if flip[1]:
            patch, cell, box = patch[:, ::-1], cell[:, ::-1], box[:, ::-1]
            box = np.stack([box[..., 0], 1 - box[..., 3], box[..., 2], 1 - box[..., 1]], -1)
        patch = patch.reshape(-1, GRID, MERGE, GRID, MERGE).transpose(0, 1, 3, 2, 4).reshape(-1, CELLS, MERGE**2)
        flat = cell.reshape(-1, CELLS), box.reshape(-1, CELLS, 4)
        return (
            torch.from_numpy(np.ascontiguousarray(patch)).long(),
            torch.from_numpy(np.ascontiguousarray(flat[0])).long(),
            torch.from_numpy(np.ascontiguousarray(flat[1])),
        )

    def vision_step(self, batch: int) -> tuple[Tensor, float]:
        """Dense loss of random scenes, flipped at random."""
        scenes = self.scenes(batch, with_reference=False)
        flip = (self.rng.random() < 0.5, self.rng.random() < 0.5)
        pixels = self.images[scenes][:, :: -1 if flip[1] else 1, :: -1 if flip[0] else 1]
        loss = self.dense_loss(*self.see(np.ascontiguousarray(pixels)), scenes, flip=flip)
        return loss, 0.0

    def joint_step(self, batch: int) -> tuple[Tensor, float]:
        """Language loss on two lessons a scene, with half the dense loss beside it."""
        shots = int(self.rng.random() < 0.2)
        scenes = self.scenes(batch // 2 if shots else batch, with_reference=bool(shots))
        pixels = self.images[scenes]
        if shots:
            pixels = np.concatenate([self.references[[s // REFERENCES_EVERY for s in scenes]], pixels])
        tokens, patches = self.see(pixels)
        query = tokens[-len(scenes) :]
        dense = self.dense_loss(query, patches[-len(scenes) :], scenes, flip=(False, False))
        seen = torch.cat([tokens[: len(scenes)], query], 1) if shots else query
        texts = [text for scene in scenes for text in self.lessons.pick(scene, self.rng, shots=shots)]
        language = self.language_loss(texts, seen.repeat_interleave(2, dim=0))
        loss = language + 0.5 * dense
        if self.drills:
            texts = [self.lessons.drill(self.rng, self.option_texts) for _ in range(self.drills)]
            loss = loss + self.language_loss(texts, seen.new_zeros(len(texts), 0, seen.shape[-1]))
        return loss, language.item()

    def language_loss(self, texts: list[Text], seen: Tensor, *, parts: int = 4) -> Tensor:
        """Mean cross-entropy of the targets' graded tokens; sorted by length and run in parts, to pad little."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row].prompt) + len(texts[row].target))
        size = math.ceil(len(order) / parts)
        total = sum(sum(t.graded is None or token in t.graded for token in t.target) for t in texts)
        loss = seen.new_zeros((), dtype=torch.float32)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            loss = loss + self._summed_loss([texts[row] for row in rows], seen[rows])
        return loss / total

    def _summed_loss(self, texts: list[Text], seen: Tensor) -> Tensor:
        """Summed cross-entropy; `seen` (B, images * CELLS, hidden) fills the image slots."""
        length = max(len(t.prompt) + len(t.target) for t in texts)
        ids = torch.full((len(texts), length), self.pad)
        labels = torch.full((len(texts), length), -100)
        for row, t in enumerate(texts):
            ids[row, : len(t.prompt) + len(t.target)] = torch.tensor(t.prompt + t.target)
            kept = [token if t.graded is None or token in t.graded else -100 for token in t.target]
            labels[row, len(t.prompt) : len(t.prompt) + len(t.target)] = torch.tensor(kept)
        slots = ids == self.image_token
        embeddings = self.model.model.language_model.embed_tokens(ids)
        embeddings = embeddings.masked_scatter(slots.unsqueeze(-1), seen.to(embeddings.dtype))
        hidden = self.model.model.language_model(
            inputs_embeds=embeddings, position_ids=positions(slots), attention_mask=None, use_cache=False
        ).last_hidden_state
        keep = labels[:, 1:] != -100
        logits = self.model.lm_head(hidden[:, :-1][keep]).float()
        return F.cross_entropy(logits, labels[:, 1:][keep], reduction="sum")


def positions(slots: Tensor) -> Tensor:
    """M-RoPE positions (3, B, L) for rows whose images are GRID x GRID tokens; `slots` marks image tokens.

    A text token advances all three axes by one; an image takes GRID positions and its tokens spread over its rows
    and columns (Qwen2.5-VL's `get_rope_index`, checked against it at start).
    """
    run = torch.cumsum(slots.long(), 1) - 1
    place = torch.where(slots, run % CELLS, 0)
    first = slots & (place == 0)
    # The first token of an image stands at the current position, the text after it GRID further on.
    step = torch.where(slots, torch.where(place == CELLS - 1, GRID, 0), 1)
    base = torch.cumsum(step, 1) - step
    start = torch.where(first, base, 0).cummax(1).values
    base = torch.where(slots, start, base)
    return torch.stack([base, base + place // GRID, base + place % GRID])


def check_positions(model: Any, lessons: Lessons) -> None:
    """Compare `positions` with the model's own rule on a prompt with one and with two images."""
    for shots in (0, 1):
        row = json.loads(lessons.lines[0])[0]
        wh = tuple(row.pop("wh"))
        text = lessons.text(Sample.model_validate(row), "boxes", wh, shots)
        ids = torch.tensor([text.prompt + text.target])
        slots = ids == lessons.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        grid = torch.tensor([[1, SIDE // PATCH, SIDE // PATCH]] * (shots + 1))
        expected, _ = model.model.get_rope_index(ids, mm_token_type_ids=slots.long(), image_grid_thw=grid)
        if not torch.equal(expected, positions(slots)):
            raise RuntimeError("the fast positions differ from the model's own")


def optimizers(model: Any, heads: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the towers, AdamW for embeddings, norms, biases and heads."""
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    taken = {id(p) for p in inner}
    rest = [p for p in [*model.parameters(), *heads.parameters()] if id(p) not in taken]
    return [
        torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.97), weight_decay=0.0),
        torch.optim.Muon(inner, lr=2e-3, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    ]


def save(folder: Path, trainer: Trainer) -> None:
    """Write the model folder: fp16 weights, processor, tokenizer, chat template."""
    state = {name: tensor.half() for name, tensor in trainer.model.state_dict().items()}
    trainer.model.save_pretrained(folder, state_dict=state)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part in (config, config.get("text_config", {}), config.get("vision_config", {})):
        if "dtype" in part:
            part["dtype"] = "float16"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    trainer.processor.save_pretrained(folder)


def train(trainer: Trainer, out: Path, *, minutes: float, vision_minutes: float, batch: int, rate: float) -> None:
    """Run both phases within the time, with a cosine schedule over the whole."""
    groups = optimizers(trainer.model, trainer.heads)
    base = [g["lr"] * rate for o in groups for g in o.param_groups]
    spent, step, state = 0.0, 0, out / "state.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True)
        spent, step = saved["spent"], saved["step"]
        trainer.model.load_state_dict(saved["model"])
        trainer.heads.load_state_dict(saved["heads"])
        for optimizer, content in zip(groups, saved["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        trainer.rng.seed(step)
    began, saved_at, losses = time.monotonic() - spent, spent, []
    parameters = [*trainer.model.parameters(), *trainer.heads.parameters()]
    while (spent := time.monotonic() - began) < minutes * 60:
        done = spent / (minutes * 60)
        factor = min(1.0, (step + 1) / 80) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))
        for group, lr in zip((g for o in groups for g in o.param_groups), base, strict=True):
            group["lr"] = lr * factor
        with torch.autocast("cpu", torch.bfloat16):
            kind = trainer.vision_step if spent < vision_minutes * 60 else trainer.joint_step
            loss, language = kind(batch)
        for optimizer in groups:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in groups:
            optimizer.step()
        step += 1
        losses.append((loss.item(), language))
        if step % 50 == 0:
            mean = np.mean(losses, axis=0)
            losses = []
            line = {"step": step, "minutes": round(spent / 60, 2), "loss": round(mean[0], 4)}
            print(json.dumps({**line, "language": round(mean[1], 4)}), flush=True)  # noqa: T201 - the run's log
        if spent - saved_at > 300:
            saved_at = spent
            keep(trainer, groups, state, spent=spent, step=step)
            save(out / "model", trainer)
    save(out / "model", trainer)
    state.unlink(missing_ok=True)


def keep(trainer: Trainer, groups: list[torch.optim.Optimizer], state: Path, *, spent: float, step: int) -> None:
    """Write all that is needed to go on, atomically."""
    content = {
        "model": trainer.model.state_dict(), "heads": trainer.heads.state_dict(),
        "optimizers": [o.state_dict() for o in groups], "spent": spent, "step": step,
    }  # fmt: skip
    torch.save(content, state.with_suffix(".tmp"))
    state.with_suffix(".tmp").replace(state)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--vision-minutes", type=float, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--drills", type=int, default=32, help="look-up lessons in a joint step")
    parser.add_argument("--init", type=Path, help="start from this model folder instead of from nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.init:
        from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

        processor = AutoProcessor.from_pretrained(arguments.init)
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(arguments.init, dtype=torch.float32)
    else:
        lines = (arguments.data / "samples.jsonl").read_text(encoding="utf-8").splitlines()[:3000]
        processor = build_processor(build_tokenizer(corpus(lines)))
        model = build_model(processor.tokenizer)
    trainer = Trainer(arguments.data, model, processor, drills=arguments.drills)
    first = np.ascontiguousarray(trainer.images[:8])
    reference = processor.image_processor(images=[Image.fromarray(im) for im in first], return_tensors="pt")
    if not torch.allclose(reference.pixel_values, patchify(first, processor), atol=1e-5):
        raise RuntimeError("patchify differs from the image processor")
    if not arguments.init:
        whiten(model, np.ascontiguousarray(trainer.images[:: max(1, len(trainer.images) // 600)]), processor)
    speed_up(model, reference.pixel_values)
    check_positions(model, trainer.lessons)
    model.train()
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(json.dumps({"parameters_m": round(size, 3), "tokens": len(processor.tokenizer)}), flush=True)  # noqa: T201
    train(
        trainer,
        arguments.out,
        minutes=arguments.minutes,
        vision_minutes=arguments.vision_minutes,
        batch=arguments.batch,
        rate=arguments.rate,
    )


if __name__ == "__main__":
    main()
