"""Hostile input: malicious rasters, weights and specs end in a sentence, run nothing and write nowhere else."""

from __future__ import annotations

import io
import os
import pickle
import resource
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import safetensors.torch
import torch
import yaml
from hand_made_onnx import convolution, number, part, text
from model_folders import sha256
from small_jobs import SmallJob, contents, geoseg
from strategies import NORTH_UP, write

from geoseg.catalog.legend import LandClass, Legend
from geoseg.models import weights
from geoseg.process import renew

LONGEST_S = 30
BYTES = Legend("bytes", tuple(LandClass(id, f"value {id}", f"#{id:02x}8040") for id in range(255)))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A job that works."""
    made = SmallJob.write(tmp_path_factory.mktemp("good") / "job")
    assert made.run().code == 0  # what costs is imported by now
    assert geoseg("catalog", made.folder / "data_catalog.yaml").code == 0
    shutil.rmtree(made.out)
    return made


@pytest.fixture
def job(good, tmp_path):
    """A copy to do harm to."""
    renew()
    return SmallJob(shutil.copytree(good.folder, tmp_path / "job"))


def refused(job):
    """What `plan` and `run` say; neither leaves anything behind."""
    before = contents(job.folder)
    planned, ran = job.plan(), job.run()
    assert contents(job.folder) == before
    assert planned.refusal()[:60] == ran.refusal()[:60]
    return ran.refusal()


# -------------------------------------------------------------------- F15: weights made to do harm


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def zip_bomb() -> bytes:
    """Some kB that unpack to 100 MB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data.pkl", "w") as file:
        for _ in range(10):
            file.write(bytes(10_000_000))
    return packed.getvalue()


def saved(thing, **how) -> bytes:
    data = io.BytesIO()
    torch.save(thing, data, **how)
    return data.getvalue()


def with_nan(job) -> bytes:
    tensors = safetensors.torch.load_file(job.folder / "model" / "weights.safetensors")
    tensors["head.bias"][0] = float("nan")
    return safetensors.torch.save(tensors)


def header(text: bytes, size: int | None = None) -> bytes:
    return (len(text) if size is None else size).to_bytes(8, "little") + text


HARM = {
    "pickle": lambda job: pickle.dumps(Trap(job.folder / "sprung")),
    "old pickle": lambda job: pickle.dumps(Trap(job.folder / "sprung"), 0),
    "torch file": lambda job: saved({"a": Trap(job.folder / "sprung")}),
    "old torch file": lambda job: saved({"a": Trap(job.folder / "sprung")}, _use_new_zipfile_serialization=False),
    "zip bomb": lambda job: zip_bomb(),
    "1 TB header": lambda job: header(b"{}", 2**40),
    "endless nesting": lambda job: header(b"[" * 1_000_000),
    "1 TB tensor": lambda job: header(b'{"a":{"dtype":"F32","shape":[274877906944],"data_offsets":[0,1099511627776]}}'),
    "negative shape": lambda job: header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}') + bytes(4),
    "overlapping tensors": lambda job: (
        header(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        )
        + bytes(4)
    ),
    "not finite": with_nan,
    "nothing": lambda job: b"",
}


def put_weights(job, data: bytes, **card) -> None:
    """The model with these bytes for weights, and their true hash on its card."""
    model = job.folder / "model"
    (model / "weights.safetensors").write_bytes(data)
    held = yaml.safe_load((model / "card.yaml").read_text()) | card
    held["weights"]["sha256"] = sha256(model / "weights.safetensors")
    (model / "card.yaml").write_text(yaml.safe_dump(held))


@pytest.fixture
def cheap():
    """Whatever is refused costs less than a second of processor time, and little memory."""
    begin, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - begin < 1.5  # the few times that it is asked, and making the harm
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.sampled(3)
def test_hostile_weights_are_refused_at_once_and_run_nothing(job, harm, cheap):
    put_weights(job, HARM[harm](job))
    said = refused(job)
    assert "ModelError" in said
    listed = geoseg("catalog", job.folder / "data_catalog.yaml")
    assert listed.code == 2
    assert said.removeprefix("ModelError: ")[:60] in listed.out
    assert not (job.folder / "sprung").exists()


