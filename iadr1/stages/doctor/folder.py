"""Whether a model's folder is whole, without loading it: config, weights, processor, chat template, licence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from iadr1.errors import ModelError
from iadr1.licences import permits_commercial
from iadr1.models.card import stated_licence, trained_card
from iadr1.models.files import AGAIN, processor_files, read_object
from iadr1.models.profiles import PROFILES, check_family
from iadr1.stages.doctor.rows import Row, attempt, gib

_GROUP = "model"
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_POINTER = b"version https://git-lfs"
_MOST_HEADER = 100_000_000  # bytes; the limit of the safetensors library


def folder_rows(folder: Path) -> list[Row]:
    """Five rows: family, weights, processor, chat template, licence."""
    checks = {
        "family": _family,
        "weights": _weights,
        "processor": _processor,
        "chat template": _template,
        "licence": _licence,
    }
    return [attempt(_GROUP, name, lambda name=name, check=check: check(name, folder)) for name, check in checks.items()]  # type: ignore[misc]


def _family(name: str, folder: Path) -> Row:
    family = check_family(read_object(folder / "config.json").get("model_type"), where="config.json")
    profile = PROFILES[family]
    return Row(_GROUP, name, "ok", f"{family}, boxes in {profile.box_space.value}")


# weights


def _weights(name: str, folder: Path) -> Row:
    index = next((folder / file for file in _INDEXES if (folder / file).is_file()), None)
    if index is not None:
        wanted: dict[str, set[str]] = {}
        for tensor, file in dict(read_object(index).get("weight_map", {})).items():
            wanted.setdefault(str(file), set()).add(tensor)
    else:
        wanted = {file: set() for file in _SINGLE if (folder / file).is_file()}
    if not wanted:
        raise ModelError(f"no weights: none of {', '.join((*_INDEXES, *_SINGLE))}", hint=AGAIN)
    faults = [fault for file, tensors in sorted(wanted.items()) for fault in _shard_faults(folder / file, tensors)]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ModelError(f"{'; '.join(faults[:3])}{more}", hint=AGAIN)
    total = sum((folder / file).stat().st_size for file in wanted)
    return Row(_GROUP, name, "ok", f"{len(wanted)} file{'s' if len(wanted) > 1 else ''}, {gib(total)}, all there")


def _shard_faults(path: Path, tensors: set[str]) -> Iterator[str]:
    """What is wrong with one file of weights; a safetensors file says itself how long it must be."""
    if not path.is_file():
        yield f"{path.name} is missing"
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(max(8, len(_POINTER)))
        if start.startswith(_POINTER):
            yield f"{path.name} is a Git LFS pointer, not the file"
            return
        if path.suffix != ".safetensors":
            if not size:
                yield f"{path.name} is empty"
            return
        length = int.from_bytes(start[:8], "little")
        if len(start) < 8 or not 0 < length <= min(size, _MOST_HEADER):
            yield f"{path.name} is no safetensors file, or was cut off"
            return
        file.seek(8)
        header = file.read(length)
    yield from _header_faults(path, header, tensors, size=size)


def _header_faults(path: Path, header: bytes, tensors: set[str], *, size: int) -> Iterator[str]:
    try:
        entries = {key: value for key, value in json.loads(header).items() if key != "__metadata__"}
        end = 8 + len(header) + max((value["data_offsets"][1] for value in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        yield f"{path.name} has a broken header"
        return
    if size < end:
        yield f"{path.name} was cut off: {gib(size)} of {gib(end)}"
    if missing := sorted(tensors - set(entries)):
        yield f"{path.name} lacks {len(missing)} tensors of the index, the first is {missing[0]!r}"


# what stands beside the weights


def _processor(name: str, folder: Path) -> Row:
    files = processor_files(folder)
    for file in files:
        if file.endswith("_config.json"):
            read_object(folder / file)
    return Row(_GROUP, name, "ok", ", ".join(files))


def _template(name: str, folder: Path) -> Row:
    held = [file for file in ("chat_template.jinja", "chat_template.json") if (folder / file).is_file()]
    for file in ("tokenizer_config.json", "processor_config.json"):
        if (folder / file).is_file() and read_object(folder / file).get("chat_template"):
            held.append(file)
    if held:
        return Row(_GROUP, name, "ok", f"in {held[0]}")
    if read_object(folder / "config.json").get("model_type") == "llava":
        return Row(_GROUP, name, "ok", "none, the one of LLaVA-1.5's model card is used")
    raise ModelError(
        "no chat template", hint="copy chat_template.jinja from the instruct model it was trained from into its folder"
    )


def _licence(name: str, folder: Path) -> Row:
    """What the model's card says, and which file that is; else what is known of the family."""
    trained = trained_card(folder)
    stated = stated_licence(folder)
    if stated is None and trained is not None:
        found = f"{trained.card} says: base {trained.base_licence}. {trained.use}"
        return _judged(name, found, permitted=trained.cleared)
    if stated is not None:
        permitted = permits_commercial(stated.licence)
        told = {
            True: "commercial use permitted",
            False: "no commercial use",
            None: "whether commercial use is permitted is not known",
        }[permitted]
        return _judged(name, f"{stated.card} says: {stated.licence}, {told}", permitted=bool(permitted))
    family = check_family(read_object(folder / "config.json").get("model_type"))
    found = f"no card in the folder says; that of the family {family}: {PROFILES[family].licence}"
    return Row(_GROUP, name, "ok", found)


def _judged(name: str, found: str, *, permitted: bool) -> Row:
    if permitted:
        return Row(_GROUP, name, "ok", found)
    return Row(_GROUP, name, "warn", found, "read the licence before products depend on it")
