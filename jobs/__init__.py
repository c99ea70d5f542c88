"""The jobs: thin entry points that read tables, call one operator and write tables."""
