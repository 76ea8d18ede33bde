"""An engine that reads its answers from a file: for tests, and for scoring what another program generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jsonlines

from iadr1.errors import ModelError, NoProbabilitiesError
from iadr1.images import file_sha256
from iadr1.models import LoadOptions
from iadr1.models.base import Completion, Profile, Request
from iadr1.models.choices import check_answers
from iadr1.models.profiles import PROFILES


class ReplayEngine:
    """Gives each request the text stored for its id.

    Args:
        model: JSONL file of `{"id": ..., "text": ...}`, one a line; the last line of an id counts.
        profile: How the model that wrote the texts sees images; boxes are read in its space.

    Raises:
        ModelChoiceError: There is no such file.
        ModelError: The file cannot be read or a line is not of this form.
    """

    name = "replay"

    def __init__(self, model: str, *, profile: Profile = PROFILES["qwen2_5_vl"]) -> None:
        check_answers(model)
        path = Path(model)
        self.model = model
        self.profile = profile
        self._texts = _read_answers(path)
        self.fingerprint = file_sha256(path)[:16]

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        """The stored texts, whole: they were generated under their own token limit.

        Raises:
            ModelError: An id has no stored text.
        """
        return [Completion(request.id, self._text(request.id)) for request in requests]

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        """Stored texts carry no probabilities.

        Raises:
            NoProbabilitiesError: Always.
        """
        raise NoProbabilitiesError(
            "stored answers carry no probabilities", where=self.model, hint="use the engine 'local'"
        )

    def _text(self, key: str) -> str:
        if key not in self._texts:
            raise ModelError(f"no stored answer for {key!r}", where=self.model)
        return self._texts[key]


def load(model: str, options: LoadOptions) -> ReplayEngine:
    """The engine for `load_engine`; nothing is computed, so the options change nothing."""
    return ReplayEngine(model)


def _read_answers(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    try:
        with jsonlines.open(path) as reader:
            for number, value in enumerate(reader, start=1):
                if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("id", "text")):
                    raise ModelError('a line needs the texts "id" and "text"', where=f"{path}:{number}")
                texts[value["id"]] = value["text"]
    except jsonlines.InvalidLineError as error:
        raise ModelError(f"not JSON: {error.line[:80]!r}", where=f"{path}:{error.lineno}") from error
    except OSError as error:
        raise ModelError(f"cannot read the stored answers: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(path)) from error
    return texts
