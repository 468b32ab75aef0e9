"""What the weights that ship say of themselves."""

from __future__ import annotations

import pytest

from segattn.weights.checkpoint import require_description
from segattn.weights.description import described_recipe
from segattn.weights.pretrained import SHIPPED, default_weights


@pytest.mark.parametrize("name", SHIPPED)
def test_the_file_names_the_split_that_it_was_trained_on(name: str) -> None:
    assert described_recipe(require_description(default_weights(name))).data.train_split == "trainval"
