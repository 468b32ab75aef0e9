"""A network's ONNX file in the cache, from which the engines run it: exported and proved once for its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from segattn import __version__
from segattn.exporting.engines import Engine, OnnxRuntime, OpenVINO, require
from segattn.exporting.export import export
from segattn.exporting.exported import ANYTHING, stored_interface
from segattn.exporting.model import as_model
from segattn.files import require_writable
from segattn.models.segmenter import Segmenter
from segattn.recipes.serialize import to_dict
from segattn.weights.download import cache_folder

FILE = "network.onnx"
_EXPORTED_BY = ("torch", "onnx", "onnxscript")


def network_folder(model: Segmenter) -> Path:
    """The folder in the cache for what is known of this network: its weights, and the versions that export it."""
    versions = " ".join([__version__, *(_version(package) for package in _EXPORTED_BY)])
    return cache_folder() / "engines" / hashlib.sha256(f"{network_digest(model)} {versions}".encode()).hexdigest()[:24]


def network_digest(model: Segmenter) -> str:
    """SHA-256 of what a network computes with: its description and its weights."""
    digest = hashlib.sha256()
    network = repr(model) if model.network is None else json.dumps(to_dict(model.network), sort_keys=True)
    for text in (network, str(model.num_classes), model.align_corners):
        digest.update(f"{text}\n".encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def engine_model(
    model: Segmenter, engine: str, *, threads: int, say: Callable[[str], None], workers: int = 1
) -> Segmenter:
    """The model as "onnxruntime" or "openvino" runs it, in float32, with the same logits to float rounding.

    ONNX Runtime takes a GPU that its installed build can use (`onnxruntime-gpu`), OpenVINO the CPU.

    Args:
        threads: of the processor that a pass may use.
        say: told of the export where the cache has no file yet.
        workers: threads that run the model at a time.

    Raises:
        ValueError: the engine is not installed, or the network can't be exported, or its file disagrees with it.
        OSError: the cache can't be written.
    """
    require(engine)
    path = network_folder(model) / FILE
    if path.is_file():
        try:
            return as_model(_open(engine, path, threads, workers), model)
        except Exception as error:  # a damaged file of the cache is written anew, whatever its reader says of it
            say(f"{path}: {type(error).__name__}; exporting again")
            path.unlink()
    require_writable(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    say(f"exporting the network for {engine}, once for these weights")
    export(model, path)
    return as_model(_open(engine, path, threads, workers), model)


def versions_of(engines: tuple[str, ...]) -> dict[str, str]:
    """The installed versions, of which a measured verdict is."""
    return {name: _version(name) for name in engines}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _open(engine: str, path: Path, threads: int, workers: int) -> Engine:
    opened: OnnxRuntime | OpenVINO
    if engine == "onnxruntime":
        opened = OnnxRuntime(path, ANYTHING, threads=threads, workers=workers, providers=gpu_providers())
    else:
        opened = OpenVINO(path, ANYTHING, threads=threads, workers=workers)
    opened.interface = stored_interface(opened)
    return opened


def gpu_providers() -> tuple[str, ...]:
    """ONNX Runtime's providers for NVIDIA GPUs that its build has and this machine can use."""
    if not torch.cuda.is_available():
        return ()
    import onnxruntime

    wanted = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    there: list[str] = onnxruntime.get_available_providers()
    return tuple(name for name in wanted if name in there)
