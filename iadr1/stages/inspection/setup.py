"""What the configs of all commands that look at photos have in common: checks, engine, batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from iadr1.config import SERVER_FIELDS, VLLM_FIELDS, InspectConfig, VerdictConfig
from iadr1.errors import UsageError, no_effect
from iadr1.masks import check_segmenter
from iadr1.models import ENGINES, Engine, load_engine, resolve_model
from iadr1.models.choices import check_choice
from iadr1.models.fingerprint import folder_fingerprint
from iadr1.stages.engines import announce, load_options
from iadr1.stages.inspection.calibrated import Calibration, Way, parse_calibration, read_calibration, way_of
from iadr1.stages.inspection.photos import Photo
from iadr1.stages.inspection.references import References
from iadr1.stages.inspection.settings import InspectSettings

_LEAST = {"batch_size": 1, "concurrency": 1, "retries": 0, "requests_per_minute": 0}
_CHUNK = 4
"""Photos handed to a server or to vLLM at a time, as a multiple of the requests under way: a place that becomes free is
taken at once, and does not wait for the slowest of a few."""


def check_config(config: InspectConfig, *, engine_given: bool = False, computes: bool = False) -> None:
    """Refuse values out of range, and settings that were given and that nothing would read.

    Args:
        config: The command's config.
        engine_given: The engine is already loaded, so its settings are not checked.
        computes: Something besides the model is computed here (masks), which reads `device`.

    Raises:
        UsageError: The setting, its value, and why.
    """
    if config.references is not None and config.shots < 1:
        raise UsageError(f"shots is {config.shots}, it must be at least 1", hint="or leave --references out")
    for name, least in _LEAST.items():
        if getattr(config, name) < least:
            raise UsageError(f"{name} is {getattr(config, name)}, it must be at least {least}")
    if not config.timeout_s > 0:
        raise UsageError(f"timeout_s is {config.timeout_s}, it must be above 0")
    for name, why in _unread(config, computes=computes):
        refuse_unread(config, name, why)
    if engine_given:
        return
    if config.engine not in ENGINES:
        raise UsageError(f"no engine {config.engine!r}", hint=f"known engines: {', '.join(ENGINES)}")
    if config.engine == "server" and not config.base_url:
        raise UsageError("the engine 'server' needs --base-url", hint="for example http://localhost:8000/v1")
    if config.engine == "server" and not config.family:
        raise UsageError(
            "a server does not say how its model sees photos and writes boxes",
            hint="name its family with --family, e.g. qwen2_5_vl, or a folder or hub id with its sizes",
        )


def check_verdicts(config: VerdictConfig, *, engine_given: bool = False) -> None:
    """As `check_config`, for commands that draw verdicts and masks.

    Raises:
        UsageError: The setting, its value, and why.
    """
    check_config(config, engine_given=engine_given, computes=config.masks)
    _inspect_settings(config)
    check_segmenter(config.segmenter)
    rules: list[tuple[tuple[str, ...], bool, str]] = [
        (("segmenter",), not config.masks, "nothing is drawn without masks, add --masks"),
        (("masks",), config.mode == "direct", "the mode 'direct' gives no boxes to draw masks in"),
        (("masks",), config.reasoning == "structured", "structured answers hold no boxes to draw masks in"),
        (("reasoning", "max_new_tokens"), config.mode == "direct", "in the mode 'direct' the model writes nothing"),
        (("threshold", "calibration"), config.mode == "think", "the mode 'think' goes by what the model writes"),
        (("threshold",), config.calibration is not None, "the calibration has one"),
    ]
    for names, unread, why in rules:
        for name in names:
            if unread:
                refuse_unread(config, name, why)
    if config.calibration is not None:  # whether it is for this model shows when that is loaded
        parse_calibration(config.calibration)


def settings_of(config: VerdictConfig, engine: Engine) -> InspectSettings:
    """How the photos are inspected, with the calibration's threshold and band where there is one.

    Raises:
        UsageError: The calibration cannot be read, or belongs to another model or another way of asking.
    """
    return calibrated(config, calibration_of(config, engine))


def calibration_of(
    config: VerdictConfig, engine: Engine, *, photos: Sequence[Photo] = (), references: References | None = None
) -> Calibration | None:
    """The calibration that a config names; None where it names none.

    Args:
        config: The command's config.
        engine: The model, loaded.
        photos: All photos of the run, where they are known; without them no pairs of photo and reference are seen.
        references: Those of the config, where they have been looked at.

    Raises:
        UsageError: It cannot be read, or belongs to another model or another way of asking.
    """
    if config.calibration is None:
        return None
    references = references or references_of(config)
    return read_calibration(config.calibration, way_of(engine, _inspect_settings(config), references, photos))


def check_way(
    config: VerdictConfig,
    engine: Engine | None,
    references: References | None,
    *,
    photos: Sequence[Photo] = (),
) -> None:
    """Refuse, before the model is loaded, one that is not there and a calibration of another way of asking.

    What only a loaded model tells (its number format with `--dtype auto`, its photo sizes, the revision of a hub id) is
    compared when it is loaded, by `calibration_of`.

    Args:
        config: The command's config, checked.
        engine: A loaded engine instead of the one `config` names.
        references: Those of the config.
        photos: All photos of the run, where they are known; without them no pairs of photo and reference are seen.

    Raises:
        UsageError: In what the calibration differs.
        ModelError: There is no such model, device or number format.
    """
    if engine is None:
        check_choice(config.engine, config.model, load_options(config))
    if config.calibration is None:
        return
    if engine is not None:
        calibration_of(config, engine, photos=photos, references=references)
        return
    settings = _inspect_settings(config)
    known = {"engine": config.engine, "shots": settings.shots, "tiles": settings.tiles, "digest": settings.score_digest}
    if config.dtype != "auto":
        known["dtype"] = config.dtype
    folder = resolve_model(config.model) if config.engine in ("local", "vllm") else None
    if isinstance(folder, Path):
        known["fingerprint"] = folder_fingerprint(folder)
    known["references"] = references.digest if references is not None else ""
    known["paired"] = references is not None and references.paired(photos)
    found = parse_calibration(config.calibration)
    read_calibration(config.calibration, Way(**{name: getattr(found, name) for name in Way.model_fields} | known))


def calibrated(config: VerdictConfig, found: Calibration | None) -> InspectSettings:
    """How the photos are inspected, with a calibration's threshold and band."""
    settings = _inspect_settings(config)
    return settings if found is None else settings.calibrated(found.threshold, found.band, found.key)


