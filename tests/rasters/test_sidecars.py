"""Sidecars: what is read of the files beside a raster, and that nothing but a plain file is ever opened."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_files import KINDS, put_in_place

from geoseg.errors import RasterError
from geoseg.rasters import sidecars

numbers = st.floats(-1e7, 1e7, allow_subnormal=False)


def test_the_names_are_those_that_gdal_would_look_for(tmp_path: Path) -> None:
    named = [each.name for each in sidecars.names(tmp_path / "a.b.tiff")]
    assert named[:2] == ["a.b.tiff.msk", "a.b.tiff.aux.xml"]
    assert named[2:] == ["a.b.tfw", "a.b.TFW", "a.b.tiffw", "a.b.TIFFW", "a.b.wld", "a.b.WLD"]
    assert [each.name for each in sidecars.names(Path("a.jp2"))][2:4] == ["a.j2w", "a.J2W"]
    assert [each.name for each in sidecars.names(Path("a"))][2:] == ["a.wld", "a.WLD"]


@settings(max_examples=share_of(60), deadline=None)
@given(st.tuples(*[numbers] * 6), st.sampled_from(["\n", "\r\n", " ", "\n\n"]), st.booleans())
def test_a_world_file_says_where_the_middle_of_the_first_pixel_lies(
    tmp_path_factory: pytest.TempPathFactory, six: tuple[float, ...], between: str, comma: bool
) -> None:
    a, d, b, e, x, y = six
    folder = tmp_path_factory.getbasetemp()
    text = between.join(map(repr, six)) + between
    (folder / "a.tfw").write_text(text.replace(".", ",") if comma else text)
    if Affine(a, b, 0, d, e, 0).is_degenerate:
        with pytest.raises(RasterError, match=r"a\.tfw is no world file.*cannot be inverted"):
            sidecars.world(folder / "a.tif")
        return
    found = sidecars.world(folder / "a.tif")
    assert found is not None
    assert tuple(found)[:2] + tuple(found)[3:5] == (a, b, d, e)
    size = max(map(abs, six))
    assert found @ (0.5, 0.5) == pytest.approx((x, y), abs=1e-9 * max(1, size))


@pytest.mark.parametrize(
    "text", ["", "1", "1 0 0 -1 5", "1 0 0 -1 5 6 7", "1 0 0 -1 5 six", "nan 0 0 -1 5 6", "1 0 0 inf 5 6", "\xff\xfe"]
)
def test_what_is_no_world_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.tfw").write_text(text, encoding="latin-1")
    with pytest.raises(RasterError, match=r"a\.tfw is no world file, which has six numbers .*take it away"):
        sidecars.world(tmp_path / "a.tif")


def test_long_files_are_refused_before_they_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a.tfw").write_text("1 0 0 -1 5 6" + " " * 10_000)
    with pytest.raises(RasterError, match=r"a\.tfw has more than 10000 bytes"):
        sidecars.world(tmp_path / "a.tif")
    with (tmp_path / "a.tif.aux.xml").open("wb") as file:
        file.truncate(10_000_001)
    with pytest.raises(RasterError, match=r"a\.tif\.aux\.xml has more than 10000000 bytes"):
        sidecars.stated(tmp_path / "a.tif")


def test_the_xml_says_crs_transform_and_nodata_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.tif.aux.xml").write_text(
        """<PAMDataset><SRS dataAxisToSRSAxisMapping="1,2">EPSG:32612</SRS>
        <GeoTransform> 5, 1, 2, 6, 3, -4</GeoTransform>
        <Metadata><MDI key="a">b</MDI></Metadata><PAMRasterBand band="3"><NoDataValue>-9.5</NoDataValue></PAMRasterBand>
        <PAMRasterBand band="1"><Description>x</Description></PAMRasterBand></PAMDataset>"""
    )
    assert sidecars.stated(tmp_path / "a.tif") == sidecars.Stated("EPSG:32612", Affine(1, 2, 5, 3, -4, 6), {3: -9.5})
    (tmp_path / "a.tif.aux.xml").write_text("<metadata><SRS>EPSG:32612</SRS></metadata>")  # of another program
    assert sidecars.stated(tmp_path / "a.tif") == sidecars.Stated()


BOMB = '<!DOCTYPE a [<!ENTITY b "cccccccccc">' + "".join(
    f'<!ENTITY b{i} "{f"&b{i - 1 or str()};" * 10}">' for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as XML"),
        ("<PAMDataset>", "cannot be read as XML"),
        ("<" + "a><" * 100_000, "cannot be read as XML"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><PAMDataset/>', "it has a document type"),
        (BOMB + "]><PAMDataset><SRS>&b9;</SRS></PAMDataset>", "it has a document type"),
        (BOMB + "]><PAMDataset/>", "it has a document type"),
        ("<PAMDataset><GeoTransform>1, 2</GeoTransform></PAMDataset>", "cannot be understood"),
        ("<PAMDataset><GeoTransform>1, 2, 4, 1, 2, 4</GeoTransform></PAMDataset>", "cannot be inverted"),
        (
            "<PAMDataset><PAMRasterBand><NoDataValue>1</NoDataValue></PAMRasterBand></PAMDataset>",
            "cannot be understood",
        ),
        ('<PAMDataset><PAMRasterBand band="1"><NoDataValue>x</NoDataValue></PAMRasterBand></PAMDataset>', "understood"),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.sampled(3)
def test_xml_that_is_damaged_or_hostile_is_refused_at_once(tmp_path: Path, text: str, said: str, encoding: str) -> None:
    (tmp_path / "a.tif.aux.xml").write_text(text, encoding=encoding)
    begin = time.thread_time()
    with pytest.raises(RasterError, match=said):
        sidecars.stated(tmp_path / "a.tif")
    assert time.thread_time() - begin < 10  # a bomb would take hours


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_a_mask_is_a_tiff_by_its_first_bytes(tmp_path: Path, start: bytes) -> None:
    assert sidecars.mask(tmp_path / "a.tif") is None
    (tmp_path / "a.tif.msk").write_bytes(start + bytes(9))
    assert sidecars.mask(tmp_path / "a.tif") == tmp_path / "a.tif.msk"


@pytest.mark.parametrize("text", [b"", b"II*", b"<VRTDataset/>", b"\x89PNG\r\n"])
def test_a_mask_of_another_format_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.tif.msk").write_bytes(text)
    with pytest.raises(RasterError, match=r"a\.tif\.msk is no TIFF; a mask must be one"):
        sidecars.mask(tmp_path / "a.tif")


READERS = {"a.tif.msk": sidecars.mask, "a.tif.aux.xml": sidecars.stated, "a.tfw": sidecars.world}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_nothing_but_a_plain_file_is_opened(tmp_path: Path, name: str, kind: str) -> None:
    put_in_place(kind, tmp_path / name)
    if kind == "dangling":  # as if it were not there
        assert READERS[name](tmp_path / "a.tif") in (None, sidecars.Stated())
        return
    said = "no TIFF|as XML|no world file" if kind == "link" else "is no plain file, but a folder, pipe or device"
    with pytest.raises(RasterError, match=said):
        READERS[name](tmp_path / "a.tif")
