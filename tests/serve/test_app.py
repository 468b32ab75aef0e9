"""The page of `segattn app` without a browser: what it takes, what it answers, how it starts and ends."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import segattn
from segattn.cli.main import main
from segattn.contracts import Classes
from segattn.serve.content import SIDE, Choice, asked, at_temperature, file_name, labelled, legend, looked_at
from segattn.serve.desk import Desk, Held
from segattn.serve.limits import Limits, read_upload
from segattn.serve.server import POLICY, address_of, listening_socket
from segattn.serve.shelf import Shelf
from segattn.serve.worker import BusyError, Worker
from segattn.synthetic.write import draw_street


@pytest.fixture(scope="module")
def choices() -> list[Choice]:
    names = ("attanet_light_camvid", "attanet_lite0_camvid")
    return [Choice(name, "made for streets", segattn.create_model(name, weights="default")) for name in names]


def street(path: Path, size: tuple[int, int] = (96, 128)) -> Path:
    cv2.imwrite(str(path), draw_street(np.random.default_rng(0), size)[0][..., ::-1])
    return path


def pixels_of(path: str) -> np.ndarray:
    """As Pillow has them: of a palette the indices."""
    with Image.open(path) as image:
        return np.array(image)


# limits


def test_an_image_within_the_limits_is_read_upright(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :15] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "upload", format="JPEG", exif=exif)
    named = read_upload(tmp_path / "upload", "holiday.jpg", Limits())
    assert named.name == "holiday"
    assert named.pixels.shape == (30, 20, 3)
    assert named.pixels[:10].min() > 200
    assert named.pixels[20:].max() < 50


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(megabytes=0.01), r"street.png: 0.0\d\d MB, more than the 0.01 MB that are taken here; .*JPEG"),
        (Limits(megapixels=0.01), "street.png: 128x96, 0.012 megapixels, more than the 0.01 that are taken here"),
    ],
)
def test_what_is_too_large_is_refused(limits: Limits, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=expected) as refused:
        read_upload(street(tmp_path / "upload.png"), "street.png", limits)
    assert str(tmp_path) not in str(refused.value)


def test_a_huge_image_in_few_bytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (12000, 12000)).save(tmp_path / "upload", format="PNG")
    assert (tmp_path / "upload").stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"bomb.png: 12000x12000, 144.0 megapixels, more than the 25"):
        read_upload(tmp_path / "upload", "bomb.png", Limits())


def gif() -> bytes:
    data = io.BytesIO()
    frames = [Image.new("L", (40, 40), value) for value in (0, 255)]
    frames[0].save(data, format="GIF", save_all=True, append_images=frames[1:])
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"milk, bread\n", "list.png: not an image that can be read"),
        (b"", "list.png: the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "list.png: the (image is damaged|file is cut short)"),
        (gif(), "list.png: holds 2 images"),
    ],
)
def test_what_is_no_image_is_refused_by_its_name_alone(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(content)
    with pytest.raises(ValueError, match=expected) as refused:
        read_upload(tmp_path / "upload", "../etc/list.png", Limits())
    assert str(tmp_path) not in str(refused.value)


def test_limits_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="queue -1"):
        Limits(queue=-1)
    with pytest.raises(ValueError, match="megabytes nan"):
        Limits(megabytes=float("nan"))


# what is shown


def test_each_model_labels_the_image_as_predict_does(choices: list[Choice], tmp_path: Path) -> None:
    photo = read_upload(street(tmp_path / "a b.png"), "a b.png", Limits())
    value = labelled(choices, photo, tmp_path)
    assert json.loads(json.dumps(value)) == value
    assert (value["name"], value["size"], value["shown"]) == ("a b", [96, 128], [96, 128])
    shown = cv2.imread(value["image"])
    assert shown is not None
    assert np.abs(shown[..., ::-1].astype(int) - photo.pixels).mean() < 5
    for choice, result in zip(choices, value["results"], strict=True):
        expected = segattn.predict(choice.model, photo.pixels)
        ids = cv2.imread(result["ids"], cv2.IMREAD_UNCHANGED)
        assert np.array_equal(ids, expected.labels)
        assert result["read_at"] == list(expected.read_at) == [360, 480]
        found = {each["name"]: each["share"] for each in result["classes"] if each["share"]}
        assert found == {name: round(share, 6) for name, share in expected.shares().items()}
        files = {each["what"]: each for each in result["files"]}
        assert np.array_equal(pixels_of(files["labels"]["path"]), expected.labels)
        assert np.array_equal(pixels_of(files["overlay"]["path"]), expected.overlay())
        document = json.loads(Path(files["shares"]["path"]).read_text())
        assert document["shares"] == found
        assert document["model"] == choice.name
        assert files["labels"]["name"] == f"a_b_{choice.name}_labels.png"


def test_a_large_image_is_shown_smaller_and_downloaded_whole(choices: list[Choice], tmp_path: Path) -> None:
    pixels = cv2.resize(draw_street(np.random.default_rng(0), (100, 200))[0], (2 * SIDE, SIDE))
    cv2.imwrite(str(tmp_path / "large.png"), pixels)
    value = labelled(choices[:1], read_upload(tmp_path / "large.png", "large.png", Limits()), tmp_path)
    assert value["size"] == [SIDE, 2 * SIDE]
    assert value["shown"] == [SIDE // 2, SIDE]
    (result,) = value["results"]
    files = {each["what"]: each["path"] for each in result["files"]}
    whole = pixels_of(files["labels"])
    assert whole.shape == (SIDE, 2 * SIDE)
    assert pixels_of(result["ids"]).shape == (SIDE // 2, SIDE)
    assert pixels_of(value["image"]).shape == (SIDE // 2, SIDE, 3)


def test_the_legend_starts_with_the_largest_and_leaves_the_background_bare() -> None:
    classes = Classes(("background", "cat", "dog"), ((0, 0, 0), (10, 20, 30), (40, 50, 60)))
    rows = legend(classes, np.array([[1, 1, 1, 0]], np.uint8))
    assert [(row["id"], row["name"], row["share"], row["tinted"]) for row in rows] == [
        (1, "cat", 0.75, True),
        (0, "background", 0.25, False),
        (2, "dog", 0.0, True),
    ]
    assert rows[0]["colour"] == [10, 20, 30]


def test_scores_are_those_at_the_models_temperature() -> None:
    logits = torch.tensor([3.0, 1.0, -2.0], dtype=torch.float64)
    scores = at_temperature(logits.softmax(0).numpy(), 2.5)
    assert np.allclose(scores, (logits / 2.5).softmax(0).numpy(), atol=1e-12)
    assert np.array_equal(at_temperature(np.array([1.0, 0.0]), 3.0), [1.0, 0.0])


def test_a_pixel_has_scores_and_figures_of_what_was_looked_at(choices: list[Choice], tmp_path: Path) -> None:
    photo = read_upload(street(tmp_path / "street.png"), "street.png", Limits())
    views = looked_at(choices, photo, (70, 30))
    value = asked(choices, views, None)
    assert value["at"] == [70, 30]
    assert not value["drawn"]
    for choice, result in zip(choices, value["results"], strict=True):
        prediction = segattn.predict(choice.model, photo.pixels)
        expected = prediction.probabilities[:, 70, 30]
        assert result["label"] == result["scores"][0]["name"] == prediction.classes.names[int(expected.argmax())]
        assert [each["share"] for each in result["scores"]] == pytest.approx(sorted(expected)[:-6:-1], abs=1e-4)
        assert result["figures"] == []
    drawn = asked(choices[:1], views[:1], tmp_path)
    figures = drawn["results"][0]["figures"]
    assert drawn["drawn"]
    assert [each["title"] for each in figures] == [
        f"Evidence for {views[0].label}",
        "Strips that the pixel looks at",
        "Strips that the pixel's whole row looks at",
    ]
    assert all(pixels_of(each["path"]).shape[1] > 600 for each in figures)


def test_names_of_files_hold_nothing_that_a_path_or_a_shell_reads() -> None:
    assert file_name("../runs/my model;rm.safetensors") == "runs_my_model_rm.safetensors"
    assert file_name("...") == "image"


# one at a time


def test_work_gives_its_result_and_its_error() -> None:
    worker = Worker(queue=1, timeout=10)
    assert worker.run(lambda: 7) == 7
    with pytest.raises(KeyError):
        worker.run(lambda: {}["nothing"])
    worker.close()
    with pytest.raises(BusyError, match="being closed"):
        worker.run(lambda: 7)


def test_who_finds_no_room_and_who_has_waited_too_long_is_told() -> None:
    worker, go = Worker(queue=1, timeout=0.3), threading.Event()
    said: list[str] = []

    def ask() -> None:
        try:
            worker.run(lambda: go.wait(20))
        except BusyError as error:
            said.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    with pytest.raises(BusyError, match="busy: 2 requests are being worked on or waiting already"):
        worker.run(lambda: 0)
    for thread in threads:
        thread.join()
    assert re.match("stopped after 0.3 seconds.*worked on it until then; a smaller image takes less", said[0])
    assert re.match("stopped after 0.3 seconds.*waited for others until then", said[1])
    go.set()
    assert worker.run(lambda: 7) == 7  # there is room again
    worker.close()


def test_the_oldest_files_make_room(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", most_bytes=250)
    entries = []
    for _ in range(4):
        entries.append(shelf.add())
        (entries[-1] / "file").write_bytes(bytes(100))
    assert [entry.exists() for entry in entries] == [False, True, True, True]  # room is made when something is added
    shelf.add()
    assert [entry.exists() for entry in entries] == [False, False, True, True]
    assert len({entry.name for entry in entries}) == 4
    assert all(len(entry.name) == 32 for entry in entries)


# the desk


@pytest.fixture
def desk(choices: list[Choice], tmp_path: Path) -> Iterator[Desk]:
    made = Desk(choices, Limits(), tmp_path / "files")
    yield made
    made.close()


def upload(desk: Desk, name: str = "street.png") -> Path:
    folder = desk.uploads / "0123"
    folder.mkdir(exist_ok=True)
    return street(folder / name)


def held_by(desk: Desk, visitor: str, *, drawn: bool = False) -> Held:
    if drawn:
        desk.draw_sample(visitor)
    else:
        desk.take(visitor, str(upload(desk)), "street.png")
    held = desk._visitor(visitor).held
    assert held is not None
    return held


def error(desk: Desk, names: list[str]) -> str:
    """What is wrong with labelling the visitor's image."""
    said = desk.label("visitor", names)
    assert said is not None
    return str(said["error"])


