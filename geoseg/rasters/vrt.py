"""VRT: virtual mosaics, small XML files by which GDAL sees many rasters as one.

Made here as text, and checked here before GDAL opens one that came from elsewhere. Windows are
(row, col, height, width) on the grid's lattice.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.catalog.legend import NODATA, Legend
from geoseg.errors import RasterError
from geoseg.grid import Grid, Window
from geoseg.rasters import attribute_table, legend_tag
from geoseg.rasters.legend_tag import LEGEND_TAG

MOST_SOURCES = 20_000
"""GDAL looks through all sources of a VRT for each read; above this, one VRT per row of blocks stands between."""
Sources = Sequence[tuple[Window, Path]]
_MOST_BYTES = 64_000_000
_DEEPEST = 4
"""VRTs within VRTs."""
_RASTERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ")
"""How TIFF, BigTIFF and JPEG 2000 begin; each holds a NUL, so that none of them can be XML as well."""
_FUNCTIONS = {"vrtderivedrasterband", "vrtprocesseddataset", "vrtpansharpeneddataset", "vrtrawrasterband"}
_PLAIN = frozenset(
    """vrtdataset srs geotransform metadata mdi vrtrasterband description nodatavalue hidenodatavalue colorinterp
    colortable entry categorynames category gdalrasterattributetable fielddefn name type usage row f unittype offset
    scale simplesource complexsource sourcefilename sourceband sourceproperties srcrect dstrect nodata scaleoffset
    scaleratio lut exponent srcmin srcmax dstmin dstmax clip usemaskband maskband overviewlist histograms histitem
    histmin histmax bucketcount includeoutofrange approximate histcounts blockxsize blockysize""".split()  # noqa: SIM905  words are easier to read
)
"""Elements of a plain mosaic, such as gdalbuildvrt and gdal_translate write; GDAL does not heed case."""


@dataclass(frozen=True, slots=True)
class MapBand:
    """What the band of a map says about itself, or the bands of a map of values."""

    legend: Legend | None
    """None for a map of values, such as confidence."""
    names: tuple[str, ...]
    """Description of each band."""
    scale: float
    """Factor from stored to shown values."""
    counts: Mapping[int, int] | None
    """Pixels of each value in the whole map, nodata left out; None where they are not known."""

    def __post_init__(self) -> None:
        if self.legend is not None:
            self.legend.check_fits_uint8()


def compose(
    sources: Sources,
    grid: Grid,
    extent: Window,
    band: MapBand,
    tags: Mapping[str, str],
    *,
    relative_to: Path | None = None,
) -> bytes:
    """A virtual mosaic of uint8 bands, nodata 255; where no source lies it is nodata.

    Parameters
    ----------
    sources : sequence of (Window, Path)
        Rasters of as many uint8 bands, each of its window's size; what lies beyond the extent is left out.
    grid, extent : Grid, Window
        Where the mosaic lies.
    band, tags : MapBand, mapping
        What it says about itself.
    relative_to : Path, optional
        Folder of the .vrt, which then names its sources by their paths below it; absolute paths by default.

    Returns
    -------
    bytes
        The .vrt file.
    """
    a, b, c, d, e, f = tuple(grid.transform_of(extent))[:6]
    root = ET.Element("VRTDataset", rasterXSize=str(extent.width), rasterYSize=str(extent.height))
    ET.SubElement(root, "SRS").text = grid.crs
    ET.SubElement(root, "GeoTransform").text = ", ".join(repr(float(x)) for x in (c, a, b, f, d, e))
    metadata = ET.SubElement(root, "Metadata")
    own = {LEGEND_TAG: legend_tag.written(band.legend)} if band.legend else {}
    for key, value in (dict(tags) | own).items():
        ET.SubElement(metadata, "MDI", key=key).text = value
    for number, name in enumerate(band.names, 1):
        element = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
        ET.SubElement(element, "Description").text = name
        ET.SubElement(element, "NoDataValue").text = str(NODATA)
        shown = "Palette" if band.legend else "Gray" if number == 1 else "Undefined"  # as GeoTIFF itself can say it
        ET.SubElement(element, "ColorInterp").text = shown
        if band.scale != 1.0:
            ET.SubElement(element, "Offset").text = "0"
            ET.SubElement(element, "Scale").text = repr(band.scale)
        if band.legend is not None:
            _add_colours(element, band.legend)
            element.append(attribute_table.element(band.legend, band.counts))
        for window, path in sources:
            file = path.relative_to(relative_to).as_posix() if relative_to else str(path)
            _add_source(element, window, extent, file, number, relative=relative_to is not None)
    return ET.tostring(root, encoding="utf-8")


def nested(
    sources: Sources,
    grid: Grid,
    extent: Window,
    band: MapBand,
    tags: Mapping[str, str],
    folder: Path,
    most: int = MOST_SOURCES,
) -> dict[str, bytes]:
    """A virtual mosaic 'map.vrt', over one per row of blocks when there are more than `most` sources.

    Parameters
    ----------
    sources, grid, extent, band, tags
        As in `compose`.
    folder : Path
        Absolute path of the folder in which the files will lie.
    most : int
        Sources that the bands of one file may have.

    Returns
    -------
    dict of str to bytes
        Files by name.
    """
    if len(sources) * len(band.names) <= most:
        return {"map.vrt": compose(sources, grid, extent, band, tags)}
    step = max(window.height for window, _ in sources)
    rows: dict[int, list[tuple[Window, Path]]] = defaultdict(list)
    for window, path in sources:
        for row in range(window.row // step, (window.row_end - 1) // step + 1):
            rows[row].append((window, path))
    files, strips = {}, []
    for row, members in sorted(rows.items()):
        strip = Window(row * step, extent.col, step, extent.width).meet(extent)
        if strip is not None:
            files[f"row{row}.vrt"] = compose(members, grid, strip, MapBand(None, band.names, 1.0, None), {})
            strips.append((strip, folder / f"row{row}.vrt"))
    return files | {"map.vrt": compose(strips, grid, extent, band, tags)}


def check(path: Path, *, trusted: bool = False) -> None:
    """Refuse a VRT that computes its pixels, or that is more than a mosaic of rasters which lie beside or below it.

    GDAL would follow whatever a VRT names: any file that the user may read, addresses on the network, Python code.

    Parameters
    ----------
    path : Path
        The .vrt.
    trusted : bool
        Whether it may name files elsewhere and be of any kind; it still may not compute its pixels by a function.

    Raises
    ------
    RasterError
        If it is refused, is no XML, or names what is no raster.
    """
    _check(path, path.parent.resolve(), trusted, 0)


def class_names(root: ET.Element) -> dict[int, str]:
    """Class names by id in an .aux.xml or .vrt of GDAL's: its attribute table, else its category names; maybe none."""
    usages = [field.findtext("Usage") for field in root.iterfind(".//GDALRasterAttributeTable/FieldDefn")]
    if "5" in usages and "2" in usages:
        value, name = usages.index("5"), usages.index("2")
        rows = [[cell.text or "" for cell in row] for row in root.iterfind(".//GDALRasterAttributeTable/Row")]
        return {int(row[value]): row[name] for row in rows if row[name].strip()}
    categories = [each.text or "" for each in root.iterfind(".//CategoryNames/Category")]
    return {id: name for id, name in enumerate(categories) if name.strip()}


