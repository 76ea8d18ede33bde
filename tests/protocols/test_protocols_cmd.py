"""`iadr1 protocols ls|show|cp`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iadr1 import cli, protocols


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    """Exit code, stdout and stderr of `iadr1 protocols ...`."""
    with pytest.raises(SystemExit) as ended:
        cli.main(("protocols", *words))
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_ls_lists_every_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "ls")
    assert code == 0
    assert out.splitlines()[0].split() == ["protocol", "version", "hash", "asks", "shots", "options"]
    for name in protocols.names():
        protocol = protocols.load(name)
        row = rf"^{re.escape(name)} +1 +{protocol.digest} +{protocol.tasks[0]} +.*\n +{re.escape(protocol.about)}$"
        assert re.search(row, out, re.MULTILINE)
    assert re.search(r"^mmad .* 1 of 8 +none$", out, re.MULTILINE)
    assert re.search(r"^anomalyr1-repo .* never +seeded$", out, re.MULTILINE)
    assert re.search(r"^iadr1 .* 0 of 9 +not shown$", out, re.MULTILINE)


@pytest.mark.parametrize("name", protocols.names())
def test_show_tells_every_field_and_the_prompt(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    protocol = protocols.load(name)
    code, out, _ = call(capsys, "show", name)
    assert code == 0
    fields, _, example = out.partition("\n\n")
    told = {line.split()[0] for line in fields.splitlines()}
    parts = {f"parts.{number}" for number in range(len(protocol.parts))}
    assert told == {"hash", *parts, *protocols.base.fields()} - {"parts"}
    assert re.search(rf"^hash +{protocol.digest}$", fields, re.MULTILINE)
    assert f"images sent: {protocol.shots + 1}\n" in example
    assert example.count("[image: query.png]") == 1


def test_show_follows_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--shots", "2", "--template", "similar", "--domain-knowledge", "--option-order", "circular")
    code, out, _ = call(capsys, "show", "mmad", *words, "--max-new-tokens", "9", "--seed", "3")
    assert code == 0
    assert "mmad+shots=2+template=similar+domain_knowledge=true+option_order=circular+max_new_tokens=9\n" in out
    example = out.partition("\n\n")[2].splitlines()
    assert example[0] == "Example, question 2 of 2 about one image, the first of 4 rotations; images sent: 3"
    places = [example.index(f"    [image: {name}.png]") for name in ("similar-1", "similar-2", "query")]
    assert places == sorted(places)
    assert example.index("    <Broken> What a broken one looks like.") < places[0]
    assert example[example.index("    Question 1: Is there any defect in the object?") + 1] == "    A. Yes."
    assert example[1] == "system:"
    assert "user:" in example


def test_a_flag_of_show_has_no_type(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "show", "--help")
    assert code == 0
    assert "--domain-knowledge" in out
    assert "bool" not in out


def test_show_puts_the_image_into_a_plain_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "show", "anomalyr1-repo")
    assert "without a chat template:\n    Test image: [image: query.png]\n\n    What is the type" in out
    _, other, _ = call(capsys, "show", "anomalyr1-repo", "--seed", "1")
    assert other != out
    assert "<image>" not in out


def test_show_refuses_what_the_protocol_cannot_take(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "show", "anomalyr1-repo", "--shots", "1")
    assert (code, err) == (2, "error: the protocol 'anomalyr1-repo' cannot take shots=1: it shows none\n")
    code, _, err = call(capsys, "show", "mmda")
    assert code == 2
    assert "did you mean 'mmad'?" in err


def test_a_copy_is_a_protocol_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mmad", "anomalyr1-repo"):
        code, out, _ = call(capsys, "cp", name, f"my-{name}.yaml")
        assert (code, out) == (0, f"my-{name}.yaml: iadr1 eval BENCHMARK --protocol my-{name}.yaml\n")
        mine = protocols.load(f"my-{name}.yaml")
        assert (mine.name, mine.digest) == (f"my-{name}", protocols.load(name).digest)
    path = tmp_path / "my-mmad.yaml"
    path.write_text(path.read_text("utf-8").replace("shots: 1", "shots: 3"), "utf-8")
    assert call(capsys, "cp", "my-mmad.yaml", "folder/second.yml")[0] == 0
    assert protocols.load("folder/second.yml").shots == 3


def test_cp_overwrites_nothing_and_copies_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
    code, _, err = call(capsys, "cp", "mmad", "mine.yaml")
    assert (code, err) == (2, "error: mine.yaml: the file is there already (name another file)\n")
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"
    code, _, err = call(capsys, "cp", "mine.yaml", "other.yaml")
    assert (code, err) == (2, "error: mine.yaml: a protocol is a list of 'key: value' lines\n")
    code, _, err = call(capsys, "cp", "mmad", "mmad.yaml")
    assert (code, err) == (2, "error: 'mmad' is the name of a shipped protocol (name the file otherwise)\n")
    code, _, err = call(capsys, "cp", "mmad", "mine.txt")
    assert (code, err) == (2, "error: 'mine.txt' is no YAML file (end its name in .yaml)\n")
    code, _, err = call(capsys, "cp", "mmad", "mine.yaml/other.yaml")
    assert code == 1
    assert "cannot write" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml"]
