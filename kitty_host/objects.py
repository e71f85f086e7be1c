"""Git's objects by few processes: one that stays reads them, one writes many at once.

Objects never change, so what was read of them once may be remembered in `memo`, for as long as this lives: one command.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from kitty_host.git import Git

Kind = Literal["commit", "tree", "blob"]
_VARIABLES = 20
"""At most so many lines at the end of `git var -l` are no settings."""
_IDENTITY = re.compile(r"[^\s<>][^<>]* <[^\s<>]+> \d+ [+-]\d{4}")
_PACKED = {"commit": 1, "tree": 2, "blob": 3}


class Found(NamedTuple):
    """One object."""

    id: str
    kind: str
    content: bytes


class Objects:
    """The objects that one Git sees."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._pending: dict[str, Found] = {}
        self.memo: dict[Hashable, Any] = {}

    # Reading

    def find(self, name: str) -> Found | None:
        """The object of an id, `<commit>^{tree}`, `<revision>:<path>` or a ref; None where there is none. No name has a newline."""
        if name in self._pending:
            return self._pending[name]
        told = self._ask("contents", name)
        if told is None:
            return None
        made, kind, size = told
        return Found(made, kind, self._reader[1].read(size + 1)[:-1])

    def size(self, name: str) -> int | None:
        """The bytes of an object; None where there is none."""
        if name in self._pending:
            return len(self._pending[name].content)
        told = self._ask("info", name)
        return told and told[2]

    def _ask(self, what: str, name: str) -> tuple[str, str, int] | None:
        asked, answers = self._reader
        asked.write(f"{what} {name}\n".encode(errors="surrogateescape"))
        asked.flush()
        told = answers.readline().decode(errors="surrogateescape").removesuffix("\n").split(" ")
        # A name may have blanks, which Git repeats before it says what is wrong with it.
        return (told[0], told[1], int(told[2])) if len(told) == 3 and told[2].isdecimal() else None

    def read(self, name: str) -> bytes | None:
        """The content alone."""
        found = self.find(name)
        return found.content if found else None

    @cached_property
    def _reader(self) -> tuple[IO[bytes], IO[bytes]]:
        return self._git.talk("cat-file", "--batch-command", owner=self)

    # Writing

    def add(self, kind: Kind, content: bytes) -> str:
        """The id of an object that `flush` will write; until then nobody but this knows it."""
        made = self.id_of(kind, content)
        self._pending[made] = Found(made, kind, content)
        return made

    def id_of(self, kind: Kind, content: bytes) -> str:
        """The id alone."""
        return str(self._hash(b"%s %d\0%s" % (kind.encode(), len(content), content)).hexdigest())

    def commit(self, tree: str, parents: Sequence[str], message: str) -> str:
        """A commit as `Git.commit_tree` makes it, for `flush` to write.

        One that has to be signed, or whose text Git would encode anew, is written at once, with all that it needs.
        """
        encoded = (message if message.endswith("\n") else f"{message}\n").encode(errors="surrogateescape")
        if self._git.signs or "i18n.commitencoding" in self._git.settings or not _is_plain(encoded):
            self.flush()
            return self._git.commit_tree(tree, parents, message)
        author, committer = self._identities
        lines = [f"tree {tree}", *(f"parent {one}" for one in parents), f"author {author}", f"committer {committer}"]
        return self.add("commit", "\n".join(lines).encode(errors="surrogateescape") + b"\n\n" + encoded)

    @cached_property
    def _identities(self) -> tuple[str, str]:
        """Author and committer, with the time of now. Errors: `GIT_FAILED` where nobody has said who that is."""
        names = ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")
        if all(self._git.settings.get(name) for name in ("user.name", "user.email")):
            # Both at once, behind all settings.
            told = dict(line.partition("=")[::2] for line in self._git.lines("var", "-l")[-_VARIABLES:])
            author, committer = (told.get(name, "") for name in names)
            if _IDENTITY.fullmatch(author) and _IDENTITY.fullmatch(committer):
                return author, committer
        # By its name Git refuses to guess.
        return self._git.out("var", names[0]), self._git.out("var", names[1])

    def flush(self) -> None:
        """Write what was added, each synced, by one process. Errors: as `Git.run`."""
        if not self._pending:
            return
        parts = [b"PACK", (2).to_bytes(4, "big"), len(self._pending).to_bytes(4, "big")]
        for one in self._pending.values():
            parts += [_packed(_PACKED[one.kind], len(one.content)), zlib.compress(one.content, 1)]
        pack = b"".join(parts)
        self._git.run("unpack-objects", "-q", stdin=pack + self._hash(pack).digest())
        self._pending.clear()

    def _hash(self, content: bytes) -> Any:
        return (hashlib.sha256 if len(self._git.null_id) == 64 else hashlib.sha1)(content)


def _is_plain(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in text


def _packed(kind: int, size: int) -> bytes:
    """The head of an object in a pack: its kind, and its size in groups of seven bits but for the first, which has four."""
    head, size = kind << 4 | size & 15, size >> 4
    found = bytearray()
    while size:
        found.append(head | 0x80)
        head, size = size & 0x7F, size >> 7
    found.append(head)
    return bytes(found)
