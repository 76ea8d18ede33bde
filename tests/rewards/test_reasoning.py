"""ROAM with a Phi that compares the reasoning with a reference."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iadr1.errors import MissingExtraError, ModelError
from iadr1.rewards import resolve_reward
from iadr1.rewards.reasoning import RoamEmbedding, roam_exact, roam_f1, same_words, token_f1
from iadr1.rewards.roam import roam
from tests.rewards.samples import CHOICE, anomaly, choice, pick

KNOWN = choice("B", reasoning="The rim is broken.")


def said(think: str, letter: str) -> Any:
    return pick(f"<think>{think}</think><answer>{letter}</answer>")


@pytest.mark.parametrize(
    ("one", "other", "f1", "equal"),
    [
        ("The rim is broken.", "the rim, is BROKEN", 1.0, 1.0),
        ("rim broken", "The rim is broken.", 2 * 2 / 6, 0.0),
        ("broken broken rim", "rim is broken", 2 * 2 / 6, 0.0),
        ("broken is the rim", "the rim is broken", 1.0, 0.0),
        ("all fine", "the rim is broken", 0.0, 0.0),
        ("", "the rim is broken", 0.0, 0.0),
        ("...", "...", 0.0, 1.0),
    ],
)
def test_how_alike_two_texts_are(one: str, other: str, f1: float, equal: float) -> None:
    assert token_f1(one, other) == pytest.approx(f1)
    assert token_f1(other, one) == pytest.approx(f1)
    assert same_words(one, other) == equal


# Reasoning, answer, exact, F1 (the reference has 4 words, the truth is B).
TABLE = [
    ("The rim is broken.", "B", 1.0, 1.0),
    ("The rim is broken.", "D", 0.1, 0.1),
    ("The rim is fine.", "B", 0.8, 0.8 + 0.2 * 0.75),
    ("The rim is fine.", "D", 0.05, 0.05 + 0.05 * 0.75),
    ("Nothing alike here.", "B", 0.8, 0.8),
    # Reasoning that contradicts the answer is worth nothing, however like the reference it is.
    ("The rim is broken. The answer is D.", "B", 0.0, 0.0),
]


@pytest.mark.parametrize(("think", "letter", "exact", "f1"), TABLE)
def test_phi_against_the_reference(think: str, letter: str, exact: float, f1: float) -> None:
    assert roam_exact(said(think, letter), KNOWN) == pytest.approx(exact)
    assert roam_f1(said(think, letter), KNOWN) == pytest.approx(f1)


def test_without_a_reference_it_is_roam() -> None:
    answers = [said("So the answer is B.", "B"), said("I look.", "B"), said("I look.", "D"), pick("B")]
    wanted = [roam(answer, CHOICE) for answer in answers]
    assert wanted == pytest.approx([1.0, 0.8, 0.05, 0.0])
    for reward in (roam_exact, roam_f1, RoamEmbedding(encode=letters)):
        assert [reward(answer, CHOICE) for answer in answers] == wanted
        assert reward(answers[0], anomaly("No")) is None


def letters(texts: Sequence[str]) -> Any:
    """An embedding that a hand can follow: which of two words a text has, of length 1; the third points away."""
    rows = np.array([[float("rim" in text), float("broken" in text)] for text in texts])
    rows = np.where(np.array([["opposite" in text] for text in texts]), -1.0, rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_cosine_of_embeddings_by_hand() -> None:
    reward = RoamEmbedding(encode=letters)
    thinks = ["rim broken", "only the rim", "opposite"]
    values = [reward(said(think, "B"), KNOWN) for think in thinks]
    assert values == pytest.approx([1.0, 0.8 + 0.2 * 2**-0.5, 0.8])
    assert reward(said("only the rim", "D"), KNOWN) == pytest.approx(0.05 + 0.05 * 2**-0.5)


def test_a_reference_is_embedded_once() -> None:
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> Any:
        seen.extend(texts)
        return letters(texts)

    reward = RoamEmbedding(encode=encode)
    for think in ("a rim", "rim broken"):
        reward(said(think, "B"), KNOWN)
    assert seen.count("The rim is broken.") == 1
    assert len(seen) == 3


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"iadr1\[embedding\]"):
        RoamEmbedding()(said("a rim", "B"), KNOWN)
    # And before a run starts.
    monkeypatch.delitem(sys.modules, "sentence_transformers")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"reward 'roam-embedding' needs .*iadr1\[embedding\]"):
        resolve_reward("roam-embedding=0.5")


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sentence-transformers model with random weights, built here."""
    package = pytest.importorskip("sentence_transformers", reason="needs the extra 'embedding'")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("sentences")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *["the", "rim", "is", "broken", "fine"]]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    bert = folder / "bert"
    transformers.BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(bert)
    transformers.set_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(config).save_pretrained(bert)
    parts = pytest.importorskip("sentence_transformers.models")
    transformer = parts.Transformer(str(bert))
    model = package.SentenceTransformer(modules=[transformer, parts.Pooling(16)], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"


def test_a_real_model_in_a_folder(small_model: Path) -> None:
    [(name, reward, weight)] = resolve_reward(f"roam-embedding@{small_model}=0.5")
    assert (name, weight) == ("roam-embedding", 0.5)
    same, other = (reward(said(think, "B"), KNOWN) for think in ("The rim is broken.", "fine fine fine"))
    assert same == pytest.approx(1.0)
    assert other is not None
    assert 0.8 <= other < 1.0


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra 'embedding'")
    with pytest.raises(ModelError, match=r"cannot load the embedding model .*nothing.*roam-embedding@FOLDER"):
        RoamEmbedding(str(tmp_path / "nothing"))(said("a rim", "B"), KNOWN)
