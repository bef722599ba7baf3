"""Catalog: what exists. `data_catalog.yaml` becomes imagery, references, legends, models and regions.

The file is plain data: no tags, no import paths, no environment variables. Relative paths start at the
catalog's folder. Nothing is opened here but YAML; rasters are opened by `imagery` and `accuracy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoseg.catalog import kinds, products
from geoseg.catalog.card import Model, read_model
from geoseg.catalog.entries import BandSpec, CatalogSpec, RegionSpec
from geoseg.catalog.legend import Crosswalk, Legend, identity
from geoseg.catalog.values import Band, Imagery, Mask, Reference
from geoseg.catalog.yaml import load_yaml, nearest, parse
from geoseg.errors import CatalogError
from geoseg.process import remembered

SHIPPED = Path(__file__).parents[1] / "shipped"
"""Legends, crosswalks and models that come with geoseg."""


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
        for band, where in spec.named.items():
            code = where if isinstance(where, str) else ""
            paths, index = (where.file, where.band) if isinstance(where, BandSpec) else (spec.files, where)
            scale, offset = number(spec.scale, band), number(spec.offset, band)
            bands.append(
                Band(band, self._paths(paths), 1 if isinstance(index, str) else index, spec.nodata, scale, offset, code)
            )
        mask = None
        if spec.mask is not None:
            code = products.SCENE_CLASSES if spec.mask.file is None else ""
            files = self._paths(spec.mask.file or spec.files)
            mask = Mask(Band("mask", files, spec.mask.band, None, 1.0, 0.0, code), spec.mask.values)
        how = spec.crs, spec.order, spec.resampling, spec.attribution, spec.trust_vrt
        return Imagery(name, tuple(bands), *how, mask)

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
            spec.column,
            spec.layer,
            spec.where,
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

        Parameters
        ----------
        source, target
            Legends, compared by their names in the catalog, or by ids and class names for the identity.

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

    def _paths(self, paths: str | tuple[str, ...] | None) -> tuple[str, ...]:
        assert paths is not None  # the spec saw to it
        return tuple(self._resolve(each) for each in ((paths,) if isinstance(paths, str) else paths))

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
    kinds.check_path(path, "catalog", CatalogError)
    data = load_yaml(path, CatalogError)
    kinds.check_keys(data, path, "catalog", CatalogError)
    spec = parse(CatalogSpec, data, str(path), CatalogError)
    return Catalog(str(path), spec, _shipped())


def shipped() -> Catalog:
    """What comes with geoseg: legends, crosswalks and models."""
    return Catalog("", CatalogSpec(), _shipped())


@remembered(1)
def _shipped() -> CatalogSpec:
    path = SHIPPED / "catalog.yaml"
    return parse(CatalogSpec, load_yaml(path, CatalogError), str(path), CatalogError)
