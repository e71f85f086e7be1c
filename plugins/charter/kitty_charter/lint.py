"""`kitty charter lint`: ids that nothing defines, ids and headings that stand there twice, sections that say nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from kitty_charter.project import PLACE, canonical, definitions, headings, project_sections
from kitty_host.api import Finding, KittyError
from kitty_host.command import Invocation, command
from kitty_host.governance import KINDS, Kind
from kitty_host.inert import inert
from kitty_host.records import Section
from kitty_host.report import counted, note


@command("lint")
def lint(call: Invocation) -> None:
    """Look for ids that dangle, ids and headings that stand there twice, and sections that say nothing."""
    sections = project_sections(call.repo.root, "")
    defined = definitions(call.repo.root)
    # In prose alone a rule is defined by being there.
    dangling = _dangling(sections, defined) if (call.repo.root / PLACE / "charter.yaml").exists() else ()
    findings = [*dangling, *_defined_twice(defined), *_headings(headings(call.repo.root))]
    told = [finding._asdict() for finding in findings]
    lines = [f"{finding.severity:5}  {finding.code}: {finding.message}\n       {finding.hint}" for finding in findings]
    if any(finding.severity == "block" for finding in findings):
        if not call.json:
            note("\n".join(lines))
        raise KittyError(
            "CHARTER_INCONSISTENT",
            f"{counted(len(findings), 'finding')} in {PLACE}",
            findings[0].hint,
            findings=told,
        )
    said = "\n".join(lines) or f"{counted(len(sections), 'section')}, nothing to object to."
    call.show({"schema": "kitty.charter-lint/1", "findings": told, "sections": len(sections)}, said)


def _dangling(sections: Sequence[Section], defined: Mapping[Kind, Sequence[str]]) -> Iterator[Finding]:
    """The project's own ids without a definition, and others of a kind of which the YAML defines some: the rest is defined elsewhere."""
    for kind in KINDS:
        foreign = any(not name.startswith("DIR-") for name in defined[kind])
        for name, section in {canonical(name): one for one in sections for name in getattr(one, kind)}.items():
            if name not in defined[kind] and (foreign or name.startswith("DIR-")):
                yield Finding(
                    "CHARTER_ID_DANGLING",
                    f"{inert(name, prose=True)} is in #{section.anchor} and defined nowhere",
                    f"define it in {PLACE}/charter.yaml, or take it out",
                )


def _defined_twice(defined: Mapping[Kind, Sequence[str]]) -> Iterator[Finding]:
    for name, times in Counter(name for names in defined.values() for name in names).items():
        if times > 1:
            yield Finding(
                "CHARTER_ID_TWICE",
                f"{inert(name, prose=True)} is defined {times} times",
                f"leave one of them in {PLACE}/charter.yaml",
            )


def _headings(found: Sequence[tuple[int, str, str]]) -> Iterator[Finding]:
    """A heading may say nothing itself where the next one is below it, and one name may stand once below each heading."""
    seen: Counter[tuple[str, ...]] = Counter()
    above: list[tuple[int, str]] = []
    for place, (level, title, body) in enumerate(found):
        name = inert(title, prose=True)
        above = [*(one for one in above if one[0] < level), (level, title.casefold())]
        where = tuple(one[1] for one in above)
        seen[where] += 1
        if seen[where] == 2:
            yield Finding("CHARTER_HEADING_TWICE", f"two sections in one place are called {name}", "rename one", "warn")
        has_parts = place + 1 < len(found) and found[place + 1][0] > level
        if not has_parts and not re.search(r"\w", body):
            yield Finding("CHARTER_SECTION_EMPTY", f"the section {name} says nothing", "fill it, or take it out")
