"""`kitty contract`: what the project builds on is what it was built against.

A snapshot is a file per distribution and version that says what the distribution offers. `check` compares what is installed with the
snapshot of its version and with what the project pins; any difference fails. What is there to be compared is found by `introspect.py`
and `surface.py`, what is pinned by `pins.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
import click
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kitty_charter.introspect import Surface, python_of, surface
from kitty_charter.pins import pins_of
from kitty_host.api import Finding, KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.files import atomic_write
from kitty_host.inert import inert, visible
from kitty_host.report import note

SCHEMA = "kitty.contract/1"

_SHOWN, _LONGEST = 30, 100

contract = group("contract", help="Keep what the project builds on as it was.")


@attrs.frozen
class Package:
    """One distribution that the project builds on."""

    distribution: str
    modules: tuple[str, ...] = ()
    """Besides its top-level packages."""


@attrs.frozen
class Settings:
    """The section `contract` of `.kittify/config.yaml`."""

    packages: tuple[Package, ...] = ()
    directory: str = "tests/contract/snapshots"
    python: str = ""
    """The interpreter of the project, relative to the checkout; empty for that of its `.venv`, else kitty's own."""
    timeout_seconds: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    """How long it may take to import one distribution."""


@attrs.frozen
class Case:
    """One distribution as it is installed, and where its snapshot is."""

    package: Package
    surface: Surface
    directory: Path
    """Of the snapshots."""

    @property
    def name(self) -> str:
        """As it is in the configuration."""
        return inert(self.package.distribution)

    @property
    def path(self) -> Path:
        """The snapshot of the version that is installed. A version is parsed, so it is no way out of the directory."""
        return self.directory / "{distribution}-{version}.json".format_map(self.content)

    @property
    def content(self) -> dict[str, Any]:
        """What a snapshot of it says."""
        return {
            "schema": SCHEMA,
            "distribution": canonicalize_name(self.package.distribution),
            "version": str(Version(self.surface.version or "")),
            "modules": self.surface.modules,
        }


@command("snapshot", group=contract)
@click.argument("distributions", nargs=-1, metavar="[DIST]...")
@click.option("--python", metavar="FILE", help="The interpreter that has them.")
@click.option("--force", is_flag=True, help="Replace a snapshot of the same version that says something else.")
def snapshot(call: Invocation, distributions: tuple[str, ...], python: str | None, force: bool) -> None:
    """Write down what is installed: of DIST, or of everything under contract."""
    cases = _cases(call, distributions, python)
    _refuse(call, list(chain.from_iterable(map(_unseen, cases))))
    written = []
    for case in cases:
        before = _read(case)
        if isinstance(before, dict) and before["modules"] == case.surface.modules:
            continue
        if before is not None and not force:
            told = before if isinstance(before, str) else next(differences(before["modules"], case.surface.modules))
            raise KittyError(
                "CONTRACT_CHANGED",
                f"the snapshot of {case.name} {case.surface.version} says something else: {told}",
                f"a changed interface is a new version; if this one is meant: kitty contract snapshot {case.name} --force",
                path=_place(call, case),
            )
        written.append(case)
    for case in written:
        atomic_write(case.path, f"{json.dumps(case.content, indent=2, sort_keys=True)}\n".encode())
    rows = [{**_row(call, case), "written": case in written} for case in cases]
    lines = [f"{'wrote' if row['written'] else 'as it was:'} {row['snapshot']}" for row in rows]
    call.show({"schema": SCHEMA, "packages": rows}, "\n".join(lines))


@command("check", group=contract)
@click.argument("distributions", nargs=-1, metavar="[DIST]...")
@click.option("--python", metavar="FILE", help="The interpreter that has them.")
def check(call: Invocation, distributions: tuple[str, ...], python: str | None) -> None:
    """Compare what is installed with its snapshot and with what the project pins."""
    cases = _cases(call, distributions, python)
    findings = [
        finding for case in cases for finding in chain(_pinned(call, case), _unseen(case), _compared(call, case))
    ]
    _refuse(call, findings)
    rows = [_row(call, case) for case in cases]
    lines = [f"{row['distribution']} {row['version']} is as in {row['snapshot']}" for row in rows]
    call.show({"schema": SCHEMA, "ok": True, "packages": rows, "findings": []}, "\n".join(lines))


def _cases(call: Invocation, distributions: tuple[str, ...], python: str | None) -> list[Case]:
    """What is meant, as it is installed. Errors: `CONTRACT_UNKNOWN`, `CONTRACT_PYTHON`, `CONFIG_INVALID`."""
    settings = call.repo.config.section("contract", Settings)
    known = {canonicalize_name(one.distribution): one for one in settings.packages}
    unknown = [inert(one) for one in distributions if canonicalize_name(one) not in known]
    if unknown or not known:
        raise KittyError(
            "CONTRACT_UNKNOWN",
            f"not under contract: {', '.join(unknown)}" if unknown else "nothing is under contract",
            f"name it in .kittify/config.yaml under contract.packages: - distribution: {(unknown or ['NAME'])[0]}",
            known=sorted(known),
        )
    # The rules are those of the canonical checkout; what they are applied to is where one stands, such as a candidate.
    here = call.repo.here
    directory = here / settings.directory
    if not directory.resolve().is_relative_to(here.resolve()):
        raise KittyError(
            "CONFIG_INVALID",
            f"contract.directory leads out of the checkout: {inert(settings.directory)}",
            "set it in .kittify/config.yaml to a directory below the checkout",
        )
    asked = call.directory / python if python else python_of(call.repo, settings.python)
    meant = {canonicalize_name(one): None for one in distributions} or known
    return [
        Case(one, surface(asked.absolute(), here, one.distribution, one.modules, settings.timeout_seconds), directory)
        for one in (known[name] for name in meant)
    ]


