"""Job: what to do. A job spec (YAML) and the layout that follows from it: cores, blocks, bytes.

A spec names things of the catalog; nothing is opened here but YAML. Sizes are pixels, memory is bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, model_validator

from geoseg.catalog import RegionSpec, kinds
from geoseg.catalog.entries import PathText
from geoseg.catalog.yaml import Spec, load_yaml, parse
from geoseg.cluster.spec import ClusterSpec
from geoseg.errors import JobError
from geoseg.inference.options import LAYERS

Auto = Literal["auto"]
VectorFormat = Literal["shp", "gpkg", "fgb", "parquet"]


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _class_names(value: object) -> object:
    """Names or ids of classes as texts, as JSON gives them back."""
    if isinstance(value, Mapping):
        return {_class_name(each): least for each, least in value.items()}
    listed = (value,) if isinstance(value, str | int) else value
    return tuple(map(_class_name, listed)) if isinstance(listed, Sequence) else value


def _class_name(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _share(value: object) -> object:
    return _class_names(value) if isinstance(value, Mapping) else value


Share = Annotated[float, Field(ge=0, le=1)]


class GridSpec(Spec):
    """A grid of the user's choice."""

    crs: str
    resolution: float = Field(gt=0)
    """CRS units; edges are multiples of it from the CRS origin."""


class ReferenceUse(Spec):
    """A reference of the catalog and how to translate its legend."""

    name: str
    crosswalk: str | None = None
    """Name in the catalog; None: the only one that fits."""
    grid: Literal["auto", "map", "reference"] = "auto"
    """On whose pixels both are compared; see `accuracy.alignment`."""
    resampling: Literal["auto", "nearest", "mode"] = "auto"
    """How the other comes onto that grid."""
    ignore: str = ""
    """Classes to leave out, see `accuracy.ignore.read`."""
    zones: PathText | None = None
    """Polygons or a raster of integers that are scored each by itself; a path from the catalog's folder."""
    zone_column: str | None = None
    """Attribute that names the polygons."""
    boundary: int = Field(0, ge=0)
    """Pixels near borders that the Boundary IoU is taken from; 0: it is not told."""
    boundary_ignore: int = Field(0, ge=0)
    """Pixels near the reference's borders that are not scored."""
    interval_block: str | None = None
    """Edge of the blocks that are resampled for intervals, such as '2 km'."""

    @model_validator(mode="after")
    def _of_zones(self) -> ReferenceUse:
        if self.zone_column is not None and self.zones is None:
            raise ValueError("'zone_column' names the polygons of 'zones'; give these too")
        return self


class Outputs(Spec):
    """What to write beside the map."""

    confidence: bool = False
    probabilities: bool = False
    """Share of each class, a band for each."""
    entropy: bool = False
    margin: bool = False
    """By which the best share exceeds the second."""
    vectors: tuple[VectorFormat, ...] = ()
    min_area: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Of vectors: smaller regions join a neighbour, see `vectors.mapping_unit.parse`."""
    simplify: str | None = None
    """Of vectors: outlines lose corners that stand out by less, see `vectors.simplify.tolerance`."""
    smooth: bool = False
    """Of vectors: corners are rounded, see `vectors.smooth`."""
    attributes: Annotated[tuple[Literal["pixels", "perimeter", "confidence"], ...], BeforeValidator(_listed)] = ()
    """Of vectors: further columns, see `vectors.attributes`."""
    quicklook: bool = True
    report: bool = True
    project: bool = False
    """A QGIS project of the rasters and polygons."""
    sheet_pixels: int = Field(65536, ge=512)
    """A map wider or higher than this becomes several sheets and a map.vrt."""

    @property
    def also(self) -> tuple[str, ...]:
        """What is made of the model's shares beside labels and confidence, as a predictor is asked for it."""
        return tuple(each for each in LAYERS if getattr(self, each))

    @model_validator(mode="after")
    def _of_vectors(self) -> Outputs:
        if (self.min_area or self.simplify or self.smooth or self.attributes) and not self.vectors:
            raise ValueError(
                "'min_area', 'simplify', 'smooth' and 'attributes' are of polygons; list formats under 'vectors'"
            )
        if "confidence" in self.attributes and not self.confidence:
            raise ValueError("'attributes' asks for the polygons' confidence; add 'confidence: true'")
        return self


