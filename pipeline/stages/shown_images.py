"""What the stages over images do alike: which images the alive pairs show, and measures of these."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engine.phase import Context, Result
from pipeline.engine.reuse import image_contents, image_keys, reuse_measures
from pipeline.engine.verdicts import alive_rows, lost_verdicts, measure_in_slices, take_units

IMAGES_AT_ONCE = 256
"""Images of a partition that are held in memory together."""


def images_of(pairs: pa.Table, images: pa.Table) -> pa.Table:
    """Return the image of each pair, in the pairs' order."""
    return images.take(pc.index_in(pairs.column("url"), value_set=images.column("url").combine_chunks()))


def shown_images(context: Context, pairs: pa.Table | None = None) -> pa.Table:
    """Return the images that the alive pairs (or these of them) show, in the order of their rows."""
    urls = pc.unique((alive_rows(context, ["url"]) if pairs is None else pairs).column("url"))
    images = context.table("images")
    return images.filter(pc.is_in(images.column("url"), value_set=urls))


def measure_shown(
    context: Context,
    result: Result,
    role: str,
    measure: Callable[[pa.Table], pa.Table],
    *,
    is_guarded: bool = False,
) -> pa.Table:
    """Measure the shown images, some at a time, each content once; what an earlier run measured is taken from it.

    Args:
        result: gets the measures as a table of this role.
        measure: rows of `images` -> `row` and what is measured on them, in their order.
        is_guarded: see `pipeline.engine.verdicts.measure_in_slices`.

    Returns:
        The measures, in the order of the images' rows.
    """
    shown = shown_images(context)
    images = take_units(context, shown)

    def measure_slices(images: pa.Table) -> pa.Table:
        return measure_in_slices(context, images, IMAGES_AT_ONCE, measure, of=shown, is_guarded=is_guarded)

    return reuse_measures(context, result, role, images, image_keys(images), measure_slices, image_contents(images))


def lost_images(context: Context, rows: pa.Table, images: pa.Table, measured: pa.ChunkedArray) -> pa.Table:
    """Return verdicts on the alive pairs whose image could not be measured: VERDICTS, by what its measure left out.

    measured: the rows of `images` that were.
    """
    urls = images.filter(pc.is_in(images.column("row"), value_set=measured.combine_chunks())).column("url")
    shown = rows.filter(pc.is_in(rows.column("url"), value_set=urls.combine_chunks()))
    return lost_verdicts(context, rows, shown.column("row"))
