"""Cases of the fuzzers: a job is disturbed as a seed says, real commands are run, and the law is checked.

The law: a command ends with exit status 0, 2 or 3 and without a traceback; a refusal is one sentence; nothing outside
the job's folder is touched; and where the exit status is 0, the outputs are, byte for byte, those of a run of the same
job that nobody disturbed. Going on, if need be with --overwrite, leads there from everywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import shapely
import typer
import yaml
from fuzz import mutations
from hand_made_onnx import convolution
from odd_files import put_in_place
from small_jobs import Answer, SmallJob, contents, geoseg
from strategies import NORTH_UP, write
from typer import testing

from geoseg.catalog import stac
from geoseg.catalog.card import read_model
from geoseg.cli.screen import refusing, report
from geoseg.jobs import resolve
from geoseg.jobs import run as job_run
from geoseg.jobs import spec as job_spec
from geoseg.process import renew

STATE = ("blocks/", "log/", "roll/", "job.json", "status.json", "outputs.json", "job.lock", "cancel")
"""Files by which a job keeps its state; all else in its folder is output."""
ODD = ("folder", "pipe", "dangling", "zeros")
HINT = "legends, crosswalks and models that geoseg ships: geoseg catalog --all\n"
"""What `geoseg catalog` says beside its refusal."""
SIDECARS = (".aux.xml", ".msk", ".ovr", ".tfw", ".wld", ".prj", ".rpb", ".imd")
CLASSES = [{"id": i, "name": f"kind {i}", "colour": f"#{i:02x}5090"} for i in (1, 2, 3)]
VRT = """<VRTDataset rasterXSize="50" rasterYSize="40"><SRS>EPSG:32612</SRS>
<GeoTransform>300015, 30, 0, 4199985, 0, -30</GeoTransform>{}</VRTDataset>"""
BAND = """<VRTRasterBand dataType="Byte" band="{0}"><NoDataValue>0</NoDataValue><SimpleSource>
<SourceFilename relativeToVRT="1">scene.tif</SourceFilename><SourceBand>{0}</SourceBand>
<SrcRect xOff="0" yOff="0" xSize="50" ySize="40"/><DstRect xOff="0" yOff="0" xSize="50" ySize="40"/>
</SimpleSource></VRTRasterBand>"""


@dataclass(slots=True)
class Bench:
    """A job with nearly every output in a place of its own, brought back to what it was for each case."""

    job: SmallJob
    copies: dict[str, Path]
    """The folder as it was 'new', with a run 'half' done, and 'finished'."""
    wanted: dict[str, bytes]
    """Outputs of a run that nobody disturbed."""
    before: Callable[[str], None] = lambda _: None
    """Told of each command before it runs."""
    said: list[str] = field(default_factory=list)
    """What was done in this case."""

    @classmethod
    def at(cls, folder: Path) -> Bench:
        """Set it up in an empty folder."""
        job = _job(folder / "job")
        copies = {name: folder / name for name in ("new", "half", "finished")}
        shutil.copytree(job.folder, copies["new"])
        try:
            _run(job, mapper=_half)
        except KeyboardInterrupt:
            shutil.copytree(job.folder, copies["half"])
        answer = job.run()
        assert answer.code == 0, answer
        shutil.copytree(job.folder, copies["finished"])
        return cls(job, copies, outputs_of(job.out))

    def fresh(self, state: str) -> SmallJob:
        """The job in one of its states."""
        shutil.rmtree(self.job.folder)
        shutil.copytree(self.copies[state], self.job.folder)
        self.said[:] = [state]
        return self.job

    def command(self, *words: object, failing: bool = False) -> Answer:
        """Run a command by the law; exit status 3 only where blocks may fail."""
        return self.lawful(" ".join(map(str, words)), lambda: geoseg(*words), failing=failing)

    def lawful(self, what: str, call: Callable[[], Answer], *, failing: bool) -> Answer:
        """The answer of a command, which is by the law."""
        self.before(f"{'; '.join(self.said)}; {what}")
        outside = _outside(self.job)
        answer = call()
        self.said.append(f"{what.replace(str(self.job.folder), '')} -> {answer.code}")
        assert answer.code in ((0, 2, 3) if failing else (0, 2)), answer
        assert "Traceback" not in answer.out + answer.err, answer
        if answer.code == 2:
            replace(answer, err=answer.err.replace(HINT, "")).refusal(r"\w+Error")
        assert _outside(self.job) == outside, "files outside the job's folder were touched"
        return answer

    def run(self, *options: object, failing: bool = False) -> Answer:
        """`geoseg run`."""
        words = "run", self.job.folder / "job.yaml", "--workers", "0", "--out", self.job.out, *options
        return self.command(*words, failing=failing)

    def looked_at(self) -> None:
        """What only looks at a job's folder answers by the law, too."""
        self.command("status", self.job.out)
        self.command("logs", self.job.out)

    def check_outputs(self, wanted: dict[str, bytes]) -> None:
        """The outputs in the job's folder are the wanted ones."""
        found = outputs_of(self.job.out)
        assert sorted(found) == sorted(wanted)
        assert [name for name in wanted if found[name] != wanted[name]] == []

    def recovered(self) -> None:
        """Running again leads to the outputs of a run that nobody disturbed."""
        _tidied(self.job.out)
        if self.run().code != 0 and self.run("--overwrite").code != 0:
            raise AssertionError("the folder cannot be used again")
        self.check_outputs(self.wanted)


