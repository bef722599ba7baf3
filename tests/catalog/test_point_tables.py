"""Point tables: CSV as people and spreadsheets write it."""

import numpy as np
import pytest

from geoseg.catalog import point_tables
from geoseg.errors import GridError, RasterError


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_commas_semicolons_tabs_and_other_ends_of_lines_are_read(tmp_path, separator, start, end):
    rows = [("id", "Longitude", " latitude", "label"), ("1", "16.5", "-48.25", ""), ("2", "-180", "90", '"a, b; c"')]
    (tmp_path / "p.csv").write_text(start + end.join(separator.join(row) for row in rows) + end, "utf-8", newline="")
    places, columns = point_tables.read(tmp_path / "p.csv")
    np.testing.assert_array_equal(places, [[16.5, -48.25], [-180, 90]])
    assert columns["label"].tolist() == ["", "a, b; c"]
    assert list(columns) == ["id", "label"]


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("id,lon,lat\n1,2,3\n", GridError, "has no column 'longitude'; a table of points has longitude and latitude"),
        ("longitude,latitude\n1,2\n1,\n", GridError, "line 3 has no longitude and latitude"),
        ("longitude,latitude\n500000,4000000\n", GridError, "line 2 has no longitude and latitude; give degrees"),
        ("longitude,latitude\nnan,0\n", GridError, "line 2 has no"),
        ("longitude,latitude\n", None, ""),
        ("", GridError, "has no column 'longitude'"),
    ],
)
def test_what_holds_no_places_is_one_sentence(tmp_path, text, error, match):
    (tmp_path / "p.csv").write_text(text)
    if error is None:
        assert point_tables.read(tmp_path / "p.csv")[0].shape == (0, 2)
        return
    with pytest.raises(error, match=match):
        point_tables.read(tmp_path / "p.csv")


def test_other_bytes_and_missing_files_are_one_sentence(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"\xff\xfe\0")
    with pytest.raises(RasterError, match="it is no text in UTF-8"):
        point_tables.read(tmp_path / "p.csv")
    with pytest.raises(RasterError, match=r"gone\.csv cannot be read: No such file"):
        point_tables.read(tmp_path / "gone.csv")
