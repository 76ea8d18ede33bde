"""The bridge to TRL: settings, model, callback. The trainer itself is TRL's, unchanged."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iadr1.config import TrainConfig
from iadr1.errors import MissingExtraError, ModelError, UsageError
from iadr1.models import attention
from iadr1.records import RecordWriter
from iadr1.rewards import WeightedReward
from iadr1.stages.grpo.folder import Checkpoint, StepLog, mark_checkpoint

try:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
    from transformers.trainer_callback import PrinterCallback
    from transformers.utils import logging as transformers_logging
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name), "train", purpose="training") from error

# The auto classes carry partial annotations that contradict `output_loading_info`.
_MODEL: Any = AutoModelForImageTextToText
_PROCESSOR: Any = AutoProcessor


def trainer_settings(config: TrainConfig, rewards: list[WeightedReward]) -> Any:
    """TRL's `GRPOConfig` written out from ours; what is not named here is TRL's default.

    Raises:
        MissingExtraError: `config.deepspeed` is given and DeepSpeed is not installed.
        UsageError: Values that TRL refuses.
    """
    if config.deepspeed is not None and importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError("deepspeed", "deepspeed", purpose=f"deepspeed={config.deepspeed}")
    on_cpu = not torch.cuda.is_available()
    try:
        return GRPOConfig(
            output_dir=str(config.out),
            use_cpu=on_cpu,
            bf16=config.bf16,
            gradient_checkpointing=config.gradient_checkpointing,
            deepspeed=str(config.deepspeed) if config.deepspeed is not None else None,
            # The objective.
            loss_type=config.loss,
            beta=config.beta,
            epsilon=config.epsilon,
            scale_rewards=config.scale_rewards,
            reward_weights=[weight for _, _, weight in rewards],
            # Sampling.
            num_generations=config.generations,
            max_completion_length=config.max_new_tokens,
            temperature=config.temperature,
            # Optimisation.
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.gradient_accumulation,
            learning_rate=config.learning_rate,
            lr_scheduler_type=config.lr_schedule,
            max_steps=config.steps,
            shuffle_dataset=False,  # the rows come in the order of `asking_order`
            seed=config.seed,
            data_seed=config.seed,
            dataloader_pin_memory=not on_cpu,
            # Records.
            logging_steps=1,
            logging_first_step=True,
            save_strategy="steps",
            save_steps=config.save_steps,
            save_total_limit=2,
            log_multimodal=False,
            disable_tqdm=True,
            report_to="tensorboard" if importlib.util.find_spec("tensorboard") else "none",
        )
    except ValueError as error:
        raise UsageError(f"these training settings do not fit together: {error}") from error


def load_processor(model: str) -> Any:
    """The model's processor, padding on the left as generation needs it.

    Raises:
        ModelError: There is none.
    """
    try:
        return _PROCESSOR.from_pretrained(model, padding_side="left")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load the processor: {_first_line(error)}", where=model) from error


def load_policy(base: str, config: TrainConfig, checkpoint: Checkpoint | None) -> Any:
    """The model to train, in float32 (with `bf16` the arithmetic is bfloat16, the weights are not).

    On resuming the weights come from the checkpoint's folder through `from_pretrained`: the trainer's own loading
    silently keeps the base weights, because the saved names differ from the module's. DeepSpeed checkpoints are
    restored by DeepSpeed instead, after the base has been loaded.

    Raises:
        ModelError: The model cannot be loaded, or weights are missing from it.
    """
    source = str(checkpoint.path) if checkpoint is not None and config.deepspeed is None else base
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model, report = _MODEL.from_pretrained(
            source,
            dtype=torch.float32,
            attn_implementation=attention(config.attention, device, "bfloat16" if config.bf16 else "float32"),
            output_loading_info=True,
        )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"cannot load the model: {_first_line(error)}", where=source) from error
    if report["missing_keys"] or report["mismatched_keys"]:
        names = ", ".join(sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))[:5])
        raise ModelError(f"weights are missing or of another shape: {names}", where=source)
    # TRL loads the KL term's reference model from this name: it must be the base, not the checkpoint.
    model.config._name_or_path = base
    return model


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def fingerprint(model: Any) -> float:
    """A number that changes when a weight does: each tensor's sum and absolute sum, in double precision."""
    total = 0.0
    for number, tensor in enumerate(model.state_dict().values(), start=1):
        values = tensor.detach().double().flatten()
        total += number * float(values.abs().sum()) + float(values.sum())
    return total


