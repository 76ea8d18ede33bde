"""The content of `metrics.json` as tables, with published rows below the user's.

Every table names the protocol with its hash and how many questions it is about; a published row stands under its source
and the protocol stated there, and is marked where the model was trained on images of MMAD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iadr1 import published
from iadr1.published import PublishedRow
from iadr1.reports.grid import Grid, Group, Row
from iadr1.reports.rows import TRAINED, TRAINED_NOTE, Scores, figures_row, published_groups, remarks

Metrics = Mapping[str, Any]

_AVERAGE = "average"
_DETECTION = published.SUBTASKS[0]
_HEADINGS = {
    "Anomaly Detection": "Anom.\ndet.",
    "Defect Classification": "Def.\nclass",
    "Defect Localization": "Def.\nloc.",
    "Defect Description": "Def.\ndescr",
    "Defect Analysis": "Def.\nanal.",
    "Object Classification": "Obj.\nclass",
    "Object Analysis": "Obj.\nanal.",
    "average": "Avg.",
    "overkill": "Over\nkill",
    "miss": "Miss",
    "precision": "Prec.",
    "recall": "Rec.",
    "f1": "F1",
    "undecided": "Un-\ndec.",
}
_CHOICE = (*published.SUBTASKS, "average", "overkill", "miss")
_YES_NO = (_DETECTION, "overkill", "miss", "precision", "recall", "f1", "undecided")
_STRICT = "Percent; an answer that cannot be read is wrong."
_SCRIPT = "Published rows are by MMAD's script"


def result_tables(metrics: Metrics, *, task: str) -> list[Grid]:
    """The tables of one run, the headline first; then those by dataset or class beside published rows of the same.

    Args:
        metrics: The content of `metrics.json`.
        task: The task of the questions: `choice`, `anomaly` (yes/no) or `grounding`.
    """
    if task == "grounding":
        return _section(metrics, "grounding", title=run_title(metrics))
    if task == "anomaly":
        title = "Mean of the accuracies on normal and anomalous images"
        return [
            _headline(metrics, _YES_NO, ()),
            *_by_set(metrics, title, published.iadr1(), key=_DETECTION),
            *(grid for key in _SECTIONS for grid in _section(metrics, key)),
        ]
    by_class = _by_class(metrics)
    if by_class:
        return [_headline(metrics, _CHOICE, ()), *by_class, *_order(metrics)]
    return [
        # Table 2 is about MMAD; Table 4, of MVTec 3D-AD, names its classes.
        _headline(metrics, _CHOICE, () if metrics["benchmark"] == "mvtec3d" else published.table_2()),
        *_by_set(metrics, "Average of the seven subtasks by dataset", published.table_3(), key=_AVERAGE),
        *_by_set(metrics, f"{_DETECTION} by dataset", published.table_5(), key=_DETECTION),
        *_by_subtask(metrics, published.result_files()),
        *_order(metrics),
    ]


def _headline(metrics: Metrics, columns: Sequence[str], rows: Sequence[PublishedRow]) -> Grid:
    own = Group(run_name(metrics), _own_rows(metrics, columns), _own_rows(metrics, columns, decimals=1))
    groups = [own, *published_groups(rows, columns)]
    notes = [_STRICT, f"Answers read: {metrics['parse_rate']:.2f} %.", *_trained_notes(metrics)]
    if metrics.get("errors"):
        notes.append(f"{metrics['errors']} got no answer: they count as wrong.")
    if rows:
        known = {row.dataset for row in published.mmad()} | {_AVERAGE}
        other = "" if known.issuperset(metrics["strict"]) else " about MMAD's own images, not comparable with others"
        notes += [f"{_SCRIPT}{other}.", TRAINED_NOTE]
    return Grid(
        run_title(metrics), [(name, _HEADINGS[name]) for name in columns], groups, " ".join(notes), remarks(rows)
    )


def run_title(metrics: Metrics) -> str:
    """Benchmark and model, and how much is missing."""
    title = f"{metrics['benchmark'] or 'questions'}: {metrics['model']}"
    if metrics["complete"] is False:
        asked = metrics["answers"] + metrics["missing"]
        return f"{title} (partial: {metrics['answers']} of {asked} answers)"
    return title


def run_name(metrics: Metrics) -> str:
    """The user's run and the protocol it was asked under, marked where it was trained on images it is asked about."""
    shots = "" if metrics["shots"] is None else f", {metrics['shots']}-shot"
    return f"{_own_name(metrics)}, {protocol_name(metrics)}{shots}, n = {metrics['questions']:,}"


