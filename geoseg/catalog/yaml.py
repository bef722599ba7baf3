"""Specs: plain YAML files checked against a stated shape, one clear sentence for the first trouble.

Data only: no tags, no aliases, no import paths, no environment variables, no duplicate keys.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from geoseg.errors import GeosegError

_TEXT_LIMIT = 10_000_000
_DEEPEST = 50
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""NUL and halves of characters: no path, name or message can hold them."""
_PLAINLY = {
    "dict_type": "Input should be keys with values",
    "model_type": "Input should be keys with values",
    "tuple_type": "Input should be a list",
    "too_short": "List more of them",
}
"""Where pydantic speaks of Python's types; all else is said in its words."""
S = TypeVar("S", bound="Spec")


class Spec(BaseModel):
    """A piece of a YAML file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def load_yaml(path: Path, error: type[GeosegError]) -> Any:
    """The plain data of a YAML file; tags, duplicate keys and oversized files are refused.

    Parameters
    ----------
    path
        The file.
    error
        Kind of error that is raised.
    """
    try:
        if path.stat().st_size > _TEXT_LIMIT:
            raise error(f"{path} is larger than {_TEXT_LIMIT // 1_000_000} MB; specs are short text files")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise error(f"{path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{path} cannot be read as text: {problem}") from problem
    try:
        return _StrictLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: 2001-99-99, or a number without end
        raise error(f"{path} is not plain YAML: {' '.join(str(problem).split())}") from problem


def parse(shape: type[S], data: Any, where: str, error: type[GeosegError]) -> S:
    """Check plain data against a spec; the first trouble becomes one sentence.

    Parameters
    ----------
    shape
        The spec.
    data
        As `load_yaml` gives it.
    where
        What the data are called in messages, a path say.
    error
        Kind of error that is raised.
    """
    if not isinstance(data, Mapping):
        found = "nothing" if data is None else type(data).__name__
        raise error(f"{where}: expected keys such as {', '.join(list(shape.model_fields)[:3])}, found {found}")
    try:
        return shape.model_validate(data)
    except ValidationError as problem:
        raise error(_one_sentence(shape, problem, data, where)) from None


try:
    from yaml._yaml import CParser  # type: ignore[import-untyped]  # libyaml's, which reads ten times as fast

    class _Events(CParser):
        """Events of a text, from libyaml."""

except ImportError:  # PyYAML was built without libyaml

    class _Events(Reader, Scanner, Parser):  # type: ignore[no-redef]
        """Events of a text."""

        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)


class _StrictLoader(Composer, SafeConstructor, Resolver, _Events):
    """SafeLoader that refuses aliases (they can explode), tags, merges, keys given twice and what is no text."""

    def __init__(self, text: str) -> None:
        _Events.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.above: list[int] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not accepted; write the value out")
        event: Any = self.peek_event()
        line = event.start_mark.line + 1
        if len(self.above) > _DEEPEST:
            raise yaml.YAMLError(f"line {line} is nested too deeply")
        if getattr(event, "tag", None) not in (None, "!"):
            raise yaml.YAMLError(f"the tag {event.tag!r} on line {line} is not accepted; leave it out")
        if isinstance(event, yaml.ScalarEvent) and _NO_TEXT.search(event.value):
            raise yaml.YAMLError(f"a value on line {line} holds a character that no text has")
        self.above.append(line)
        node = super().compose_node(parent, index)
        self.above.pop()
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"a key on line {key.start_mark.line + 1} is not plain text or a number")
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.YAMLError(f"merging (<<) is not accepted on line {key.start_mark.line + 1}; write it out")
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} is given twice on line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _one_sentence(shape: type[Spec], problem: ValidationError, data: Any, where: str) -> str:
    """The most telling of pydantic's complaints: an unknown key before all else, then the deepest in the data."""
    first = min(problem.errors(), key=_rank)
    loc, kind = first["loc"], first["type"]
    inside = _location(loc, data)
    if kind == "extra_forbidden":
        return f"{where}: unknown key {inside!r}; {nearest(str(loc[-1]), _keys_at(shape, loc[:-1]))}"
    if kind == "missing":
        missing = f"key {loc[-1]!r}" if isinstance(loc[-1], str) else f"value number {loc[-1] + 1}"
        return f"{where}: {missing} is missing{f' under {inside!r}' if inside else ''}; add it"
    text = _PLAINLY.get(kind, first["msg"].removeprefix("Value error, "))
    given = "" if kind == "value_error" else f", found {json.dumps(first['input'], default=str)[:80]}"
    return f"{where}: {inside or 'the file'}: {text[0].lower() + text[1:]}{given}"


def _rank(error: Any) -> tuple[bool, int, bool]:
    """Unknown keys, then what lies deepest; of the members of a union the one that came nearest to a match."""
    return error["type"] != "extra_forbidden", -len(error["loc"]), str(error["type"]).endswith("_type")


def _location(loc: tuple[Any, ...], data: Any) -> str:
    """Where in the data an error lies, 'bands.red.file': pydantic's location without its names for union members."""
    keys = []
    for part in loc:
        if isinstance(data, list | tuple):
            inside = isinstance(part, int) and part < len(data)
        else:
            inside = isinstance(data, Mapping) and part in data
        if inside:
            keys.append(str(part))
            data = data[part]
    return ".".join(keys)


def _keys_at(shape: type[Spec], loc: tuple[Any, ...]) -> tuple[str, ...]:
    """Known keys of the spec at a location."""
    schema = shape.model_json_schema(by_alias=True)

    def meant(node: Any) -> list[Any]:
        """A node of the schema, or the members of a union, with references followed."""
        options = node.get("anyOf", [node])
        return [schema["$defs"][each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each for each in options]

    nodes = [schema]
    for part in loc:
        steps = [each.get("properties", {}).get(part) or each.get("additionalProperties") for each in nodes]
        steps += [each.get("items") for each in nodes if isinstance(part, int)]
        found = [each for step in steps if isinstance(step, dict) for each in meant(step)]
        nodes = found or nodes  # the name of a union's member is no step in the data
    return tuple(key for each in nodes for key in each.get("properties", {}))


def nearest(name: str, known: tuple[str, ...]) -> str:
    """The end of a message about an unknown name: the nearest known one, and the known ones.

    Parameters
    ----------
    name
        What was given.
    known
        What there is, in the order to list it; the first 12 are.
    """
    near = difflib.get_close_matches(name, known, 1, 0.5)
    listed = ", ".join(known) if len(known) <= 12 else ", ".join(known[:12]) + ", ..."
    return (f"did you mean {near[0]!r}? " if near else "") + (f"known: {listed}" if known else "none is known")