def make_trainer(
    model: Any, settings: Any, *, rows: Any, processor: Any, functions: list[Any], callback: TrainerCallback
) -> Any:
    """TRL's `GRPOTrainer`, without the callback that prints every log line."""
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=functions,
        args=settings,
        train_dataset=rows,
        processing_class=processor,
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class Recorder(TrainerCallback):
    """Writes each step to `log.jsonl`, marks whole checkpoints, and guards the weights of a resumed run.

    Args:
        log: The file, appended to.
        config_hash: Written into the marks.
        on_log: Called with each step's figures, flat.

    Attributes:
        steps: What was logged by this process.
        expected: Fingerprint the weights must have when the first step starts; None where nothing is to be checked.
    """

    def __init__(self, log: Path, *, config_hash: str, on_log: Callable[[dict[str, float]], None] | None) -> None:
        self.log, self.config_hash, self.user_on_log = log, config_hash, on_log
        self.steps: list[StepLog] = []
        self.expected: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check that the trainer left the restored weights alone."""
        if self.expected is not None and fingerprint(kwargs["model"]) != self.expected:
            raise ModelError("the weights of the checkpoint were not restored", where=args.output_dir)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Record one step; the trainer's closing summary holds no reward and is left out."""
        if not logs or "reward" not in logs:
            return
        entry = _step_log(state.global_step, logs)
        self.steps.append(entry)
        if not state.is_world_process_zero:
            return
        with RecordWriter(self.log) as writer:
            writer.write(entry)
        if self.user_on_log is not None:
            self.user_on_log(_flat(entry))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint that has just been written."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            mark_checkpoint(folder, config_hash=self.config_hash, step=state.global_step)


def _step_log(step: int, logs: dict[str, Any]) -> StepLog:
    rewards = {
        name.split("/")[1]: value
        for name, value in logs.items()
        if name.startswith("rewards/") and name.endswith("/mean")
    }
    return StepLog(
        step=step,
        reward=logs["reward"],
        reward_std=logs["reward_std"],
        parse_rate=logs["parse_rate"],
        completion_length=logs["completions/mean_length"],
        clipped=logs["completions/clipped_ratio"],
        loss=logs["loss"],
        grad_norm=logs["grad_norm"],
        learning_rate=logs["learning_rate"],
        entropy=logs["entropy"],
        kl=logs.get("kl"),
        seconds=logs["step_time"],
        rewards=rewards,
    )


def _flat(entry: StepLog) -> dict[str, float]:
    values = entry.model_dump(exclude={"rewards"})
    values |= {f"rewards/{name}": value for name, value in entry.rewards.items()}
    return {name: float(value) for name, value in values.items() if value is not None}


_KNOWN_NOISE = (
    # The trainer's own loading on resume, superseded by load_policy and checked by its fingerprint.
    "There were missing keys in the checkpoint model loaded",
    "There were unexpected keys in the checkpoint model loaded",
    # Which of two orders old checkpoints are deleted in; both are right here.
    "mtime may not be reliable on this filesystem",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and known harmless lines off the terminal; other warnings pass."""
    progress: Any = transformers_logging
    handlers = logging.getLogger("transformers").handlers

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_KNOWN_NOISE)

    bars = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    for handler in handlers:
        handler.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            # TRL and the trainer call each other by names that the next major version renames.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(wanted)
        if bars:
            progress.enable_progress_bar()
