"""What goes wrong on a worker is said with the worker's name, and keeps its kind."""

import pickle
from functools import partial

import pytest

from geoseg.cluster.origin import Named
from geoseg.errors import CatalogError, DamagedBlocksError, GeosegError, RasterError


def nothing():
    pass


def refuse(kind, *more):
    raise kind("the map is not there", *more)


@pytest.mark.parametrize("kind", [RasterError, CatalogError])
def test_refusals_keep_their_kind_and_say_where(kind):
    for work in (Named(partial(refuse, kind), nothing), Named(nothing, partial(refuse, kind))):
        with pytest.raises(kind, match=r"^worker on \S+: the map is not there$"):
            pickle.loads(pickle.dumps(work))()


def test_a_kind_that_takes_more_than_a_sentence_is_still_a_refusal():
    with pytest.raises(GeosegError, match="the map is not there"):
        Named(partial(refuse, DamagedBlocksError, []), nothing)()


def test_what_is_no_refusal_passes_as_it_is():
    with pytest.raises(ZeroDivisionError):
        Named(lambda: 1 / 0, nothing)()


def test_what_changed_while_it_was_read_is_not_believed():
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise RasterError("it changed")

    assert Named(str, nothing)(3) == "3"
    with pytest.raises(RasterError, match="it changed"):
        Named(str, check)(3)
