"""Models in folders, on a stand-in for the Hugging Face Hub, and through torch.hub."""

from __future__ import annotations

import base64
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import segattn
from segattn.evaluation.protocol import WHOLE
from segattn.models.segmenter import Segmenter

ROOT = Path(__file__).parents[1]
RECIPE = segattn.recipe("attanet_light_camvid")
SCORES = {"miou": 71.234, "macc": 80.5, "aacc": None}


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(1)
    return segattn.create_model(RECIPE)


def assert_equal(ours: Segmenter, theirs: Segmenter) -> None:
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert ours.classes == theirs.classes
    assert ours.normalization == theirs.normalization


def front_matter(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def test_a_folder_holds_all_that_a_model_needs(tmp_path: Path, model: Segmenter) -> None:
    folder = tmp_path / "net"
    assert segattn.push_to_hub(model, RECIPE, folder, licence="cc-by-nc-4.0", scores=SCORES) == str(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    again = segattn.from_pretrained(folder)
    assert_equal(again, model)
    assert not again.training
    recipe, _ = segattn.load_model(folder / "model.safetensors")
    assert recipe == RECIPE
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"]["name"] == RECIPE.name
    assert config["licence"] == "cc-by-nc-4.0"


def test_text_that_looks_like_a_folder_is_one(
    tmp_path: Path, model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    segattn.push_to_hub(model, RECIPE, "./net", licence="mit")
    assert_equal(segattn.from_pretrained("net"), model)


def test_the_card_says_recipe_protocol_score_and_licence(tmp_path: Path, model: Segmenter) -> None:
    segattn.push_to_hub(model, RECIPE, tmp_path, licence="cc-by-nc-4.0", scores=SCORES, protocol=WHOLE)
    card = (tmp_path / "README.md").read_text()
    front = front_matter(card)
    assert front["license"] == "cc-by-nc-4.0"
    assert front["library_name"] == "segattn"
    assert front["pipeline_tag"] == "image-segmentation"
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"] == [
        {"type": "miou", "name": "mean IoU", "value": 71.23},
        {"type": "macc", "name": "mean class accuracy", "value": 80.5},
    ]
    for text in (
        "attanet_light_camvid",
        WHOLE.describe(),
        "| mean IoU | 71.23 % |",
        "2103.05930",
        *model.classes.names,
    ):
        assert text in card


def test_a_card_without_scores_says_so(tmp_path: Path, model: Segmenter) -> None:
    segattn.push_to_hub(model, RECIPE, tmp_path, licence="mit")
    card = (tmp_path / "README.md").read_text()
    assert "model-index" not in front_matter(card)
    assert "None were given" in card


def test_folders_without_a_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors: no such file"):
        segattn.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="neither a folder nor OWNER/NAME"):
        segattn.from_pretrained("a/b/c")


class Hub(http.server.ThreadingHTTPServer):
    """The part of the hub's API that publishing and loading a model use: repositories, commits, LFS, files."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.created: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        self.server.tokens.add(self.headers["Authorization"])
        parts = self.path.strip("/").split("/")
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            name = f"{self.server.created[-1]['organization']}/{self.server.created[-1]['name']}"
            self.server.repositories.setdefault(name, {})
            self._json({"url": f"{self.server.url}/{name}"})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif parts[4:5] == ["preupload"]:
            files = [{"path": file["path"], "shouldIgnore": False} for file in json.loads(body)["files"]]
            for file in files:
                file["uploadMode"] = "lfs" if file["path"].endswith(".safetensors") else "regular"
            self._json({"files": files})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{self.server.url}/blobs/{one['oid']}", "header": {}}}
            self._json({"transfer": "basic", "objects": objects})
        elif parts[4:5] == ["commit"]:
            files = self.server.repositories["/".join(parts[2:4])]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    files[line["value"]["path"]] = self.server.blobs[line["value"]["oid"]]
            self._json(
                {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.server.url}/me/net/commit/{'1' * 40}"}
            )
        else:
            self._error(404, "EntryNotFound")

    def do_PUT(self) -> None:
        self.server.blobs[self.path.rsplit("/", 1)[-1]] = self._body()
        self._json({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        files = self.server.repositories.get("/".join(parts[:2]))
        if self.path.startswith("/api/"):
            self._json({})
        elif files is None:
            self._error(401, "RepoNotFound")
        elif parts[3] not in ("main", "1" * 40):
            self._error(404, "RevisionNotFound")
        elif parts[4] not in files:
            self._error(404, "EntryNotFound")
        else:
            content = files[parts[4]]
            self.send_response(200)
            self.send_header("X-Repo-Commit", "1" * 40)
            self.send_header("ETag", f'"{len(content)}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def _json(self, content: Any) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


SCRIPT = """
import sys, torch, segattn
folder = sys.argv[1]
model = segattn.from_pretrained(folder + "/local")
recipe = segattn.recipe("attanet_light_camvid")
print(segattn.push_to_hub(model, recipe, "me/net", licence="mit", scores={"miou": 71.2}, private=True))
again = segattn.from_pretrained("me/net")
print(all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)))
for name, revision in (("me/other", None), ("me/net", "v9"), ("me/empty", None)):
    try:
        segattn.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        print(type(error).__name__, error)
