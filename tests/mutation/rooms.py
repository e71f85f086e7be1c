"""The rooms in which a silent mistake costs most, and the tests that have to notice one.

Of the tests of a room, those stand here that tell of it most in the shortest time: each is run once for every change.
"""

from __future__ import annotations

from typing import NamedTuple


class Room(NamedTuple):
    """Files whose code is changed, and tests."""

    files: tuple[str, ...]
    tests: tuple[str, ...]
    definitions: tuple[str, ...] = ()
    """Of these functions of the files only; of everything where none is named."""


_HUB = "plugins/sync/kitty_sync/hub"

ROOMS = {
    "machine": Room(("kitty_host/ledger/machine.py",), ("tests/ledger/test_machine.py",)),
    "reducer": Room(
        ("kitty_host/ledger/reduce.py",),
        (
            "tests/ledger/test_odd_rows.py",
            "tests/ledger/test_reduce.py",
            "tests/ledger/test_model.py::test_the_lines_of_any_history_add_up_to_one_state_in_any_order",
            "tests/ledger/test_model.py::test_a_state_and_what_follows_is_the_state_of_all_or_refused",
            "tests/ledger/test_model.py::test_what_kitty_wrote_alone_is_never_refused",
            "tests/test_state.py",
        ),
    ),
    "planner": Room(("plugins/merge/kitty_merge/planner.py",), ("plugins/merge/tests/test_planner.py",)),
    "account": Room(
        ("plugins/merge/kitty_merge/account.py",),
        tuple(
            f"plugins/merge/tests/test_candidate.py::test_{name}"
            for name in (
                "the_account_names_every_path_deletions_included",
                "what_both_sides_changed_is_accounted_as_merged",
                "a_dropped_path_refuses",
                "what_a_later_lane_changed_again_is_superseded_and_what_it_took_back_is_reverted",
                "what_the_target_changed_too_names_its_commit",
                "a_rename_in_one_lane_and_a_change_in_the_other_are_both_accounted_for",
                "a_file_that_follows_a_renamed_directory_is_accounted_for",
                "a_dropped_deletion_refuses",
                "a_commit_of_nobody_in_the_result_refuses",
                "a_result_without_the_lanes_commits_refuses_although_its_tree_is_right",
                "a_result_without_the_target_refuses",
                "squash_is_one_commit_with_the_same_tree",
            )
        ),
    ),
    "provenance": Room(("kitty_host/inert.py",), ("tests/test_inert.py",)),
    "brief": Room(("plugins/intake/kitty_intake/brief.py",), ("plugins/intake/tests/test_brief.py",)),
    "replay": Room(("plugins/sync/kitty_sync/replay.py",), ("plugins/sync/tests/test_replay.py",)),
    "authorization": Room(
        tuple(f"{_HUB}/{name}.py" for name in ("accounts", "tokens", "device", "signin")),
        (
            "plugins/sync/tests/hub_server/test_who.py",
            "plugins/sync/tests/hub_server/test_signin.py::test_who_looks_is_known_to_other_pages_as_what_they_are_now",
            "plugins/sync/tests/hub_server/test_signin.py::test_a_session_is_used_by_who_looks_after_a_minute_and_not_by_what_looks_by_itself",
            "plugins/sync/tests/hub_server/test_signin.py::test_a_session_is_over_when_nobody_used_it_for_twelve_hours",
        ),
    ),
    "calls": Room(
        tuple(f"{_HUB}/{name}.py" for name in ("app", "bodies", "metrics", "v1")),
        (
            "plugins/sync/tests/hub_server/test_matrix.py",
            "plugins/sync/tests/hub_server/test_limits.py::test_who_sends_batches_too_often_is_told_so_and_others_are_not",
            "plugins/sync/tests/hub_server/test_operation.py::test_what_was_done_is_counted",
            "plugins/sync/tests/hub_server/test_operation.py::test_the_machine_itself_reads_the_metrics_and_no_stranger",
            "plugins/sync/tests/hub_server/test_operation.py::test_elsewhere_an_owner_reads_them_and_nobody_less",
        ),
        ("app.member", "bodies.bearer", "metrics._of_this_machine", "metrics.told", "v1.add"),
    ),
}
