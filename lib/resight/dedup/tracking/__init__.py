"""Groups over several runs: ids that stay, and a record of what changed.

The rule and the words are those of `resight.dedup.changes`.

Modules: ``spark``. Reads the `DUPLICATE_GROUPS` of the run before; gives `GROUP_CHANGES` and the ids
under which `DUPLICATE_PAIRS` and `DUPLICATE_GROUPS` are written.
"""
