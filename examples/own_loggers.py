"""MLflow and trackio as loggers of a run: a tracker is a class of four methods (`segattn.Logger`).

    segattn.train(model, recipe, ..., loggers=[MLflowLogger("streets")])

    python examples/own_loggers.py mlflow       # with `pip install mlflow`; then `mlflow ui`
    python examples/own_loggers.py trackio      # with `pip install trackio`; then `trackio show`

Both keep one run over resumes: MLflow by an id in the run's folder, trackio by the run's name.
"""

from __future__ import annotations

import argparse
import importlib
import runpy
import tempfile
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

import segattn

Images = Sequence[tuple[str, np.ndarray]]


class MLflowLogger:
    """Writes to MLflow's current tracking server or folder (MLFLOW_TRACKING_URI)."""

    def __init__(self, experiment: str) -> None:
        self.experiment = experiment
        self.mlflow: Any = importlib.import_module("mlflow")

    def start(self, config: Mapping[str, Any]) -> None:
        """The run of before, if the folder knows its id."""
        self.mlflow.set_experiment(self.experiment)
        kept = Path(config["folder"]) / "mlflow_run.txt"
        if kept.is_file():
            self.mlflow.start_run(run_id=kept.read_text(encoding="utf-8"))
            return
        run = self.mlflow.start_run(run_name=config["run"])
        kept.write_text(run.info.run_id, encoding="utf-8")
        self.mlflow.log_dict(dict(config["recipe"]), "recipe.json")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """MLflow's names may hold letters, digits and a few signs; its server refuses what is not finite."""
        named = {"".join(c if c.isalnum() or c in "_-. /" else "_" for c in name): v for name, v in values.items()}
        self.mlflow.log_metrics({name: value for name, value in named.items() if isfinite(value)}, step=step)

    def images(self, step: int, images: Images) -> None:
        """As artefacts."""
        for name, image in images:
            self.mlflow.log_image(image, key=name, step=step)

    def finish(self, *, failed: bool) -> None:
        """Ends the run there."""
        self.mlflow.end_run("FAILED" if failed else "FINISHED")


class TrackioLogger:
    """Writes to trackio's local database, or to a Space of Hugging Face with `space_id`."""

    def __init__(self, project: str, space_id: str | None = None) -> None:
        self.project, self.space_id = project, space_id
        self.trackio: Any = importlib.import_module("trackio")

    def start(self, config: Mapping[str, Any]) -> None:
        """The run of that name, or a new one."""
        self.trackio.init(
            project=self.project,
            name=config["run"],
            config=dict(config["recipe"]),
            space_id=self.space_id,
            resume="allow",
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers as they are."""
        self.trackio.log(dict(values), step=step)

    def images(self, step: int, images: Images) -> None:
        """Under samples/."""
        self.trackio.log({f"samples/{name}": self.trackio.Image(image) for name, image in images}, step=step)

    def finish(self, *, failed: bool) -> None:
        """trackio has no word for a failure."""
        self.trackio.finish()


def main() -> None:
    """Train on made images, in seconds, and log it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", choices=("mlflow", "trackio"))
    logger: segattn.Logger = (MLflowLogger if parser.parse_args().tracker == "mlflow" else TrackioLogger)("segattn")
    print(train_and_log(logger, Path(tempfile.mkdtemp(prefix="segattn-")), steps=20))


def train_and_log(logger: segattn.Logger, folder: Path, steps: int) -> Path:
    """A short run on made images in `folder`; its own folder."""
    own_data = runpy.run_path(str(Path(__file__).with_name("own_data.py")))
    own_data["make_images"](folder / "data")
    sets = [segattn.FolderDataset(folder / "data", split) for split in ("train", "val")]
    recipe = own_data["own_recipe"](
        segattn.recipe("attanet_light_camvid"), folder / "data", len(sets[0].classes), steps
    )
    run = folder / "run"
    segattn.train(
        segattn.create_model(recipe), recipe, train_set=sets[0], val_set=sets[1], output_dir=run, loggers=[logger]
    )
    return run


if __name__ == "__main__":
    main()
