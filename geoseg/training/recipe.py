"""Recipe: the training spec, a YAML file which says what to learn from what.

Scenes and references are names in a data catalog; paths are relative to the file. Nothing is opened here but YAML.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ByteSize, Field, model_validator

from geoseg.catalog import kinds
from geoseg.catalog.card import Normalisation
from geoseg.catalog.yaml import Spec, load_yaml, parse
from geoseg.errors import JobError

Side = Literal["west", "east", "north", "south"]
NORMALISATIONS = ("none", "fixed", "scene")
"""Kinds that training knows."""


class SceneSpec(Spec):
    """One scene to learn from: names in the catalog, and how much of it."""

    imagery: str
    reference: str | tuple[str, ...]
    """One, or several of which the first with a label at a pixel decides."""
    crosswalk: str | None = None
    """From the reference's legend to the one to learn; default: the only one known."""
    part: dict[Side, float] = Field(default_factory=dict)
    """`{west: 0.5}`: only the western half is seen; the rest can serve as an independent test."""
    weight: float = Field(1.0, gt=0)
    """How often chips come from this scene, relative to the others."""
    division: Literal["train", "validation", "test"] | None = None
    """Where the whole scene goes, whatever `split` says of the others."""

    @model_validator(mode="after")
    def _share(self) -> SceneSpec:
        if len(self.part) > 1 or not all(0 < share < 1 for share in self.part.values()):
            raise ValueError("part names one side and a share between 0 and 1, for instance {west: 0.5}")
        if not self.reference:
            raise ValueError("reference is an empty list; name a reference of the catalog")
        return self

    @property
    def references(self) -> tuple[str, ...]:
        """Names, the one that decides first."""
        return (self.reference,) if isinstance(self.reference, str) else self.reference


class ChipsSpec(Spec):
    """How chips are cut and what is held out."""

    size: int = Field(128, ge=8, le=4096)
    """Edge of a training chip, pixels; a multiple of the network's stride."""
    square: int | None = Field(None, ge=4)
    """Edge of the squares that go whole to training, validation or test, pixels; default: four buffers, at least 64."""
    buffer: int | None = Field(None, ge=0, le=4096)
    """Labels so near to a held-out pixel are not learnt from, pixels; default: as far as the network sees."""
    validation: float = Field(0.15, gt=0, lt=1)
    """Share of the squares that the best epoch is chosen on."""
    test: float = Field(0.15, ge=0, lt=1)
    """Share of the squares that nothing is chosen on."""
    per_epoch: int = Field(512, ge=1)
    """Chips seen in an epoch."""
    rarity: float = Field(0.5, ge=0, le=1)
    """1 - rarity is the power of a class's pixel count by which chips are drawn on it: 0 as often as it is met."""
    jitter: float = Field(0.1, ge=0, le=1)
    """Random gain and offset of each band of a chip, in standard deviations."""

    @model_validator(mode="after")
    def _left(self) -> ChipsSpec:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing to train on; make them smaller")
        return self


class SplitSpec(Spec):
    """What is held out: squares of each scene, whole scenes, or the polygons of a layer."""

    by: Literal["squares", "scenes", "polygons"] = "squares"
    folds: int | None = Field(None, ge=2, le=100)
    """What is no test area is cut into so many parts, of which one is for validation."""
    fold: int = Field(0, ge=0)
    """Which of them, from 0."""
    file: str | None = None
    """Polygons, each with the name of a division."""
    layer: str | None = None
    column: str = "division"
    """Attribute of the polygons that holds train, validation or test."""

    @model_validator(mode="after")
    def _together(self) -> SplitSpec:
        if (self.by == "polygons") != (self.file is not None):
            raise ValueError("'file' belongs to by: polygons, which needs it")
        if self.folds is not None and self.by == "polygons":
            raise ValueError("'folds' belongs to by: squares and by: scenes; polygons say themselves what is held out")
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold {self.fold} is asked for; folds are numbered from 0 to {(self.folds or 1) - 1}")
        return self


class LossSpec(Spec):
    """What is made small."""

    focal: float = Field(0.0, ge=0, le=10)
    """Power by which pixels that are labelled rightly already count less; 0: cross-entropy."""
    dice: float = Field(0.0, ge=0, le=1)
    """Share of 1 - Dice in the loss, the rest is cross-entropy or focal."""
    smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of a label that is given to all classes alike, for labels with errors."""


class AugmentSpec(Spec):
    """Light, air and sensors that differ between scenes; 0: none of it."""

    gain: float = Field(0.0, ge=0, le=2)
    """Standard deviation of the logarithm of a factor of all bands."""
    offset: float = Field(0.0, ge=0, le=2)
    """Standard deviation of what is added to all bands, in standard deviations of each."""
    gamma: float = Field(0.0, ge=0, le=1)
    """Standard deviation of the logarithm of a power of all bands."""
    haze: float = Field(0.0, ge=0, lt=1)
    """Most that a bright veil, uneven over the chip, takes of the pixels' place."""
    drop: float = Field(0.0, ge=0, lt=1)
    """How often one band of a chip is replaced by its mean."""


class StartSpec(Spec):
    """A finished model whose weights are the first ones."""

    model: str
    """Its name in the catalog, or its folder."""
    sha256: str | None = None
    """Hash that its weights must have; default: any."""
    head: Literal["keep", "new"] | None = None
    """Layer that tells classes apart; default: kept where the classes are the same."""
    freeze: Literal["none", "encoder"] = "none"
    """What keeps its weights."""
    encoder_rate: float = Field(0.1, gt=0, le=1)
    """Factor of the learning rate in the encoder."""