# ----------------------------------------------------------------------------------------- the cases


def state_between_runs(bench: Bench, dice: Random) -> None:
    """Bits of state files flip, or files are cut off, mixed up, or are no files, between two runs."""
    job = bench.fresh(dice.choice(("half", "finished")))
    for _ in range(dice.choice((1, 1, 2, 4))):
        bench.said.append(harm(job.out, dice))
    bench.looked_at()
    if bench.run().code == 0:
        bench.check_outputs(bench.wanted)
    bench.recovered()


def state_during_a_run(bench: Bench, dice: Random) -> None:
    """The same at any moment of a run at which Python touches a file of the job's folder."""
    job = bench.fresh(dice.choice(("new", "half", "finished")))
    moment, times = dice.randrange(1, dice.choice((40, 250, 600))), dice.choice((1, 1, 2, 5))

    def disturb() -> None:
        bench.said.append(f"before touch {moment}: {[harm(job.out, dice) for _ in range(times)]}")

    def run() -> Answer:
        with Disturbed(job.out, moment, disturb):
            return refused(lambda: _run(job))

    if bench.lawful("run", run, failing=False).code == 0:
        bench.check_outputs(bench.wanted)
    bench.looked_at()
    bench.recovered()


def foreign_state(bench: Bench, dice: Random) -> None:
    """State files with other values, or that are other JSON altogether."""
    job = bench.fresh(dice.choice(("half", "finished")))
    name = dice.choice([each for each in _state(job.out) if each.endswith(("json", "jsonl"))])
    data = mutations.json_text((job.out / name).read_bytes(), dice)
    (job.out / name).write_bytes(data)
    bench.said.append(f"{name}: {data[:300]!r}")
    bench.looked_at()
    again = bench.command("resume", job.out, "--workers", "0") if dice.random() < 0.5 else bench.run()
    if again.code == 0:
        bench.check_outputs(bench.wanted)
    bench.recovered()


def imagery(bench: Bench, dice: Random) -> None:
    """Damaged imagery and references, and anything beside them."""
    job = bench.fresh("finished")
    renew()
    name = dice.choice(("scene.tif", "scene.tif", "scene.vrt", "truth.tif", "area.geojson"))
    if name == "scene.vrt":
        job.imagery(files=name)
    if dice.random() < 0.5:
        path = job.folder / name
        path.write_bytes(mutations.damaged(path.read_bytes(), dice))
        bench.said.append(f"{name} damaged")
    else:
        bench.said.append(beside(job.folder / name, dice))
    same(bench)


def specs(bench: Bench, dice: Random) -> None:
    """Specs with other values of any kind."""
    job = bench.fresh("finished")
    renew()
    name = dice.choice(("job.yaml", "data_catalog.yaml", "model/card.yaml"))
    data = mutations.yaml_text(yaml.safe_load((job.folder / name).read_text()), dice)
    (job.folder / name).write_bytes(data)
    bench.said.append(f"{name}: {data!r}")
    bench.command("plan", job.folder / "job.yaml", "--no-probe")
    bench.command("catalog", job.folder / "data_catalog.yaml")
    same(bench)


def items(bench: Bench, dice: Random) -> None:
    """STAC items of models with other values, and items of cards with others: what is imported is a model that runs."""
    job = bench.fresh("new")
    renew()
    folder, item, made = job.folder / "model", job.folder / "model" / "item.json", job.out / "imported"
    job.out.mkdir()
    if dice.random() < 0.3:
        data = mutations.yaml_text(yaml.safe_load((folder / "card.yaml").read_text()), dice)
        (folder / "card.yaml").write_bytes(data)
        bench.said.append(f"card.yaml: {data!r}")
        item = job.out / "item.json"
        if bench.command("models", "export-stac", folder, "--out", item).code == 2:
            return
    else:
        data = mutations.json_text(json.dumps(_item(folder, dice)).encode(), dice)
        item.write_bytes(data)
        bench.said.append(f"item.json: {data!r}")
    more = ("--weights", folder / "weights.safetensors") if item.parent != folder or dice.random() < 0.3 else ()
    if bench.command("models", "import", item, "--out", made, *more).code == 0:
        assert bench.command("models", "show", made).code == 0
        assert bench.command("models", "export-stac", made, "--out", made / "item.json").code == 0
        assert bench.command("models", "import", made / "item.json", "--out", job.out / "again").code == 0
        one, other = ((each / "card.yaml").read_text() for each in (made, job.out / "again"))
        assert one.lower() == other.lower()  # colours may come back in capitals


