"""The description on a package index: README.md without the pictures and links that lead into the repository.

The index shows them from its own address, where they lead nowhere. All else is in pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import setup

README = Path(__file__).parent / "README.md"


def without_relative_links(text: str) -> str:
    """Markdown whose relative links are their words alone, and whose relative pictures are gone."""
    text = re.sub(r"^!\[[^\]]*\]\((?!https?://)[^)]*\)\n+", "", text, flags=re.MULTILINE)
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?://)[^)]*\)", r"\1", text)


setup(
    long_description=without_relative_links(README.read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