class PretrainedSpec(Spec):
    """A local file of an encoder's first weights."""

    file: str
    """*.safetensors."""
    sha256: str = Field(pattern="^[0-9a-fA-F]{64}$")
    """Hash of its bytes."""
    bands: tuple[str, ...] = Field(("red", "green", "blue"), min_length=1)
    """Common names of what its input layer is for, in order."""


class Recipe(Spec):
    """`geoseg train`'s YAML; paths are relative to the file."""

    name: str
    title: str = ""
    licence: str = ""
    out: str | None = None
    """Model folder to write; default: the model's name."""
    catalog: str = "data_catalog.yaml"
    imagery: str | None = None
    reference: str | tuple[str, ...] | None = None
    crosswalk: str | None = None
    """A single scene; or several under 'scenes'."""
    scenes: tuple[SceneSpec, ...] = ()
    bands: tuple[str, ...] = Field(min_length=1)
    legend: str
    """What to learn; references are brought to it by crosswalks."""
    architecture: dict[str, Any] = Field(default_factory=lambda: {"name": "compact"})
    start: StartSpec | None = None
    """What to go on from; default: random weights."""
    pretrained: PretrainedSpec | None = None
    """First weights of an encoder of architecture smp; default: random."""
    normalisation: Normalisation = Normalisation(kind="scene")
    gsd_m: float | None = Field(None, gt=0)
    """Ground sampling distance to state on the card; default: the first scene's own."""
    chips: ChipsSpec = ChipsSpec()
    split: SplitSpec = SplitSpec()
    augment: AugmentSpec = AugmentSpec()
    loss: LossSpec = LossSpec()
    epochs: int = Field(30, ge=1)
    patience: int | None = Field(None, ge=1)
    """Epochs without a better one after which training stops."""
    batch: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are added up for a step."""
    averaging: float = Field(0.99, ge=0, lt=1)
    """Share that the running mean of the weights keeps of itself at a step."""
    warm_up: float = Field(0.15, ge=0, lt=1)
    """Share of the steps over which the learning rate rises to its highest."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's arithmetic in training."""
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    class_weight: float = Field(0.25, ge=0, le=1)
    """Power of a class's rarity by which the loss is weighted: 0 not at all, 1 all classes count the same."""
    seed: int = Field(0, ge=0)
    baseline: Literal["random_forest", "none"] | None = None
    """What the network is compared with; default: a random forest where scikit-learn is installed."""
    readers: int | None = Field(None, ge=0, le=64)
    """Processes that read chips ahead where scenes are read by windows; default: by the cores."""
    memory: ByteSize = Field(ByteSize(4_000_000_000), ge=0)
    """Bytes of pixels and labels that are held; scenes that take more are read by windows."""

    @model_validator(mode="after")
    def _linear(self) -> Recipe:
        if self.normalisation.kind not in NORMALISATIONS:
            raise ValueError(
                f"normalisation is {self.normalisation.kind!r}; training knows 'none', 'fixed' and 'scene'"
            )
        return self

    @model_validator(mode="after")
    def _scenes(self) -> Recipe:
        if bool(self.scenes) == bool(self.imagery or self.reference or self.crosswalk):
            raise ValueError("give either 'imagery' with 'reference', or several of them under 'scenes'")
        if not self.scenes and not (self.imagery and self.reference):
            raise ValueError("'imagery' and 'reference' belong together")
        twice = next((band for band in self.bands if self.bands.count(band) > 1), None)
        if twice is not None:
            raise ValueError(f"bands names {twice!r} twice; list each band once")
        if self.start is not None and self.pretrained is not None:
            raise ValueError("give either 'start', a whole model, or 'pretrained', an encoder; not both")
        return self

    @property
    def all_scenes(self) -> tuple[SceneSpec, ...]:
        """The scenes, however they were given."""
        if self.scenes:
            return self.scenes
        assert self.imagery is not None
        assert self.reference is not None
        return (SceneSpec(imagery=self.imagery, reference=self.reference, crosswalk=self.crosswalk),)


def read(path: Path | str) -> Recipe:
    """Read a training spec; its paths become absolute.

    Raises
    ------
    JobError
        If the file is missing, is not YAML, has an unknown key (the nearest known one is named) or a bad value.
    """
    path = Path(path).absolute()
    kinds.check_path(path, "training", JobError)
    data = load_yaml(path, JobError)
    kinds.check_keys(data, path, "training", JobError)
    spec = parse(Recipe, data, str(path), JobError)
    changed: dict[str, Any] = {"catalog": str(path.parent / spec.catalog)}
    changed["out"] = str(path.parent / (spec.out or spec.name))
    if spec.split.file is not None:
        changed["split"] = spec.split.model_copy(update={"file": str(path.parent / spec.split.file)})
    if spec.pretrained is not None:
        file = str(path.parent / spec.pretrained.file)
        changed["pretrained"] = spec.pretrained.model_copy(update={"file": file})
    if spec.start is not None and (path.parent / spec.start.model / "card.yaml").is_file():
        changed["start"] = spec.start.model_copy(update={"model": str(path.parent / spec.start.model)})
    return spec.model_copy(update=changed)
