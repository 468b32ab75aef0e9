"""Exported files run: one small interface over ONNX Runtime, OpenVINO and `torch.export`."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import cut
from segattn.exporting.report import Interface
from segattn.weights.description import HEADER_KEY

if TYPE_CHECKING:
    import torch

Ends = tuple[str | None, tuple[str, list[int | None]], list[int | None]]
"""The JSON text in a file of ours, the input's name and shape, and the output's shape; None for any side."""

INSTALL = "pip install 'segattn[export]'"


def require(*packages: str, install: str = INSTALL) -> None:
    """That packages of the extra are installed; `install` is the command that does it.

    Raises:
        ValueError: one is not, with the command that installs it.
    """
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise ValueError(f"{package} is not installed ({error}): {install}") from None


class Engine(ABC):
    """Runs one exported file.

    Attributes:
        path: the file.
        interface: what goes in and comes out.
    """

    package: ClassVar[str]
    """The distribution whose version `name` shows."""

    def __init__(self, path: Path, interface: Interface) -> None:
        self.path = path
        self.interface = interface

    @property
    def name(self) -> str:
        """The engine with its version."""
        from importlib.metadata import version  # slow to import

        return f"{self.package} {version(self.package)}"

    def run(self, images: NDArray[Any]) -> NDArray[Any]:
        """RGB (B, 3, H, W), of the file's type -> what the file gives.

        Raises:
            ValueError: the file takes no images of this shape or type.
        """
        self.interface.check(images.shape, str(self.path))
        if images.dtype != self.interface.input:
            raise ValueError(f"{self.path}: takes images of type {self.interface.input}, got {images.dtype}")
        return self._run(images)

    @abstractmethod
    def beside(self, workers: int, threads: int) -> Engine:
        """The file opened for so many threads that call `run` at a time, each with so many threads for its pass."""

    @abstractmethod
    def _run(self, images: NDArray[Any]) -> NDArray[Any]: ...


class OnnxRuntime(Engine):
    """An .onnx file on the CPU, or where ONNX Runtime has a provider for it and `providers` name it.

    Args:
        threads: of a pass; None for one a core.
        workers: threads that call `run` at a time.
    """

    package = "onnxruntime"

    def __init__(
        self,
        path: Path,
        interface: Interface,
        *,
        threads: int | None = None,
        workers: int = 1,
        providers: tuple[str, ...] = (),
    ) -> None:
        require("onnxruntime", install="pip install onnxruntime")
        import onnxruntime

        super().__init__(path, interface)
        options = onnxruntime.SessionOptions()
        # the callers' threads work too, and share the others
        options.intra_op_num_threads = 0 if threads is None else workers * (threads - 1) + 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=[*providers, "CPUExecutionProvider"]
        )

    def beside(self, workers: int, threads: int) -> OnnxRuntime:
        """See `Engine.beside`; on the CPU."""
        return OnnxRuntime(self.path, self.interface, threads=threads, workers=workers)

    def stored(self) -> Ends:
        """What the file itself says."""
        given, taken = self._session.get_inputs()[0], self._session.get_outputs()[0]
        text = self._session.get_modelmeta().custom_metadata_map.get(HEADER_KEY)
        return text, (given.name, _known(given.shape)), _known(taken.shape)

    def _run(self, images: NDArray[Any]) -> NDArray[Any]:
        try:
            result: NDArray[Any] = self._session.run(None, {"images": images})[0]
        except Exception as error:  # its types have no base of their own
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            size = " x ".join(map(str, images.shape))
            raise ValueError(
                f"{self.path}: ONNX Runtime can't run it on {size} (batch, channels, height, width): {cut(str(error))};"
                " if that is for want of memory, smaller images need less"
            ) from None
        return result


class OpenVINO(Engine):
    """An .xml file with its .bin, or an .onnx file, on the CPU, in float32 whatever the processor offers.

    Args:
        threads: of a pass; None for one a core.
        workers: threads that call `run` at a time.
    """

    package = "openvino"

    def __init__(self, path: Path, interface: Interface, *, threads: int | None = None, workers: int = 1) -> None:
        require("openvino", install="pip install openvino")
        import openvino

        super().__init__(path, interface)
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = workers * threads
        if workers > 1:
            properties["NUM_STREAMS"] = workers
        self._read = openvino.Core().read_model(path)
        self._own = _Request(openvino.compile_model(self._read, "CPU", properties))

    def beside(self, workers: int, threads: int) -> OpenVINO:
        """See `Engine.beside`."""
        return OpenVINO(self.path, self.interface, threads=threads, workers=workers)

    def stored(self) -> Ends:
        """What the file itself says."""
        place = ["framework", HEADER_KEY] if self.path.suffix == ".onnx" else [HEADER_KEY]
        text = str(self._read.get_rt_info(place).value) if self._read.has_rt_info(place) else None
        given, taken = (
            [side.get_length() if side.is_static else None for side in end.get_partial_shape()]
            for end in (self._read.inputs[0], self._read.outputs[0])
        )
        return text, (next(iter(sorted(self._read.inputs[0].get_names())), ""), given), taken

    def _run(self, images: NDArray[Any]) -> NDArray[Any]:
        return np.array(self._own.request.infer([images], share_inputs=True)[0])


class _Request(threading.local):
    """A request for results that each thread has of its own, as none can be made of one that is being worked on."""

    def __init__(self, model: Any) -> None:
        self.request = model.create_infer_request()


def _known(shape: list[Any]) -> list[int | None]:
    return [side if isinstance(side, int) else None for side in shape]


class TorchProgram(Engine):
    """A .pt2 file in PyTorch."""

    package = "torch"

    def __init__(self, path: Path, interface: Interface) -> None:
        from segattn.exporting.program_file import read_program

        super().__init__(path, interface)
        self._module: torch.nn.Module = read_program(path)[0].module()

    def beside(self, workers: int, threads: int) -> TorchProgram:
        """Itself: its threads are torch's."""
        return self

    def _run(self, images: NDArray[Any]) -> NDArray[Any]:
        import torch

        with torch.inference_mode():
            result: NDArray[Any] = self._module(torch.from_numpy(images)).numpy()
        return result
