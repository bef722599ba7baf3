"""Values: imagery and references as a catalog describes them, with absolute paths; nothing is opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from geoseg.catalog import products
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
    code: str = ""
    """Where the files are Sentinel-2 products, the band's name in them, such as 'B8A'; `index` is of no effect then."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A raster by whose values pixels of imagery are no data."""

    band: Band
    """Where it is: one file for all of the imagery's, or one for each, in their order."""
    values: tuple[int, ...]
    """Stored values that mean no data."""


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
    mask: Mask | None = None
    """What else says that pixels are no data."""

    def select(self, names: tuple[str, ...], wanted_by: str) -> Imagery:
        """Just the named bands, in that order.

        Parameters
        ----------
        names
            Common names; bands of Sentinel-2 products have several.
        wanted_by
            What needs them, for the message: "model 'landsat-6class'".

        Raises
        ------
        CatalogError
            If a band is missing; the message says what to add.
        """
        known = {name: band for band in self.bands for name in products.names_of(band.code)}
        known |= {band.name: band for band in self.bands}
        missing = [name for name in names if name not in known]
        if missing:
            having = ", ".join(band.name for band in self.bands)
            raise CatalogError(
                f"{wanted_by} needs band {', '.join(map(repr, missing))}; imagery {self.name!r} has {having}. "
                f"Add {missing[0]!r} under imagery.{self.name}.bands in data_catalog.yaml."
            )
        return replace(self, bands=tuple(replace(known[name], name=name) for name in names))


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
    column: str | None = None
    """Attribute that holds the class of polygons or points; None: the file is a raster."""
    layer: str | None = None
    where: str | None = None
    """Which layer of a vector file, and which of its features."""