def _unseen(case: Case) -> Iterator[Finding]:
    """What keeps it from being compared at all."""
    if not case.surface.version:
        yield _finding(f"{case.name} is not installed", f"install it: pip install {case.name}")
        return
    try:
        Version(case.surface.version)
    except InvalidVersion as error:
        yield _finding(f"{case.name}: {error}", "install a release of it that has one")
    for problem in case.surface.problems:
        yield _finding(
            f"{case.name} {case.surface.version}: {_short(problem)}",
            "mend it, or leave its module out of contract.packages",
        )


def _pinned(call: Invocation, case: Case) -> Iterator[Finding]:
    """Whether the version is one that the project has chosen."""
    pins = pins_of(call.repo.here, case.package.distribution)
    for problem in pins.unreadable:
        yield _finding(_short(problem), "mend it, or remove it")
    for contradiction in pins.contradictions:
        yield _finding(f"{case.name}: {contradiction}", "make them agree: lock anew, or change the requirement")
    if not pins.found:
        yield _finding(
            f"nothing pins {case.name}",
            f"require it in pyproject.toml: {case.name}=={case.surface.version or 'VERSION'}",
        )
    elif case.surface.version and not pins.found[0].allowed.contains(case.surface.version, prereleases=True):
        first = pins.found[0]
        yield _finding(
            f"{case.name} {case.surface.version} is installed, but {first.file} wants {first.allowed}",
            f"install that: pip install '{case.name}{first.allowed}'; or move the pin on purpose",
        )


def _compared(call: Invocation, case: Case) -> Iterator[Finding]:
    """What is not as the snapshot says."""
    if any(_unseen(case)):
        return
    before, place = _read(case), _place(call, case)
    again = f"kitty contract snapshot {case.name}"
    if before is None:
        yield _finding(
            f"there is no snapshot of {case.name} {case.surface.version}: {place}", f"make it: {again}", place
        )
    elif isinstance(before, str):
        yield _finding(f"{place}: {before}", f"restore it from Git, or make it again: {again} --force", place)
    else:
        for told in differences(before["modules"], case.surface.modules):
            hint = f"install what the snapshot was made of; if the change is meant: {again} --force"
            yield _finding(f"{case.name} {case.surface.version}: {told}", hint, place)


def _read(case: Case) -> dict[str, Any] | str | None:
    """The snapshot; what is wrong with it; None where there is none."""
    try:
        found = json.loads(case.path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        return f"it cannot be read: {_short(str(error))}"
    if not (isinstance(found, dict) and isinstance(found.get("modules"), dict)):
        return "it is no snapshot"
    head = {key: value for key, value in case.content.items() if key != "modules"}
    wrong = [f"{key} is {_short(json.dumps(found.get(key)))}" for key in head if found.get(key) != head[key]]
    return ", ".join(wrong) or found


def differences(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """How two surfaces differ, one line for each name, field or parameter that does."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            place = f"{at}.{key}".lstrip(".")
            if key not in new or key not in old:
                yield f"{_short(place)} was {'added' if key in new else 'removed'}"
            else:
                yield from differences(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list) and old != new:
        gone, come = ([one for one in a if one not in b] for a, b in ((old, new), (new, old)))
        told = [f"no longer {_short(_written(one))}" for one in gone] + [f"now {_short(_written(one))}" for one in come]
        yield f"{_short(at)}: {', '.join(told) or 'another order'}"
    elif old != new:
        yield f"{_short(at)} was {_short(_written(old))} and is {_short(_written(new))}"


def _refuse(call: Invocation, findings: list[Finding]) -> None:
    """Raise `CONTRACT_DRIFT` unless all is well; where there are several, people see a line and a hint for each."""
    if not findings:
        return
    first, *others = findings
    message = f"{len(findings)} findings, the first: {first.message}" if others else first.message
    if others and not call.json:
        for one in findings[:_SHOWN]:
            note(f"{one.message}\n  {one.hint}")
        if len(findings) > _SHOWN:
            note(f"and {len(findings) - _SHOWN} more; --json has them all")
    raise KittyError("CONTRACT_DRIFT", message, first.hint, findings=[one._asdict() for one in findings])


def _finding(message: str, hint: str, path: str = "") -> Finding:
    return Finding("CONTRACT_DRIFT", message, hint, "block", path)


def _row(call: Invocation, case: Case) -> dict[str, Any]:
    return {"distribution": case.name, "version": case.surface.version, "snapshot": _place(call, case)}


def _place(call: Invocation, case: Case) -> str:
    return case.path.relative_to(call.repo.here).as_posix()


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _short(text: str) -> str:
    """In one line; brackets and quotes stay, for annotations are made of them."""
    text = " ".join(visible(text, lines=False).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