def _inspect_settings(config: VerdictConfig) -> InspectSettings:
    return InspectSettings(
        mode=config.mode,
        reasoning=config.reasoning,
        shots=config.shots if config.references is not None else 0,
        tiles=config.tiles,
        max_new_tokens=config.max_new_tokens,
        threshold=config.threshold,
    )


def refuse_unread(config: InspectConfig, name: str, why: str) -> None:
    """Refuse a setting that is not at its default, because nothing would read it.

    Raises:
        UsageError: It is not.
    """
    default = next(item.default for item in dataclasses.fields(config) if item.name == name)
    value = getattr(config, name)
    if value != default:
        raise no_effect(name, value, why)


def _unread(config: InspectConfig, *, computes: bool) -> Iterator[tuple[str, str]]:
    chosen = f"the engine is {config.engine!r}"
    rules: list[tuple[tuple[str, ...], bool, str]] = [
        (SERVER_FIELDS, config.engine != "server", f"it is for --engine server, {chosen}"),
        (VLLM_FIELDS, config.engine != "vllm", f"it is for --engine vllm, {chosen}"),
        (("attention",), config.engine != "local", f"it is for --engine local, {chosen}"),
        (("dtype",), config.engine not in ("local", "vllm"), f"it is for --engine local and vllm, {chosen}"),
        (("device",), config.engine == "vllm" and not computes, "vLLM takes the GPUs of CUDA_VISIBLE_DEVICES"),
        (("device",), config.engine != "local" and not computes, "nothing is computed here"),
        (("batch_size",), config.engine == "server", "a server is asked as much at a time as --concurrency says"),
        (("shots",), config.references is None, "add --references"),
    ]
    for names, unread, why in rules:
        yield from ((name, why) for name in names if unread)


def references_of(
    config: InspectConfig, on_note: Callable[[str], None] | None = None, *, out: Path | None = None
) -> References | None:
    """The photos of good products that a config names; None where it names none.

    Args:
        config: The command's config.
        on_note: Told, in a line, how many of the files cannot be read.
        out: The folder of the results, which may lie in that of the references.

    Raises:
        UsageError: The folder is missing or holds no images, or the file is none.
    """
    if config.references is None:
        return None
    references = References(config.references, shots=config.shots, out=out)
    if on_note is not None and (damaged := references.damaged):
        on_note(f"{len(damaged)} of the references cannot be read and are left out, the first: {damaged[0]}")
    return references


def engine_of(config: InspectConfig, on_note: Callable[[str], None] | None = None) -> Engine:
    """The engine of a config, loaded.

    Args:
        config: The command's config.
        on_note: Told, in a line, which model is about to be loaded.

    Raises:
        ModelError: It cannot be loaded.
    """
    announce(config, on_note)
    return load_engine(config.engine, config.model, load_options(config))


def photos_at_a_time(config: InspectConfig) -> int:
    """How many photos are in memory at a time; `loading.BATCH_PIXELS` may close a batch earlier."""
    if config.engine == "server":
        return _CHUNK * config.concurrency
    return _CHUNK * config.batch_size if config.engine == "vllm" else config.batch_size
