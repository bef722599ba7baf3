"""Catalog: what exists, as plain values. Imagery, references, legends, crosswalks, models and regions by name."""

from geoseg.catalog.catalog import SHIPPED, Catalog, read, shipped
from geoseg.catalog.entries import RegionSpec
from geoseg.catalog.values import Band, Imagery, Mask, Reference

__all__ = ["SHIPPED", "Band", "Catalog", "Imagery", "Mask", "Reference", "RegionSpec", "read", "shipped"]
