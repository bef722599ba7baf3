"""Project: what is promised about the repository as a whole."""

import ast
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import geoseg

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
HEAVY = {"torch", "dask", "distributed", "rasterio", "matplotlib", "geopandas"}
CONDA_NAMES = {
    "dask": "dask-core",
    "geopandas": "geopandas-base",
    "matplotlib": "matplotlib-base",
    "prometheus-client": "prometheus_client",
    "torch": "pytorch",
}
"""Where conda-forge uses another name than the Python index."""


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there are no tracked files to look at")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def loaded_by(code: str) -> set[str]:
    """Heavy packages that a fresh interpreter has loaded after running `code`."""
    code += "\nimport sys; print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return HEAVY & set(done.stdout.rpartition("LOADED")[2].split())


def seconds_of(code: str) -> float:
    """Processor time of a fresh interpreter that runs `code`, the best of three; a busy machine does not add to it."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(3))


def bounds(requirements: list[str]) -> dict[str, str]:
    return dict(re.fullmatch(r"([a-z0-9_-]+)(>=[\d.]+)?", each).groups("") for each in requirements)  # type: ignore[union-attr]


MODULES = sorted(
    path.relative_to(ROOT / "geoseg") for path in (ROOT / "geoseg").rglob("*.py") if path.name != "__init__.py"
)


def functions(path: Path) -> list[ast.FunctionDef]:
    """Public functions and methods of a module."""
    found = []
    for node in ast.parse(path.read_text("utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        found += [each for each in inner if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    # The help of a command is for the screen; typer has its parameters.
    commands = {each.name for each in found if "refusing" in {ast.unparse(d) for d in each.decorator_list}}
    return [each for each in found if not each.name.startswith("_") and each.name not in commands]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_is_short_and_has_its_test(module):
    path = ROOT / "geoseg" / module
    assert len(path.read_text("utf-8").splitlines()) <= 400
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(path.read_text("utf-8")).body):
        assert (ROOT / "tests" / module.parent / f"test_{module.name}").is_file()


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_public_functions_describe_their_parameters(module):
    bare = []
    for each in functions(ROOT / "geoseg" / module):
        arguments = [*each.args.posonlyargs, *each.args.args, *each.args.kwonlyargs]
        named = [each.arg for each in arguments if each.arg not in ("self", "cls")]
        if len(named) > 1 and "Parameters\n" not in (ast.get_docstring(each) or ""):
            bare.append(each.name)
    assert bare == []


def test_there_is_as_much_test_as_source():
    source, tests = (
        sum(len(path.read_text("utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py"))
        for folder in ("geoseg", "tests")
    )
    assert tests >= source


def test_the_fields_own_words_are_used():
    ours = re.compile(r"\b(errands?|flight|bur(?:y|ied)|condemned|barks?|desk|ear|pen|farewells?|story|rooms)\b", re.I)
    found = [
        f"{module}:{number}: {line.strip()}"
        for module in MODULES
        for number, line in enumerate((ROOT / "geoseg" / module).read_text("utf-8").splitlines(), 1)
        if ours.search(re.sub("(?i)in flight", "", line))
    ]
    assert found == []


def test_importing_geoseg_loads_no_engine():
    assert loaded_by("import geoseg") == set()


def test_importing_geoseg_takes_less_than_half_a_second():
    assert seconds_of("import geoseg") < 0.5


def test_an_editor_and_dir_know_the_public_names():
    assert set(geoseg.__all__) <= set(dir(geoseg))
    assert {name for name in geoseg.__all__ if getattr(geoseg, name) is not None} == set(geoseg.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = geoseg.nothing


@pytest.mark.slow
def test_a_job_its_plan_and_its_run_load_no_torch():
    assert "torch" not in loaded_by("import geoseg.jobs.run, geoseg.jobs.submit, geoseg.jobs.plan, geoseg.jobs.verify")
    assert not {"torch", "distributed", "matplotlib"} & loaded_by("import geoseg.jobs.run")


def test_help_loads_no_engine():
    code = "import contextlib, sys\nfrom geoseg.cli import main\nsys.argv = ['geoseg', '--help']\n"
    assert loaded_by(code + "with contextlib.suppress(SystemExit): main()") == set()


def test_help_takes_less_than_half_a_second():
    code = "import sys; from geoseg.cli import main; sys.argv = ['geoseg', '--help']; main()"
    assert seconds_of(code) < 0.5


def test_version_is_stated_once_and_the_same():
    assert geoseg.__version__ == PROJECT["project"]["version"]
    assert f"## {geoseg.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_conda_environment_equals_pyproject():
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = bounds([*project["dependencies"], *extras["demo"], *extras["dev"]])
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in wanted.items()}
    wanted["python"] = project["requires-python"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert environment["channels"] == ["conda-forge"]
    assert bounds(environment["dependencies"]) == wanted


def test_each_extra_named_in_the_readme_exists():
    assert set(PROJECT["project"]["optional-dependencies"]) == {
        *("gpu", "slurm", "kubernetes", "onnx", "cloud", "forest", "demo", "dev"),
    }


def test_lock_satisfies_pyproject_and_names_no_place():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    assert set(bounds([*project["dependencies"], *extras["demo"], *extras["dev"]])) <= pinned
    assert "://" not in lock
    assert "index-url" not in lock
    assert "--hash=sha256:" in lock


def test_tracked_files_name_no_machine_and_no_registry():
    roots = "|".join(("work", "root", "home"))
    private = re.compile(rf"(?<![\w./:*-])/(?:{roots})/\w+|--(?:extra-)?index-url|--find-links|pythonhosted\.org")
    found = []
    for path in tracked():
        if path.suffix in {".png", ".tif", ".safetensors", ".npz"} or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if private.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found


def test_top_level_holds_only_what_is_agreed():
    tops = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert tops <= {
        *("geoseg", "workflows", "tests", "docs", ".ci", "data_catalog.yaml", "pyproject.toml", "environment.yml"),
        *("README.md", "LICENSE", "CHANGELOG.md", "Makefile", "requirements.lock", ".gitignore", ".gitattributes"),
    }


@pytest.mark.slow
def test_wheel_carries_types_legends_models_and_licence(tmp_path):
    """What `pip wheel` builds; hatchling must be at hand, so it may need the network."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the build backend cannot be had here: {done.stderr.strip()[-200:]}")
    (wheel,) = tmp_path.glob("geoseg-*.whl")
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True).stdout
    shipped = [path.relative_to(ROOT).as_posix() for path in tracked() if "geoseg" in path.relative_to(ROOT).parts[:1]]
    assert "geoseg/py.typed" in listed
    assert "licenses/LICENSE" in listed
    assert [name for name in shipped if name not in listed] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("utils", "", "packages"),
        ("grid/utils", "", "inside grid"),
        ("grid/windows", "import geoseg.catalog", "packages"),
        ("grid/windows", "import geoseg.grid.grid", "inside grid"),
        ("maps/cog", "import geoseg.vectors.rings", "packages"),
        ("catalog/catalog", "import torch.nn", "torch stays"),
        ("jobs/spec", "from dask import delayed", "Dask stays"),
        ("grid/grid", "import rasterio.warp", "rasterio stays where"),
        ("grid/grid", "import pyogrio", "vector files"),
        ("jobs/outputs", "import matplotlib", "pictures"),
    ],
)
@pytest.mark.sampled(3)
def test_contracts_refuse_an_import_against_the_order(tmp_path, module, line, contract):
    shutil.copytree(ROOT / "geoseg", tmp_path / "geoseg", ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "geoseg" / f"{module}.py").open("a") as file:
        file.write(f"\n{line}\n")
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-logo", "--no-cache"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(rf"^{contract}.* BROKEN", done.stdout, re.MULTILINE)
