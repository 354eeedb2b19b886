"""Other people's executors: any `concurrent.futures.Executor`, Dask and Ray. See ../README.md."""
