"""Products: folders of imagery that describe themselves, known by their names. Sentinel-2's SAFE is the only one.

Bands have the sensor's code ('B8A') and common names, the first of which is the one that is listed. Text only.
"""

from __future__ import annotations

import re

BANDS: dict[str, tuple[str, ...]] = {
    "B01": ("coastal",),
    "B02": ("blue",),
    "B03": ("green",),
    "B04": ("red",),
    "B05": ("rededge1",),
    "B06": ("rededge2",),
    "B07": ("rededge3",),
    "B08": ("nir",),
    "B8A": ("nir08",),
    "B09": ("water_vapour", "nir09"),
    "B10": ("cirrus",),
    "B11": ("swir1", "swir16"),
    "B12": ("swir2", "swir22"),
}
"""Common names by code, in the order in which the metadata number the bands from 0."""
SCENE_CLASSES = "SCL"
"""Code of the layer of classes (cloud, shadow, ...) that comes with level 2A."""


def is_product(path: str) -> bool:
    """Whether a path names a Sentinel-2 product: its SAFE folder, or its MTD_MSIL1C.xml or MTD_MSIL2A.xml."""
    return re.search(r"(\.SAFE/?|(^|/)MTD_MSIL(1C|2A)\.xml)$", path, re.IGNORECASE) is not None


def listed() -> dict[str, str]:
    """Code by common name, for the bands that products of every level have."""
    return {names[0]: code for code, names in BANDS.items() if code != "B10"}


def names_of(code: str) -> tuple[str, ...]:
    """All names by which a band may be asked for, its code among them; none for '' or a layer that is no band."""
    return (*BANDS[code], code) if code in BANDS else ()
