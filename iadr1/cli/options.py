"""The options of all commands: each text stands here once, each default is read from the command's config.

An option that was not given is None, so that a recipe's value or the config's default holds.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from iadr1.config import SERVER_FIELDS, VLLM_FIELDS
from iadr1.errors import UsageError

_TEXTS: Mapping[str, str] = {
    "root": "Folder that the image paths of the data are relative to.",
    "seed": "Seed of everything random; the same seed gives the same result.",
    "annotations": "The JSON with the truth, for sets that keep it apart from the images.",
    "missing": "Samples whose files are absent: `error` refuses the set, `skip` leaves them out, `keep` marks them.",
    "split": "Only these splits of the set, separated by commas.",
    "category": "Only these categories, separated by commas.",
    "commercial_only": "Only data whose licence permits commercial use.",
    "download": "First fetch the set into --root from the Hugging Face hub, where it has a copy there.",
    "size": "Images to choose (fewshot only).",
    "per_class": "At least and at most so many images of a class, written MIN..MAX (fewshot only).",
    "normal_share": "Share of normal images, 0..1 (fewshot and --variety); of tiles without a defect, below 1 (crops).",
    "mirror": "Also write each picture mirrored left to right, top to bottom, and both (crops only).",
    "group": "Regular expression for the part of a path that tells which piece is shown (source split).",
    "share": "Share of the images for the training part (source split).",
    "fewshot_images": "Images of the few-shot training set (synthetic only).",
    "eval_images": "Images of each evaluation set (synthetic only).",
    "photos": "Sample photos written to images/ (synthetic only).",
    "variety": "Draw so many scenes for training instead: more products, each scene another look (synthetic only).",
    "side": "Side of the photos in pixels (--variety only).",
    "reference_every": "Every N-th scene has a photo of a good product beside it, 0 for none (--variety only).",
    "workers": "Processes that draw, 0 for one on each core (--variety only).",
    "model": "`tiny` (embedded), a folder, or a hub id such as Qwen/Qwen2.5-VL-3B-Instruct.",
    "engine": (
        "How the model is run: `local` (transformers, in this process), `server` (any OpenAI-compatible one), `vllm` "
        "(in this process, where it is installed) or `replay` (answers from the JSONL file that --model names)."
    ),
    "protocol": "How questions are asked: a name of `iadr1 protocols ls` or a YAML file (default: the benchmark's).",
    "template": "Which normal images are shown: `random` or `similar` ones (default: the protocol's).",
    "domain_knowledge": "Give what is known about the product and its defects with each question.",
    "option_order": "`none`, `seeded` (permuted by question and seed) or `circular` (every rotation is asked).",
    "scoring": "`text` reads what the model writes, `logprob` takes the most probable option.",
    "shard": "Only part I of N, written I/N from 1; `iadr1 score` joins the parts.",
    "export": "Write a task folder for another suite and ask nothing: `lmms-eval`.",
    "base_url": "Address of the server's API, for example http://localhost:8000/v1.",
    "key_env": "Environment variable whose content, if any, is sent to the server as key.",
    "family": "Family of the served model, for example qwen2_5_vl, or a folder or hub id with its sizes; for boxes.",
    "concurrency": "Most requests to the server at a time.",
    "timeout_s": "Seconds until a request to the server counts as lost.",
    "retries": "How often a request is sent again after a failure that may pass.",
    "requests_per_minute": "Most requests to the server begun in a minute; 0 for no limit.",
    "tensor_parallel_size": "GPUs that the weights are spread over.",
    "gpu_memory_utilization": "Share of each GPU's memory that is taken.",
    "max_model_len": "Longest prompt and answer together, in tokens; a smaller one takes less memory.",
    "price_prompt": "Price of a million prompt tokens; with it the cost is told.",
    "price_completion": "Price of a million tokens written.",
    "data": "Samples to use, a JSONL file written by `iadr1 prepare`.",
    "reward": (
        "What is rewarded: `roam` (AnomalyR1: answers count with their reasons), any other name of `iadr1 rewards ls`, "
        "a weighted sum such as roam=1,format=0.1, or your own as package.module:function."
    ),
    "shots": "Images of a normal product shown before each photo.",
    "steps": "Training steps.",
    "vision_steps": "The first of them, which train the vision tower alone on masks and boxes.",
    "epochs": "Rounds over the data, instead of --steps.",
    "learning_rate": "Step size of the optimiser.",
    "answer_format": "How yes/no samples are answered: `structured`, `boxes`, `direct`, or several: boxes,direct.",
    "nproc": "Processes on this machine, one for each GPU.",
    "deepspeed": "`zero2`, `zero3` or a DeepSpeed JSON file: spreads the model's state over the processes.",
    "push_to_hub": "Push the trained model to this private repository of the Hugging Face hub, OWNER/NAME.",
    "resume": "`auto` goes on with a run that was stopped, `never` refuses a folder that holds one.",
    "limit": "Use only N samples.",
    "leaks": "What the model was trained on: a leak manifest, or the folder of the training run.",
    "allow_leaks": "Score images that the model was trained on too, and say so beside every figure.",
    "batch_size": "How many are worked on at once; lower it when memory runs out.",
    "max_new_tokens": "Longest answer, in tokens.",
    "device": "`auto`, `cpu`, `cuda` or `cuda:1`.",
    "dtype": "Number format of the weights: `auto`, `float32`, `bfloat16`, `float16`.",
    "attention": "`auto`, `sdpa`, `eager` or `flash_attention_2` (NVIDIA only, needs the extra `flash`).",
    "references": "Folder of photos of normal products, matched by path and folder, else the most similar ones.",
    "mode": "`direct` only scores, `think` reasons about each photo, `two-pass` about those with a suspicious score.",
    "reasoning": "`boxes` (AnomalyR1's answers) or `structured` (IAD-R1's: place, kind and verdict, no boxes).",
    "threshold": "Scores above it are anomalous (default: 0.5).",
    "calibration": "Take threshold and uncertain band from this file of `iadr1 calibrate`.",
    "tiles": "Look at parts of large photos as well: `off`, `auto`, or columns x rows such as 3x2.",
    "anomalies": "Folder of photos of bad products, to say how many the threshold finds.",
    "fpr": "Share of good products that may be called anomalous.",
    "scenes": "Pictures of the self-test of the model's boxes, at least 8; 0 leaves it out.",
    "glob": "Only photos whose file name matches, for example '*_test.jpg'; quote it.",
    "masks": "Draw the outline of every defect.",
    "segmenter": "What draws the masks: `tiny-sam2` (embedded), `grabcut` (no weights), or a SAM 2 folder or hub id.",
    "overlays": "Write the photos with verdict, boxes and masks drawn on them.",
    "report": "Write report.html, one file to open, mail or sign.",
    "language": "Language that the report opens in: `en`, `de` or `zh`.",
    "host": "Address to listen on; one that other machines reach needs --token-env or --no-token.",
    "port": "Port to listen on; 0 for any that is free.",
    "queue": "Most requests in the house beside the batch that is worked on; the next one is told to come again (429).",
    "max_wait_ms": "Longest wait for a batch to fill, in milliseconds.",
    "deadline_s": "Seconds from a request's arrival until it is given up (504).",
    "max_mb": "Longest request, in megabytes (413).",
    "max_megapixels": "Largest photo, in millions of pixels (413).",
    "token_env": "Environment variable with the token that requests have to bring as `Authorization: Bearer`.",
    "no_token": "Let everybody who reaches --host send photos.",
    "log": "Append a line for each request to this JSONL file.",
    "join": "Look at nothing: join the shards in --out, which are all there, into one folder with one report.",
    "overwrite": "Start anew instead of skipping photos that already have a result in --out.",
}

_KEY_TEXTS: Mapping[str, str] = {
    "epochs": "rounds over the data, instead of steps",
    "shots": "images of a normal product shown before each photo",
    "max_pixels": "largest input image in pixels, below the model's own limit",
    "gradient_accumulation": "batches added up before the weights change",
    "lr_schedule": "how the step size changes: constant, linear, cosine ...",
    "warmup_steps": "steps over which the step size rises",
    "weight_decay": "how far the weights are pulled to zero",
    "max_grad_norm": "longer gradients are shortened to this; 0 does not",
    "freeze": "parts that stay as they are: vision, projector, language",
    "lora_rank": "rank of LoRA adapters; 0 trains the weights themselves",
    "lora_alpha": "LoRA updates are scaled by lora_alpha / lora_rank",
    "lora_dropout": "dropout before the adapters",
    "lora_parts": "parts that get adapters: vision, projector, language",
    "iterations": "optimizer passes over each batch of answers",
    "beta": "how strongly the model is held near the one it starts from",
    "epsilon": "how far one step may change an answer's likelihood",
    "epsilon_high": "the same upwards, where it differs (clip-higher)",
    "temperature": "how varied the answers are",
    "top_p": "answers are drawn from the likeliest tokens of this joint probability",
    "top_k": "and from at most so many likeliest tokens; 0 sets no limit",
    "loss": "grpo, dapo, dr_grpo, bnpo, cispo or sapo",
    "scale_rewards": "spread that rewards are divided by: group, batch or none",
    "importance": "likelihood ratios by token, or by sequence (GSPO)",
    "mask_truncated": "leave answers that were cut off out of the loss",
    "difficulty": "answers drawn to drop questions whose answers all get one reward; 0 keeps all",
    "completions": "write the answers of every step to completions/",
    "vision_cache": "look at each image once, not once per answer",
    "vllm": "off, colocate or server: let vLLM write the answers",
    "vllm_url": "address of the vLLM server",
    "lessons": "questions about each image of a step",
    "bare_boxes": "ask for the boxes of each image behind the image alone as well",
    "drills": "questions without an image in each step, to practise finding a text among options",
    "formats": "shares of the formats that verdicts are written in: boxes, structured, direct",
    "dense": "weight of the masks and boxes beside the answers",
    "reference_share": "share of the steps that show a photo of a good product first",
    "muon_rate": "step size of Muon, for matrices; the other one is AdamW's",
    "whiten": "start the patch embedding from the pictures' principal components",
    "threads": "processor cores to use",
    "shares": "how often each data file is drawn from, such as [2, 1]; equally where empty",
    "width": "channels of the encoder's first stage",
    "hidden": "channels of the mask decoder",
    "context": "size of the crop shown of a box, in boxes",
    "stretch": "how far the crop of a long box may be stretched",
    "min_side": "smallest side of a crop, in pixels of the photo",
    "jitter": "how far each side of a box is moved, as a share of the box's size",
    "threshold": "pixels with a logit above it are the defect's",
    "average": "decay of the running average of the weights, which is what is kept",
    "log_steps": "steps between lines of the log",
    "vocabulary": "tokens of the tokenizer, besides the special ones",
    "vision_depth": "blocks of the vision tower",
    "vision_width": "width of the vision tower",
    "vision_heads": "attention heads of the vision tower",
    "vision_mlp": "inner width of its feed-forward layers",
    "text_layers": "layers of the language model",
    "text_width": "width of the language model",
    "text_heads": "attention heads of the language model",
    "text_kv_heads": "heads of its keys and values",
    "text_mlp": "inner width of its feed-forward layers",
    "rope_theta": "base of the rotary positions; low, so that few rows and columns differ",
    "mrope_section": "rotary frequencies for time, row and column",
    "numbers": "one token for each whole number up to side, near numbers alike",
    "circuits": "attention begins as looking back and finding the same token again",
    "vision": "model whose vision tower is taken over",
    "bf16": "compute in bfloat16",
    "gradient_checkpointing": "less memory, slower",
    "log_to": "tensorboard, wandb, trackio or none",
    "save_steps": "steps between checkpoints",
}
"""What the help says about settings that are a key but no option."""


def option(config: type, field: str, *names: str, text: str | None = None) -> Any:
    """The Typer option of one config field, with the config's default shown in the help; a flag takes no value.

    Args:
        config: The command's config dataclass.
        field: The field's name; the option is `--field` unless `names` says otherwise.
        names: Names of the option, for example `--masks/--no-masks`.
        text: Help text, for a field that means something else in every command.
    """
    default = next(item.default for item in dataclasses.fields(config) if item.name == field)
    is_flag = typing.get_type_hints(config)[field] in (bool, bool | None)
    if isinstance(default, bool):
        # What can be switched on only is off by default.
        shown = f" (default: {'on' if default else 'off'})" if "/" in "".join(names) else ""
    else:
        shown = "" if default in (None, "") else f" (default: {default})"
    return typer.Option(
        *(names or (f"--{field.replace('_', '-')}",)),
        help=(text or _TEXTS[field]) + shown,
        show_default=False,
        metavar="" if is_flag else None,
    )


SHOTS = "Reference photos shown before each photo."
"""The text of `shots` where it belongs to `references`."""


def server_options(config: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator that adds the options of the engines `server` and `vllm` behind a command's own, in panels of theirs.

    The command takes them as `**server`: by field, None where an option was not given.

    Args:
        config: The command's config dataclass, which has all of `config.SERVER_FIELDS` and `config.VLLM_FIELDS`.
    """
    panels = {
        **dict.fromkeys(SERVER_FIELDS, "With --engine server"),
        **dict.fromkeys(VLLM_FIELDS, "With --engine vllm"),
    }

    def add(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        hints = typing.get_type_hints(config)
        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[hints[name] | None, _in_panel(option(config, name), panel)],
            )
            for name, panel in panels.items()
        ]
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        # What Typer reads the options from.
        vars(command)["__signature__"] = signature.replace(parameters=[*own, *added])
        return command

    return add


