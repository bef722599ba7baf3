"""Storage: what a job has finished, kept whole in a folder or an object store."""
