"""iadr1: industrial anomaly detection with vision-language models, from photos to a signed report.

The package works on JSONL files of one record type each (`iadr1.records`); every command is one
frozen config (`iadr1.config`) handed to one function in `iadr1.stages`.
"""

__version__ = "0.1.0"
