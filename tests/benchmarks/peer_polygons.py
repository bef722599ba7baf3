"""Polygons of a map in a file by another package, in the Python that has it; `vectors.py` starts it and reads its line.

Run: PYTHON peer_polygons.py ROUTE MAP OUT. It prints JSON: seconds in all and until the polygons are there, bytes at
most, polygons. It needs rasterio, geopandas, pyogrio and the package; geoseg is not imported. What is compiled at the
first call has been compiled before the clock. Without OUT's ending being one that geopandas writes, nothing is written.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """One run."""
    route, path, out = sys.argv[1:4]
    make = ROUTES[route]
    make(np.zeros((4, 4), np.uint8) + np.arange(4, dtype=np.uint8), None, (1, 0, 0, 0, -1, 0), small=True)
    import rasterio

    start = time.perf_counter()
    with rasterio.open(path) as source:
        labels, transform, crs = source.read(1), tuple(source.transform)[:6], source.crs
        mask = source.read_masks(1) != 0 if source.nodata is not None else None
    frame = make(labels, mask, transform, small=False)
    traced = time.perf_counter() - start
    if out != "-":
        write(frame.set_crs(crs), Path(out))
    taken = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"time": taken, "traced": traced, "memory": peak, "polygons": len(frame)}))


def write(frame, out) -> None:
    """The same columns as geoseg's."""
    frame["class_name"], frame["area_m2"] = frame.class_id.astype(str), frame.area
    if out.suffix == ".parquet":
        frame.to_parquet(out)
    else:
        frame.to_file(out, engine="pyogrio")


def xarray_spatial(chunk):
    """Its polygonize on NumPy, or on Dask with chunks of so many pixels."""

    def make(labels, mask, transform, *, small):
        import dask.array
        import geopandas
        import shapely
        import xarray

        try:
            from xrspatial.polygonize import polygonize
        except ImportError:  # before it left the experiments
            from xrspatial.experimental import polygonize

        def array(values):
            held = values if chunk is None else dask.array.from_array(values, chunks=2 if small else chunk)
            return xarray.DataArray(held, dims=("y", "x"))

        column, rings = polygonize(
            array(labels.astype(np.int32)),
            mask=None if mask is None else array(mask),
            connectivity=4,
            transform=np.asarray(transform, float),
        )
        polygons = np.repeat(np.arange(len(rings)), [len(each) for each in rings])
        flat = [ring for each in rings for ring in each]
        lengths = np.array([len(each) for each in flat])
        offsets = np.append(0, np.cumsum(lengths)), np.append(0, np.cumsum(np.bincount(polygons)))
        shapes = shapely.from_ragged_array(shapely.GeometryType.POLYGON, np.concatenate(flat), offsets)
        return geopandas.GeoDataFrame({"class_id": np.asarray(column, int)}, geometry=shapes)

    return make


def contourrs(labels, mask, transform, *, small):
    """Its shapes as Arrow, which geopandas takes without a copy of each polygon."""
    import geopandas
    import pyarrow as pa
    from contourrs import shapes_arrow

    table = pa.table(shapes_arrow(labels, mask=mask, connectivity=4, transform=transform))
    shapes = geopandas.GeoSeries.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    return geopandas.GeoDataFrame({"class_id": table["value"].to_numpy().astype(int)}, geometry=shapes)


ROUTES = {
    "xarray-spatial": xarray_spatial(None),
    "xarray-spatial, Dask": xarray_spatial(2048),
    "contourrs": contourrs,
}


if __name__ == "__main__":
    main()