def protocol_name(metrics: Metrics) -> str:
    """The protocol of a run in words: name, version, hash, and how answers were taken where that was not as text."""
    protocol = metrics["protocol"]
    if not protocol or not protocol["hash"]:
        return "protocol not stated"
    named = f"{protocol['name']} v{protocol['version']} " if protocol["name"] else ""
    scoring = metrics.get("scoring") or "text"
    return f"protocol {named}{protocol['hash']}{'' if scoring == 'text' else f', {scoring}'}"


def _own_name(metrics: Metrics) -> str:
    mark = f" {TRAINED}" if metrics.get("includes_trained_images") else ""
    return f"{metrics['model']}{mark}"


def _trained_notes(metrics: Metrics) -> list[str]:
    images = metrics.get("includes_trained_images")
    return [f"{TRAINED} The figures include {images} images that the model was trained on."] if images else []


def _own_rows(metrics: Metrics, columns: Sequence[str], *, decimals: int = 2) -> list[Row]:
    found = _with_detection(metrics)
    average = found.pop(_AVERAGE)
    interval = metrics["interval_95"][_AVERAGE]
    found["Average"] = average
    for place, label in enumerate(("  95 % from", "  95 % to")):
        found[label] = {name: bounds[place] for name, bounds in interval.items()}
    found["  read answers only"] = metrics["parsed"].get(_AVERAGE, {})
    found["  by MMAD's script"] = metrics["mmad_compat"][_AVERAGE]
    for name, part in metrics.get("splits", {}).items():
        found[f"  {name} ({part['questions']:,})"] = _with_detection(part)[_AVERAGE]
    return [figures_row(label, figures, columns, decimals=decimals) for label, figures in found.items()]


def _with_detection(metrics: Metrics) -> dict[str, Scores]:
    """The strict table with precision, recall and F1."""
    return {name: {**scores, **metrics["detection"].get(name, {})} for name, scores in metrics["strict"].items()}


def _by_set(metrics: Metrics, title: str, rows: Sequence[PublishedRow], *, key: str) -> list[Grid]:
    """One column for each dataset; none where nothing is published of any of them."""
    own = {name: scores[key] for name, scores in metrics["strict"].items() if key in scores}
    sets = own.keys() - {_AVERAGE}
    comparable = [row for row in rows if not sets.isdisjoint(row.figures)]
    if not comparable:
        return []
    part = any(row.figures.keys() - sets - {_AVERAGE} for row in comparable if _AVERAGE in row.figures)
    note = "Published averages are over all sets of their source, also those without a column here." if part else ""
    return _beside(metrics, title, own, comparable, counts=_questions(metrics["counts"], key), note=note)


def _by_subtask(metrics: Metrics, rows: Sequence[PublishedRow]) -> list[Grid]:
    """A table for each dataset that figures are published of; one of the average where exactly these were asked."""
    there = {row.dataset for row in rows}
    sets = [name for name in metrics["strict"] if name in there - {_AVERAGE}]
    whole = metrics["strict"].keys() == there
    grids = []
    for name in (*sets, *([_AVERAGE] if whole else [])):
        scores, members = metrics["strict"][name], [row for row in rows if row.dataset == name]
        grids += _beside(
            metrics,
            f"{f'Average of the {len(sets)} datasets' if name == _AVERAGE else name} by subtask",
            {column: scores[column] for column in _CHOICE if column in scores},
            members,
            counts={subtask: cell["asked"] for subtask, cell in metrics["counts"].get(name, {}).items()},
            script=metrics["mmad_compat"].get(name, {}),
            note=f"{_SCRIPT}.",
        )
    return grids


