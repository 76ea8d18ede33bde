"""The content of `metrics.json` as tables, with published rows below the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iadr1 import published
from iadr1.published import PublishedRow
from iadr1.reports.grid import Grid, Group, Row

Metrics = Mapping[str, Any]
Scores = Mapping[str, float]

_AVERAGE = "average"
_DETECTION = published.SUBTASKS[0]
_TRAINED = "\N{DAGGER}"
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
}
_CHOICE = (*published.SUBTASKS, "average", "overkill", "miss")
_YES_NO = (_DETECTION, "overkill", "miss", "precision", "recall", "f1")
_NOTE = "Percent; an answer that cannot be read is wrong."
_TRAINED_NOTE = f"{_TRAINED} trained on images of MMAD; for published rows without this mark nothing is known of it."


def result_tables(metrics: Metrics, *, task: str) -> list[Grid]:
    """The tables of one run, the headline first; then, where published rows of the same sets exist, those by set.

    Args:
        metrics: The content of `metrics.json`.
        task: `choice`, or `anomaly` for yes/no.
    """
    datasets = [name for name in metrics["strict"] if name != _AVERAGE]
    if task == "anomaly":
        side = _by_set(metrics, "Mean of the accuracies on normal and anomalous images", datasets, published.iadr1())
        return [_headline(metrics, _YES_NO, ()), *side]
    by_class = _by_category(metrics)
    if by_class:
        return [_headline(metrics, _CHOICE, ()), *by_class]
    return [
        _headline(metrics, _CHOICE, published.table_2()),
        *_by_set(metrics, "Average of the seven subtasks by dataset", datasets, published.table_3(), key=_AVERAGE),
        *_by_set(metrics, f"{_DETECTION} by dataset", datasets, published.table_5()),
    ]


def _headline(metrics: Metrics, columns: Sequence[str], rows: Sequence[PublishedRow]) -> Grid:
    own = Group(_whose(metrics), _own_rows(metrics, columns), _own_rows(metrics, columns, decimals=1))
    groups = [own, *_published_groups(rows, columns)]
    notes = [_NOTE, f"Answers read: {metrics['parse_rate']:.2f} %."]
    if rows:
        known = {row.dataset for row in published.mmad()} | {_AVERAGE}
        other = "" if known.issuperset(metrics["strict"]) else " about MMAD's own images, not comparable with others"
        notes += [f"Published rows are by MMAD's script{other}.", _TRAINED_NOTE]
    return Grid(_title(metrics), [(name, _HEADINGS[name]) for name in columns], groups, " ".join(notes))


def _title(metrics: Metrics) -> str:
    title = f"{metrics['benchmark'] or 'questions'}: {metrics['model']}"
    if metrics["complete"] is False:
        asked = metrics["questions"] + metrics["missing"]
        return f"{title} (partial: {metrics['questions']} of {asked} questions)"
    return title


def _whose(metrics: Metrics) -> str:
    """The user's run, with the protocol it was asked under, marked where it was trained on images it is asked about."""
    shots = "" if metrics["shots"] is None else f", {metrics['shots']}-shot"
    protocol = f"protocol {metrics['protocol']}" if metrics["protocol"] else "protocol not stated"
    return f"{_own_name(metrics)}, {protocol}{shots}"


def _own_name(metrics: Metrics) -> str:
    mark = f" {_TRAINED}" if metrics.get("includes_trained_images") else ""
    return f"{metrics['model']}{mark}"


def _own_rows(metrics: Metrics, columns: Sequence[str], *, decimals: int = 2) -> list[Row]:
    strict: Mapping[str, Scores] = metrics["strict"]
    detection: Mapping[str, Scores] = metrics["detection"]
    interval = metrics["interval_95"][_AVERAGE]
    found: dict[str, Scores] = {name: {**scores, **detection.get(name, {})} for name, scores in strict.items()}
    found["Average"] = found.pop(_AVERAGE)
    for place, label in enumerate(("  95 % from", "  95 % to")):
        found[label] = {name: bounds[place] for name, bounds in interval.items()}
    found["  read answers only"] = metrics["parsed"].get(_AVERAGE, {})
    found["  by MMAD's script"] = metrics["mmad_compat"][_AVERAGE]
    return [_row(label, figures, columns, decimals=decimals) for label, figures in found.items()]


