"""Options: the command line itself, on which the modules hang their commands, and the options that several share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="geoseg",
    help="Satellite land-cover maps from GeoTIFFs: the same pixels however they are computed.",
    no_args_is_help=True,
    rich_markup_mode=None,  # help as plain text: drawing it with rich takes twice as long as all the rest
    pretty_exceptions_enable=False,
    add_completion=False,
)
Folder = Annotated[
    str | None, typer.Option("--out", help="Output folder, or s3://bucket/prefix; default: the job's name.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Go on though imagery or grid are not such as the model was made for; the map says so."
    ),
]
JobFile = Annotated[Path, typer.Argument(help="Job spec, a YAML file.")]
CatalogFile = Annotated[Path | None, typer.Option("--catalog", help="data_catalog.yaml; default: the one here.")]
