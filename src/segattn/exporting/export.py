"""`segattn.export`: a model as a file for other runtimes, written only if it gives the model's own answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from segattn import __version__
from segattn.contracts import require_same_classes
from segattn.exporting.engines import Engine, OnnxRuntime, OpenVINO, TorchProgram, require
from segattn.exporting.proof import Images, Shape, proof_shapes, prove
from segattn.exporting.quantize import quantized, require_nncf, split_images
from segattn.exporting.report import FORMATS, ExportReport, InputKind, Interface, OutputKind, describe_export
from segattn.exporting.trace import LARGEST_SIDE, Exported, exportable, trace
from segattn.files import atomic_files, require_writable
from segattn.models.segmenter import Segmenter
from segattn.normalization import require_rgb
from segattn.recipes.serialize import to_dict

if TYPE_CHECKING:
    from segattn.exporting.int8 import Scoring

_PACKAGES = {
    ".onnx": ("onnx", "onnxscript", "onnxruntime"),
    ".xml": ("onnx", "onnxscript", "openvino"),
    ".pt2": (),
}

_Write = Callable[[Path, Mapping[str, Any]], list[Path]]


def export(
    model: Segmenter,
    path: str | Path,
    *,
    input: InputKind = "float32",
    output: OutputKind = "logits",
    batch: int | None = None,
    height: int | None = None,
    width: int | None = None,
    opset: int | None = None,
    images: Sequence[str | Path] = (),
    proof: Iterable[Shape] = (),
    int8: Sequence[str | Path] = (),
    scoring: Scoring | None = None,
    description: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Write a model as an ONNX (.onnx), OpenVINO (.xml with .bin) or torch.export (.pt2) file, and prove it.

    The file takes `images` (B, C, H, W), mostly RGB with C = 3, and normalises them itself; it gives logits that are
    resized to the images' size by the model's own rule. The proof runs the file and the model on the same images at
    several sizes and batches; a file that disagrees is not left behind. Two exports of the same weights are equal to
    the byte.

    >>> report = segattn.export(model, "model.onnx")

    Args:
        model: in evaluation mode and float32.
        input: "float32" for values in 0..1, "uint8" for 0..255. A network that takes bands as they are stored takes
            these values as float32.
        output: "logits" or "softmax", (B, K, H, W) float32, or "labels", (B, H, W) uint8.
        batch, height, width: the only ones that the file is to take; None for any.
        opset: of ONNX's operators, 18 to 24; by default 20.
        images: files to prove it on; painted streets where there are none.
        proof: batch, height and width of each comparison; three by default.
        int8: images like those that the file is for, on which it is quantised to 8-bit numbers. The float32 file is
            proved first; then both are compared on the last fifth of the images, which the calibration doesn't see
            (`ExportReport.int8`), and one that gives too many other labels is an error. For .onnx and .xml.
        scoring: data on which the float32 and the INT8 file are scored.
        description: what the file says of itself instead of classes, network and normalisation, for JSON.

    Raises:
        ValueError: another suffix, a missing package, a size that the network doesn't take, or a file that disagrees.
        FileNotFoundError: the folder or an image does not exist.
        OSError: the file can't be written.
    """
    path = Path(path)
    _check_request(path, batch, height, width, opset)
    if int8:
        require_rgb(model.normalization, "int8")
    if input == "uint8":
        require_rgb(model.normalization, "input uint8")
    calibrating, held_out = _check_int8(path, output, int8, scoring, model)
    shown = Images(images or held_out, model.normalization)
    model = exportable(model)
    program, interface = trace(model, input=input, output=output, batch=batch, height=height, width=width)
    shapes = proof_shapes(interface, proof)
    described = description or {
        "version": __version__,
        "network": None if model.network is None else to_dict(model.network),
        "classes": asdict(model.classes),
        "normalization": asdict(model.normalization),
    }
    reference = Exported(model, output)
    with atomic_files(path) as folder:
        write, number = _writer(program, interface, path.suffix, opset, folder)
        draft = folder / path.name
        plain = folder / "float32" / path.name
        if calibrating:
            plain.parent.mkdir()
            write(plain, describe_export(described, interface, number, None))
            prove(open_engine(plain, interface).run, reference, interface, shown, shapes)
            write = _saver(quantized(plain, model, calibrating, interface, model.trained_at), path.suffix)
        write(draft, describe_export(described, interface, number, None))
        engine = open_engine(draft, interface)
        name = engine.name
        proofs = prove(engine.run, reference, interface, shown, shapes, int8=bool(calibrating))
        lost = None
        if calibrating:
            from segattn.exporting.int8 import compare_int8

            lost = compare_int8(
                open_engine(plain, interface),
                engine,
                model,
                calibrated_on=len(calibrating),
                held_out=held_out,
                scoring=scoring,
            )
            rmtree(plain.parent)
        del engine
        stored = {"engine": name, "images": shown.names, "comparisons": [asdict(proof) for proof in proofs]}
        files = write(draft, describe_export(described, interface, number, stored, lost))
        read = open_engine(draft, interface)  # as it will be read
        prove(read.run, reference, interface, shown, shapes[:1], int8=bool(calibrating))
    return ExportReport(
        files=tuple(path.with_name(file.name) for file in files),
        interface=interface,
        engine=name,
        images=shown.names,
        proofs=proofs,
        opset=number,
        int8=lost,
    )


