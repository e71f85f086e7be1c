"""What a project says about the version of a distribution: locked, required exactly, or within bounds.

A lock file comes before `requirements*.txt`, and that before `pyproject.toml`; whatever else says something must agree with it. A
requirement whose marker does not hold for kitty's own interpreter says nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import attrs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version


@attrs.frozen
class Pin:
    """One file's word on a distribution."""

    file: str
    """Its name, in the project's directory."""
    allowed: SpecifierSet

    @property
    def exact(self) -> str:
        """The one version that it can be; empty where there are several."""
        versions = [one.version for one in self.allowed if one.operator in ("==", "===") and "*" not in one.version]
        return versions[0] if versions else ""


@attrs.frozen
class Pins:
    """Every file's word, the one that counts first."""

    found: tuple[Pin, ...]
    unreadable: tuple[str, ...] = ()
    """Files that cannot be read, each with the reason."""

    @property
    def contradictions(self) -> Iterator[str]:
        """Where the exact version of one is not what another wants. One line each."""
        for pair in combinations(self.found, 2):
            for one, other in (pair, pair[::-1]):
                if one.exact and not other.allowed.contains(one.exact, prereleases=True):
                    yield f"{one.file} has {one.exact}, but {other.file} wants {other.allowed}"
                    break


def pins_of(directory: Path, distribution: str) -> Pins:
    """What the files of a project's directory say."""
    name = canonicalize_name(distribution)
    found: list[Pin] = []
    unreadable: list[str] = []
    for pattern, read in _FILES.items():
        for path in sorted(directory.glob(pattern)):
            try:
                said = [one for one in read(path.read_text(encoding="utf-8"), name) if str(one)]
            except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
                unreadable.append(f"{path.name} cannot be read: {error}")
                continue
            found += [Pin(path.name, one) for one in dict.fromkeys(said)]
    return Pins(tuple(found), tuple(unreadable))


def _locked(key: str) -> Callable[[str, str], Iterator[SpecifierSet]]:
    def read(text: str, name: str) -> Iterator[SpecifierSet]:
        for package in tomllib.loads(text).get(key, []):
            # A package that is built from the project's own directory has no version in some.
            if canonicalize_name(package["name"]) == name and "version" in package:
                yield SpecifierSet(f"=={Version(package['version'])}")

    return read


def _required(text: str, name: str) -> Iterator[SpecifierSet]:
    """The exact ones of a `requirements.txt`."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        plain = re.split(r"(?:^|\s)(?:#|--)", line)[0].strip()
        if plain and not plain.startswith("-"):
            yield from (allowed for allowed in _allowed(plain, name) if "==" in str(allowed))


def _declared(text: str, name: str) -> Iterator[SpecifierSet]:
    """`pyproject.toml`: the project itself, and what it depends on."""
    data: dict[str, Any] = tomllib.loads(text)
    project = data.get("project", {})
    if canonicalize_name(project.get("name", "")) == name and "version" in project:
        yield SpecifierSet(f"=={Version(project['version'])}")
    for listed in (
        project.get("dependencies", []),
        *project.get("optional-dependencies", {}).values(),
        *data.get("dependency-groups", {}).values(),
    ):
        # A group may include another, which is listed by itself.
        for line in (one for one in listed if isinstance(one, str)):
            yield from _allowed(line, name)


def _allowed(line: str, name: str) -> Iterator[SpecifierSet]:
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return  # a URL or a path, which says nothing about a version
    if canonicalize_name(requirement.name) == name and (
        not requirement.marker or requirement.marker.evaluate({"extra": ""})
    ):
        yield requirement.specifier


_FILES: dict[str, Callable[[str, str], Iterator[SpecifierSet]]] = {
    "uv.lock": _locked("package"),
    "pylock.toml": _locked("packages"),
    "pylock.*.toml": _locked("packages"),
    "poetry.lock": _locked("package"),
    "requirements*.txt": _required,
    "pyproject.toml": _declared,
}
"""How each file is read; the first that says something counts."""
