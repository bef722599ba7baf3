"""Catalog: what exists, as plain values. Imagery, references, legends, crosswalks, models and regions by name."""

from geoseg.catalog.catalog import SHIPPED, Band, Catalog, Imagery, Reference, RegionSpec, read, shipped

__all__ = ["SHIPPED", "Band", "Catalog", "Imagery", "Reference", "RegionSpec", "read", "shipped"]
