"""Scores of boxes and of named places and types; rates in percent, IoU in 0..1."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from iadr1.geometry import Box, iou

Scores = dict[str, float]
"""Figure -> value; a figure that nothing was asked for is left out."""


def match(predicted: Sequence[Box], truth: Sequence[Box]) -> list[tuple[int, int, float]]:
    """Pairs (index predicted, index true, IoU) of overlapping boxes, each box in one pair at most.

    Greedy by falling IoU, as detection benchmarks do.
    """
    overlaps = [(iou(p, t), i, j) for i, p in enumerate(predicted) for j, t in enumerate(truth)]
    pairs: list[tuple[int, int, float]] = []
    free_predicted, free_true = set(range(len(predicted))), set(range(len(truth)))
    for overlap, i, j in sorted(overlaps, key=lambda item: (-item[0], item[1], item[2])):
        if overlap > 0 and i in free_predicted and j in free_true:
            pairs.append((i, j, overlap))
            free_predicted.remove(i)
            free_true.remove(j)
    return pairs


def box_scores(pairs: Sequence[tuple[Sequence[Box], Sequence[Box]]], *, threshold: float = 0.5) -> Scores:
    """Box figures over images.

    Args:
        pairs: Predicted and true boxes of each image, in pixels of the same image; both may be empty.
        threshold: IoU from which a pair counts as found.

    Returns:
        `mean_iou` over the true boxes (0 for one without a partner), `precision`, `recall` and `f1` in percent,
        `true_boxes` and `predicted_boxes`.
    """
    n_true = sum(len(truth) for _, truth in pairs)
    n_predicted = sum(len(predicted) for predicted, _ in pairs)
    overlaps = [overlap for predicted, truth in pairs for _, _, overlap in match(predicted, truth)]
    hits = sum(overlap >= threshold for overlap in overlaps)
    scores: Scores = {"true_boxes": n_true, "predicted_boxes": n_predicted}
    if n_true:
        scores["mean_iou"] = sum(overlaps) / n_true
        scores["recall"] = 100.0 * hits / n_true
    if n_predicted:
        scores["precision"] = 100.0 * hits / n_predicted
    if n_true or n_predicted:
        scores["f1"] = 200.0 * hits / (n_true + n_predicted)
    return scores


def grounding_scores(pairs: Sequence[tuple[Sequence[Box], Sequence[Box]]], *, threshold: float = 0.5) -> Scores:
    """Figures of referring-expression grounding: `acc@0.5` in percent and `mean_iou`, over the named targets.

    Only as many predicted boxes as there are targets count, in the order written, so that naming many boxes earns
    nothing. A target is found where its IoU is above the threshold, as in VLM-R1's evaluation (which takes the last box
    that is written instead of the first).
    """
    overlaps: list[float] = []
    for predicted, truth in pairs:
        found = [overlap for _, _, overlap in match(predicted[: len(truth)], truth)]
        overlaps += found + [0.0] * (len(truth) - len(found))
    if not overlaps:
        return {"targets": 0}
    return {
        "targets": len(overlaps),
        f"acc@{threshold:g}": 100.0 * sum(overlap > threshold for overlap in overlaps) / len(overlaps),
        "mean_iou": sum(overlaps) / len(overlaps),
    }


def words_accuracy(pairs: Sequence[tuple[Collection[str], Collection[str]]]) -> float | None:
    """Percent of pairs in which exactly the true words were named (case, order and repetition do not matter).

    None without pairs.
    """
    if not pairs:
        return None
    return 100.0 * sum(_plain(predicted) == _plain(truth) for predicted, truth in pairs) / len(pairs)


def _plain(words: Collection[str]) -> set[str]:
    return {" ".join(word.lower().split()) for word in words}
