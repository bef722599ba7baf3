"""Say how long a large job would take on many workers, from what the blocks of a small one took.

Purpose: find where more workers stop helping before a cluster is paid for; what is assumed: geoseg/jobs/scaling.py
Inputs:  FOLDER of a finished job that was run on one such worker (`geoseg run JOB --workers 1`); the size of the
         large job in million pixels; what storage and scheduler can do
Outputs: for 1 to 1000 workers the minutes until all blocks are made, those for the map after that, the share of the
         time in which workers label, and what keeps them from being faster; printed
Run:     python workflows/scaling.py map_region --mpx 100000
"""

import argparse
from dataclasses import fields

from geoseg.jobs import scaling


def main() -> None:
    """Read the command line, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--mpx", type=float, default=100_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 30, 100, 300, 1000])
    for each in fields(scaling.Assumed):
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=type(each.default), default=each.default)
    asked = vars(parser.parse_args())

    found = scaling.measured(asked["folder"])
    assumed = scaling.Assumed(**{each.name: asked[each.name] for each in fields(scaling.Assumed)})
    outcomes = [scaling.simulate(found, asked["mpx"], workers, assumed) for workers in asked["workers"]]
    for row in scaling.table(outcomes):
        print("  ".join(f"{cell:>12}" for cell in row))
    for limit in dict.fromkeys(each.limit for each in outcomes):
        print(f"{limit}: {scaling.ADVICE[limit]}")


if __name__ == "__main__":
    main()
