"""How good found copies are, against a list of true pairs or of groups.

All pairs stand in one list, ordered by similarity, and are scored by micro-average precision, ties worst
first (Douze et al., "The 2021 Image Similarity Dataset and Challenge", 2021). Images with equal pixels are
one class: what is found for one of a class holds for all of it, and is counted, not listed. Groups are
scored by the pairs within them.

Modules: `truth` (the CSV), `spark` (the figures). Reads ``duplicate_pairs``, ``duplicate_groups``,
``images``; its rows belong to ``metrics``.
"""
