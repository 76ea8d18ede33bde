"""`iadr1 prepare`: data sets become JSONL files of samples; without a source, the synthetic world is made."""

from __future__ import annotations

from iadr1.config import PrepareConfig
from iadr1.datasets import SOURCES
from iadr1.errors import UsageError, nearest
from iadr1.stages.prepare.derived import DERIVED
from iadr1.stages.prepare.download import download
from iadr1.stages.prepare.real import prepare_source
from iadr1.stages.prepare.summary import PrepareSummary, Progress
from iadr1.stages.prepare.variety import prepare_variety
from iadr1.stages.prepare.world import prepare_world

__all__ = ["PrepareSummary", "Progress", "run"]

SYNTHETIC = "synthetic"

_OPTIONS_OF_WORLD = ("out", "seed", "fewshot_images", "eval_images", "photos", "variety")
_OPTIONS_OF_VARIETY = (
    "out", "seed", "variety", "side", "normal_share", "reference_every", "category", "workers",
)  # fmt: skip
_OPTIONS_OF_SETS = ("root", "out", "missing", "split", "category", "commercial_only", "download")


def run(config: PrepareConfig, *, progress: Progress | None = None) -> PrepareSummary:
    """Prepare samples as the config says.

    Args:
        config: Source, folders, and what the source takes.
        progress: Called after each scene, or each sample, made.

    Raises:
        UsageError: Unknown source, a missing or superfluous option, a value out of range.
        DataError: The source's folder is not what it should be.
        OutputError: A file is in the way, or cannot be written.
    """
    report = progress or (lambda stage, done, total: None)
    if config.source == SYNTHETIC and config.variety:
        _refuse_unused(config, _OPTIONS_OF_VARIETY)
        return prepare_variety(config, report)
    if config.source == SYNTHETIC:
        _refuse_unused(config, _OPTIONS_OF_WORLD)
        return prepare_world(config, report)
    derived = DERIVED.get(config.source)
    if derived is not None and (config.data or config.source not in SOURCES):
        _refuse_unused(config, derived.options)
        return derived.make(config, report)
    if config.source not in SOURCES:
        known = dict.fromkeys([SYNTHETIC, *SOURCES, *DERIVED])
        raise UsageError(f"no source {config.source!r}", hint=nearest(config.source, known))
    source = SOURCES[config.source]
    _refuse_unused(config, (*_OPTIONS_OF_SETS, *source.options))
    if config.download:
        download(config.source, source, config.root, report)
    return prepare_source(config, source, report)


def _refuse_unused(config: PrepareConfig, used: tuple[str, ...]) -> None:
    """An option that this source does not read would be a lie."""
    default = PrepareConfig()
    given = [
        name
        for name, value in vars(config).items()
        if name not in ("source", *used) and value != getattr(default, name)
    ]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        takes = ", ".join(f"--{name.replace('_', '-')}" for name in used)
        raise UsageError(f"the source {config.source!r} has no use for {options}", hint=f"it takes {takes}")
