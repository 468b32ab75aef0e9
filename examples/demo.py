"""The main job from end to end, offline and in minutes: label an image, train on own data, score, label, report.

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
    images = streets / "images/val"
    started = time.monotonic()
    if not streets.is_dir():
        run("data", "synthetic", streets, "--layout", "folder", "--train", "96", "--val", "16")
    run("predict", images / "demo_000001_000005.png", "--output", folder / "shipped")
    run("train", "attanet_light_camvid", "--data", streets, "--minutes", "2", "--output", trained)
    run("evaluate", trained, "--output", report)
    run("predict", images, "--model", trained, "--output", folder / "predictions")
    run("report", trained)
    print(f"\nDone in {time.monotonic() - started:.0f} s. Look at:")
    for path in (report / "report.html", folder / "predictions", trained / "training.html"):
        print(f"  {path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    demo(Path(sys.argv[1]))