def test_an_upload_is_labelled_asked_about_and_labelled_again(desk: Desk) -> None:
    path = upload(desk)
    desk.take("visitor", str(path), "street.png")
    assert not path.exists()
    first = desk.label("visitor", ["attanet_light_camvid"])
    assert first is not None
    assert [result["name"] for result in first["results"]] == ["attanet_light_camvid"]
    both = desk.label("visitor", ["attanet_lite0_camvid", "attanet_light_camvid"])
    assert both is not None
    assert len(both["results"]) == 2
    assert both["serial"] > first["serial"]
    assert not Path(first["image"]).exists()
    scores, drawn = desk.ask("visitor", ["attanet_light_camvid"], [10, 20])
    assert scores is not None
    assert drawn is not None
    assert (scores["drawn"], drawn["drawn"]) == (False, True)
    assert scores["results"][0]["scores"] == drawn["results"][0]["scores"]


def test_only_uploads_are_taken(desk: Desk, tmp_path: Path) -> None:
    street(tmp_path / "private.png")
    own = held_by(desk, "visitor").file
    paths = (tmp_path / "private.png", desk.uploads / "../private.png", own, desk.uploads, None, "no\0path")
    for path in paths:
        with pytest.raises(ValueError, match="the file did not arrive"):
            desk.take("visitor", str(path), "street.png")
    (desk.uploads / "link.png").symlink_to(tmp_path / "private.png")
    with pytest.raises(ValueError, match="the file did not arrive"):
        desk.take("visitor", str(desk.uploads / "link.png"), "street.png")
    assert (tmp_path / "private.png").exists()


