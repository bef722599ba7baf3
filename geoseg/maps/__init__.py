"""Maps: blocks become georeferenced rasters that any GIS opens right."""
