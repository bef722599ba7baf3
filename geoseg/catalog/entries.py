"""Entries: the shapes of what stands in a `data_catalog.yaml`, each key checked."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from geoseg.catalog import filters, products
from geoseg.catalog.card import LegendSpec
from geoseg.catalog.yaml import Spec


def _path(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError(f"{text!r} is no path; name a file or folder")
    return text


PathText = Annotated[str, AfterValidator(_path)]
Paths = PathText | Annotated[tuple[PathText, ...], Field(min_length=1)]


def _listed(paths: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if paths is None else (paths,) if isinstance(paths, str) else paths


class BandSpec(Spec):
    """A band in a file of its own."""

    file: Paths
    band: int = Field(1, ge=1)


class MaskSpec(Spec):
    """A raster by whose values pixels are no data."""

    file: Paths | None = None
    """Needed unless the imagery is a Sentinel-2 product, whose own scene classification is taken."""
    values: tuple[int, ...] = Field(min_length=1)
    band: int = Field(1, ge=1)


class ImagerySpec(Spec):
    """A layer of imagery as YAML has it."""

    title: str = ""
    files: Paths | None = None
    bands: dict[str, int | str | BandSpec] = Field(default_factory=dict)
    nodata: float | None = None
    scale: float | dict[str, float] = 1.0
    offset: float | dict[str, float] = 0.0
    crs: str | None = None
    order: Literal["first", "last"] = "first"
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"
    attribution: str = ""
    licence: str = ""
    trust_vrt: bool = False
    mask: MaskSpec | None = None

    @property
    def products(self) -> bool:
        """Whether the files are Sentinel-2 products."""
        return any(products.is_product(each) for each in _listed(self.files))

    @property
    def named(self) -> dict[str, int | str | BandSpec]:
        """The bands, those of a product where none are named."""
        return self.bands or (dict(products.listed()) if self.products else {})

    @model_validator(mode="after")
    def _files(self) -> ImagerySpec:
        if self.products and not all(products.is_product(each) for each in _listed(self.files)):
            raise ValueError("'files' mixes Sentinel-2 products and rasters; make them two entries")
        if self.mask is not None and self.mask.file is None and not self.products:
            raise ValueError("'mask' has no 'file'; only Sentinel-2 products have a mask of their own")
        if not self.named:
            raise ValueError("name at least one band, for instance bands: {red: 3}")
        for name, band in self.bands.items():
            if isinstance(band, BandSpec) and any(map(products.is_product, _listed(band.file))):
                raise ValueError(
                    f"band {name!r} has a product as its file; give the product as 'files', the band by code"
                )
            if isinstance(band, str) and (not self.products or band not in products.BANDS):
                where = "which it is not" if self.products else "and 'files' names none"
                raise ValueError(f"band {name!r} is {band!r}, a code of Sentinel-2 such as 'B8A', {where}")
            if isinstance(band, int) and self.products:
                raise ValueError(f"band {name!r} is number {band}; bands of a product have codes, such as 'B8A'")
            if isinstance(band, int) and self.files is None:
                raise ValueError(f"band {name!r} is number {band} of 'files', but 'files' is not given")
            if isinstance(band, int) and band < 1:
                raise ValueError(f"band {name!r} has number {band}; band numbers start at 1")
        for key, values in (("scale", self.scale), ("offset", self.offset)):
            if isinstance(values, dict) and set(values) != set(self.named):
                raise ValueError(f"'{key}' must be one number or name each band once")
            numbers = values.values() if isinstance(values, dict) else (values,)
            if not all(math.isfinite(each) for each in numbers) or (key == "scale" and 0 in numbers):
                raise ValueError(f"'{key}' must be {'finite and not 0' if key == 'scale' else 'finite'}")
        return self


class ReferenceSpec(Spec):
    """A reference map as YAML has it: a raster of class ids, or polygons or points with a class."""

    title: str = ""
    file: PathText
    band: int = Field(1, ge=1)
    legend: str
    nodata: int | None = None
    crs: str | None = None
    attribution: str = ""
    licence: str = ""
    trust_vrt: bool = False
    column: str | None = None
    """Attribute with the class of each polygon or point, an id or a name of the legend."""
    layer: str | None = None
    where: str | None = None
    """Filter on attributes, see `filters`."""

    @model_validator(mode="after")
    def _either(self) -> ReferenceSpec:
        if self.column is None and (self.layer is not None or self.where is not None):
            raise ValueError("'layer' and 'where' belong to polygons or points; give 'column', which holds their class")
        if self.column is not None and not {"band", "nodata", "trust_vrt"}.isdisjoint(self.model_fields_set):
            raise ValueError("'band', 'nodata' and 'trust_vrt' belong to rasters, 'column' to polygons or points")
        return self


class CrosswalkSpec(Spec):
    """A crosswalk as YAML has it; `from` and `to` are legends, `classes` maps ids to ids."""

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    classes: dict[int, int | None]
    """Target id for each source id; null where the class is to be ignored."""
    lossy: dict[int, str] = Field(default_factory=dict)
    """Source id: what is lost or doubtful."""


class ModelSpec(Spec):
    """Where a model folder is."""

    path: PathText


class RegionSpec(Spec):
    """A region: bounds with their CRS, or a vector file."""

    bounds: tuple[float, float, float, float] | None = None
    """left, bottom, right, top."""
    crs: str | None = None
    file: PathText | None = None
    layer: str | None = None
    where: str | None = None
    """Filter on attributes, see `filters`: \"name = 'Delta'\"."""

    @model_validator(mode="after")
    def _either(self) -> RegionSpec:
        if (self.bounds is None) == (self.file is None):
            raise ValueError("give either 'bounds' with 'crs', or 'file'")
        if self.bounds is not None and self.crs is None:
            raise ValueError("'bounds' needs 'crs', for instance 'EPSG:4326'")
        if self.bounds is not None and (self.layer or self.where):
            raise ValueError("'layer' and 'where' belong to 'file'")
        if self.where is not None:
            filters.read(self.where)
        return self


class CatalogSpec(Spec):
    """The whole file."""

    imagery: dict[str, ImagerySpec] = Field(default_factory=dict)
    references: dict[str, ReferenceSpec] = Field(default_factory=dict)
    legends: dict[str, LegendSpec] = Field(default_factory=dict)
    crosswalks: dict[str, CrosswalkSpec] = Field(default_factory=dict)
    models: dict[str, ModelSpec] = Field(default_factory=dict)
    regions: dict[str, RegionSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _legends(self) -> CatalogSpec:
        for name, spec in self.legends.items():
            spec.legend(name)  # refuses empty legends, ids or names used twice, and bad colours
        return self
