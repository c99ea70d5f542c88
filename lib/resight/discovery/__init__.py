"""Objects that recur in a collection, found without labels or boxes.

Simeoni, Iscen, Tolias, Avrithis, Chum, "Unsupervised object discovery for instance recognition", WACV 2018
(called C here), and "Graph-based particular object discovery", Machine Vision and Applications 2019 (J).

Sparse channels of a network's activations say where an image has something of its own (feature saliency); a
mixture of Gaussians turns that map into a few boxes; boxes of all images that are each other's neighbours
form a graph, and what is central in it recurs. Patches of an image that resemble central boxes make up its
object saliency, whose boxes are the instances of objects. Boxes that climb to the same densest box, from
neighbour to neighbour, show the same object.

Modules: ``saliency``, ``mixture``, ``pooling`` (maps to boxes and vectors), ``centrality`` and ``modes`` (the
graph), ``maps``, ``found``, ``work`` (a chunk of images), ``bank`` (files of all boxes), ``spark``.
"""
