from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from segattn.cli.main import main
from segattn.recipes.catalog import RECIPES


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The names that `segattn list` gives with these words."""
    assert main(["list", *words]) == 0
    return [name for name in re.findall(r"^(\w+)\t", capsys.readouterr().out, re.MULTILINE) if name != "recipe"]


def test_every_recipe_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys) == list(RECIPES)


def test_size_cost_and_each_claim_with_its_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--long", "danet_r101_cityscapes"]) == 0
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
    assert main(["list", "--long", name]) == 0
    text = capsys.readouterr().out
    assert "weights, licence" in text
    (row,) = re.findall(rf"^{name}\t.*", text, re.MULTILINE)
    assert row.split("\t")[-1] == cell


def plain(text: str) -> list[str]:
    """The lines of a terminal's output, without its codes for bold and colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets what is printed go to a terminal of so many columns."""

    def of(width: int) -> None:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(width))

    return of


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_terminal_cuts_nothing_of_the_long_table(
    width: int, capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]
) -> None:
    terminal(width)
    assert main(["list", "--long"]) == 0
    lines = plain(capsys.readouterr().out)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert [name for name in re.findall(r"^ (\w+) ", text, re.MULTILINE) if name != "recipe"] == list(RECIPES)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for part in ("recipe", "params", "MACs", "released,", "not known", "Apache-2.0", "1024x2048", "3578.5 G"):
        assert part in text
    for part in ("claimed mIoU", "ours", "licence", "480x360"):  # 80 columns break words
        assert width < 100 or part in text


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (80, ["recipe", "params", "GMACs", "claimed", "mIoU", "ours", "mIoU", "weights"]),
        (60, ["recipe", "claimed", "mIoU", "weights"]),
        (40, ["recipe"]),
    ],
)
def test_each_recipe_has_one_line_on_any_terminal(
    width: int, columns: list[str], capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]
) -> None:
    terminal(width)
    assert main(["list"]) == 0
    lines = plain(capsys.readouterr().out)
    assert max(map(len, lines)) <= width
    rule = next(index for index, line in enumerate(lines) if set(line.strip()) == {"\N{BOX DRAWINGS LIGHT HORIZONTAL}"})
    assert [line.split()[0] for line in lines[rule + 1 :]] == list(RECIPES)
    assert sorted(" ".join(lines[:rule]).split()) == sorted(columns)


def test_a_pipe_gets_values_between_tabs_and_no_padding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading == "recipe\tparams\tGMACs\tclaimed mIoU\tours mIoU\tweights"
    assert all(cell == cell.strip() for row in rows for cell in row.split("\t"))
    assert "danet_r101_cityscapes\t66.5 M\t2837.8\t79.93\t\treleased" in rows


def test_json_has_all_of_the_long_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json", "--method", "danet"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["recipe"] for row in rows] == [name for name in RECIPES if "danet" in name]
    (row,) = (row for row in rows if row["recipe"] == "danet_r101_cityscapes")
    assert (row["paper"], row["dataset"], row["size"]) == ("danet", "cityscapes", [1024, 2048])
    assert [claim["value"] for claim in row["claims"]] == [79.93, 81.49, 81.5]
    assert round(row["parameters"] / 1e6, 1) == 66.5
    assert row["weights"]["licence"].startswith("MIT")


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
