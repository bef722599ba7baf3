"""Accuracy: how well a map agrees with a reference map, class by class."""
