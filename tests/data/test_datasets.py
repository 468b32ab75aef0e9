from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.contracts import IGNORE, SegmentationDataset
from segattn.datasets.base import LabelMap
from segattn.datasets.camvid import CamVid
from segattn.datasets.catalog import DATASETS, open_dataset
from segattn.datasets.cityscapes import CLASSES, Cityscapes
from segattn.datasets.folder import FolderDataset

SIZE = (6, 8)


def put(path: Path, pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.random.default_rng(len(path.name)).integers(0, 256, (*SIZE, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def ids(*values: int) -> np.ndarray:
    return np.resize(np.array(values, np.uint8), SIZE)


def cityscapes(
    root: Path,
    *,
    kind: str = "labelIds",
    mask: np.ndarray | None = None,
    names: tuple[str, ...] = ("ulm_000000_000019",),
) -> Path:
    for name in names:
        put(root / "leftImg8bit/train/ulm" / f"{name}_leftImg8bit.png")
        put(root / "gtFine/train/ulm" / f"{name}_gtFine_{kind}.png", ids(7, 33, 0, 26) if mask is None else mask)
    return root


def test_cityscapes_maps_label_ids(tmp_path: Path) -> None:
    every = np.resize(np.arange(34, dtype=np.uint8), SIZE)
    dataset = Cityscapes(cityscapes(tmp_path, mask=every), "train")
    assert isinstance(dataset, SegmentationDataset)
    sample = dataset[0]
    assert sample.name == "ulm_000000_000019"
    assert sample.image.shape == (*SIZE, 3)
    official = {
        7: 0,
        8: 1,
        11: 2,
        12: 3,
        13: 4,
        17: 5,
        19: 6,
        20: 7,
        21: 8,
        22: 9,
        23: 10,
        24: 11,
        25: 12,
        26: 13,
        27: 14,
    }
    official |= {28: 15, 31: 16, 32: 17, 33: 18}
    assert sample.mask is not None
    assert sample.mask.tolist() == [[official.get(int(v), IGNORE) for v in row] for row in every]


def test_cityscapes_facts_agree_with_the_official_scripts() -> None:
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").trainId2label
    for train in range(19):
        assert CLASSES.names[train] == labels[train].name
        assert CLASSES.palette[train] == labels[train].color
        assert CLASSES.file_ids is not None
        assert CLASSES.file_ids[train] == labels[train].id


@pytest.mark.parametrize("kind", ["labelTrainIds", "trainIds"])
def test_cityscapes_reads_converted_files(tmp_path: Path, kind: str) -> None:
    truth = ids(0, 18, 255)
    dataset = Cityscapes(cityscapes(tmp_path, kind=kind, mask=truth), "train")
    np.testing.assert_array_equal(dataset[0].mask, truth)


def test_cityscapes_notices_ids_of_the_other_kind(tmp_path: Path) -> None:
    cityscapes(tmp_path / "a", mask=ids(0, 1, 255))
    with pytest.raises(ValueError, match=r"labelIds\.png: label 255 \(16 pixels\).*labelTrainIds"):
        Cityscapes(tmp_path / "a", "train")[0]
    cityscapes(tmp_path / "b", kind="labelTrainIds", mask=ids(7, 23))
    with pytest.raises(ValueError, match=r"label 23 .*labelIds\.png"):
        Cityscapes(tmp_path / "b", "train")[0]
    with pytest.raises(FileNotFoundError, match="no label file"):
        Cityscapes(tmp_path / "b", "train", labels="labelIds")


def test_cityscapes_test_split_needs_no_truth(tmp_path: Path) -> None:
    put(tmp_path / "leftImg8bit/test/bonn/bonn_000000_000019_leftImg8bit.png")
    assert Cityscapes(tmp_path, "test")[0].mask is None
    put(tmp_path / "gtFine/test/bonn/bonn_000000_000019_gtFine_labelIds.png", ids(0, 1))
    assert (Cityscapes(tmp_path, "test")[0].mask == IGNORE).all()


def test_missing_partner_is_named_with_both_counts(tmp_path: Path) -> None:
    cityscapes(tmp_path, names=("ulm_000000_000019", "ulm_000001_000019"))
    (tmp_path / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no label file for ulm_000001_000019_left.*2 images in .* 1 label files"
    ):
        Cityscapes(tmp_path, "train")


def test_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"leftImg8bit/val and gtFine/val there, found images/"):
        Cityscapes(tmp_path, "val")
    with pytest.raises(
        FileNotFoundError, match=r"images/val with labels/val or val with valannot there, found images/"
    ):
        CamVid(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match=r"no dataset\.yaml there, found images/"):
        FolderDataset(tmp_path, "val")
    for name in DATASETS:
        with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
            open_dataset(name, tmp_path / "nowhere", "val" if name in ("cityscapes", "camvid", "folder") else "train")


def test_unknown_names_offer_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no split 'vall'; it has train, val, test\. Did you mean val"):
        Cityscapes(tmp_path, "vall")
    with pytest.raises(ValueError, match=r"unknown data set 'cityscape'\. Did you mean cityscapes\?"):
        open_dataset("cityscape", tmp_path, "val")


def test_camvid_in_both_layouts(tmp_path: Path) -> None:
    image = put(tmp_path / "a/train/0001.png")
    put(tmp_path / "a/trainannot/0001.png", ids(0, 10, 11))
    put(tmp_path / "b/images/train/0001.jpg")
    put(tmp_path / "b/labels/train/0001.png", ids(0, 10, 255))
    public, ours = CamVid(tmp_path / "a", "train")[0], CamVid(tmp_path / "b", "train")[0]
    np.testing.assert_array_equal(public.mask, ids(0, 10, 255))
    np.testing.assert_array_equal(ours.mask, ids(0, 10, 255))
    assert public.image_path == image
    assert public.name == ours.name == "0001"
    put(tmp_path / "b/labels/train/0001.png", ids(0, 12))
    with pytest.raises(ValueError, match=r"0001\.png: label 12 .*not in the label map"):
        CamVid(tmp_path / "b", "train")[0]
    put(tmp_path / "b/labels/train/0001.png", ids(0))
    put(tmp_path / "b/images/val/0000.jpg")
    with pytest.raises(FileNotFoundError, match="images/val with labels/val"):
        CamVid(tmp_path / "b", "trainval")
    put(tmp_path / "b/labels/val/0000.png", ids(1))
    assert [CamVid(tmp_path / "b", "trainval")[index].name for index in (0, 1)] == ["0001", "0000"]


def drives(root: Path, part: str, *names: str) -> None:
    for name in names:
        put(root / f"images/{part}/{name}.png")
        put(root / f"labels/{part}/{name}.png", ids(0))


def test_camvid_by_drives(tmp_path: Path) -> None:
    drives(tmp_path, "train", "0001TP_1", "0006R0_f1", "0006R0_f2", "0016E5_1")
    drives(tmp_path, "val", "0016E5_2", "0016E5_3")
    drives(tmp_path, "test", "Seq05VD_f1", "0001TP_2")

    def names(split: str) -> list[str]:
        return [pair.name for pair in CamVid(tmp_path, split).pairs]

    assert names("trainval_only_0006R0") == ["0006R0_f1", "0006R0_f2"]
    assert names("trainval_without_0006R0") == ["0001TP_1", "0016E5_1", "0016E5_2", "0016E5_3"]
    assert names("train_without_0006R0+0001TP") == ["0016E5_1"]
    assert names("trainval_only_0016E5+0001TP") == names("trainval_without_0006R0")
    assert names("test_only_Seq05VD") == ["Seq05VD_f1"]
    assert names("trainval") == sorted(names("train")) + names("val")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            "trainval_only_0006R1",
            r"no frame is of drive '0006R1'; its drives \(frames\) are 0001TP \(1\), 0016E5 \(2\)",
        ),
        ("train_without_0001TP+Seq05VD", "no frame is of drive 'Seq05VD'"),
        ("train_without_0001TP+0016E5", "no frame is left without these drives"),
        ("trian_only_0001TP", "has no split 'trian'.* Did you mean train"),
        ("train_only_", "expected different drives after only_, joined by"),
        ("train_only_0001TP+0001TP", "expected different drives"),
        ("train_onyl_0001TP", "has no split 'train_onyl_0001TP'; it has .*SPLIT_only_DRIVES, SPLIT_without_DRIVES"),
        ("SPLIT_only_DRIVES", "is a pattern: put train, val, trainval or test, and names of drives"),
    ],
)
def test_camvid_drives_that_are_not_there(tmp_path: Path, split: str, message: str) -> None:
    drives(tmp_path, "train", "0001TP_1", "0016E5_1")
    drives(tmp_path, "val", "0016E5_2")
    with pytest.raises(ValueError, match=message):
        CamVid(tmp_path, split)


