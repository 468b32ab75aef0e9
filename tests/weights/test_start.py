"""What a training on own data starts from: what ships, what is on this machine, or nothing; never a download."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from segattn.files import checksum
from segattn.models.attanet import AttaNet
from segattn.recipes.catalog import recipe
from segattn.weights import pretrained, start
from segattn.weights.pretrained import PretrainedFile, found_pretrained
from segattn.weights.start import Start, own_start

LIGHT, R18 = recipe("attanet_light_camvid"), recipe("attanet_r18_camvid")
R18_IMAGENET = replace(R18, pretrained="resnet18")


def test_what_ships_goes_first() -> None:
    own, choice = own_start(Start(), LIGHT, LIGHT)
    assert own == Start(weights="default", num_classes_may_differ=True)
    assert choice.value == "attanet_light_camvid.safetensors"


def test_of_another_network_nothing_ships() -> None:
    wanted = replace(LIGHT, network=AttaNet(backbone="df2"))
    own, choice = own_start(Start(), LIGHT, wanted)
    assert own == Start()
    assert choice.value == "random"


@pytest.mark.parametrize("there", [True, False])
def test_imagenet_weights_are_taken_where_they_are(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "found_pretrained", lambda name: tmp_path if there else None)
    own, choice = own_start(Start(), R18_IMAGENET, R18_IMAGENET)
    assert own == (Start(pretrained="auto") if there else Start())
    assert choice.value == ("resnet18" if there else "random")
    assert there or "--pretrained auto gets it" in choice.why


def test_what_is_given_is_taken() -> None:
    own, choice = own_start(Start(weights="a/b.pth"), LIGHT, LIGHT)
    assert own == Start(weights="a/b.pth", num_classes_may_differ=True)
    assert choice.value == "b.pth"
    own, _ = own_start(Start(weights="a/b.pth", map_classes=True), LIGHT, LIGHT)
    assert not own.num_classes_may_differ
    assert own_start(Start(pretrained="x.pth"), LIGHT, LIGHT)[0] == Start(pretrained="x.pth")


def test_a_file_is_found_only_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGATTN_CACHE", str(tmp_path))
    file = PretrainedFile("https://example.org/x.pth", checksum(Path(__file__))[:8])
    monkeypatch.setitem(pretrained.PRETRAINED, "x", file)
    assert found_pretrained("x") is None
    (tmp_path / "x.pth").write_bytes(b"half")
    assert found_pretrained("x") is None
    (tmp_path / "x.pth").write_bytes(Path(__file__).read_bytes())
    assert found_pretrained("x") == tmp_path / "x.pth"
