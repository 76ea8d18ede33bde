"""Runs that are cut, taken up again, cut into shards: nothing is lost, doubled or mixed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iadr1.errors import DataError, OutputError, UsageError
from iadr1.models import Completion, Request
from iadr1.models.replay import ReplayEngine
from iadr1.prompts import formats
from iadr1.records import Sample, meta_path, write_records
from iadr1.stages import scoring
from iadr1.stages.evaluate import folder, run
from tests.stages.evaluate_world import SCRATCH, World, detection, leave_out_pictures, sample, ugly, yes_no
from tests.stages.fake_engine import FakeEngine, share

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    leave_out_pictures(monkeypatch)
    return World(tmp_path)


class Spy(ReplayEngine):
    """Notes what it is asked."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.seen: list[Request] = []

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        self.seen += requests
        return super().generate(requests, max_new_tokens=max_new_tokens)


# going on


def test_a_cut_file_goes_on(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine)
    path = world.out / "predictions.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    calls: list[tuple[int, int]] = []
    spy = Spy(engine.model)
    result = run(world.config(batch_size=1), engine=spy, progress=lambda done, total: calls.append((done, total)))
    assert path.read_bytes() == whole
    assert [request.id for request in spy.seen] == ["c1", "d1", "d2", "d3"]
    assert calls == [(3, 7), (7, 7)]
    assert result.resumed == 3


def test_a_rotation_that_is_missing_is_asked(world: World) -> None:
    write_records(world.data, [sample("a1"), sample("b1")])
    world.run(FakeEngine(default="<answer>A</answer>"), option_order="circular")
    path = world.out / "predictions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    engine = FakeEngine(default="<answer>A</answer>")
    world.run(engine, option_order="circular")
    assert [request.id for request in engine.asked] == ["a1#2"]
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_a_sample_may_not_be_called_like_a_rotation_of_another(world: World) -> None:
    write_records(world.data, [sample("a"), sample("a#1")])
    engine = FakeEngine(default="<answer>A</answer>")
    with pytest.raises(DataError, match=r"sample 'a#1': it is also the key of a rotation of another sample's options"):
        world.run(engine, option_order="circular")
    assert world.run(engine).asked == 2


def test_a_finished_run_asks_nothing(world: World) -> None:
    engine = world.write(ugly())
    first = world.run(engine)
    spy = Spy(engine.model)
    second = world.run(spy)
    assert spy.seen == []
    assert second.metrics == first.metrics
    assert len(world.predictions()) == 7


def test_a_run_may_be_kept_from_going_on(world: World) -> None:
    engine = world.write(ugly())
    run(world.config(), engine=engine, resume=False)
    with pytest.raises(UsageError, match=r"out: the folder holds answers \(give another --out, or --resume\)"):
        run(world.config(), engine=engine, resume=False)


