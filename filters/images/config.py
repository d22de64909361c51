"""Which decoded images are of use: their size, shape, and what models say. Decided by sql/decisions/image.sql."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from dataset.schema import PAIRS
from filters.images.embeddings import Head
from filters.images.models import OPEN_NSFW, ImageModel
from filters.images.nsfw_int8 import doubts

BUILTIN = "builtin"
RESERVED = frozenset(
    {
        *(*PAIRS.names, "row", "partition", "image"),
        *("nsfw_probability", "clip_score", "min_clip_score", "cell", "cell_cosine", "target_images"),
        *("face_bboxes", "face_scores"),
    }
)
"""Columns that predicates know anyway: no model, head or quantile of a config has such a name."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TOP = re.compile(r"top (?P<share>\d+(\.\d+)?) ?%( of (?P<column>[a-z][a-z0-9_]*))?")


def check_names(key: str, names: Sequence[str]) -> None:
    """Raise ValueError if one of the names would not do as a column's, or two are the same."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{key} must be lower_case_with_underscores, not {name!r}")
        if name in RESERVED:
            raise ValueError(f"{key}: {name} is a column that is there anyway; choose another name")
        if names.count(name) > 1:
            raise ValueError(f"{key}: {name} occurs twice; names must be distinct")


@dataclass(frozen=True, kw_only=True)
class ScoringModel(ImageModel):
    """A model that answers a number for an image: its name is the column's."""

    name: str
    """The column that predicates of `filters` know it by, such as `watermark_probability`."""
    answer: int = -1
    """Which number of the output is meant; by default the last, where models of two classes have what they look for."""


NSFW = ScoringModel(name="nsfw_probability", **vars(OPEN_NSFW))
"""What `nsfw_model: builtin` is."""


@dataclass(frozen=True)
class ImageFilterConfig:
    """Bounds on an image's original size, before it was made smaller for storage, and on what models say."""

    min_side: int = 64
    """The fewest pixels of an image's shorter side; smaller images are mostly icons and tracking pixels (DataComp's
    basic filter asks for 200)."""
    max_aspect: float = 3.0
    """The largest ratio of the longer side to the shorter; beyond are mostly banners and rules (3 in DataComp, Gadre et
    al. 2023)."""
    nsfw_model: str = BUILTIN
    """What measures `nsfw_probability`: `builtin` (Yahoo's open_nsfw), one of `models` or `heads`; empty for none."""
    nsfw_exact: bool = False
    """Whether the builtin model looks at every image in full precision, which takes several times as long. By default a
    version in 8-bit integers looks first, at 128 × 128 pixels, and its probability counts where it is below 0.01; then
    at 224 × 224, where it counts below 0.05; all other images are given to the full model. These bounds are lower where
    `max_nsfw_probability` is below 0.5; below 0.1 every image is the full model's."""
    max_nsfw_probability: float = 0.8
    """An image whose `nsfw_probability` is higher is dropped. Yahoo's own words for open_nsfw: below 0.2 safe, above
    0.8 most likely not."""
    models: tuple[ScoringModel, ...] = ()
    """Models of your own (watermark, quality): each makes a column, which a predicate of `filters` decides by."""
    embedding_model: str = ""
    """What embeds images and texts: `MODEL/PRETRAINED` of open_clip (a tag or a path of weights), `local-dir:FOLDER`,
    `hf-hub:REPOSITORY`, or a run, checkpoint or export of `wit train`; empty for none."""
    min_clip_score: float | str | None = None
    """A pair is dropped if the embeddings of its image and its text have a lower cosine; `top 30%` keeps that share of
    the pairs that come to this stage (as DataComp does, with OpenAI's ViT-L/14), ties with the last of them
    included."""
    heads: tuple[Head, ...] = ()
    """Small models over the image embeddings (aesthetics): each makes a column, as those of `models` do."""
    quantiles: dict[str, str] = field(default_factory=dict)
    """Numbers that are taken from the data and that predicates of `filters` may name: `aesthetic_floor: top 30% of
    aesthetic`."""

    def __post_init__(self) -> None:
        if self.min_side < 1:
            raise ValueError(f"min_side must be at least 1, not {self.min_side}")
        if not self.max_aspect >= 1:
            raise ValueError(f"max_aspect must be at least 1, not {self.max_aspect}")
        if not 0 <= self.max_nsfw_probability <= 1:
            raise ValueError(f"max_nsfw_probability must be from 0 to 1, not {self.max_nsfw_probability}")
        names = [*(model.name for model in self.models), *(head.name for head in self.heads)]
        check_names("models and heads", names)
        check_names("quantiles", [*self.quantiles, *names])
        if not self.embedding_model and (self.heads or self.min_clip_score is not None):
            raise ValueError("heads and min_clip_score need an embedding_model")
        if isinstance(self.min_clip_score, str):
            parse_quantile("min_clip_score", self.min_clip_score, "clip_score")
        elif self.min_clip_score is not None and not -1 <= self.min_clip_score <= 1:
            raise ValueError(f"min_clip_score must be from -1 to 1, or like `top 30%`, not {self.min_clip_score}")
        if self.nsfw_model not in ("", BUILTIN, *names):
            raise ValueError(
                f"nsfw_model must be {BUILTIN}, empty, or the name of one of models or heads, not {self.nsfw_model!r}"
            )
        for name, value in self.quantiles.items():
            parse_quantile(f"quantiles.{name}", value)

    @property
    def nsfw(self) -> ScoringModel | None:
        """The image model that measures nsfw_probability; None if nothing does, or one of `heads`."""
        named = {BUILTIN: NSFW, **{model.name: model for model in self.models}}
        return named.get(self.nsfw_model)

    @property
    def nsfw_doubts(self) -> tuple[float, float] | None:
        """How far the builtin model in 8-bit integers is trusted, see `filters.images.nsfw_int8.DOUBTS`; None where it
        is not asked."""
        return doubts(self.max_nsfw_probability) if self.nsfw_model == BUILTIN and not self.nsfw_exact else None

    @property
    def own_models(self) -> tuple[ScoringModel, ...]:
        """`models` without the one that measures nsfw_probability."""
        return tuple(model for model in self.models if model.name != self.nsfw_model)

    @property
    def shares(self) -> dict[str, tuple[Fraction, str]]:
        """The quantiles that are asked for: name -> (share, column)."""
        wanted = {name: parse_quantile(f"quantiles.{name}", value) for name, value in self.quantiles.items()}
        if isinstance(self.min_clip_score, str):
            wanted["min_clip_score"] = parse_quantile("min_clip_score", self.min_clip_score, "clip_score")
        return wanted


def parse_quantile(key: str, value: str, column: str | None = None) -> tuple[Fraction, str]:
    """Parse `top 30% of COLUMN`, or `top 30%` of a column that is known; return the share as an exact number, and the
    column.

    Raises:
        ValueError: it is something else, or not a share above 0 and below 100 %.
    """
    match = _TOP.fullmatch(value.strip())
    if match is None or (match["column"] is None) == (column is None):
        example = "top 30%" if column else "top 30% of aesthetic"
        raise ValueError(f"{key} must be like `{example}`, not {value!r}")
    share = Fraction(match["share"]) / 100
    if not 0 < share < 1:
        raise ValueError(f"{key} must be above 0 and below 100 %, not {value!r}")
    return share, column or match["column"]
