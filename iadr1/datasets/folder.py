"""A user's own photos, sorted into folders: one for normal products and one for each type of defect.

Licence: the user's own data, none stated.

    pump/                        or one such folder for each product:  pump/good/ ..., valve/good/ ...
      good/001.png               also `ok` or `normal`, in any letter case
      scratch/003.png            any other name is a type of defect; none is fine
      train/good/ test/scratch/  the same folders may lie in train/, val/ and test/
      ground_truth/scratch/003_mask.png    optional; also 003.png; defective above 0 (JPEG: above 127)

Nothing is guessed: an image outside these folders, a folder inside them, or a mask without its image is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.drawn import NO_SPLIT, OWN_LICENCE, OWN_PAGE, SPLITS, is_normal, set_name
from iadr1.datasets.files import Files
from iadr1.datasets.layout import image_files, subfolders, words, wrong_layout
from iadr1.datasets.masked import Photo, other_than, yes_no
from iadr1.errors import DataError
from iadr1.records import Sample

_MASKS = frozenset({"ground_truth", "ground-truth", "groundtruth", "gt", "mask", "masks"})
_JPEG = frozenset({".jpg", ".jpeg"})
_JPEG_THRESHOLD = 127
"""JPEG blurs a mask's edge: what is nearer to white is defective."""


def scan(files: Files) -> Iterator[Sample]:
    """One yes/no sample per photo, by product, split, folder and name; `id` is the photo's path.

    The category is the product folder's name (the root's, where the root is the product), the split the folder's
    (`all` without such folders), a defect's type its folder's name in words. A photo whose type has a mask folder
    must have a mask; without such a folder its defect has no place. The reference is the product's first other
    normal photo that is not in val or test.

    Raises:
        DataError: Another layout, photos or masks that belong nowhere, masks missing or of another size.
    """
    root = files.root
    products = [root] if _is_product(root) else subfolders(root)
    if not products:
        raise wrong_layout(root, SOURCE.tree)
    if not any(map(_is_product, products)):
        found = ", ".join(child.name for child in products)
        raise DataError(
            f"no folder good, ok or normal in it, nor in {found}", where=str(root), hint=f"expected {SOURCE.tree}"
        )
    photos = [photo for folder in products for photo in _product(root, folder)]
    if not photos:
        raise wrong_layout(root, SOURCE.tree)
    yield from yes_no(files, photos, dataset=set_name(root), licence=OWN_LICENCE, source=SOURCE.title, tree=SOURCE.tree)


@dataclass(frozen=True)
class _State:
    """A folder of photos of one kind: normal, or with one type of defect."""

    folder: Path
    split: str

    @property
    def normal(self) -> bool:
        return is_normal(self.folder.name)

    def photos(self) -> list[Path]:
        inner = subfolders(self.folder)
        if inner:
            raise DataError(
                f"a folder of photos holds folders: {', '.join(child.name for child in inner)}",
                where=str(self.folder),
                hint=f"expected {SOURCE.tree}",
            )
        return image_files(self.folder)


def _is_product(folder: Path) -> bool:
    """Whether a folder holds the folders of one product: a normal one, or splits that hold one."""
    return any(is_normal(child.name) for parent in (folder, *_splits(folder)) for child in subfolders(parent))


def _splits(folder: Path) -> list[Path]:
    """The folders of the splits: train, val, test."""
    found = [child for child in subfolders(folder) if child.name.lower() in SPLITS]
    return sorted(found, key=lambda child: list(SPLITS).index(child.name.lower()))


