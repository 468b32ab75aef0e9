"""A program as an ONNX file, the same bytes every time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from segattn.exporting.report import Interface
from segattn.exporting.trace import quiet
from segattn.weights.description import HEADER_KEY

if TYPE_CHECKING:
    import onnx_ir as ir

OPSET = 20
OPSETS = range(18, 25)
LARGEST = (1 << 31) - (16 << 20)
"""Bytes of weights that are kept inside the file: protocol buffers end at 2 GiB."""

NAMES = ("batch", None, "height", "width")


def to_onnx(program: ExportedProgram, interface: Interface, opset: int) -> ir.Model:
    """The graph, with nothing of the machine that made it in it."""
    with quiet():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=[interface.output],
            opset_version=opset,
            optimize=True,
            verbose=False,
        )
    assert converted is not None
    model = converted.model
    symbols = {
        str(side): name for side, name in zip(model.graph.inputs[0].shape or (), NAMES, strict=True) if name is not None
    }
    for graph in (model.graph, *model.graph.subgraphs()):
        _clean(graph, symbols)
        for value in (value for node in graph for value in node.outputs):
            if value.name == interface.output and value not in model.graph.outputs:
                value.name = f"{value.name}_inside"  # the exporter gives the output its name without looking for others
    _loop_instead_of_scan(model)
    model.metadata_props.clear()
    model.producer_name, model.producer_version, model.doc_string = "segattn", None, None
    return model


def _clean(graph: ir.Graph, symbols: Mapping[str, str]) -> None:
    """Drop source lines and file names of the making machine, and call the open dimensions by their names."""
    graph.metadata_props.clear()
    graph.doc_string = None
    values: list[ir.Value] = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        values += node.outputs
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None
        if value.shape is not None and not value.shape.is_static():
            value.shape = _renamed(value.shape, symbols)


def _renamed(shape: Iterable[Any], symbols: Mapping[str, str]) -> ir.Shape:
    import onnx_ir as ir

    sides: list[int | str | None] = []
    for side in shape:
        text = side if isinstance(side, int) else side.value
        if isinstance(text, str):
            text = re.sub(r"\b[a-z]+\d+\b", lambda found: symbols.get(found[0], found[0]), text)
        sides.append(text)
    return ir.Shape(sides)


def _loop_instead_of_scan(model: ir.Model) -> None:
    """Every Scan whose body reads from outside, as a Loop: OpenVINO takes what is read for states of the Scan.

    Each has one state, which is never read, and one input that is walked through along its first axis.
    """
    import onnx_ir as ir

    for node in [node for node in model.graph if node.op_type == "Scan"]:
        body = node.attributes["body"].as_graph()
        walked, name = node.inputs[1], node.name or "scan"
        state, row = body.inputs
        result = body.outputs[1]
        assert walked is not None
        step = ir.Value(name=f"{name}_step", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
        go = ir.Value(name=f"{name}_go", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
        taken = ir.node("Gather", [walked, step], {"axis": 0}, name=f"{name}_row")
        taken.outputs[0].name, taken.outputs[0].type, taken.outputs[0].shape = f"{name}_row", row.type, row.shape
        on = ir.node("Identity", [go], name=f"{name}_on")
        on.outputs[0].name, on.outputs[0].type, on.outputs[0].shape = f"{name}_on", go.type, ir.Shape([])
        inner = [inside for inside in body if state not in inside.inputs]
        for inside in body:
            for index, value in enumerate(inside.inputs):
                if value is row:
                    inside.replace_input_with(index, taken.outputs[0])
        body.outputs.clear()
        body.remove(list(body))
        loop_body = ir.Graph(
            [step, go],
            [on.outputs[0], result],
            nodes=[taken, *inner, on],
            name=body.name,
            opset_imports=body.opset_imports,
        )
        size = ir.node("Shape", [walked], {"start": 0, "end": 1}, name=f"{name}_steps")
        size.outputs[0].name = f"{name}_steps"
        loop = ir.node("Loop", [size.outputs[0], None], {"body": ir.AttrGraph("body", loop_body)}, name=name)
        out = node.outputs[1]
        loop.outputs[0].name, loop.outputs[0].type, loop.outputs[0].shape = out.name, out.type, out.shape
        model.graph.insert_before(node, [size, loop])
        out.replace_all_uses_with(loop.outputs[0])
        model.graph.remove(node)


def write_onnx(model: ir.Model, path: Path, description: Mapping[str, Any] | None) -> list[Path]:
    """Write the file, with its weights beside it where they are too large for one; returns what was written."""
    import onnx_ir as ir

    if description is not None:
        model.metadata_props[HEADER_KEY] = json.dumps(description, ensure_ascii=False)
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if weights <= LARGEST:
        ir.save(model, path)
        return [path]
    data = path.with_name(f"{path.name}.data")
    ir.save(model, path, external_data=data.name)
    return [path, data]


def read_onnx_description(path: Path) -> str | None:
    """The JSON text in a file of ours."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return next((entry.value for entry in model.metadata_props if entry.key == HEADER_KEY), None)