"""
OFFLINE = """
import segattn
print(segattn.from_pretrained("me/net").num_classes)
for action in (
    lambda: segattn.from_pretrained("me/other"),
    lambda: segattn.push_to_hub(segattn.create_model("attanet_light_camvid"),
                                segattn.recipe("attanet_light_camvid"), "me/net", licence="mit"),
):
    try:
        action()
    except ConnectionError as error:
        print(error)
"""


def run(script: str, hub: Hub, folder: Path, **more: str) -> list[str]:
    """Python in a process of its own: the hub's client reads its settings when it is imported."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": "secret", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env={**keep, **settings, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **more},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_there_and_back_on_a_hub(tmp_path: Path, model: Segmenter, hub: Hub) -> None:
    segattn.push_to_hub(model, RECIPE, tmp_path / "local", licence="mit")
    hub.repositories["me/empty"] = {}
    place, same, unknown, revision, empty = run(SCRIPT, hub, tmp_path)
    assert place == f"{hub.url}/me/net"
    assert same == "True"
    assert unknown.startswith("FileNotFoundError me/other: no such model on the Hugging Face Hub")
    assert revision.startswith("FileNotFoundError me/net: it has no revision 'v9'")
    assert empty.startswith("ValueError me/empty: it has no model.safetensors")
    assert hub.repositories["me/net"].keys() == {"README.md", "config.json", "model.safetensors"}
    assert 'from_pretrained("me/net")' in hub.repositories["me/net"]["README.md"].decode()
    assert hub.created[0]["visibility"] == "private"
    assert hub.tokens == {"Bearer secret"}

    classes, unknown, push = run(OFFLINE, hub, tmp_path, HF_HUB_OFFLINE="1")
    assert classes == "11"
    assert unknown.startswith("me/other: the Hugging Face Hub can't be reached, and the model is not in its cache")
    assert push.startswith(f"me/net: can't be published on {hub.url}")


def test_torch_hub_lists_and_loads_the_recipes(model: Segmenter, tmp_path: Path) -> None:
    segattn.push_to_hub(model, RECIPE, tmp_path, licence="mit")
    spec = importlib.util.spec_from_file_location("hubconf_read_here", ROOT / "hubconf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entries = {name for name in dir(module) if callable(getattr(module, name)) and not name.startswith("_")}
    assert entries == set(segattn.list_recipes())  # what torch.hub.list shows
    assert "attanet_light_camvid" in module.attanet_light_camvid.__doc__
    loaded = torch.hub.load(
        str(ROOT), "attanet_light_camvid", source="local", weights=str(tmp_path / "model.safetensors")
    )
    assert_equal(loaded, model)
    small = torch.hub.load(str(ROOT), "attanet_light_camvid", source="local", num_classes=3)
    assert small.num_classes == 3
