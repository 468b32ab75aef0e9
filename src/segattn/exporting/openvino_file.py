"""An ONNX file as OpenVINO's two files, structure (.xml) and weights (.bin), the same bytes every time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segattn.exporting.report import OutputKind
from segattn.weights.description import HEADER_KEY


def to_openvino(onnx_file: Path, output: OutputKind) -> Any:
    """The network as an `openvino.Model`, from a file of ours."""
    import openvino

    model = openvino.convert_model(onnx_file)
    model.inputs[0].set_names({"images"})
    model.outputs[0].set_names({output})
    number_operators(model)
    return model


def number_operators(model: Any) -> None:
    """Name operators that have no name of their own by their place: OpenVINO counts through the whole process."""
    for index, operator in enumerate(model.get_ordered_ops()):
        if re.search(r"_\d+$", operator.get_friendly_name()) and operator.get_type_name() != "Parameter":
            operator.set_friendly_name(f"{operator.get_type_name()}_{index}")
        if operator.get_type_name() in ("Loop", "TensorIterator"):
            number_operators(operator.get_function())


def write_openvino(model: Any, path: Path, description: Mapping[str, Any]) -> list[Path]:
    """Write the two files; returns them. Weights stay float32.

    Raises:
        OSError: they can't be written.
    """
    import openvino

    model.set_rt_info(json.dumps(description, ensure_ascii=False), [HEADER_KEY])
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        if "iostream" not in str(error):
            raise
        raise OSError("the file can't be written whole: is the disk full?") from None
    return [path, path.with_suffix(".bin")]


def read_openvino_description(model: Any) -> str | None:
    """The JSON text in a file of ours."""
    return str(model.get_rt_info([HEADER_KEY]).value) if model.has_rt_info([HEADER_KEY]) else None