def _published_groups(rows: Sequence[PublishedRow], columns: Sequence[str]) -> list[Group]:
    """Published rows by the protocol they state; in the terminal the references, the best and the trained ones."""
    settings = dict.fromkeys(row.setting for row in rows)
    free = [row for row in rows if row.trained is None]
    best = max(free, key=lambda row: row.figures.get(_AVERAGE, 0.0), default=None)
    groups = []
    for setting in settings:
        members = [row for row in rows if row.setting == setting]
        brief = [row for row in members if row is best or row.trained is not None]
        heading = f"{members[0].source}, {setting or 'protocol not stated'}"
        groups.append(Group(heading, _published_rows(members, columns), _published_rows(brief, columns, decimals=1)))
    return [group for group in groups if group.rows]


def _published_rows(rows: Sequence[PublishedRow], columns: Sequence[str], *, decimals: int = 2) -> list[Row]:
    names = [f"{row.model} {_TRAINED}" if row.trained else row.model for row in rows]
    return [_row(name, row.figures, columns, decimals=decimals) for name, row in zip(names, rows, strict=True)]


def _by_set(
    metrics: Metrics, title: str, datasets: Sequence[str], rows: Sequence[PublishedRow], *, key: str = _DETECTION
) -> list[Grid]:
    """One column for each dataset; none where nothing is published of any of them."""
    own = {name: scores[key] for name, scores in metrics["strict"].items() if key in scores}
    comparable = [row for row in rows if any(name in row.figures for name in datasets)]
    return _beside(metrics, title, own, comparable) if comparable and own else []


def _by_category(metrics: Metrics) -> list[Grid]:
    """One column for each class of MVTec 3D-AD, as in AnomalyR1's Table 4; none for other classes."""
    rows = published.table_4()
    if not all(set(table) <= set(rows[0].figures) for table in metrics["per_category"].values()):
        return []
    own = {
        name: scores[_AVERAGE]
        for table in metrics["per_category"].values()
        for name, scores in table.items()
        if _AVERAGE in scores
    }
    ordered = {name: own[name] for name in rows[0].figures if name in own}
    ordered[_AVERAGE] = sum(ordered.values()) / len(ordered)
    return _beside(metrics, "Average of the subtasks by class", ordered, rows)


def _beside(metrics: Metrics, title: str, own: Scores, rows: Sequence[PublishedRow]) -> list[Grid]:
    columns = [*(name for name in own if name != _AVERAGE), *([_AVERAGE] if _AVERAGE in own else [])]
    groups = [Group(_whose(metrics), [_row(_own_name(metrics), own, columns)])]
    groups += [Group(group.heading, group.rows) for group in _published_groups(rows, columns)]
    return [Grid(title, [(name, name) for name in columns], groups, f"{_NOTE} {_TRAINED_NOTE}")]


def comparison_tables(result: Mapping[str, Any]) -> list[Grid]:
    """The tables of two runs: every figure of the macro average, the average of each dataset, single questions.

    Args:
        result: The content of `compare.json`.
    """
    columns = [(name, name) for name in ("A", "B", "B - A", "95 % from", "95 % to", "p")]
    figures: Mapping[str, Mapping[str, Mapping[str, Any]]] = result["differences"]
    macro = [_difference(name, figure) for name, figure in figures[_AVERAGE].items()]
    by_set = [_difference(name, row[_AVERAGE]) for name, row in figures.items() if name != _AVERAGE and _AVERAGE in row]
    names = f"A: {result['a']['model']}; B: {result['b']['model']}"
    note = (
        "Percent; an answer that cannot be read is wrong. Intervals: bootstrap over images; p: paired randomisation "
        "test by image, two-sided."
    )
    first = Grid(names, columns, [Group("Macro average", macro), Group("Average of a dataset", by_set)], note)
    single = [
        (name, (str(test["only_a"]), str(test["only_b"]), _p(test["p"]))) for name, test in result["mcnemar"].items()
    ]
    heads = [(name, name) for name in ("only A right", "only B right", "p")]
    note = (
        "Exact McNemar test, two-sided. It takes questions as independent: where an image has several (Object "
        "Analysis, all), report the test by image above."
    )
    return [first, Grid("Single questions", heads, [Group("", single)], note)]


def _difference(name: str, figure: Mapping[str, Any]) -> Row:
    low, high = figure["interval_95"]
    numbers = [f"{figure['a']:.2f}", f"{figure['b']:.2f}", *(f"{v:+.2f}" for v in (figure["difference"], low, high))]
    return name, (*numbers, _p(figure["p"]))


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _row(label: str, figures: Scores, columns: Sequence[str], *, decimals: int = 2) -> Row:
    return label, [f"{figures[name]:.{decimals}f}" if name in figures else "" for name in columns]
