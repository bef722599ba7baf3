"""Digests: of plain data whatever its order, and as other tools compute them."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.storage import digests

PLAIN = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)


@given(st.dictionaries(st.text(max_size=3), PLAIN, max_size=4))
def test_a_digest_does_not_depend_on_key_order(facts):
    assert digests.digest_of(facts) == digests.digest_of(dict(reversed(facts.items())))


@given(st.dictionaries(st.text(max_size=3), PLAIN, min_size=1, max_size=4), st.data())
def test_a_digest_depends_on_every_key_and_value(facts, data):
    key = data.draw(st.sampled_from(sorted(facts)))
    without = {each: value for each, value in facts.items() if each != key}
    other = {**facts, key: [facts[key]]}
    assert len({digests.digest_of(each) for each in (facts, without, other)}) == 3


@pytest.mark.parametrize("data", [b"", b"abc", bytes(range(256))])
def test_sha256_is_what_coreutils_computes(data):
    done = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True)
    assert digests.sha256(data) == done.stdout.decode().split()[0]