class Inference(Spec):
    """How the network is run; of these batch, device, block and any_values cannot change a pixel."""

    window: int | Auto = "auto"
    halo: int | Auto = "auto"
    batch: int | Auto = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    stitch: Literal["auto", "crop", "blend"] = "auto"
    tta: Literal["none", "d4"] = "none"
    """Test-time augmentation. d4: the mean of the scores over the eight symmetries of the square."""
    temperature: float | Auto = "auto"
    """What logits are divided by before they become shares."""
    classes: Annotated[tuple[str, ...], BeforeValidator(_class_names)] = ()
    """Names or ids of those that may be predicted; (): all."""
    thresholds: Annotated[Share | dict[str, Share], BeforeValidator(_share)] = Field(default_factory=dict)
    """Least share of a class, by name or id, or one for all; a pixel whose class has less is nodata."""
    device: str = "auto"
    block: int | Auto = "auto"
    """Edge of a block in pixels, rounded down to whole cores."""
    any_values: bool = False
    """As the job's `force`, for values that are not like those that the model expects."""

    @model_validator(mode="after")
    def _positive(self) -> Inference:
        for key in ("window", "batch", "block"):
            value = getattr(self, key)
            if value != "auto" and value < 1:
                raise ValueError(f"{key} is {value}; give a positive number of pixels or 'auto'")
        if self.halo != "auto" and self.halo < 0:
            raise ValueError(f"halo is {self.halo}; give 0 or more pixels or 'auto'")
        return self


class JobSpec(Spec):
    """A whole job as YAML has it."""

    catalog: str | None = None
    """Path of data_catalog.yaml; default: beside the job, else in the working folder."""
    imagery: str
    model: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """Name or folder; several make an ensemble."""
    region: str | RegionSpec = "imagery"
    """Bounds and CRS, a vector file, a region of the catalog, or 'imagery' for its whole footprint."""
    grid: Literal["source"] | GridSpec = "source"
    reference: Annotated[ReferenceUse | None, BeforeValidator(_named)] = None
    outputs: Outputs = Outputs()
    inference: Inference = Inference()
    force: bool = False
    """Go on though imagery or grid are not such as the model was made for; the map says so."""
    memory_per_worker: ByteSize = ByteSize(2_000_000_000)
    """Budget of one worker process, for instance '2GB'."""
    cluster: ClusterSpec | None = None
    """Where to run; None: what the command line says, else processes on this machine."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names or folders of all models."""
        return (self.model,) if isinstance(self.model, str) else self.model


def read(path: Path | str, *, force: bool = False) -> JobSpec:
    """Read a job spec; its catalog comes back as an absolute path.

    Parameters
    ----------
    path : path
        YAML.
    force : bool
        Set its key `force`.

    Raises
    ------
    JobError
        If the file is missing or wrong (an unknown key names the nearest known one), or no catalog is found.
    """
    path = Path(path).absolute()
    kinds.check_path(path, "job", JobError)
    data = load_yaml(path, JobError)
    kinds.check_keys(data, path, "job", JobError)
    spec = parse(JobSpec, data, str(path), JobError)
    if force:
        spec = spec.model_copy(update={"force": True})
    if spec.catalog is not None:
        return spec.model_copy(update={"catalog": str(path.parent / spec.catalog)})
    for folder in (path.parent, Path.cwd()):
        if (folder / "data_catalog.yaml").is_file():
            return spec.model_copy(update={"catalog": str(folder / "data_catalog.yaml")})
    raise JobError(
        f"{path}: no data_catalog.yaml lies beside the job or in {Path.cwd()}; name it under the key 'catalog'"
    )
