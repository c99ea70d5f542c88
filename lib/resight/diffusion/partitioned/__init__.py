"""Diffusion over a graph that no machine holds: each rank of a barrier stage has a range of its rows.

Nodes get ordinals in an order that keeps neighbours close; a rank maps the rows of its own part, learns
which other ordinals they name (its halo) and receives only these rows of the direction in every iteration.
Conjugate gradient with two reductions an iteration (Iscen et al., CVPR 2017, section 3.3; Saad, "Iterative
methods for sparse linear systems", 2003, chapter 11), sums in the order of the ranks: all decide alike.

Modules: ``parts`` (the files), ``halo`` (what is exchanged), ``exchange`` and ``torch_exchange`` (how),
``solve`` (a block of queries on one rank), ``keep`` (iterates that outlive an executor), ``rank`` (all blocks
of a rank), ``rows`` (single rows, for explanations), ``slots`` (whether a barrier stage can run),
``storage/spark`` (writing the parts), ``spark`` (the stage). Reads ``nodes``, ``edges``, ``components``.
"""