def open_engine(path: Path, interface: Interface) -> Engine:
    """The engine for a file of ours, by its suffix."""
    if path.suffix == ".onnx":
        return OnnxRuntime(path, interface)
    return OpenVINO(path, interface) if path.suffix == ".xml" else TorchProgram(path, interface)


def _writer(
    program: Any, interface: Interface, suffix: str, opset: int | None, folder: Path
) -> tuple[_Write, int | None]:
    """What writes the file with a description, and its opset."""
    if suffix == ".pt2":
        from segattn.exporting.program_file import write_program

        return (lambda path, description: write_program(program, path, description)), None
    from segattn.exporting.onnx_file import OPSET, to_onnx, write_onnx

    graph = to_onnx(program, interface, opset or OPSET)
    if suffix == ".onnx":
        return _saver(graph, suffix), opset or OPSET
    from segattn.exporting.openvino_file import to_openvino

    between = write_onnx(graph, folder / "network.onnx", None)
    network = to_openvino(between[0], interface.output)
    for file in between:
        file.unlink()
    return _saver(network, suffix), None


def _saver(graph: Any, suffix: str) -> _Write:
    """What writes a graph, of ONNX or of OpenVINO, with a description."""
    if suffix == ".onnx":
        from segattn.exporting.onnx_file import write_onnx

        return lambda path, description: write_onnx(graph, path, description)
    from segattn.exporting.openvino_file import write_openvino

    return lambda path, description: write_openvino(graph, path, description)


def _check_int8(
    path: Path, output: OutputKind, int8: Sequence[str | Path], scoring: Scoring | None, model: Segmenter
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The images to calibrate on and those kept apart; none for a float32 file.

    Raises:
        ValueError: what can't be quantised, or scored.
    """
    if scoring is not None:
        if not int8:
            raise ValueError("data to score on are for an INT8 file; score a model or a file by `segattn evaluate`")
        if output == "labels":
            raise ValueError("an INT8 file of labels can't be scored; export it with logits, or leave the data out")
        require_same_classes("the model", model.classes, scoring.dataset.classes)
    if not int8:
        return (), ()
    if path.suffix == ".pt2":
        raise ValueError(f"{path}: INT8 is for .onnx and .xml files")
    require_nncf()
    return split_images(int8)


def _check_request(path: Path, batch: int | None, height: int | None, width: int | None, opset: int | None) -> None:
    """Raises ValueError or OSError for what can be known before the work."""
    if path.suffix not in FORMATS:
        kinds = ", ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items())
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}; expected one of {kinds}")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; a file's name was expected")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder; make it first")
    require_writable(path.parent)
    for name, value in (("batch", batch), ("height", height), ("width", width)):
        if value is not None and not 1 <= value <= LARGEST_SIDE:
            raise ValueError(f"{name} {value}: expected 1 to {LARGEST_SIDE}")
    require(*_PACKAGES[path.suffix])
    if opset is None:
        return
    if path.suffix == ".pt2":
        raise ValueError(f"opset {opset}: is of ONNX, and {path} is a torch.export file; leave it out")
    from segattn.exporting.onnx_file import OPSETS

    if opset not in OPSETS:
        raise ValueError(f"opset {opset}: expected {OPSETS[0]} to {OPSETS[-1]}")
