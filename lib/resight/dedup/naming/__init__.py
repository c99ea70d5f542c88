"""From what pixels said of candidates to rows of `DUPLICATE_PAIRS`.

A photo that was made from several, as a composite pair tells, links to each of its originals as a composite
and joins none of their groups. Modules: ``spark``. Reads `DUPLICATE_CANDIDATES` and `IMAGES`.
"""
