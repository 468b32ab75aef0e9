"""A folder of images that nobody has labelled, to learn from a teacher on."""

from __future__ import annotations

from pathlib import Path

from segattn.contracts import IGNORE, Classes
from segattn.datasets.base import LabelMap, Pair, PairedDataset, describe_folder, find_files
from segattn.files import require_folder


class UnlabelledImages(PairedDataset):
    """The images below a folder, upright, sorted by name; every sample's mask is None.

    Args:
        classes: of the data set that they are trained on beside.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
        ValueError: two images have one name but for the suffix.
    """

    def __init__(self, folder: str | Path, classes: Classes) -> None:
        folder = Path(folder)
        require_folder(folder, "a folder of images was expected")
        pairs = [Pair(name, path, None) for name, path in find_files(folder).items()]
        if not pairs:
            raise FileNotFoundError(f"{folder}: no images found, but {describe_folder(folder)}")
        super().__init__(classes, pairs, LabelMap({IGNORE: IGNORE}, hint="there are no label files"), upright=True)
