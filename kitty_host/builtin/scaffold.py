"""What `kitty plugins new` writes: `template/` is a working plugin named `hello`, and its name is exchanged for another one.

Three spellings are all there is to exchange: the distribution, the package, and the name itself. The tutorial shows the same files.
"""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path

from kitty_host.api import KittyError
from kitty_host.files import disk_errors, make_directory, rename, temporary, write_new

_TEMPLATE = Path(__file__).with_name("template")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40


def checked(name: str, taken: frozenset[str]) -> str:
    """The name of a plugin. Errors: `PLUGIN_NAME_INVALID`."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST or keyword.iskeyword(name):
        message = f"{name!r} is no name of a plugin"
        raise KittyError(
            "PLUGIN_NAME_INVALID", message, "small letters, digits and hyphens between them, such as hello"
        )
    if name in taken:
        raise KittyError("PLUGIN_NAME_INVALID", f"there is a {name} already", "take another name")
    return name


def files(name: str) -> dict[str, str]:
    """The files of a new plugin, by their path below its directory with `/`."""
    found = {}
    for path in sorted(_TEMPLATE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            place = re.sub(r"(^|/)dot-", r"\1.", path.relative_to(_TEMPLATE).as_posix())
            place = place.replace("hello", name.replace("-", "_"))
            found[place] = _named(path.read_text(encoding="utf-8"), name)
    return found


def write(name: str, directory: Path) -> list[str]:
    """Make a new directory with a plugin in it, whole or not at all; returns its files. Errors: `FILE_EXISTS`, `DISK_FULL`, `READ_ONLY`."""
    if directory.exists() or directory.is_symlink():
        raise KittyError("FILE_EXISTS", f"{directory} is there already", "name another directory", path=str(directory))
    made = files(name)
    with disk_errors(directory):
        make_directory(directory.parent)
        aside = temporary(directory.parent)
        try:
            for place, content in made.items():
                make_directory((aside / place).parent)
                write_new(aside / place, content.encode(), 0o644)
            rename(aside, directory)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return list(made)


def _named(text: str, name: str) -> str:
    return text.replace("kitty_hello", f"kitty_{name.replace('-', '_')}").replace("hello", name)
