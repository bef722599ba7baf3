"""Benchmark: a per-pixel random forest beside a network that has none on its card yet.

Inputs: a training spec and the model folder made from it. Output: the mean IoU of both on what neither saw;
with --write the forest's scores also on the model's card, under scores.baselines, where `geoseg train` puts them.
Run: python tests/benchmarks/random_forest.py training.yaml MODEL_FOLDER [--write]
"""

import argparse
from pathlib import Path

from geoseg.catalog.card import dump, read_model
from geoseg.training import baseline, preparation, recipe, results


def main() -> None:
    """Fit the forest, and compare."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("spec", type=Path)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--write", action="store_true", help="put the forest's scores on the card")
    given = arguments.parse_args()
    spec, model = recipe.read(given.spec), read_model(given.folder)
    ready = preparation.prepared(spec)
    found = baseline.of(ready.recipe, ready.split.scenes, ready.legend)
    if found is None:
        raise SystemExit("install scikit-learn, and see that the spec does not say `baseline: none`")
    card = model.card.model_copy(update={"scores": {**model.card.scores, "baselines": {baseline.NAME: found}}})
    head, rows, _ = results.table(card)
    for row in (head, *rows[-2:]):
        print(
            "\t".join("-" if each is None else f"{each:.4f}" if isinstance(each, float) else str(each) for each in row)
        )
    if given.write:
        Path(model.folder, "card.yaml").write_bytes(dump(card))


if __name__ == "__main__":
    main()
