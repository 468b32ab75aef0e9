"""`segattn data import` and `export` from the command line: the commands of docs/datasets.md, exit codes, errors."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segattn.cli.main import main

Command = Callable[..., str]
DOCS = (Path(__file__).parents[2] / "docs/datasets.md").read_text(encoding="utf-8")
SECTION = DOCS.partition("## From a labelling tool, and back\n")[2].partition("\n## ")[0]
LINES = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", SECTION, re.DOTALL)
    for line in block.splitlines()
]
SQUARE = [[5, 5], [20, 5], [20, 20], [5, 20]]
SIZE = 30, 40


def image(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)).save(path)


def write(path: str, text: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text if isinstance(text, str) else json.dumps(text))


def make_coco(root: str, count: int = 5) -> None:
    names = [f"{number}.jpg" for number in range(count)]
    for name in names:
        image(f"{root}/images/{name}")
    flat = [value for point in SQUARE for value in point]
    rows = [{"id": n, "image_id": n, "category_id": 1, "segmentation": [flat], "iscrowd": 0} for n in range(count)]
    images = [{"id": n, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for n, name in enumerate(names)]
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "plate"}]}
    write(f"{root}/annotations/instances_default.json", content)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small export of each tool, under the names that the page uses, and predictions."""
    monkeypatch.chdir(tmp_path)
    make_coco("coco_export")
    for number in range(3):
        stem = f"{number}"
        image(f"labelme_folder/{stem}.jpg")
        shape = {"label": "plate", "points": SQUARE, "shape_type": "polygon"}
        said = {"imagePath": f"{stem}.jpg", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        write(f"labelme_folder/{stem}.json", {"version": "5.5.0", "shapes": [shape], **said})
        image(f"yolo_seg/images/train/{stem}.jpg")
        write(f"yolo_seg/labels/train/{stem}.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n")
        image(f"painted/images/{stem}.jpg")
        image(f"VOCdevkit/VOC2012/JPEGImages/{stem}.jpg")
        ids = np.zeros(SIZE, np.uint8)
        ids[:9], ids[9:15] = 1, 2
        Path("painted/masks").mkdir(exist_ok=True)
        Image.fromarray(np.array([[0, 0, 0], [9, 9, 9], [255, 0, 0]], np.uint8)[ids]).save(f"painted/masks/{stem}.png")
        Path("VOCdevkit/VOC2012/SegmentationClass").mkdir(exist_ok=True)
        Image.fromarray(ids).save(f"VOCdevkit/VOC2012/SegmentationClass/{stem}.png")
        image(f"photos/{stem}.jpg")
        Path("predictions").mkdir(exist_ok=True)
        Image.fromarray(ids // 2).save(f"predictions/{stem}_labels.png")
    write("yolo_seg/data.yaml", "train: images/train\nnames: [plate]\n")
    write("painted/colours.csv", "name,r,g,b\nnothing,0,0,0\nunlabelled,9,9,9\nplate,255,0,0\n")
    image("cvat_export/images/a.jpg")
    polygon = '<polygon label="plate" points="5,5;20,5;20,20" z_order="0"/>'
    write(
        "cvat_export/annotations.xml",
        f'<annotations><image id="0" name="a.jpg" width="40" height="30">{polygon}</image></annotations>',
    )
    image("studio_export/a.jpg")
    region = {
        "id": "1", "type": "polygonlabels", "original_width": 40, "original_height": 30, "image_rotation": 0,
        "value": {"points": SQUARE, "polygonlabels": ["plate"]},
    }  # fmt: skip
    task = {"id": 1, "data": {"image": "/data/upload/1/12ab-a.jpg"}, "annotations": [{"result": [region]}]}
    write("studio_export/project.json", [task])
    return tmp_path


def test_the_page_has_every_tool() -> None:
    from segattn.datasets.exports.run import WRITERS
    from segattn.datasets.imports import READERS

    assert {shlex.split(line)[3] for line in LINES if "data import" in line} == set(READERS)
    assert {shlex.split(line)[3] for line in LINES if "data export" in line} == set(WRITERS)


@pytest.mark.usefixtures("desk")
def test_the_commands_of_the_page_run(run: Command) -> None:
    for line in LINES:
        program, *words = shlex.split(line)
        assert program == "segattn"
        said = run(*words)
        if words[1] == "import":
            assert f"wrote {words[4]}/dataset.yaml and {words[4]}/import_report.json" in said
            assert "nothing wrong found" in run("data", "check", "folder", "--root", words[4])
        if words[1] == "export":
            assert Path(words[4]).is_dir()


@pytest.mark.usefixtures("desk")
def test_what_is_printed(run: Command) -> None:
    said = run("data", "import", "coco", "coco_export", "my_data", "--val", "0").splitlines()
    assert said[0] == "my_data: 5 images with masks (5 train)"
    assert re.fullmatch(r" +1  plate +5 +5 +18\.75%", said[3])
    assert "note: background was added as the first class: what no shape covers" in said
    again = run("data", "import", "coco", "coco_export", "my_data", "--val", "0")
    assert "5 images with masks (5 train), 5 of them there already" in again


@pytest.mark.usefixtures("desk")
def test_the_report_as_json(run: Command) -> None:
    said = run("data", "import", "coco", "coco_export", "my_data", "--json")
    assert json.loads(said) == json.loads(Path("my_data/import_report.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("desk")
def test_an_image_that_can_not_be_imported_gives_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    Path("coco_export/images/3.jpg").unlink()
    with pytest.raises(SystemExit) as stopped:
        main(["data", "import", "coco", "coco_export", "my_data"])
    assert stopped.value.code == 2
    said = capsys.readouterr().out
    assert "1 image could not be imported:" in said
    assert "3.jpg: no such image below coco_export" in said
    assert Path("my_data/dataset.yaml").exists()


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("import koko coco_export new", "unknown tool 'koko'"),
        ("import coco nowhere new", "nowhere: no such folder"),
        ("import labelme coco_export new", "a JSON file with shapes and imagePath for each image was looked for"),
        ("import coco labelme_folder new", "images, annotations and categories was looked for, found 0.jpg, 0.json"),
        ("import cvat yolo_seg new", "annotations.xml"),
        ("import yolo painted new", "data.yaml with the key names was looked for, found colours.csv"),
        ("import label-studio coco_export new", "a JSON file with a list of tasks"),
        ("import rgb coco_export new", "a legend such as labelmap.txt"),
        ("import voc painted new", "SegmentationClass/*.png was looked for"),
        ("import coco coco_export new --val 2", "--val 2.0: a share"),
        ("import coco coco_export new --ignore plato", "--ignore plato: no such class; there are plate. Did you mean"),
        ("import coco coco_export new --annotations x.json", "x.json: no such file in coco_export"),
        ("import rgb painted new --legend x.csv", "x.csv: no such legend"),
        ("import coco coco_export photos", "photos: is there already and not an empty folder"),
        ("import coco coco_export", "required: DST"),
        ("export coco coco_export new", "dataset.yaml or label images"),
        ("export coco predictions new", "--images says where their images are"),
        ("export cvat predictions new", "unknown tool 'cvat'"),
    ],
)
def test_bad_input(fail: Command, words: str, text: str) -> None:
    assert text in fail("data", *words.split())
    assert not Path("new").exists()
