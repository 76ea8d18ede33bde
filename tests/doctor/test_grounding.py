"""The self-test of the boxes' space: every wrong space is found, a right one is confirmed, a guess is not judged."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from iadr1 import prompts
from iadr1.cli.app import app
from iadr1.config import DoctorConfig
from iadr1.errors import NoProbabilitiesError
from iadr1.geometry import Box
from iadr1.models.base import Completion, Profile, Request, Unweighed
from iadr1.models.profiles import PROFILES
from iadr1.prompts import LabelledBox
from iadr1.stages import doctor
from iadr1.stages.doctor.grounding import LEAST_SCENES, SIZES, STORED, draw_scenes, frames, ground, judge
from tests.models.fake_server import Answer, Call, FakeServer, written

SPACES = ("input_px", "norm1000", "unit", "unit_square", STORED)
TRUTH = {scene.request.id: scene.box for scene in draw_scenes(40)}


class Pointing:
    """Finds every rectangle and writes it in one space, whatever its profile says."""

    name, model, fingerprint = "fake", "fake", "0"

    def __init__(self, family: str, space: str, *, offset: float = 0.03, error: str | None = None) -> None:
        self.profile: Profile = PROFILES[family]
        self.space, self.offset, self.error = space, offset, error

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        return [Completion(one.id, "" if self.error else self._text(one), error=self.error) for one in requests]

    def _text(self, request: Request) -> str:
        size = request.images[0].size
        x1, y1, x2, y2 = TRUTH.get(request.id, (10.0, 10.0, 200.0, 200.0))
        shift_x, shift_y = self.offset * size[0], self.offset * size[1]
        box = (x1 + shift_x, y1 - shift_y, x2 + shift_x, y2 - shift_y)
        return prompts.render_boxes([LabelledBox(box, "it")], frames(self.profile, size)[self.space])

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        return [{"Yes": 0.5, "No": 0.5} for _ in requests]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("family", sorted(PROFILES))
def test_the_space_that_is_written_is_found(family: str, space: str) -> None:
    found = ground(Pointing(family, space), draw_scenes(12), max_new_tokens=64)
    expected = PROFILES[family].box_space.value
    assert found.best == space, found.why
    assert found.verdict == ("agrees" if space == expected else "disagrees"), found.why
    assert found.means[space] > 0.5


@pytest.mark.parametrize("family", sorted(PROFILES))
def test_the_fewest_scenes_allowed_are_enough(family: str) -> None:
    space = PROFILES[family].box_space.value
    assert ground(Pointing(family, space), draw_scenes(LEAST_SCENES), max_new_tokens=64).verdict == "agrees"
    assert ground(Pointing(family, space), draw_scenes(LEAST_SCENES - 1), max_new_tokens=64).verdict == "not conclusive"


def test_a_model_that_guesses_is_not_judged() -> None:
    class Guessing(Pointing):
        def _text(self, request: Request) -> str:
            generator = random.Random(request.id)
            x, y = generator.randint(0, 700), generator.randint(0, 700)
            box = [x, y, x + generator.randint(20, 300), y + generator.randint(20, 300)]
            return json.dumps([{"bbox_2d": box, "label": "it"}])

    found = ground(Guessing("qwen2_5_vl", "input_px"), draw_scenes(24), max_new_tokens=64)
    assert found.verdict == "not conclusive"
    assert "no space finds the rectangles" in found.why


def test_a_model_that_writes_no_box_is_not_judged() -> None:
    class Talking(Pointing):
        def _text(self, request: Request) -> str:
            return "There is a red rectangle."

    found = ground(Talking("qwen2_5_vl", "input_px"), draw_scenes(12), max_new_tokens=64)
    assert found.verdict == "not conclusive"
    assert set(found.means.values()) == {0.0}
    assert found.example == "There is a red rectangle."


def test_a_space_that_is_better_by_chance_only_is_not_named() -> None:
    close = [0.6, 0.5] * 6
    ious = {"input_px": close, "norm1000": close[::-1], "unit": [0.0] * 12}
    verdict, _, why = judge(ious, "input_px")
    assert verdict == "not conclusive"
    assert "in 6 scenes and loses in 6" in why


def test_the_scenes_are_always_the_same_and_tell_the_spaces_apart() -> None:
    first, again = draw_scenes(12), draw_scenes(12)
    for scene, other in zip(first, again, strict=True):
        assert scene.box == other.box
        assert scene.request.images[0].tobytes() == other.request.images[0].tobytes()
    for family, profile in PROFILES.items():
        for size in SIZES:
            width, height = profile.input_wh(size)
            assert max(size[0] / width, size[1] / height) > 1.5, f"{family} is shown {size} as it is"


def test_the_box_is_the_rectangle() -> None:
    for scene in draw_scenes(4):
        image = scene.request.images[0]
        x1, y1, x2, y2 = (int(value) for value in scene.box)
        colour = image.getpixel((x1, y1))
        assert image.getpixel((x2 - 1, y2 - 1)) == colour
        assert image.getpixel((max(0, x1 - 1), y1)) != colour or x1 == 0
        assert x2 == image.width or image.getpixel((x2, y1)) != colour


# the stage and the command


def rows(report: doctor.Report) -> dict[str, doctor.Row]:
    return {f"{row.group} {row.name}": row for row in report.rows}


@pytest.mark.parametrize(("space", "state"), [("input_px", "ok"), ("norm1000", "fail"), (STORED, "fail")])
def test_a_wrong_space_fails_the_report(space: str, state: str) -> None:
    report = doctor.run(DoctorConfig(engine="replay", model="fake"), engine=Pointing("qwen2_5_vl", space))
    row = rows(report)["boxes space"]
    assert row.state == state
    assert report.ok == (state == "ok")
    if state == "fail":
        assert f"looks like {space}" in row.found
        assert row.advice


def test_the_report_is_json() -> None:
    report = doctor.run(DoctorConfig(engine="replay", model="fake"), engine=Pointing("qwen3_vl", "norm1000"))
    value = json.loads(json.dumps(report.to_dict()))
    assert value["grounding"]["verdict"] == "agrees"
    assert value["grounding"]["means"]["norm1000"] > 0.5
    assert {row["state"] for row in value["rows"]} <= {"ok", "warn", "fail", "skip"}


def test_without_scenes_nothing_is_pointed_at() -> None:
    config = DoctorConfig(engine="replay", model="fake", scenes=0)
    report = doctor.run(config, engine=Pointing("qwen2_5_vl", "norm1000"))
    assert report.grounding is None
    assert "boxes space" not in rows(report)


def test_an_engine_without_probabilities_is_a_warning() -> None:
    class Mute(Pointing):
        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            raise NoProbabilitiesError("the server gives no log-probabilities")

    report = doctor.run(DoctorConfig(engine="replay", model="fake"), engine=Mute("qwen2_5_vl", "input_px"))
    assert rows(report)["engine probabilities"].state == "warn"
    assert "--mode think" in rows(report)["engine probabilities"].advice


def test_a_model_that_computes_no_numbers_fails() -> None:
    class Broken(Pointing):
        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            return [Unweighed("no finite probabilities (nan for Yes)")] * len(requests)

    report = doctor.run(DoctorConfig(engine="replay", model="fake"), engine=Broken("qwen2_5_vl", "input_px"))
    row = rows(report)["engine probabilities"]
    assert (row.state, row.found) == ("fail", "no finite probabilities (nan for Yes)")
    assert not report.ok


def test_an_engine_that_answers_nothing_fails() -> None:
    engine = Pointing("qwen2_5_vl", "input_px", error="the server is down")
    report = doctor.run(DoctorConfig(engine="replay", model="fake"), engine=engine)
    assert rows(report)["engine answer"].state == "fail"
    assert "the server is down" in rows(report)["engine answer"].found
    assert not report.ok


def _red_box(call: Call) -> Box:
    """Where the red pixels of the image are, as it was received."""
    image = call.images[0].convert("RGB")
    red = image.getchannel("R").point(lambda value: 255 if 180 < value < 220 else 0)
    green = image.getchannel("G").point(lambda value: 255 if value < 100 else 0)
    assert red.getbbox() is not None
    found = green.getbbox()
    assert found is not None
    return found


def _norm1000(call: Call) -> Answer:
    """A served model that sees well and writes thousandths of the image."""
    top = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2.5}]
    if "rectangle" not in call.text:
        return written("Yes", logprobs={"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": top}]})
    width, height = call.images[0].size
    x1, y1, x2, y2 = _red_box(call)
    box = [round(1000 * x1 / width), round(1000 * y1 / height), round(1000 * x2 / width), round(1000 * y2 / height)]
    return written(f'[{{"bbox_2d": {box}, "label": "it"}}]')


@pytest.mark.parametrize(("family", "code"), [("qwen3_vl", 0), ("qwen2_5_vl", 1)])
def test_a_served_model_of_another_family_is_found(family: str, code: int) -> None:
    pytest.importorskip("openai")
    with FakeServer(_norm1000, models=["m"]) as server:
        words = ["doctor", "--engine", "server", "--base-url", server.url, "--model", "m", "--json", "--family", family]
        report = json.loads(CliRunner().invoke(app, words, prog_name="iadr1").stdout)
    found = {f"{row['group']} {row['name']}": row for row in report["rows"]}
    assert found["engine served models"]["state"] == "ok"
    assert found["engine answer"]["state"] == "ok"
    assert found["engine probabilities"]["state"] == "ok"
    assert report["grounding"]["best"] == "norm1000"
    assert found["boxes space"]["state"] == ("fail" if code else "ok")
    if code:
        assert "--family" in found["boxes space"]["advice"]
        assert "qwen3_vl" in found["boxes space"]["advice"]


def test_the_command_ends_with_1_where_something_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    row = doctor.Row("boxes", "space", "fail", "disagrees [/]", "do this")
    for rows_found, code in (([row], 1), ([dataclasses.replace(row, state="warn")], 0)):
        monkeypatch.setattr(doctor, "run", lambda config, progress, found=rows_found: doctor.Report(found))
        result = CliRunner().invoke(app, ["doctor"], prog_name="iadr1")
        assert result.exit_code == code
        assert "disagrees [/]" in result.output
        assert "space: do this" in result.output
