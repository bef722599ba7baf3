"""Catalog: what exists. `data_catalog.yaml` becomes imagery, references, legends, models and regions.

The file is plain data: no tags, no import paths, no environment variables. Relative paths start at the
catalog's folder. Nothing is opened here but YAML and JSON; rasters are opened by the rooms above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from geoseg.catalog.card import LegendSpec, Model, read_model
from geoseg.catalog.legend import Crosswalk, Legend, identity
from geoseg.catalog.yaml import Spec, load_yaml, nearest, parse
from geoseg.errors import CatalogError

SHIPPED = Path(__file__).parents[1] / "shipped"
"""Legends, crosswalks and models that come with geoseg."""


# ------------------------------------------------------------------------------------------ values


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

        Raises
        ------
        CatalogError
            If a band is missing; the message names `wanted_by` and says what to add.
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


# ----------------------------------------------------------------------------------- YAML's shapes


def _path(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError(f"{text!r} is no path; name a file or folder")
    return text


PathText = Annotated[str, AfterValidator(_path)]
Paths = PathText | Annotated[tuple[PathText, ...], Field(min_length=1)]


class BandSpec(Spec):
    """A band in a file of its own."""

    file: Paths
    band: int = Field(1, ge=1)


class ImagerySpec(Spec):
    """A layer of imagery as YAML has it."""

    title: str = ""
    files: Paths | None = None
    bands: dict[str, int | BandSpec]
    nodata: float | None = None
    scale: float | dict[str, float] = 1.0
    offset: float | dict[str, float] = 0.0
    crs: str | None = None
    order: Literal["first", "last"] = "first"
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"
    attribution: str = ""
    licence: str = ""
    trust_vrt: bool = False

    @model_validator(mode="after")
    def _files(self) -> ImagerySpec:
        if not self.bands:
            raise ValueError("name at least one band, for instance bands: {red: 3}")
        for name, band in self.bands.items():
            if isinstance(band, int) and self.files is None:
                raise ValueError(f"band {name!r} is number {band} of 'files', but 'files' is not given")
            if isinstance(band, int) and band < 1:
                raise ValueError(f"band {name!r} has number {band}; band numbers start at 1")
        for key, values in (("scale", self.scale), ("offset", self.offset)):
            if isinstance(values, dict) and set(values) != set(self.bands):
                raise ValueError(f"'{key}' must be one number or name each band once")
            numbers = values.values() if isinstance(values, dict) else (values,)
            if not all(math.isfinite(each) for each in numbers) or (key == "scale" and 0 in numbers):
                raise ValueError(f"'{key}' must be {'finite and not 0' if key == 'scale' else 'finite'}")
        return self


class ReferenceSpec(Spec):
    """A reference map as YAML has it."""

    title: str = ""
    file: PathText
    band: int = Field(1, ge=1)
    legend: str
    nodata: int | None = None
    crs: str | None = None
    attribution: str = ""
    licence: str = ""
    trust_vrt: bool = False


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
    """Filter on attributes, in OGR SQL: \"name = 'Delta'\"."""

    @model_validator(mode="after")
    def _either(self) -> RegionSpec:
        if (self.bounds is None) == (self.file is None):
            raise ValueError("give either 'bounds' with 'crs', or 'file'")
        if self.bounds is not None and self.crs is None:
            raise ValueError("'bounds' needs 'crs', for instance 'EPSG:4326'")
        if self.bounds is not None and (self.layer or self.where):
            raise ValueError("'layer' and 'where' belong to 'file'")
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


