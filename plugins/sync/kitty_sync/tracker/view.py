"""What is known without asking the tracker: links, what differs on each side, what is open, what failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kitty_host.inert import inert
from kitty_host.packages import Package
from kitty_host.state import State
from kitty_sync.tracker import local, merge
from kitty_sync.tracker.connectors import SHOWN
from kitty_sync.tracker.links import Failure, Intent, Link, Links
from kitty_sync.tracker.merge import FIELDS, SETS, Base, Move
from kitty_sync.tracker.settings import Settings


def view(state: State, settings: Settings, links: Links) -> tuple[dict[str, Any], str]:
    """The payload of `kitty tracker status`, and the same for people."""
    known = links.links()
    packages = {package.wp_id: package for package in state.packages}
    linked = [_linked(state, settings, packages.get(wp_id), link) for wp_id, link in known.items()]
    unlinked = [wp_id for wp_id in packages if wp_id not in known]
    intents, failures = list(links.intents().values()), links.failures()
    payload = {
        "provider": settings.provider,
        "workspace": settings.workspace,
        "mission": state.mission.slug,
        "linked": linked,
        "unlinked": unlinked,
        "intents": [one._asdict() | {"patch": sorted(one.patch)} for one in intents],
        "failures": [one._asdict() | {"history": [attempt._asdict() for attempt in one.history]} for one in failures],
    }
    return payload, "\n".join(_text(settings, linked, unlinked, intents, failures))


def _linked(state: State, settings: Settings, package: Package | None, link: Link) -> dict[str, Any]:
    here = {} if package is None else dict(local.read(state.mission, package, state.lane(package.wp_id)))
    if here:
        here["status"] = SHOWN[settings.provider](str(here["status"]))
    policies: Mapping[str, merge.Policy] = {**settings.policies, "status": "local"}
    told: dict[str, Any] = {"wp": link.wp_id, "issue": link.name, "url": inert(link.url), "gone": link.gone}
    told |= {"local": [], "remote": [], "conflicts": []}
    for name in FIELDS if here and link.seen else ():
        base = link.base.get(name) or (Base((), ()) if name in SETS else None)
        told["local"] += [name] if base is None or here[name] != base.local else []
        told["remote"] += [name] if base is None or link.seen[name] != base.remote else []
        verdict = merge.judge(base, here[name], link.seen[name], policies[name])
        told["conflicts"] += [name] if verdict.move is Move.ASK else []
    return told


def _text(
    settings: Settings,
    linked: list[dict[str, Any]],
    unlinked: list[str],
    intents: list[Intent],
    failures: list[Failure],
) -> list[str]:
    lines = [f"{settings.workspace} of {settings.provider}"]
    for one in linked:
        said = "gone" if one["gone"] else _differing(one)
        lines.append(f"  {one['wp']}  {one['issue']}  {said}")
    lines += [f"without an issue: {', '.join(unlinked)}"] if unlinked else []
    lines += [f"open since {one.at}: {one.kind} of {one.wp_id}; kitty tracker sync finds out" for one in intents]
    for failure in failures[:1]:
        lines += [
            f"last failure, {failure.at}: {failure.wp_id} {failure.reason}",
            *([f"  {failure.body}"] * bool(failure.body)),
        ]
    return lines


def _differing(one: dict[str, Any]) -> str:
    sides = [("changed here", "local"), ("changed there", "remote"), ("to be decided", "conflicts")]
    return "; ".join(f"{text}: {', '.join(one[key])}" for text, key in sides if one[key]) or "alike"
