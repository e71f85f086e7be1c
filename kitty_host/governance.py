"""The rules that plugins give for an action, with a visible note in the place of those that could not be had."""

from __future__ import annotations

from kitty_host.inert import inert
from kitty_host.plugins import Plugins
from kitty_host.records import Section


def plugin_sections(plugins: Plugins, action: str) -> list[Section]:
    """What every plugin answers to `kitty_charter_sections`, in order. One that fails leaves a note where its section would stand."""
    sections: list[Section] = []
    for name, answer in plugins.each("kitty_charter_sections", action=action):
        if isinstance(answer, Exception):
            sections.append(_note(name, f"{type(answer).__name__}: {answer}"))
            continue
        for one in answer:
            sections.append(one if isinstance(one, Section) else _note(name, f"it gave a {type(one).__name__}"))
    return sections


def _note(plugin: str, why: str) -> Section:
    body = f"The rules of plugin {plugin} are missing here: {inert(why, prose=True)}. See: kitty plugins doctor"
    return Section(f"missing-{plugin}", f"Missing: rules of plugin {plugin}", body, critical=True)
