from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from segattn.cli.main import main

Command = Callable[..., str]


def test_a_synthetic_data_set_is_made_checked_counted_and_drawn(run: Command, tmp_path: Path) -> None:
    root = tmp_path / "streets"
    text = run("data", "synthetic", root, "--train", "2", "--val", "1", "--height", "64", "--width", "128")
    assert text == f"{root}: 2 training and 1 validation images of 128x64\n"
    assert "2 samples" in run("data", "check", "cityscapes", "--root", root, "--output", tmp_path / "check.json")
    assert json.loads((tmp_path / "check.json").read_text())["problems"] == []
    assert "road" in run("data", "stats", "cityscapes", "--root", root, "--split", "val")
    sheet = tmp_path / "new" / "sheet.png"
    assert run("data", "show", "cityscapes", "--root", root, "--output", sheet) == f"{sheet}\n"
    assert cv2.imread(str(sheet)) is not None


def test_check_reports_and_gives_exit_code_2(camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (camvid / "images" / "val" / "val1.png").write_bytes(b"")
    with pytest.raises(SystemExit) as exit_:
        main(["data", "check", "camvid", "--root", str(camvid), "--split", "val"])
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert "val1.png: the file is empty" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("synthetic camvid", "camvid: is there already and not an empty folder"),
        ("synthetic new --train 0 --val 0", "expected at least one"),
        ("synthetic new --height 3", "expected 32 pixels or more a side"),
        ("synthetic new --train x", "invalid int value: 'x'. See `segattn data synthetic --help`"),
        ("check camvit --root camvid", "unknown data set 'camvit'. Did you mean camvid?"),
        ("check camvid --root camvid --split dev", "CamVid has no split 'dev'; it has train, val, trainval, test"),
        ("stats camvid --root nowhere", "nowhere: no such folder"),
        ("stats camvid", "where is camvid? Give its folder with --root DIR"),
        ("check camvit", "'camvit': no data set and no folder of your own. Did you mean camvid?"),
        ("check camvid --fix", "where is camvid? Give its folder with --root DIR"),
        ("show camvid --root camvid --output sheet.txt", "sheets are written as .png or .jpg"),
        ("show camvid --root camvid --output file/sheet.png", "file/sheet.png: can't be written"),
        ("show camvid --root camvid --count 0", "there must be one at least"),
        ("prepare camvid --root camvid", "'camvid' has nothing to prepare"),
        ("prepare coco_stuff10k --root camvid", "COCO-Stuff 10k needs annotations"),
    ],
)
def test_bad_input(fail: Command, camvid: Path, monkeypatch: pytest.MonkeyPatch, words: str, text: str) -> None:
    monkeypatch.chdir(camvid.parent)
    Path("file").write_text("")
    assert text in fail("data", *words.split())
    assert not Path("new").exists()


def test_one_bad_mask_does_not_stop_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [{"file_name": f"{i}.jpg", "image_id": i, "phase": "train", "height": 4, "width": 5} for i in range(3)]
    runs = [[20], [1 << 62, 1 << 62, 1 << 62, 1 << 62, 20], [5, 15]]
    rows = [
        {"id": i, "image_id": i, "category_id": 2, "segmentation": {"size": [4, 5], "counts": counts}}
        for i, counts in enumerate(runs)
    ]
    (tmp_path / "trainval_merged.json").write_text(json.dumps({"images": images, "annos_segmentation": rows}))
    with pytest.raises(SystemExit) as stopped:
        main(["data", "prepare", "pascal_context", "--root", str(tmp_path)])
    assert stopped.value.code == 2
    told = capsys.readouterr()
    assert "2 masks made" in told.out + told.err
    assert "annotation 1 of 1.jpg: run lengths add up to" in told.out + told.err
    assert sorted(path.name for path in (tmp_path / "SegmentationClassContext").iterdir()) == ["0.png", "2.png"]
    assert not (tmp_path / "ImageSets").exists()
