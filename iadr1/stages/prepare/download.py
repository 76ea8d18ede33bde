"""`--download`: a data set's copy on the Hugging Face hub, fetched, checked against its hashes, unpacked."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
import zlib
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from iadr1.atomic import write_text_atomic
from iadr1.datasets import Hub, Source
from iadr1.errors import DataError, MissingExtraError, OutputError, UsageError
from iadr1.images import file_sha256
from iadr1.stages.prepare.summary import Progress

_STATE = ".iadr1-download.json"
"""In the root: file -> size, time and hash it was checked with, and whether it was unpacked."""


def download(name: str, source: Source, root: Path | None, report: Progress) -> None:
    """Fetch a set into `root`; what is there already and checked is not fetched, hashed or unpacked again.

    A stopped download goes on where it was. `HF_ENDPOINT`, `HF_HUB_OFFLINE` and `HF_TOKEN` are honoured by
    huggingface-hub.

    Args:
        name: The source as the user named it.
        source: The data set.
        root: Folder for the files; it is made.
        report: Called with each file.

    Raises:
        UsageError: No copy on the hub (names the official page and the licence), no root, or offline.
        DataError: The hub refuses, or a file's hash is not the stated one.
        OutputError: Not enough space.
    """
    if source.hub is None:
        raise UsageError(
            f"{source.title} has no copy on the hub that could be downloaded",
            hint=f"get it from {source.page} (licence: {source.licence}), unpack it and name its folder with --root",
        )
    if root is None:
        raise UsageError("--download needs --root", hint=f"iadr1 prepare {name} --download --root FOLDER --out FILE")
    root.mkdir(parents=True, exist_ok=True)
    state = _State(root / _STATE)
    hashes = _wanted(source.hub, source)
    for number, (file, sha256) in enumerate(hashes.items(), start=1):
        path = _inside(root, file)
        if not state.holds(path, file):
            _fetch(source.hub, file, root)
            _verify(path, sha256)
            state.add(path, file, sha256)
        if path.suffix == ".zip" and not state.unpacked(file):
            unpack(path, root)
            state.add(path, file, sha256, unpacked=True)
        report(f"{source.hub.repo} {file}", number, len(hashes))


class _State:
    """What an earlier run has fetched and checked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError:  # half-written by hand: everything is checked again
            value = {}
        self._files: dict[str, dict[str, Any]] = value if isinstance(value, dict) else {}

    def holds(self, path: Path, file: str) -> bool:
        known = self._files.get(file)
        return known is not None and path.is_file() and known.get("stat") == _stamp(path)

    def unpacked(self, file: str) -> bool:
        return bool(self._files.get(file, {}).get("unpacked"))

    def add(self, path: Path, file: str, sha256: str | None, *, unpacked: bool = False) -> None:
        self._files[file] = {"stat": _stamp(path), "sha256": sha256, "unpacked": unpacked}
        write_text_atomic(self._path, json.dumps(self._files, indent=2) + "\n")


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _wanted(hub: Hub, source: Source) -> dict[str, str | None]:
    """The set's files on the hub, each with the SHA-256 the project or the hub states (the hub: large files only)."""
    huggingface_hub = _library()
    # Modules of their own, which the package does not bring in by itself. `HTTPError` is that of its HTTP library,
    # which changes with its version.
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        raise UsageError(
            "HF_HUB_OFFLINE is set, nothing can be downloaded",
            hint=f"unset it, or get the set from {source.page} elsewhere and name its folder with --root",
        )
    try:
        info = huggingface_hub.HfApi().dataset_info(hub.repo, files_metadata=True)
    except (HTTPError, OSError, ValueError) as error:
        raise _refused(hub, error) from error
    stated = dict(hub.sha256 or {})
    found = {
        item.rfilename: stated.get(item.rfilename) or (item.lfs.sha256 if item.lfs else None)
        for item in info.siblings or ()
        if any(fnmatch(item.rfilename, pattern) for pattern in hub.files)
    }
    if not found:
        raise DataError(
            f"the hub's {hub.repo} holds none of {', '.join(hub.files)}", where=hub.repo, hint=f"see {source.page}"
        )
    return found


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("huggingface-hub", "data", purpose="--download") from error
    return huggingface_hub


def _fetch(hub: Hub, file: str, root: Path) -> None:
    # Its HTTP library changes with its version; this is that library's error.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        _library().hf_hub_download(hub.repo, file, repo_type="dataset", local_dir=root)
    except (HTTPError, OSError, ValueError) as error:
        raise _refused(hub, error) from error


def _refused(hub: Hub, error: Exception) -> DataError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataError(
        f"the hub did not give the files: {first}",
        where=hub.repo,
        hint="run the command again to go on; behind a mirror set HF_ENDPOINT, for a gated set HF_TOKEN",
    )


def _verify(path: Path, sha256: str | None) -> None:
    if sha256 is not None and (found := file_sha256(path)) != sha256:
        path.unlink()
        raise DataError(
            f"its SHA-256 is {found}, stated is {sha256}; the file was removed",
            where=str(path),
            hint="run the command again; if it stays so, the copy on the hub has changed",
        )


def unpack(archive: Path, root: Path) -> None:
    """Unpack a zip archive into a folder; files that are there with the right size are left.

    Raises:
        DataError: Not a zip archive, encrypted or broken, or a member is a link or leads out of the folder.
        OutputError: The disk has too little space.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            places = {member.filename: _inside(root, member.filename) for member in members}
            for member in members:
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise DataError(f"the member {member.filename!r} is a link", where=str(archive))
            left = [m for m in members if not _is_there(places[m.filename], m.file_size)]
            needed, free = sum(member.file_size for member in left), shutil.disk_usage(root).free
            if needed > free:
                raise OutputError(
                    f"unpacking needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free", where=str(root)
                )
            for member in left:
                _extract(opened, member, places[member.filename])
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        raise DataError(f"not a sound zip archive: {error}", where=str(archive)) from error


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.part")
    with opened.open(member) as source, temporary.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    temporary.replace(place)


def _inside(root: Path, name: str) -> Path:
    """The place of a file that somebody else named.

    Raises:
        DataError: It leads out of the root.
    """
    parts = PurePosixPath(name).parts
    path = root / name
    if name.startswith("/") or ".." in parts or "\\" in name or not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"the path {name!r} leads out of the folder", where=str(root))
    return path
