"""One run: workload, faults, trace, result."""
