"""DataComp's evaluation sets: its keys, its names, and by which metric it counts each (its tasklist.yml)."""

from __future__ import annotations

from typing import NamedTuple

ACCURACY, PER_CLASS, RETRIEVED = "acc1", "mean_per_class_recall", "mean_recall@1"


class DataCompTask(NamedTuple):
    """One of DataComp's sets."""

    key: str
    name: str  # by which its aggregate_scores.py groups it
    metric: str  # a figure of ours; empty for sets that it examines and does not count
    fields: tuple[str, ...] = ()  # of the row of numbers that each sample has as .npy, as its evaluators read it


_CAMERA = ("location", "sequence", "year", "month", "day", "hour", "minute", "second", "y")
_INCOME = ("income_group", "income_meta", "region")
_PEOPLE = ("age", "gender", "race", "race_binary")
TASKS: tuple[DataCompTask, ...] = tuple(
    DataCompTask(*each)
    for each in (
        ("vtab/caltech101", "Caltech-101", PER_CLASS),
        ("cifar10", "CIFAR-10", ACCURACY),
        ("vtab/cifar100", "CIFAR-100", ACCURACY),
        ("vtab/clevr_count_all", "CLEVR Counts", ACCURACY),
        ("vtab/clevr_closest_object_distance", "CLEVR Distance", ACCURACY),
        ("country211", "Country211", ACCURACY),
        ("vtab/dtd", "Describable Textures", ACCURACY),
        ("vtab/eurosat", "EuroSAT", ACCURACY),
        ("fgvc_aircraft", "FGVC Aircraft", PER_CLASS),
        ("food101", "Food-101", ACCURACY),
        ("gtsrb", "GTSRB", ACCURACY),
        ("imagenet1k", "ImageNet 1k", ACCURACY),
        ("imagenet_sketch", "ImageNet Sketch", ACCURACY),
        ("imagenetv2", "ImageNet v2", ACCURACY),
        ("imagenet-a", "ImageNet-A", ACCURACY),
        ("imagenet-o", "ImageNet-O", ACCURACY),
        ("imagenet-r", "ImageNet-R", ACCURACY),
        ("vtab/kitti_closest_vehicle_distance", "KITTI Vehicle Distance", ACCURACY),
        ("mnist", "MNIST", ACCURACY),
        ("objectnet", "ObjectNet", ACCURACY),
        ("vtab/flowers", "Oxford Flowers-102", PER_CLASS),
        ("vtab/pets", "Oxford-IIIT Pet", PER_CLASS),
        ("voc2007", "Pascal VOC 2007", ACCURACY),
        ("vtab/pcam", "PatchCamelyon", ACCURACY),
        ("renderedsst2", "Rendered SST2", ACCURACY),
        ("vtab/resisc45", "RESISC45", ACCURACY),
        ("cars", "Stanford Cars", ACCURACY),
        ("stl10", "STL-10", ACCURACY),
        ("sun397", "SUN397", ACCURACY),
        ("vtab/svhn", "SVHN", ACCURACY),
        ("retrieval/flickr30k", "Flickr", RETRIEVED),
        ("retrieval/mscoco_2014_5k_test_image_text_retrieval", "MSCOCO", RETRIEVED),
        ("misc/winogavil", "WinoGAViL", "jaccard_score_10-12"),
        (
            "wilds/iwildcam",
            "iWildCam",
            "f1_macro",
            _CAMERA,
        ),
        ("wilds/camelyon17", "Camelyon17", ACCURACY, ("hospital", "slide", "y")),
        ("wilds/fmow", "FMoW", "acc1_worst_region", ("region", "year", "y")),
        (
            "fairness/dollar_street",
            "Dollar Street",
            "acc5_worst_income_group",
            _INCOME,
        ),
        ("fairness/geode", "GeoDE", "acc1_worst_region", ("region", "country")),
        ("fairness/fairface", "FairFace", "", _PEOPLE),
        ("fairness/utkface", "UTKFace", "", _PEOPLE),
    )
)
WORST = ("region", "income_group", "group", "location")
"""Attributes of which the worst value's accuracy is told."""


def task_of(name: str) -> DataCompTask | None:
    """Return the task of a set's name, as DataComp's folders (`wds_vtab-caltech101_test`), its keys or others
    call it.
    """
    plain = _normalize_name(name)
    for task in TASKS:
        if plain in (_normalize_name(task.key), _normalize_name(task.key.rpartition("/")[2])):
            return task
    return None


def _normalize_name(name: str) -> str:
    return name.lower().removeprefix("wds_").removesuffix("_test").replace("_", "-").replace("/", "-")
