"""Benchmark: a per-pixel random forest on the very pixels that a network was trained on.

Inputs: a training spec and the model folder made from it. Output: both scores side by side on what neither saw;
with --write also on the model's card, under scores.baselines.
Run: python tests/benchmarks/random_forest.py training.yaml MODEL_FOLDER [--write]

The forest gets the same normalised bands, the same training squares and the same classes. Its leaf size and its
class weights are chosen on the validation squares by mean IoU, as the network's epoch was.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from geoseg import catalog
from geoseg.accuracy.confusion import mean_iou
from geoseg.catalog.card import dump, read_model
from geoseg.models import receptive_field
from geoseg.training import recipe, scenes, scoring
from geoseg.training import split as splits
from geoseg.training.division import BEYOND, DIVISIONS, TEST, TRAIN, VALIDATION, Squares

MOST_PIXELS = 300_000
"""Training pixels given to a forest, drawn at random from all of them."""
CHOICES = [(leaf, weights) for leaf in (1, 5, 20) for weights in (None, "balanced_subsample")]


def main() -> None:
    """Fit the forests, choose one, and compare."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("spec", type=Path)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--write", action="store_true", help="put the forest's scores on the card")
    given = arguments.parse_args()
    spec, model = recipe.read(given.spec), read_model(given.folder)
    known = catalog.read(spec.catalog)
    legend = known.legend(spec.legend)
    field = receptive_field.Field(model.card.halo, model.card.stride, model.card.field)
    squares = Squares.of(spec.chips, spec.seed, field, spec.split)
    loaded = [scenes.load(known, each, spec.bands, legend, squares, spec.normalisation) for each in spec.all_scenes]
    loaded = splits.split(loaded, spec, squares, legend, field).scenes
    forest, said = choose(loaded, len(legend), spec.seed)
    scores = {"random forest": {"what": said, **scored(forest, loaded, legend)}}
    show(model.card.scores, scores["random forest"], legend)
    if given.write:
        card = model.card.model_copy(update={"scores": {**model.card.scores, "baselines": scores}})
        Path(model.folder, "card.yaml").write_bytes(dump(card))


def choose(scenes, classes, seed):
    """The forest of best mean IoU on the validation squares, and a sentence on it."""
    pixels, labels = zip(*(labelled(scene, TRAIN) for scene in scenes))
    pixels, labels = np.concatenate(pixels), np.concatenate(labels)
    taken = np.random.default_rng(seed).permutation(len(labels))[:MOST_PIXELS]
    best = (-1.0, None, "")
    for leaf, weights in CHOICES:
        forest = RandomForestClassifier(
            100, min_samples_leaf=leaf, class_weight=weights, max_samples=0.3, n_jobs=2, random_state=seed
        )
        forest.fit(pixels[taken], labels[taken])
        matrix = sum(confusion(forest, scene, VALIDATION, classes, MOST_PIXELS // 3) for scene in scenes)
        found = mean_iou(matrix)
        print(f"leaf {leaf}, class weights {weights}: mean IoU {found:.4f} on validation squares", flush=True)
        if found > best[0]:
            sentence = f"100 trees on {len(taken)} pixels, at least {leaf} in a leaf, class weights {weights}"
            best = (found, forest, f"scikit-learn, {sentence}; chosen of {len(CHOICES)} on validation squares")
    return best[1:]


def labelled(scene, division):
    """(pixel, band) values and (pixel,) labels of a division."""
    wanted = (scene.division == division) & (scene.labels >= 0)
    return scene.pixels[:, wanted].T, scene.labels[wanted].astype(np.int64)


def confusion(forest, scene, division, classes, most=None):
    """(class, class) pixel counts, rows the reference; of some of the pixels, drawn at random, where there are more."""
    pixels, labels = labelled(scene, division)
    if most is not None and len(labels) > most:
        some = np.random.default_rng(0).permutation(len(labels))[:most]
        pixels, labels = pixels[some], labels[some]
    if not len(labels):
        return np.zeros((classes, classes), np.int64)
    return np.bincount(labels * classes + forest.predict(pixels), minlength=classes**2).reshape(classes, classes)


def scored(forest, loaded, legend):
    """Scores in the shape that a card has for its network."""
    found, unseen = {}, np.zeros((len(legend), len(legend)), np.int64)
    for scene in loaded:
        for division in (VALIDATION, TEST, BEYOND):
            matrix = confusion(forest, scene, division, len(legend))
            if matrix.any():
                found.setdefault(scene.name, {})[DIVISIONS[division]] = scoring.scores_of(matrix, legend)
                unseen += matrix * (division != VALIDATION)
    return found | {"all unseen": scoring.scores_of(unseen, legend)}


def show(network, forest, legend):
    """Print both side by side."""
    places = [(scene, kind) for scene in network for kind in network[scene] if kind in DIVISIONS]
    rows = [(f"{scene}, {kind}", network[scene][kind], forest[scene][kind]) for scene, kind in places]
    rows.append(("all unseen", network["all unseen"], forest["all unseen"]))
    for title, one, other in rows:
        print(f"\n{title} ({one['pixels']:,} px)  network | forest")
        print(f"  {'mean IoU':18} {one['mean_iou']:.4f} | {other['mean_iou']:.4f}")
        for name in legend.names:
            pair = [f"{each['iou'][name]:.4f}" if each["iou"][name] is not None else "-" for each in (one, other)]
            print(f"  {name:18} {pair[0]} | {pair[1]}")


if __name__ == "__main__":
    main()
