"""A program as a file of `torch.export` (.pt2), the same bytes every time."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from segattn.exporting.trace import quiet
from segattn.weights.description import HEADER_KEY

ENTRY = f"{HEADER_KEY}.json"


def write_program(program: ExportedProgram, path: Path, description: Mapping[str, Any]) -> list[Path]:
    """Write the file; returns it. Source lines and file names of the making machine are left out."""
    for graph in program.graph_module.modules():
        if isinstance(graph, GraphModule):
            for node in graph.graph.nodes:
                for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "custom"):
                    node.meta.pop(key, None)
    text = json.dumps(description, ensure_ascii=False)
    buffer = io.BytesIO()  # a full disk under torch's own writer ends the process
    with quiet():
        torch.export.save(program, buffer, extra_files={ENTRY: text})
    path.write_bytes(buffer.getbuffer())
    return [path]


def read_program(path: Path) -> tuple[ExportedProgram, str | None]:
    """The program, and the JSON text in a file of ours."""
    entries = {ENTRY: ""}
    with quiet():
        program = torch.export.load(path, extra_files=entries)
    return program, entries[ENTRY] or None
