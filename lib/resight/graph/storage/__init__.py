"""The graph as files that workers map into memory: written by one task, in the order of the solver."""
