"""Many runs: processes, swarms, grids."""
