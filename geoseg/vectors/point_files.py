"""Point files: sampled points as GeoPackage, FlatGeobuf, GeoJSON, CSV, or KML for those who label them in a globe.

GeoJSON, CSV and KML are in longitude and latitude. Each file is written whole or not at all.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import geopandas

from geoseg.errors import LedgerError, RasterError
from geoseg.quantities import counted
from geoseg.storage import files

_DRIVERS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".geojson": "GeoJSON"}
ENDINGS = (*_DRIVERS, ".csv", ".kml")
_KML = "http://www.opengis.net/kml/2.2"


def check_ending(out: Path) -> None:
    """Refuse another name than that of a file of points."""
    if out.suffix.lower() not in ENDINGS:
        raise RasterError(f"{out}: a sample is written to {', '.join(ENDINGS)}, not to {out.suffix!r}; use one")


def write(frame: geopandas.GeoDataFrame, out: Path) -> None:
    """Write points.

    Parameters
    ----------
    frame : GeoDataFrame
        With columns 'id' and 'label' and others, in any CRS.
    out : Path
        Its ending is one of `ENDINGS`.

    Raises
    ------
    RasterError
        If it cannot be written.
    """
    check_ending(out)
    suffix = out.suffix.lower()
    if suffix not in (".gpkg", ".fgb"):
        frame = frame.to_crs(4326)
    try:
        if suffix == ".csv":
            files.put(out, _as_csv(frame))
        elif suffix == ".kml":
            files.put(out, _as_kml(frame, out.stem))
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"sample{suffix}"
                frame.to_file(path, driver=_DRIVERS[suffix], layer=out.stem)
                files.put(out, path.read_bytes())
    except LedgerError as error:
        raise RasterError(f"{out} cannot be written with {counted(len(frame), 'point')}: {error}") from error


def _as_csv(frame: geopandas.GeoDataFrame) -> bytes:
    """Longitude and latitude as columns, to 1e-9 degrees, a tenth of a millimetre."""
    table = frame.drop(columns="geometry")
    table.insert(1, "longitude", frame.geometry.x.map("{:.9f}".format))
    table.insert(2, "latitude", frame.geometry.y.map("{:.9f}".format))
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode()


def _as_kml(frame: geopandas.GeoDataFrame, name: str) -> bytes:
    """A placemark for each point, called by its number; strata stay untold, so that nobody is led by them."""
    root = ET.Element("kml", xmlns=_KML)
    document = ET.SubElement(root, "Document")
    ET.SubElement(document, "name").text = name
    for id, x, y in zip(frame["id"], frame.geometry.x, frame.geometry.y):
        mark = ET.SubElement(document, "Placemark", id=f"p{id}")
        ET.SubElement(mark, "name").text = str(id)
        ET.SubElement(ET.SubElement(mark, "Point"), "coordinates").text = f"{x:.9f},{y:.9f}"
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))
