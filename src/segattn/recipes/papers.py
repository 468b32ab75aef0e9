"""The five papers, and the repositories that their recipes follow."""

from __future__ import annotations

from segattn.recipes.schema import Paper

ATTANET = Paper(
    title="AttaNet: Attention-Augmented Network for Fast and Accurate Scene Parsing",
    venue="AAAI 2021",
    arxiv="2103.05930",
    code="https://github.com/songqi-github/AttaNet",
    code_licence="not known (none found in the repository)",
)
DANET = Paper(
    title="Dual Attention Network for Scene Segmentation",
    venue="CVPR 2019",
    arxiv="1809.02983",
    code="https://github.com/junfu1115/DANet",
    code_licence="MIT",
)
ACFNET = Paper(
    title="ACFNet: Attentional Class Feature Network for Semantic Segmentation",
    venue="ICCV 2019",
    arxiv="1909.09408",
    code="https://github.com/zrl4836/ACFNet",
    code_licence="not known (none found in the repository, which is not the authors': theirs was never released)",
)
VAN = Paper(
    title="Visual Attention Network",
    venue="CVMJ 2023",
    arxiv="2202.09741",
    code="https://github.com/Visual-Attention-Network/VAN-Segmentation",
    code_licence="Apache-2.0 (says the README, and asks to contact the authors for commercial use)",
)
AGENT = Paper(
    title="Agent Attention: On the Integration of Softmax and Linear Attention",
    venue="ECCV 2024",
    arxiv="2312.08874",
    code="https://github.com/LeapLabTHU/Agent-Attention",
    code_licence="not known (none found in the repository)",
)
