"""Models: a folder of weights and a card becomes a network with known facts."""
