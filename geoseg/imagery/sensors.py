"""Sensors: which band is which colour, told from what a file says of its bands, its name, or how many it has.

Names are the common ones: coastal, blue, green, red, rededge1, nir, swir1, ... Nothing is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_OLI = {"1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "nir", "6": "swir1", "7": "swir2"}
_TM = {"1": "blue", "2": "green", "3": "red", "4": "nir", "5": "swir1", "7": "swir2"}
_MSI = {
    **{"1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "rededge1", "6": "rededge2", "7": "rededge3"},
    **{"8": "nir", "8A": "nir08", "9": "water_vapour", "10": "cirrus", "11": "swir1", "12": "swir2"},
}
CODES: Mapping[str, Mapping[str, str]] = {"Landsat 8 or 9": _OLI, "Landsat 4 to 7": _TM, "Sentinel-2": _MSI}
"""Band numbers of a sensor, without leading zeros."""
_WORDS = {
    "blue": ("blue", "b"),
    "green": ("green", "g"),
    "red": ("red", "r"),
    "nir": ("nir", "near infrared", "near-infrared", "near_infrared", "nearinfrared", "n"),
    "coastal": ("coastal", "coastal aerosol", "coastal blue", "coastal_blue"),
    "green1": ("green i", "green_i", "green1"),
    "yellow": ("yellow",),
    "rededge": ("rededge", "red edge", "red-edge", "red_edge"),
    "swir1": ("swir1", "swir 1", "swir16", "swir_1"),
    "swir2": ("swir2", "swir 2", "swir22", "swir_2"),
}
_NAMES = {word: name for name, words in _WORDS.items() for word in words}
_SUPERDOVE = ("coastal", "blue", "green1", "green", "yellow", "red", "rededge", "nir")


@dataclass(frozen=True, slots=True)
class Named:
    """Bands of a file by name."""

    bands: Mapping[str, int]
    """Number from 1 by name."""
    source: str
    """What they were told from, as the end of 'guessed from'."""
    sensor: str = ""
    sure: bool = True
    """False where it is little more than a custom."""


def by_descriptions(descriptions: Sequence[str | None], file_name: str) -> Named | None:
    """Bands by what the file calls them: 'red', 'NIR', 'B04', 'SR_B4'.

    Parameters
    ----------
    descriptions : sequence of str or None
        One for each band.
    file_name : str
        Says which sensor 'B4' is of, where it can.
    """
    words = [" ".join((each or "").casefold().split()) for each in descriptions]
    named = {_NAMES[word]: at for at, word in reversed([*enumerate(words, 1)]) if word in _NAMES}
    if named:
        return Named(_in_order(named), "the names that the file gives its bands")
    codes = [re.fullmatch(r"(?:sr_|toa_)?b(?:and)?[ _]?0?(\d{1,2}a?)", word) for word in words]
    found = {each[1].upper(): at for at, each in reversed([*enumerate(codes, 1)]) if each}
    if not found:
        return None
    sensor = _sensor(file_name) or _sensor_of_codes(found, words)
    bands = {CODES[sensor][code]: at for code, at in found.items() if code in CODES[sensor]}
    return Named(_in_order(bands), f"the names that the file gives its bands ({sensor})", sensor) if bands else None


def by_file_name(file_name: str) -> tuple[str, str] | None:
    """(sensor, band) of a file that holds one band: Landsat's '_SR_B4', '_B4', Sentinel-2's '_B04_10m', 'B04'."""
    stem = file_name.rsplit(".", 1)[0]
    found = re.search(r"(?:^|[_\-. ])(SR_|sr_)?[Bb](?:and)?_?(\d{1,2}[Aa]?)(?:_(?:10|20|60)m)?$", stem)
    if found is None:
        return None
    code = found[2].upper()
    sentinel = code == "8A" or (len(code) == 2 and code[0] == "0") or bool(re.search(r"_(10|20|60)m$", stem))
    sensor = _sensor(file_name) or ("Sentinel-2" if sentinel else "Landsat 8 or 9")
    band = CODES[sensor].get(code.lstrip("0"))
    return None if band is None else (sensor, band)


def names_sensor(file_name: str) -> bool:
    """Whether a file's name says which sensor it is of."""
    return bool(_sensor(file_name))


