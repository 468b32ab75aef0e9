"""The authors' files by name, from a server in this process that plays Drive, the hub and unreliable hosts."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import torch

import segattn
from segattn.cli.main import main
from segattn.recipes.catalog import RECIPES, recipe
from segattn.recipes.links import Link, link_of
from segattn.recipes.schema import Checkpoint, Recipe
from segattn.weights import released
from segattn.weights.released import listed, named_weights, place_of, record_of, released_file

LIGHT = "attanet_light_cityscapes"
ID = "1XmpFEF-tbPH0Rmv4eKRxYJngr3pTbj6p"
SHARED = f"https://drive.google.com/file/d/{ID}/view?usp=sharing"
CONFIRM = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form action="/login"><input type="hidden" name="other" value="1"></form>
<form id="download-form" action="{base}/download" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="a-b"></form></body></html>"""
QUOTA = """<html><head><title>Google Drive - Quota exceeded</title></head><body>
<p>Too many users have viewed or downloaded this file recently.</p></body></html>"""
SIGN_IN = "<html><head><title>Sign in - Google Accounts</title></head></html>"


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` below /files/ and in one repository of the hub, and at /uc and /download as `drive` says.

    Attributes:
        requests: (path, Range header) of each.
        cut: for each coming answer with the file, how many bytes are sent.
        etag: of the file, if any.
        ranges: whether Range is understood.
        drive: the page of /uc, or None for the file at once.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = bytes(range(256)) * 400
        self.requests: list[tuple[str, str | None]] = []
        self.cut: list[int] = []
        self.etag: str | None = None
        self.ranges = True
        self.drive: str | None = CONFIRM

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Range"]))
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/moved/net.pth":
            self.send_response(302)
            self.send_header("Location", "/files/net.pth")
            self.end_headers()
        elif path == "/uc" and self.server.drive is not None:
            self._page(self.server.drive.format(base=self.server.url, id=query["id"][0]))
        elif path == "/files/page.pth":
            self._page("<html><head><title>File expired</title></head></html>")
        elif path == "/files/page_as_file.pth":
            self._file(b"<!doctype html><html>expired</html>")
        elif path == "/files/unknown_length.pth":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.content[:1000])
        elif path == "/download" and query != {
            "id": [ID], "export": ["download"], "confirm": ["t"], "uuid": ["a-b"]
        }:  # fmt: skip
            self.send_error(400)
        elif path.startswith("/files/net") or path in ("/download", "/uc", "/me/net/resolve/main/net.pth"):
            self._file(self.server.content)
        else:
            self.send_error(404)

    def _page(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())

    def _file(self, content: bytes) -> None:
        asked, same = self.headers["Range"], self.headers["If-Range"] in (None, self.server.etag)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges and same else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[: self.server.cut.pop(0)] if self.server.cut else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SEGATTN_CACHE", str(tmp_path / "cache"))
    server = Server()
    monkeypatch.setattr(released, "DRIVE", server.url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def row(url: str, file: str | None = "net.pth") -> Recipe:
    return replace(recipe(LIGHT), checkpoint=Checkpoint(file=file, url=url))


def left_over(tmp_path: Path) -> set[str]:
    """What is in the cache but for locks."""
    return {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_a_file_is_fetched_once_and_what_was_seen_is_kept(server: Server, tmp_path: Path) -> None:
    one = row(f"{server.url}/files/net.pth")
    for _ in range(2):
        assert released_file(one).read_bytes() == server.content
    assert len(server.requests) == 1
    assert left_over(tmp_path) == {"net.pth", "net.pth.seen.json"}
    seen = record_of(place_of(one))
    assert seen is not None
    assert (seen.size, seen.sha256) == (len(server.content), hashlib.sha256(server.content).hexdigest())
    assert seen.url == one.checkpoint.url


def test_a_redirect_is_followed(server: Server) -> None:
    assert released_file(row(f"{server.url}/moved/net.pth")).read_bytes() == server.content


def test_drive_asks_and_is_answered(server: Server, tmp_path: Path) -> None:
    server.cut = [1000]
    assert released_file(row(SHARED, None)).read_bytes() == server.content
    paths = [(urlsplit(path).path, asked) for path, asked in server.requests]
    assert paths == [("/uc", None), ("/download", None), ("/uc", "bytes=1000-"), ("/download", "bytes=1000-")]
    assert left_over(tmp_path) == {f"{LIGHT}.pth", f"{LIGHT}.pth.seen.json"}


def test_a_small_file_of_drive_comes_at_once(server: Server) -> None:
    server.drive = None
    assert released_file(row(SHARED)).read_bytes() == server.content


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (QUOTA, "too many have fetched it today; try again tomorrow"),
        (SIGN_IN, r"\(Sign in - Google Accounts\) in the file's place; is it still shared"),
        (CONFIRM.replace("{base}", "https://google.com.evil.org"), "which is not Google's"),
        (CONFIRM.replace("{base}", "http://docs.google.com"), "which is not Google's"),
        (CONFIRM.replace("{base}/download", "{base}/uc"), "one page after another"),
    ],
)
def test_drive_refuses(server: Server, tmp_path: Path, page: str, words: str) -> None:
    server.drive = page
    with pytest.raises(ConnectionError, match=words) as refused:
        released_file(row(SHARED))
    assert "put it at" in str(refused.value)
    assert left_over(tmp_path) == set()


@pytest.mark.parametrize(
    ("file", "kind", "words"),
    [
        ("page.pth", ConnectionError, r"answered with a page \(File expired\) in the file's place"),
        ("page_as_file.pth", ValueError, "what arrived is an HTML or XML page"),
        ("gone.pth", ConnectionError, "the server answered 404"),
        ("unknown_length.pth", ConnectionError, "doesn't say how large the file is"),
    ],
)
def test_what_is_no_file_is_refused(
    server: Server, tmp_path: Path, file: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        released_file(row(f"{server.url}/files/{file}", file))
    assert left_over(tmp_path) == set()


def test_a_cut_connection_is_continued_by_the_next_call(server: Server, tmp_path: Path) -> None:
    server.etag, server.cut = '"1"', [1000, 0]
    one = row(f"{server.url}/files/net.pth")
    with pytest.raises(ConnectionError, match="the same call continues"):
        released_file(one)
    assert left_over(tmp_path) == {"net.pth.partial", "net.pth.partial.json"}
    assert released_file(one).read_bytes() == server.content
    assert server.requests[-1][1] == "bytes=1000-"
    assert left_over(tmp_path) == {"net.pth", "net.pth.seen.json"}


@pytest.mark.parametrize("etag", ['"2"', None], ids=["the server says so", "of another size"])
def test_parts_of_two_files_are_never_put_together(server: Server, etag: str | None) -> None:
    server.etag, server.cut = '"1"' if etag else None, [1000, 0]
    one = row(f"{server.url}/files/net.pth")
    with pytest.raises(ConnectionError):
        released_file(one)
    server.etag, server.content = etag, bytes(reversed(server.content)) + (b"" if etag else b"more")
    assert released_file(one).read_bytes() == server.content


def test_a_server_without_ranges_starts_over(server: Server) -> None:
    server.ranges, server.cut = False, [1000]
    assert released_file(row(f"{server.url}/files/net.pth")).read_bytes() == server.content
    assert [asked for _, asked in server.requests] == [None, "bytes=1000-"]


@pytest.mark.parametrize("change", [b"more", b""], ids=["of another size", "of the same size"])
def test_another_file_than_was_first_seen_is_refused(server: Server, tmp_path: Path, change: bytes) -> None:
    one = row(f"{server.url}/files/net.pth")
    first = hashlib.sha256(server.content).hexdigest()
    released_file(one).unlink()
    server.content = bytes(reversed(server.content)) + change
    now = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(ValueError, match=f"another file than was first seen on .*{first}.*{now}.*thrown away"):
        released_file(one)
    assert left_over(tmp_path) == {"net.pth.seen.json"}
    (place_of(one).parent / "net.pth.seen.json").unlink()  # as the error says
    assert released_file(one).read_bytes() == server.content


def test_a_copy_that_changed_is_refused(server: Server) -> None:
    one = row(f"{server.url}/files/net.pth")
    file = released_file(one)
    first = hashlib.sha256(server.content).hexdigest()
    file.write_bytes(b"changed")
    with pytest.raises(ValueError, match=f"changed since it was first seen on .*{first}.*remove it to fetch it again"):
        released_file(one)
    (file.parent / "net.pth.seen.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"seen\.json: not a record of a downloaded file"):
        released_file(one)


def test_offline_is_one_line_and_a_file_put_there_by_hand_is_taken(server: Server, tmp_path: Path) -> None:
    one = row("http://127.0.0.1:9/net.pth")
    with pytest.raises(ConnectionError, match=r"can't be downloaded .*put it at .*net\.pth") as refused:
        released_file(one)
    assert "\n" not in str(refused.value)
    assert left_over(tmp_path) == set()
    place_of(one).write_bytes(server.content)
    assert released_file(one).read_bytes() == server.content
    assert record_of(place_of(one)) is not None


def test_the_hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import hf_hub_url

    def here(repository: str, file: str) -> str:
        return hf_hub_url(repository, file).replace("https://huggingface.co", server.url)

    monkeypatch.setattr("huggingface_hub.hf_hub_url", here)
    one = replace(recipe(LIGHT), backbone_checkpoint=Checkpoint(file="net.pth", url="https://huggingface.co/me/net"))
    server.cut = [1000]
    assert released_file(one, backbone=True).read_bytes() == server.content
    assert server.requests == [("/me/net/resolve/main/net.pth", None), ("/me/net/resolve/main/net.pth", "bytes=1000-")]
    assert left_over(tmp_path) == {"net.pth", "net.pth.seen.json"}


def test_the_strict_loader_reads_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    made, buffer = segattn.create_model(LIGHT), io.BytesIO()
    torch.save(made.state_dict(), buffer)
    server.content = buffer.getvalue()
    one = row(SHARED)
    state = segattn.create_model(one, weights="released").state_dict()
    assert all(torch.equal(state[key], value) for key, value in made.state_dict().items())


def test_a_hostile_file_stays_hostile(server: Server, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return Path.touch, (tmp_path / "executed",)  # type: ignore[return-value]

    buffer = io.BytesIO()
    torch.save({"state_dict": Evil()}, buffer)
    server.content = buffer.getvalue()
    with pytest.raises(ValueError, match=r"net\.pth"):
        segattn.create_model(row(SHARED), weights="released")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("file", ["../net.pth", "a/b.pth", "a\\b.pth", "..", "a\nb"])
def test_a_file_never_leaves_the_cache(server: Server, file: str) -> None:
    with pytest.raises(ValueError, match="expected a file's name"):
        released_file(row(SHARED, file))
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "backbone", "words"),
    [
        (LIGHT, False, r"needs a browser, https://pan\.baidu.*access code zmb3.*weights inspect FILE.*--weights FILE"),
        ("acfnet_r101_cityscapes", False, "no released weights are known"),
        ("attanet_light_camvid", False, 'they are called "default"'),
        ("attanet_r18_cityscapes", True, "--pretrained auto gets its"),
        ("upernet_van_b0_ade20k", True, r"cloud\.tsinghua\.edu\.cn/d/.*Download van_b0\.pth.*--pretrained FILE"),
    ],
)  # fmt: skip
def test_what_can_not_be_fetched_is_said(name: str, backbone: bool, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        released_file(recipe(name), backbone=backbone)


@pytest.mark.parametrize(
    ("url", "file", "expected"),
    [
        (SHARED, None, Link("drive", ID)),
        (f"https://drive.google.com/open?id={ID}", None, Link("drive", ID)),
        ("https://drive.google.com/drive/folders/abcdefghijkl", None, None),
        ("https://cloud.tsinghua.edu.cn/f/68c8/?dl=1", None, Link("file", "https://cloud.tsinghua.edu.cn/f/68c8/?dl=1")),
        ("https://cloud.tsinghua.edu.cn/d/68c8/", "a.pth", None),
        ("https://huggingface.co/me/net", "a.pth", Link("hub", "me/net")),
        ("https://huggingface.co/me/net", None, None),
        ("https://host/x/a.pth", "a.pth", Link("file", "https://host/x/a.pth")),
        ("file:///etc/a.pth", "a.pth", None),
        (None, "a.pth", None),
    ],
)  # fmt: skip
def test_what_an_address_is(url: str | None, file: str | None, expected: Link | None) -> None:
    assert link_of(Checkpoint(file=file, url=url)) == expected


def test_every_row_is_fetched_or_by_hand() -> None:
    found = {one.recipe: one.source for one in listed()}
    assert {name for name, one in RECIPES.items() if one.checkpoint.url} == set(found)
    assert {name for name, source in found.items() if source is None} == {
        "attanet_light_cityscapes",
        "attanet_r18_cityscapes",
    }
    places = {place_of(RECIPES[name]) for name in found}
    assert len(places) == len(found)


def test_words_stand_for_files() -> None:
    assert named_weights(recipe("attanet_light_camvid"), "default").name == "attanet_light_camvid.safetensors"
    assert named_weights(recipe(LIGHT), "a.pth") == "a.pth"
    assert named_weights(recipe(LIGHT), None) is None


def test_the_command(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "download", "danet_r101_cityscapes"]) == 0
    place = place_of(recipe("danet_r101_cityscapes"))
    out = capsys.readouterr().out
    assert out.splitlines()[0] == str(place)
    assert f"{len(server.content)} bytes, sha256 {hashlib.sha256(server.content).hexdigest()}" in out
    assert "licence: MIT" in out
    assert main(["weights", "download", "danet_r101_cityscapes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(place)
    assert main(["weights", "download", "--list", "--json"]) == 0
    rows = {one["recipe"]: one for one in json.loads(capsys.readouterr().out)}
    assert rows["danet_r101_cityscapes"]["file"] == str(place)
    assert rows["fpn_van_tiny_ade20k"] | {"url": ""} == {
        "recipe": "fpn_van_tiny_ade20k", "source": "Google Drive", "url": "", "file": None
    }  # fmt: skip
    assert main(["weights", "download", "--list"]) == 0
    assert "by hand: https://pan.baidu.com" in capsys.readouterr().out
    for words in ([], ["--list", LIGHT], [LIGHT]):
        assert main(["weights", "download", *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_evaluate_and_predict_take_the_word(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.drive = QUOTA
    (tmp_path / "a.png").write_bytes(b"")
    for command in (
        ["evaluate", "danet_r101_cityscapes", "--weights", "released", "--data.root", str(tmp_path)],
        ["predict", str(tmp_path / "a.png"), "--model", "danet_r101_cityscapes", "--weights", "released"],
    ):
        assert main([*command, "--output", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert "Google Drive gives this file to nobody" in error
        assert len(error.splitlines()) == 1
