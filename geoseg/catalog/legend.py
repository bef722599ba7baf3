"""Legend: the land classes of a map or reference, their names and colours, and crosswalks between legends.

Ids are the integers stored in rasters. A class that a crosswalk does not carry over becomes *ignored*.
No files are read here; the catalog does that.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from geoseg.errors import CatalogError

IGNORED = -1
"""What a crosswalk's table gives for an id that has no class in the target legend."""
NODATA = 255
"""Nodata of every map that geoseg writes."""


@dataclass(frozen=True, slots=True)
class LandClass:
    """One land class."""

    id: int
    """Value in the raster, 0..65535."""
    name: str
    """Human name, unique in its legend."""
    colour: str
    """#rrggbb."""

    def __post_init__(self) -> None:
        if not 0 <= self.id <= 65535:
            raise CatalogError(f"class {self.name!r} has id {self.id}; ids run from 0 to 65535")
        if not self.name.strip():
            raise CatalogError(f"class {self.id} has no name; give it one")
        _check_text(f"class {self.id}", self.name)
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
            raise CatalogError(f"class {self.name!r} has colour {self.colour!r}; write it as '#rrggbb'")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, 0..255."""
        return int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16)


@dataclass(frozen=True, slots=True)
class Legend:
    """Land classes in a fixed order; a network's score bands follow the same order."""

    name: str
    """Name in the catalog."""
    classes: tuple[LandClass, ...]
    """At least one."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise CatalogError(f"legend {self.name!r} has no classes; list at least one")
        _check_text("a legend", self.name)
        for what, values in (("id", self.ids), ("name", self.names)):
            twice = sorted({value for value in values if values.count(value) > 1}, key=str)
            if twice:
                raise CatalogError(f"legend {self.name!r} uses {what} {twice[0]!r} twice; make each {what} unique")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def ids(self) -> tuple[int, ...]:
        """Class ids in legend order."""
        return tuple(each.id for each in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in legend order."""
        return tuple(each.name for each in self.classes)

    def check_fits_uint8(self) -> None:
        """Refuse a legend that cannot be the legend of a map (ids 0..254; 255 is nodata).

        Raises
        ------
        CatalogError
            If an id is 255 or more.
        """
        for each in self.classes:
            if each.id >= NODATA:
                raise CatalogError(
                    f"class {each.name!r} of legend {self.name!r} has id {each.id}; "
                    "maps store ids 0 to 254, so renumber it"
                )


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """Which class of one legend each class of another becomes; many to one."""

    name: str
    """Name in the catalog."""
    source: Legend
    """Legend translated from."""
    target: Legend
    """Legend translated to."""
    pairs: tuple[tuple[int, int], ...]
    """(source id, target id), sorted; a source class that is absent is ignored."""
    lossy: tuple[tuple[int, str], ...] = ()
    """(source id, what is lost or doubtful), sorted."""

    def __post_init__(self) -> None:
        for legend, ids in (
            (self.source, [source for source, _ in self.pairs]),
            (self.source, [source for source, _ in self.lossy]),
            (self.target, [target for _, target in self.pairs]),
        ):
            unknown = sorted(set(ids) - set(legend.ids))
            if unknown:
                raise CatalogError(
                    f"crosswalk {self.name!r} names class {unknown[0]}, which legend {legend.name!r} lacks; "
                    f"its ids are {', '.join(map(str, legend.ids))}"
                )

    def table(self) -> np.ndarray:
        """Lookup table of shape (65536,), int32: source id to target id, IGNORED where there is none."""
        table = np.full(65536, IGNORED, np.int32)
        for source, target in self.pairs:
            table[source] = target
        return table


def identity(legend: Legend) -> Crosswalk:
    """The crosswalk from a legend to itself."""
    return Crosswalk(f"{legend.name} itself", legend, legend, tuple(sorted((i, i) for i in legend.ids)))


def _check_text(what: str, name: str) -> None:
    """Refuse a name with a character that no map, table or XML can hold, or that stands for one that was lost."""
    for each in name:
        code = ord(each)
        unassignable = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # Unicode's noncharacters
        if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or code == 0xFFFD or unassignable:
            raise CatalogError(f"{what} has the character U+{code:04X} in its name {name!r}; write the name anew")
