"""ROAM whose Phi compares the reasoning with a sample's reference reasoning: `roam-exact`, `roam-f1`, `roam-embedding`.

AnomalyR1, section 3.3, leaves Phi open, "from simple indicator functions for exact matches to nuanced similarity
metrics". A sample without reference reasoning is scored as by `roam`. Off by default: a reference that a template wrote
teaches the model to write like the template.
"""

from __future__ import annotations

import importlib
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from iadr1.errors import MissingExtraError, ModelError
from iadr1.prompts import Answer
from iadr1.records import Sample
from iadr1.rewards.roam import aligned

EMBEDDING_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""What IAD-R1's unregistered `description_reward` uses; 22 M parameters."""

Encode = Callable[[Sequence[str]], Any]
"""Texts to an array of shape (texts, dimensions), each row of length 1."""


def roam_exact(answer: Answer, sample: Sample) -> float | None:
    """0, 0.05, 0.1, 0.8 or 1.0: ROAM; Phi is 1 of its range for the reference's words in its order, else 0.

    Case and punctuation do not count. None for a sample that is not multiple choice.
    """
    return aligned(answer, sample, same_words)


def roam_f1(answer: Answer, sample: Sample) -> float | None:
    """0..1: ROAM; Phi is the F1 of the words shared with the reference, as SQuAD counts them.

    0, 0.05..0.1 or 0.8..1.0. None for a sample that is not multiple choice.
    """
    return aligned(answer, sample, token_f1)


class RoamEmbedding:
    """0..1: ROAM; Phi is the cosine of sentence embeddings of reasoning and reference, 0 where negative.

    0, 0.05..0.1 or 0.8..1.0; None for a sample that is not multiple choice. The model is loaded by the first sample
    that needs it, on the CPU, so that it does not compete for the trained model's memory.

    Args:
        model: A folder or a hub id that sentence-transformers loads.
        encode: Takes the place of the model.

    Raises:
        MissingExtraError: On the first use: sentence-transformers is not installed.
        ModelError: On the first use: the model cannot be loaded.
    """

    def __init__(self, model: str = EMBEDDING_MODEL, *, encode: Encode | None = None) -> None:
        self.model = model
        self._encode = encode
        self._reference = lru_cache(maxsize=4096)(self._embed)

    def __call__(self, answer: Answer, sample: Sample) -> float | None:
        """The reward of one answer."""
        return aligned(answer, sample, self._cosine)

    def _cosine(self, said: str, reference: str) -> float:
        cosine = float(self._embed(said) @ self._reference(reference))
        return min(1.0, max(0.0, cosine))

    def _embed(self, text: str) -> Any:
        if self._encode is None:
            self._encode = load_encoder(self.model)
        return self._encode([text])[0]


def load_encoder(model: str) -> Encode:
    """The encoder of a sentence-transformers model, on the CPU.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: There is no such model, or it cannot be downloaded.
    """
    try:
        package = importlib.import_module("sentence_transformers")
    except ModuleNotFoundError as error:
        if error.name != "sentence_transformers":
            raise
        raise MissingExtraError("sentence-transformers", "embedding", purpose="the reward 'roam-embedding'") from error
    try:
        loaded = package.SentenceTransformer(model, device="cpu")
    except (OSError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"cannot load the embedding model {model!r}: {first}",
            hint="name a folder that holds one: roam-embedding@FOLDER",
        ) from error
    return lambda texts: loaded.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


def same_words(said: str, reference: str) -> float:
    """0 or 1: the same words in the same order."""
    return float(_words(said) == _words(reference))


def token_f1(said: str, reference: str) -> float:
    """0..1: harmonic mean of the share of words of either text that the other has too, each word as often as it is."""
    words, wanted = _words(said), _counts(reference)
    left = dict(wanted)
    shared = 0
    for word in words:
        if left.get(word):
            left[word] -= 1
            shared += 1
    return 2 * shared / (len(words) + wanted.total()) if shared else 0.0


_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def _words(text: str) -> list[str]:
    return text.lower().translate(_PUNCTUATION).split()


@lru_cache(maxsize=4096)
def _counts(reference: str) -> Counter[str]:
    """The words of a reference; a group of answers shares one."""
    return Counter(_words(reference))