def test_the_desk_says_what_is_wrong(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    held = held_by(desk, "visitor")
    name = "attanet_light_camvid"

    def said(at: object, visitor: str = "visitor") -> str:
        (answer,) = desk.ask(visitor, [name], at)
        assert answer is not None
        return str(answer["error"])

    assert desk.label("somebody else", [name]) == {}
    assert error(desk, []) == error(desk, ["another"]) == "choose a model"
    assert "pixel 96,0 (y,x) lies outside" in said([96, 0])
    assert said("0,0") == said([1.5, 2]) == said([True, 2]) == "a pixel is two whole numbers, y and x"
    assert said([0, 0], "somebody else") == "choose an image first"
    held.file.unlink()
    assert error(desk, [name]) == "street.png: is not kept any longer; choose it again"
    assert capsys.readouterr().err == ""


def test_only_the_last_of_a_visitors_requests_is_answered(desk: Desk) -> None:
    held_by(desk, "visitor")
    held_by(desk, "other")
    name, go = "attanet_light_camvid", threading.Event()
    answers: dict[str, Any] = {}

    def label(key: str, visitor: str) -> None:
        answers[key] = desk.label(visitor, [name])

    blocking = threading.Thread(target=lambda: desk.worker.run(lambda: go.wait(20)))
    threads = [blocking]
    for key, visitor in (("first", "visitor"), ("second", "visitor"), ("third", "other")):
        threads.append(threading.Thread(target=label, args=(key, visitor)))
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    assert answers == {"first": None}  # it gave up its place
    questions = desk.ask("visitor", [name], [0, 0])
    threads.append(threading.Thread(target=lambda: answers.update(asked=next(questions))))
    threads[-1].start()
    time.sleep(0.1)
    go.set()
    for thread in threads:
        thread.join()
    assert answers["second"]["results"]
    assert answers["third"]["results"]
    assert answers["asked"]["results"]
    desk.label("visitor", [name])
    assert list(questions) == [None]  # figures of a pixel that was asked about before


def test_visitors_are_forgotten_where_there_are_many(desk: Desk) -> None:
    held_by(desk, "visitor", drawn=True)
    for number in range(1000):
        desk.label(str(number), [])
    assert desk.label("visitor", ["attanet_light_camvid"]) == {}


def test_mistakes_of_ours_go_to_the_terminal_and_too_little_memory_is_said(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held_by(desk, "visitor")
    raised: list[Exception] = [KeyError("secret"), RuntimeError("CUDA out of memory"), MemoryError()]

    def fail(*arguments: object) -> None:
        raise raised.pop(0)

    monkeypatch.setattr("segattn.serve.desk.labelled", fail)
    said = [error(desk, ["attanet_light_camvid"]) for _ in range(3)]
    assert said[0] == "something went wrong that should not; the terminal of `segattn app` says what"
    assert said[1] == said[2] == "there is not enough memory for this image here; a smaller one needs less"
    assert "KeyError: 'secret'" in capsys.readouterr().err


def test_a_drawn_street_is_another_each_time(desk: Desk) -> None:
    one, two = (held_by(desk, visitor, drawn=True) for visitor in ("one", "two"))
    assert one.file.read_bytes() != two.file.read_bytes()
    assert read_upload(one.file, one.name, Limits()).pixels.shape == (480, 640, 3)


# the server


def test_a_port_that_is_taken_is_one_line(fail: Callable[..., str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert fail("app", "--port", port) == (
            f"--port {port}: is taken on 127.0.0.1; give another, or 0 for any free one"
        )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["attanet_light_camvid", "attanet_light_camvid"], "attanet_light_camvid: is named twice"),
        (["--weights", "a.pth"], "--weights a.pth: belongs to one MODEL, and 2 are named"),
        (["danet_r101_cityscapes", "--port", "0"], "danet_r101_cityscapes: no weights given"),
        (["--port", "70000"], "argument --port: '70000': expected 0 to 65535"),
        (["--timeout", "0"], "timeout 0.0: expected a positive number"),
        (["--host", "203.0.113.7"], "--host 203.0.113.7: is no address of this machine"),
    ],
)
def test_bad_arguments_are_one_line(words: list[str], expected: str, fail: Callable[..., str]) -> None:
    assert expected in fail("app", *words)


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, fail: Callable[..., str]) -> None:
    monkeypatch.setattr("segattn.cli.app.find_spec", lambda name: None)
    assert "pip install 'segattn[app]'" in fail("app")


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def command(*words: object) -> str:
        assert main([str(word) for word in words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        return error.removeprefix("segattn: error: ").rstrip("\n")

    return command


def test_the_address_is_one_to_type() -> None:
    with listening_socket("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        assert address_of(opened, "127.0.0.1") == f"http://127.0.0.1:{port}"
        assert address_of(opened, "0.0.0.0") == f"http://localhost:{port}"
        assert address_of(opened, "::1") == f"http://[::1]:{port}"


def test_a_server_that_returns_without_an_interrupt_has_ended_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("segattn.serve.server.serve", lambda *_: None)
    assert main(["app", "attanet_light_camvid", "--port", "0"]) == 0
    assert capsys.readouterr().out.endswith("\nended\n")


ALONE = """
import socket, sys
def refuse(self, address): print("connects to", address, file=sys.stderr)
socket.socket.connect = socket.socket.connect_ex = refuse
from segattn.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The command, in a process that tells of every connection that it opens."""


def answer(url: str, files: bytes | None = None) -> tuple[int, str, Any]:
    """Status, body and headers; of an upload of one file, where there is one."""
    request = urllib.request.Request(url)
    if files is not None:
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        request = urllib.request.Request(url, head + files + b"\r\n--x--\r\n")
        request.add_header("Content-Type", "multipart/form-data; boundary=x")
    try:
        with urllib.request.urlopen(request, timeout=60) as got:
            return got.status, got.read().decode(), got.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def test_it_serves_a_page_that_keeps_browsers_at_home_and_ends_cleanly(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    words = ["app", "attanet_light_camvid", "--port", "0", "--max-megabytes", "0.01"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", ALONE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        about, address = process.stdout.readline(), process.stdout.readline()
        try:
            url = address.split()[0]
            status, page, headers = answer(url)
            assert (status, headers["content-security-policy"]) == (200, POLICY)
            assert "fonts.googleapis.com" not in page + answer(f"{url}/theme.css")[1]
            status, path, _ = answer(f"{url}/gradio_api/upload", bytes(9_000))
            assert status == 200
            assert Path(json.loads(path)[0]).is_relative_to(tmp_path)
            assert answer(f"{url}/gradio_api/upload", bytes(11_000))[0] == 413
            assert answer(f"{url}/gradio_api/file=/etc/hostname")[0] == 403
        finally:
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=60)
    assert about.startswith("attanet_light_camvid: made for streets")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+  \(Ctrl-C ends it\)\n", address)
    assert (process.returncode, rest, errors) == (0, "ended\n", "")
    assert list(tmp_path.iterdir()) == []
