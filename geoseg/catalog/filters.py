"""Filters: which features of a layer are meant, as a condition on their attributes.

A condition compares fields with numbers and texts, as SQL does: `name = 'Zion' AND (area > 1e6 OR kind IN ('a', 'b'))`.
Nothing else of SQL is let in: no function, no subquery, no second statement, no comment. A filter is read here, word by
word, and written anew for GDAL from what was understood; the text itself never reaches it.

    condition   = and {OR and}
    and         = not {AND not}
    not         = NOT not | ( condition ) | comparison
    comparison  = field (= | <> | != | < | <= | > | >=) (value | field)
                | field [NOT] (LIKE text | IN ( value {, value} ) | BETWEEN value AND value) | field IS [NOT] NULL
    value       = 12, -1.5e3, 'text' (a quote within is doubled)
    field       = name | "any name"
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from geoseg.catalog.yaml import nearest
from geoseg.errors import GridError

_LONGEST = 10_000
_DEEPEST = 50
_WORD = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')
         |(?P<quoted>"[^"]+")
         |(?P<number>[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?)(?!\w)
         |(?P<name>[^\W\d]\w*)
         |(?P<sign><=|>=|<>|!=|[=<>(),]))""",
    re.VERBOSE,
)
_SIGNS = ("=", "<>", "!=", "<", "<=", ">", ">=")
_KEYWORDS = ("AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL")
_ADVICE = "write comparisons such as \"name = 'Zion' AND area > 5\""


@dataclass(frozen=True, slots=True)
class Field:
    """A field as a filter names it."""

    name: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that was understood."""

    text: str
    """As it was given."""
    pieces: tuple[str | Field, ...]
    """SQL with holes for the fields."""

    def sql(self, fields: Sequence[str], fid: str = "FID") -> str:
        """The condition for a layer, its fields checked and quoted.

        Parameters
        ----------
        fields
            Names of the layer's fields.
        fid
            What the layer calls the number of a feature, which a filter calls `fid`.

        Raises
        ------
        GridError
            If the layer lacks a field; the nearest is named.
        """
        return " ".join(
            each if isinstance(each, str) else f'"{self._found(each, fields, fid)}"' for each in self.pieces
        )

    def used(self, fields: Sequence[str]) -> list[str]:
        """Those of a layer's fields that the condition speaks of."""
        found = {self._found(each, fields, "FID") for each in self.pieces if isinstance(each, Field)}
        return [each for each in fields if each in found]

    def _found(self, field: Field, fields: Sequence[str], fid: str) -> str:
        """A field as the layer spells it: letter by letter, else regardless of case."""
        name = field.name
        alike = [each for each in fields if each == name]
        alike = alike or [each for each in fields if each.casefold() == name.casefold()]
        if not alike and name.casefold() == "fid":
            alike = [fid]
        if len(alike) != 1 or re.search('["\\\\\0]', alike[0]):
            raise GridError(
                f"the filter {self.text!r} names field {name!r}, which the layer lacks; {nearest(name, tuple(fields))} "
                "(a text stands in single quotes)"
            )
        return alike[0]


def read(text: str) -> Filter:
    """Understand a filter, or refuse it.

    Raises
    ------
    GridError
        If it is anything but a condition as above; the message says where.
    """
    return Filter(text, tuple(_Reader(text).whole()))


class _Reader:
    """Reads a filter word by word."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise GridError(f"the filter has {len(text)} characters, more than {_LONGEST}; select in a file of its own")
        self.text, self.depth, self.at = text, 0, 0
        self.words: list[tuple[str, str, int]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            found = _WORD.match(text, at)
            if found is None:
                raise self._refused(at, f"{text[at:end].lstrip()[:20]!r} is no part of a condition")
            kind = str(found.lastgroup)
            word, begin = found[kind], found.start(kind)
            if kind == "name" and word.upper() in _KEYWORDS:
                kind, word = "keyword", word.upper()
            self.words.append((kind, word, begin))
            at = found.end()

    def whole(self) -> list[str | Field]:
        pieces = self._condition()
        if self.at < len(self.words):
            raise self._unexpected("AND, OR or the end")
        return pieces

    def _condition(self) -> list[str | Field]:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise GridError(f"the filter {self.text[:40]!r}... is nested too deeply; {_ADVICE}")
        pieces = self._all()
        while self._take("OR"):
            pieces += ["OR", *self._all()]
        self.depth -= 1
        return ["(", *pieces, ")"]

    def _all(self) -> list[str | Field]:
        pieces = self._one()
        while self._take("AND"):
            pieces += ["AND", *self._one()]
        return pieces

    def _one(self) -> list[str | Field]:
        negated = False
        while self._take("NOT"):
            negated = not negated
        if self._take("("):
            pieces = self._condition()
            self._need(")")
        else:
            pieces = self._comparison()
        return ["NOT", "(", *pieces, ")"] if negated else pieces

    def _comparison(self) -> list[str | Field]:
        field = self._field()
        if field is None:
            raise self._unexpected("the name of a field")
        if self._take("IS"):
            return [field, "IS NOT NULL" if self._take("NOT") else "IS NULL", *self._need("NULL")]
        for sign in _SIGNS:
            if self._take(sign):
                return [field, "<>" if sign == "!=" else sign, self._field() or self._value()]
        pieces: list[str | Field] = [field, *(["NOT"] if self._take("NOT") else [])]
        if self._take("LIKE"):
            return [*pieces, "LIKE", self._value("text")]
        if self._take("BETWEEN"):
            low = self._value()
            self._need("AND")
            return [*pieces, "BETWEEN", low, "AND", self._value()]
        if self._take("IN"):
            self._need("(")
            values = [self._value()]
            while self._take(","):
                values += [",", self._value()]
            self._need(")")
            return [*pieces, "IN", "(", *values, ")"]
        raise self._unexpected("a comparison: =, <>, <, <=, >, >=, LIKE, IN, BETWEEN or IS NULL")

    def _field(self) -> Field | None:
        kind, word = self._next()
        if kind not in ("name", "quoted"):
            return None
        self.at += 1
        return Field(word.strip('"'))

    def _value(self, *kinds: str) -> str:
        kind, word = self._next()
        if kind not in (kinds or ("text", "number")):
            raise self._unexpected("a 'text'" if kinds else "a number, a 'text' or the name of a field")
        if kind == "text" and re.search("[\\\\\0]", word):  # GDAL and SQLite do not agree on what a backslash means
            raise GridError(f"the filter {self.text!r} has a backslash in a text; leave it out, for instance with LIKE")
        self.at += 1
        return word

    def _take(self, word: str) -> bool:
        kind, found = self._next()
        if found != word or kind not in ("keyword", "sign"):
            return False
        self.at += 1
        return True

    def _need(self, word: str) -> tuple[()]:
        if not self._take(word):
            raise self._unexpected(word)
        return ()

    def _next(self) -> tuple[str, str]:
        return self.words[self.at][:2] if self.at < len(self.words) else ("end", "")

    def _unexpected(self, wanted: str) -> GridError:
        if self.at == len(self.words):
            return self._refused(len(self.text), f"it ends where {wanted} was expected")
        _, word, at = self.words[self.at]
        return self._refused(at, f"{word!r} stands where {wanted} was expected")

    def _refused(self, at: int, why: str) -> GridError:
        return GridError(f"the filter {self.text!r} does not work: at character {at + 1}, {why}; {_ADVICE}")
