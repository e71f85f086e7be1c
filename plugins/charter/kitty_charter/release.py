"""`kitty release`: a candidate, its verification by a consumer, its promotion. Nothing is promoted that nobody has verified.

It decides what the rows of `release_record` allow; wheels are read by `release_artifact`, consumers' tests run by `release_trial`.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from attrs import asdict, field, frozen
from attrs.validators import gt
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kitty_charter.release_artifact import Built, hash_of, read
from kitty_charter.release_record import (
    PLACE,
    SCHEMA,
    Artifact,
    Candidate,
    Promotion,
    Record,
    Row,
    Verification,
    moment_of,
    opened,
)
from kitty_charter.release_trial import Consumer, Trial, find_consumer, try_out
from kitty_charter.suite import run, verdict
from kitty_host.api import KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.files import atomic_write
from kitty_host.inert import inert
from kitty_host.records import Suite
from kitty_host.report import counted, note

release = group("release", help="Promote what a consumer has verified, and nothing else.")

_USUAL = "pytest --junitxml={report}"


@frozen
class ReleaseSettings:
    """The section `release` of the configuration."""

    verification_days: float = field(default=14.0, validator=gt(0))
    """How long a verification counts."""


@command("candidate", agent=True, group=release)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--replace", is_flag=True, help="Take the place of another candidate, or of what was promoted.")
@click.option("--reason", metavar="R", help="Why it takes that place.")
def candidate(call: Invocation, files: tuple[str, ...], replace: bool, reason: str | None) -> None:
    """Record the wheel and the source archive of a distribution, built with its final version, as what may be promoted."""
    if replace != bool(reason and reason.strip()):
        raise click.UsageError("--replace and --reason go together")
    repo, actor = call.repo, call.actor()
    built = _same_version([read(call.directory / file) for file in files])
    distribution, version = built[0].distribution, built[0].version
    artifacts = tuple(sorted((one.artifact for one in built), key=lambda one: one.name))
    with opened(repo) as record:
        known = record.of(distribution, version)
        last = _last_candidate(known)
        new = replace or last is None or last.artifacts != artifacts
        if last and not replace and (new or _is_promoted(known)):
            raise _taken(last, known, files)
        if new:
            record.append(
                Candidate(
                    at=record.now(),
                    actor=actor,
                    distribution=distribution,
                    version=version,
                    artifacts=artifacts,
                    directory=_directory(call, built),
                    reason=(reason or "").strip() if last else "",
                )
            )
    told = "is a candidate" if new else "is a candidate already; nothing was written"
    lines = [f"{distribution} {version} {told}", *(f"  {one.sha256}  {inert(one.name)}" for one in artifacts)]
    lines += [f"next: {_verify(file)}" for file in files]
    call.show({**_told(distribution, version, artifacts), "recorded": new}, "\n".join(lines))


@command("verify", agent=True, group=release)
@click.argument("file")
@click.option("--consumer", required=True, metavar="DIR", help="The repository of somebody who uses it.")
@click.option("--command", "line", required=True, help="What it runs; {report} is where its JUnit XML goes.")
@click.option(
    "--install", default="", metavar="ARGS", help="What pip shall install besides, as in '-r requirements.txt'."
)
@click.option("--with", "beside", multiple=True, metavar="FILE", help="Another candidate that is installed too.")
@click.option("--timeout", type=click.FloatRange(1), default=1800.0, show_default=True, help="Seconds.")
@click.option("--minimum-tests", type=click.IntRange(1), default=1, show_default=True, help="How many have to run.")
def verify(
    call: Invocation,
    file: str,
    consumer: str,
    line: str,
    install: str,
    beside: tuple[str, ...],
    timeout: float,
    minimum_tests: int,
) -> None:
    """Let a consumer test exactly this candidate, in an environment made for it, and record what came of it."""
    repo, actor = call.repo, call.actor()
    built = [read(call.directory / one) for one in (file, *beside)]
    with opened(repo) as record:
        for one in built:
            _require_candidate(record, one)
    found = find_consumer(call.directory / consumer, repo)
    suite = Suite(built[0].distribution, line, timeout, minimum_tests)
    trial = try_out(found, built, suite, install)
    with opened(repo) as record:
        # It may have been replaced meanwhile.
        _require_candidate(record, built[0])
        row = _verification(trial, built, found, command=line, install=install, actor=actor, at=record.now())
        record.append(row)
    if not row.ok:
        raise KittyError(
            "RELEASE_NOT_VERIFIED",
            f"{inert(row.consumer, prose=True)} is red with {row.artifact}, which is recorded: {row.reason}",
            f"read {trial.log}, mend it and run it again",
            verification=asdict(row),
        )
    call.show(
        {"schema": SCHEMA, "verification": asdict(row)},
        f"{_line(row)}\nnext: kitty release promote {row.distribution} {row.version} --to DIR",
    )


@command("promote", agent=True, group=release)
@click.argument("distribution")
@click.argument("version")
@click.option("--to", required=True, metavar="DIR", help="Where the files are published.")
@click.option("--from", "source", metavar="DIR", help="Where the candidate's files are; default: where they were.")
@click.option("--publish", metavar="COMMAND", help="What is run after that; {files} are the files there.")
def promote(
    call: Invocation, distribution: str, version: str, to: str, source: str | None, publish: str | None
) -> None:
    """Publish the files of a candidate, byte by byte, once a consumer has verified each of them."""
    actor = call.actor()
    distribution, version = canonicalize_name(distribution), _plain(version)
    days = call.repo.config.section("release", ReleaseSettings).verification_days
    with opened(call.repo) as record:
        known = record.of(distribution, version)
        last = _promotable(record, distribution, version)
        files = _contents(call, last, source)
        _require_verified(known, last, list(files), days)
        row = Promotion(
            at=record.now(),
            actor=actor,
            distribution=distribution,
            version=version,
            artifacts=last.artifacts,
            kind="promoting",
        )
        # A run that was killed has written this one already.
        if not (isinstance(known[-1], Promotion) and known[-1].artifacts == last.artifacts):
            record.append(row)
        target = call.directory / to
        for content, one in zip(files.values(), last.artifacts, strict=True):
            note(f"publishing {inert(one.name)}")
            _copy(content, target / one.name, one)
        if publish:
            _publish(call, record, publish, [target / one.name for one in last.artifacts])
            for one in last.artifacts:
                _require_hash(target / one.name, one)
        record.append(Promotion(**{**asdict(row, recurse=False), "at": record.now(), "kind": "promoted"}))
    lines = [f"{distribution} {version} is promoted", *(f"  {one.sha256}  {inert(one.name)}" for one in last.artifacts)]
    lines.append(f"next: git add {PLACE} && git commit")
    call.show({**_told(distribution, version, last.artifacts), "to": to}, "\n".join(lines))


@command("show", group=release)
@click.argument("distribution", required=False)
def show(call: Invocation, distribution: str | None) -> None:
    """Show the record: candidates, verifications, promotions."""
    name = canonicalize_name(distribution) if distribution else None
    with opened(call.repo) as record:
        rows = [one for one in record.rows if name in (None, one.distribution)]
    told = [{"kind": one.kind, **asdict(one)} for one in rows]
    call.show({"schema": SCHEMA, "rows": told}, "\n".join(map(_line, rows)) or "nothing is recorded")


def _verification(
    trial: Trial, built: Sequence[Built], consumer: Consumer, *, command: str, install: str, actor: str, at: str
) -> Verification:
    outcome = trial.outcome
    return Verification(
        at=at,
        actor=actor,
        distribution=built[0].distribution,
        version=built[0].version,
        artifact=built[0].path.name,
        sha256=built[0].sha256,
        beside=tuple(one.artifact for one in built[1:]),
        consumer=consumer.name,
        commit=consumer.commit,
        command=command,
        install=install,
        exit_code=outcome.exit_code if outcome else None,
        tests=outcome.tests if outcome else None,
        failed=outcome.number("failed") if outcome else None,
        skipped=outcome.number("skipped") if outcome else None,
        seconds=outcome.seconds if outcome else 0.0,
        ok=not trial.reason,
        reason=trial.reason,
    )


# What the rows allow


def _last_candidate(rows: Sequence[Row]) -> Candidate | None:
    return next((one for one in reversed(rows) if isinstance(one, Candidate)), None)


def _is_promoted(rows: Sequence[Row]) -> bool:
    """Whether the last candidate was promoted."""
    done = [one for one in rows if isinstance(one, Candidate) or one.kind == "promoted"]
    return bool(done) and not isinstance(done[-1], Candidate)


def _require_candidate(record: Record, built: Built) -> None:
    last = _last_candidate(record.of(built.distribution, built.version))
    if last is None:
        raise _no_candidate(record, built.distribution, built.version, str(built.path.name))
    if built.artifact not in last.artifacts:
        raise _tampered(built.path, last)


def _promotable(record: Record, distribution: str, version: str) -> Candidate:
    known = record.of(distribution, version)
    last = _last_candidate(known)
    if last is None:
        raise _no_candidate(record, distribution, version, "FILE...")
    if _is_promoted(known):
        raise KittyError(
            "RELEASE_PROMOTED",
            f"{distribution} {version} was promoted on {known[-1].at[:10]}",
            f"build another version; what happened: kitty release show {distribution}",
        )
    return last


def _require_verified(known: Sequence[Row], last: Candidate, files: Sequence[Path], days: float) -> None:
    """Each file has a verification since it is the candidate, and the newest one of each consumer is green."""
    since = [one for one in known[known.index(last) :] if isinstance(one, Verification)]
    for file, artifact in zip(files, last.artifacts, strict=True):
        newest = {one.consumer: one for one in since if one.sha256 == artifact.sha256}
        problem, line = _objection(artifact, list(newest.values()), days)
        if problem:
            raise KittyError(
                "RELEASE_NOT_VERIFIED",
                problem,
                f"run: {_verify(str(file), line)}",
                artifact=artifact.name,
                sha256=artifact.sha256,
            )


def _objection(artifact: Artifact, newest: Sequence[Verification], days: float) -> tuple[str, str]:
    """What is missing, and the command that a consumer ran; nothing where all is well."""
    name = inert(artifact.name)
    if not newest:
        return f"no consumer has verified {name}", ""
    red = next((one for one in newest if not one.ok), None)
    if red:
        why = f"{inert(red.consumer, prose=True)} is red with {name}: {inert(red.reason, prose=True)}"
        return why, red.command
    youngest = max(newest, key=lambda one: moment_of(one.at))
    if datetime.now(UTC) - moment_of(youngest.at) > timedelta(days=days):
        return f"{name} was verified on {youngest.at[:10]}, more than {days:g} days ago", youngest.command
    return "", ""


def _same_version(built: Sequence[Built]) -> Sequence[Built]:
    first = built[0]
    for one in built:
        if (one.distribution, one.version) != (first.distribution, first.version):
            raise KittyError(
                "RELEASE_ARTIFACT_INVALID",
                f"{inert(one.path.name)} and {inert(first.path.name)} are not one version of one distribution",
                "make a candidate of each by itself",
            )
    if len({one.path.name for one in built}) < len(built):
        raise click.UsageError("two files have one name")
    return built


def _plain(version: str) -> str:
    try:
        return str(Version(version))
    except InvalidVersion as error:
        raise click.UsageError(f"{inert(version)} is no version") from error


# Files


def _directory(call: Invocation, built: Sequence[Built]) -> str | None:
    places = {one.path.parent.resolve() for one in built}
    root = call.repo.root.resolve()
    place = places.pop()
    return place.relative_to(root).as_posix() if not places and place.is_relative_to(root) else None


def _contents(call: Invocation, last: Candidate, source: str | None) -> dict[Path, bytes]:
    """The candidate's files as they are now, which is as they were: what is looked at is what is copied."""
    again = f"kitty release promote {last.distribution} {last.version} --to DIR --from DIR"
    if source is None and last.directory is None:
        raise KittyError(
            "RELEASE_ARTIFACT_INVALID", "the candidate's files were outside the repository", f"say where: {again}"
        )
    place = call.directory / source if source is not None else call.repo.root / str(last.directory)
    found = {}
    for one in last.artifacts:
        file = place / one.name
        if not file.is_file():
            raise KittyError(
                "RELEASE_ARTIFACT_INVALID", f"{inert(one.name)} is not in {place}", f"say where it is: {again}"
            )
        found[file] = file.read_bytes()
        if hashlib.sha256(found[file]).hexdigest() != one.sha256:
            raise _tampered(file, last)
    return found


