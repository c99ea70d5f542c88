"""k nearest neighbours of a whole collection, exact or approximate, and batch search.

The exact graph visits every pair of blocks once and keeps the k best of both sides; the approximate one
visits only the inverted lists whose centroids lie nearest to a vector, re-ranks exactly, and tunes how many
lists on a sample (Sivic and Zisserman 2003; Jegou, Douze and Schmid 2011, without their codes). Similarities
are dot products of unit vectors, summed in float64, so that a result does not depend on how work was split.

Memory: a task that searches holds two blocks of ``block_rows`` vectors, or of an inverted list, however many
vectors there are; they are mapped. Three steps are one task over all of them and hold a few numbers of each:
the one that orders the inverted lists (some 50 bytes per distinct vector, 5 GB for 10^8), the one that lists
the copies (16 bytes per copy) and, where a graph grows, the one that lists the new vectors (8 bytes of each).

Modules: `matrix` (vectors as memory-mapped files), `candidates` and `blocks` (kernel of a pair of blocks),
`copies` (identical vectors), `ivf` (inverted lists), `search` (queries), `recall` (measured quality), `plan`
(which path), `spark` (operators), `storage` and `inverted` (operators that write files).
Reads `global_descriptors`; makes the rows of `neighbors` and, for a search, of `results`.
"""
