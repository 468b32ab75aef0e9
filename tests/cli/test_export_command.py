"""`segattn export`: a file with what the weights' own file says, and bad input in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from segattn.exporting.program_file import read_program

Command = Callable[..., str]


def test_a_trained_model_leaves_with_its_description(run: Command, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "street.pt2"
    printed = run("export", trained, out, "--proof", "1x64x96", "2x65x79", "--output", "labels")
    assert printed.startswith(f"{out}: ")
    assert "images (batch, 3, height, width) float32, RGB 0..1 -> labels (batch, height, width) uint8" in printed
    assert "1 x 64 x 96: equal labels 100.0000 %" in printed
    text = read_program(out)[1]
    assert text is not None
    said = json.loads(text)
    assert said["recipe"]["name"] == "attanet_light_camvid"
    assert said["weights"]["file"] == "best.safetensors"
    assert said["licence"] == "not known"
    assert len(said["classes"]["palette"]) == len(said["classes"]["names"]) == 11


def test_shipped_weights_come_with_their_licence_at_a_fixed_size(run: Command, tmp_path: Path) -> None:
    out = tmp_path / "a.pt2"
    printed = run("export", "attanet_light_camvid", out, "--batch", 1, "--size", "48x64")
    assert "images (1, 3, 48, 64)" in printed
    text = read_program(out)[1]
    assert text is not None
    assert json.loads(text)["licence"].startswith("Apache-2.0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["attanet_light_camvid", "a.h5"], "unknown suffix '.h5'"),
        (["attanet_light_camvid", "none/a.pt2"], "none: no such folder; make it first"),
        (["danet_r50_cityscapes", "a.pt2"], "no weights given"),
        (["attanet_light_camvid", "a.pt2", "--size", "48"], "--size 48: expected HxW, as 512x1024"),
        (["attanet_light_camvid", "a.pt2", "--size", "48x64", "--height", "9"], "--size 48x64: give either it, or"),
        (["attanet_light_camvid", "a.pt2", "--proof", "64x64"], "--proof 64x64: expected BxHxW, as 2x256x512"),
        (["attanet_light_camvid", "a.pt2", "--images", "none.jpg"], "none.jpg: no such"),
        (["attanet_light_camvid", "a.onnx", "--int8", "none.jpg"], "none.jpg: no such"),
        (["attanet_light_camvid", "a.onnx", "--data.root", "none"], "none: no such folder"),
        (["fpn_agent_pvt_t_ade20k", "a.pt2", "--random-weights", "--size", "31x64"], "PVT needs 32 pixels or more"),
    ],
)
def test_bad_input_is_one_line(
    fail: Command, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fail("export", *words)
    assert list(tmp_path.iterdir()) == []