KINDS: tuple[Callable[[Bench, Random], None], ...] = (
    state_between_runs,
    state_during_a_run,
    foreign_state,
    imagery,
    specs,
    items,
)


def case(bench: Bench, seed: int) -> None:
    """One case; its seed says of which kind it is, and all the rest."""
    KINDS[seed % len(KINDS)](bench, Random(seed))


def same(bench: Bench) -> None:
    """Running over what an earlier job left gives what running into an empty folder gives."""
    found = bench.run(failing=True)
    if found.code == 2 and "another job" in found.err:
        found = bench.run("--overwrite", failing=True)
    if found.code == 2:
        return
    over = outputs_of(bench.job.out)
    shutil.rmtree(bench.job.out)
    assert bench.run(failing=True).code == found.code
    if found.code == 0:
        bench.check_outputs(over)


# ---------------------------------------------------------------------------------------- the disturbing


def harm(out: Path, dice: Random) -> str:
    """Disturb one state file of a job folder; says what was done."""
    names = _state(out)
    if not names:
        return "nothing there"
    blocks, others = ([each for each in names if (".tif" in each) is tif] for tif in (True, False))
    name = dice.choice(blocks if blocks and dice.random() < 0.5 else others or names)
    path, facts = out / name, (out / name).stat()
    match dice.randrange(10):
        case 0:
            path.unlink()
            return f"{name} removed"
        case 1:
            other = out / dice.choice(names)
            data, others = path.read_bytes(), other.read_bytes()
            path.write_bytes(others), other.write_bytes(data)  # type: ignore[func-returns-value]
            return f"{name} and {other.name} exchanged"
        case 2:
            kind = dice.choice(ODD)
            path.unlink()
            put_in_place(kind, path)
            return f"{name} is a {kind}"
    path.write_bytes(mutations.damaged(path.read_bytes(), dice))
    if dice.random() < 0.3:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return f"{name} damaged"


def beside(path: Path, dice: Random) -> str:
    """Put something beside a raster under a name that GDAL knows."""
    ending = dice.choice(SIDECARS)
    sidecar = path.with_name(path.name + ending) if len(ending) > 4 or dice.random() < 0.5 else path.with_suffix(ending)
    folder = path.parent
    match dice.randrange(7):
        case 0:
            put_in_place(kind := dice.choice(ODD), sidecar)
            return f"{sidecar.name} is a {kind}"
        case 1:
            sidecar.write_bytes(dice.randbytes(200))
        case 2:
            sidecar.write_text(VRT.format(BAND.format(1)))
        case 3:
            sidecar.write_bytes(mutations.damaged((folder / "scene.tif").read_bytes(), dice))
        case 4:
            numbers = [str(dice.choice(mutations.NUMBERS)) for _ in range(6)]
            sidecar.write_text("\n".join(numbers))
        case 5:
            sidecar.write_text("<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>0,1,0,0,0,1</GeoTransform></PAMDataset>")
        case 6:
            mask = np.full((1, 40, 50), 255, np.uint8)
            mask[:, : dice.randrange(40)] = 0
            write(sidecar.with_suffix(".tif"), mask)
            sidecar.with_suffix(".tif").rename(sidecar)
            return f"{sidecar.name} is a mask"
    return f"{sidecar.name}: {sidecar.read_bytes()[:100]!r}"


class Disturbed:
    """Calls a function once, before Python touches a file below a folder for the n-th time."""

    _now: Disturbed | None = None
    _hooked = False

    def __init__(self, folder: Path, at: int, disturb: Callable[[], None]) -> None:
        self._inside, self._left, self._disturb = str(folder) + os.sep, at, disturb

    def __enter__(self) -> None:
        if not Disturbed._hooked:
            sys.addaudithook(Disturbed._hear)
            Disturbed._hooked = True
        Disturbed._now = self

    def __exit__(self, *_: object) -> None:
        Disturbed._now = None

    @staticmethod
    def _hear(event: str, args: tuple[object, ...]) -> None:
        now = Disturbed._now
        if now is None or event not in ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.scandir"):
            return
        if isinstance(args[0], str | os.PathLike) and os.fspath(args[0]).startswith(now._inside):
            now._left -= 1
            if now._left == 0:
                Disturbed._now = None  # what it does itself does not count
                now._disturb()


