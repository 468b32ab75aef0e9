"""Downloads from a server in this process: cached, resumed, checked, and refused in clear words."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from segattn.files import UnwritableError
from segattn.weights.download import cache_folder, download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `CONTENT` at any path.

    Attributes:
        requests: (path, Range header) of each.
        cut: for each coming request, how many bytes of the answer are sent; nothing for whole answers.
        ranges: whether Range is understood.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str | None]] = []
        self.cut: list[int] = []
        self.ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.requests.append((self.path, asked))
        if self.path == "/gone.pth":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        self.wfile.write(body[: self.server.cut.pop(0)] if self.server.cut else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        path = download(f"{server.url}/models/net-1.pth?download=true", sha256=SHA[:8], folder=tmp_path / "new")
        assert path == tmp_path / "new" / "net-1.pth"
        assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert not list(tmp_path.glob("**/*.partial"))


def test_a_download_that_stops_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cut = [1000, 500]
    assert download(f"{server.url}/net.pth", sha256=SHA, folder=tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=1000-", "bytes=1500-"]


def test_what_an_earlier_call_got_is_used(server: Server, tmp_path: Path) -> None:
    server.cut = [1000, 0]
    with pytest.raises(
        ConnectionError, match=r"net\.pth: can't be downloaded .*the same call continues.*put it at .*net\.pth"
    ):
        download(f"{server.url}/net.pth", sha256=SHA, folder=tmp_path)
    assert (tmp_path / "net.pth.partial").stat().st_size == 1000
    assert not (tmp_path / "net.pth").exists()
    assert download(f"{server.url}/net.pth", sha256=SHA, folder=tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/net.pth", "bytes=1000-")


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "net.pth.partial").write_bytes(CONTENT[:1000])
    assert download(f"{server.url}/net.pth", sha256=SHA, folder=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_partial_file_with_nothing_left_to_fetch_starts_over(server: Server, tmp_path: Path, size: int) -> None:
    (tmp_path / "net.pth.partial").write_bytes((CONTENT + b"wrong")[:size])
    assert download(f"{server.url}/net.pth", sha256=SHA, folder=tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"checksum \(sha256\) {SHA[:16]}\.\.\., expected 00000000"):
        download(f"{server.url}/net.pth", sha256="00000000", folder=tmp_path)
    assert not (tmp_path / "net.pth").exists()
    assert not (tmp_path / "net.pth.partial").exists()


def test_a_spoiled_copy_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(CONTENT[:-1])
    assert download(f"{server.url}/net.pth", sha256=SHA, folder=tmp_path).read_bytes() == CONTENT


def test_what_the_server_refuses_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"gone\.pth: the server answered 404"):
        download(f"{server.url}/gone.pth", folder=tmp_path)


def test_offline_says_what_to_do(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGATTN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConnectionError, match=r"can't be downloaded .*put it at .*cache.*net\.pth, or give a file"):
        download("http://127.0.0.1:9/net.pth", sha256=SHA)
    (tmp_path / "cache" / "net.pth").write_bytes(CONTENT)  # fetched elsewhere
    assert download("http://127.0.0.1:9/net.pth", sha256=SHA).read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/net.pth", "https://host/", "net.pth"])
def test_other_addresses_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected an http or https address"):
        download(url, folder=tmp_path)


def test_processes_that_ask_at_once_share_one_download(server: Server, tmp_path: Path) -> None:
    paths = []

    def ask() -> None:
        paths.append(download(f"{server.url}/net.pth", sha256=SHA, folder=tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / "net.pth"] * 4
    assert len(server.requests) == 1


def test_the_cache_is_the_usual_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEGATTN_CACHE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hub" / "checkpoints"
    monkeypatch.setenv("SEGATTN_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_a_full_disk_is_no_fault_of_the_connection(server: Server, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # a file may not grow beyond that
    try:
        with pytest.raises(UnwritableError, match=r"net\.pth\.partial: can't be written \(File too large\)$"):
            download(f"{server.url}/net.pth", sha256=SHA, folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(server.requests) == 1
    assert not (tmp_path / "net.pth").exists()
    assert download(f"{server.url}/net.pth", sha256=SHA, folder=tmp_path).read_bytes() == CONTENT


def test_a_cache_that_is_a_file_is_said_as_such(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(UnwritableError, match=r"cache/net\.pth: can't be written \(File exists\)$"):
        download(f"{server.url}/net.pth", folder=tmp_path / "cache")
