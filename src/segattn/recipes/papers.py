"""The five papers."""

from __future__ import annotations

from segattn.recipes.schema import Paper

ATTANET = Paper(
    title="AttaNet: Attention-Augmented Network for Fast and Accurate Scene Parsing",
    venue="AAAI 2021",
    arxiv="2103.05930",
)
DANET = Paper(title="Dual Attention Network for Scene Segmentation", venue="CVPR 2019", arxiv="1809.02983")
ACFNET = Paper(
    title="ACFNet: Attentional Class Feature Network for Semantic Segmentation", venue="ICCV 2019", arxiv="1909.09408"
)
VAN = Paper(title="Visual Attention Network", venue="CVMJ 2023", arxiv="2202.09741")
AGENT = Paper(
    title="Agent Attention: On the Integration of Softmax and Linear Attention", venue="ECCV 2024", arxiv="2312.08874"
)
