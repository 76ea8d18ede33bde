"""Stopping a run whose weights are no numbers any more, before a checkpoint of them replaces a good one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

from iadr1.errors import ModelError


class Guard(TrainerCallback):
    """Looks at the trained weights after each step: one pass over them, one number back from the device.

    Without it the next answers would be drawn from probabilities that are NaN, which ends in torch's own error on the
    CPU and in an unusable device on a GPU, after the trainer may have saved such weights.

    Args:
        on_loss: Called with the step before the run is stopped.
    """

    def __init__(self, on_loss: Callable[[int], None]) -> None:
        self._on_loss = on_loss

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Check the weights; what the step has logged is not written yet.

        Raises:
            ModelError: A weight is NaN, infinite, or too large to compute with.
        """
        if weights_are_finite(model):
            return
        self._on_loss(state.global_step)
        raise ModelError(
            f"step {state.global_step} made weights that are NaN or beyond bounds, so the run stops here",
            where=args.output_dir,
            hint="lower learning_rate or max_grad_norm, add warmup_steps, train in bf16 or float32, check the reward "
            "for extreme values; start from a checkpoint in the folder with --model and another --out",
        )


def weights_are_finite(model: Any) -> bool:
    """Whether all trained weights of a model are, and their squares: beyond that nothing can be computed with them.

    Of a ZeRO-3 model this process's share is looked at.
    """
    shares = (getattr(weight, "ds_tensor", weight) for weight in model.parameters() if weight.requires_grad)
    norms = [torch.linalg.vector_norm(share.detach(), dtype=torch.float32) for share in shares]
    return not norms or bool(torch.stack(norms).isfinite().all())
