"""What this machine computes by itself, and what it would only imitate."""

from __future__ import annotations

import os
from typing import Literal

import torch

Precision = Literal["float32", "bf16"]

SLOW_BF16 = (
    "bf16 is not native to this machine: on a processor without it, training took 4.2 times as long as in float32 (8.8"
    " against 2.1 s a step of AttaNet-light, 8 crops of 257x337, one thread) and inference 11.7 times;"
    " take auto or float32"
)
_WITH_BF16 = ("AVX512_CORE_BF16", "AVX10_1_512", "AVX512_CORE_AMX", "AVX512_CORE_FP16", "AVX10_2", "ALL", "DEFAULT")
"""Limits of oneDNN that leave it the instructions for bf16."""


def native_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for products of bfloat16, as far as that is known; false where it isn't.

    An x86 processor has them with AVX512-BF16 or AMX, if oneDNN may use these; an NVIDIA GPU from Ampere on. ARM
    processors and Apple's GPUs count as unknown.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT"
    if not limit.upper().startswith(_WITH_BF16):
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def automatic_precision(device: torch.device) -> Precision:
    """What `auto` means on a device: bf16 where it is native, else float32."""
    return "bf16" if native_bf16(device) else "float32"
