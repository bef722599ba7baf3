"""`python -m fuzz`: cases of one seed after another for some minutes.

Those that break the law are appended to a file, a JSON line each; `--seed N --cases 1` tries one of them again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from fuzz.worker import Worker


def main() -> int:
    """Run the fuzzers; exit status 1 if the law was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, required=True, help="of the first case")
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures.jsonl"))
    asked = parser.parse_args()
    first, broken, number = asked.seed, 0, 0
    print(f"cases from seed {first}", flush=True)
    with tempfile.TemporaryDirectory(prefix="geoseg-fuzz-") as folder:
        worker = Worker(Path(folder))
        end = time.monotonic() + asked.seconds
        while number < asked.cases and time.monotonic() < end:
            if not worker.alive:
                worker = Worker(Path(folder))
            found = worker.case(first + number)
            number += 1
            if found["wrong"]:
                broken += 1
                print(f"\nseed {found['seed']}: {'; '.join(map(str, found['did']))}\n{found['wrong']}", flush=True)  # type: ignore[call-overload]
                with asked.failures.open("a") as file:
                    file.write(json.dumps(found) + "\n")
            elif number % 50 == 0:
                print(f"{number} cases, the last of seed {found['seed']}, {broken} broke the law", flush=True)
        worker.end()
    print(f"{number} cases from seed {first}, {broken} broke the law" + f"; see {asked.failures}" * (broken > 0))
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
