"""Rasters: files of pixels, checked before use, opened safely, and brought onto a grid."""
