"""Objects: what an S3 server on loopback says of them, on good days and bad ones."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from s3_server import BUCKET, S3Server, serving

from geoseg import process
from geoseg.errors import LedgerError
from geoseg.storage import s3


@pytest.fixture(scope="module")
def running():
    with serving() as server:
        yield server


@pytest.fixture
def server(running: S3Server):
    running.requests.clear()
    yield running
    running.behave()


@pytest.fixture
def url(server: S3Server) -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/object"


@pytest.fixture
def afresh(monkeypatch):
    """A client that reads the environment anew, here and afterwards."""
    process.renew()
    yield monkeypatch
    monkeypatch.undo()
    process.renew()


def test_an_object_is_known_by_the_tag_that_its_writer_got(url):
    tag = s3.put(url, b"1")
    assert s3.stamp(url) == [1, tag]
    assert s3.put(url, b"2") != tag
    assert s3.get(url) == b"2"
    assert list(s3.listing(url.rpartition("/")[0])) == [("object", s3.stamp(url)[1])]
    s3.drop(url)
    s3.drop(url)
    assert s3.stamp(url) is None
    assert s3.age(url) is None
    with pytest.raises(FileNotFoundError):
        s3.get(url)


@pytest.mark.parametrize("name", ["with space", "ü", "a%20b", "a~b", "a&b=c", "a+b", "{x}", "'quoted'", ".hidden"])
def test_names_are_taken_as_they_are(url, name):
    folder = url.rpartition("/")[0]
    s3.put(f"{folder}/{name}", name.encode())
    assert s3.get(f"{folder}/{name}") == name.encode()
    assert [each for each, _ in s3.listing(folder)] == [name]


def test_foreign_keys_beside_a_job_s_are_in_nobody_s_way(url):
    folder = url.rpartition("/")[0]
    for key in ("", "/double", "./dot", "../up", "deep/er"):
        s3._client().call_s3(
            "put_object", Bucket=BUCKET, Key=f"{folder.removeprefix(f's3://{BUCKET}/')}/{key}", Body=b""
        )
    s3.put(url, b"")
    assert [name for name, _ in s3.listing(folder)] == ["object"]


def test_one_request_tells_an_object_s_age_by_the_server_s_clock(server, url):
    s3.put(url, b"")
    server.requests.clear()
    server.older_s = 3600.0
    assert 3600 <= s3.age(url) < 3660
    assert len(server.requests) == 1


def test_of_many_who_create_or_swap_one_succeeds(url):
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda at: s3.create(url, b"%d" % at), range(8))) == 1
        first = s3.get(url)
        assert sum(pool.map(lambda at: s3.swap(url, first, b"new %d" % at), range(8))) == 1
    assert s3.get(url).startswith(b"new")
    assert not s3.swap(url, first, b"late")
    assert not s3.swap(f"{url}/none", b"", b"")


# ---------------------------------------------------------------------------------------------- large files


def test_a_large_file_goes_in_parts_and_comes_back(server, url, tmp_path, monkeypatch):
    data = os.urandom(12_000_000)
    (tmp_path / "out").write_bytes(data)
    client = s3._client()
    whole = client.put_file
    monkeypatch.setattr(client, "put_file", lambda path, url: whole(path, url, chunksize=5 * 2**20))
    s3.upload(tmp_path / "out", url)
    assert sum(each.startswith("PUT") for each in server.requests) == 3
    before = os.umask(0o027)
    try:
        s3.download(url, tmp_path / "in")
    finally:
        os.umask(before)
    assert (tmp_path / "in").read_bytes() == data
    assert (tmp_path / "in").stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "out"]


def test_a_download_that_fails_leaves_the_old_file_and_no_other(url, tmp_path):
    (tmp_path / "in").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        s3.download(url, tmp_path / "in")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("in", b"old")]


# ------------------------------------------------------------------------------------------------- bad days


def test_an_answer_that_breaks_off_is_asked_for_again(server, url, tmp_path):
    data = os.urandom(100_000)
    s3.put(url, data)
    server.torn = 2
    assert s3.get(url) == data
    server.torn = 2
    s3.download(url, tmp_path / "in")
    assert (tmp_path / "in").read_bytes() == data


@pytest.mark.slow
def test_a_server_that_always_breaks_off_is_given_up(server, url):
    s3.put(url, b"12")
    server.torn = 99
    with pytest.raises(LedgerError, match=r"object cannot be reached \(.*not completed.*\); check the bucket"):
        s3.get(url)
    assert 99 - server.torn == s3._TRIES


@pytest.mark.slow
@pytest.mark.parametrize("do", ["put", "get", "create", "stamp", "listing", "drop"])
@pytest.mark.sampled(3)
def test_a_server_that_throttles_is_asked_so_often_and_no_more(server, url, do, afresh):
    afresh.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    acts = {"put": (url, b""), "create": (url, b"")}
    server.fail_every = 1
    with pytest.raises(LedgerError, match=r"cannot be reached \(.*(SlowDown|Service Unavailable).*\); check"):
        list(s3.listing(url)) if do == "listing" else getattr(s3, do)(*acts.get(do, (url,)))
    assert len(server.requests) == s3._TRIES


def test_a_store_that_is_not_there_is_named_with_what_to_check(url, afresh):
    afresh.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    afresh.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(LedgerError, match=r"object cannot be reached \(.*127\.0\.0\.1:9.*\); .*AWS_ENDPOINT_URL"):
        s3.get(url)


def test_a_missing_bucket_is_named_by_what_writes_and_empty_to_what_lists(server, tmp_path):
    (tmp_path / "file").touch()
    acts = {
        "put": lambda url: s3.put(url, b""),
        "create": lambda url: s3.create(url, b""),
        "upload": lambda url: s3.upload(tmp_path / "file", url),
    }
    for do in acts.values():
        with pytest.raises(LedgerError, match="there is no bucket 'no-such-bucket'; create it, or check its name"):
            do("s3://no-such-bucket/a")
    assert list(s3.listing("s3://no-such-bucket/a")) == []


def test_a_missing_client_is_named(url, afresh):
    afresh.setitem(sys.modules, "s3fs", None)
    with pytest.raises(LedgerError, match=r"needs the package 's3fs'; install it with pip install 'geoseg\[cloud\]'"):
        s3.stamp(url)


# ------------------------------------------------------------------------------- who, where, which process


def signed_by(server: S3Server, monkeypatch) -> list[str]:
    """The headers of each request from now on that say who asks."""
    seen, answer = [], S3Server.__call__

    def noting(self, environ, start):
        seen.append(environ.get("HTTP_AUTHORIZATION", "") + environ.get("HTTP_X_AMZ_REQUEST_PAYER", ""))
        return answer(self, environ, start)

    monkeypatch.setattr(S3Server, "__call__", noting)
    return seen


@pytest.mark.slow
def test_profiles_name_the_store_and_who_asks(server, url, afresh, tmp_path):
    s3.put(url, b"1")
    (tmp_path / "config").write_text(f"[profile far]\nendpoint_url = {server.url}\nregion = eu-central-1\n")
    (tmp_path / "credentials").write_text("[far]\naws_access_key_id = somebody\naws_secret_access_key = x\n")
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        afresh.delenv(name)
    afresh.setenv("AWS_PROFILE", "far")
    afresh.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    afresh.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    seen = signed_by(server, afresh)
    process.renew()
    assert s3.get(url) == b"1"
    assert re.search("Credential=somebody/.*/eu-central-1/s3", seen[-1])


@pytest.mark.slow
def test_public_buckets_are_read_unsigned_and_readers_pay_where_asked(server, url, afresh):
    s3.put(url, b"1")
    s3._client().call_s3("put_object_acl", Bucket=BUCKET, Key=url.removeprefix(f"s3://{BUCKET}/"), ACL="public-read")
    afresh.setenv("AWS_NO_SIGN_REQUEST", "YES")
    seen = signed_by(server, afresh)
    process.renew()
    assert s3.get(url) == b"1"
    assert seen == [""]
    afresh.setenv("AWS_NO_SIGN_REQUEST", "NO")
    afresh.setenv("AWS_REQUEST_PAYER", "requester")
    process.renew()
    assert s3.get(url) == b"1"
    assert seen[-1].startswith("AWS4-HMAC-SHA256")
    assert seen[-1].endswith("requester")


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, ""),
        ({"AWS_ENDPOINT_URL": "https://minio.example:9000/"}, "https://minio.example:9000"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"}, "http://b"),
        ({"AWS_S3_ENDPOINT": "minio.example"}, "https://minio.example"),
        ({"AWS_S3_ENDPOINT": "minio.example", "AWS_HTTPS": "NO"}, "http://minio.example"),
    ],
)
def test_the_store_s_address_is_read_as_aws_and_gdal_name_it(monkeypatch, variables, wanted):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT", "AWS_HTTPS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert s3.endpoint() == wanted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 and later warn of it
def test_a_forked_process_has_a_client_of_its_own(url):
    s3.put(url, b"1")
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=lambda: there.send(s3.get(url)))
    child.start()
    try:
        assert here.poll(30), "the child waits for ever"
        assert here.recv() == b"1"
    finally:
        child.kill()
        child.join()


def test_a_process_has_one_client_however_many_threads_ask(afresh):
    with ThreadPoolExecutor(8) as pool:
        clients = list(pool.map(lambda _: s3._client(), range(16)))
    assert len(set(map(id, clients))) == 1


@pytest.mark.parametrize("text", ["s3://", "s3://maps", "s3://maps/..", "s3://maps/a?b", "s3://Maps/a", "gs://maps/a"])
def test_what_is_no_prefix_is_refused(text):
    with pytest.raises(LedgerError, match="s3://bucket/prefix"):
        s3.checked(text)


def test_a_prefix_has_one_spelling():
    assert s3.checked("s3://maps//a///b/") == "s3://maps/a/b"
