"""Errors: one root, and each child is also the builtin that a caller would catch."""

import inspect
import pickle

import pytest

from geoseg import errors
from geoseg.errors import GeosegError

KINDS = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, GeosegError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_is_of_one_root_and_crosses_to_a_worker_and_back(kind):
    error = kind("one sentence")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, GeosegError)
    assert (type(again), str(again)) == (kind, "one sentence")
    assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.CatalogError, ValueError),
        (errors.JobError, ValueError),
        (errors.GridError, ValueError),
        (errors.RasterError, OSError),
        (errors.ImageryChangedError, errors.RasterError),
        (errors.ModelError, ValueError),
        (errors.PredictionError, RuntimeError),
        (errors.LedgerError, OSError),
        (errors.FolderInUseError, errors.LedgerError),
        (errors.ClusterError, RuntimeError),
    ],
)
def test_each_is_what_a_caller_would_catch(kind, builtin):
    with pytest.raises(builtin, match="one sentence"):
        raise kind("one sentence")
