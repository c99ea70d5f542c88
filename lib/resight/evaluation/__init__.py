"""How good a ranking, a set of copy pairs or a classifier is, against ground truth.

Rankings are scored per query by average precision in both variants, with junk images removed, under the
protocols of Radenovic et al., "Revisiting Oxford and Paris" (CVPR 2018). Copy pairs are scored by
micro-average precision in one global list (image similarity challenge), kNN classifiers by GAP (Ypsilantis
et al., "The Met Dataset", NeurIPS D&B 2021). Means over queries and macro means over families come with
bootstrap intervals.

Modules: `average_precision` (the formulas), `protocols` (what counts as positive or junk),
`ranking_metrics` (one query), `pair_metrics` (ROC AUC, micro-AP, GAP), `bootstrap`, `summary` (figures over
queries), `ground_truth` (the CSV), `spark` (many queries). Reads `results`, `queries`, `images`,
`duplicate_pairs`; its rows belong to `metrics`.
"""