def _in_panel(option: Any, panel: str) -> Any:
    option.rich_help_panel = panel
    return option


def key_values() -> Any:
    """The Typer argument for `KEY=VALUE` settings after the command's first word."""
    return typer.Argument(metavar="KEY=VALUE", help="Settings to change; the keys stand below.", show_default=False)


def keys_text(config: type, parameters: Collection[str]) -> str:
    """What a command's help says about its keys: first those that are parameters too, then one a line with default.

    Args:
        config: The command's config dataclass.
        parameters: The names of the command's parameters.
    """
    fields = dataclasses.fields(config)
    named = ", ".join(item.name for item in fields if item.name in parameters)
    others = {
        f"{item.name}={_as_yaml(item.default)}": _KEY_TEXTS.get(item.name) or _TEXTS[item.name]
        for item in fields
        if item.name not in parameters
    }
    text = f"KEY is a name from above, with _ for -: {named}"
    if not others:
        return f"{text}."
    width = max(map(len, others))
    return "\n".join([f"{text}; or one of these:\n", *(f"{key:<{width}}  {told}" for key, told in others.items())])


def _as_yaml(value: object) -> str:
    """A default as it would be typed after `KEY=`."""
    if value is None:
        return "null"
    if value == "":
        return '""'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def split_words(first: str | None, words: list[str] | None, *, leading: str) -> tuple[str | None, list[str]]:
    """Split `[NAME] [KEY=VALUE ...]` into the name (None where absent, so that `first` is a setting) and the overrides.

    Args:
        first: The first word of the command line, which is the name where it is not a setting.
        words: The words after it.
        leading: What the name names, for the message.

    Raises:
        UsageError: A word after the first is not of the form KEY=VALUE.
    """
    rest = [*([] if first is None else [first]), *(words or [])]
    name = rest.pop(0) if rest and "=" not in rest[0] else None
    for word in rest:
        if "=" not in word:
            raise UsageError(f"{word!r} is neither the {leading}, which comes first, nor of the form KEY=VALUE")
    return name, rest


def check_suffix(path: Path | None, *suffixes: str, name: str = "--out") -> None:
    """Make sure that a file to be written has the name of such a file, so that nobody's photo or script is replaced.

    Raises:
        UsageError: It ends otherwise.
    """
    if path is not None and path.suffix.lower() not in suffixes:
        raise UsageError(f"{name} {str(path)!r} does not end in {' or '.join(suffixes)}")
