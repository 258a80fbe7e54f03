"""An engine on another machine, by Dask distributed: the server, and the engine that asks it."""
