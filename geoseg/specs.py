"""Specs: plain YAML files checked against a stated shape, one clear sentence for the first trouble.

Data only: no tags, no aliases, no import paths, no environment variables, no duplicate keys.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from geoseg.errors import GeosegError

_TEXT_LIMIT = 10_000_000
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
    except (yaml.YAMLError, RecursionError) as problem:
        what = " ".join(str(problem).split()) or "nested too deeply"
        raise error(f"{path} is not plain YAML: {what}") from problem


def parse(shape: type[S], data: Any, where: str, error: type[GeosegError]) -> S:
    """Check plain data against a spec; the first trouble becomes one sentence of kind `error`."""
    if not isinstance(data, Mapping):
        found = "nothing" if data is None else type(data).__name__
        raise error(f"{where}: expected keys such as {', '.join(list(shape.model_fields)[:3])}, found {found}")
    try:
        return shape.model_validate(data)
    except ValidationError as problem:
        raise error(_one_sentence(shape, problem, where)) from None


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses aliases (they can explode) and keys given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not accepted; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} is given twice on line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _one_sentence(shape: type[Spec], problem: ValidationError, where: str) -> str:
    errors = sorted(problem.errors(), key=lambda each: each["type"] != "extra_forbidden")
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_at(shape, first["loc"][:-1])
        return f"{where}: unknown key {place!r}; {nearest(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"{where}: key {place!r} is missing; add it"
    text = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "value_error" else f", found {json.dumps(first['input'], default=str)[:80]}"
    return f"{where}: {place or 'the file'}: {text[0].lower() + text[1:]}{given}"


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
