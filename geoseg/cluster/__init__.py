"""Cluster: Dask clusters and the map over them. The only package, with `arrays`, that knows Dask.

`kinds` starts clusters and reaches them, `mapper` spreads work over any of them, `coordinator` leaves a job on one, and
`worker` is what `geoseg worker` runs. `spec`, how a job says where it runs, is plain data.
"""
