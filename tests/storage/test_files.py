"""Files: whole or not there, of one writer, plain, and open to whom the umask lets in."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_files import KINDS, put_in_place

from geoseg.errors import LedgerError
from geoseg.storage import files
from geoseg.storage.files import UNFINISHED
from geoseg.storage.store import patiently


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "file"


def left(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


# ----------------------------------------------------------------------------------------------- content


@given(data=st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_the_last_bytes_that_went_in_come_back(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("files") / "file"
    for each in data:
        files.put(path, each)
    assert files.get(path) == data[-1]
    assert left(path) == ["file"]


@pytest.mark.slow
def test_one_of_many_processes_creates_and_one_swaps(path):
    script = (
        "import sys, time; from pathlib import Path; from geoseg.storage import files\n"
        "path, me, start = Path(sys.argv[1]), sys.argv[2].encode(), float(sys.argv[3])\n"
        "time.sleep(max(0, start - time.time()))\n"
        "print(files.create(path, b'first'), end=' ')\n"
        "time.sleep(max(0, start + 0.3 - time.time()))\n"
        "print(files.swap(path, b'first', me))\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    start = time.time() + 1.0
    many = [subprocess.Popen([*command, str(at), str(start)], stdout=subprocess.PIPE, text=True) for at in range(4)]
    answers = [process.communicate()[0].split() for process in many]
    created, swapped = zip(*answers)
    assert sorted(created) == ["False"] * 3 + ["True"]
    assert sorted(swapped) == ["False"] * 3 + ["True"]
    assert files.get(path) == str(swapped.index("True")).encode()
    assert left(path) == ["file"]


def test_of_many_threads_that_swap_one_succeeds(path):
    for _ in range(20):
        files.put(path, b"old")
        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(lambda at: files.swap(path, b"old", b"new %d" % at), range(6))) <= 1
        assert files.get(path) == b"old" or files.get(path).startswith(b"new")
    assert left(path) == ["file"]


def test_where_nothing_stands_nothing_is_swapped_or_renewed(path):
    assert not files.swap(path, b"", b"new")
    assert not files.renew(path, b"")
    with pytest.raises(FileNotFoundError):
        files.get(path)
    assert files.stamp(path) is None
    assert files.age(path) is None
    files.drop(path)
    assert list(files.listing(path.parent)) == []


def test_a_renewed_file_is_young_and_its_bytes_are_as_they_were(path):
    files.put(path, b"mine")
    os.utime(path, (0, 0))
    assert files.age(path) > 1e9
    assert files.renew(path, b"mine")
    assert 0 <= files.age(path) < 60
    assert not files.renew(path, b"another's")


def test_the_age_of_a_file_is_by_the_clock_of_its_file_system(path, monkeypatch):
    files.put(path, b"")
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a machine whose clock is wrong
    assert 0 <= files.age(path) < 60
    assert left(path) == ["file"]


def test_without_hard_links_one_creator_succeeds_all_the_same(path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda at: files.create(path, b"%d" % at), range(8))) == 1
    assert files.get(path) in {b"%d" % at for at in range(8)}
    assert left(path) == ["file"]


# ------------------------------------------------------------------------------------------- permissions


@pytest.fixture
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002], indirect=True)
@pytest.mark.parametrize("how", ["put", "put again", "create", "swap", "no hard links"])
def test_the_umask_says_who_may_read(path, umask, how, monkeypatch):
    if how == "no hard links":
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EPERM, "no links")))
    match how:
        case "create" | "no hard links":
            assert files.create(path, b"1")
        case _:
            files.put(path, b"1")
    if how == "put again":
        path.chmod(0o600)
        files.put(path, b"2")
    if how == "swap":
        path.chmod(0o600)
        assert files.swap(path, b"1", b"2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o777 & ~umask


# --------------------------------------------------------------------------------------- no plain files


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_and_never_waited_for(path, kind):
    put_in_place(kind, path)
    for do in (files.get, lambda path: files.swap(path, b"", b""), lambda path: files.renew(path, b"")):
        begin = time.monotonic()
        with pytest.raises(
            LedgerError, match=rf"file is a {KINDS[kind]} and no plain file; remove it, and run the same"
        ):
            do(path)
        assert time.monotonic() - begin < 5.0
    assert files.stamp(path) is None
    assert files.age(path) is None
    assert path.name not in set(files.listing(path.parent))
    assert files.create(path, b"new") is False


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_replaced_or_refused_in_one_sentence(path, kind):
    put_in_place(kind, path)
    if kind == "folder":
        with pytest.raises(LedgerError, match="file cannot be written: a folder has its name; move that elsewhere"):
            files.put(path, b"new")
        with pytest.raises(LedgerError, match="file cannot be removed"):
            files.drop(path)
        return
    files.put(path, b"new")
    assert files.get(path) == b"new"
    assert stat.S_ISREG(path.lstat().st_mode)
    if kind == "link":
        assert path.with_name("other").read_bytes() == b"old"


def test_a_device_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="/dev/null is a device and no plain file"):
        files.get(Path("/dev/null"))


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LedgerError, match=r"file/in it cannot be read \(Not a directory\)"):
        files.get(tmp_path / "file" / "in it")
    with pytest.raises(LedgerError, match=r"file/in it cannot be written: .*file is no folder; move that elsewhere"):
        files.put(tmp_path / "file" / "in it", b"")
    with pytest.raises(LedgerError, match=r"file/in it cannot be written: .*file is no folder; move that elsewhere"):
        files.create(tmp_path / "file" / "in it", b"")
    assert files.stamp(tmp_path / "file" / "in it") is None
    files.drop(tmp_path / "file" / "in it")


@pytest.fixture
def own(tmp_path: Path):
    """A folder of a user who may not do everything, as root may."""
    if os.geteuid():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    yield folder
    os.seteuid(0)
    shutil.rmtree(folder)


def test_a_file_that_may_not_be_read_is_named(own):
    path = own / "file"
    files.put(path, b"")
    path.chmod(0)
    with pytest.raises(LedgerError, match=r"file cannot be read \(Permission denied\); check the folder"):
        files.get(path)


# ------------------------------------------------------------------------------------ crashes, full disks

CRASHING = """
import os, sys
from pathlib import Path
from geoseg.storage import files

