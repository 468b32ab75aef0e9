"""segattn app: a page on which images are labelled and looked at."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from segattn.cli.options import MODEL_HELP, made_for, open_model

if TYPE_CHECKING:
    from segattn.serve.content import Choice

_SHIPPED = ["attanet_lite0_camvid", "attanet_light_camvid"]


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "app",
        help="a page in the browser: drop an image, see its labels, click a pixel",
        description="A page in the browser, served by this machine: drop, paste or pick an image, see the labels of\n"
        "one model or several side by side, click a pixel to see its class scores and what the network looked at, and\n"
        "download labels, overlay and shares. Nothing is fetched from or sent to anywhere else. Ctrl-C ends it.\n"
        "Needs Gradio: pip install 'segattn[app]'\n\n" + MODEL_HELP,
        epilog="examples:\n"
        "  segattn app\n"
        "  segattn app runs/mine attanet_lite0_camvid\n"
        "  segattn app danet_r101_cityscapes --weights DANet101.pth.tar --port 8000\n"
        "  segattn app --host 0.0.0.0 --max-megapixels 12 --queue 4 --timeout 30    (for others on the network)",
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"default: the two that ship, {' and '.join(_SHIPPED)}"
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="of the one MODEL that is named: a checkpoint, ours or released, or released"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--fold", action="store_true", help="fold batch norms into convolutions: faster on the CPU")
    parser.add_argument("--port", type=_port, default=7860, help="default: 7860; 0 is any free one")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="default: 127.0.0.1, this machine alone; 0.0.0.0 is for everybody who can reach it, without a password",
    )
    group = parser.add_argument_group("limits, which the page says when they are met")
    group.add_argument("--max-megabytes", type=float, default=20, metavar="N", help="of a file (default: 20)")
    group.add_argument("--max-megapixels", type=float, default=25, metavar="N", help="of an image (default: 25)")
    group.add_argument("--queue", type=int, default=8, metavar="N", help="requests that may wait (default: 8)")
    group.add_argument(
        "--timeout", type=float, default=60, metavar="SECONDS", help="for a request, waiting included (default: 60)"
    )
    parser.set_defaults(run=_app, takes_overrides=True)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 65535")
    return int(text)


def _app(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    if find_spec("gradio") is None:
        raise ValueError("the page needs Gradio, which is not installed: pip install 'segattn[app]'")
    names = arguments.models or _SHIPPED
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]}: is named twice")
    if arguments.weights is not None and len(names) != 1:
        raise ValueError(f"--weights {arguments.weights}: belongs to one MODEL, and {len(names)} are named")
    from segattn.serve.limits import Limits
    from segattn.serve.server import listening_socket, serve

    limits = Limits(arguments.max_megabytes, arguments.max_megapixels, arguments.queue, arguments.timeout)
    listening_socket(arguments.host, arguments.port).close()  # before the models take their time
    choices = [_choice(name, arguments, overrides) for name in names]

    def say(address: str) -> None:
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if arguments.host not in ("127.0.0.1", "localhost", "::1"):
            print("anybody who can reach this machine can use the page: there is no password", file=sys.stderr)

    with suppress(KeyboardInterrupt):
        serve(choices, limits, arguments.host, arguments.port, say)
    print("ended", flush=True)


def _choice(name: str, arguments: argparse.Namespace, overrides: dict[str, str]) -> Choice:
    from segattn.machine import pick_device
    from segattn.normalization import require_rgb
    from segattn.serve.content import Choice

    recipe, model = open_model(name, arguments.weights, overrides)
    require_rgb(model.normalization, f"app: {name}")
    if arguments.fold:
        from segattn.models.fold import optimize_for_inference

        model = optimize_for_inference(model)
    about = made_for(recipe, model.classes).partition(": ")[2].partition(" classes: ")[0] + " classes"
    print(f"{name}: {about}", flush=True)
    return Choice(name, about, model.to(pick_device(arguments.device)))
