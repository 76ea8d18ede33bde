"""`prepare --download` against a small hub on loopback that speaks the hub's protocol."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

import iadr1
from iadr1.datasets import Files, Hub, Source
from iadr1.errors import DataError, UsageError
from iadr1.records import Sample, read_records
from iadr1.stages.prepare.download import download, unpack

pytest.importorskip("huggingface_hub")

CHECKOUT = Path(iadr1.__file__).parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class SmallHub:
    """A dataset repository served as the hub does: its description, then each file with ETag and commit."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.stated = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        self.fetched: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                del args

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                path = unquote(self.path.partition("?")[0])
                if path.startswith("/api/datasets/"):
                    content, headers = hub.description(), {"Content-Type": "application/json"}
                else:
                    name = path.split("/resolve/")[-1].partition("/")[2]
                    if name not in hub.files:
                        self.send_error(404)
                        return
                    content = hub.files[name]
                    headers = {"ETag": f'"{hub.stated[name]}"', "X-Repo-Commit": COMMIT}
                    if body:
                        hub.fetched.append(name)
                self.send_response(200)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def description(self) -> bytes:
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "blobId": "0" * 40,
                "lfs": {"sha256": self.stated[name], "size": len(content), "pointerSize": 100},
            }
            for name, content in self.files.items()
        ]
        return json.dumps({"id": "owner/set", "sha": COMMIT, "siblings": siblings}).encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    found = SmallHub(
        {
            "index.json": b"{}",
            "images.zip": zipped({"images/a.png": b"first", "images/b.png": b"second"}),
            "README.md": b"not asked for",
        }
    )
    import huggingface_hub
    from huggingface_hub import constants, file_download, hf_api

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", found.url)
    template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hf_api.HfApi(endpoint=found.url))
    yield found
    found.server.shutdown()
    found.server.server_close()


def source(hub: Hub | None) -> Source:
    def scan(files: Files) -> Iterator[object]:
        return iter(())

    return Source(
        scan=scan,  # type: ignore[arg-type]
        title="A set",
        licence="CC-BY-4.0",
        page="https://example.org/set",
        citation="",
        tree="index.json",
        hub=hub,
    )


WANTED = Hub("owner/set", ("*.json", "*.zip"))


def test_files_are_fetched_checked_and_unpacked_once(hub: SmallHub, tmp_path: Path) -> None:
    told: list[str] = []
    download("set", source(WANTED), tmp_path, lambda name, done, total: told.append(f"{name} {done}/{total}"))
    assert (tmp_path / "images/a.png").read_bytes() == b"first"
    assert (tmp_path / "images/b.png").read_bytes() == b"second"
    assert told == ["owner/set index.json 1/2", "owner/set images.zip 2/2"]
    assert sorted(hub.fetched) == ["images.zip", "index.json"]
    download("set", source(WANTED), tmp_path, lambda *_: None)
    assert sorted(hub.fetched) == ["images.zip", "index.json"]


def test_a_file_lost_since_is_fetched_again(hub: SmallHub, tmp_path: Path) -> None:
    download("set", source(WANTED), tmp_path, lambda *_: None)
    (tmp_path / "index.json").unlink()
    download("set", source(WANTED), tmp_path, lambda *_: None)
    assert hub.fetched.count("index.json") == 2
    assert hub.fetched.count("images.zip") == 1


def test_a_wrong_hash_is_refused_and_the_file_removed(hub: SmallHub, tmp_path: Path) -> None:
    hub_with_hash = Hub("owner/set", ("index.json",), {"index.json": "0" * 64})
    with pytest.raises(DataError, match="SHA-256"):
        download("set", source(hub_with_hash), tmp_path, lambda *_: None)
    assert not (tmp_path / "index.json").exists()
    assert hub.fetched == ["index.json"]


