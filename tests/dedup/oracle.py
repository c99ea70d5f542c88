"""Duplicates the slow, obvious way: Python dictionaries and sets, no code shared with resight."""

import hashlib
from math import frexp, isnan

RELATIONS = ("exact", "same_pixels", "near")


def keep_key(image):
    """Smaller is kept, under the default policy."""
    time = image["taken_at"] or image["modified_at"]
    sharpness = image["sharpness"]
    parts = [
        None if image["width"] is None else -image["width"] * image["height"],
        None if image["n_bytes"] is None else -image["n_bytes"],
        None if sharpness is None or isnan(sharpness) else -frexp(max(sharpness, 1))[1],
        time,
        image["uri"],
        image["image_id"],
    ]
    return tuple((part is None, part or 0 if part is None else part) for part in parts)


def find_classes(images):
    """Map the id of each live image to the id that represents its copies."""
    live = [i for i in images if i["removed_at"] is None and i["status"] == "ok"]
    representative = {}
    for image in live:
        twins = [other for other in live if are_copies(image, other)]
        representative[image["image_id"]] = min(twins, key=keep_key)["image_id"]
    return representative


def are_copies(a, b):
    same_bytes = a["content_hash"] is not None and a["content_hash"] == b["content_hash"]
    same_pixels = a["pixel_hash"] is not None and a["pixel_hash"] == b["pixel_hash"]
    return a is b or same_bytes or same_pixels


def find_pairs(images, lists, threshold):
    """Map (a, b) to (relation, similarity)."""
    by_id = {i["image_id"]: i for i in images}
    representative = find_classes(images)
    pairs = {}
    for image_id, rep in representative.items():
        if image_id != rep:
            same = by_id[image_id]["content_hash"] == by_id[rep]["content_hash"]
            pair = (min(image_id, rep), max(image_id, rep))
            pairs[pair] = ("exact" if same else "same_pixels", 1.0)
    for src, entries in lists.items():
        for dst, similarity in entries:
            a, b = representative.get(src), representative.get(dst)
            if None not in (a, b) and a != b and similarity >= threshold:
                pair = (min(a, b), max(a, b))
                best = max(similarity, pairs[pair][1] if pair in pairs else -1)
                pairs[pair] = ("near", best)
    return pairs


def split(images, links, similarity, limit):
    """Map each image to the one kept for it: piece by piece, best first, by the definition."""
    kept = {}
    pieces = [set(images)]
    while pieces:
        piece = pieces.pop()
        best = min(piece)  # images are named by their place in the order of keeping
        group = {best}
        while True:
            fringe = {j for j in piece - group if any(linked(i, j, links) for i in group)}
            joining = {j for j in fringe if similarity(j, best) >= limit}
            if not joining:
                break
            group |= joining
        kept |= dict.fromkeys(group, best)
        pieces.extend(connected_pieces(piece - group, links))
    return kept


def linked(i, j, links):
    return (min(i, j), max(i, j)) in links


def connected_pieces(images, links):
    """Connected parts of ``images`` under ``links``."""
    left, pieces = set(images), []
    while left:
        piece, grown = set(), {left.pop()}
        while grown:
            piece |= grown
            grown = {j for j in left if any(linked(i, j, links) for i in grown)}
            left -= grown
        pieces.append(piece)
    return pieces


def track(groups, previous):
    """Name ``groups`` (list of sets) after ``previous`` (id -> set): list of ids, set of changes."""
    names = [None] * len(groups)
    shared = [(len(s & g), p, min(g), i) for p, s in previous.items() for i, g in enumerate(groups)]
    free = set(previous)
    for n, p, _, i in sorted(shared, key=lambda row: (-row[0], row[1], row[2])):
        if n and p in free and names[i] is None:
            names[i] = p
            free.remove(p)
    changes = set()
    for i, group in enumerate(groups):
        names[i] = new_name(group, set(previous)) if names[i] is None else names[i]
        if not any(group & s for s in previous.values()):
            changes.add(("new", names[i], names[i], len(group)))
        for p, images in previous.items():
            changes |= compare(names[i], group, p, images, goes_on=p not in free)
    gone = {p for p, s in previous.items() if not any(s & g for g in groups)}
    return names, changes | {("gone", p, p, len(previous[p])) for p in gone}


def new_name(group, taken):
    """The smallest image that names no previous group, else a hash of the smallest image."""
    digest = hashlib.sha256(f"{min(group)}/1".encode()).hexdigest()
    return min(group - taken, default=int(digest[:15], 16))


def compare(name, group, p, images, *, goes_on):
    if name != p:
        word = "split" if goes_on else "merged"
        return {(word, name, p, len(images & group))} if images & group else set()
    grown, shrunk = len(group - images), len(images - group)
    rows = {("grown", p, p, grown)} if grown else set()
    return rows | ({("shrunk", p, p, shrunk)} if shrunk else set())
