"""image: what is measured on images, by rules and by models, and the config's own image filters."""

from __future__ import annotations

from dataset.schema import CELLS, CLIP_SCORES, FACES, NSFW
from dataset.stages import Stage, Table

IMAGE = Stage(
    name="image",
    code=f"{__name__}.stage",
    phases=(
        "image.nsfw",
        "image.models",
        "image.faces",
        "image.embed",
        "image.heads",
        "image.sample",
        "image.cells",
        "image.cell",
        "image.target",
        "image.custom",
        "image.cutoffs",
        "image.decide",
    ),
    judges="pairs",
    passed="the image passes",
    sections=("image", "faces", "semantic", "filters"),
    reasons={
        "image_too_small": "the image's shorter side is below the config's minimum",
        "image_aspect": "the image is longer, against its shorter side, than the config allows",
        "nsfw_image": "the image is less likely safe to look at than the config asks for",
        "clip_score_low": "the image and the text agree less than the config asks for",
        "image_has_face": "the image has a face, and the config asks for none",
        "unlike_target_images": "no image of the target set is in the same cell of similar images",
    },
    tables=(
        Table("nsfw", "image.heads", "measures", NSFW),  # a head may be the NSFW model
        Table("nsfw", "image.nsfw", "measures", NSFW, measured_on="image"),
        Table("image_models", "image.models", "measures", measured_on="image"),
        Table("faces", "image.faces", "measures", FACES, measured_on="image"),
        Table("image_heads", "image.heads", "measures", measured_on="image"),
        Table("cells", "image.cell", "measures", CELLS, measured_on="image"),
        Table("clip_scores", "image.embed", "measures", CLIP_SCORES, measured_on="row"),
        Table("image_custom", "image.custom", "measures", measured_on="row"),
    ),
    views=("views/scores",),
)
