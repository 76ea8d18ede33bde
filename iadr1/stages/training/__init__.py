"""What the training stages share: a run's folder, its data, the model to train, and the way to TRL.

It is no stage itself: `grpo` and `sft` are built on it.
"""
