"""Whether GRPO teaches anything: mean reward on held-out prompts before and after a run of the embedded model.

    python benchmarks/grpo_learns.py FOLDER grounding --seeds 0 1
    python benchmarks/grpo_learns.py FOLDER anomaly --seeds 0 1
    python benchmarks/grpo_learns.py FOLDER new-products --seeds 0 1

`grounding` trains on referring expressions, rewarded with the IoU of the box; `anomaly` on yes/no questions, rewarded
with `sc-grpo` (0 to 3: shape, verdict, place and kind); `new-products` on yes/no questions about the products the
embedded model was not trained on, where it is a little worse, rewarded with `accuracy`. Trained is on scenes
whose seeds are kept for it, which the embedded model has not seen. Asked before and after are scenes of the yes/no
benchmark's seeds, half of them of products that neither the embedded model nor the run was trained on. Every prompt
is answered once greedily and `--draws` times at temperature 1, as in training. Intervals are 95 % bootstraps of the
difference after - before, resampling prompts, one an image; how much runs differ shows between the seeds. Figures go
to FOLDER/TASK/figures.json. A run that was stopped goes on with the same command.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig

from iadr1 import leaks
from iadr1.config import TrainConfig
from iadr1.datasets import refcoco
from iadr1.datasets.synthetic import CATEGORIES, tree
from iadr1.datasets.synthetic import samples as synthetic
from iadr1.datasets.synthetic.ledger import Ledger
from iadr1.images import open_image
from iadr1.models import LoadOptions, Request
from iadr1.models.local import LocalEngine
from iadr1.prompts import render_prompt
from iadr1.records import Sample, write_records
from iadr1.rewards import resolve_reward
from iadr1.stages import grpo
from iadr1.stages.grpo.scoring import Scorer
from iadr1.stages.training.data import FORMAT_OF_TASK

Values = NDArray[np.float64]
NEW = tuple(name for name, category in CATEGORIES.items() if category.held_out)
TASKS = {
    "grounding": ("grounding", tree.GROUNDING_SEEDS, 1.0, tree.TRAINED),
    "anomaly": ("sc-grpo", tree.FEWSHOT_SEEDS, 0.5, tree.TRAINED),
    "new-products": ("accuracy", tree.FEWSHOT_SEEDS, 0.5, NEW),
}
"""Reward, seeds of the scenes trained on, share of defective ones, products trained on."""
SPLITS = {"trained products": False, "held-out products": True}


def render(folder: Path, name: str, task: str, shots: list[tree.Shot]) -> Path:
    """Samples of scenes as `FOLDER/NAME.jsonl`, their images below `FOLDER/NAME`."""
    ledger = Ledger(folder, f"{name}.json", {"shots": [[shot.category, shot.seed] for shot in shots]})
    if task != "grounding":
        found = tree.write_mvtec(ledger, name, shots, tick=lambda: None)
    else:
        tree.write_refcoco(ledger, name, shots, tick=lambda: None)
        found = [_with_category(sample) for sample in refcoco.SOURCE.read(folder / name)]
    ledger.save(complete=True)
    path = folder / f"{name}.jsonl"
    write_records(path, [sample.model_copy(update={"licence": synthetic.LICENCE}) for sample in found])
    path.with_suffix(".meta.json").write_text(json.dumps({"root": name}), encoding="utf-8")
    return path


def _with_category(sample: Sample) -> Sample:
    name = Path(sample.image).parent.name
    return sample.model_copy(update={"category": name, "held_out": CATEGORIES[name].held_out})


def read(path: Path) -> list[Sample]:
    """The samples of a file."""
    return [Sample.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rewards_of(model: str, samples: list[Sample], root: Path, *, reward: str, draws: int) -> dict[str, Values]:
    """Reward of each prompt, shape (prompts,): greedy, and the mean of `draws` answers at temperature 1."""
    engine = LocalEngine(model, LoadOptions(device="cpu", batch_size=40))
    scorer = Scorer(resolve_reward(reward), engine.profile)
    requests = [
        Request(sample.id, render_prompt(sample, FORMAT_OF_TASK[sample.task]), (open_image(root / sample.image),))
        for sample in samples
    ]
    weights = np.array([weight for _, _, weight in resolve_reward(reward)])

    def ask(times: int) -> Values:
        repeated = [request for request in requests for _ in range(times)]
        texts = [answer.text for answer in engine.generate(repeated, max_new_tokens=96)]
        rows = [sample.model_dump_json() for sample in samples for _ in range(times)]
        sizes = [request.images[0].size for request in repeated]
        table = np.array(scorer.score(texts, rows, sizes)[1], dtype=np.float64)
        values: Values = (table @ weights).reshape(len(samples), times).mean(axis=1)
        return values

    greedy = ask(1)
    torch.manual_seed(0)  # the same draws before and after
    ends = engine._model.generation_config
    engine._model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, temperature=1.0, top_p=1.0, top_k=0,
        eos_token_id=ends.eos_token_id, pad_token_id=ends.pad_token_id,
    )  # fmt: skip
    return {"greedy": greedy, "sampled": ask(draws)}


def gain(before: Values, after: Values) -> dict[str, Any]:
    """Means, their difference, and the 95 % interval of the difference, resampling prompts."""
    difference = after - before
    picks = np.random.default_rng(0).integers(0, len(difference), (10_000, len(difference)))
    low, high = np.percentile(difference[picks].mean(axis=1), (2.5, 97.5))
    return {
        "n": len(difference),
        "before": round(float(before.mean()), 4),
        "after": round(float(after.mean()), 4),
        "gain": round(float(difference.mean()), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def compare(before: dict[str, Values], after: dict[str, Values], held_out: NDArray[np.bool_]) -> dict[str, Any]:
    """`gain` of greedy and sampled answers, for all prompts and for each split."""
    masks = {"all": np.ones_like(held_out), **{name: held_out == wanted for name, wanted in SPLITS.items()}}
    return {how: {split: gain(before[how][mask], after[how][mask]) for split, mask in masks.items()} for how in before}


def main() -> None:
    """Render, ask, train, ask again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--images", type=int, default=300, help="trained on")
    parser.add_argument("--asked", type=int, default=120, help="images asked about before and after")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--questions", type=int, default=16, help="in a step, with 8 answers each")
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--beta", type=float, default=0.0)
    parser.add_argument("--temperature", type=float, default=1.0, help="of the answers drawn in training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    given = parser.parse_args()

    reward, seeds, defective, products = TASKS[given.task]
    folder = given.folder / given.task
    shots = tree.plan(seeds, given.images, seed=0, categories=products, p_defect=defective)
    train = render(folder, "train", given.task, shots)
    shots = tree.plan(tree.MVTEC_SEEDS, given.asked, seed=0, categories=tree.half_held_out(), p_defect=defective)
    first = {sample.image: sample for sample in read(render(folder, "asked", given.task, shots))}
    samples, root = list(first.values()), folder / "asked"  # one prompt an image
    if leaks.compare(leaks.build_manifest(read(train), folder / "train"), samples, root).trained:
        raise SystemExit("images asked about are trained on")
    before = rewards_of("tiny", samples, root, reward=reward, draws=given.draws)
    figures: dict[str, Any] = {"settings": {name: str(value) for name, value in vars(given).items()}, "runs": {}}
    for seed in given.seeds:
        started = time.monotonic()
        config = TrainConfig(
            data=train,
            out=folder / f"run-{seed}",
            reward=reward,
            steps=given.steps,
            batch_size=8 * given.questions,
            generations=8,
            learning_rate=given.learning_rate,
            beta=given.beta,
            temperature=given.temperature,
            save_steps=10,
            completions=False,
            log_to="none",
            seed=seed,
        )
        summary = grpo.run(config)
        after = rewards_of(str(summary.model), samples, root, reward=reward, draws=given.draws)
        run = compare(before, after, np.array([sample.held_out for sample in samples]))
        run["training"] = {
            "first tenth": round(summary.reward_start, 4),
            "last tenth": round(summary.reward_end, 4),
            "minutes": round((time.monotonic() - started) / 60, 1),
        }
        figures["runs"][str(seed)] = run
        print(json.dumps({str(seed): run}, indent=1), flush=True)
        (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
