"""The parts behind `segattn train --data`, put together by hand: a recipe is fine-tuned for another class list.

    python examples/own_data.py                                        # on made images, in seconds
    python examples/own_data.py --data my_data --steps 2000            # on yours, from the weights that ship
    python examples/own_data.py --data my_data --weights best.safetensors
    python examples/own_data.py --data my_data --recipe attanet_r18_camvid --backbone resnet18

`my_data` holds images/{train,val}, masks/{train,val} and a dataset.yaml: see docs/datasets.md. `--weights` is a
segmentation network for any classes, of which all but the classifier layers are taken; `--backbone` an ImageNet file,
or a name that is downloaded.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import segattn
from segattn.losses.terms import CrossEntropy
from segattn.weights.pretrained import default_weights


def fine_tune(
    data: Path, output: Path, name: str, steps: int, *, weights: str | Path | None = None, backbone: str | None = None
) -> segattn.Segmenter:
    """The recipe `name`'s network, trained for `steps` on the folder `data`; the checkpoints are in `output`."""
    train_set, val_set = segattn.FolderDataset(data, "train"), segattn.FolderDataset(data, "val")
    recipe = own_recipe(segattn.recipe(name), data, len(train_set.classes), steps)
    model = segattn.create_model(recipe)
    model.classes = train_set.classes
    if weights is not None:
        print(segattn.load_weights(model, weights, num_classes_may_differ=True))
    if backbone is not None:
        print(segattn.load_backbone(model, backbone))
    segattn.train(model, recipe, train_set=train_set, val_set=val_set, output_dir=output)
    return segattn.load_model(output / "best.safetensors")[1]


def own_recipe(recipe: segattn.Recipe, data: Path, num_classes: int, steps: int) -> segattn.Recipe:
    """The recipe for another data set: its class weights belong to the old classes, its length to the old data."""
    return replace(
        recipe,
        name=f"{recipe.name}_own_data",
        data=replace(recipe.data, dataset="folder", root=str(data), num_classes=num_classes),
        losses=tuple(
            replace(term, class_weights=None) if isinstance(term, CrossEntropy) else term for term in recipe.losses
        ),
        schedule=replace(recipe.schedule, lr=recipe.schedule.lr / 4, iterations=steps, warmup=None),
        training=replace(recipe.training, batch_size=4, validate_every=max(steps // 4, 1), ema_decay=None),
    )


def make_images(folder: Path, *, train: int = 8, val: int = 2) -> None:
    """Discs and squares on noise, with masks and a dataset.yaml, in the layout that `segattn.FolderDataset` reads."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            image = random.integers(0, 90, (96, 128, 3), np.uint8)
            mask = np.zeros((96, 128), np.uint8)
            x, y = random.integers(20, 60, 2).tolist()
            for canvas, disc, square in ((image, (230, 60, 60), (60, 60, 230)), (mask, 1, 2)):
                cv2.circle(canvas, (x, y), 14, disc, -1)
                cv2.rectangle(canvas, (x + 30, y - 10), (x + 55, y + 15), square, -1)
            cv2.imwrite(str(folder / f"images/{split}/{index}.png"), image[..., ::-1])
            cv2.imwrite(str(folder / f"masks/{split}/{index}.png"), mask)
    (folder / "dataset.yaml").write_text(
        "classes:\n"
        "  - {name: background, color: [0, 0, 0]}\n"
        "  - {name: disc, color: [230, 60, 60]}\n"
        "  - {name: square, color: [60, 60, 230]}\n"
    )


def main() -> None:
    """Parse, train, predict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of yours; made images by default")
    parser.add_argument("--output", type=Path, help="default: a temporary folder")
    parser.add_argument("--recipe", default="attanet_light_camvid")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--weights")
    parser.add_argument("--backbone")
    given = parser.parse_args()
    output = given.output or Path(tempfile.mkdtemp(prefix="segattn-"))
    data = given.data or output / "data"
    if given.data is None:
        make_images(data)
    weights = given.weights
    if weights is None and given.backbone is None:
        weights = default_weights(given.recipe)
    model = fine_tune(data, output / "run", given.recipe, given.steps, weights=weights, backbone=given.backbone)
    image = segattn.FolderDataset(data, "val")[0].image_path
    prediction = segattn.predict(model, image)
    print(prediction.shares())
    files = prediction.save(output)
    print(files.labels, files.overlay, sep="\n")


if __name__ == "__main__":
    main()
