"""Questions a second: one at a time as the benchmark's script asks, ours, and plain batches over ready tensors.

    python benchmarks/eval_speed.py --data data/mmad.jsonl            the embedded model
    python benchmarks/eval_speed.py --large                           a random model with a 3B model's proportions

All three answer the same questions in one process, in turns, with the same prompts, input sizes and greedy decoding:

- one: as MMAD's script does: open the image, process it, one `generate` call for each question;
- ours: `iadr1 eval` from the first question to the last answer on disk; loading the model and scoring are left out;
- ready: `model.generate` on tensors that were made before, sorted by length, at the same batch size. It opens,
  resizes and tokenises nothing while the clock runs, and its answers end at the end token.

Limits on the embedded model: ours at least 4 times one, at least 0.8 of ready, and at least 99 % of the answers those
of one. Seconds are wall time; `--cpu-seconds` counts the process's own, for a machine with other work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import GenerationConfig

from iadr1.config import EvalConfig
from iadr1.images import open_image
from iadr1.models import LoadOptions, resolve_model
from iadr1.models.local import LocalEngine
from iadr1.prompts import parse, render_prompt
from iadr1.records import Prediction, Sample, read_records, resolve_root, write_records
from iadr1.stages import evaluate

QUESTIONS = (
    "Is there any defect in the object?",
    "What is the type of the defect in the object, if there is one?",
    "Where is the defect in the object? Look at every part of the picture before you answer.",
    "What does the defect look like?",
    "What might the defect lead to in use?",
)


class Arms:
    """The three ways to answer the same questions with the same loaded model.

    Args:
        model: What `resolve_model` takes.
        samples: The questions.
        root: Folder of their images.
        batch_size: Of ours and of the ready tensors.
        max_new_tokens: Where a completion is cut off.
        clock: Seconds so far.
    """

    def __init__(
        self,
        model: str,
        samples: Sequence[Sample],
        root: Path,
        *,
        batch_size: int,
        max_new_tokens: int,
        clock: Callable[[], float],
    ) -> None:
        self.clock, self.batch_size = clock, batch_size
        self.engine = LocalEngine(model, LoadOptions(batch_size=batch_size))
        self.samples, self.root, self.limit = samples, root, max_new_tokens
        self.model: Any = self.engine._reader._model
        # As the engine decodes: a checkpoint's sampling and repetition penalty are not used.
        self.model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=sorted(self.engine._ends), pad_token_id=min(self.engine._ends)
        )
        self.batches = self._ready(batch_size)
        self.aside = 0.0  # seconds of the last run that are none of the asking

    def _inputs(self, samples: Sequence[Sample]) -> Any:
        processor = self.engine.processor
        messages = [render_prompt(sample, "choice") for sample in samples]
        return processor(
            text=[processor.apply_chat_template(turn, add_generation_prompt=True) for turn in messages],
            images=[[self.engine.profile.prepare(open_image(self.root / sample.image))] for sample in samples],
            padding=True,
            add_special_tokens=False,
            return_tensors="pt",
        ).to(self.engine.device, dtype=self.engine.dtype)

    def _ready(self, batch_size: int) -> list[Any]:
        lengths = [self._inputs([sample])["input_ids"].shape[1] for sample in self.samples]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return [self._inputs([self.samples[index] for index in part]) for part in parts]

    def _generate(self, inputs: Any) -> list[str]:
        with torch.inference_mode():
            output = self.model.generate(**inputs, max_new_tokens=self.limit)
        new = output[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self.engine.processor.batch_decode(new, skip_special_tokens=True)
        return texts

    def one(self) -> list[str]:
        """A question at a time."""
        return [self._generate(self._inputs([sample]))[0] for sample in self.samples]

    def ours(self) -> list[str]:
        """The stage itself, whose protocol `anomalyr1` asks with the same prompt."""
        marks = [self.clock()]
        with tempfile.TemporaryDirectory() as name:
            data, out = Path(name) / "samples.jsonl", Path(name) / "run"
            write_records(data, self.samples)
            config = EvalConfig(
                data=data, root=self.root, out=out, max_new_tokens=self.limit, batch_size=self.batch_size
            )
            evaluate.run(config, engine=self.engine, progress=lambda done, whole: marks.append(self.clock()))
            texts = {answer.sample_id: answer.raw for answer in read_records(out / "predictions.jsonl", Prediction)}
        self.aside = marks[1] - marks[0] + self.clock() - marks[-1]
        return [texts[sample.id] for sample in self.samples]

    def ready(self) -> list[str]:
        """Batches of tensors; the texts are in their order."""
        return [text for inputs in self.batches for text in self._generate(inputs)]


def compare(arms: Arms, *, rounds: int) -> None:
    """Run the arms in turns and print the medians, the ratios and how many answers agree."""
    runs = {"one": arms.one, "ours": arms.ours, "ready": arms.ready}
    for run in (arms.ours, arms.ready):
        run()  # the first calls load kernels
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    texts: dict[str, list[str]] = {}
    count = len(arms.samples)
    for number in range(rounds):
        for name, run in runs.items():
            arms.aside, started = 0.0, arms.clock()
            texts[name] = run()
            speeds[name].append(count / (arms.clock() - started - arms.aside))
        print(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:.2f}" for name, values in speeds.items()))
    one, ours, ready = (statistics.median(speeds[name]) for name in runs)
    pairs = list(zip(texts["one"], texts["ours"], arms.samples, strict=True))
    same = sum(a == b for a, b, _ in pairs)
    letters = sum(_letter(a, sample) == _letter(b, sample) for a, b, sample in pairs)
    print(f"medians of {rounds} rounds, {count} questions: one {one:.2f}, ours {ours:.2f}, ready {ready:.2f} a second")
    print(f"ours / one {ours / one:.2f} (limit 4), ours / ready {ours / ready:.2f} (limit 0.8)")
    print(f"equal to one at a time: answers {letters / count:.2%}, whole texts {same / count:.2%}")


def _letter(text: str, sample: Sample) -> str | None:
    return parse(text, "choice", options=sample.options).letter


def large_model(folder: Path) -> str:
    """A random Qwen2.5-VL with the shares of a 3B model: 18 % vision, 1,044 tokens for an image of 1000x800 pixels.

    Qwen2.5-VL-3B has 32 vision and 36 language layers; here it is a quarter of them at an eighth of the width.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.auto import AutoProcessor

    processors: Any = AutoProcessor
    processor = processors.from_pretrained(resolve_model("tiny"))
    processor.image_processor.size = {"shortest_edge": 3136, "longest_edge": 12_845_056}
    base: Any = Qwen2_5_VLConfig.from_pretrained(resolve_model("tiny")).to_dict()
    base["vision_config"] |= {
        "depth": 8, "hidden_size": 128, "num_heads": 4, "intermediate_size": 352, "out_hidden_size": 256,
        "window_size": 112, "fullatt_block_indexes": [3, 7],
    }  # fmt: skip
    base["text_config"] |= {
        "num_hidden_layers": 9, "hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 4096, "layer_types": ["full_attention"] * 9,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
    }  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**base))
    # Wide weights, so that the likeliest token stands out and depends on what was read.
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.08)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def noise(folder: Path, images: int) -> list[Sample]:
    """Five questions about each of some pictures of noise, on disk."""
    found = []
    for number in range(images):
        pixels = np.random.default_rng(number).integers(0, 255, (800, 1000, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        for turn, question in enumerate(QUESTIONS):
            found.append(
                Sample(
                    id=f"{number}#{turn}", dataset="noise", category="noise", split="test", image=f"{number}.png",
                    task="choice", question=question, options={"A": "Yes.", "B": "No."}, answer="A", is_anomalous=True,
                    question_type="Anomaly Detection",
                )
            )  # fmt: skip
    write_records(folder / "samples.jsonl", found)
    return found


def main() -> None:
    """Load the questions and run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--data", type=Path, default=Path("data/mmad.jsonl"), help="samples of 'iadr1 prepare'")
    parser.add_argument("--limit", type=int, default=200, help="questions, from the start of the file")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="a random large model and pictures of noise instead")
    parser.add_argument("--cpu-seconds", action="store_true")
    given = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, seed 0 (weights and noise)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.large:
            model, samples, root = large_model(folder / "model"), noise(folder, given.limit // len(QUESTIONS)), folder
        else:
            model, root = given.model, resolve_root(given.data)
            samples = list(read_records(given.data, Sample))[: given.limit]
        arms = Arms(
            model,
            samples,
            root,
            batch_size=given.batch_size,
            max_new_tokens=given.max_new_tokens,
            clock=time.process_time if given.cpu_seconds else time.perf_counter,
        )
        compare(arms, rounds=given.rounds)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