def test_a_larger_limit_goes_on_and_a_smaller_one_is_refused(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine, limit=3)
    assert world.run(engine, limit=5).resumed == 3
    assert world.run(engine).resumed == 5
    before = (world.out / "predictions.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"it holds 4 answers to questions that this run does not ask, such as"):
        world.run(engine, limit=3)
    assert (world.out / "predictions.jsonl").read_bytes() == before


def test_limit_draws_with_the_seed(world: World) -> None:
    engine = world.write(ugly())
    drawn = {}
    for seed in range(4):
        world.run(engine, limit=3, seed=seed, out=world.folder / f"out{seed}")
        drawn[seed] = [p.sample_id for p in world.predictions(world.folder / f"out{seed}")]
        assert len(drawn[seed]) == 3
        assert drawn[seed] == sorted(drawn[seed])
    assert len({tuple(keys) for keys in drawn.values()}) > 1


def test_a_mended_image_is_asked_again(world: World) -> None:
    engine = world.write(ugly())
    good = (world.folder / "a.png").read_bytes()
    (world.folder / "a.png").write_bytes(b"no image")
    assert world.run(engine).failed == 2
    (world.folder / "a.png").write_bytes(good)
    spy = Spy(engine.model)
    result = world.run(spy)
    assert [request.id for request in spy.seen] == ["a1", "a2"]
    assert (result.failed, result.resumed) == (0, 5)
    assert sorted(p.sample_id for p in world.predictions()) == [item.id for item, _ in ugly()]
    straight = world.run(engine, out=world.folder / "straight")
    assert plain(result.metrics) == plain(straight.metrics)


class Interrupted(FakeEngine):
    """Somebody presses Ctrl-C while it works on its third chunk."""

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        if len(self.batches) == 2:
            raise KeyboardInterrupt
        return super().generate(requests, max_new_tokens=max_new_tokens)


def test_ctrl_c_keeps_what_is_answered(world: World) -> None:
    write_records(world.data, [sample(f"{image}{number}") for image in "abcd" for number in range(3)])
    with pytest.raises(KeyboardInterrupt):
        world.run(Interrupted(default="<answer>A</answer>"), batch_size=1)
    assert [p.key for p in world.predictions()] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert world.run_file()["finished"] is False
    engine = FakeEngine(default="<answer>A</answer>")
    assert world.run(engine).resumed == 6
    assert [request.id for request in engine.asked] == ["c0", "c1", "c2", "d0", "d1", "d2"]
    assert world.run_file()["finished"] is True


# kill -9

KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from iadr1.config import EvalConfig
from iadr1.stages.evaluate import run
from tests.stages.fake_engine import FakeEngine

class Slow(FakeEngine):
    def generate(self, requests, *, max_new_tokens):
        time.sleep(0.002)
        return super().generate(requests, max_new_tokens=max_new_tokens)

data, out = map(Path, sys.argv[1:3])
total = int(sys.argv[3])
path = out / "predictions.jsonl"

def answered():
    return path.read_bytes().count(b"\\n") if path.exists() else 0

draw = random.Random(5)
for target in sorted(draw.sample(range(1, total - 20), 20)):
    child = os.fork()
    if not child:
        run(EvalConfig(benchmark="mmad", data=data, out=out, batch_size=1, shots=1), engine=Slow(default="<answer>B"))
        os._exit(0)
    while answered() < target and not os.waitpid(child, os.WNOHANG)[0]:
        time.sleep(0.001)
    time.sleep(draw.random() * 0.01)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    print(answered(), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")
def test_kill_9_at_20_random_moments_gives_the_file_of_an_uninterrupted_run(world: World) -> None:
    keys = [f"{image}{number}" for number in range(80) for image in "abcd"]
    write_records(world.data, [sample(key) for key in keys])
    killed = subprocess.run(
        [sys.executable, "-c", KILLER, str(world.data), str(world.out), str(len(keys))],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == 0, killed.stderr
    counts = list(map(int, killed.stdout.split()))
    assert len(counts) == 20
    assert counts == sorted(counts)
    assert counts[-1] < len(keys)
    assert len(set(counts)) > 10
    settings: dict[str, Any] = {"batch_size": 1, "shots": 1}
    result = world.run(FakeEngine(default="<answer>B"), **settings)
    assert counts[-1] <= result.resumed < len(keys)
    straight = world.run(FakeEngine(default="<answer>B"), out=world.folder / "straight", **settings)
    assert [p.key for p in world.predictions()] == sorted(keys, key=lambda key: (key[0], keys.index(key)))
    assert (world.out / "predictions.jsonl").read_bytes() == (straight.out / "predictions.jsonl").read_bytes()
    assert plain(result.metrics) == plain(straight.metrics)


# conditions


def test_another_protocol_is_refused_with_the_two_hashes(world: World) -> None:
    engine = world.write(ugly())
    first = world.run(engine).protocol
    before = (world.out / "predictions.jsonl").read_bytes()
    message = rf"of the protocol anomalyr1 {first.digest}, this run's is anomalyr1\+shots=1 [0-9a-f]{{16}} \(give"
    with pytest.raises(UsageError, match=message):
        world.run(engine, shots=1)
    for settings in ({"max_new_tokens": 17}, {"option_order": "circular"}, {"protocol": "mmad"}):
        with pytest.raises(UsageError, match=rf"of the protocol anomalyr1 {first.digest}, this run's is"):
            world.run(engine, **settings)
    assert (world.out / "predictions.jsonl").read_bytes() == before


def test_another_model_data_or_scoring_is_refused_with_both_values(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine)
    before = {path.name: path.read_bytes() for path in world.out.iterdir() if path.is_file()}
    other = world.answers({item.id: "<answer>A</answer>" for item, _ in ugly()})
    with pytest.raises(UsageError, match=f"of the model {engine.fingerprint}, this run's is {other.fingerprint}"):
        world.run(other)
    with pytest.raises(UsageError, match="of the scoring text, this run's is logprob"):
        world.run(engine, scoring="logprob")
    first = world.run_file()["data"][str(world.data)]
    write_records(world.data, [*(item for item, _ in ugly()), sample("d4")])
    with pytest.raises(UsageError, match=rf"for samples with the SHA-256 {first}, this run's is (?!{first})[0-9a-f]+"):
        world.run(engine)
    assert {path.name: path.read_bytes() for path in world.out.iterdir() if path.is_file()} == before


def test_answers_of_another_dtype_input_or_about_other_images_are_refused(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine, limit=3, dtype="float32")
    with pytest.raises(UsageError, match=r"of the dtype float32, this run's is bfloat16 \(give another --out"):
        world.run(engine, dtype="bfloat16")
    other = world.folder / "other"
    shutil.copytree(world.folder, other, ignore=shutil.ignore_patterns("out"))
    with pytest.raises(UsageError, match=f"about the images in {world.folder}, this run's is {other}"):
        world.run(engine, dtype="float32", root=other)
    smaller = ReplayEngine(engine.model, profile=FakeEngine().profile)
    with pytest.raises(UsageError, match=r"of the model input .*12845056.*, this run's is .*12544"):
        world.run(smaller, dtype="float32")
    # The same folder by another name is the same.
    assert world.run(engine, dtype="float32", root=other / "..").resumed == 3


def test_one_answer_of_another_protocol_or_model_is_refused(world: World) -> None:
    engine = world.write(ugly())
    run_of = world.run(engine)
    path = world.out / "predictions.jsonl"
    whole = world.predictions()
    for what, field, value in (("protocol", "protocol", "fedc"), ("model", "model", "other@b00")):
        write_records(path, [*whole[:-1], whole[-1].model_copy(update={field: value})])
        told = value.rpartition("@")[2]
        own = {"protocol": run_of.protocol.digest, "model": engine.fingerprint}[what]
        with pytest.raises(UsageError, match=f"its answers are of the {what} {told}, this run's is {own}"):
            world.run(engine)


def test_answers_with_other_domain_knowledge_are_refused(world: World) -> None:
    def write(text: str) -> None:
        knowledge = {"root": ".", "domain_knowledge": {"X": {"bolt": {"good": text}}}}
        meta_path(world.data).write_text(json.dumps(knowledge), encoding="utf-8")

    write_records(world.data, [sample("a1"), sample("b1")])
    write("The bolt is even.")
    engine = FakeEngine(default="<answer>A</answer>")
    world.run(engine, domain_knowledge=True, limit=1)
    first = world.run_file()["domain_knowledge"]
    assert world.run(engine, domain_knowledge=True, limit=1).resumed == 1
    write("The bolt is bent.")
    with pytest.raises(UsageError, match=rf"the domain knowledge {first}, this run's is (?!{first})[0-9a-f]{{16}}"):
        world.run(engine, domain_knowledge=True)


def test_answers_scored_by_another_prompt_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_records(world.data, [yes_no("a", SCRATCH)])
    engine = FakeEngine(default="<answer>Yes</answer>")
    world.run(engine, "iad")
    first = world.run_file()["score_prompt"]
    monkeypatch.setitem(formats._INSTRUCTIONS, "direct", "Yes or No?")
    with pytest.raises(UsageError, match=f"with the score prompt {first}, this run's is (?!{first})[0-9a-f]+"):
        world.run(engine, "iad")
    # The most probable option is that of the protocol's own prompt.
    world.run(engine, "iad", scoring="logprob", out=world.folder / "logprob")
    assert json.loads((world.folder / "logprob" / "run.json").read_text(encoding="utf-8"))["score_prompt"] is None


def test_what_auto_stands_for_is_the_dtype_of_a_run(world: World) -> None:
    class Computing(FakeEngine):
        dtype = "torch.float32"

    write_records(world.data, [sample("a1")])
    world.run(Computing(default="<answer>A</answer>"))
    assert world.run_file()["dtype"] == "float32"
    other = Computing(default="<answer>A</answer>")
    other.dtype = "torch.bfloat16"
    with pytest.raises(UsageError, match="of the dtype float32, this run's is bfloat16"):
        world.run(other)


def test_answers_without_a_run_file_are_refused(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine)
    (world.out / "run.json").unlink()
    with pytest.raises(UsageError, match=r"run\.json: cannot read"):
        world.run(engine)
    (world.out / "run.json").write_text('{"command": "eval", "protocol": {}}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"run\.json: it does not say which samples were asked, and how"):
        world.run(engine)


def test_batch_size_and_device_are_no_part_of_it(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine, batch_size=1)
    assert world.run(engine, batch_size=32, device="cpu").resumed == 7


# what a folder may hold


@pytest.mark.parametrize("command", ["detect", "train"])
def test_another_commands_folder_is_refused_before_a_model_is_loaded(world: World, command: str) -> None:
    world.write(ugly())
    world.out.mkdir()
    run_file = world.out / "run.json"
    run_file.write_text(json.dumps({"command": command}), encoding="utf-8")
    config = world.config(model="no/such/model")
    with pytest.raises(UsageError, match=rf"a run of another command \({command}\).*another --out"):
        run(config)
    assert json.loads(run_file.read_text(encoding="utf-8")) == {"command": command}
    run_file.write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match=r"run\.json: cannot read"):
        run(config)


@pytest.mark.parametrize("inside", ["", "deep/out"])
def test_an_out_that_is_a_file_is_refused_before_a_model_is_loaded(world: World, inside: str) -> None:
    world.write(ugly())
    config = world.config(out=world.folder / "a.png" / inside, model="no/such/model")
    with pytest.raises(UsageError, match=r"a\.png: this is a file, not a folder \(give another --out\)"):
        run(config)


def test_an_out_that_may_not_be_written_to_is_refused_before_a_model_is_loaded(world: World) -> None:
    world.write(ugly())
    world.out.mkdir(mode=0o500)
    if os.access(world.out, os.W_OK):
        pytest.skip("root may write everywhere")
    with pytest.raises(OutputError, match="cannot be written to"):
        run(world.config(model="no/such/model"))


# shards


def many() -> list[Sample]:
    """40 questions about 10 images."""
    return [
        detection(f"{image}{kind}", bad=image % 2 == 0, image=f"p{image}.png")
        if kind == 0
        else sample(f"{image}{kind}", image=f"p{image}.png", is_anomalous=image % 2 == 0)
        for kind in range(4)
        for image in range(10)
    ]


def answer(request: Request) -> str:
    """An answer that depends on the question only; some cannot be read."""
    return f"<think>.</think><answer>{'ABX'[int(share(request.id, 'answer') * 3)]}</answer>"


def plain(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without what names files."""
    return {key: value for key, value in metrics.items() if key not in ("predictions", "data")}


@pytest.mark.parametrize("number", [2, 5])
@pytest.mark.parametrize(("settings", "asked"), [({}, 40), ({"limit": 30, "seed": 3}, 30)], ids=["all", "limit"])
def test_shards_join_to_the_result_of_one_run(world: World, number: int, settings: dict[str, Any], asked: int) -> None:
    for image in range(10):
        Image.new("RGB", (20, 20), (image, 0, 0)).save(world.folder / f"p{image}.png")
    write_records(world.data, many())
    whole = world.run(FakeEngine(default=answer), out=world.folder / "whole", **settings)
    assert whole.asked == asked
    images: list[str] = []
    for part in range(1, number + 1):
        result = world.run(FakeEngine(default=answer), shard=f"{part}/{number}", **settings)
        assert result.out == world.out / f"shard-{part}-of-{number}"
        assert result.metrics["questions"] == result.asked
        images += {one.sample_id[0] for one in world.predictions(result.out)}
    assert len(images) == len(set(images)) == 10
    merged = scoring.measure(scoring.load(world.out), seed=settings.get("seed", 0), out=world.out, report=False)
    assert plain(merged.metrics) == plain(whole.metrics)
    parts = [one for folder in sorted(world.out.glob("shard-*")) for one in world.predictions(folder)]
    assert sorted(parts, key=lambda one: one.key) == sorted(world.predictions(whole.out), key=lambda one: one.key)


def test_a_shard_and_a_whole_run_do_not_share_a_folder(world: World) -> None:
    engine = world.write(ugly())
    world.run(engine, shard="1/2")
    with pytest.raises(UsageError, match=r"the folder holds shards of a run: shard-1-of-2 \('iadr1 score"):
        world.run(engine)
    world.run(engine, out=world.folder / "whole")
    with pytest.raises(UsageError, match="the folder holds a run without --shard"):
        world.run(engine, out=world.folder / "whole", shard="1/2")
    with pytest.raises(UsageError, match="the folder holds shard-1-of-2, a shard of another number of them"):
        world.run(engine, shard="1/3")


def test_more_shards_than_images(world: World) -> None:
    engine = world.write(ugly())
    with pytest.raises(UsageError, match="4 images cannot be cut into 5 shards"):
        world.run(engine, shard="1/5")


def test_a_killed_shard_goes_on(world: World) -> None:
    keys = "abcdrefgh"
    for key in keys:
        Image.new("RGB", (20, 20)).save(world.folder / f"{key}.png")
    write_records(world.data, [yes_no(key, SCRATCH) for key in keys])
    with pytest.raises(KeyboardInterrupt):
        world.run(Interrupted(default="<answer>Yes</answer>"), "iad", shard="1/1", batch_size=1)
    engine = FakeEngine(default="<answer>Yes</answer>")
    assert world.run(engine, "iad", shard="1/1").resumed == 8
    assert len(engine.asked) == 1


# two runs in one folder


def test_two_runs_do_not_share_a_folder(world: World) -> None:
    engine = world.write(ugly())
    with (
        folder.locked(world.out),
        pytest.raises(UsageError, match="another process is evaluating in this folder"),
    ):
        world.run(engine)
    assert not (world.out / "predictions.jsonl").exists()
    assert world.run(engine).asked == 7


def test_equal_doubles_are_dropped_and_differing_ones_named(world: World) -> None:
    engine = world.write(ugly())
    result = world.run(engine)
    path = world.out / "predictions.jsonl"
    whole = world.predictions()
    write_records(path, [*whole, whole[1].model_copy(update={"seconds": 9.0})])
    again = world.run(engine)
    assert (again.resumed, world.predictions()) == (7, whole)
    assert plain(again.metrics) == plain(result.metrics)
    write_records(path, [*whole, whole[1].model_copy(update={"answer": "B"})])
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"predictions\.jsonl:2: the question 'a2' has several answers that differ"):
        world.run(engine)
    assert path.read_bytes() == before


# what is on the disk, and when


def test_answers_are_on_the_disk_before_they_are_told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_records(world.data, [sample(f"{image}{number}") for image in "abcd" for number in range(3)])
    path = world.out / "predictions.jsonl"
    synced: list[int] = []
    plain = os.fsync

    def fsync(file: int) -> None:
        plain(file)
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            synced.append(path.read_bytes().count(b"\n"))

    monkeypatch.setattr(os, "fsync", fsync)
    told: list[tuple[int, int]] = []

    def tell(answered: int, _: int) -> None:
        told.append((answered, synced[-1] if synced else 0))

    run(world.config(batch_size=1), engine=FakeEngine(default="<answer>A</answer>"), progress=tell)
    assert told == [(0, 0), (3, 3), (6, 6), (9, 9), (12, 12)]


def test_no_prediction_is_without_its_masks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    write_records(world.data, [yes_no(key, SCRATCH) for key in "ab"])

    def killed(path: Path, records: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder, "_append", killed)
        with pytest.raises(KeyboardInterrupt):
            world.run(FakeEngine(), "detection", masks=True)
    assert world.predictions() == []
    assert world.run(FakeEngine(), "detection", masks=True).asked == 2
