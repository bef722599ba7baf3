"""Commands for networks: models list, show, check, add, export-stac, import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from geoseg.cli.options import CatalogFile, app
from geoseg.cli.screen import out, print_table, refuse, refusing
from geoseg.errors import CatalogError, GeosegError, ModelError
from geoseg.quantities import counted, length

if TYPE_CHECKING:
    import numpy as np

    from geoseg.catalog import Catalog
    from geoseg.catalog.card import Model
    from geoseg.imagery import Statistics
    from geoseg.models.adding import Added

models = typer.Typer(help="Networks: list, show, check, add, export-stac, import.", no_args_is_help=True)
app.add_typer(models, name="models")
ModelName = Annotated[str, typer.Argument(help="A model of the catalog, or the path of its folder.")]


@models.command("list")
@refusing
def listed(catalog: CatalogFile = None) -> None:
    """List the models that a job can name here: those of the catalog and those that geoseg ships."""
    known, rows = _catalog(catalog), []
    for name in known.names("models"):
        try:
            card = known.model(name).card
        except GeosegError as error:
            rows.append([name, f"cannot be read: {error}", "", "", ""])
            continue
        gsd = "any" if card.gsd_m is None else length(card.gsd_m)
        rows.append([name, ", ".join(card.bands), str(len(card.classes)), gsd, card.licence])
    print_table(["model", "bands", "classes", "pixels", "licence"], rows)


@models.command()
@refusing
def show(name: ModelName, catalog: CatalogFile = None) -> None:
    """Say all that a model's card says."""
    model = _catalog(catalog).model(name)
    card = model.card
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    said = {
        "name": card.name,
        "title": card.title,
        "folder": str(Path(model.folder).absolute()),
        "architecture": ", ".join(f"{key} {value}" for key, value in card.architecture.items()),
        "weights": f"{card.weights.file}, sha256 {card.weights.sha256[:12]}",
        "bands": ", ".join(card.bands),
        "normalisation": card.normalisation.kind,
        "output": card.output.kind,
        "pixels": "" if card.gsd_m is None else f"{length(card.gsd_m)}, within {100 * card.gsd_tolerance:g} %",
        "values": "" if card.radiometry is None else str(card.radiometry),
        "windows": f"cores of {card.window} px, halo {card.halo} px, stride {card.stride} px, field {card.field}",
        "classes": "; ".join(f"{each.id} {each.name} {each.colour}" for each in card.classes),
        "licence": card.licence,
        "scores": _plain(card.scores),
        "measured": _plain(card.measured),
    }
    for key, value in said.items():
        if value:
            table.add_row(key, value)
    out.print(table)


@models.command()
@refusing
def check(
    name: ModelName,
    imagery: Annotated[str | None, typer.Option(help="Try it on this imagery of the catalog, not on noise.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Keep what was measured on the card.")] = False,
    device: Annotated[str, typer.Option(help="'cpu', 'cuda', 'cuda:1' or 'auto'.")] = "auto",
    catalog: CatalogFile = None,
) -> None:
    """Load a network and measure it: output, receptive field, halo, precision, memory, speed."""
    from geoseg.catalog.card import dump
    from geoseg.inference import checking

    known = _catalog(catalog)
    model = known.model(name)
    pixels, statistics = (None, None) if imagery is None else _sample(known, model, imagery)
    measured: dict[str, object] = {}
    troubles = 0
    for finding in checking.check(model, pixels, statistics, device):
        text = Text(f"{finding.what}: ", "bold")
        text.append(finding.found, "")
        if finding.trouble:
            text.append(f"; {finding.trouble}", "red")
            troubles += 1
        out.print(text)
        measured.update(finding.facts)
    if troubles:
        refuse(ModelError(f"the card of model {model.card.name!r} is wrong in {counted(troubles, 'point')}; see above"))
    if write:
        card = model.card.model_copy(update={"measured": measured})
        file = Path(model.folder) / "card.yaml"
        part = file.with_suffix(".part")
        try:
            part.write_bytes(dump(card))
            part.replace(file)
        except OSError as error:
            refuse(ModelError(f"{file} cannot be written: {error.strerror}; copy the folder to a place of your own"))
        out.print(f"wrote {file}")