def by_product(file_name: str, count: int) -> Named | None:
    """Bands of a product that is known by its file's name: PlanetScope, NAIP.

    Parameters
    ----------
    file_name : str
        Of the file.
    count : int
        Bands that it has.
    """
    if "AnalyticMS" in file_name or "analytic" in file_name.lower().split("_"):
        names = {4: ("blue", "green", "red", "nir"), 8: _SUPERDOVE}.get(count)
        if names:
            return Named(_numbered(names), f"the file's name: PlanetScope with bands 1 to {count}", "PlanetScope")
    if re.match(r"m_\d{7}_[ns][ew]_\d{1,2}_", file_name) and count == 4:
        return Named(_numbered(("red", "green", "blue", "nir")), "the file's name: NAIP", "NAIP")
    return None


def by_interpretation(kinds: Sequence[str]) -> Named | None:
    """Bands by the file's colour interpretation; a fourth band beside red, green and blue is taken for near infrared.

    Parameters
    ----------
    kinds : sequence of str
        GDAL's names, one for each band.
    """
    bands = {kind: at for at, kind in reversed([*enumerate(kinds, 1)]) if kind in ("red", "green", "blue", "nir")}
    if not {"red", "green", "blue"} <= bands.keys():
        return None
    rest = [at for at, kind in enumerate(kinds, 1) if kind == "undefined"]
    if len(kinds) == 4 and len(rest) == 1:
        bands["nir"] = rest[0]
        return Named(bands, "the file's colours; that its fourth band is near infrared is custom only", sure=False)
    return Named(_in_order(bands), "the file's colours")


def by_count(count: int, dtype: str, file_name: str) -> Named | None:
    """Bands by how many there are, which is custom only.

    Parameters
    ----------
    count : int
        Bands of the file.
    dtype : str
        Aerial images of 8 bits begin with red, products of satellites with blue.
    file_name : str
        Of the file.
    """
    sensor = _sensor(file_name)
    names: Sequence[str] | None = {3: ("red", "green", "blue")}.get(count)
    like = "red, green, blue"
    if count == 4 and dtype == "uint8" and not sensor:
        names, like = ("red", "green", "blue", "nir"), "NAIP"
    elif count == 4:
        names, like = ("blue", "green", "red", "nir"), "the 10 m bands of Sentinel-2, or PlanetScope"
    elif count == 8 and not sensor:
        names, like = _SUPERDOVE, "PlanetScope"
    elif count in (12, 13) and sensor in ("", "Sentinel-2"):
        codes = [code for code in _MSI if count == 13 or code != "10"]
        names, like = [_MSI[code] for code in codes], "Sentinel-2"
    if names is None:
        return None
    return Named(_numbered(names), f"the number of bands alone, {count}, as {like} has them", sure=False)


def _sensor(file_name: str) -> str:
    name = file_name.upper()
    for pattern, sensor in (
        (r"(^|[^A-Z])L[COET]0[89]|LANDSAT[_\- ]?[89]", "Landsat 8 or 9"),
        (r"(^|[^A-Z])L[ET]0[4-7]|LANDSAT[_\- ]?[4-7]", "Landsat 4 to 7"),
        (r"(^|[^A-Z])S2[AB]?[_\-. ]|SENTINEL-?_?2|^T\d{2}[A-Z]{3}_\d{8}T", "Sentinel-2"),
    ):
        if re.search(pattern, name):
            return sensor
    return ""


def _sensor_of_codes(codes: Mapping[str, int], words: Sequence[str]) -> str:
    padded = any(re.fullmatch(r"b0\d", word) for word in words)
    return "Sentinel-2" if padded or codes.keys() & {"8", "8A", "9", "11", "12"} else "Landsat 8 or 9"


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: at for at, name in enumerate(names, 1)}


def _in_order(bands: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(bands.items(), key=lambda item: item[1]))
