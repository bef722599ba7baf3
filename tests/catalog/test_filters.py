"""Filters: a condition selects what SQLite and GDAL say it does, and nothing but a condition is let in."""

import sqlite3

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.catalog import filters
from geoseg.errors import GridError

FIELDS = ("name", "area", "kind", "Ma\u00df e", "order")


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    """A GeoPackage with every kind of value, some of them missing."""
    path = tmp_path_factory.mktemp("filters") / "parks.gpkg"
    random = np.random.default_rng(0)
    count = 60
    table = geopandas.GeoDataFrame(
        {
            "name": random.choice(["Zion", "zion", "It's", "a%b", "\u00e9t\u00e9", None], count),
            "area": random.choice([-1.5, 0.0, 2.0, 1e6, np.nan], count),
            "kind": random.integers(-2, 3, count),
            "Ma\u00df e": random.choice(["x", "y_z", ""], count),
            "order": random.integers(0, 2, count),
        },
        geometry=[shapely.box(at, 0, at + 1, 1) for at in range(count)],
        crs="EPSG:32612",
    )
    table.to_file(path)
    return path


def selected(path, where):
    return list(pyogrio.raw.read(path, where=where, columns=[], return_fids=True)[1])


def kept(path, text):
    return selected(path, filters.read(text).sql(FIELDS, "fid"))


# ---------------------------------------------------------------------------- conditions by chance

TEXTS = st.sampled_from(["'Zion'", "'It''s'", "'a%b'", "'%i%'", "'_'", "''", "'\u00e9t\u00e9'", "'x'"])
NUMBERS = st.sampled_from(["0", "-1.5", "+2", "1e6", "2.", ".5", "-2"])
TEXT_FIELDS = st.sampled_from(["name", '"name"', "NAME", '"Ma\u00df e"'])
NUMBER_FIELDS = st.sampled_from(["area", "kind", '"order"', "fid"])
SIGNS = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])
NOT = st.sampled_from(["", "NOT ", "not "])


def comparisons(fields, values):
    several = st.lists(values, min_size=1, max_size=3).map(", ".join)
    return st.one_of(
        st.builds("{} {} {}".format, fields, SIGNS, values | fields),
        st.builds("{} {}in ({})".format, fields, NOT, several),
        st.builds("{} {}BETWEEN {} AND {}".format, fields, NOT, values, values),
        st.builds("{} IS {}NULL".format, fields, NOT),
    )


PLAIN = comparisons(TEXT_FIELDS, TEXTS) | comparisons(NUMBER_FIELDS, NUMBERS)
PLAIN |= st.builds("{} {}LIKE {}".format, TEXT_FIELDS, NOT, TEXTS)
CONDITIONS = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.builds("{} AND {}".format, inner, inner),
        st.builds("{} or\n{}".format, inner, inner),
        st.builds("({})".format, inner),
        st.builds("NOT ({})".format, inner),
        st.builds("not not {}".format, PLAIN),
    ),
    max_leaves=6,
)


@settings(max_examples=share_of(60), deadline=None)
@given(text=CONDITIONS)
def test_a_condition_selects_what_gdal_and_sqlite_select(layer, text):
    found = kept(layer, text)
    assert found == selected(layer, text)
    with sqlite3.connect(layer) as database:
        assert found == [fid for (fid,) in database.execute(f"SELECT fid FROM parks WHERE {text} ORDER BY fid")]


def test_each_form_is_understood(layer):
    assert len(kept(layer, "kind BETWEEN -2 AND 2")) == 60
    assert kept(layer, "fid IN (3, 5) OR fid = 9") == [3, 5, 9]
    assert set(kept(layer, "name IS NULL")).isdisjoint(kept(layer, "name LIKE '%'"))
    assert kept(layer, "NAME = 'Zion'") == kept(layer, "\"name\"='Zion'") == kept(layer, "( name='Zion' )")
    assert kept(layer, "NOT NOT kind = 1") == kept(layer, "kind = 1")
    assert kept(layer, 'kind = 1 OR kind = 2 AND "order" = 1') == sorted(
        {*kept(layer, "kind = 1"), *kept(layer, 'kind = 2 AND "order" = 1')}
    )


# ------------------------------------------------------------------------- what is no condition


