"""Score any map against any reference, whatever their grids, CRSs and legends.

Purpose: per-class IoU, precision and recall of MAP against REFERENCE, printed and written as JSON and CSV
Inputs:  MAP, a GeoTIFF of class ids; REFERENCE, another one or a name in data_catalog.yaml; the legend of each, if
         the file does not carry it; there must be a crosswalk between the two
Outputs: FOLDER/accuracy.json and accuracy.csv
Run:     python workflows/score_map.py map_region/map.tif demo/imagery/strata.tif scores --reference-legend raleigh
"""

import argparse
from pathlib import Path

from geoseg.accuracy import assessment, tables


def main() -> None:
    """Read the command line, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("map", type=Path)
    parser.add_argument("reference")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--legend")
    parser.add_argument("--reference-legend")
    asked = parser.parse_args()

    scores = assessment.score(asked.map, asked.reference, legend=asked.legend, reference_legend=asked.reference_legend)
    head, rows, feet = tables.table(tables.plain(scores))
    for row in (head, *rows):
        cells = ("-" if each is None else f"{each:.3f}" if isinstance(each, float) else each for each in row)
        print("  ".join(f"{cell:>14}" for cell in cells))
    print(*feet, *tables.write(scores, asked.folder), sep="\n")


if __name__ == "__main__":
    main()
