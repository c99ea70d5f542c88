"""Duplicates: which images are copies of each other, which one of them to keep, what changed.

Copies of the same bytes or pixels form classes that are written as a star around one representative;
representatives whose descriptors are closer than a threshold are paired from the stored neighbour
lists, never from all pairs. A guard then builds groups in which every member reaches a similarity to
the one image that is kept, so that a chain of near pairs cannot join strangers.

The greedy star cover of a similarity graph is that of Aslam, Pelekhov and Rus, "The star clustering
algorithm for static and dynamic information organization", J. Graph Algorithms and Applications 8(1),
2004, section 3, with the order of the centres given by what is worth keeping instead of by degree.

Where pixels decide, near descriptors, codes within a Hamming radius and ranked keypoints are but
candidates: `relations` lays one photo over the other and says what it is to the other.

Modules: ``pairs`` (neighbour lists to pairs), ``relations`` (what two photos are to each other), ``groups``
(the guard), ``keep`` (which one, and why, in words), ``changes`` (ids that survive runs), ``export`` (a list
for other tools), ``spark`` (pairs and the list), ``candidates``, ``relating`` and ``naming`` (pairs by their
pixels), ``grouping`` and ``tracking`` (the operators of groups and of their history).
Reads `IMAGES`, `NEIGHBORS`, `COMPONENTS`, `GLOBAL_DESCRIPTORS`, `CODES`, `RESULTS`; writes
`DUPLICATE_CANDIDATES`, `DUPLICATE_PAIRS`, `DUPLICATE_GROUPS`, `GROUP_CHANGES`.
"""
