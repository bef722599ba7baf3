"""Training: labelled scenes become a model folder."""
