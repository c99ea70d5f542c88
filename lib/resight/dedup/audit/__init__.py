"""How well copies are found among the photos of a collection itself: known ones are planted and looked for.

Copies of a sample of the photos are made as people make them, ingested beside the collection into a clone of
the workspace, and carried through the very jobs that found its copies; nothing of the collection changes.
Recall is the share of planted copies that were found with their original, by transformation; precision is
counted on the pairs of planted copies, and estimated from found pairs that a person judges. Intervals are
those of Wilson, "Probable inference, the law of succession, and statistical inference", J. American
Statistical Association 22, 1927.

Modules: `edits` (the transformations), `plant` (files of planted copies), `estimate` (shares with
intervals), `judge` (the list for a person), `spark` (which pairs were found), `cloning` (the
clone of a workspace). Reads ``images``, ``sources``, ``duplicate_pairs``, ``duplicate_groups``; writes
``planted_copies``, ``audits``.
"""
