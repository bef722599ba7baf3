"""Rasters: files of pixels, checked at the door, opened safely, and brought onto a grid."""
