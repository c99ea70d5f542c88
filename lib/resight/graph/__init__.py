"""The graph of a collection: mutual neighbours joined by their similarity, and its connected components.

Two images are joined when each is among the other's k nearest; identical vectors are one node for that, their
copies point to it (Iscen et al., CVPR 2017, section 3.1). Components are named by their smallest node.

Modules: ``affinity`` (matrices), ``components`` (union of edges), ``regions`` (nodes that are regions),
``growth`` (edges that are repaired), ``spark``.
Reads ``global_descriptors`` and ``neighbors``; gives ``nodes``, ``edges``, ``components``.
"""
