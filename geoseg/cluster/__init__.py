"""Cluster: Dask clusters and the map over them. The only package, with `arrays`, that knows Dask.

`kinds` reaches clusters of every kind, and starts them with `local`, `batch` and `kubernetes`; `mapper` spreads work
over any of them, `coordinator` leaves a job on one, and `worker` is what `geoseg worker` runs. `compat` has what of
distributed is not documented. `spec`, how a job says where it runs, is plain data.
"""
