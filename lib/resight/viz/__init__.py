"""Figures for notebooks and papers: matplotlib figures that are returned, never shown.

A function here takes arrays or Arrow tables, and photos from an `Album`, and gives a `Picture`: a figure
that Jupyter draws by itself, that ``savefig`` writes, and that touches no state of pyplot. The layout is
decided here, in inches, so that a notebook holds none. Functions that are given nothing to draw give a
picture of the sentence that says so.

Modules: `figure` (the figure, its colours, axes), `text` (names that fit), `pictures` (grids and strips with
captions, marks, boxes), `album` (photos and names of a workspace by image id), `rankings` (answers to
queries, filmstrips of explanations, methods compared), `copies` (duplicate groups, two photos laid over each
other), `charts` (histograms, counts, intervals, curves of training), `graphs` (degrees, components, Euclidean
against manifold similarity), `objects` (saliency, boxes, picture walls), `mined` (anchors with what they are
trained with). The package `look` reads what a notebook shows from the tables of a workspace and hands it to
these functions.
"""
