"""Codes by restricted Boltzmann machines whose bits are kept even: one layer (RBMH) or several (DeepHash).

Lin, Morere, Veillard, Duan, Goh, Chandrasekhar, "DeepHash for image instance retrieval", ICMR 2017; Morere,
Lin, Veillard, Duan, Chandrasekhar, Poggio, "Nested invariance pooling and RBM hashing for image instance
retrieval", ICMR 2017. A descriptor becomes bits by its mean; each layer is trained on what the one below
says, with a pull over every batch towards bits that are on for half of the images, and half of the bits of an
image; then pairs that match, and pairs that do not, tune all layers together.

Modules: `rbm` (one layer), `stack` (the model and its codes), `tuning` (the pairs), `fit` (all of it).
"""
