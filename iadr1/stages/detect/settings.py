"""What a config of `detect` asks for, and what is refused before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iadr1.config import DetectConfig
from iadr1.reports.words import words
from iadr1.stages.inspection import Photo
from iadr1.stages.inspection.setup import check_verdicts, refuse_unread
from iadr1.stages.scoring import read_shard, shard_images


def check_settings(config: DetectConfig, *, engine_given: bool) -> None:
    """Refuse what cannot be, and what would silently be left out.

    Args:
        config: The stage's settings.
        engine_given: The engine is already loaded.

    Raises:
        UsageError: The setting and what to do.
    """
    check_verdicts(config, engine_given=engine_given)
    check_report(config)
    folder_of(config)


def check_report(config: DetectConfig) -> None:
    """Refuse a report in a language that there is not, and a language without a report.

    Raises:
        UsageError: The setting.
    """
    words(config.language)
    if not config.report:
        refuse_unread(config, "language", "no report is written")


def folder_of(config: DetectConfig) -> Path:
    """The folder of this run: `out`, or the shard's folder in it.

    Raises:
        UsageError: The shard is not written I/N with 1 <= I <= N.
    """
    return config.out / read_shard(config.shard).folder if config.shard is not None else config.out


def of_shard(config: DetectConfig, photos: Sequence[Photo]) -> Sequence[Photo]:
    """The photos of the config's shard; all where it has none.

    Raises:
        UsageError: There are fewer photos than shards.
    """
    if config.shard is None:
        return photos
    members = set(shard_images([photo.name for photo in photos], read_shard(config.shard)))
    return [photo for photo in photos if photo.name in members]
