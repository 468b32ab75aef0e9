"""Every data set by name, and where its files come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segattn.contracts import Classes, nearest
from segattn.datasets.ade20k import ADE20K
from segattn.datasets.base import PairedDataset
from segattn.datasets.camvid import CamVid
from segattn.datasets.cityscapes import Cityscapes
from segattn.datasets.coco_stuff import COCOStuff10k
from segattn.datasets.folder import FolderDataset
from segattn.datasets.pascal_context import PascalContext, PascalContext60
from segattn.datasets.voc import VOC2012

DATASETS: dict[str, Callable[[str | Path, str], PairedDataset]] = {
    "ade20k": ADE20K,
    "camvid": CamVid,
    "cityscapes": Cityscapes,
    "coco_stuff10k": COCOStuff10k,
    "folder": FolderDataset,
    "pascal_context": PascalContext,
    "pascal_context60": PascalContext60,
    "voc2012": VOC2012,
}

CLASSES: dict[str, Classes] = {
    "ade20k": ADE20K.classes,
    "camvid": CamVid.classes,
    "cityscapes": Cityscapes.classes,
    "coco_stuff10k": COCOStuff10k.classes,
    "pascal_context": PascalContext.classes,
    "pascal_context60": PascalContext60.classes,
    "voc2012": VOC2012.classes,
}
"""The classes of the data sets that always have the same; a folder's are its own."""


def open_dataset(name: str, root: str | Path, split: str) -> PairedDataset:
    """A split of the data set `name` that is kept in `root`.

    Raises:
        ValueError: an unknown name or split, offering the nearest; a wrong description of a folder data set.
        FileNotFoundError: the folder is not there or has another layout, saying what was looked for and what is there.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}.{nearest(name, DATASETS)} Known: {', '.join(DATASETS)}")
    return DATASETS[name](root, split)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The source of a data set.

    Attributes:
        download: what to get from its publisher, in words.
        layout: paths below `--data.root`, as in docs/datasets.md.
        prepare: `segattn data prepare NAME` must be run once.
        hidden: splits whose labels are not public: a server scores them.
        limits: what its scores don't say and what a network trained on it has not seen, in words.
        shows: what its images are of, in a few words.
    """

    download: str
    layout: tuple[str, ...]
    prepare: bool = False
    hidden: tuple[str, ...] = ()
    limits: str = ""
    shows: str = ""


_CONTEXT = Source(
    shows="everyday scenes (PASCAL Context)",
    download="the images of PASCAL VOC 2010, and trainval_merged.json of PASCAL in Detail",
    layout=("VOCdevkit/VOC2010/JPEGImages/NAME.jpg", "VOCdevkit/VOC2010/trainval_merged.json"),
    prepare=True,
)

SOURCES: dict[str, Source] = {
    "cityscapes": Source(
        shows="streets of German cities from a car, by day (Cityscapes)",
        download="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com/",
        layout=(
            "leftImg8bit/{train,val,test}/CITY/NAME_leftImg8bit.png",
            "gtFine/{train,val,test}/CITY/NAME_gtFine_labelIds.png",
        ),
        hidden=("test",),
    ),
    "camvid": Source(
        shows="streets from a car, by day or at dusk (CamVid)",
        download="CamVid in the 11 classes of SegNet, 480x360",
        layout=("images/{train,val,test}/NAME.png", "labels/{train,val,test}/NAME.png"),
        limits="val is of a drive that train has frames of, so that scores on it are higher than on other streets. All "
        "frames are of one town in England, by day or at dusk, in dry weather, through one camera behind a windscreen: "
        "networks trained on them know no night, no rain or snow, no other countries and no other cameras",
    ),
    "ade20k": Source(
        shows="indoor and outdoor scenes (ADE20K)",
        download="ADE20K, SceneParsing release (ADEChallengeData2016)",
        layout=(
            "ADEChallengeData2016/images/{training,validation}/NAME.jpg",
            "ADEChallengeData2016/annotations/{training,validation}/NAME.png",
        ),
    ),
    "pascal_context": _CONTEXT,
    "pascal_context60": _CONTEXT,
    "voc2012": Source(
        shows="20 kinds of things and animals (PASCAL VOC 2012)",
        download="PASCAL VOC 2012 (VOCtrainval_11-May-2012.tar) and the Semantic Boundaries Dataset (benchmark.tgz)",
        layout=(
            "VOCdevkit/VOC2012/JPEGImages/NAME.jpg",
            "VOCdevkit/VOC2012/SegmentationClass/NAME.png",
            "VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val,trainval}.txt",
            "benchmark_RELEASE",
        ),
        prepare=True,
    ),
    "coco_stuff10k": Source(
        shows="everyday scenes (COCO-Stuff 10k)",
        download="COCO-Stuff 10k, version 1.1",
        layout=("images/NAME.jpg", "annotations/NAME.mat", "imageLists/{train,test}.txt"),
        prepare=True,
    ),
}
"""By data set, for every one that a recipe is for."""
