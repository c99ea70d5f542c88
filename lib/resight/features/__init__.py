"""Global descriptors: one unit vector per photo, whose inner product ranks photos of the same thing first.

A network's activations are pooled (MAC, SPoC, GeM, R-MAC) over one or several sizes and layers, and
optionally whitened; a colour histogram is one more extractor. `settings` says what to compute,
`backbones` loads the network, `pooling`, `rmac` and `colour` make vectors, `whitening` fits and applies
a projection, `extract` runs a chunk of photos from bytes to vectors, ``spark`` spreads the chunks.

Papers: Tolias, Sicre, Jegou, "Particular object retrieval with integral max-pooling of CNN activations"
(ICLR 2016); Radenovic, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation" (TPAMI
2018). Reads ``images``, ``models``; writes ``global_descriptors``, ``models``.
"""
