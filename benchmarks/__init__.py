"""emnet beside its peers, in one run. `python -m benchmarks` lists the suites."""