def _copy(content: bytes, target: Path, artifact: Artifact) -> None:
    """As one step. What has the name already is never written over."""
    if not target.exists():
        atomic_write(target, content)
    _require_hash(target, artifact)


def _require_hash(target: Path, artifact: Artifact) -> None:
    if hash_of(target) != artifact.sha256:
        raise KittyError(
            "RELEASE_TAMPERED",
            f"{target} is another file than the candidate",
            f"move it away and run it again: mv {shlex.quote(str(target))} {shlex.quote(f'{target}.other')}",
            artifact=artifact.name,
        )


def _publish(call: Invocation, record: Record, publish: str, files: Sequence[Path]) -> None:
    line = publish.replace("{files}", shlex.join(map(str, files)))
    suite = Suite("publish", line, minimum_tests=0)
    note(f"running {publish}")
    why = verdict(suite, run(suite, call.repo.root, call.repo.state / "publish", lock=record.descriptor))
    if why:
        raise KittyError(
            "RELEASE_NOT_PUBLISHED",
            f"the files are in place, and the command failed: {why}",
            "run the same command again once that is mended; nothing is recorded as promoted",
        )


# What is said


def _told(distribution: str, version: str, artifacts: Sequence[Artifact]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "distribution": distribution,
        "version": version,
        "artifacts": [asdict(one) for one in artifacts],
    }


