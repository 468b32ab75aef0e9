"""Where figures come from, as the heads of pages say it."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path

import pytest
import torch

import segattn
from segattn.machine import device_in_words, today
from segattn.recipes.schema import Data
from segattn.reports.origin import Fact, Origin, WeightsFile, data_name


def test_a_file_is_named_with_its_folder_and_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "run" / "last.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"numbers")
    digest = hashlib.sha256(b"numbers").hexdigest()
    fact = WeightsFile.of(path).fact
    assert fact == Fact("weights", f"run/last.safetensors, sha256 {digest[:12]}", f"{path}: {digest}")


def test_of_an_openvino_model_the_file_with_the_numbers_counts(tmp_path: Path) -> None:
    (tmp_path / "street.xml").write_text("<net/>")
    (tmp_path / "street.bin").write_bytes(b"numbers")
    file = WeightsFile.of(tmp_path / "street.xml")
    assert file == WeightsFile(str(tmp_path / "street.bin"), hashlib.sha256(b"numbers").hexdigest())


def test_what_is_not_known_is_left_out() -> None:
    origin = Origin(split="val", date="")
    assert [(fact.name, fact.value) for fact in origin.facts] == [("split", "val"), ("segattn", segattn.__version__)]
    assert origin.where == "val"
    whole = Origin(data="streets", split="val", protocol="whole: own size, no windows")
    assert whole.where == "streets val, whole"
    assert whole.facts[-1] == Fact("protocol", "whole: own size, no windows")


def test_a_folder_of_ones_own_goes_by_its_name() -> None:
    assert data_name(Data(dataset="camvid", num_classes=11, root="/data/street")) == "camvid"
    assert data_name(Data(dataset="folder", num_classes=2, root="/data/plates")) == "plates"


def test_the_date_is_of_today_or_of_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    before = datetime.now(timezone.utc).date().isoformat()
    assert before <= Origin().date <= datetime.now(timezone.utc).date().isoformat()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert today() == Origin().date == "1970-01-02"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(ValueError, match="SOURCE_DATE_EPOCH is 'yesterday': expected seconds since 1970"):
        today()


def test_a_device_is_named() -> None:
    words = device_in_words(torch.device("cpu"))
    assert words.startswith("cpu: ")
    assert words.endswith((" core", " cores"))
    assert device_in_words(torch.device("mps")) == "mps"
