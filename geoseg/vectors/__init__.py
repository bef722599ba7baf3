"""Vectors: a map's classes as polygons, and files of them."""
