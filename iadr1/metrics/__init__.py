"""The metrics: numbers in, numbers out. A metric knows no file, no model and no prompt."""