def test_weights_much_larger_than_their_network_are_refused_unread(job, cheap):
    put_weights(job, b"")
    with (job.folder / "model" / "weights.safetensors").open("wb") as file:
        file.write(header(b"{}"))
        file.truncate(weights.LARGEST - 1)  # a hole, no bytes on the disk
    planned = job.plan()
    assert "describes 10 bytes, but it has 3999999999" in planned.refusal("ModelError")


@pytest.mark.parametrize(
    "architecture",
    [
        {"name": "compact", "width": 512, "depth": 6},
        {"name": "compact", "width": 10**9, "depth": 3},
        {"name": "compact", "width": 3, "depth": 10**6},
        pytest.param(
            {"name": "smp", "arch": "Unet", "encoder": "resnet18", "decoder_channels": [10**5] * 5},
            marks=pytest.mark.slow,  # several seconds to import smp
        ),
        pytest.param({"name": "smp", "arch": "Unet", "encoder": "../../x"}, marks=pytest.mark.slow),
        {"name": "os.system"},
        {"name": ["compact"]},
        {},
    ],
)
def test_cards_that_ask_for_an_absurd_network_are_refused(job, architecture):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    put_weights(job, (job.folder / "model" / "weights.safetensors").read_bytes(), architecture=architecture)
    assert "ModelError" in refused(job)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB; smp itself takes some


@pytest.mark.parametrize(
    "card",
    [
        {"halo": 10**12},
        {"window": 10**12},
        {"stride": 10**12},
        {"normalisation": {"kind": "fixed", "mean": [0, float("nan")], "std": [1, 1]}},
        {"normalisation": {"kind": "fixed", "mean": [0, 0], "std": [1, float("inf")]}},
        {"normalisation": {"kind": "fixed", "mean": [0, 0], "std": [1, 1e-300]}},
        {"weights": {"file": "../scene.tif", "sha256": "0" * 64}},
        {"weights": {"file": "/etc/passwd", "sha256": "0" * 64}},
        {"classes": [{"id": 300, "name": "a", "colour": "#000000"}] * 3},
        {"classes": [{"id": id, "name": "a", "colour": "red"} for id in range(3)]},
        {"classes": []},
        {"bands": []},
    ],
)
@pytest.mark.sampled(3)
def test_cards_of_impossible_numbers_are_refused(job, card):
    held = yaml.safe_load((job.folder / "model" / "card.yaml").read_text()) | card
    (job.folder / "model" / "card.yaml").write_text(yaml.safe_dump(held))
    refused(job)


def test_an_onnx_file_that_names_other_files_is_refused(job):
    """External tensors are read by path, wherever that leads."""
    pytest.importorskip("onnxruntime")
    put_weights(job, b"")
    elsewhere = part(13, text(1, "location") + text(2, "/etc/passwd")) + number(14, 1)
    data = convolution(np.ones((3, 2, 1, 1)), more=elsewhere)
    (job.folder / "model" / "weights.onnx").write_bytes(data)
    held = yaml.safe_load((job.folder / "model" / "card.yaml").read_text())
    held["weights"] = {"file": "weights.onnx", "sha256": sha256(job.folder / "model" / "weights.onnx")}
    (job.folder / "model" / "card.yaml").write_text(yaml.safe_dump(held | {"architecture": {"name": "onnx"}}))
    assert "keeps tensors in other files" in refused(job)


@pytest.mark.parametrize("name", ["scene.tif", "model/weights.safetensors", "r.gpkg"])
def test_pipes_are_refused_and_not_waited_for(job, name):
    job.job(region={"file": "r.gpkg"} if name == "r.gpkg" else "imagery")
    (job.folder / name).unlink(missing_ok=True)
    os.mkfifo(job.folder / name)
    assert "is no plain file, but a folder, pipe or device" in job.plan().refusal()


