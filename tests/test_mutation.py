"""The rooms whose code `python tests/mutation` changes are there, and so are the tests that have to notice it."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_room_and_each_of_its_tests_is_where_the_list_says() -> None:
    rooms = runpy.run_path(str(ROOT / "tests" / "mutation" / "rooms.py"))["ROOMS"]
    page = (ROOT / "docs" / "mutation.md").read_text(encoding="utf-8")
    for name, room in rooms.items():
        assert f"\n| {name} |" in page
        code = {Path(file).stem: (ROOT / file).read_text(encoding="utf-8") for file in room.files}
        for module, _, definition in (one.partition(".") for one in room.definitions):
            assert f"def {definition}(" in code[module], definition
        for test in room.tests:
            file, _, function = test.partition("::")
            assert not function or f"\ndef {function}(" in (ROOT / file).read_text(encoding="utf-8"), test
            assert (ROOT / file).is_file(), test
