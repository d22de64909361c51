"""Nothing that openwit needs, to run or to be tested, is under the GPL or the AGPL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

import pytest
from packaging.requirements import Requirement

OURS = ("openwit", frozenset({"train", "pipeline", "dev"}))
SILENT = {"cuda-toolkit": "NVIDIA's list of its own packages, with nothing in it"}
"""Packages whose metadata names no licence, and why they may stay."""
_COPYLEFT = re.compile(r"\b(?<!lesser )(?<!library )(?:a?gpl|(?:gnu )?(?:affero )?general public)", re.IGNORECASE)


def needed() -> Iterator[Distribution]:
    """Every installed package that ours leads to, however far, by what the metadata says."""
    todo, seen = [OURS], set[tuple[str, frozenset[str]]]()
    while todo:
        name, extras = todo.pop()
        key = (re.sub(r"[-_.]+", "-", name).lower(), frozenset(extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # of another platform, or left out by [tool.uv] in pyproject.toml
            continue
        yield found
        for line in found.requires or []:
            requirement = Requirement(line)
            environments = [{"extra": extra} for extra in ("", *extras)]
            if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
                todo.append((requirement.name, frozenset(requirement.extras)))


def licences(package: Distribution) -> list[str]:
    """What a package says of its licence: an SPDX expression, else its classifiers, else its own words, or its file."""
    about: Any = package.metadata
    expression = about.get("License-Expression")
    if expression:
        return [expression]
    classifiers = [text for text in about.get_all("Classifier", []) if text.startswith("License ::")]
    # Some write the whole text there, whose first line names it.
    texts = [
        about.get("License"),
        *(package.read_text(f"licenses/{name}") for name in about.get_all("License-File", [])),
    ]
    return classifiers or [text.strip().splitlines()[0] for text in texts if text and text.strip()]


def is_free_of_gpl(statements: list[str]) -> bool:
    """Whether one may take a package without the (A)GPL. Several classifiers are a choice, as OR is; AND is none."""
    choices = [choice for text in statements for choice in re.split(r"\bOR\b|(?<=\w) or (?=[A-Z])", text)]
    return any(not _COPYLEFT.search(choice) for choice in choices)


@pytest.mark.parametrize(
    ("statements", "is_free"),
    [
        (["MIT"], True),
        (["LGPL-2.1-only"], True),
        (["License :: OSI Approved :: GNU Lesser General Public License v2 or later (LGPLv2+)"], True),
        (["License :: OSI Approved :: GNU Library or Lesser General Public License (LGPL)"], True),
        (["MPL-2.0 AND MIT"], True),
        (["MIT OR GPL-2.0-only"], True),
        (
            ["License :: OSI Approved :: Artistic License", "License :: OSI Approved :: GNU General Public License"],
            True,
        ),
        (["GPL-3.0-or-later"], False),
        (["AGPL-3.0"], False),
        (["Apache-2.0 AND AGPL-3.0-only"], False),
        (["GPLv3"], False),
        (["License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)"], False),
        (["License :: OSI Approved :: GNU Affero General Public License v3"], False),
        (["GNU AFFERO GENERAL PUBLIC LICENSE"], False),
    ],
)
def test_what_a_licence_allows(statements: list[str], is_free: bool) -> None:
    assert is_free_of_gpl(statements) == is_free


def test_every_package_may_be_used_without_the_gpl() -> None:
    packages = {package.metadata["Name"]: licences(package) for package in needed()}
    assert {"openwit", "torch", "ray", "phonenumbers", "python-stdnum", "pytest"} <= set(packages)
    assert len(packages) > 150
    assert {name for name, statements in packages.items() if not statements} <= set(SILENT)
    bad = {name: statements for name, statements in packages.items() if statements and not is_free_of_gpl(statements)}
    assert not bad
