"""Card: all that a run needs to know of a model; `card.yaml` beside the weights in a model folder.

The weights themselves are opened, and their hash checked, where they are loaded.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from geoseg.catalog.legend import LandClass, Legend
from geoseg.catalog.yaml import Spec, load_yaml, parse
from geoseg.errors import ModelError
from geoseg.grid import read_crs
from geoseg.quantities import counted


class Normalisation(Spec):
    """What turns physical values into what the network was trained on: (x - mean) / std, or a named formula."""

    kind: Literal["none", "fixed", "scene", "percentile", "dynamic-world"] = "none"
    """fixed: the numbers below. scene: mean and std of each band over a fixed sample of the whole imagery.
    percentile: two percentiles of each band over that sample become 0 and 1, and what lies beyond is cut off.
    dynamic-world: its published formula of logarithms, with the numbers below."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    percentiles: tuple[float, float] | None = None
    """Of the kind 'percentile'."""

    @property
    def of_scene(self) -> bool:
        """Whether it needs the statistics of the imagery."""
        return self.kind in ("scene", "percentile")

    @model_validator(mode="after")
    def _numbers(self) -> Normalisation:
        if (self.kind == "percentile") != (self.percentiles is not None):
            raise ValueError("percentiles belong to the kind 'percentile', and only to it")
        if self.percentiles is not None and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            low, high = self.percentiles
            raise ValueError(f"percentiles are {low:g} and {high:g}; give two from 0 to 100, the lower one first")
        if (self.kind in ("fixed", "dynamic-world")) != (self.mean is not None and self.std is not None):
            raise ValueError("mean and std belong to the kinds 'fixed' and 'dynamic-world', and only to them")
        if not all(math.isfinite(each) and abs(each) < 1e30 for each in (*(self.mean or ()), *(self.std or ()))):
            raise ValueError("each mean and std must be a finite number that float32 holds")
        if self.std is not None and not all(each > 1e-30 for each in self.std):
            raise ValueError("each std must be positive, and not so small that float32 takes it for 0")
        return self


class ClassSpec(Spec):
    """A land class as YAML has it."""

    id: int
    name: str
    colour: str


class LegendSpec(Spec):
    """A legend as YAML has it."""

    title: str = ""
    source: str = ""
    classes: tuple[ClassSpec, ...]

    def legend(self, name: str) -> Legend:
        """The legend it stands for."""
        return Legend(name, tuple(LandClass(each.id, each.name, each.colour.lower()) for each in self.classes))


class Weights(Spec):
    """A weights file."""

    file: str
    """Name inside the model folder: *.safetensors, *.onnx or *.pt2."""
    sha256: str
    """Hash of the file's bytes."""

    @model_validator(mode="after")
    def _inside(self) -> Weights:
        if Path(self.file).name != self.file or "\0" in self.file:
            raise ValueError(f"weights.file is {self.file!r}; name a file that lies in the model folder itself")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("weights.sha256 must be 64 hexadecimal digits in lower case")
        return self


class Output(Spec):
    """What the network's output means."""

    kind: Literal["logits", "sigmoid", "probabilities", "labels"] = "logits"
    """logits: softmax makes them shares. sigmoid: each channel is a class's own logit. probabilities: shares already.
    labels: positions in `classes`, as whole numbers (batch, row, col)."""
    channels: int | None = None
    """Of the output, if not one for each class; 1 with two classes: it speaks of the second, the first is the rest."""
    name: str | None = None
    """Which output of an ONNX file or exported graph with several."""

    def check(self, classes: int) -> None:
        """Refuse channels that cannot stand for so many classes.

        Parameters
        ----------
        classes
            How many the card has.
        """
        if self.channels in (None, classes):
            return
        if self.channels != 1 or classes != 2 or self.kind not in ("sigmoid", "probabilities"):
            raise ValueError(
                f"output.channels is {self.channels} for {counted(classes, 'class', 'classes')} of kind {self.kind!r}; "
                "give one channel for each class, or 1 for two classes of kind 'sigmoid' or 'probabilities'"
            )


DataType = Literal[
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"
]
"""Of the numbers in a file."""


