"""Turn chosen classes of a map into polygons, one file for each class.

Purpose: water and forest of MAP as shapefiles
Inputs:  MAP, a GeoTIFF of class ids that carries its legend, as geoseg's do
Outputs: FOLDER/classes_water.shp, FOLDER/classes_forest.shp: class id, name and area of each polygon
Run:     python workflows/vectorize_classes.py map_region/map.tif polygons water forest
"""

import sys
from pathlib import Path

from geoseg.vectors import polygons


def main() -> None:
    """Read the command line, trace, write."""
    map_file, folder, *classes = sys.argv[1:]
    Path(folder).mkdir(exist_ok=True)
    written = polygons.vectorize(map_file, Path(folder, "classes.shp"), classes=classes, per_class=True)
    for path, count in written.items():
        print(f"{path}: {count} polygons")


if __name__ == "__main__":
    main()