def _questions(counts: Mapping[str, Mapping[str, Mapping[str, int]]], key: str) -> dict[str, int]:
    """Questions of each dataset, of one subtask or (`average`) of all."""
    return {
        name: sum(cell["asked"] for subtask, cell in cells.items() if key in (_AVERAGE, subtask))
        for name, cells in counts.items()
    }


def _by_class(metrics: Metrics) -> list[Grid]:
    """One column for each class of MVTec 3D-AD, as in AnomalyR1's Table 4; none for other classes."""
    rows = published.table_4()
    classes = {name: scores for table in metrics["per_category"].values() for name, scores in table.items()}
    if not classes.keys() <= rows[0].figures.keys():
        return []
    own = {name: classes[name][_AVERAGE] for name in rows[0].figures if _AVERAGE in classes.get(name, {})}
    own[_AVERAGE] = sum(own.values()) / len(own)
    return _beside(metrics, "Average of the subtasks by class", own, rows)


def _beside(
    metrics: Metrics,
    title: str,
    own: Scores,
    rows: Sequence[PublishedRow],
    *,
    counts: Mapping[str, int] | None = None,
    script: Scores | None = None,
    note: str = "",
) -> list[Grid]:
    columns = list(own)
    mine: list[Row] = [figures_row(_own_name(metrics), own, columns)]
    if script:
        mine.append(figures_row("  by MMAD's script", script, columns))
    if counts:
        mine.append(("  questions", [f"{counts[name]:,}" if name in counts else "" for name in columns]))
    groups = [Group(run_name(metrics), mine)]
    groups += [Group(group.heading, group.rows) for group in published_groups(rows, columns)]
    notes = [_STRICT, note, *_trained_notes(metrics), TRAINED_NOTE]
    return [Grid(title, [(name, name) for name in columns], groups, " ".join(filter(None, notes)), remarks(rows))]


_BOX_RATES = {"precision": "P", "recall": "R", "f1": "F1"}
_SECTIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "grounding": ("Targets", {"acc@0.5": "acc@0.5", "mean_iou": "mean IoU", "targets": "targets"}),
    "quality": (
        "Anomaly scores of images",
        {"auroc": "AUROC", "ap": "AP", "f1_max": "F1-max", "f1_max_threshold": "at score", "scored_images": "images"},
    ),
    "boxes": (
        "Boxes",
        {
            **{f"{key}@{iou}": f"{name}@{iou}" for iou in ("0.33", "0.5", "0.75") for key, name in _BOX_RATES.items()},
            **{"ap": "AP", "ap50": "AP50", "ap75": "AP75", "mean_iou": "mean IoU"},
            **{"true_boxes": "true boxes", "predicted_boxes": "named boxes"},
        },
    ),
    "pixels": (
        "Masks",
        {
            **{"pixel_iou": "IoU", "pixel_dice": "Dice"},
            **{"pixel_iou_pooled": "pooled IoU", "pixel_dice_pooled": "pooled Dice"},
            **{"aupro": "AUPRO", "normal_marked": "normal marked", "defect_masks": "defect masks", "masks": "masks"},
        },
    ),
    "words": (
        "Named types and places",
        {
            **{"type_accuracy": "types right", "type_images": "of images"},
            **{"location_accuracy": "places right", "location_images": "of images"},
        },
    ),
}
"""Section of `metrics.json` -> title of its table, and the heading of each figure."""