class Radiometry(Spec):
    """What the values of imagery must be like, in physical units, so that other ones are noticed before a run."""

    what: str = ""
    """In words: 'reflectance x 10,000'."""
    dtype: DataType | None = None
    """Of the numbers in the imagery's files, where the catalog does not scale them."""
    low: float | None = None
    """Hardly any value lies below this."""
    high: float | None = None
    """Hardly any value lies above this."""
    dark: float | None = None
    """In some band at least, the darkest hundredth of a scene lies below this."""
    bright: float | None = None
    """In some band at least, the brightest hundredth of a scene lies above this."""

    def __str__(self) -> str:
        """For people."""
        limits = "" if self.low is None or self.high is None else f"{self.what}, {self.low:g} to {self.high:g}"
        return ", ".join(each for each in (limits, f"files of {self.dtype}" * (self.dtype is not None)) if each)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Low and high; None where values are not limited."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @model_validator(mode="after")
    def _ordered(self) -> Radiometry:
        given = self.what != "", self.low is not None, self.high is not None
        if any(given) != all(given) or (
            self.limits is None and (self.dtype is None or (self.dark, self.bright) != (None, None))
        ):
            raise ValueError("radiometry says what, low and high, or a dtype, or all of them")
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ValueError(f"radiometry.low is {self.low:g} and high is {self.high:g}; low lies below high")
        return self


Edges = tuple[float, float, float, float]
"""(left, bottom, right, top) in units of a CRS."""


class AreasSpec(Spec):
    """The ground of a scene that a model was trained on, as rectangles in the scene's CRS."""

    crs: str
    """EPSG code or WKT."""
    train: tuple[Edges, ...] = ()
    """Labels there were learnt from."""
    validation: tuple[Edges, ...] = ()
    """The weights that are kept were chosen there."""
    test: tuple[Edges, ...] = ()
    """Held out: nothing was learnt from it nor chosen on it."""

    @model_validator(mode="after")
    def _rectangles(self) -> AreasSpec:
        read_crs(self.crs, "crs")
        for left, bottom, right, top in (*self.train, *self.validation, *self.test):
            if not (math.isfinite(right - left) and math.isfinite(top - bottom) and left < right and bottom < top):
                raise ValueError(f"an area is left, bottom, right, top; found {left}, {bottom}, {right}, {top}")
        return self