# -------------------------------------------------------------------------------------- the verbs


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog as read, together with what geoseg ships."""

    path: str
    """The file, or '' for the shipped part alone."""
    spec: CatalogSpec
    shipped: CatalogSpec = field(repr=False)

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return Path(self.path).parent

    def names(self, kind: str) -> tuple[str, ...]:
        """Entries of a kind ('imagery', 'references', ...), the user's first."""
        own, ours = getattr(self.spec, kind), getattr(self.shipped, kind)
        return (*own, *(name for name in ours if name not in own))

    def imagery(self, name: str) -> Imagery:
        """Look up imagery; raises CatalogError for an unknown name."""
        spec = self._find("imagery", name)

        def number(values: float | dict[str, float], band: str) -> float:
            return float(values[band] if isinstance(values, dict) else values)

        bands = []
        for band, where in spec.bands.items():
            paths, index = (spec.files, where) if isinstance(where, int) else (where.file, where.band)
            files = (paths,) if isinstance(paths, str) else tuple(paths)
            resolved = tuple(self._resolve(each) for each in files)
            scale, offset = number(spec.scale, band), number(spec.offset, band)
            bands.append(Band(band, resolved, index, spec.nodata, scale, offset))
        how = spec.crs, spec.order, spec.resampling, spec.attribution, spec.trust_vrt
        return Imagery(name, tuple(bands), *how)

    def reference(self, name: str) -> Reference:
        """Look up a reference; raises CatalogError for an unknown name."""
        spec = self._find("references", name)
        return Reference(
            name,
            self._resolve(spec.file),
            spec.band,
            self.legend(spec.legend),
            spec.nodata,
            spec.crs,
            spec.attribution,
            spec.trust_vrt,
        )

    def legend(self, name: str) -> Legend:
        """Look up a legend; one that only a model's card holds is found by the name the card gives it."""
        for model in self.names("models"):
            if name not in self.names("legends") and self.model(model).card.legend_name == name:
                return self.model(model).card.legend
        return self._find("legends", name).legend(name)

    def crosswalk(self, name: str) -> Crosswalk:
        """Look up a crosswalk by name; raises CatalogError for an unknown name."""
        spec = self._find("crosswalks", name)
        source, target = self.legend(spec.source), self.legend(spec.target)
        pairs = tuple(sorted((a, b) for a, b in spec.classes.items() if b is not None))
        return Crosswalk(name, source, target, pairs, tuple(sorted(spec.lossy.items())))

    def crosswalk_between(self, source: Legend, target: Legend) -> Crosswalk:
        """The crosswalk from one legend to another: the identity for equal legends, else the only one known.

        Raises
        ------
        CatalogError
            If none, or more than one, leads from `source` to `target`.
        """
        if source.ids == target.ids and source.names == target.names:
            return identity(source)
        found = []
        for name in self.names("crosswalks"):
            spec = self._find("crosswalks", name)
            if (spec.source, spec.target) == (source.name, target.name):
                found.append(name)
        if len(found) == 1:
            return self.crosswalk(found[0])
        what = "no crosswalk leads" if not found else f"crosswalks {', '.join(found)} all lead"
        raise CatalogError(
            f"{what} from legend {source.name!r} to {target.name!r}; "
            f"{'add one under crosswalks in data_catalog.yaml' if not found else 'name the one to use'}"
        )

    def model(self, name: str) -> Model:
        """Look up a model, or read the folder that `name` is the path of."""
        if name in self.names("models"):
            base = self.folder if name in self.spec.models else SHIPPED
            return read_model(base / self._find("models", name).path)
        if (self.folder / name / "card.yaml").is_file():
            return read_model(self.folder / name)
        self._find("models", name)
        raise AssertionError("unreachable")

    def region(self, name: str) -> RegionSpec:
        """Look up a region; its file, if any, comes back as an absolute path."""
        spec: RegionSpec = self._find("regions", name)
        return spec if spec.file is None else spec.model_copy(update={"file": self._resolve(spec.file)})

    def _find(self, kind: str, name: str) -> Any:
        for spec in (self.spec, self.shipped):
            entries: dict[str, Any] = getattr(spec, kind)
            if name in entries:
                return entries[name]
        known = self.names(kind)
        one = {"references": "reference", "imagery": "imagery"}.get(kind, kind.rstrip("s"))
        raise CatalogError(
            f"no {one} is called {name!r} in {self.path or 'the shipped catalog'}; {nearest(name, known)}"
        )

    def _resolve(self, path: str) -> str:
        return path if path.startswith("/vsi") or "://" in path else str(self.folder / path)


def read(path: Path | str) -> Catalog:
    """Read a `data_catalog.yaml`.

    Raises
    ------
    CatalogError
        If the file is missing, is not YAML, has an unknown key (the nearest known one is named) or a bad value.
    """
    path = Path(path).absolute()
    spec = parse(CatalogSpec, load_yaml(path, CatalogError), str(path), CatalogError)
    return Catalog(str(path), spec, _shipped())


def shipped() -> Catalog:
    """What comes with geoseg: legends, crosswalks and models."""
    return Catalog("", CatalogSpec(), _shipped())


@lru_cache(maxsize=1)
def _shipped() -> CatalogSpec:
    path = SHIPPED / "catalog.yaml"
    return parse(CatalogSpec, load_yaml(path, CatalogError), str(path), CatalogError)