def _add_source(element: ET.Element, window: Window, extent: Window, name: str, band: int, *, relative: bool) -> None:
    part = window.meet(extent)
    if part is None:
        return
    source = ET.SubElement(element, "SimpleSource")
    ET.SubElement(source, "SourceFilename", relativeToVRT=str(int(relative))).text = name
    ET.SubElement(source, "SourceBand").text = str(band)
    # With its size given, a source is opened only when its pixels are read.
    size = {"RasterXSize": str(window.width), "RasterYSize": str(window.height)}
    ET.SubElement(source, "SourceProperties", size, DataType="Byte", BlockXSize="256", BlockYSize="256")
    for tag, frame in (("SrcRect", window), ("DstRect", extent)):
        x, y = str(part.col - frame.col), str(part.row - frame.row)
        ET.SubElement(source, tag, xOff=x, yOff=y, xSize=str(part.width), ySize=str(part.height))


def _add_colours(element: ET.Element, legend: Legend) -> None:
    by_id = {each.id: each for each in legend.classes}
    names = ET.SubElement(element, "CategoryNames")
    colours = ET.SubElement(element, "ColorTable")
    for value in range(256):
        each = by_id.get(value)
        r, g, b = each.rgb if each else (0, 0, 0)
        ET.SubElement(colours, "Entry", c1=str(r), c2=str(g), c3=str(b), c4="0" if value == NODATA else "255")
        if value <= max(by_id):
            ET.SubElement(names, "Category").text = each.name if each else ""


