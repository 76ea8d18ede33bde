"""The bridge to TRL's `SFTTrainer`, which is used unchanged."""

from __future__ import annotations

from typing import Any

from iadr1.config import SftConfig
from iadr1.errors import MissingExtraError, UsageError
from iadr1.stages.training.settings import common_settings

try:
    from transformers import TrainerCallback
    from transformers.trainer_callback import PrinterCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name), "train", purpose="training") from error


def trainer_settings(config: SftConfig, *, steps: int) -> Any:
    """TRL's `SFTConfig` written out from ours; what is not named here is TRL's default.

    Raises:
        MissingExtraError: A package that the settings ask for is not installed.
        UsageError: Values that TRL refuses.
    """
    try:
        return SFTConfig(
            **common_settings(config, steps=steps),
            # The rows come in the order of `asking_order`; a resumed run goes on in it.
            train_sampling_strategy="sequential",
            # A prompt cut short would lose image tokens.
            max_length=None,
            remove_unused_columns=False,  # the rows are made when they are drawn
        )
    except ValueError as error:
        raise UsageError(f"these training settings do not fit together: {error}") from error


def make_trainer(
    model: Any, settings: Any, *, rows: Any, processor: Any, callback: TrainerCallback, peft_config: Any
) -> Any:
    """TRL's `SFTTrainer`, without the callback that prints every log line."""
    trainer: Any = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=rows,
        processing_class=processor,
        callbacks=[callback],
        peft_config=peft_config,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda *_, **__: None  # ours says more, and lies beside the weights
    return trainer
