"""The files of a distribution, wheels and source archives: what they say they are, and whether they are what is installed.

It reads and compares; who may release what is decided elsewhere.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import sysconfig
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from email import message_from_bytes
from functools import cached_property
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import frozen
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from kitty_charter.release_record import Artifact
from kitty_host.api import KittyError
from kitty_host.inert import inert

_UNLISTED = ("RECORD", "RECORD.jws", "RECORD.p7s")
# Each of these is how some broken archive makes itself felt.
_BROKEN = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, tarfile.TarError, zlib.error, RuntimeError)


@frozen(slots=False)
class Built:
    """One file, read and found consistent."""

    path: Path
    distribution: str
    version: str
    sha256: str

    @property
    def artifact(self) -> Artifact:
        """As rows have it."""
        return Artifact(self.path.name, self.sha256)

    @cached_property
    def members(self) -> dict[str, bytes]:
        """Of a wheel: the hash of each file that its RECORD lists, by path. Nothing for a source archive."""
        return _members(self.path) if self.path.suffix == ".whl" else {}


def read(path: Path) -> Built:
    """A wheel or a source archive. Errors: `RELEASE_ARTIFACT_INVALID`."""
    name, stated = _by_name(path)
    try:
        sha256 = hash_of(path)
        wheel = path.suffix == ".whl"
        found = message_from_bytes(_wheel_metadata(path) if wheel else _sdist_metadata(path))
        within, version = canonicalize_name(str(found["Name"])), Version(str(found["Version"]))
        made = Built(path, within, str(version), sha256)
        _ = made.members
    except FileNotFoundError as error:
        raise _invalid(path, "is not there") from error
    except InvalidVersion as error:
        raise _invalid(path, "has metadata with no version in it") from error
    except _BROKEN as error:
        raise _invalid(path, f"cannot be read: {inert(str(error), prose=True)}") from error
    if (within, version) != (name, stated):
        raise _invalid(path, f"is {inert(within)} {version} by its metadata, and not what its name says")
    if version.is_devrelease or version.local:
        raise _invalid(path, f"has no final version: {version}")
    return made


def hash_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _by_name(path: Path) -> tuple[str, Version]:
    try:
        if path.name.endswith(".whl"):
            return parse_wheel_filename(path.name)[:2]
        return parse_sdist_filename(path.name)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion) as error:
        raise _invalid(path, "has not the name of a wheel or of a source archive") from error


def _wheel_metadata(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        [name] = [one for one in archive.namelist() if _is_in_info(one, "METADATA")]
        return archive.read(name)


def _sdist_metadata(path: Path) -> bytes:
    inside = f"{path.name.removesuffix('.tar.gz').removesuffix('.zip')}/PKG-INFO"
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read(inside)
    with tarfile.open(path) as archive:
        stream = archive.extractfile(inside)
        if stream is None:
            raise ValueError(f"{inside} is no file")
        return stream.read()


def _members(path: Path) -> dict[str, bytes]:
    """Errors: `ValueError` where RECORD does not list exactly what is there, with its hash."""
    with zipfile.ZipFile(path) as archive:
        names = [one for one in archive.namelist() if not one.endswith("/")]
        [record] = [one for one in names if _is_in_info(one, "RECORD")]
        listed = {row[0]: row[1] for row in csv.reader(archive.read(record).decode().splitlines()) if row}
        found = {}
        for name in names:
            if any(_is_in_info(name, one) for one in _UNLISTED):
                continue
            digest = hashlib.sha256(archive.read(name)).digest()
            if listed.get(name) != _listed(digest):
                raise ValueError(f"{name} is not what RECORD says")
            found[name] = digest
        missing = listed.keys() - set(names)
        if missing:
            raise ValueError(f"RECORD lists {min(missing)}, which is not there")
        return found


def _is_in_info(name: str, file: str) -> bool:
    directory, _, last = name.partition("/")
    return directory.endswith(".dist-info") and last == file


def _listed(digest: bytes) -> str:
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _invalid(path: Path, what: str) -> KittyError:
    return KittyError(
        "RELEASE_ARTIFACT_INVALID",
        f"{inert(path.name)} {what}",
        "build it anew with its final version, as in: python -m build",
        artifact=path.name,
    )


# What is installed


def objection(built: Built, environment: Path) -> str:
    """Why what an environment has is not this artefact; empty where it is."""
    installed = list(Distribution.discover(name=built.distribution, path=_sites(environment)))
    if len(installed) != 1:
        return f"{built.distribution} is installed {len(installed)} times"
    found = installed[0]
    if str(Version(found.version)) != built.version:
        return f"{built.distribution} {found.version} is installed, and not {built.version}"
    origin = _origin(found)
    # Of a source archive nothing else tells what it became.
    if origin != built.sha256 and (origin or not built.members):
        return f"{built.distribution} was installed from another file: {origin or 'nothing says which'}"
    different = next(_different(built, found), "")
    return f"{different} is not what {built.path.name} has" if different else ""


def modules(built: Built, environment: Path) -> list[str]:
    """The modules that an installed artefact brought, as paths."""
    found = Distribution.discover(name=built.distribution, path=_sites(environment))
    paths = sorted(PurePosixPath(file) for one in found for file in one.files or ())
    return [str(one) for one in paths if one.suffix in (".py", ".so", ".pyd") and one.parts[0] != ".."]


def _sites(environment: Path) -> list[str]:
    where = {"base": str(environment), "platbase": str(environment)}
    return list({sysconfig.get_path(one, "venv", where): None for one in ("purelib", "platlib")})


def _origin(found: Distribution) -> str:
    """The hash of the file that it was installed from, as the installer tells it; empty where it tells none."""
    told = json.loads(found.read_text("direct_url.json") or "{}")
    archive: dict[str, Any] = told.get("archive_info") or {}
    hashes: dict[str, str] = archive.get("hashes") or dict([str(archive.get("hash") or "=").split("=", 1)])
    return hashes.get("sha256", "")


def _different(built: Built, found: Distribution) -> Iterator[str]:
    """The files that are not as the artefact has them, or not as the installer left them."""
    listed = list(found.files or ())
    for name, digest in built.members.items():
        head, _, inside = name.partition(".data/")
        scheme, _, tail = inside.partition("/")
        # What is below `.data` goes to wherever the environment has such things; scripts get another first line.
        moved = bool(tail) and "/" not in head
        places = [one for one in listed if f"/{one}".endswith(f"/{tail}")] if moved else [name]
        if not any(_holds(found, one, None if moved and scheme == "scripts" else digest) for one in places):
            yield name
    for file in listed:
        if file.hash and not _holds(found, file, base64.urlsafe_b64decode(f"{file.hash.value}=")):
            yield str(file)


def _holds(found: Distribution, file: Any, digest: bytes | None) -> bool:
    at = Path(str(found.locate_file(file)))
    return at.is_file() and digest in (None, bytes.fromhex(hash_of(at)))
