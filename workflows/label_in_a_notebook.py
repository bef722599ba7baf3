"""Label a part of a scene as an array, without a job: for notebooks and for looking around.

Purpose: labels of some pixels as an xarray.DataArray, equal to what `geoseg run` writes there
Inputs:  imagery 'raleigh' of data_catalog.yaml; model landsat-6class
Outputs: shares of the classes, printed; nothing is written
Run:     python workflows/label_in_a_notebook.py
"""

import numpy as np

import geoseg


def main() -> None:
    """Open, cut, label, count. Nothing is read or labelled before `compute`."""
    scene = geoseg.open_imagery("raleigh", region="east")
    part = scene.isel(y=slice(0, 64), x=slice(0, 64))
    labels = geoseg.segment(part, "landsat-6class").compute()
    names = dict(zip(labels.flag_values, labels.flag_meanings.split(), strict=True))
    found, counts = np.unique(labels, return_counts=True)
    for label, count in zip(found, counts, strict=True):
        print(f"{names.get(label, 'no data')}: {count / labels.size:.1%}")


if __name__ == "__main__":
    main()
