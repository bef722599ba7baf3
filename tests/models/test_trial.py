"""Trial: a network is tried without torch in the process that plans, once; what was noted is not believed blindly."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from model_folders import sha256, write_model

from geoseg.catalog.card import read_model
from geoseg.errors import ModelError
from geoseg.models import trial

CODE = """
import json, sys
from geoseg.catalog.card import read_model
from geoseg.errors import ModelError
from geoseg.models import trial
try:
    said = {{"side": trial.check(read_model({folder!r})).side}}
except ModelError as error:
    said = {{"error": str(error)}}
print(json.dumps(said | {{"torch": "torch" in sys.modules}}))
"""


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def tried(folder, cache: Path, before=None) -> dict:
    """What a process without torch says of a model."""
    command = [sys.executable, "-c", CODE.format(folder=str(folder))]
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, preexec_fn=before)
    return json.loads(done.stdout)


def notes(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.json"))


def change(folder: Path, **keys) -> None:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump(card | keys))


@pytest.mark.slow
def test_a_network_that_loads_is_tried_once_and_noted(tmp_path, cache):
    write_model(tmp_path / "tiny")
    assert tried(tmp_path / "tiny", cache) == {"side": None, "torch": False}
    (note,) = notes(cache)
    assert json.loads(note.read_text())["side"] is None
    note.write_text(json.dumps({"side": 77}))  # so that it shows whether the note is used
    assert tried(tmp_path / "tiny", cache)["side"] == 77


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "{", "[]", '{"edge": 1}', "7", '{"side": null, "more": 1}'])
def test_a_damaged_note_is_made_anew(tmp_path, cache, text):
    write_model(tmp_path / "tiny")
    tried(tmp_path / "tiny", cache)
    (note,) = notes(cache)
    note.write_text(text)
    assert tried(tmp_path / "tiny", cache)["side"] is None
    assert json.loads(note.read_text())["side"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", [{"architecture": {"name": "compact", "width": 5, "depth": 1}}, {"bands": ["red", "nir", "blue"]}]
)
def test_what_the_card_says_of_the_network_is_tried_again(tmp_path, cache, what):
    folder = tmp_path / "tiny"
    write_model(folder)
    tried(folder, cache)
    change(folder, **what)
    assert "are they those of" in tried(folder, cache)["error"]


@pytest.mark.slow
def test_other_weights_are_tried_again_and_bad_ones_are_never_noted(tmp_path, cache):
    folder = tmp_path / "tiny"
    write_model(folder)
    tried(folder, cache)
    write_model(tmp_path / "wide", architecture={"name": "compact", "width": 5, "depth": 1})
    (folder / "weights.safetensors").write_bytes((tmp_path / "wide/weights.safetensors").read_bytes())
    assert "has sha256" in tried(folder, cache)["error"]
    change(folder, weights={"file": "weights.safetensors", "sha256": sha256(folder / "weights.safetensors")})
    for _ in range(2):
        assert "are they those of" in tried(folder, cache)["error"]
    assert len(notes(cache)) == 1


def test_a_wrong_hash_is_refused_before_any_process_is_started(tmp_path, monkeypatch):
    model = write_model(tmp_path / "tiny")
    change(tmp_path / "tiny", weights={"file": "weights.safetensors", "sha256": "0" * 64})
    monkeypatch.setattr(trial, "_elsewhere", lambda _: pytest.fail("a process was started"))
    monkeypatch.setattr(trial, "_load", lambda _: pytest.fail("the network was loaded"))
    with pytest.raises(ModelError, match=r"has sha256 .* but the card says 0000"):
        trial.check(read_model(model.folder))


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, cache):
    cache.write_text("a file where the folder should be")
    write_model(tmp_path / "tiny")
    assert tried(tmp_path / "tiny", cache) == {"side": None, "torch": False}


@pytest.mark.slow
def test_a_process_that_dies_is_one_sentence(tmp_path, cache):
    write_model(tmp_path / "tiny")

    def little() -> None:  # enough for Python, not for torch
        resource.setrlimit(resource.RLIMIT_AS, (1_200_000_000, 1_200_000_000))

    said = tried(tmp_path / "tiny", cache, little)["error"]
    assert "the process that tried ended with status" in said
    assert said.endswith("is there enough memory?")
    assert notes(cache) == []


def test_one_that_never_ends_is_stopped(tmp_path, monkeypatch):
    model = write_model(tmp_path / "tiny")
    monkeypatch.setattr(trial, "LONGEST_S", 0.05)
    with pytest.raises(ModelError, match="did not load within 0 s"):
        trial._elsewhere(model, 0, "float32")


def test_where_torch_is_loaded_the_network_is_loaded_here(tmp_path, monkeypatch):
    model = write_model(tmp_path / "tiny")
    monkeypatch.setattr(trial, "_elsewhere", lambda *_: pytest.fail("a process was started"))
    assert trial.check(model).side is None


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_a_window_takes_is_the_same_from_another_process(tmp_path, precision):
    model = write_model(tmp_path / "tiny")
    told = {side: trial.check(model, side, precision) for side in (64, 256)}
    assert told[256].window_bytes > told[64].window_bytes
    assert told[64].loaded_bytes == 2 * model.weights.stat().st_size
    assert trial._elsewhere(model, 64, precision) == told[64]