# ------------------------------------------------------------------------------- F16: hostile specs


SPECS = {
    "object": "imagery: !!python/object/apply:os.mkdir [sprung]",
    "module": "imagery: !!python/module:os",
    "name": "imagery: !!python/name:os.system",
    "tuple": "imagery: !!python/tuple [1]",
    "own tag": "imagery: !geoseg x",
    "binary": "imagery: !!binary aGVsbG8=",
    "set": "imagery: !!set {scene}",
    "alias": "imagery: &a scene\nmodel: *a",
    "merge": "<<: {imagery: scene}\nmodel: tiny",
    "twice": "imagery: scene\nimagery: scene",
    "nested": "imagery: " + "[" * 100_000,
    "nested maps": "imagery: " + "{a: " * 2_000 + "1" + "}" * 2_000,
    "long number": "imagery: scene\nmodel: tiny\nmemory_per_worker: " + "9" * 10_000,
    "no day": "imagery: 2001-99-99\nmodel: tiny",
    "NUL": 'imagery: scene\nmodel: tiny\ncatalog: "a\\0b"',
    "NUL in the region": 'imagery: scene\nmodel: tiny\nregion: {file: "a\\0b"}',
    "half a character": 'imagery: scene\nmodel: tiny\ncatalog: "\\ud800"',
    "environment": "imagery: $HOME\nmodel: tiny",
    "home": "imagery: scene\nmodel: ~root",
    "model in GDAL's memory": "imagery: scene\nmodel: /vsimem/model",
    "10 MB": "imagery: scene\nmodel: tiny\n#" + "x" * 10_000_000,
}


JOBS_ONLY = ("home", "environment", "model in GDAL's memory")


@pytest.mark.parametrize("name", SPECS)
def test_hostile_specs_are_refused(job, name, monkeypatch, cheap):
    monkeypatch.chdir(job.folder)
    (job.folder / "job.yaml").write_text(SPECS[name])
    refused(job)
    assert not (job.folder / "sprung").exists()


@pytest.mark.parametrize("name", [name for name in SPECS if name not in JOBS_ONLY])
def test_hostile_catalogs_are_refused(job, name, monkeypatch, cheap):
    monkeypatch.chdir(job.folder)
    (job.folder / "data_catalog.yaml").write_text(SPECS[name])
    refused(job)
    assert geoseg("catalog", job.folder / "data_catalog.yaml").refusal()
    assert not (job.folder / "sprung").exists()


PLACES = [
    "/vsimem/out",
    "/vsizip/a.zip/out",
    "/vsis3/bucket/out",
    "/vsicurl/http://x/out",
    "a\0b",
    "file:///tmp/x",
    "http://x/out",
    "s3://bucket",
    "s3://bucket/../other",
]


@pytest.mark.parametrize("out", PLACES)
@pytest.mark.sampled(3)
def test_outputs_go_to_a_plain_folder_or_an_object_store(job, out, monkeypatch):
    monkeypatch.chdir(job.folder)
    before = contents(job.folder)
    said = geoseg("run", job.folder / "job.yaml", "--workers", "0", "--out", out)
    said.refusal("LedgerError")
    assert contents(job.folder) == before
    assert not list(Path("/").glob("vsi*"))