class ModelCard(Spec):
    """All that a run needs to know of a model; `card.yaml` in the model folder."""

    name: str
    title: str = ""
    architecture: dict[str, Any]
    """`{name: compact, ...}`, `{name: smp, arch: Unet, ...}`, `{name: dynamic-world}` (see `geoseg.models.networks`),
    `{name: onnx}` or `{name: exported, trust: true}`."""
    weights: Weights
    bands: tuple[str, ...]
    """Common names in the network's channel order."""
    normalisation: Normalisation = Normalisation()
    output: Output = Output()
    temperature: float | None = Field(None, gt=0, allow_inf_nan=False)
    """What logits are divided by, so that confidence is how often a label is right; None: 1."""
    radiometry: Radiometry | None = None
    gsd_m: float | None = None
    """Ground sampling distance it was trained at, metres."""
    gsd_tolerance: float = 0.2
    """Relative difference of GSD accepted; a larger one is refused."""
    stride: int = 1
    """Cores and halo are multiples of this many pixels."""
    halo: int
    """Pixels beyond the core that can change a label, rounded up to the stride."""
    field: Literal["bounded", "image-wide"] = "bounded"
    """image-wide: no halo makes windows independent of where they are cut."""
    window: int = 256
    """Default core, pixels."""
    legend_name: str
    classes: tuple[ClassSpec, ...]
    """Legend; channel i of the scores is classes[i]."""
    training: dict[str, Any] = Field(default_factory=dict)
    """How it was made, freely put; each of its `scenes` may have `areas`, with which scores are compared."""
    licence: str = ""
    scores: dict[str, Any] = Field(default_factory=dict)
    measured: dict[str, Any] = Field(default_factory=dict)
    """What `geoseg models check --write` found."""

    @field_validator("bands")
    @classmethod
    def _bands(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if not bands or len(set(bands)) != len(bands):
            raise ValueError("list each band once, at least one")
        return bands

    @model_validator(mode="after")
    def _whole(self) -> ModelCard:
        if self.stride < 1 or self.halo < 0 or self.window < 1:
            raise ValueError("stride and window are at least 1 and halo at least 0")
        if self.halo % self.stride or self.window % self.stride:
            raise ValueError(f"halo {self.halo} and window {self.window} must be multiples of the stride {self.stride}")
        numbers = self.normalisation
        for each in (numbers.mean, numbers.std):
            if each is not None and len(each) != len(self.bands):
                raise ValueError("normalisation needs one mean and one std for each band")
        self.legend.check_fits_uint8()
        self.output.check(len(self.classes))
        if self.temperature is not None and self.output.kind not in ("logits", "sigmoid"):
            raise ValueError(f"temperature divides logits, and output.kind is {self.output.kind!r}; leave it out")
        try:
            self.areas  # noqa: B018  checked here, so that nobody who asks later meets a wrong one
        except ValidationError as error:
            first = error.errors()[0]
            keys = ".".join(["training.scenes.areas", *map(str, first["loc"])])
            raise ValueError(f"{keys}: {first['msg'].removeprefix('Value error, ')}") from None
        return self

    @property
    def legend(self) -> Legend:
        """The classes that the network tells apart."""
        return LegendSpec(classes=self.classes).legend(self.legend_name)

    @property
    def areas(self) -> tuple[AreasSpec, ...]:
        """Where it was trained, scene by scene; none where the card does not say."""
        scenes = self.training.get("scenes", ())
        found = scenes if isinstance(scenes, list | tuple) else ()
        return tuple(
            AreasSpec.model_validate(each["areas"]) for each in found if isinstance(each, dict) and "areas" in each
        )


class Draft(Spec):
    """What a person says of a network; the rest of its card is measured (`geoseg models add`)."""

    name: str
    title: str = ""
    architecture: dict[str, Any] = Field(default_factory=dict)
    """As on a card; not needed where the file is a whole network."""
    bands: tuple[str, ...]
    normalisation: Normalisation = Normalisation()
    output: Output = Output()
    temperature: float | None = Field(None, gt=0, allow_inf_nan=False)
    radiometry: Radiometry | None = None
    gsd_m: float | None = None
    gsd_tolerance: float = 0.2
    stride: int | None = None
    """Only where it cannot be measured."""
    window: int | None = None
    legend_name: str
    """Also the name of a legend of the catalog, where no classes are given."""
    classes: tuple[ClassSpec, ...] = ()
    training: dict[str, Any] = Field(default_factory=dict)
    licence: str = ""

    def card(self, weights: Weights, field: Any, core: int) -> ModelCard:
        """The whole card.

        Parameters
        ----------
        weights
            The file.
        field
            A `receptive_field.Field`.
        core
            Pixels, where the draft does not say.
        """
        said = self.model_dump(exclude={"stride", "window"})
        try:
            return ModelCard(
                **said,
                weights=weights,
                stride=field.stride,
                halo=field.halo,
                field=field.kind,
                window=self.window or core,
            )
        except ValidationError as error:
            raise ModelError(f"the draft of model {self.name!r}: {error.errors()[0]['msg']}") from None


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder and its card."""

    folder: str
    card: ModelCard

    @property
    def weights(self) -> Path:
        """The weights file."""
        return Path(self.folder) / self.card.weights.file


def dump(card: ModelCard) -> bytes:
    """A card as YAML."""
    data = card.model_dump(mode="json", exclude_none=True)
    for key, empty in (("output", card.output == Output()), ("measured", not card.measured)):
        if empty:
            del data[key]
    style: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 120, "default_flow_style": None}
    return yaml.dump(data, Dumper=_Dumper, **style).encode()


class _Dumper(yaml.SafeDumper):
    """SafeDumper that writes lists of rectangles as one flowing paragraph, not a line for each."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        rectangles = bool(sequence) and all(isinstance(each, list) for each in sequence)
        return super().represent_sequence(tag, sequence, True if rectangles else flow_style)


def read_model(folder: Path | str) -> Model:
    """Read a model folder's card (the weights are checked when they are loaded).

    Raises
    ------
    ModelError
        If the folder has no card.yaml or the card is wrong.
    """
    card = Path(folder) / "card.yaml"
    if not card.is_file():
        raise ModelError(f"model folder {folder} has no card.yaml; a model is a folder with a card and its weights")
    return Model(str(folder), parse(ModelCard, load_yaml(card, ModelError), str(card), ModelError))
