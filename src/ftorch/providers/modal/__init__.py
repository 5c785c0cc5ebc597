"""Modal: a GPU sandbox for each run, billed by the second."""