# ------------------------------------------------------------------------------------------ the running


def refused(run: Callable[[], job_run.Summary]) -> Answer:
    """What a command that runs a job in this way would say."""
    app = typer.Typer()

    @app.command()
    @refusing
    def run_it() -> None:
        report(run())

    before = signal.getsignal(signal.SIGTERM)
    found = testing.CliRunner(env={"COLUMNS": "1000"}).invoke(app, [], catch_exceptions=False)
    signal.signal(signal.SIGTERM, before)
    return Answer(found.exit_code, found.stdout, found.stderr)


def outputs_of(folder: Path) -> dict[str, bytes]:
    """Every output in a job folder."""
    return {name: data for name, data in contents(folder).items() if not name.startswith(STATE)}


def _run(job: SmallJob, **how: Any) -> job_run.Summary:
    return job_run.run(resolve.resolve(job_spec.read(job.folder / "job.yaml")), job.out, **how)


def _half(function: Any, items: Any) -> Any:
    for number, item in enumerate(items):
        if number == 3:
            raise KeyboardInterrupt
        yield function(item)


def _state(out: Path) -> list[str]:
    """Names of the plain files of a job's state."""
    names = (str(each.relative_to(out)) for each in sorted(out.rglob("*")) if each.is_file() and not each.is_symlink())
    return [name for name in names if name.startswith(STATE) and "/." not in name]


def _tidied(out: Path) -> None:
    """What a user is asked to do: take away what is no file, and wait until a lock is stale."""
    for path in out.rglob("*"):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            path.unlink()
        elif path.is_dir() and path.name not in ("blocks", "log", "roll", "vectors"):
            path.rmdir()
    if (out / "job.lock").exists():
        os.utime(out / "job.lock", (1, 1))


def _outside(job: SmallJob) -> dict[str, tuple[int, int]]:
    """Everything beside the job folder, and when it changed."""
    found = {}
    for path in sorted(job.folder.parent.iterdir()) + sorted(job.folder.rglob("*")):
        if path != job.folder and not path.is_relative_to(job.out):
            facts = path.lstat()
            found[str(path)] = (facts.st_size, facts.st_mtime_ns)
    return found


def _item(folder: Path, dice: Random) -> dict[str, Any]:
    """An item of geoseg's for the model of a folder, or one of another maker for a graph beside it."""
    card = read_model(folder).card
    item = stac.item_of(card, card.weights.file, (folder / card.weights.file).stat().st_size)
    if dice.random() < 0.5:
        del item["properties"]["geoseg:card"]
        weight = np.random.default_rng(0).normal(size=(len(card.classes), len(card.bands), 3, 3))
        (folder / "network.onnx").write_bytes(convolution(weight.astype("float32")))
        asset = item["assets"]["model"]
        del asset["file:checksum"]
        asset["href"] = "network.onnx"
    return item


def _job(folder: Path) -> SmallJob:
    job = SmallJob.write(folder, None, (40, 50))
    write(folder / "truth.tif", np.random.default_rng(1).integers(0, 4, (1, 40, 50), np.uint8), nodata=0)
    (folder / "scene.vrt").write_text(VRT.format("".join(map(BAND.format, (1, 2)))))
    box = shapely.box(NORTH_UP.c + 60, NORTH_UP.f - 1100, NORTH_UP.c + 1300, NORTH_UP.f - 40)
    crs = '{"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32612"}}'
    feature = f'{{"type": "Feature", "properties": {{"kind": "a"}}, "geometry": {shapely.to_geojson(box)}}}'
    (folder / "area.geojson").write_text(f'{{"type": "FeatureCollection", "crs": {crs}, "features": [{feature}]}}')
    catalog = job.load("data_catalog.yaml") | {
        "references": {"truth": {"file": "truth.tif", "legend": "kinds"}},
        "legends": {"kinds": {"classes": CLASSES}},
        "crosswalks": {"forth": {"from": "kinds", "to": "three", "classes": {1: 3, 2: 7, 3: 200}}},
        "regions": {"area": {"file": "area.geojson", "where": "kind = 'a'"}},
    }
    job.save("data_catalog.yaml", catalog)
    outputs = {"report": False, "confidence": True, "vectors": ["shp", "fgb"], "quicklook": False}
    job.job(region="area", reference="truth", outputs=outputs, inference={"window": 16, "block": 16})
    return job