@pytest.mark.parametrize(
    "text",
    [
        "area = 99 UNION SELECT fid, geom FROM secrets",
        "area = 99) UNION SELECT 1 --",
        "area IN (SELECT area FROM secrets)",
        "EXISTS (SELECT 1)",
        "(SELECT 1)",
        "area = (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c)",
        "area = load_extension('x')",
        "abs(area) = 1",
        "area = random()",
        "area = 1; DROP TABLE parks",
        "area = 1 -- more",
        "area = 1 /* more */",
        "area = 1 ORDER BY 1",
        "area = 1 LIMIT 1",
        "area = CASE WHEN 1 THEN 2 END",
        "CAST(area AS TEXT) = '1'",
        "area + 1 = 2",
        "area || 'x' = 'y'",
        "area = ?",
        "area = :a",
        "area = $1",
        "area = x'00'",
        "area = 0x10",
        "area = 1 COLLATE NOCASE",
        "area GLOB 'x'",
        "area REGEXP 'x'",
        "name LIKE 'a' ESCAPE 'b'",
        "name LIKE 3",
        "[area] = 1",
        "`area` = 1",
        "parks.area = 1",
        "area == 1",
        "area = 1 = 1",
        "1 = 1",
        "'a' = 'a'",
        "NULL",
        "name = NULL",
        "name IS 'a'",
        "area",
        "NOT",
        "area IN ()",
        "area IN (1",
        "area BETWEEN 1",
        "(area = 1",
        "area = 1)",
        "name = 'Zion",
        "name = Zion'",
        '"name = 1',
        '"" = 1',
        "name = 'a' 'b'",
        "name = '\\\\' OR 1=1",
        "name = 'a\0b'",
        "\0",
        "area = 1\u2003AND\u037e",
        "area = 1e9999",
        "area = " + "1" * 50,
        "",
        "   ",
    ],
)
def test_anything_else_of_sql_is_refused(text):
    with pytest.raises(GridError, match=r"the filter .* (does not work: at character \d+, |has a backslash in a text)"):
        filters.read(text)


@pytest.mark.parametrize("text", ["(" * 60 + "area = 1" + ")" * 60, "NOT (" * 60 + "area = 1" + ")" * 60])
def test_deep_and_long_filters_are_refused(text):
    with pytest.raises(GridError, match="is nested too deeply"):
        filters.read(text)
    with pytest.raises(GridError, match="the filter has 80000 characters, more than 10000"):
        filters.read("area = 1 AND " * 5000 + "area = 2" + " " * 14_992)


@given(text=st.text(alphabet=st.sampled_from("abn'\"()=<>!;-/*\\%_,. 01\0\u00e9\uff07INSELCTORU"), max_size=40))
def test_text_by_chance_is_refused_or_makes_one_condition(text):
    try:
        sql = filters.read(text).sql(("a", "b", "n"))
    except GridError:
        return
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (FID INTEGER, a, b, n)")
    seen = []
    database.set_authorizer(lambda action, *rest: seen.append((action, *rest)) or sqlite3.SQLITE_OK)
    database.execute(f"SELECT 1 FROM t WHERE {sql}")
    assert {action for action, *_ in seen} <= {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
    assert {rest[1] for action, *rest in seen if action == sqlite3.SQLITE_FUNCTION} <= {"like"}
    assert sum(action == sqlite3.SQLITE_SELECT for action, *_ in seen) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nam = 'Zion'", r"names field 'nam', which the layer lacks; did you mean 'name'\? known: name, area"),
        ('name = "Zion"', r"names field 'Zion', which the layer lacks; .*\(a text stands in single quotes\)"),
        ("UNION = 1", "names field 'UNION'"),
        ("rowid = 1", "names field 'rowid'"),
        ("sqlite_master = 1", "names field 'sqlite_master'"),
    ],
)
def test_a_field_that_is_not_there_is_named_with_the_nearest(text, said):
    with pytest.raises(GridError, match=said):
        filters.read(text).sql(FIELDS)


def test_fields_are_told_apart_by_case_where_they_differ_in_nothing_else():
    assert filters.read("a = 1 AND A = 2").sql(("a", "A")) == '( "a" = 1 AND "A" = 2 )'
    with pytest.raises(GridError, match="names field 'AB'"):
        filters.read("AB = 1").sql(("ab", "Ab"))


@pytest.mark.parametrize("name", ['a" OR 1=1 --', "a\\", "a\0"])
def test_a_field_whose_name_breaks_out_of_quotes_is_not_compared_with(name):
    asked = filters.Filter("by hand", (filters.Field(name), "= 1"))
    with pytest.raises(GridError, match="which the layer lacks"):
        asked.sql((name,))
