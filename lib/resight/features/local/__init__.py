"""Local features: keypoints of a photo, each with a place, a scale, an angle, a strength and a vector.

RootSIFT (Lowe, IJCV 2004; Arandjelovic and Zisserman, CVPR 2012), XFeat (Potje et al., CVPR 2024),
activations of a network chosen by their norm as in HOW (Tolias, Jenicek, Chum, ECCV 2020), and, where the
optional package is installed, ALIKED (Zhao et al., TIM 2023) and DISK (Tyszkiewicz et al., NeurIPS 2020). One
interface, in `extractors`; what it needs to know, in `settings`.

Modules: ``settings``, ``points`` (arrays, order, packed columns), ``photos`` (decoding and scaling),
``extractors`` with ``rootsift``, ``xfeat``, ``how``, ``checkpoint`` and ``lightglue``, ``weights``,
``check`` (a network is loaded before anything starts), ``extract`` (a chunk of files to features),
``work`` (a chunk of rows to rows), ``spark`` (sums over stored vectors). Writes ``local_descriptors``.
"""
