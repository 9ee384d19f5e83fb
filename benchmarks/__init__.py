"""Side-by-side measurements of kgen and its peers: ``python -m benchmarks``, with the extras ``bench`` installed."""