@models.command()
@refusing
def add(
    what: Annotated[str, typer.Argument(help="'dynamic-world', or a draft of the card: a YAML file.")],
    source: Annotated[
        Path, typer.Option("--from", help="*.safetensors, *.pt, *.onnx, *.pt2, a saved folder; a SavedModel's folder.")
    ],
    target: Annotated[Path | None, typer.Option("--out", help="Model folder to write; default: models/NAME.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that the folder holds.")] = False,
    catalog: CatalogFile = None,
) -> None:
    """Make a model folder of weights as you have them; halo, stride and field are measured."""
    from geoseg.catalog.card import ClassSpec, Draft
    from geoseg.catalog.yaml import load_yaml, parse

    known = _catalog(catalog)
    if what == "dynamic-world":
        from geoseg.models import adding

        added = adding.dynamic_world(source, known.legend("dynamic-world"))
    else:
        draft = parse(Draft, load_yaml(Path(what), ModelError), what, ModelError)
        if not draft.classes:
            legend = known.legend(draft.legend_name)
            classes = tuple(ClassSpec(id=each.id, name=each.name, colour=each.colour) for each in legend.classes)
            draft = draft.model_copy(update={"classes": classes})
        from geoseg.models import adding

        added = adding.from_file(source, draft)
    _write(added, target, overwrite=overwrite)


@models.command("export-stac")
@refusing
def export_stac(
    name: ModelName,
    target: Annotated[
        Path, typer.Option("--out", help="JSON file to write; in the model's folder it finds its weights.")
    ],
    catalog: CatalogFile = None,
) -> None:
    """Write a model as a STAC item of the Machine Learning Model extension."""
    import json
    import os

    from geoseg.catalog import stac

    model = _catalog(catalog).model(name)
    try:
        href = Path(os.path.relpath(model.weights, target.absolute().parent)).as_posix()
        item = stac.item_of(model.card, href, model.weights.stat().st_size)
        target.write_text(json.dumps(item, indent=1, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        refuse(ModelError(f"{error.filename or target} cannot be read or written: {error.strerror}; check the path"))
    out.print(f"wrote {target}", markup=False)


@models.command("import")
@refusing
def import_item(
    item: Annotated[Path, typer.Argument(help="A STAC item of a model, a JSON file.")],
    target: Annotated[Path | None, typer.Option("--out", help="Model folder to write; default: models/NAME.")] = None,
    source: Annotated[
        Path | None, typer.Option("--weights", help="Its weights; default: the file that it names beside itself.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read a .pt2 file, which can run code: you know where it comes from.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that the folder holds.")] = False,
) -> None:
    """Make a model folder of a STAC item and its weights."""
    from geoseg.models import importing

    _write(importing.from_item(item, source, trust=trust), target, overwrite=overwrite)


def _write(added: Added, target: Path | None, *, overwrite: bool) -> None:
    from geoseg.models import adding

    card = added.card
    if target is None and (Path(card.name).name != card.name or card.name == ".."):
        refuse(ModelError(f"the model is called {card.name!r}, which is no name of a folder; name one with --out"))
    folder = target or Path("models") / card.name
    adding.write(added, folder, overwrite=overwrite)
    out.print(f"wrote {folder}: {card.field} field, halo {card.halo} px, stride {card.stride} px")
    out.print(f"name it in data_catalog.yaml (models: {{{card.name}: {{path: {folder}}}}}), or give its path in a job")


def _catalog(file: Path | None) -> Catalog:
    from geoseg import catalog

    here = Path("data_catalog.yaml")
    return catalog.read(file or here) if file or here.is_file() else catalog.shipped()


def _sample(known: Catalog, model: Model, name: str) -> tuple[np.ndarray, Statistics | None]:
    """The middle of some imagery that has data, and its statistics where the model asks for them."""
    import numpy as np

    from geoseg import imagery
    from geoseg.grid import Window
    from geoseg.imagery.statistics import sample
    from geoseg.inference import checking

    scene = imagery.open(known.imagery(name).select(model.card.bands, f"model {model.card.name!r}"))
    side, best, most = checking.side_of(model), None, 0
    for square in sample(scene.window, lambda each: imagery.touches(scene, scene.grid, each)):
        middle = Window(
            square.row + square.height // 2 - side // 2, square.col + square.width // 2 - side // 2, side, side
        )
        pixels = imagery.read(scene, scene.grid, middle)
        count = int(np.isfinite(pixels).all(axis=0).sum())
        if count > most:
            best, most = pixels, count
        if count == side * side:
            break
    if best is None:
        raise CatalogError(f"imagery {name!r} has no pixel with data in all bands of model {model.card.name!r}")
    asked = model.card.normalisation
    statistics = imagery.statistics(scene, asked.percentiles or ()) if asked.of_scene else None
    return best, statistics


def _plain(data: dict[str, object]) -> str:
    return "; ".join(f"{key} {value}" for key, value in data.items() if not isinstance(value, dict | list))
