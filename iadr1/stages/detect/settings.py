"""What a config of `detect` asks for, and what is refused before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iadr1.config import DetectConfig
from iadr1.masks import check_segmenter
from iadr1.reports.words import words
from iadr1.stages.inspection import InspectSettings, Photo, read_calibration
from iadr1.stages.inspection.setup import check_config, refuse_unread
from iadr1.stages.scoring import read_shard, shard_images


def check_settings(config: DetectConfig, *, engine_given: bool) -> None:
    """Refuse what cannot be, and what would silently be left out.

    Args:
        config: The stage's settings.
        engine_given: The engine is already loaded.

    Raises:
        UsageError: The setting and what to do.
    """
    check_config(config, engine_given=engine_given, computes=config.masks)
    _inspect_settings(config)
    check_segmenter(config.segmenter)
    words(config.language)
    folder_of(config)
    rules: list[tuple[tuple[str, ...], bool, str]] = [
        (("segmenter",), not config.masks, "nothing is drawn without masks, add --masks"),
        (("masks",), config.mode == "direct", "the mode 'direct' gives no boxes to draw masks in"),
        (("masks",), config.reasoning == "structured", "structured answers hold no boxes to draw masks in"),
        (("reasoning", "max_new_tokens"), config.mode == "direct", "in the mode 'direct' the model writes nothing"),
        (("threshold", "calibration"), config.mode == "think", "the mode 'think' goes by what the model writes"),
        (("threshold",), config.calibration is not None, "the calibration has one"),
        (("language",), not config.report, "no report is written"),
    ]
    for names, unread, why in rules:
        for name in names:
            if unread:
                refuse_unread(config, name, why)


def settings_of(config: DetectConfig, fingerprint: str) -> InspectSettings:
    """How the photos are inspected, with the calibration's threshold and band where there is one.

    Raises:
        UsageError: The calibration cannot be read, or belongs to another model or another way of asking.
    """
    settings = _inspect_settings(config)
    if config.calibration is None:
        return settings
    found = read_calibration(config.calibration, fingerprint=fingerprint, digest=settings.score_digest)
    return settings.calibrated(found.threshold, found.band, found.key)


def _inspect_settings(config: DetectConfig) -> InspectSettings:
    return InspectSettings(
        mode=config.mode,
        reasoning=config.reasoning,
        shots=config.shots if config.references is not None else 0,
        tiles=config.tiles,
        max_new_tokens=config.max_new_tokens,
        threshold=config.threshold,
    )


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
