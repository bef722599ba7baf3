"""Job: what to do. A job spec (YAML) and the layout that follows from it: cores, blocks, bytes.

A spec names things of the catalog; nothing is opened here but YAML. Sizes are pixels, memory is bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, JsonValue, model_validator

from geoseg.catalog import RegionSpec
from geoseg.errors import JobError
from geoseg.specs import Spec, load_yaml, parse
from geoseg.windows import Window, count, cut

Auto = Literal["auto"]
VectorFormat = Literal["shp", "gpkg", "fgb", "parquet"]
ClusterKind = Literal[
    "local",
    "cuda",
    "address",
    "slurm",
    "pbs",
    "lsf",
    "sge",
    "moab",
    "oar",
    "htcondor",
    "kubernetes",
    "gateway",
    "coiled",
]
_LARGEST_BLOCK = 2048
_FEWEST_BLOCKS = 16
_FIXED_BYTES = 700_000_000
"""What a worker holds before its first block: Python, torch, GDAL and its 256 MB cache."""


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


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


class Outputs(Spec):
    """What to write beside the map."""

    confidence: bool = False
    vectors: tuple[VectorFormat, ...] = ()
    quicklook: bool = True
    sheet_pixels: int = Field(65536, ge=512)
    """A map wider or higher than this becomes several sheets and a map.vrt."""


class Inference(Spec):
    """How the network is run; only window, halo, precision and stitch can change a pixel."""

    window: int | Auto = "auto"
    halo: int | Auto = "auto"
    batch: int | Auto = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    stitch: Literal["auto", "crop", "blend"] = "auto"
    device: str = "auto"
    block: int | Auto = "auto"
    """Edge of a block in pixels, rounded down to whole cores."""

    @model_validator(mode="after")
    def _positive(self) -> Inference:
        for key in ("window", "batch", "block"):
            value = getattr(self, key)
            if value != "auto" and value < 1:
                raise ValueError(f"{key} is {value}; give a positive number of pixels or 'auto'")
        if self.halo != "auto" and self.halo < 0:
            raise ValueError(f"halo is {self.halo}; give 0 or more pixels or 'auto'")
        return self


class ClusterSpec(Spec):
    """Where a job runs, where not on this machine; `geoseg run --workers` and `--scheduler` go before it."""

    kind: ClusterKind = "local"
    workers: int | None = Field(None, ge=1)
    """Processes, jobs or pods; None: as many as there are cores, GPUs, or as the cluster has."""
    minimum: int | None = Field(None, ge=0)
    maximum: int | None = Field(None, ge=1)
    """With both, the cluster grows and shrinks between them with the work."""
    address: str | None = None
    """Of the scheduler, for kind 'address'."""
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    """PEM files; see docs/security.md."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Passed on as they are to dask-jobqueue, dask-gateway or coiled; for kubernetes: image, memory, cpu, gpus, env."""

    @model_validator(mode="after")
    def _fit(self) -> ClusterSpec:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError("kind 'address' and the key 'address' go together; give both or neither")
        if (self.minimum is None) != (self.maximum is None):
            raise ValueError("minimum and maximum go together; give both or neither")
        if self.kind in ("local", "cuda", "address") and (self.options or self.maximum is not None):
            raise ValueError(f"a cluster of kind {self.kind!r} takes no options, minimum or maximum; leave them out")
        if self.kind == "kubernetes" and "image" not in self.options:
            raise ValueError("a cluster of kind 'kubernetes' needs options.image, a container image with geoseg in it")
        return self


class JobSpec(Spec):
    """A whole job as YAML has it."""

    catalog: str | None = None
    """Path of data_catalog.yaml; default: beside the job, else in the working folder."""
    imagery: str
    model: str
    region: str | RegionSpec = "imagery"
    """Bounds and CRS, a vector file, a region of the catalog, or 'imagery' for its whole footprint."""
    grid: Literal["source"] | GridSpec = "source"
    reference: Annotated[ReferenceUse | None, BeforeValidator(_named)] = None
    outputs: Outputs = Outputs()
    inference: Inference = Inference()
    memory_per_worker: ByteSize = ByteSize(2_000_000_000)
    """Budget of one worker process, for instance '2GB'."""
    cluster: ClusterSpec | None = None
    """Where to run; None: what the command line says, else processes on this machine."""


def read(path: Path | str) -> JobSpec:
    """Read a job spec; its catalog comes back as an absolute path.

    Raises
    ------
    JobError
        If the file is missing or wrong (an unknown key names the nearest known one), or no catalog is found.
    """
    path = Path(path).absolute()
    spec = parse(JobSpec, load_yaml(path, JobError), str(path), JobError)
    if spec.catalog is not None:
        return spec.model_copy(update={"catalog": str(path.parent / spec.catalog)})
    for folder in (path.parent, Path.cwd()):
        if (folder / "data_catalog.yaml").is_file():
            return spec.model_copy(update={"catalog": str(folder / "data_catalog.yaml")})
    raise JobError(
        f"{path}: no data_catalog.yaml lies beside the job or in {Path.cwd()}; name it under the key 'catalog'"
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """How an extent is cut: cores on the lattice, blocks of whole cores."""

    extent: Window
    """What the map covers, on the lattice."""
    core: int
    """Edge of a core."""
    margin: int
    """Pixels read beyond a block on each side."""
    block: int
    """Edge of a block, a multiple of the core."""

    def __post_init__(self) -> None:
        if self.core < 1 or self.block % self.core:
            raise JobError(f"block {self.block} is no multiple of the core of {self.core} pixels")

    @property
    def blocks(self) -> int:
        """Number of blocks, skipped ones included."""
        return count(self.extent, self.block)

    def cut(self) -> Iterator[Window]:
        """Blocks in row-major order, clipped to the extent; they partition it."""
        for square in cut(self.extent, self.block):
            clipped = square.meet(self.extent)
            assert clipped is not None
            yield clipped

    def reading(self, window: Window) -> Window:
        """What must be read to label `window`: the whole cores around it and the margin."""
        return window.snapped(self.core).grown(self.margin)


def block_edge(extent: Window, core: int, margin: int, bands: int, allowed_bytes: int) -> int:
    """Edge of a block: large enough to amortise its margin, small enough for the budget and for many workers.

    Raises
    ------
    JobError
        If not even one core fits the budget.
    """
    if block_bytes(core, margin, bands) > allowed_bytes:
        need = block_bytes(core, margin, bands)
        raise JobError(
            f"memory_per_worker is {allowed_bytes / 1e9:.1f} GB, but one window of {core} pixels with a margin of "
            f"{margin} and {bands} bands needs {need / 1e9:.1f} GB; raise it or choose a smaller inference.window"
        )
    edge = core
    while edge + core <= _LARGEST_BLOCK and block_bytes(edge + core, margin, bands) <= allowed_bytes:
        edge += core
    while edge > 2 * core and count(extent, edge) < _FEWEST_BLOCKS:
        edge -= core
    return edge


def block_bytes(edge: int, margin: int, bands: int) -> int:
    """Peak memory of a worker with two blocks in hand (one read ahead), in bytes; an upper estimate.

    Per pixel and band: float32 as read, as normalised and in the windows; per pixel: masks and labels; and for the
    window in the network 2 kB a pixel, which is above what compact encoder-decoders need.
    """
    side = edge + 2 * margin
    window = 256 + 2 * margin
    return _FIXED_BYTES + 2 * side * side * (12 * bands + 8) + window * window * 2048
