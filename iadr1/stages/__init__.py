"""The stages: one file for each command, and the only place where data, models, rewards and metrics meet."""
