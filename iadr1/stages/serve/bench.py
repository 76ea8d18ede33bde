"""What lies behind the queue: uploads are decoded, and a model is asked about a batch of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from iadr1.config import ServeConfig
from iadr1.errors import ImageError
from iadr1.masks import Segmenter, load_segmenter
from iadr1.models import Engine
from iadr1.records import Detection
from iadr1.stages.inspection import Inspector, InspectSettings, Loaded, Photo, References
from iadr1.stages.inspection.asking import looks_at
from iadr1.stages.inspection.setup import calibrated, calibration_of, engine_of
from iadr1.stages.serve import pictures
from iadr1.stages.serve.refusals import bad_request, engine_failed, not_an_image
from iadr1.stages.serve.uploads import Upload

_NOWHERE = Path("/.upload/photo")
"""Where an upload would lie: no reference lies there, and since hidden folders are left out, in none of that name."""


@dataclass(frozen=True)
class Order:
    """A photo ready for the model, and how it is to be asked about.

    Attributes:
        loaded: The photo and its references, under a name that no other photo of the server has.
        name: What the client calls it.
        masks: Whether masks are drawn.
        shots: How many references the question is made for.
    """

    loaded: Loaded
    name: str
    masks: bool
    shots: int


class Bench:
    """A loaded model with the settings it is asked with.

    Args:
        engine: The model.
        settings: How it is asked and how the verdict is drawn.
        segmenter: Draws masks for the requests that want them; None where the server draws none.
        references: The server's own photos of good products; None where it has none.

    Attributes:
        fewer_references: Photos that were looked at with fewer of the server's own references than it was told to
            show, because its folder holds no more that belong to them.
    """

    def __init__(
        self,
        engine: Engine,
        settings: InspectSettings,
        *,
        segmenter: Segmenter | None = None,
        references: References | None = None,
    ) -> None:
        self._engine, self._settings, self._segmenter = engine, settings, segmenter
        self._references = references
        self._inspectors: dict[tuple[bool, int], Inspector] = {}
        self._own_pixels = references.most_pixels if references is not None else 0
        self.fewer_references = 0
        if references is not None:  # it hashes all of them once, which no request should wait for
            references.find(
                Photo(_NOWHERE, f"{_NOWHERE.parent.name}/photo", "photo"), Image.new("RGB", (8, 8)), sha256=""
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What `/health` tells of it."""
        return {
            "model": self._engine.model,
            "engine": self._engine.name,
            "fingerprint": self._engine.fingerprint,
            "mode": self._settings.mode,
            "threshold": self._settings.limit if self._settings.mode != "think" else None,
            "calibration": self._settings.calibration,
            "protocol": self._settings.digest,
            "masks": self._segmenter is not None,
            "shots": self._settings.shots,
            "fewer_references": self.fewer_references,
        }

    def check(self, upload: Upload) -> None:
        """Refuse what this server cannot do for a request.

        Raises:
            RefusedError: Masks, or more or fewer references than it was calibrated with.
        """
        if upload.masks and self._segmenter is None:
            raise bad_request(
                "this server draws no masks", "start it with --masks (modes 'think' and 'two-pass'), or leave masks out"
            )
        shots = len(upload.references)
        if shots and self._settings.calibration and shots != self._settings.shots:
            raise bad_request(
                f"{shots} references are sent, the server's calibration is for photos with {self._settings.shots}",
                "send as many as it was calibrated with, or none",
            )

    def pixels_beside(self, upload: Upload) -> int:
        """Most pixels of the server's own references that are shown before an upload."""
        return 0 if upload.references else self._own_pixels

    def order(self, key: str, upload: Upload) -> Order:
        """The upload, decoded. Called from several threads at once.

        Args:
            key: What tells it apart among all photos of the server.
            upload: As it came.

        Raises:
            RefusedError: The photo or a reference is damaged, or the model cannot take it.
        """
        image, sha256 = pictures.decode(upload.photo, what="image"), pictures.sha256(upload.photo)
        if upload.references:
            shown = tuple(pictures.decode(file, what="reference") for file in upload.references)
            names = tuple(f"upload {number}" for number in range(1, len(shown) + 1))
        else:
            shown, names = self._own_references(upload.name, image, sha256)
        photo = Photo(_NOWHERE, key, key)
        loaded = Loaded(photo, image, shown, names, sha256=sha256)
        try:
            looks_at(loaded, image, self._engine.profile, self._settings.tiles)
        except ImageError as error:
            raise not_an_image(error.message, error.hint or "send another photo", status=422) from error
        return Order(loaded, upload.name, upload.masks, len(upload.references) or self._settings.shots)

    def _own_references(
        self, name: str, image: Image.Image, sha256: str
    ) -> tuple[tuple[Image.Image, ...], tuple[str, ...]]:
        if self._references is None:
            return (), ()
        paths = self._references.find(Photo(_NOWHERE, name, name), image, sha256=sha256)
        try:
            return self._references.open(paths)
        except ImageError as error:
            raise engine_failed(f"a reference of the server: {error}") from error

    def inspect(self, orders: Sequence[Order]) -> list[Detection]:
        """One record for each photo, in order; one that the model could not look at has `error`.

        Raises:
            ModelError: The model cannot be used.
        """
        found: dict[int, Detection] = {}
        groups: dict[tuple[bool, int], list[int]] = {}
        for place, order in enumerate(orders):
            groups.setdefault((order.masks, order.shots), []).append(place)
        for kind, places in groups.items():
            findings = self._inspector(*kind).findings([orders[place].loaded for place in places])
            for place, finding in zip(places, findings, strict=True):
                found[place] = finding.record.model_copy(update={"image": orders[place].name})
                self.fewer_references += len(orders[place].loaded.references) < orders[place].shots
        return [found[place] for place in range(len(orders))]

    def _inspector(self, masks: bool, shots: int) -> Inspector:
        if (masks, shots) not in self._inspectors:
            settings = dataclasses.replace(self._settings, shots=shots)
            segmenter = self._segmenter if masks else None
            self._inspectors[masks, shots] = Inspector(self._engine, settings, segmenter=segmenter)
        return self._inspectors[masks, shots]

    def forget(self) -> None:
        """Forget what was learned of an engine that failed, so that it is asked again as if it were new."""
        self._inspectors.clear()


def loader(config: ServeConfig, engine: Engine | None, references: References | None) -> Callable[[], Bench]:
    """What loads the model and the segmenter of a config; called on the engine's thread.

    Args:
        config: The stage's settings.
        engine: A loaded engine instead of the one `config` names.
        references: Those of the config.
    """

    def load() -> Bench:
        loaded = engine or engine_of(config)
        segmenter = load_segmenter(config.segmenter, device=config.device) if config.masks else None
        settings = calibrated(config, calibration_of(config, loaded, references=references))
        return Bench(loaded, settings, segmenter=segmenter, references=references)

    return load
