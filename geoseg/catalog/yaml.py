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

from geoseg.errors import GeosegError

_TEXT_LIMIT = 10_000_000
_DEEPEST = 50
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""NUL and halves of characters: no path, name or message can hold them."""
_WORDING = (
    (r"a valid dictionary or instance of \w+", "keys with values"),
    (r"a valid dictionary", "keys with values"),
    (r"a valid tuple", "a list"),
    (r"a valid string", "text"),
    (r"a valid integer", "a whole number"),
    (r"a valid number", "a number"),
    (r"Tuple should have at least 1 item .*", "List at least one"),
)
"""What pydantic says to programmers, and what it means to a reader of YAML."""
S = TypeVar("S", bound="Spec")


class Spec(BaseModel):
    """A piece of a YAML file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def load_yaml(path: Path, error: type[GeosegError]) -> Any:
    """The plain data of a YAML file; tags, duplicate keys and oversized files are refused with `error`."""
    try:
        if path.stat().st_size > _TEXT_LIMIT:
            raise error(f"{path} is larger than {_TEXT_LIMIT // 1_000_000} MB; specs are short text files")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise error(f"{path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{path} cannot be read as text: {problem}") from problem
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: 2001-99-99, or a number without end
        raise error(f"{path} is not plain YAML: {' '.join(str(problem).split())}") from problem


def parse(shape: type[S], data: Any, where: str, error: type[GeosegError]) -> S:
    """Check plain data against a spec; the first trouble becomes one sentence of kind `error`."""
    if not isinstance(data, Mapping):
        found = "nothing" if data is None else type(data).__name__
        raise error(f"{where}: expected keys such as {', '.join(list(shape.model_fields)[:3])}, found {found}")
    try:
        return shape.model_validate(data)
    except ValidationError as problem:
        raise error(_one_sentence(shape, problem, data, where)) from None


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses aliases (they can explode), tags, merges, keys given twice and what is no text."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.above: list[int] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not accepted; write the value out")
        event = self.peek_event()
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
    first = min(problem.errors(), key=lambda each: _rank(each["type"], len(_place(each["loc"], data))))
    loc, kind = first["loc"], first["type"]
    place = ".".join(str(part) for part in _place(loc, data))
    if kind == "extra_forbidden":
        return f"{where}: unknown key {place!r}; {nearest(str(loc[-1]), _keys_at(shape, loc[:-1]))}"
    if kind == "missing":
        missing = f"key {loc[-1]!r}" if isinstance(loc[-1], str) else f"value number {loc[-1] + 1}"
        return f"{where}: {missing} is missing{f' under {place!r}' if place else ''}; add it"
    text = first["msg"].removeprefix("Value error, ")
    for theirs, ours in _WORDING:
        text = re.sub(theirs, ours, text)
    if "[key]" in loc:
        text = text.replace("Input", "Key")
    given = "" if kind == "value_error" else f", found {json.dumps(first['input'], default=str)[:80]}"
    return f"{where}: {place or 'the file'}: {text[0].lower() + text[1:]}{given}"


def _rank(kind: str, depth: int) -> tuple[bool, int, bool]:
    return kind != "extra_forbidden", -depth - (kind == "missing"), kind.endswith("_type")


def _place(loc: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    """Where in the data an error lies: pydantic's location without its names for the members of a union."""
    place = []
    for part in loc:
        if isinstance(data, list | tuple):
            inside = isinstance(part, int) and part < len(data)
        else:
            inside = isinstance(data, Mapping) and part in data
        if inside:
            place.append(part)
            data = data[part]
    return tuple(place)


def _keys_at(shape: Any, loc: tuple[Any, ...]) -> tuple[str, ...]:
    """Known keys of the spec at a place in the data; () where it cannot be told."""
    schema = shape.model_json_schema(by_alias=True)
    node, definitions = schema, schema.get("$defs", {})
    for part in loc:
        options = [node, *node.get("anyOf", [])]
        options = [definitions[o["$ref"].rsplit("/", 1)[1]] if "$ref" in o else o for o in options]
        step = next((o["properties"][part] for o in options if part in o.get("properties", {})), None)
        step = step or next((o["additionalProperties"] for o in options if o.get("additionalProperties")), None)
        step = step or next((o["items"] for o in options if "items" in o and isinstance(part, int)), None)
        if step is None:
            continue  # pydantic names the member of a union here; it is not a place in the data
        node = step
    options = [node, *node.get("anyOf", [])]
    options = [definitions[o["$ref"].rsplit("/", 1)[1]] if "$ref" in o else o for o in options]
    return tuple(key for o in options for key in o.get("properties", {}))


def nearest(name: str, known: tuple[str, ...]) -> str:
    """The end of a message about an unknown name: the nearest known one, and the known ones."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    listed = ", ".join(known) if len(known) <= 12 else ", ".join(known[:12]) + ", ..."
    return (f"did you mean {near[0]!r}? " if near else "") + (f"known: {listed}" if known else "none is known")
