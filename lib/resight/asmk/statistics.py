"""Weights of visual words and norms of images.

``w_c = ln(N / n_c)^2``: the weight belongs to both images, hence the square. N counts every indexed image,
those without features included. ``gamma(X) = (sum_c w_c M(X_c, X_c))^(-1/2)`` makes K(X, X) one; an image
without features, or whose words all weigh nothing, has gamma 0, so that it scores 0 and never NaN.
"""

import numpy as np

__all__ = ["inverse_roots", "word_weights"]


def word_weights(n_images: np.ndarray, n_total: int, *, use_idf: bool = True) -> np.ndarray:
    """Weigh the visual words.

    Parameters
    ----------
    n_images : ndarray, (k,) int
        Indexed images that have each word.
    n_total : int
        All indexed images.
    use_idf : bool
        Without, every word that occurs weighs 1.

    Returns
    -------
    ndarray, (k,) float64
        0 for a word that no image has.

    Raises
    ------
    ValueError
        A word occurs in more images than there are.
    """
    n_images = np.asarray(n_images, np.int64)
    if n_images.max(initial=0) > n_total:
        raise ValueError(f"a word is in {n_images.max()} images, of {n_total}")
    occurs = n_images > 0
    if not use_idf:
        return occurs.astype(np.float64)
    shares = np.divide(n_total, n_images, out=np.ones(len(occurs)), where=occurs)
    return np.log(shares) ** 2


def inverse_roots(own: np.ndarray) -> np.ndarray:
    """Give the norms ``own^(-1/2)`` (n,) float64 of self-similarities (n,); 0 where that is not positive."""
    return np.divide(1.0, np.sqrt(np.maximum(own, 0)), out=np.zeros(len(own)), where=own > 0)
