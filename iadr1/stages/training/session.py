"""One training run from its settings to its saved model, whatever the trainer: what GRPO and SFT do alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from iadr1.config import TrainingConfig
from iadr1.errors import UsageError
from iadr1.models.base import Profile
from iadr1.models.parts import PartRow
from iadr1.models.processors import make_ready
from iadr1.models.profiles import profile_of
from iadr1.stages.training import policy, processes
from iadr1.stages.training.folder import Checkpoint
from iadr1.stages.training.recorder import Recorder
from iadr1.stages.training.saving import clear_errors

Note = Callable[[str], None]
"""Called with a line the user should see."""


@dataclass(frozen=True)
class Loaded:
    """What is there before the trainer: the model, its processor, and where to go on from."""

    model: Any
    processor: Any
    profile: Profile
    checkpoint: Checkpoint | None

    @property
    def done(self) -> int:
        """Steps an earlier call has done."""
        return self.checkpoint.step if self.checkpoint else 0


def load(config: TrainingConfig, base: str, checkpoint: Checkpoint | None) -> Loaded:
    """Model and processor, from the base or the checkpoint, and the family's profile within `config.max_pixels`.

    To be called once the trainer's settings are made, which join the processes and start DeepSpeed.

    Raises:
        ModelError: They cannot be loaded.
        UsageError: `max_pixels` is less than the model takes, or the launcher's processes are not joined.
    """
    processes.check_joined()
    model = policy.load_policy(base, config, checkpoint)
    processor = make_ready(model, policy.load_processor(base))
    profile = profile_of(model.config, processor)
    if config.max_pixels is not None:
        if config.max_pixels < profile.min_pixels:
            raise UsageError(f"max_pixels is {config.max_pixels}, the model's least is {profile.min_pixels}")
        profile = replace(profile, max_pixels=min(config.max_pixels, profile.max_pixels))
    return Loaded(model, processor, profile, checkpoint)


def finish(
    trainer: Any, config: TrainingConfig, loaded: Loaded, *, recorder: Recorder[Any], steps: int, note: Note
) -> list[PartRow]:
    """Train what is left of `steps`, save the model to `config.out/model`, and give the table of its parts.

    Raises:
        ModelError: Other parts are trainable than asked for, or a checkpoint's weights were not restored.
        OutputError: The disk is full; the last whole checkpoint stays.
    """
    table = policy.check_parts(trainer.model, config)
    for row in table:
        note(f"{row.part:<10} {row.parameters:>14,} parameters, {row.trainable:>14,} trained")
    with clear_errors(config.out):
        if loaded.checkpoint is None:
            trainer.train()
        elif loaded.done < steps or policy.restored_by_trainer(config):
            note(f"going on from step {loaded.done}: {loaded.checkpoint.path}")
            if not policy.restored_by_trainer(config):
                recorder.expected = policy.fingerprint(loaded.model)
            # With all steps done this only restores the weights.
            trainer.train(resume_from_checkpoint=str(loaded.checkpoint.path))
        trainer.save_model(str(config.out / "model"))
    return table
