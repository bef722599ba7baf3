"""Specs: plain data in, one sentence out."""

import importlib.util
import re
import sys

import pytest
from pydantic import Field

from geoseg.catalog import yaml as catalog_yaml
from geoseg.catalog.yaml import Spec, load_yaml, nearest, parse
from geoseg.errors import CatalogError, JobError


class Leaf(Spec):
    file: str
    band: int = 1


class Tree(Spec):
    name: str
    leaves: dict[str, int | Leaf] = Field(default_factory=dict)
    box: tuple[float, float] | None = None


def refusal(tmp_path, text: str) -> str:
    """What a user reads about a file with this text."""
    path = tmp_path / "spec.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(JobError) as caught:
        parse(Tree, load_yaml(path, JobError), "spec.yaml", JobError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nam: a", "spec.yaml: unknown key 'nam'; did you mean 'name'? known: name, leaves, box"),
        ("name: a\nleaves: {red: {fil: b}}", "unknown key 'leaves.red.fil'; did you mean 'file'? known: file, band"),
        ("leaves: {}", "spec.yaml: key 'name' is missing; add it"),
        ("name: a\nleaves: {red: {band: 2}}", "key 'file' is missing under 'leaves.red'; add it"),
        ("name: a\nleaves: {red: {file: b, band: x}}", "leaves.red.band: input should be a valid integer"),
        ("name: a\nleaves: {red: one}", "leaves.red: input should be a valid integer"),
        ("name: [a]", 'name: input should be a valid string, found ["a"]'),
        ("name: a\nleaves: 3", "leaves: input should be keys with values, found 3"),
        ("name: a\nbox: [1]", "value number 2 is missing under 'box'; add it"),
        ("name: a\nbox: 1", "box: input should be a list, found 1"),
        ("name: a\nleaves: {3: {file: b}}", "leaves.3: input should be a valid string, found 3"),
        ("nam: a\nleaves: {red: {file: b, band: x}}", "unknown key 'nam'"),
        ("", "expected keys such as name, leaves, box, found nothing"),
        ("- name", "expected keys such as name, leaves, box, found list"),
    ],
)
def test_the_first_trouble_becomes_one_sentence(tmp_path, text, sentence):
    assert sentence in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: a\nname: b", "key 'name' is given twice on line 2"),
        ("leaves: {red: 1, red: 2}", "key 'red' is given twice on line 1"),
        ("name: &x a\nleaves: {red: *x}", "aliases .* are not accepted"),
        ("name: !!python/object/apply:os.system ['true']", "the tag .* on line 1 is not accepted"),
        ("name: !mine a", "the tag '!mine' on line 1 is not accepted"),
        ("[1, 2]: a", "a key on line 1 is not plain text or a number"),
        ("name: [", "is not plain YAML"),
        ("name: a\n---\nname: b", "expected a single document"),
        ("[" * 5000, "is not plain YAML: line 1 is nested too deeply"),
    ],
)
def test_only_plain_yaml_is_read(tmp_path, text, sentence):
    assert re.search(sentence, refusal(tmp_path, text))


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path):
    rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    rows += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    assert "aliases" in refusal(tmp_path, "\n".join(rows))


def test_missing_oversized_and_binary_files_are_refused(tmp_path):
    path = tmp_path / "spec.yaml"
    with pytest.raises(CatalogError, match=r"spec\.yaml does not exist"):
        load_yaml(path, CatalogError)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match="cannot be read as text"):
        load_yaml(path, CatalogError)
    with path.open("wb") as file:
        file.truncate(10_000_001)
    with pytest.raises(CatalogError, match="larger than 10 MB"):
        load_yaml(path, CatalogError)


@pytest.mark.parametrize("text", ["name: [1, {a: 2.5}]", "name: *a", "name: [", "a: 1\na: 2", "a: !!str 1", '"\\0": 1'])
def test_without_libyaml_the_same_is_read_and_refused(tmp_path, monkeypatch, text):
    monkeypatch.setitem(sys.modules, "yaml._yaml", None)
    spec = importlib.util.spec_from_file_location("slower", catalog_yaml.__file__)
    slower = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(slower)
    assert slower._StrictLoader.get_event is not catalog_yaml._StrictLoader.get_event
    path, found = tmp_path / "spec.yaml", []
    path.write_text(text)
    for module in (catalog_yaml, slower):
        try:
            found.append(module.load_yaml(path, JobError))
        except JobError as error:
            found.append(str(error)[:60])
    assert found[0] == found[1]


def test_nothing_is_expanded_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    path = tmp_path / "spec.yaml"
    path.write_text("name: $SECRET ${SECRET} ~")
    assert load_yaml(path, JobError) == {"name": "$SECRET ${SECRET} ~"}


def test_nearest_lists_what_is_known():
    assert nearest("nri", ("nir", "red")) == "did you mean 'nir'? known: nir, red"
    assert nearest("x", ()) == "none is known"
    assert nearest("zzz", tuple(f"name{i}" for i in range(20))).endswith("name11, ...")