def _section(metrics: Metrics, key: str, *, title: str = "") -> list[Grid]:
    """A section (dataset or `average` -> figure -> value), with intervals and splits; none where it is not there."""
    if not metrics.get(key):
        return []
    heading, names = _SECTIONS[key]
    rows: dict[str, Scores] = {("Average" if name == _AVERAGE else name): row for name, row in metrics[key].items()}
    columns = [name for name in names if any(name in row for row in rows.values())]
    drawn = metrics["interval_95"].get(_AVERAGE, {})
    for place, label in enumerate(("  95 % from", "  95 % to")):
        rows[label] = {name: bounds[place] for name, bounds in drawn.items()}
    for name, part in metrics.get("splits", {}).items():
        rows[f"  {name} ({part['questions']:,})"] = part.get(key, {}).get(_AVERAGE, {})
    counted = {name for row in metrics[key].values() for name, value in row.items() if isinstance(value, int)}
    cells = [
        (label, [_figure(name, row.get(name), count=name in counted) for name in columns])
        for label, row in rows.items()
    ]
    heads = [(names[name], names[name].replace(" ", "\n")) for name in columns]
    note = " ".join(["Rates in percent; IoU, Dice and scores from 0 to 1.", *_trained_notes(metrics)])
    return [Grid(title or heading, heads, [Group(run_name(metrics), cells)], note)]


def _figure(name: str, value: float | None, *, count: bool) -> str:
    """A count (of a dataset, never averaged), a value from 0 to 1 with three decimals, or a percent with two."""
    if value is None or count != isinstance(value, int):
        return ""
    if count:
        return f"{value:,}"
    part = any(word in name for word in ("iou", "dice", "threshold"))
    return f"{value:.{3 if part else 2}f}"


def _order(metrics: Metrics) -> list[Grid]:
    """How much answers depend on the order of the options; none where not every rotation was asked."""
    order = metrics.get("circular")
    if not order:
        return []
    places = list(order["by_position"])
    names = {"by_position": "right, where the right option stands there", "chosen_position": "share of the answers"}
    rows = [(label, [f"{order[key][place]:.2f}" for place in places]) for key, label in names.items()]
    note = (
        f"Percent of {order['questions']:,} questions asked with every rotation of their options: right in all "
        f"rotations {order['all_rotations_right']:.2f} %, answer changes with the rotation "
        f"{order['answer_changed']:.2f} %."
    )
    heads = [(place, place) for place in places]
    return [Grid("Order of the options, by position", heads, [Group(run_name(metrics), rows)], note)]


def comparison_tables(result: Mapping[str, Any]) -> list[Grid]:
    """The tables of two runs: every figure of the macro average, the average of each dataset, single questions.

    Args:
        result: The content of `compare.json`.
    """
    columns = [(name, name) for name in ("A", "B", "B - A", "95 % from", "95 % to", "p")]
    figures: Mapping[str, Mapping[str, Mapping[str, Any]]] = result["differences"]
    macro = [_difference(name, figure) for name, figure in figures[_AVERAGE].items()]
    by_set = [_difference(name, row[_AVERAGE]) for name, row in figures.items() if name != _AVERAGE and _AVERAGE in row]
    runs = " ".join(f"{side.upper()}: {result[side]['model']}, {protocol_name(result[side])}." for side in ("a", "b"))
    count = f"n = {result['questions']:,}."
    note = (
        f"{runs} {count} {_STRICT} Intervals: bootstrap over images; p: paired randomisation test by image, two-sided."
    )
    names = f"A: {result['a']['model']}; B: {result['b']['model']}"
    first = Grid(names, columns, [Group("Macro average", macro), Group("Average of a dataset", by_set)], note)
    single = [
        (name, (str(test["only_a"]), str(test["only_b"]), _p(test["p"]))) for name, test in result["mcnemar"].items()
    ]
    heads = [(name, name) for name in ("only A right", "only B right", "p")]
    note = (
        f"{runs} {count} Exact McNemar test, two-sided. It takes questions as independent: where an image has several "
        "(Object Analysis, all), report the test by image above."
    )
    return [first, Grid("Single questions", heads, [Group("", single)], note)]


def _difference(name: str, figure: Mapping[str, Any]) -> Row:
    low, high = figure["interval_95"]
    numbers = [f"{figure['a']:.2f}", f"{figure['b']:.2f}", *(f"{v:+.2f}" for v in (figure["difference"], low, high))]
    return name, (*numbers, _p(figure["p"]))


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"