def test_a_set_without_a_copy_names_page_and_licence(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        download("set", source(None), tmp_path, lambda *_: None)
    assert "https://example.org/set" in str(caught.value.hint)
    assert "CC-BY-4.0" in str(caught.value.hint)


def test_offline_says_so(hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE"):
        download("set", source(WANTED), tmp_path, lambda *_: None)
    assert not hub.fetched


def test_nothing_of_the_set_on_the_hub(hub: SmallHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds none of other\.zip"):
        download("set", source(Hub("owner/set", ("other.zip",))), tmp_path, lambda *_: None)
    assert not hub.fetched


def test_a_hub_that_is_away_is_an_error_with_a_next_step(hub: SmallHub, tmp_path: Path) -> None:
    hub.server.shutdown()
    hub.server.server_close()
    with pytest.raises(DataError) as caught:
        download("set", source(WANTED), tmp_path, lambda *_: None)
    assert "HF_ENDPOINT" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "a/../../out.png"])
def test_members_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "bad.zip"
    archive.write_bytes(zipped({"good.png": b"x", name: b"y"}))
    with pytest.raises(DataError, match="leads out"):
        unpack(archive, tmp_path / "root")
    assert not list(tmp_path.rglob("out.png"))
    assert not list(tmp_path.rglob("good.png"))


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "link.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    (tmp_path / "root").mkdir()
    with pytest.raises(DataError, match="is a link"):
        unpack(archive, tmp_path / "root")


def test_unpacking_goes_on_where_it_was(tmp_path: Path) -> None:
    archive = tmp_path / "set.zip"
    archive.write_bytes(zipped({"a.png": b"first", "b.png": b"second"}))
    (tmp_path / "a.png").write_bytes(b"FIRST")
    (tmp_path / "b.png").write_bytes(b"sec")
    unpack(archive, tmp_path)
    assert (tmp_path / "a.png").read_bytes() == b"FIRST"
    assert (tmp_path / "b.png").read_bytes() == b"second"


def test_a_broken_archive(tmp_path: Path) -> None:
    archive = tmp_path / "set.zip"
    archive.write_bytes(b"PK not really")
    with pytest.raises(DataError, match="zip archive"):
        unpack(archive, tmp_path)


@pytest.mark.parametrize("offset", [6, 8], ids=["encrypted", "unknown compression"])
def test_an_archive_that_python_cannot_unpack(tmp_path: Path, offset: int) -> None:
    content = bytearray(zipped({"a.png": b"first"}))
    # The flags and the method of compression stand in the member's header and, two bytes further, in the directory.
    for place in (offset, content.index(b"PK\x01\x02") + offset + 2):
        content[place] |= 0x01 if offset == 6 else 0x63
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"set\.zip: not a sound zip archive"):
        unpack(tmp_path / "set.zip", tmp_path)
    assert not (tmp_path / "a.png").exists()


def test_the_command_downloads_checks_and_prepares(tmp_path: Path) -> None:
    entry = {"Question": "?", "Answer": "A", "Options": {"A": "Yes.", "B": "No."}, "type": "Anomaly Detection"}
    index = {"VisA/candle/test/good/1.png": {"image_path": "", "mask_path": "", "conversation": [entry]}}
    picture = io.BytesIO()
    Image.new("L", (9, 7)).save(picture, "png")
    archive = zipped({"mmad.json": json.dumps(index).encode(), "VisA/candle/test/good/1.png": picture.getvalue()})
    found = SmallHub({"ALL_DATA.zip": archive})
    # A process of its own: nothing of the hub's library is loaded before the command asks for it.
    environment = {**os.environ, "HF_ENDPOINT": found.url, "PYTHONPATH": str(CHECKOUT), "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_OFFLINE", None)
    root, out = tmp_path / "MMAD", tmp_path / "mmad.jsonl"
    command = [sys.executable, "-m", "iadr1", "prepare", "mmad", "--download", "--root", str(root), "--out", str(out)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found.server.shutdown()
    found.server.server_close()
    assert ended.returncode == 0, ended.stderr
    assert found.fetched == ["ALL_DATA.zip"]
    (sample,) = read_records(out, Sample)
    assert sample.image_size == (9, 7)
