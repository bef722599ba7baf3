"""Small Sentinel-2 products: the folders, files and elements of real ones, with images of a few pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine

CODES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""In the order of the metadata's band_id."""
METRES = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), (10, 20, 60)),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12", "SCL"), (20, 60)),
    **dict.fromkeys(("B01", "B09"), (60,)),
}
"""Pixel sizes in which level 2A holds each band; B08 has 10 m alone."""
CORNER = (399_960.0, 4_200_000.0)
SIDE_M = 480
"""Of the images; a real tile's is 109,800."""
TILE = "T12SUG"
WHEN = "20230615T180919"


def pixels(code: str, metres: int, seed: int = 0) -> np.ndarray:
    """What is stored of a band: 0 in some pixels, which means no data, and numbers above 1000 elsewhere."""
    made = np.random.default_rng([seed, CODES.index(code), metres])
    side = SIDE_M // metres
    return np.where(made.random((side, side)) < 0.05, 0, made.integers(1001, 9000, (side, side))).astype(np.uint16)


def scene_classes(seed: int = 0, metres: int = 20) -> np.ndarray:
    """The layer of classes from 0 to 11."""
    side = SIDE_M // metres
    return np.random.default_rng([seed, 99, metres]).integers(0, 12, (side, side)).astype(np.uint8)


def _image(path: Path, stored: np.ndarray, metres: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(".tif")
    transform = Affine(metres, 0, CORNER[0], 0, -metres, CORNER[1])
    profile = {"driver": "GTiff", "width": stored.shape[1], "height": stored.shape[0], "count": 1}
    with rasterio.open(made, "w", **profile, dtype=stored.dtype, crs="EPSG:32612", transform=transform) as out:
        out.write(stored, 1)
    rasterio.shutil.copy(made, path, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", YCBCR420="NO")
    made.unlink()
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)


def write_product(
    folder: Path, level: str = "2A", baseline: str = "04.00", *, seed: int = 0, offset: float = -1000
) -> Path:
    """A SAFE folder; before baseline 04.00 its metadata have no offsets.

    Parameters
    ----------
    folder : Path
        In which it is made.
    level : {'2A', '1C'}
        Of processing.
    baseline : str
        Version of the processing.
    seed : int
        Of the pixels.
    offset : float
        That is stated, from 04.00 on.
    """
    number = baseline.replace(".", "")
    safe = folder / f"S2A_MSIL{level}_{WHEN}_N{number}_R084_{TILE}_{WHEN}.SAFE"
    granule = f"GRANULE/L{level}_{TILE}_A041684_{WHEN}"
    names = []
    for code in CODES:
        if level == "1C":
            metres = METRES.get(code, (60,))[0]
            names.append(f"{granule}/IMG_DATA/{TILE}_{WHEN}_{code}")
            _image(safe / f"{names[-1]}.jp2", pixels(code, metres, seed), metres)
            continue
        for metres in METRES.get(code, ()) if code != "B08" else (10,):
            names.append(f"{granule}/IMG_DATA/R{metres}m/{TILE}_{WHEN}_{code}_{metres}m")
            _image(safe / f"{names[-1]}.jp2", pixels(code, metres, seed), metres)
    if level == "2A":
        for metres in METRES["SCL"]:
            names.append(f"{granule}/IMG_DATA/R{metres}m/{TILE}_{WHEN}_SCL_{metres}m")
            _image(safe / f"{names[-1]}.jp2", scene_classes(seed, metres), metres)
        names += [f"{granule}/IMG_DATA/R10m/{TILE}_{WHEN}_{each}_10m" for each in ("AOT", "TCI", "WVP")]
    names.append(f"{granule}/IMG_DATA/{TILE}_{WHEN}_TCI")
    (safe / f"MTD_MSIL{level}.xml").write_text(_metadata(level, baseline, names[::-1], offset))
    return safe


def _metadata(level: str, baseline: str, names: list[str], offset: float) -> str:
    files = "\n".join(f"            <IMAGE_FILE>{name}</IMAGE_FILE>" for name in names)
    new = float(baseline) >= 4
    tag, around = ("BOA_ADD_OFFSET", "BOA_ADD_OFFSET_VALUES_LIST")
    quantification = (
        "<QUANTIFICATION_VALUES_LIST>\n"
        '        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>\n'
        '        <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>\n'
        '        <WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>\n'
        "      </QUANTIFICATION_VALUES_LIST>"
    )
    if level == "1C":
        tag, around = "RADIO_ADD_OFFSET", "Radiometric_Offset_List"
        quantification = '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>'
    inside = "\n".join(f'        <{tag} band_id="{number}">{offset:g}</{tag}>' for number in range(13))
    offsets = f"<{around}>\n{inside}\n      </{around}>" if new else ""
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>2023-06-15T18:09:19.024Z</PRODUCT_START_TIME>
      <PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{level}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <Product_Organisation>
        <Granule_List>
          <Granule datastripIdentifier="S2A_OPER_MSI_DS" granuleIdentifier="S2A_OPER_MSI_TL" imageFormat="JPEG2000">
{files}
          </Granule>
        </Granule_List>
      </Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      {quantification}
      {offsets}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-{level}_User_Product>
"""


def edit(safe: Path, changes: Mapping[str, str]) -> None:
    """Replace texts of the metadata."""
    file = next(safe.glob("MTD_MSIL*.xml"))
    text = file.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
