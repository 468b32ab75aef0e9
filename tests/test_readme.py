"""What README.md and docs/ tell people to type works: commands, targets, links, Python and YAML."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import rasterio

import segattn
from segattn.cli.main import build_parser, split_overrides, whole_fields
from segattn.datasets.catalog import DATASETS
from segattn.evaluation.protocol import protocol
from segattn.losses.terms import CrossEntropy
from segattn.recipes.catalog import RECIPES, recipe
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import override
from segattn.synthetic.write import draw_street

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]


class Block(NamedTuple):
    """A fenced block: where, in which language, what."""

    where: str
    language: str
    text: str


def blocks(pages: list[Path], language: str) -> list[Block]:
    found = []
    for page in pages:
        for match in re.finditer(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if match[1] == language:
                line = page.read_text(encoding="utf-8")[: match.start()].count("\n") + 1
                found.append(Block(f"{page.name}:{line}", language, match[2]))
    return found


def spans(pages: list[Path]) -> Iterator[tuple[str, str]]:
    """(page, code) of everything in single backticks outside of blocks."""
    for page in pages:
        prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose):
            yield page.name, " ".join(code.split())


def command_lines() -> list[tuple[str, str]]:
    """(where, the words after `segattn`) of all commands in bash blocks and in backticks."""
    found = []
    for block in blocks(PAGES, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            line = line.partition("bash -c '")[2].removesuffix("'") or line
            found.append((block.where, line.partition(" #")[0]))
    found += spans(PAGES)
    pattern = re.compile(
        r"^(?:\$ )?(?:\w+=\S+ )*(?:segattn|(?:torchrun|accelerate launch|srun|python3?)\b.* -m segattn) (.*)$"
    )
    return [(where, match[1]) for where, line in found if (match := pattern.match(line.strip()))]


COMMANDS = command_lines()
PLACEHOLDER = re.compile(r"[A-Z_]+|\.\.\.|.*\.(yaml|safetensors|onnx|xml)|runs/\w+")


@pytest.mark.parametrize(("where", "line"), COMMANDS, ids=[f"{where} {line}" for where, line in COMMANDS])
def test_every_command_parses(where: str, line: str) -> None:
    words = shlex.split(line.partition(" > ")[0].partition(" | ")[0])
    chain = words[: 2 if words[0] in ("data", "weights") else 1]
    if words == chain or "..." in words or any("|" in word for word in words):  # mentioned, not spelled out
        with pytest.raises(SystemExit) as left:
            build_parser().parse_args([*chain, "--help"])
        assert left.value.code == 0
        return
    rest, changes = split_overrides(words, whole_fields(build_parser(), words))
    arguments = build_parser().parse_args(rest)
    assert not changes or arguments.takes_overrides
    for key in ("recipe", "model"):
        name = getattr(arguments, key, None)
        if name is not None and not PLACEHOLDER.fullmatch(name):
            check_recipe(override(recipe(name), changes))
    if getattr(arguments, "protocol", None) and not PLACEHOLDER.fullmatch(arguments.protocol):
        protocol(arguments.protocol)
    if getattr(arguments, "dataset", None) and not PLACEHOLDER.fullmatch(arguments.dataset):
        assert arguments.dataset in (*DATASETS, "my_data", "my_scenes")


def check_recipe(changed: Recipe) -> None:
    for term in changed.losses:
        if isinstance(term, CrossEntropy) and term.class_weights is not None:
            assert len(term.class_weights) == changed.data.num_classes, "class weights of another data set"


def test_commands_were_found() -> None:
    assert len([where for where, _ in COMMANDS if where.startswith("README")]) >= 8


def test_a_recipe_written_to_a_file_trains_with_the_changes_that_follow() -> None:
    """`segattn show NAME > mine.yaml`, then `segattn train mine.yaml --...` in the same block."""
    checked = 0
    for block in blocks(PAGES, "bash"):
        text = block.text.replace("\\\n", " ")
        written = re.search(r"segattn show (\w+) > (\S+\.yaml)", text)
        if written is None or written[1] not in RECIPES:
            continue
        trained = re.search(rf"segattn train {re.escape(written[2])} (.*)", text)
        assert trained is not None, block.where
        _, changes = split_overrides(shlex.split(trained[1], comments=True))
        check_recipe(override(recipe(written[1]), changes))
        checked += 1
    assert checked


@pytest.mark.parametrize(
    ("where", "code"), [span for span in spans(PAGES) if re.match(r"--\w+\.\w+(\.\w+)* [^. ]", span[1])]
)
def test_fields_in_backticks_can_be_set(where: str, code: str) -> None:
    _, changes = split_overrides(shlex.split(code))
    assert changes
    override(recipe("attanet_light_cityscapes"), changes)


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set()
    for page in ALL_PAGES:
        text = page.read_text(encoding="utf-8")
        named |= set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= targets


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_relative_link_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [link for link in links if link and "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two images and a raster, and with my_data as the README's section on own images has it."""
    random = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "photo.jpg"), random.integers(0, 255, (90, 120, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "street.png"), draw_street(random, (256, 512))[0])
    scene = random.integers(0, 3000, (4, 70, 90)).astype(np.uint16)
    size = {"count": 4, "height": 70, "width": 90, "dtype": "uint16"}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5200000)}
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", **size, **place) as file:
        file.write(scene)
    for kind, channels in (("images", (3,)), ("masks", ())):
        (tmp_path / f"my_data/{kind}").mkdir(parents=True)
        for name in ("train", "val"):
            image = random.integers(0, 2, (60, 80, *channels), np.uint8)
            cv2.imwrite(str(tmp_path / f"my_data/{kind}/{name}.png"), image)
    monkeypatch.setenv("SEGATTN_CACHE", str(tmp_path / "cache"))
    (own_yaml,) = blocks([ROOT / "README.md"], "yaml")
    (tmp_path / "my_data/dataset.yaml").write_text(own_yaml.text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PYTHON = blocks(PAGES, "python")


@pytest.mark.parametrize("block", PYTHON, ids=[block.where for block in PYTHON])
def test_every_python_block_runs(block: Block, desk: Path) -> None:
    exec(compile(block.text, block.where, "exec"), {"__name__": block.where})
    if "predictions" in block.text:
        assert {file.name for file in (desk / "predictions").iterdir()} == {
            "photo_labels.png",
            "photo_overlay.png",
        }


def test_python_blocks_were_found() -> None:
    assert any(block.where.startswith("README") for block in PYTHON)


YAML = [block for block in blocks(PAGES, "yaml") if "classes:" in block.text]


@pytest.mark.parametrize("block", YAML, ids=[block.where for block in YAML])
def test_every_description_of_a_folder_opens(block: Block, desk: Path) -> None:
    (desk / "my_data/dataset.yaml").write_text(block.text)
    if "val:" not in block.text:
        for file in [*(desk / "my_data").glob("*/*.png")]:
            (file.parent / file.stem).mkdir()
            file.rename(file.parent / file.stem / "one.png")
    if "bands:" in block.text:
        for file in (desk / "my_data/images").glob("*.png"):
            np.save(file.with_suffix(".npy"), np.zeros((60, 80, 5), np.uint16))
    for split in ("train", "val"):
        dataset = segattn.FolderDataset("my_data", split)
        mask = dataset[0].mask
        assert mask is not None
        assert set(np.unique(mask)) <= {*range(len(dataset.classes)), 255}


def test_descriptions_of_folders_were_found() -> None:
    assert any(block.where.startswith("README") for block in YAML)


def test_the_first_runnable_line_comes_early() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines, start=1) if line.startswith("```bash"))
    assert first + 1 <= 15
