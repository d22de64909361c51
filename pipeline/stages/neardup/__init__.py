"""neardup: images that look alike, found completely, decided on images, mapped back to pairs."""

from __future__ import annotations

from dataset.stages import Stage, Table

NEARDUP = Stage(
    name="neardup",
    code=f"{__name__}.stage",
    phases=(
        "neardup.hash",
        "neardup.map",
        "neardup.against",
        "neardup.edges",
        "neardup.small_star",
        "neardup.large_star",
        "neardup.components",
        "neardup.members",
        "neardup.clusters",
        "neardup.cells",
        "neardup.semantic",
        "neardup.decide",
    ),
    judges="pairs",
    passed="no other image stands for this one",
    sections=("neardup", "semantic"),
    reasons={
        "duplicate_image": "the same bytes or pixels as another kept image",
        "near_duplicate_image": "looks like another kept image (perceptual hash)",
        "semantic_duplicate": "shows what another kept image shows (embedding)",
    },
    tables=(Table("image_hashes", "neardup.hash", "hashes", is_view=False),),
)