@pytest.mark.parametrize("place", ["blocks", "maps", "vectors", "job.json", "map.tif", "outputs.json", "map.qml"])
@pytest.mark.sampled(6)
def test_links_in_the_job_folder_lead_nowhere(job, place, tmp_path):
    """A link that someone put into the output folder; what it points at stays as it is."""
    job.job(outputs={"report": False, "quicklook": False, "vectors": ["gpkg"], "sheet_pixels": 512})
    if place == "maps":
        write(job.folder / "scene.tif", np.ones((2, 20, 600), np.uint8))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "diary.txt").write_text("mine")
    job.out.mkdir()
    (job.out / place).symlink_to(elsewhere / "diary.txt" if "." in place else elsewhere)
    said = job.run("--overwrite")
    assert contents(elsewhere) == {"diary.txt": b"mine"}
    if "." not in place:
        assert "leads out of" in said.refusal()
    else:
        assert said.code in (0, 2), said


# ----------------------------------------------------------------------------- F17: hostile rasters


def vrt(inside: str, bands: str = "", size: tuple[int, int] = (40, 50)) -> str:
    band = f'<VRTRasterBand dataType="Byte" band="{{}}">{inside}</VRTRasterBand>'
    return (
        f'<VRTDataset rasterXSize="{size[1]}" rasterYSize="{size[0]}"><SRS>EPSG:32612</SRS>'
        "<GeoTransform>300015, 30, 0, 4199985, 0, -30</GeoTransform>"
        f"{bands or band.format(1) + band.format(2)}</VRTDataset>"
    )


def source(name: str, relative: str = ' relativeToVRT="1"') -> str:
    return f"<SimpleSource><SourceFilename{relative}>{name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"


PYTHON = (
    '<VRTRasterBand dataType="Byte" band="1" subClass="VRTDerivedRasterBand">'
    "<PixelFunctionType>steal</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
    "<PixelFunctionCode>\nimport os\ndef steal(*args, **kw): os.mkdir('sprung')\n</PixelFunctionCode>"
    f"{source('scene.tif')}</VRTRasterBand>"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (vrt("", PYTHON.replace("<PixelFunctionCode>", "<![CDATA[ ]]><PixelFunctionCode>")), "CDATA"),
        (vrt("", PYTHON), "computes its pixels by a function"),
        (vrt("", PYTHON.replace("Derived", "DERIVED")), "computes its pixels by a function"),
        (vrt("<PixelFunctionType>sum</PixelFunctionType>" + source("scene.tif")), "computes"),
        (vrt("", '<VRTRasterBand subClass="VRTRawRasterBand">' + source("job.yaml") + "</VRTRasterBand>"), "computes"),
        (vrt(source("/etc/passwd", "")), "does not lie beside or below it"),
        (vrt(source("/etc/passwd")), "does not lie beside or below it"),
        (vrt(source("../outside.tif")), "does not lie beside or below it"),
        (vrt(source("scene.tif", "")), "does not lie beside or below it"),
        (vrt(source("scene.tif", ' relativeToVRT="1" relativetovrt="0"')), "does not lie beside or below it"),
        (vrt(source("link.tif")), "does not lie beside or below it"),
        (vrt(source("/vsicurl/http://127.0.0.1:9/a.tif")), "does not lie beside or below it"),
        (vrt(source("http://127.0.0.1:9/a.tif")), "does not lie beside or below it"),
        (vrt(source("vrt://scene.tif")), "does not lie beside or below it"),
        (vrt(source("MEM:::DATAPOINTER=1,PIXELS=1,LINES=1")), "does not lie beside or below it"),
        (vrt(source("job.yaml")), "neither TIFF, JPEG 2000 nor VRT"),
        (vrt(source("self.vrt")), "more than 4 VRTs deep"),
        (vrt(source("gone.tif")), "does not exist"),
        (vrt(source("../<!-- -->job/scene.tif")), "comments"),
        ('<!DOCTYPE a [<!ENTITY b "scene.tif">]>' + vrt(source("&b;")), "a document type"),
        (vrt(source("scene.tif")).replace("SimpleSource", "ArraySource"), "<ArraySource>"),
        (vrt(source("scene.tif")).replace("<VRTDataset", "<VRTDataset subClass='VRTWarpedDataset'"), "a vrtwarped"),
        (vrt(source("scene.tif") + '<Metadata domain="GEOLOCATION"/>'), "GEOLOCATION"),
        ("<a/>", "its outermost element is a"),
        ("<VRTDataset>", "no element found"),
        ("", "no element found"),
        (vrt(source("scene.tif"), size=(10**9, 10**9)), "claims 1000000000 x 1000000000 pixels"),
        (vrt(source("scene.tif"), size=(99_999_999, 99_999_999)), "blocks"),
    ],
)  # fmt: skip
@pytest.mark.sampled(2)
def test_hostile_vrts_are_refused(job, text, said, cheap, monkeypatch):
    monkeypatch.chdir(job.folder)
    shutil.copy(job.folder / "scene.tif", job.folder.parent / "outside.tif")
    (job.folder / "link.tif").symlink_to("../outside.tif")
    (job.folder / "self.vrt").write_text(text)
    job.imagery(files="self.vrt")
    assert said in refused(job)
    assert not (job.folder / "sprung").exists()