def test_mask_of_another_size(tmp_path: Path) -> None:
    put(tmp_path / "images/train/a.jpg")
    put(tmp_path / "labels/train/a.png", np.zeros((8, 6), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png: the mask is 6x8 but .*a\.jpg is 8x6; the image is stored turned"):
        CamVid(tmp_path, "train")[0]


YAML = """
classes:
  - {name: road, color: [128, 64, 128]}
  - {name: car, color: [0, 0, 142]}
labels: {10: road, 20: car, 21: car, 0: ignore}
ignore: [200]
masks: truth/{split}
mask_suffix: _ids.png
"""


def folder(root: Path, text: str = YAML) -> Path:
    put(root / "images/day/x/a.jpg")
    put(root / "truth/day/x/a_ids.png", ids(10, 20, 21, 0, 200))
    (root / "dataset.yaml").write_text(text)
    return root


def test_folder_dataset(tmp_path: Path) -> None:
    dataset = FolderDataset(folder(tmp_path), "day")
    assert dataset.classes.names == ("road", "car")
    assert dataset.classes.palette[1] == (0, 0, 142)
    assert dataset[0].name == "x/a"
    np.testing.assert_array_equal(dataset[0].mask, ids(0, 1, 1, 255, 255))
    put(tmp_path / "truth/day/x/a_ids.png", ids(10, 30))
    with pytest.raises(ValueError, match=r"a_ids\.png: label 30 .*add it to labels or ignore in dataset\.yaml"):
        dataset[0]
    with pytest.raises(ValueError, match=r"no split 'dy'; it has day\. Did you mean day"):
        FolderDataset(tmp_path, "dy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("labels:", "label:"), r"unknown key 'label'\. Did you mean labels"),
        (("20: car", "20: cat"), r"labels\.20: 'cat' is not a class\. Did you mean car"),
        (("[0, 0, 142]", "[0, 0, 300]"), r"classes\.1: .* of 0\.\.255"),
        (("name: car", "name: road"), "road twice"),
        (("[200]", "200"), "ignore: 200; a list of raw ids"),
        (("truth/{split}", "truth/{city}"), r"masks: 'truth/\{city\}'; a folder was expected"),
        (("{name: road,", "{name: road"), "not readable as YAML"),
    ],
)
def test_folder_description_errors(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.yaml: .*{message}"):
        FolderDataset(folder(tmp_path, YAML.replace(*change)), "day")


def test_same_name_twice_is_refused(tmp_path: Path) -> None:
    put(folder(tmp_path) / "images/day/x/a.png")
    with pytest.raises(ValueError, match=r"a\.png and a\.jpg have the same name"):
        FolderDataset(tmp_path, "day")


def test_label_map_takes_any_integer_type() -> None:
    labels = LabelMap({0: 255, 1: 0, 300: 1}, hint="fix it")
    for kind in (np.uint16, np.int32, np.int64):
        assert labels(np.array([[0, 1, 300]], kind), Path("m")).tolist() == [[255, 0, 1]]
    for bad in (-1, 70000, 299):
        with pytest.raises(ValueError, match=rf"m: label {bad} \(1 pixels\) is not in the label map; fix it"):
            labels(np.array([[bad, 1]], np.int64), Path("m"))
    with pytest.raises(ValueError, match="label map 3: 254"):
        LabelMap({3: 254}, hint="")
