"""One small model and its two predictors, for all tests of inference."""

import pytest
from model_folders import write_model

from geoseg.inference.predictor import prepare


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    fixed = {"kind": "fixed", "mean": [0.5, -1.0], "std": [2.0, 0.5]}
    return write_model(tmp_path_factory.mktemp("model"), normalisation=fixed)


@pytest.fixture(scope="module")
def crop(model):
    return prepare(model, device="cpu", threads=1)


@pytest.fixture(scope="module")
def blend(model):
    return prepare(model, device="cpu", threads=2, stitch="blend")