def _check(path: Path, home: Path, trusted: bool, depth: int) -> None:
    for element in _parsed(path).iter():
        tag = str(element.tag).lower()
        kind = next((value.lower() for key, value in element.attrib.items() if key.lower() == "subclass"), "")
        if kind in _FUNCTIONS or tag.startswith("pixelfunction"):
            raise RasterError(f"{path} is a VRT that computes its pixels by a function; write the result to a GeoTIFF")
        if trusted:
            if tag in ("sourcefilename", "sourcedataset"):
                _check_plain(path, element)
            continue
        if tag not in _PLAIN or kind not in ("", "vrtsourcedrasterband") or _domain(element):
            what = f"a {kind}" if kind else f"<{element.tag}>" + f" {_domain(element)}" * bool(_domain(element))
            raise RasterError(f"{path} is a VRT with {what[:60]}, more than a plain mosaic; {_TRUST}")
        if tag == "sourcefilename":
            _check_source(path, home, element, depth)


def _check_plain(path: Path, element: ET.Element) -> None:
    """Refuse a pipe or device among the sources of a trusted VRT, for which GDAL would wait."""
    file = path.parent / (element.text or "")  # an absolute path stands for itself
    if file.exists() and not file.is_file() and not file.is_dir():
        raise RasterError(f"{path} is a VRT that names {str(file)[:200]!r}, a pipe or device; name a file")


def _check_source(path: Path, home: Path, element: ET.Element, depth: int) -> None:
    name = element.text or ""
    stated = [value for key, value in element.attrib.items() if key.lower() == "relativetovrt"]
    plain = name == name.strip() and ":" not in name and not len(element)
    relative = stated == ["1"] and plain and not Path(name).is_absolute()
    file = (path.parent / name).resolve() if relative else None
    if file is None or not file.is_relative_to(home):
        raise RasterError(f"{path} is a VRT that names {name[:200]!r}, which does not lie beside or below it; {_TRUST}")
    if not file.is_file():
        raise RasterError(f"{path} is a VRT that names {name[:200]!r}, which does not exist; bring the file back")
    with file.open("rb") as opened:
        start = opened.read(1024)
    if start.startswith(_RASTERS):
        return
    if b"<VRTDataset" not in start or depth == _DEEPEST:
        what = f"more than {_DEEPEST} VRTs deep" if b"<VRTDataset" in start else "neither TIFF, JPEG 2000 nor VRT"
        raise RasterError(f"{path} is a VRT that names {name[:200]!r}, which is {what}; {_TRUST}")
    _check(file, home, False, depth + 1)


def _parsed(path: Path) -> ET.Element:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError(f"longer than {_MOST_BYTES // 1_000_000} MB")
        if b"<!" in text or b"<?" in text[1:]:  # where GDAL and Python may read different names
            raise ValueError("it has comments, CDATA or a document type, which no plain mosaic needs")
        root = ET.fromstring(text)
        if root.tag.lower() != "vrtdataset":
            raise ValueError(f"its outermost element is {root.tag[:40]}")
        return root
    except (OSError, ValueError, LookupError, RecursionError, ET.ParseError) as error:
        raise RasterError(f"{path} cannot be opened as VRT ({error}); see that its ending says what it is") from error


def _domain(element: ET.Element) -> str:
    """The metadata domain of an element, where it is one that may name files; comparing is up to GDAL's case."""
    named = next((value for key, value in element.attrib.items() if key.lower() == "domain"), "")
    return "" if named.upper() in ("", "IMAGE_STRUCTURE", "COLOR_PROFILE") else named


_TRUST = "if you know where it comes from, allow it by 'trust_vrt: true' under its entry in data_catalog.yaml"
