"""The command that starts a user off: a catalog and a job for a scene, with its bands guessed and said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.cli.options import app
from geoseg.cli.screen import note, out, refuse, refusing
from geoseg.errors import CatalogError, JobError
from geoseg.quantities import length

if TYPE_CHECKING:
    from geoseg.catalog import Imagery
    from geoseg.catalog.card import Model
    from geoseg.imagery.guess import Guessed

_CATALOG, _JOB = "data_catalog.yaml", "job.yaml"


@app.command()
@refusing
def init(
    scene: Annotated[list[str], typer.Argument(help="Files of a scene, their folder, or a pattern in quotes.")],
    model: Annotated[str, typer.Option(help="A model that geoseg ships, or a model folder.")] = "landsat-6class",
    bands: Annotated[
        str | None, typer.Option(help="Names of the bands in order, blue,green,red,nir say; default: guessed.")
    ] = None,
    crs: Annotated[str | None, typer.Option(help="CRS of the files, EPSG:32612 say, where they do not say.")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder for data_catalog.yaml and job.yaml.")] = Path(),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace those that the folder holds.")] = False,
) -> None:
    """Write a catalog and a job for a scene, ready for `geoseg plan`."""
    from geoseg import catalog, imagery
    from geoseg.catalog.card import read_model
    from geoseg.imagery import guess
    from geoseg.jobs import contract
    from geoseg.storage.store import Store

    there = [name for name in (_CATALOG, _JOB) if (folder / name).exists()]
    if there and not overwrite:
        refuse(JobError(f"{folder / there[0]} exists; give --overwrite to replace it, or another folder by --out"))
    chosen = read_model(Path(model)) if (Path(model) / "card.yaml").is_file() else catalog.shipped().model(model)
    try:
        guessed = guess.look(scene, tuple(bands.split(",")) if bands else ())
    except CatalogError as error:
        refuse(CatalogError(f"{error} (model {chosen.card.name!r} needs {', '.join(chosen.card.bands)})"))
    _check(guessed, chosen, crs)
    layer = imagery.open(_layer(guessed, crs).select(chosen.card.bands, f"model {chosen.card.name!r}"))
    base = folder.absolute()
    named = os.path.relpath(chosen.folder, base) if Path(chosen.folder) == Path(model) else model
    store = Store.at(folder)
    store.put(_CATALOG, _catalog_text(guessed, crs, base).encode())
    trouble = contract.of_ground(chosen.card, layer.grid, layer.window)
    grid = contract.matching(chosen.card, layer.grid, layer.window) if trouble else None
    store.put(_JOB, _job_text(guessed.name, named, grid).encode())
    for name, (files, number) in guessed.bands.items():
        more = f" and {len(files) - 1} more" if files[1:] else ""
        out.print(f"  {name}: {'band ' if isinstance(number, int) else ''}{number} of {files[0]}{more}", markup=False)
    out.print(f"bands guessed from {guessed.source}" if not bands else "bands as you named them", markup=False)
    if not guessed.sure:
        note("that is a guess only: look at the bands, and correct them in data_catalog.yaml or by --bands")
    if guessed.nodata is not None:
        note(f"the files declare no nodata; {guessed.nodata:g} is taken for it, as the product has it")
    if grid is not None:
        note(f"the job maps at {length(grid[1])} in {grid[0]}, as the model asks: the scene's own pixels are others")
    rows, cols = layer.window.shape
    out.print(f"wrote {folder / _CATALOG} and {folder / _JOB}: {rows} x {cols} pixels (rows x columns)", markup=False)
    out.print(f"next: geoseg plan {folder / _JOB}", markup=False)


def _check(guessed: Guessed, model: Model, crs: str | None) -> None:
    """Refuse a scene that lacks what the model needs, before anything is written."""
    missing = [band for band in model.card.bands if band not in guessed.bands]
    if missing:
        refuse(
            CatalogError(
                f"model {model.card.name!r} needs band {', '.join(map(repr, missing))}; the scene has "
                f"{', '.join(guessed.bands)}, told from {guessed.source}. If that is wrong, say what its bands are: "
                f"--bands {','.join(model.card.bands)}; else give another --model or the missing files"
            )
        )
    if not guessed.crs and crs is None:
        refuse(CatalogError("the files do not say their CRS; give it by --crs, EPSG:32612 say"))


def _layer(guessed: Guessed, crs: str | None) -> Imagery:
    from geoseg.catalog import Band, Imagery

    bands = (
        Band(name, files, at if isinstance(at, int) else 1, guessed.nodata, 1.0, 0.0, at if isinstance(at, str) else "")
        for name, (files, at) in guessed.bands.items()
    )
    return Imagery(guessed.name, tuple(bands), crs)


def _catalog_text(guessed: Guessed, crs: str | None, base: Path) -> str:
    """A catalog with one layer; `files` where all bands lie in the same ones."""
    everywhere = {files for files, _ in guessed.bands.values()}
    certainty = "" if guessed.sure else " A guess only: look at them."
    lines = [
        "# What exists; written by 'geoseg init'. 'geoseg catalog' checks it, docs/catalog.md has all keys.",
        "imagery:",
        f"  {_flow(guessed.name)}:",
    ]
    if len(everywhere) == 1:
        lines.append(f"    files: {_flow(_relative(next(iter(everywhere)), base))}")
    lines += [f"    # The bands were told from {guessed.source}.{certainty}", "    bands:"]
    for name, (files, at) in guessed.bands.items():
        one = at if len(everywhere) == 1 else {"file": _relative(files, base), "band": at}
        lines.append(f"      {_flow(name)}: {_flow(one)}")
    lines += [f"    nodata: {guessed.nodata:g}"] if guessed.nodata is not None else []
    lines += [f"    crs: {_flow(crs)}"] if crs is not None else []
    return "\n".join(lines) + "\n"


def _job_text(name: str, model: str, grid: tuple[str, float] | None) -> str:
    at = "" if grid is None else f"grid: {{crs: {_flow(grid[0])}, resolution: {grid[1]:g}}}   # as the model asks\n"
    return f"""\
# What to do; written by 'geoseg init'. docs/job.md has all keys.
#   geoseg plan job.yaml
#   geoseg run job.yaml
imagery: {_flow(name)}
model: {_flow(model)}
region: imagery            # all of it; or {{bounds: [left, bottom, right, top], crs: EPSG:4326}}, or {{file: x.gpkg}}
{at}outputs: {{confidence: true}}
"""


def _relative(files: tuple[str, ...], base: Path) -> Any:
    paths = [each if "://" in each or each.startswith("/vsi") else _beside(Path(each), base) for each in files]
    return paths[0] if len(paths) == 1 else paths


def _beside(path: Path, base: Path) -> str:
    """A path from the catalog's folder where the file lies in or near it, else from the root."""
    relative = Path(os.path.relpath(path.absolute(), base))
    return relative.as_posix() if relative.parts.count("..") < 3 else os.path.normpath(path.absolute())


def _flow(value: object) -> str:
    """YAML on one line."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
