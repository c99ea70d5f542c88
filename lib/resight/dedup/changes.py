"""Group ids that survive runs, and the words for what happened to a group.

A group inherits the id of the previous group with which it shares most images; each previous id is
inherited once, the largest overlaps first. A group that inherits none takes the smallest ``image_id``
of its own that no previous group was called by, or, where all are taken, a hash of the smallest one.

==========  ===========================  =======================  ====================================
change      ``group_id``                 ``other_id``             ``n_images``
==========  ===========================  =======================  ====================================
``new``     a group of ungrouped images  itself                   its size
``gone``    a previous group, of which   itself                   its size before
            no image is in a group now
``grown``   a group that kept its id     itself                   images that it gained
``shrunk``  a group that kept its id     itself                   images that it lost
``split``   the group that images are    the previous group that  images that came over
            in now                       goes on without them
``merged``  the group that images are    their previous group,    images that came over
            in now                       whose id ends here
==========  ===========================  =======================  ====================================
"""

import hashlib

import numpy as np

MAX_SALTS = 8


def match_groups(previous: np.ndarray, current: np.ndarray, n_shared: np.ndarray) -> np.ndarray:
    """Choose which overlaps hand a previous id on to a current group.

    Parameters
    ----------
    previous, current : ndarray, (m,) int64
        Ids of overlapping groups, each combination once.
    n_shared : ndarray, (m,) int64
        Images in both.

    Returns
    -------
    inherits : ndarray, (m,) bool
        Greedy by ``n_shared`` descending, then ``previous``, then ``current`` ascending; each
        previous and each current group at most once.
    """
    inherits = np.zeros(len(previous), bool)
    given: set[int] = set()
    named: set[int] = set()
    for i in np.lexsort((current, previous, -n_shared)).tolist():
        p, c = int(previous[i]), int(current[i])
        if p not in given and c not in named:
            inherits[i] = True
            given.add(p)
            named.add(c)
    return inherits


def salted_id(image_id: int, salt: int) -> int:
    """Make up an id of 60 bits from SHA-256, for a group whose images' ids are all taken."""
    return int(hashlib.sha256(f"{image_id}/{salt}".encode()).hexdigest()[:15], 16)
