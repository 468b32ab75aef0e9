from __future__ import annotations

import re

import pytest

from segattn.cli import screen
from segattn.cli.main import main
from segattn.recipes.catalog import RECIPES


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The names that `segattn list` gives with these words."""
    assert main(["list", *words]) == 0
    return [name for name in re.findall(r"^ (\w+) ", capsys.readouterr().out, re.MULTILINE) if name != "recipe"]


def test_every_recipe_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys) == list(RECIPES)


def test_size_cost_and_each_claim_with_its_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "danet_r101_cityscapes"]) == 0
    text = capsys.readouterr().out
    for part in (
        "66.5 M",
        "2837.8 G, 1024x2048",
        "79.93 val: single scale, flip",
        "81.49 val: eight scales, flip",
        "81.5 test: several scales, flip",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("danet_r101_cityscapes", "released, MIT"),
        ("attanet_light_camvid", "shipped, Apache-2.0"),
        ("upernet_agent_swin_t_ade20k", "released, not known"),
        ("upernet_agent_swin_s_ade20k", "none"),
    ],
)
def test_availability_and_licence_of_the_weights(name: str, cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", name]) == 0
    text = capsys.readouterr().out
    assert "weights, licence" in text
    (row,) = re.findall(rf"^ {name} .*", text, re.MULTILINE)
    assert row.rstrip().endswith(f"  {cell}")


@pytest.mark.parametrize("width", [100, 120])
def test_narrow_terminals_cut_nothing(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "table_width", lambda: width)
    assert listed(capsys) == list(RECIPES)
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for column in ("recipe", "params", "MACs", "claimed mIoU", "ours", "licence"):
        assert column in text
    for part in ("released,", "not known", "Apache-2.0", "1024x2048", "3578.5 G", "480x360"):
        assert part in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["camvid", "r18"], ["attanet_r18_camvid"]),
        (
            ["--method", "danet", "cityscapes", "769", "80k"],
            [f"danet_mmseg_r{n}_cityscapes_769_80k" for n in (50, 101)],
        ),
        (["--method", "van", "--max-parameters", "4.5", "ade"], ["light_ham_d256_van_tiny_ade20k"]),
        (["--dataset", "pascal_context60"], ["danet_r101_pascal_context60"]),
    ],
)
def test_filters(words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, *words) == expected


@pytest.mark.parametrize("method", ["attanet", "danet", "acfnet", "van", "agent"])
def test_methods_share_the_recipes_out(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    others = {"agent": ("agent_",), "van": ("_van_",)}.get(method, (method,))
    assert listed(capsys, "--method", method) == [name for name in RECIPES if any(part in name for part in others)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "no recipe has a name with 'nothing'; `segattn list` shows all"),
        (["--max-parameters", "0.5"], "no recipe has at most 0.5 million parameters"),
        (["--dataset", "camvd"], "no recipe is for the data set 'camvd'. Did you mean camvid?"),
        (["--method", "danett"], "Did you mean danet"),
        (["--max-parameters", "many"], "invalid float value: 'many'"),
    ],
)
def test_bad_filters(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *words]) == 2
    assert message in capsys.readouterr().err