path, do, at = Path(sys.argv[1]), sys.argv[2], 0
steps = {"os.rename", "os.link", "os.remove", "os.mkdir", "open", "fsync"}
fsync = os.fsync

def synced(handle):
    sys.audit("fsync")
    fsync(handle)

def crash(event, args):
    global at
    if event in steps and armed:
        at -= 1
        if at < 0:
            os._exit(9)

os.fsync, armed, crashes = synced, False, 0
sys.addaudithook(crash)
while True:
    folder = path / str(crashes)
    if do != "create":
        files.put(folder / "file", b"old")
    if not (child := os.fork()):
        at, armed = crashes, True
        done = {
            "put": lambda: files.put(folder / "file", b"new"),
            "create": lambda: files.create(folder / "file", b"new"),
            "swap": lambda: files.swap(folder / "file", b"old", b"new"),
        }[do]()
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 9:
        break
    crashes += 1
print(crashes)
"""


@pytest.mark.parametrize(("do", "least"), [("put", 5), ("create", 6), ("swap", 9)])
def test_a_crash_between_any_two_steps_leaves_a_whole_file(tmp_path, do, least):
    done = subprocess.run([sys.executable, "-c", CRASHING, tmp_path, do], capture_output=True, text=True, check=True)
    crashes = int(done.stdout)
    assert crashes >= least
    seen = set()
    for at in range(crashes + 1):
        folder = tmp_path / str(at)
        seen.add(files.get(folder / "file") if files.stamp(folder / "file") else None)
        others = {each for each in files.listing(folder) if each != "file"}
        assert all(each.startswith(UNFINISHED) for each in others)
        files.sweep(folder, time.time() + 60)
        assert set(files.listing(folder)) <= {"file"}
    assert seen <= {"put": {b"old", b"new"}, "create": {None, b"new"}, "swap": {b"old", None, b"new"}}[do]
    assert b"new" in seen


def test_only_old_unfinished_things_are_swept(tmp_path):
    for name in ("kept", f"{UNFINISHED}old", f"{UNFINISHED}young", f"blocks/{UNFINISHED}old"):
        files.put(tmp_path / name, b"")
        if name.endswith("old"):
            os.utime(tmp_path / name, (0, 0))
    (tmp_path / f"{UNFINISHED}folder").mkdir()
    (tmp_path / f"{UNFINISHED}folder" / "in it").touch()
    os.utime(tmp_path / f"{UNFINISHED}folder", (0, 0))
    files.sweep(tmp_path, time.time() - 60)
    assert {each.name for each in tmp_path.rglob("*")} == {"kept", f"{UNFINISHED}young", "blocks"}


@pytest.mark.parametrize("off_s", [-7200.0, 7200.0])
def test_what_is_in_use_is_not_swept_though_the_clock_here_is_wrong(tmp_path, monkeypatch, off_s):
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + off_s)
    files.put(tmp_path / f"{UNFINISHED}old", b"")
    os.utime(tmp_path / f"{UNFINISHED}old", (clock() - 60, clock() - 60))
    begin = time.time() - 30
    files.put(tmp_path / f"{UNFINISHED}young", b"")
    files.sweep(tmp_path, begin)
    assert list(files.listing(tmp_path)) == [f"{UNFINISHED}young"]


@pytest.fixture
def small_files():
    """No file may grow beyond 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("do", ["put", "create", "swap"])
