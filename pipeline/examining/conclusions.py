"""What the figures of `wit why` say in words: of each class, of correlations, and of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.examining.geometry import Correlation
from train.evaluate.results.row import Figure

GAP = 0.2
"""The difference from which on a probe's accuracy is said to be above zero-shot's: more than noise of 25 images
a class.
"""
FEW = 10
"""Captions, or images, below which a class is said to lack them."""


@dataclass
class Class:
    """A class, from coverage to accuracy. Shares are of 1; None where there is nothing to tell."""

    name: str
    test_images: int
    zero_shot: float | None
    zero_shot_low: float | None
    zero_shot_high: float | None
    mostly_taken_for: str | None
    probe: float | None
    probe_gap: float | None  # probe less zero-shot, on the images that both were asked
    captions: int  # of the dataset that hold its words
    query_pairs_before: int | None  # pairs of the query of this name before the first balance; None: it is no query
    query_pairs: int | None  # and in the dataset
    images_alike: int
    nearest_cosine: float | None  # the mean over its test images of the cosine with the nearest training image
    spread: float | None  # mean cosine of its test images with their centroid
    nearest_class: str | None
    nearest_class_cosine: float | None
    prompt_margin: float | None
    verdict: str = ""


def verdict(each: Class, chance: float) -> str:
    """Return what holds a class back; each part of it is a figure of the class."""
    if each.zero_shot is None or each.zero_shot_low is None:
        return "No test image shows it, so nothing is known of its accuracy."
    words = _format_count(each.captions, "caption holds its words", "captions hold its words")
    looks = _format_count(each.images_alike, "training image looks like it", "training images look like it")
    other = f", and is mostly taken for {each.mostly_taken_for}" if each.mostly_taken_for else ""
    held = f"{words}; {looks}."
    if each.zero_shot_low > chance and (each.probe_gap is None or each.probe_gap < GAP):
        return f"It is known: zero-shot is right on {each.zero_shot:.0%}. {held}"
    if each.probe is None or each.probe_gap is None:
        return f"It is not known: zero-shot is right on {each.zero_shot:.0%}{other}. {held}"
    if each.probe_gap >= GAP:
        lack = "captions lack its words" if each.captions < FEW else "its captions and these images do not meet"
        return (
            f"The features tell it apart (a probe is right on {each.probe:.0%}), but the prompt does not find it "
            f"(zero-shot {each.zero_shot:.0%}){other}: {lack}. {held}"
        )
    lack = "nothing like it is in the data" if each.images_alike < FEW else "what is like it did not teach it"
    return f"Not even a probe tells it apart ({each.probe:.0%}){other}: {lack}. {held}"


def _format_count(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def correlation_sentence(words: str, known: Correlation) -> str:
    """Return what a rank correlation with accuracy shows, and what it does not. words: what goes with it."""
    if known.rho is None:
        return f"{words}: no rank correlation can be told of {known.n} classes with these values"
    interval = "" if known.low is None else f", 95 % interval {known.low:+.2f} to {known.high:+.2f}"
    figure = f"rank correlation with accuracy {known.rho:+.2f}{interval}, {known.n} classes"
    if not known.is_shown:
        return f"{words}: {figure}; whether they go together is not shown"
    return f"{words}: {figure}; the more, the {'better' if known.rho > 0 else 'worse'}"


def conclusions(
    accuracy: Figure, probe_accuracy: float | None, classes: Sequence[Class], correlations: Sequence[str]
) -> list[str]:
    """Return the argument from coverage to accuracy, sentence by sentence.

    Args:
        accuracy: zero-shot's, of all images, with chance and its interval.
        probe_accuracy: a probe's, the mean over classes; None without one.
        correlations: what each was found to show.
    """
    assert accuracy.value is not None and accuracy.low is not None and accuracy.chance is not None
    asked = [each for each in classes if each.zero_shot is not None]
    silent = [each for each in asked if not each.captions]
    unseen = [each for each in asked if not each.images_alike]
    sure = "above" if accuracy.low > accuracy.chance else "no better than"
    lines = [
        f"Zero-shot is right on {accuracy.value:.1%} of the test images ({accuracy.low:.1%} to "
        f"{accuracy.high:.1%}), {sure} chance ({accuracy.chance:.1%}).",
        f"Of {len(asked)} classes {len(silent)} have no caption with their words, and {len(unseen)} no training image "
        "that looks like them.",
    ]
    if probe_accuracy is not None:
        gap = probe_accuracy - sum(each.zero_shot or 0.0 for each in asked) / len(asked)
        lines.append(
            f"A linear probe is right on {probe_accuracy:.1%}, the mean over classes: {_side(gap, probe_accuracy)}."
        )
    lines += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in correlations]
    lines.append(
        "A correlation over classes of one set shows what goes together, not what causes what; "
        f"{len(correlations)} correlations were looked at."
    )
    return lines


def _side(gap: float, probe: float) -> str:
    """Say on which side it fails: the features', or the prompts'. gap: a probe's accuracy less zero-shot's."""
    if gap >= GAP:
        return "the image tower tells the classes apart, and it is the step from words to images that fails"
    if probe < 0.5:
        return "even a probe on the same features is mostly wrong, so it is the features that lack"
    return "the prompts find nearly all that the features hold"