def _verify(file: str, line: str = "") -> str:
    return f"kitty release verify {shlex.quote(file)} --consumer DIR --command {shlex.quote(line or _USUAL)}"


def _line(row: Row) -> str:
    head = f"{row.at[:19]}  {row.kind}  {inert(row.distribution)} {inert(row.version)}"
    if isinstance(row, Verification):
        tests = f", {counted(row.tests, 'test')}" if row.tests is not None else ""
        colour = "green" if row.ok else f"RED: {inert(row.reason, prose=True)}"
        consumer = f"{inert(row.consumer, prose=True)} {inert(row.commit[:12])}"
        return f"{head}  {inert(row.artifact)}, {consumer}{tests}: {colour}"
    reason = f": {inert(row.reason, prose=True)}" if isinstance(row, Candidate) and row.reason else ""
    return f"{head}  by {inert(row.actor, prose=True)}{reason}"


def _taken(last: Candidate, known: Sequence[Row], files: Sequence[str]) -> KittyError:
    again = f"kitty release candidate {shlex.join(files)} --replace --reason R"
    if _is_promoted(known):
        what = f"{last.distribution} {last.version} was promoted with other files"
        return KittyError("RELEASE_PROMOTED", what, f"build another version; if it must be: {again}")
    return KittyError(
        "RELEASE_CANDIDATE_EXISTS",
        f"{last.distribution} {last.version} has another candidate, of {last.at[:10]}",
        f"build another version, or replace it: {again}",
    )


def _no_candidate(record: Record, distribution: str, version: str, file: str) -> KittyError:
    others = sorted({one.version for one in record.rows if one.distribution == distribution})
    besides = f"; there are {', '.join(map(inert, others))}" if others else ""
    return KittyError(
        "RELEASE_NO_CANDIDATE",
        f"{inert(distribution)} {version} is no candidate{besides}",
        f"run: kitty release candidate {shlex.quote(file) if file != 'FILE...' else file}",
        versions=others,
    )


def _tampered(file: Path, last: Candidate) -> KittyError:
    again = f"kitty release candidate {shlex.quote(str(file))} --replace --reason R"
    return KittyError(
        "RELEASE_TAMPERED",
        f"{inert(file.name)} is not the file that is the candidate",
        f"restore it, or record what it is now: {again}",
        artifact=file.name,
        candidate=[asdict(one) for one in last.artifacts],
    )
