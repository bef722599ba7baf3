"""Report: pictures of maps, legends and training."""
