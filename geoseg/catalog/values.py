"""Values: imagery and references as a catalog describes them, with absolute paths; nothing is opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from geoseg.catalog.legend import Legend
from geoseg.errors import CatalogError


@dataclass(frozen=True, slots=True)
class Band:
    """One band of imagery: where its pixels are and what their numbers mean."""

    name: str
    """Common name: blue, green, red, nir, ..."""
    files: tuple[str, ...]
    """Absolute paths or glob patterns, in the stated order."""
    index: int
    """Band number inside each file, from 1."""
    nodata: float | None
    """Value that means no data; None: what each file itself declares."""
    scale: float
    """Physical value = stored value x scale + offset."""
    offset: float


@dataclass(frozen=True, slots=True)
class Imagery:
    """A named layer of imagery."""

    name: str
    bands: tuple[Band, ...]
    crs: str | None = None
    """Overrides what the files declare; None: believe the files."""
    order: Literal["first", "last"] = "first"
    """Which listed file lies on top where files overlap."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"
    """Used only where pixels are warped."""
    attribution: str = ""
    trust_vrt: bool = False
    """Whether VRTs may name files that do not lie beside or below them."""

    def select(self, names: tuple[str, ...], wanted_by: str) -> Imagery:
        """Just the named bands, in that order.

        Parameters
        ----------
        names
            Common names.
        wanted_by
            What needs them, for the message: "model 'landsat-6class'".

        Raises
        ------
        CatalogError
            If a band is missing; the message says what to add.
        """
        known = {band.name: band for band in self.bands}
        missing = [name for name in names if name not in known]
        if missing:
            raise CatalogError(
                f"{wanted_by} needs band {', '.join(map(repr, missing))}; imagery {self.name!r} has "
                f"{', '.join(known)}. Add {missing[0]!r} under imagery.{self.name}.bands in data_catalog.yaml."
            )
        return replace(self, bands=tuple(known[name] for name in names))


@dataclass(frozen=True, slots=True)
class Reference:
    """A map to compare with."""

    name: str
    file: str
    """Absolute path."""
    band: int
    legend: Legend
    nodata: int | None
    """Value that means not labelled; None: what the file declares."""
    crs: str | None = None
    attribution: str = ""
    trust_vrt: bool = False
    """Whether a VRT may name files that do not lie beside or below it."""
