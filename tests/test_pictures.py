from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from segattn.contracts import IGNORE, Classes, Sample
from segattn.files import require_writable
from segattn.pictures import (
    UNLABELLED,
    WRONG,
    class_shares,
    colorize,
    mistakes,
    overlay,
    side_by_side,
    with_legend,
    write_image,
)

CLASSES = Classes(("road", "sky"), ((128, 64, 128), (70, 130, 180)))


def test_colours_follow_the_palette_and_ignored_pixels_are_black() -> None:
    assert colorize(np.array([[0, 1, IGNORE]]), CLASSES).tolist() == [[[128, 64, 128], [70, 130, 180], [0, 0, 0]]]


def test_overlay_leaves_ignored_pixels_as_they_are() -> None:
    image = np.full((1, 2, 3), 200, np.uint8)
    mixed = overlay(image, np.array([[0, IGNORE]]), CLASSES, opacity=0.5)
    assert mixed[0, 0].tolist() == [164, 132, 164]
    assert mixed[0, 1].tolist() == [200, 200, 200]


def test_background_and_black_classes_are_not_tinted_unless_asked() -> None:
    classes = Classes(("_background_", "road", "hole"), ((10, 20, 30), (128, 64, 128), (0, 0, 0)))
    image, labels = np.full((1, 3, 3), 200, np.uint8), np.array([[0, 1, 2]])
    left = (overlay(image, labels, classes) == image).all(-1)
    assert left.tolist() == [[True, False, True]]
    tinted = (overlay(image, labels, classes, tint_all=True) == image).all(-1)
    assert tinted.tolist() == [[False, False, False]]


def test_shares_leave_ignored_pixels_out() -> None:
    assert class_shares(np.array([[0, 0, 1, IGNORE]]), 2).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert class_shares(np.full((2, 2), IGNORE), 2).tolist() == [0, 0]


@pytest.mark.parametrize("height", [20, 60, 400])
def test_legend_stands_beside_the_picture_in_its_height(height: int) -> None:
    picture = with_legend(np.zeros((height, 30, 3), np.uint8), CLASSES, np.array([0.25, 0.75]))
    assert picture.shape[0] == height
    assert picture.shape[1] > 60
    assert ((picture == CLASSES.palette[1]).all(-1)).any()


def test_the_legend_grows_with_large_pictures() -> None:
    widths = [with_legend(np.zeros((height, 30, 3), np.uint8), CLASSES).shape[1] - 30 for height in (400, 1300, 2500)]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.1)
    assert widths[2] == pytest.approx(4 * widths[0], rel=0.1)


def test_written_images_are_rgb_and_appear_whole(tmp_path) -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    write_image(tmp_path / "new" / "a.png", image)
    assert (cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1] == image).all()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]


def test_unwritable_places_are_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/a\.png: can't be written"):
        write_image(tmp_path / "file" / "a.png", np.zeros((1, 1), np.uint8))


def test_whether_a_folder_can_be_written_is_found_out_without_a_trace(tmp_path) -> None:
    require_writable(tmp_path)
    require_writable(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/new: nothing can be written there \(.*file is a file\)"):
        require_writable(tmp_path / "file" / "new")


def test_mistakes_are_red_the_rest_grey_and_the_unlabelled_dark() -> None:
    image = np.full((1, 3, 3), (200, 0, 0), np.uint8)
    right, wrong, unlabelled = mistakes(image, np.array([[0, 1, 1]]), np.array([[0, 0, IGNORE]]))[0].tolist()
    assert right[0] == right[1] == right[2]
    assert tuple(wrong) == WRONG
    assert tuple(unlabelled) == UNLABELLED


def sample(name: str, size: tuple[int, int] = (40, 60)) -> Sample:
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = 1
    mask[:, :10] = IGNORE
    return Sample(np.full((*size, 3), 90, np.uint8), mask, name, Path(f"{name}.png"))


def test_image_truth_and_prediction_lie_side_by_side_in_the_colours_of_the_classes() -> None:
    picture = side_by_side(sample("a"), np.ones((40, 60), np.uint8), CLASSES)
    body = picture[22:]
    assert body.shape[0] == 40
    image, truth, prediction = (body[:, left : left + 60] for left in (0, 68, 136))
    assert (image == 90).all()
    assert (truth[:, :10] == 0).all()
    assert (truth[:20, 10:] == CLASSES.palette[1]).all()
    assert (truth[20:, 10:] == CLASSES.palette[0]).all()
    assert (prediction == CLASSES.palette[1]).all()
    assert picture.shape[1] > 3 * 68  # the legend


def test_large_images_are_made_smaller_and_labels_stay_labels() -> None:
    large = sample("a", (1024, 2048))
    assert large.mask is not None
    picture = side_by_side(large, large.mask, CLASSES)
    assert picture.shape[0] == 22 + 320
    colours = {tuple(colour) for colour in picture[22:, 648 : 648 + 640].reshape(-1, 3)}
    assert colours == {(0, 0, 0), *CLASSES.palette}
