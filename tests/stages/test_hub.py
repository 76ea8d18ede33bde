"""Pushing to the hub: refused before training where it cannot work, and harmless where it fails afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub
import pytest
from huggingface_hub import constants

from iadr1.config import SftConfig
from iadr1.errors import ModelError, UsageError
from iadr1.stages.training import hub


class FakeApi:
    """What `HfApi` is asked for here; it fails where `failure` is set."""

    failure: Exception | None = None
    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self) -> None:
        self.calls.append(("connect", {}))

    def create_repo(self, repo: str, **given: Any) -> str:
        self.calls.append(("create", {"repo": repo, **given}))
        return f"https://hub.test/{repo}"

    def upload_folder(self, **given: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.calls.append(("upload", given))


@pytest.fixture(autouse=True)
def _online_with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    monkeypatch.setattr(FakeApi, "calls", [])


@pytest.fixture
def finished(tmp_path: Path) -> tuple[SftConfig, dict[str, Any]]:
    (tmp_path / "run" / "model").mkdir(parents=True)
    return SftConfig(out=tmp_path / "run", push_to_hub="me/model"), {"state": "finished"}


@pytest.mark.parametrize("name", ["model", "a/b/c", "/model", "me/", "me/my model", "me/model?", "me/..", ""])
def test_what_is_no_repository_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="push_to_hub"):
        hub.check_push(name)


def test_without_network_or_token_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    hub.check_push("me/model.v2")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UsageError, match=r"no token for the hub.*HF_TOKEN"):
        hub.check_push("me/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        hub.check_push("me/model")
    assert FakeApi.calls == []


def test_a_bad_name_is_refused_before_the_model_is_loaded(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from iadr1.records import Sample, write_records
    from iadr1.stages import sft

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    one = Sample(
        id="a", dataset="t", category="c", split="train", image="a.png", task="anomaly", question="Is it?",
        answer="No", is_anomalous=False, question_type="q",
    )  # fmt: skip
    write_records(tmp_path / "s.jsonl", [one])

    def never(*given: Any, **more: Any) -> None:
        raise AssertionError("training has begun")

    monkeypatch.setattr(sft, "_train", never)
    config = SftConfig(model=str(tiny_model), data=tmp_path / "s.jsonl", out=tmp_path / "run", push_to_hub="model")
    with pytest.raises(UsageError, match="push_to_hub 'model' is not owner/name"):
        sft.run(config)


def test_the_folder_goes_to_a_private_repository_once(finished: tuple[SftConfig, dict[str, Any]]) -> None:
    config, info = finished
    notes: list[str] = []
    hub.publish(config, info, notes.append)
    assert FakeApi.calls[1] == ("create", {"repo": "me/model", "private": True, "exist_ok": True})
    name, given = FakeApi.calls[2]
    assert (name, given["repo_id"], given["folder_path"]) == ("upload", "me/model", config.out / "model")
    assert notes == ["pushed to https://hub.test/me/model"]
    assert json.loads((config.out / "run.json").read_text(encoding="utf-8"))["pushed"] == "me/model"
    hub.publish(config, info, notes.append)
    assert len(FakeApi.calls) == 3


def test_nothing_is_pushed_unasked_or_by_another_process(
    finished: tuple[SftConfig, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, info = finished
    hub.publish(SftConfig(out=config.out), info, print)
    monkeypatch.setenv("RANK", "1")
    hub.publish(config, info, print)
    assert FakeApi.calls == []


def _http_error() -> Exception:
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of its HTTP library

    error: Exception = HTTPError("403 Forbidden\nlong story")
    return error


@pytest.mark.parametrize(
    "failure", [lambda: OSError("no route to host"), lambda: ValueError("bad file"), _http_error], ids=str
)
def test_a_hub_that_fails_leaves_the_model_and_can_be_tried_again(
    finished: tuple[SftConfig, dict[str, Any]], failure: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, info = finished
    monkeypatch.setattr(FakeApi, "failure", failure())
    with pytest.raises(ModelError, match="the hub did not take the model: ") as caught:
        hub.publish(config, info, print)
    assert f"the model lies in {config.out / 'model'} all the same" in str(caught.value)
    assert "long story" not in str(caught.value)
    assert (config.out / "model").is_dir()
    assert "pushed" not in info
    monkeypatch.setattr(FakeApi, "failure", None)
    hub.publish(config, info, lambda line: None)
    assert info["pushed"] == "me/model"