def test_a_vrt_beside_its_files_is_read_and_others_when_they_are_trusted(job):
    (job.folder / "a.vrt").write_text(vrt(source("b.vrt")))
    (job.folder / "b.vrt").write_text(vrt(source("scene.tif")))
    job.imagery(files="a.vrt")
    assert job.plan().code == 0
    shutil.copy(job.folder / "scene.tif", job.folder.parent / "outside.tif")
    (job.folder / "b.vrt").write_text(vrt(source("../outside.tif")))
    assert "allow it by 'trust_vrt: true'" in refused(job)
    job.imagery(trust_vrt=True)
    assert job.plan().code == 0
    (job.folder / "a.vrt").write_text(vrt("<PixelFunctionType>sum</PixelFunctionType>" + source("scene.tif")))
    assert "computes its pixels" in refused(job)


def test_a_vrt_under_another_name_is_refused(job):
    text = vrt(source("other.tif"))
    shutil.move(job.folder / "scene.tif", job.folder / "other.tif")
    for name in ("scene.tif", "scene.jp2", "scene"):
        (job.folder / name).write_text(text)
        job.imagery(files=name)
        assert "cannot be opened as" in refused(job)


def sparse(path, rows, cols, count=1, **how):
    profile = {"driver": "GTiff", "height": rows, "width": cols, "count": count, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(path, "w", **(profile | how), crs="EPSG:32612", transform=NORTH_UP):
        pass


TILES = {"tiled": True, "blockxsize": 256, "blockysize": 256}


@pytest.mark.parametrize(
    ("shape", "how", "said"),
    [
        ((40_000, 40_000), TILES | {"blockxsize": 32_000, "blockysize": 32_000}, "1024 MB each"),
        ((300, 100_000_016), {"bigtiff": "YES"}, "claims 300 x 100000016 pixels"),
        ((256, 256), TILES | {"count": 9_000, "interleave": "pixel"}, "590 MB each"),
        ((256, 256), TILES | {"count": 60_000, "interleave": "pixel"}, "has 60000 bands"),
    ],
    ids=["1 GB tiles", "endless rows", "9,000 bands in one tile", "60,000 bands"],
)
def test_absurd_layouts_are_refused_at_once(job, shape, how, said, cheap):
    sparse(job.folder / "scene.tif", *shape, **how)
    job.imagery(bands={"red": 1, "nir": 1})
    assert said in refused(job)


@pytest.mark.slow
def test_rasters_of_too_many_bands_are_refused(job, cheap):
    band = '<VRTRasterBand dataType="Byte" band="{}"></VRTRasterBand>'
    (job.folder / "many.vrt").write_text(vrt("", "".join(band.format(i) for i in range(1, 20_000))))
    job.imagery(files="many.vrt")
    assert "has 19999 bands; a file may have 10000 at most" in refused(job)


def test_a_claim_of_300000_by_300000_pixels_costs_only_what_is_read(job, cheap):
    sparse(job.folder / "scene.tif", 300_000, 300_000, 2, tiled=True, blockxsize=512, blockysize=512, nodata=0)
    job.job(region={"bounds": [300015, 4199000, 301000, 4199985], "crs": "EPSG:32612"})
    assert "33 x 33 pixels" in job.plan().out


@pytest.mark.parametrize("command", ["vectorize", "evaluate"])
def test_hostile_maps_are_refused_too(job, command, cheap):
    legends = ["--legend", "nlcd", "--reference-legend", "nlcd"]
    words = ["--out", job.folder / "out.gpkg"] if command == "vectorize" else [job.folder / "scene.tif", *legends]
    (job.folder / "a.vrt").write_text(vrt("", PYTHON))
    outside = f'<VRTRasterBand dataType="Byte" band="1">{source("/etc/x", "")}</VRTRasterBand>'
    (job.folder / "b.vrt").write_text(vrt("", outside))
    sparse(job.folder / "c.tif", 40_000, 40_000, tiled=True, blockxsize=32_000, blockysize=32_000)
    (job.folder / "d.tif").write_text((job.folder / "b.vrt").read_text())
    for name in ("a.vrt", "b.vrt", "c.tif", "d.tif"):
        geoseg(command, job.folder / name, *words).refusal("RasterError")
    assert not (job.folder / "out.gpkg").exists()


@pytest.mark.parametrize(
    "path", ["/vsistdin/", "/vsisparse/a.xml", "/vsimem/a.tif", "/vsisubfile/0_9,a.tif", "/vsicrypt/a"]
)
def test_gdals_own_paths_that_read_no_file_are_refused(job, path):
    job.imagery(files=path)
    assert "which is refused" in refused(job)


def test_regions_that_lead_elsewhere_are_refused(job):
    (job.folder / "r.vrt").write_text("<OGRVRTDataSource><OGRVRTLayer name='a'/></OGRVRTDataSource>")
    (job.folder / "r.gml").write_text("<gml:FeatureCollection xmlns:gml='http://www.opengis.net/gml'/>")
    shutil.copy(job.folder / "r.vrt", job.folder / "r.geojson")
    for name in ("r.vrt", "r.gml", "r.geojson"):
        job.job(region={"file": name})
        assert "is no GeoPackage, Shapefile, FlatGeobuf" in refused(job)


# ---------------------------------------------------------------------------- F14: strange but honest


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (60, 1), (3, 5), (17, 2)])
@pytest.mark.sampled(2)
def test_rasters_smaller_than_the_halo_are_mapped_whole(job, shape):
    pixels = np.random.default_rng(1).integers(1, 200, (2, *shape), np.uint8)
    write(job.folder / "scene.tif", pixels, nodata=0)
    assert job.run().code == 0
    with rasterio.open(job.out / "map.tif") as made:
        assert made.shape == shape
        assert (made.read(1) != 255).all()


def test_a_raster_without_a_valid_pixel_gives_a_map_without_one(job):
    write(job.folder / "scene.tif", np.zeros((2, 40, 50), np.uint8), nodata=0)
    assert job.run().code == 0
    with rasterio.open(job.out / "map.tif") as made:
        assert (made.read(1) == 255).all()
    assert not (job.out / "failed.geojson").exists()
    job.job(outputs={"report": False, "quicklook": True, "vectors": ["gpkg"], "confidence": True})
    assert job.run("--overwrite").code in (0, 2)


def test_one_valid_pixel_is_mapped(job):
    pixels = np.zeros((2, 40, 50), np.uint8)
    pixels[:, 23, 31] = 9
    write(job.folder / "scene.tif", pixels, nodata=0)
    job.job(outputs={"report": False, "quicklook": True, "vectors": ["gpkg"], "confidence": True})
    assert job.run().code == 0
    with rasterio.open(job.out / "map.tif") as made:
        assert np.argwhere(made.read(1) != 255).tolist() == [[23, 31]]