def test_a_full_disk_leaves_no_part_of_a_file(path, do, small_files):
    if do != "create":
        files.put(path, b"old")
    acts = {
        "put": lambda: files.put(path, bytes(5000)),
        "create": lambda: files.create(path, bytes(5000)),
        "swap": lambda: files.swap(path, b"old", bytes(5000)),
    }
    with pytest.raises(LedgerError, match=r"no space left to write .*/file; what was finished is kept"):
        acts[do]()
    if do == "create":
        assert left(path) == []
    else:
        assert left(path) == ["file"]
        assert files.get(path) == b"old"


def test_a_folder_that_may_not_be_written_is_named(own):
    path = own / "deep" / "file"
    files.put(path, b"old")
    path.parent.chmod(0o500)
    try:
        for do in (files.put, files.create, lambda path, new: files.swap(path, b"old", new)):
            with pytest.raises(LedgerError, match=r"file cannot be written \(Permission denied\); check the folder"):
                do(path, b"new")
        with pytest.raises(LedgerError, match="file cannot be removed"):
            files.drop(path)
        assert 0 <= files.age(path) < 60
    finally:
        path.parent.chmod(0o700)
    assert files.get(path) == b"old"


def test_a_folder_that_may_not_be_looked_into_is_named(own):
    path = own / "deep" / "file"
    files.put(path, b"old")
    path.parent.chmod(0)
    try:
        for do in (files.get, files.stamp, files.age, lambda path: files.swap(path, b"", b"")):
            with pytest.raises(LedgerError, match=r"deep/file cannot be read \(Permission denied\); check the folder"):
                do(path)
        with pytest.raises(LedgerError, match=r"deep cannot be read \(Permission denied\); check the folder"):
            list(files.listing(path.parent))
    finally:
        path.parent.chmod(0o700)


def test_a_stale_handle_of_a_file_server_is_waited_for(path, monkeypatch):
    files.put(path, b"1")
    real, answers = os.open, iter([True, True])

    def stale(name, *rest, **more):
        if name == str(path) and next(answers, False):
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(name, *rest, **more)

    monkeypatch.setattr(os, "open", lambda name, *rest, **more: stale(os.fspath(name), *rest, **more))
    assert patiently(lambda: files.get(path)) == b"1"


def test_what_a_killed_process_left_beside_a_file_goes_and_what_a_living_one_holds_stays(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom geoseg.storage.files import folder_beside\n"
        "with folder_beside(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'part').touch()\n    print(folder, flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "sub" / "out.gpkg")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            theirs = Path(other.stdout.readline().strip())
            with files.folder_beside(tmp_path / "sub" / "out.gpkg") as mine:
                assert (theirs / "part").exists()
            assert not mine.exists()
        finally:
            other.kill()
    assert theirs.exists()
    with files.folder_beside(tmp_path / "sub" / "other.gpkg"):
        assert theirs.exists()
    with files.folder_beside(tmp_path / "sub" / "out.gpkg") as mine:
        assert list((tmp_path / "sub").iterdir()) == [mine]
