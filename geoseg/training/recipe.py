"""Recipe: the training spec, a YAML file which says what to learn from what.

Scenes and references are names in a data catalog; paths are relative to the file. Nothing is opened here but YAML.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from geoseg.catalog import kinds
from geoseg.catalog.card import Normalisation
from geoseg.catalog.yaml import Spec, load_yaml, parse
from geoseg.errors import JobError

Side = Literal["west", "east", "north", "south"]


class SceneSpec(Spec):
    """One scene to learn from: names in the catalog, and how much of it."""

    imagery: str
    reference: str
    crosswalk: str | None = None
    """From the reference's legend to the one to learn; default: the only one known."""
    part: dict[Side, float] = Field(default_factory=dict)
    """`{west: 0.5}`: only the western half is seen; the rest can serve as an independent test."""
    weight: float = Field(1.0, gt=0)
    """How often chips come from this scene, relative to the others."""

    @model_validator(mode="after")
    def _share(self) -> SceneSpec:
        if len(self.part) > 1 or not all(0 < share < 1 for share in self.part.values()):
            raise ValueError("part names one side and a share between 0 and 1, for instance {west: 0.5}")
        return self


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


class Recipe(Spec):
    """`geoseg train`'s YAML; paths are relative to the file."""

    name: str
    title: str = ""
    licence: str = ""
    out: str | None = None
    """Model folder to write; default: the model's name."""
    catalog: str = "data_catalog.yaml"
    imagery: str | None = None
    reference: str | None = None
    crosswalk: str | None = None
    """A single scene; or several under 'scenes'."""
    scenes: tuple[SceneSpec, ...] = ()
    bands: tuple[str, ...] = Field(min_length=1)
    legend: str
    """What to learn; references are brought to it by crosswalks."""
    architecture: dict[str, Any] = Field(default_factory=lambda: {"name": "compact"})
    normalisation: Normalisation = Normalisation(kind="scene")
    gsd_m: float | None = Field(None, gt=0)
    """Ground sampling distance to state on the card; default: the first scene's own."""
    chips: ChipsSpec = ChipsSpec()
    epochs: int = Field(30, ge=1)
    batch: int = Field(16, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    class_weight: float = Field(0.25, ge=0, le=1)
    """Power of a class's rarity by which the loss is weighted: 0 not at all, 1 all classes count the same."""
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _scenes(self) -> Recipe:
        if bool(self.scenes) == bool(self.imagery or self.reference or self.crosswalk):
            raise ValueError("give either 'imagery' with 'reference', or several of them under 'scenes'")
        if not self.scenes and not (self.imagery and self.reference):
            raise ValueError("'imagery' and 'reference' belong together")
        return self

    @property
    def all_scenes(self) -> tuple[SceneSpec, ...]:
        """The scenes, however they were given."""
        if self.scenes:
            return self.scenes
        return (SceneSpec(imagery=str(self.imagery), reference=str(self.reference), crosswalk=self.crosswalk),)


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
    paths = {"catalog": str(path.parent / spec.catalog), "out": str(path.parent / (spec.out or spec.name))}
    return spec.model_copy(update=paths)
