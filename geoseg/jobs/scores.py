"""Scores: what the accuracy of a finished map is made from, and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg import catalog
from geoseg.accuracy import error_map, references, seen, tables
from geoseg.accuracy import ignore as ignoring
from geoseg.accuracy import score as scoring
from geoseg.accuracy.boundaries import Boundaries
from geoseg.accuracy.ignore import Ignore
from geoseg.accuracy.seen import Trained
from geoseg.catalog import Reference
from geoseg.catalog.card import read_model
from geoseg.catalog.legend import Crosswalk, Legend
from geoseg.errors import GeosegError
from geoseg.jobs.plan import Plan
from geoseg.jobs.resolve import reference_of
from geoseg.jobs.spec import ReferenceUse


@dataclass(frozen=True, slots=True)
class Asked:
    """How a job's map is to be scored."""

    reference: Reference
    crosswalk: Crosswalk
    use: ReferenceUse
    trained: Trained | None
    ignore: Ignore
    zones: Path | None

    @property
    def made_from(self) -> Mapping[str, Any]:
        """All but the map that the scores depend on, as plain data."""
        facts: dict[str, Any] = {"reference": asdict(self.reference), "crosswalk": asdict(self.crosswalk)}
        facts["file"] = {"identity": references.identity_of(self.reference)}
        facts["trained"] = {} if self.trained is None else self.trained.plain()
        if options := self.use.model_dump(exclude={"name", "crosswalk"}, exclude_defaults=True):
            facts["options"] = options
        if self.zones is not None:
            facts["zones"] = {"identity": references.identity_of_file(self.zones, beside=True)}
        return facts


def asked(plan: Plan) -> Asked:
    """What a job asks for, as its catalog has it now.

    Raises
    ------
    GeosegError
        If the catalog or the reference cannot be used by now.
    """
    spec = plan.spec
    assert spec.catalog is not None
    assert spec.reference is not None
    reference, crosswalk = reference_of(spec, catalog.read(spec.catalog), plan.legend)
    left_out = ignoring.read(spec.reference.ignore, plan.legend, reference.legend)
    zones = None if spec.reference.zones is None else Path(spec.catalog).parent / spec.reference.zones
    return Asked(reference, crosswalk, spec.reference, _trained(plan), left_out, zones)


def write(asked: Asked, legend: Legend, map_path: Path, confidence: Path | None, folder: Path) -> Sequence[Path]:
    """Score a map and write what is found.

    Parameters
    ----------
    asked : Asked
        From `asked`.
    legend : Legend
        The map's.
    map_path, confidence : Path
        The map, and its confidence where that is kept.
    folder : Path
        Where accuracy.json, accuracy.csv and errors.tif are written, and with zones zones.csv.
    """
    use = asked.use
    found = scoring.score(
        map_path,
        asked.reference,
        asked.crosswalk,
        legend=legend,
        grid=use.grid,
        resampling=use.resampling,
        ignore=asked.ignore,
        trained=asked.trained,
        interval_block=use.interval_block,
        zones=asked.zones,
        zone_column=use.zone_column,
        confidence=confidence,
        boundaries=Boundaries(use.boundary, use.boundary_ignore),
    )
    return [*tables.write(found, folder), error_map.write(found, folder / "errors.tif")]


def _trained(plan: Plan) -> Trained | None:
    """Where the models were trained, as the cards in their folders say; a plan travels without."""
    cards = []
    for each in () if plan.predictor is None else plan.predictor.members:
        with suppress(GeosegError):  # a finished map needs its model no more
            card = read_model(each.model.folder).card
            cards += [card] if card.weights.sha256 == each.model.card.weights.sha256 else []
    return seen.of_cards(cards)
