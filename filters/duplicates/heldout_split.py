"""The held-out split, in buckets: what `filters.duplicates.components.heldout` says, and no task has all pairs.

Pairs are edges between images and captions. Most captions stand on one image, and these hold nothing together; so the
graph that is looked at as a whole has the *shared* captions alone, and an edge between two of them (a bridge) only
where an image has both. After near-duplicates are gone few images have several captions. The steps, each of which
sees one bucket of captions or of images:

1. `shared_captions`, by caption: is it on two images at least?
2. `bridges`, by image: the shared captions that it ties together. `filters.duplicates.stars` connects them.
3. `root_pairs`, by caption: the least of the captions that the pair's is connected to.
4. `members`, by image: the component of each image, its pairs, and its least image.
5. `choose_components`, by component: is it held out?
6. `heldout_locators`, by image: the pairs of what is held out.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import words64
from filters.duplicates.components import codes, is_chosen
from filters.duplicates.stars import edges_schema, larger_first

KEY = pa.binary(16)
GROUPS = pa.schema([("locator", pa.int64()), ("image_key", pa.binary(32)), ("caption_key", KEY)])
SHARED = pa.schema([("locator", pa.int64()), ("image_key", pa.binary(32)), ("shared", KEY)])
"""What `shared_captions` gives: `shared` is the pair's caption if it stands on other images, too, else null."""
BRIDGES = edges_schema(KEY)
ROOTED = pa.schema([("locator", pa.int64()), ("image_key", pa.binary(32)), ("root", KEY)])
"""What `root_pairs` gives: `root` is the least caption to which a shared one is connected, null where it is not
shared."""
MEMBERS = pa.schema([("root", KEY), ("pairs", pa.int64()), ("least", pa.uint64())])
CHOSEN = pa.schema([("root", KEY)])


def shared_captions(groups: pa.Table) -> pa.Table:
    """Return SHARED, of GROUPS that have all pairs of their captions; in their order."""
    images, captions = _codes(groups, "image_key")[0], _codes(groups, "caption_key")[0]
    first, last = _reduce_groups(np.minimum, captions, images), _reduce_groups(np.maximum, captions, images)
    key = groups.column("caption_key").combine_chunks()
    alone = pa.array((first == last)[captions], pa.bool_())
    columns = [groups.column("locator"), groups.column("image_key"), pc.if_else(alone, pa.scalar(None, KEY), key)]
    return pa.table(columns, schema=SHARED)


def bridges(pairs: pa.Table) -> pa.Table:
    """Return BRIDGES that connect the shared captions of each image, of SHARED that has all pairs of its images."""
    pairs = pairs.filter(pc.is_valid(pairs.column("shared")))
    image, (caption, keys) = _codes(pairs, "image_key")[0], _codes(pairs, "shared")
    least = _reduce_groups(np.minimum, image, caption)[image]
    return larger_first(pa.table([keys.take(pa.array(end)) for end in (caption, least)], schema=BRIDGES))


def root_pairs(groups: pa.Table, known: pa.Table) -> pa.Table:
    """Return ROOTED, of GROUPS that have all pairs of their captions; in their order.

    Args:
        known: of these captions, what bridges connect, and the least caption that each is connected to; see
            `filters.duplicates.stars.labels`.
    """
    pairs = shared_captions(groups)
    key = pairs.column("shared").combine_chunks()
    indices = pc.index_in(key, value_set=known.column("node").combine_chunks())
    root = pc.coalesce(known.column("other").combine_chunks().take(indices), key)
    return pa.table([pairs.column("locator"), pairs.column("image_key"), root], schema=ROOTED)


def _root_of_image(pairs: pa.Table) -> tuple[np.ndarray, pa.Array]:
    """Return, of ROOTED that has all pairs of its images, each pair's image, as a code, and each image's root;
    null if none of its captions is shared.
    """
    image, names = _codes(pairs, "image_key")
    root = pairs.column("root").combine_chunks()
    row = np.full(len(names), -1)
    has = np.flatnonzero(pc.is_valid(root).to_numpy(zero_copy_only=False))
    row[image[has]] = has  # all shared captions of an image have one root
    return image, root.take(pa.array(row, mask=row < 0))


def members(pairs: pa.Table) -> pa.Table:
    """Return MEMBERS: of each component that has images here, its pairs here and its least image, by 64 bits.

    Args:
        pairs: ROOTED, all pairs of their images.
    """
    image, root = _root_of_image(pairs)
    names = _codes(pairs, "image_key")[1]
    count = np.bincount(image, minlength=len(names))
    has = pc.is_valid(root)
    component, keys = codes(root.filter(has))
    mine = np.flatnonzero(has.to_numpy(zero_copy_only=False))
    total = np.zeros(len(keys), np.int64)
    np.add.at(total, component, count[mine])
    return pa.table([keys, total, _reduce_groups(np.minimum, component, _first_word(names)[mine])], schema=MEMBERS)


def choose_components(parts: pa.Table, pairs: int, share: float, seed: int) -> pa.Table:
    """Return CHOSEN: the components that are held out, of MEMBERS that has all of its components.

    Args:
        pairs: of the whole dataset.
        share, seed: see `filters.duplicates.components.heldout`.
    """
    component, keys = codes(parts.column("root").combine_chunks())
    total = np.zeros(len(keys), np.int64)
    np.add.at(total, component, parts.column("pairs").to_numpy())
    least = _reduce_groups(np.minimum, component, parts.column("least").to_numpy())
    return pa.table([keys.filter(pa.array(is_chosen(total, least, pairs, share, seed)))], schema=CHOSEN)


def heldout_locators(pairs: pa.Table, out: pa.Table, count: int, share: float, seed: int) -> pa.Array:
    """Return the locators of the pairs that are held out, of ROOTED that has all pairs of its images; in their order.

    Args:
        out: CHOSEN of all.
        count: pairs of the whole dataset.
    """
    image, root = _root_of_image(pairs)
    names = _codes(pairs, "image_key")[1]
    alone = is_chosen(np.bincount(image, minlength=len(names)), _first_word(names), count, share, seed)
    with_others = pc.is_in(root, value_set=out.column("root").combine_chunks())
    goes = pc.if_else(pc.is_valid(root), with_others, pa.array(alone, pa.bool_()))
    return pairs.column("locator").combine_chunks().filter(goes.take(pa.array(image)))


def _codes(table: pa.Table, name: str) -> tuple[np.ndarray, pa.Array]:
    return codes(table.column(name).combine_chunks())


def _first_word(keys: pa.Array) -> np.ndarray:
    return words64(keys)[:, 0] if len(keys) else np.zeros(0, np.uint64)


def _reduce_groups(function: np.ufunc, group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The least or greatest value of each group. Groups: 0, 1, …, each with a value; result: (groups,)."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    reduced: np.ndarray = function.reduceat(values[order], starts) if len(starts) else values[:0]
    return reduced
