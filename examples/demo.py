"""The main job from end to end, offline and in minutes: make streets, train, score, predict, report.

    python examples/demo.py demo

Each step is a command that you can run yourself; it is printed before it runs.
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

from segattn.cli.main import main


def run(*words: str | Path) -> None:
    """One `segattn` command; the demo ends where it fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ segattn {shlex.join(arguments)}", flush=True)
    code = main(arguments)
    if code:
        sys.exit(code)


def demo(folder: Path) -> None:
    """Everything below `folder`; given again, finished steps are not repeated."""
    streets, trained, report = folder / "streets", folder / "run", folder / "report"
    started = time.monotonic()
    if not streets.is_dir():
        run("data", "synthetic", streets, "--train", "96", "--val", "16")
    where = ("--data.root", streets, "--output", trained)
    run("train", "attanet_light_synthetic", *where, "--training.precision", "auto")
    model = trained / "last.safetensors"
    run("evaluate", model, "--data.root", streets, "--output", report)
    run("predict", streets / "leftImg8bit/val/*/*.png", "--model", model, "--output", folder / "predictions")
    run("report", trained)
    print(f"\nDone in {time.monotonic() - started:.0f} s. Look at:")
    for path in (report / "report.html", folder / "predictions", trained / "curves.png"):
        print(f"  {path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    demo(Path(sys.argv[1]))
