"""The rules that govern an action: put together from every plugin, rendered, and checked to be all there; and what proves which they were.

What a project's own rules are and how they look is a plugin's business (`kitty_charter`, `kitty_charter_render`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from attrs import evolve

from kitty_host.api import KittyError
from kitty_host.files import atomic_write
from kitty_host.inert import inert
from kitty_host.plugins import Plugins
from kitty_host.records import Charter, Rules, Section
from kitty_host.repo import Repo

Kind = Literal["directives", "tactics", "styleguides"]
KINDS: tuple[Kind, ...] = ("directives", "tactics", "styleguides")
BOOTSTRAP, COMPACT = "bootstrap", "compact"


def charter_for(plugins: Plugins, repo: Repo, action: str) -> Charter:
    """Everything that governs an action; where no plugin keeps a charter, what plugins have to say."""
    sections = tuple(_plugin_sections(plugins, action))
    found: Charter | None = plugins.first("kitty_charter", action=action, sections=sections, repo=repo)
    return Charter(action, tuple(_distinct(found.sections if found else sections)))


def rendered(plugins: Plugins, charter: Charter, mode: str = BOOTSTRAP) -> Rules:
    """The text that an agent is given. Errors: `CHARTER_INCOMPLETE` where it does not list every id and anchor, in order."""
    text: str | None = plugins.first("kitty_charter_render", charter=charter, mode=mode)
    if text is None:
        # Without a plugin that renders them the rules still arrive.
        text = "\n\n".join(map(block, charter.sections))
    else:
        for kind in KINDS:
            _require_all(text, ids(charter, kind), kind)
        _require_all(text, anchors(charter), "anchors")
    return Rules(charter.action, text, digest(charter), tuple(receipt(charter).items()))


def given(plugins: Plugins, repo: Repo, action: str) -> Rules | None:
    """The rules that somebody gets who is handed work, whole; None where there are none."""
    charter = charter_for(plugins, repo, action)
    return rendered(plugins, charter) if charter.sections else None


def told(rules: Rules | None) -> dict[str, Any]:
    """What a claim records of the rules that went with it, as a part of its `policy_metadata`."""
    if rules is None:
        return {}
    sections = dict(rules.sections)
    return {
        "rules": {"action": rules.action, "receipt": rules.receipt, "sections": sections, "text": sha256_of(rules.text)}
    }


def recorded(policy: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same, read from the `policy_metadata` of a row; empty where it says nothing of rules."""
    rules = (policy or {}).get("rules")
    return rules if isinstance(rules, dict) else {}


def keep(repo: Repo, rules: Rules) -> Path:
    """Keep the text under its hash, so that a receipt can be shown with what it is for."""
    place = text_of(repo, sha256_of(rules.text))
    if kept(repo, sha256_of(rules.text)) is None:
        atomic_write(place, rules.text.encode())
    return place


def kept(repo: Repo, sha256: str) -> str | None:
    """The text with this hash, if it is kept in this clone and is still what was hashed."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        return None
    try:
        content = text_of(repo, sha256).read_bytes()
    except OSError:
        return None
    return content.decode() if hashlib.sha256(content).hexdigest() == sha256 else None


def text_of(repo: Repo, sha256: str) -> Path:
    """Where the text with this hash is kept, if it is."""
    return repo.state / "rules" / f"{sha256}.md"


def ids(charter: Charter, kind: Kind) -> list[str]:
    """The ids of one kind over all sections, each once, in the order in which they first appear."""
    return list(dict.fromkeys(name for section in charter.sections for name in getattr(section, kind)))


def anchors(charter: Charter) -> list[str]:
    """The anchors of all sections."""
    return [section.anchor for section in charter.sections]


def block(section: Section) -> str:
    """A section as it stands in a text; what its receipt is a hash of."""
    return f"## {' '.join(section.title.split())} (#{section.anchor})\n\n{section.body}".rstrip()


def receipt(charter: Charter) -> dict[str, str]:
    """A SHA-256 for each section, by anchor, the same in both modes."""
    return {section.anchor: sha256_of(block(section)) for section in charter.sections}


def digest(charter: Charter) -> str:
    """One hash over the whole receipt."""
    return digest_of(receipt(charter))


def digest_of(sections: dict[str, str]) -> str:
    """The same, of a receipt that was recorded: in the order of the anchors, since rows of a ledger keep no other."""
    return sha256_of("".join(f"{anchor} {sha256}\n" for anchor, sha256 in sorted(sections.items())))


def sha256_of(text: str) -> str:
    """Of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _require_all(text: str, wanted: Sequence[str], kind: str) -> None:
    """They stand there as a list, with nothing between two of them but signs: that a section speaks of one is not enough."""
    if not wanted or _lists(text, wanted):
        return
    places = range(len(wanted))
    without = (wanted[place] for place in places if _lists(text, [*wanted[:place], *wanted[place + 1 :]]))
    first = (wanted[place] for place in places if not _lists(text, wanted[: place + 1]))
    dropped = next(chain(without, first))
    raise KittyError(
        "CHARTER_INCOMPLETE",
        f"the rendered charter lacks {inert(dropped, prose=True)} in its list of {kind}",
        "mend the plugin that renders it: kitty plugins list",
        kind=kind,
        name=dropped,
    )


def _lists(text: str, names: Sequence[str]) -> bool:
    between = r"(?![\w-])\W+(?<![\w-])"
    return bool(re.search(rf"(?<![\w-]){between.join(map(re.escape, names))}(?![\w-])", text))


def _distinct(sections: Iterable[Section]) -> Iterator[Section]:
    """With anchors that differ: a receipt has one hash for each."""
    taken: set[str] = set()
    for section in sections:
        anchor, number = section.anchor, 0
        while anchor in taken:
            number += 1
            anchor = f"{section.anchor}-{number}"
        taken.add(anchor)
        yield section if anchor == section.anchor else evolve(section, anchor=anchor)


def _plugin_sections(plugins: Plugins, action: str) -> Iterator[Section]:
    """What every plugin answers to `kitty_charter_sections`, in order. One that fails leaves a note where its section would stand."""
    for name, answer in plugins.each("kitty_charter_sections", action=action):
        if isinstance(answer, Exception):
            yield _note(name, f"{type(answer).__name__}: {answer}")
            continue
        for one in answer:
            yield one if isinstance(one, Section) else _note(name, f"it gave a {type(one).__name__}")


def _note(plugin: str, why: str) -> Section:
    body = f"The rules of plugin {plugin} are missing here: {inert(why, prose=True)}. See: kitty plugins doctor"
    return Section(f"missing-{plugin}", f"Missing: rules of plugin {plugin}", body, critical=True)