def _product(root: Path, folder: Path) -> Iterator[Photo]:
    if not _is_product(folder):
        raise DataError(
            f"no folder good, ok or normal; found: {', '.join(child.name for child in subfolders(folder)) or 'none'}",
            where=str(folder),
            hint=f"expected {SOURCE.tree}",
        )
    states = list(_states(folder))
    masks = _Masks(folder, [state.folder.name for state in states])
    templates = [
        path.relative_to(root).as_posix()
        for state in states
        if state.normal and state.split not in ("val", "test")
        for path in state.photos()
    ]
    for state in states:
        for path in state.photos():
            name, mask = path.relative_to(root).as_posix(), None if state.normal else masks.of(path)
            yield Photo(
                path=name,
                category=set_name(folder),
                split=state.split,
                kind=None if state.normal else words(state.folder.name),
                masks=() if mask is None else (mask.relative_to(root).as_posix(),),
                threshold=_JPEG_THRESHOLD if mask is not None and mask.suffix.lower() in _JPEG else 0,
                references=other_than(name, templates),
            )
    masks.refuse_lonely()


def _states(folder: Path) -> Iterator[_State]:
    """The folders of photos, those in no split first; nothing else may hold images."""
    splits = _splits(folder)
    for parent in (folder, *splits):
        images = image_files(parent)
        if images:
            raise DataError(
                f"{len(images)} images lie in no folder that says what they show, such as {images[0].name}",
                where=str(parent),
                hint="put them into good/ or a folder named after the defect",
            )
        split = NO_SPLIT if parent is folder else SPLITS[parent.name.lower()]
        for child in subfolders(parent):
            if parent is not folder and child.name.lower() in _MASKS:
                raise DataError("masks lie beside the splits, not in one", where=str(child), hint=f"see {folder}")
            if child not in splits and child.name.lower() not in _MASKS:
                yield _State(child, split)


class _Masks:
    """The mask files of one product: `of` finds each photo's, `refuse_lonely` what belongs to none."""

    def __init__(self, product: Path, types: list[str]) -> None:
        folders = [child for child in subfolders(product) if child.name.lower() in _MASKS]
        if len(folders) > 1:
            names = ", ".join(child.name for child in folders)
            raise DataError(f"several folders of masks: {names}", where=str(product), hint="keep one")
        self._folders = {folder.name: folder for folder in (subfolders(folders[0]) if folders else [])}
        self._owner: dict[Path, Path] = {}
        for name, folder in self._folders.items():
            if name not in types:
                raise DataError(
                    "masks of a type that has no folder of photos",
                    where=str(folder),
                    hint=f"the product has {', '.join(sorted(set(types)))}",
                )
        self._files = {name: _by_stem(folder) for name, folder in self._folders.items() if not is_normal(name)}

    def of(self, photo: Path) -> Path | None:
        """The mask of a photo, or where it should be; None where its type has no masks at all."""
        kind = photo.parent.name
        if kind not in self._files:
            return None
        found = [path for stem in (f"{photo.stem}_mask", photo.stem) for path in self._files[kind].get(stem, [])]
        if len(found) > 1:
            raise DataError(
                f"several masks: {', '.join(path.name for path in found)}",
                where=str(photo),
                hint=f"keep one in {found[0].parent}",
            )
        mask = found[0] if found else self._folders[kind] / f"{photo.stem}_mask.png"
        if mask in self._owner:
            raise DataError(
                f"the mask {mask.name} belongs to {self._owner[mask]} as well",
                where=str(photo),
                hint="give photos of one type different names in all splits",
            )
        self._owner[mask] = photo
        return mask

    def refuse_lonely(self) -> None:
        """Refuse masks that no photo has.

        Raises:
            DataError: Names the first ones.
        """
        every = [path for stems in self._files.values() for paths in stems.values() for path in paths]
        lonely = [path for path in every if path not in self._owner]
        if lonely:
            raise DataError(
                f"{len(lonely)} masks have no photo, such as {lonely[0].name}",
                where=str(lonely[0].parent),
                hint="a mask is named after its photo: 003.jpg has 003_mask.png or 003.png",
            )


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in image_files(folder):
        found.setdefault(path.stem, []).append(path)
    return found


SOURCE = Source(
    scan=scan,
    title="Photos sorted into folders",
    licence=OWN_LICENCE,
    page=OWN_PAGE,
    citation="none",
    tree="[PRODUCT/][train/|test/]good/001.png, .../TYPE/003.png, [PRODUCT/]ground_truth/TYPE/003_mask.png",
)
