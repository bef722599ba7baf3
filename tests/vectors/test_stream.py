"""Streams of regions: however a map is cut, they are those of one pass over the whole of it."""

from collections.abc import Iterator

import numpy as np
import pytest
import single_pass
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.vectors import rings, stream


def pixels(most: int = 13) -> st.SearchStrategy[np.ndarray]:
    """Small rasters of few values, -1 (outside) among them: full of corners that touch."""
    shape = st.tuples(st.integers(1, most), st.integers(1, most))
    values = st.integers(0, 3).flatmap(lambda top: st.just(st.integers(-1, top)))
    return values.flatmap(lambda value: shape.flatmap(lambda size: arrays(np.int32, size, elements=value)))


def cut(labels: np.ndarray, heights: list[int]) -> Iterator[np.ndarray]:
    row = 0
    for height in heights:
        yield labels[row : row + height]
        row += height
    yield labels[row:]


def unclosed(outlines: single_pass.Outlines) -> np.ndarray:
    keep = np.ones(len(outlines.corners), bool)
    keep[outlines.ring_starts[1:] - 1] = False
    return outlines.corners[keep]


def check(labels: np.ndarray, heights: list[int], **how) -> None:
    judge = single_pass.outline([labels], labels.shape[1])
    found = rings.concatenated(list(stream.trace(cut(labels, heights), labels.shape[1], **how)))
    np.testing.assert_array_equal(found.values, judge.values)
    np.testing.assert_array_equal(found.sizes, judge.sizes)
    np.testing.assert_array_equal(found.region_starts, judge.region_starts)
    np.testing.assert_array_equal(np.diff(found.ring_starts) + 1, np.diff(judge.ring_starts))
    np.testing.assert_array_equal(found.corners, unclosed(judge))
    assert (np.diff(found.firsts) > 0).all()


@settings(max_examples=share_of(300), deadline=None)
@given(
    pixels(), st.lists(st.integers(0, 5), max_size=5), st.integers(1, 8), st.integers(1, 3), st.sampled_from([0, 10**9])
)
def test_any_blocks_threads_and_memory_give_the_regions_of_one_pass(labels, heights, block_cols, workers, held_bytes):
    check(labels, heights, block_cols=block_cols, workers=workers, held_bytes=held_bytes)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "block_cols"), [(1, 400), (7, 11), (64, 64), (400, 3)])
@pytest.mark.sampled(2)
def test_long_winding_outlines_cross_many_blocks(rows, block_cols):
    noise = np.random.default_rng(5).random((211, 307))
    labels = np.where(noise < 0.62, 4, 9).astype(np.int32)  # near the threshold where one region fills the plane
    check(labels, [rows] * (210 // rows), block_cols=block_cols, workers=2, held_bytes=10_000)


@settings(max_examples=share_of(100), deadline=None)
@given(pixels(), st.lists(st.integers(0, 5), max_size=4), st.integers(1, 8))
def test_flags_of_corners_do_not_depend_on_the_blocks(labels, heights, block_cols):
    whole = rings.concatenated(list(stream.trace([labels], labels.shape[1], flagged=True)))
    parts = stream.trace(cut(labels, heights), labels.shape[1], flagged=True, block_cols=block_cols)
    for one, other in zip(whole.arrays, rings.concatenated(list(parts)).arrays):
        np.testing.assert_array_equal(one & ~4, other & ~4)  # whether a pinch was passed is of no use any more


@settings(max_examples=share_of(60), deadline=None)
@given(pixels(), st.lists(st.integers(0, 5), max_size=4), st.integers(1, 5))
def test_sizes_are_the_sums_of_their_pixels(labels, heights, block_cols):
    sizes = np.random.default_rng(1).integers(1, 2**40, labels.shape)
    found = stream.trace(
        cut(labels, heights),
        labels.shape[1],
        weights=lambda row, rows: sizes[row : row + rows],
        block_cols=block_cols,
    )
    by_value = {}
    for batch in found:
        for value, size in zip(batch.values.tolist(), batch.sizes.tolist()):
            by_value[value] = by_value.get(value, 0) + size
    assert by_value == {value: int(sizes[labels == value].sum()) for value in np.unique(labels[labels >= 0]).tolist()}


def test_regions_come_as_soon_as_no_earlier_one_goes_on():
    labels = np.array([[1, 1], [2, 2], [3, 4], [3, 4]], np.int32)
    taken = []

    def strips():
        for row in labels:
            taken.append(1)
            yield row[None]

    came = [(batch.values.tolist(), len(taken)) for batch in stream.trace(strips(), 2, workers=1, block_cols=1)]
    assert [each for values, _ in came for each in values] == [1, 2, 3, 4]
    assert came[0][1] < 4  # before the last row was read


def test_what_waits_goes_into_a_file_that_is_gone_afterwards(tmp_path):
    labels = np.random.default_rng(0).integers(0, 5, (60, 60)).astype(np.int32)
    labels[:, 0] = 9  # goes on to the end, so that all others wait
    found = stream.trace(cut(labels, [5] * 11), 60, held_bytes=1000, spill=tmp_path, block_cols=20)
    assert sum(len(batch) for batch in found) == len(single_pass.outline([labels], 60).values)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_while_reading_is_raised():
    def strips():
        yield np.zeros((3, 4), np.int32)
        raise OSError("no more rows")

    with pytest.raises(OSError, match="no more rows"):
        list(stream.trace(strips(), 4, workers=2))


@pytest.mark.parametrize("labels", [np.full((3, 4), -1), np.empty((0, 4), int)])
def test_nothing_gives_no_region(labels):
    assert list(stream.trace([labels.astype(np.int32)], 4)) == []
