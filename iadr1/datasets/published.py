"""IAD-R1's published test files `test_<SET>_format.json` (Li et al., arXiv 2508.09178, github Yanhui-Lee/IAD-R1).

Licence: none stated for the files; that of the images is their data set's own.

    {"DTD/Blotchy_099/test/bad/000.png": {
       "image_path": "DTD/Blotchy_099/test/bad/000.png",
       "conversation": [{"Question": "Are there any defects in the query image?", "Answer": "A",
                         "Options": {"A": "Yes.", "B": "No."}, "type": "Anomaly Detection"}],
       "similar_templates": ["DTD/Blotchy_099/template/000.png"],
       "random_templates": ["DTD/Blotchy_099/template/000.png"]}}

They hold the verdict only: neither boxes nor masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from iadr1.datasets.files import Files
from iadr1.datasets.jsonfile import read_json
from iadr1.datasets.layout import GOOD, words
from iadr1.errors import DataError
from iadr1.records import Defect, Sample

_VERDICTS = {"yes": True, "no": False}
_SOURCES = {"DAGM": "dagm", "DTD": "dtd", "MPDD": "mpdd", "SDD": "sdd"}
"""First folder of the paths in the files that are known -> the source they belong to."""


@dataclass(frozen=True)
class _Entry:
    """One entry: its key, and what it says."""

    key: str
    question: str
    question_type: str
    anomalous: bool
    random: tuple[str, ...]
    similar: tuple[str, ...]

    @property
    def category(self) -> str:
        """`Class1` of `DAGM/Class1/good/0001.PNG`; the set's own folder where there is none (`SDD/test/good/...`)."""
        parts = self.key.split("/")
        return parts[0] if parts[1] == "test" else parts[1]

    @property
    def state(self) -> str:
        """`good` of `DAGM/Class1/good/0001.PNG`."""
        return PurePosixPath(self.key).parent.name


def scan_published(files: Files, annotations: Path, *, dataset: str, licence: str) -> Iterator[Sample]:
    """One yes/no sample per entry, in the file's order; `id` is the entry's key.

    The verdict is the text of the option that the entry calls right; the defect's type is the image's folder in words.
    `references` are the random templates, `similar_references` the similar ones. The paths start with the set's own
    folder (`DAGM/...`): the root may be the folder it lies in or that folder itself, whichever has the images'
    folders. Where neither has them, the paths stay as they are written.

    Args:
        files: The image folder's files.
        annotations: The JSON file.
        dataset: Name in the samples.
        licence: Of the images.

    Raises:
        DataError: The file is not what the module's docstring shows, is of another set, contradicts itself, or images
            are missing.
    """
    value = read_json(annotations)
    if not isinstance(value, dict) or not value:
        raise DataError(
            "not a JSON object of images, or an empty one",
            where=str(annotations),
            hint='expected IAD-R1\'s test_<SET>_format.json: {"SET/.../good/000.png": {"conversation": [...]}}',
        )
    entries = [_entry(key, item, f"{annotations}: {key}") for key, item in value.items()]
    for name in sorted({entry.key.partition("/")[0] for entry in entries} & set(_SOURCES)):
        if not dataset.startswith(name):
            raise DataError(
                f"the file is of {name}, not of {dataset}",
                where=str(annotations),
                hint=f"iadr1 prepare {_SOURCES[name]} --annotations {annotations}",
            )
    place, where_root = _places(files.root, entries, annotations)
    for entry in entries:
        for path in (entry.key, *entry.random, *entry.similar):
            files.add(place(path), where=f"{annotations}: {entry.key}")
    files.check(hint=where_root)
    for entry in entries:
        sample = files.sample(
            f"{annotations}: {entry.key}",
            id=entry.key,
            dataset=dataset,
            category=entry.category,
            split="test",
            image=place(entry.key),
            references=tuple(map(place, entry.random)),
            similar_references=tuple(map(place, entry.similar)),
            task="anomaly",
            question=entry.question,
            answer="Yes" if entry.anomalous else "No",
            question_type=entry.question_type,
            is_anomalous=entry.anomalous,
            defects=(Defect(type=words(entry.state)),) if entry.anomalous else (),
            licence=licence,
            source=f"IAD-R1 {annotations.name}",
        )
        if sample is not None:
            yield sample


def _places(root: Path, entries: list[_Entry], annotations: Path) -> tuple[Callable[[str], str], str]:
    """How a path of the file is written relative to the root, and that in words."""
    prefixes = {entry.key.split("/")[0] for entry in entries}
    folders = {entry.key.rpartition("/")[0] for entry in entries}
    prefix = min(prefixes)
    above = any((root / folder).is_dir() for folder in folders)
    inside = len(prefixes) == 1 and any((root / folder.partition("/")[2]).is_dir() for folder in folders)
    if above and inside:
        raise DataError(
            f"both the root and its folder {prefix!r} hold folders that {annotations.name} names",
            where=str(root),
            hint=f"give the folder whose images are meant: {str(root / prefix)!r}, or one that holds only that folder",
        )
    if not inside:
        return str, f"the root was taken for the folder that holds {prefix!r}: {root / min(folders)}"

    def strip(path: str) -> str:
        return path.removeprefix(f"{prefix}/")

    return strip, f"the root was taken for the folder {prefix!r} itself: {root / strip(min(folders))}"


def _entry(key: str, value: Any, where: str) -> _Entry:
    if len(PurePosixPath(key).parts) < 4:
        raise DataError("the image's path is not <set>/<category or test>/.../<state>/<file>", where=where)
    if not isinstance(value, dict):
        raise DataError(f"not a JSON object: {value!r:.60}", where=where)
    if value.get("image_path") != key:
        raise DataError(f"'image_path' is {value.get('image_path')!r:.80}, not the entry's key", where=where)
    question, anomalous = _question(value.get("conversation"), where)
    if anomalous and PurePosixPath(key).parent.name == GOOD:
        raise DataError(f"the right answer says defective, the image's folder is {GOOD!r}", where=where)
    return _Entry(
        key=key,
        question=question["Question"],
        question_type=question["type"],
        anomalous=anomalous,
        random=_templates(value, "random_templates", where),
        similar=_templates(value, "similar_templates", where),
    )


def _question(conversation: Any, where: str) -> tuple[dict[str, Any], bool]:
    """The entry's one question, and whether its right answer is yes."""
    if not isinstance(conversation, list) or len(conversation) != 1 or not isinstance(conversation[0], dict):
        raise DataError(
            f"'conversation' is not a list of one question: {conversation!r:.80}",
            where=where,
            hint="files with several questions an image are MMAD's: iadr1 prepare mmad",
        )
    question = conversation[0]
    for name in ("Question", "type", "Answer"):
        if not isinstance(question.get(name), str):
            raise DataError(f"{name!r} is {question.get(name)!r:.60}, not a text", where=where)
    options, answer = question.get("Options"), question["Answer"]
    if not isinstance(options, dict) or answer not in options:
        raise DataError(f"the answer {answer!r} is not among the options {options!r:.80}", where=where)
    verdict = _VERDICTS.get(str(options[answer]).strip().rstrip(".").lower())
    if verdict is None:
        raise DataError(f"the right option is {options[answer]!r:.60}, neither 'Yes.' nor 'No.'", where=where)
    return question, verdict


def _templates(value: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    found = value.get(name)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise DataError(f"{name!r} is not a list of paths: {found!r:.60}", where=where)
    return tuple(found)
