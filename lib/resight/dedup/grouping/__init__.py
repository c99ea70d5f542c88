"""Groups of copies over a whole collection: components are split by the guard, block by block.

Only representatives with pairs of their own enter the kernel of `resight.dedup.groups`; their copies
follow them, so that a photo with 100,000 copies costs as many rows and no more. A block of components
is one Arrow call; it holds a row per pair and, where given, a vector per representative.

Modules: ``spark``. Reads `IMAGES`, `COMPONENTS`, `GLOBAL_DESCRIPTORS`; gives `DUPLICATE_PAIRS` and
`DUPLICATE_GROUPS`.
"""
