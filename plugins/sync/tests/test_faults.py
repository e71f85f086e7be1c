"""After any faults and one backfill: delivered + pending + parked + drained is what was emitted, by id, and the hub has nothing twice."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kitty_host.testing import Project, initialized
from kitty_sync.switch import VARIABLE

from .conftest import ADA, log_in
from .faults.sweep import FAULTS, Sweep, mixed, small_disk
from .faults.wire import Wire
from .hub import HubProcess

CI = 200, 20_000
"""Faults, and events; in shares, so that each runs beside the others."""
SHARES = 4
WHOLE = int(os.environ.get("SYNC_FAULTS", "10000")), int(os.environ.get("SYNC_EVENTS", "1000000"))
CONFIG = "sync:\n  queue_max_events: 1000000\n  max_backoff_seconds: 0.05\n"

Made = Callable[[int], Sweep]


@pytest.fixture
def sweep(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Makes a sweep from a seed."""
    with ExitStack() as stack:

        def make(seed: int) -> Sweep:
            monkeypatch.setenv(VARIABLE, "1")
            monkeypatch.setenv("KITTY_KEYRING", "0")
            monkeypatch.setenv("KITTY_PLUGINS", "sync")
            size = "4g" if WHOLE[1] > 100_000 else "400m"
            disks = {name: stack.enter_context(small_disk(isolated / name, size)) for name in ("client", "hub")}
            monkeypatch.setenv("XDG_STATE_HOME", str(disks["client"] / "state"))
            hub = HubProcess(disks["hub"] / "data")
            stack.callback(hub.stop)
            hub.add_user(ADA)
            wire = Wire(int(hub.address.rpartition(":")[2]))
            stack.callback(wire.close)
            project: Project = initialized(isolated / "project")
            with (project.root / ".kittify/config.yaml").open("a") as stream:
                stream.write(CONFIG)
            log_in(hub, wire.address)
            made = Sweep(project, hub, wire, disks, seed)
            stack.callback(made.client.close)
            return made

        yield make


def swept(made: Made, seed: int, faults: int, events: int, *, every: int) -> Sweep:
    """So many faults over so many events; the account is made after every so manyth, and in the end."""
    sweep = made(seed)
    kinds = mixed(faults, random.Random(seed))
    for number, kind in enumerate(kinds):
        sweep.round(kind, -(-events // len(kinds)))
        if number % every == 0:
            sweep.account()
    sweep.account()
    sweep.finish()
    assert sum(sweep.counts[kind] for kind in FAULTS if kind != "none") == faults
    assert len(sweep.emitted) >= events
    return sweep


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_two_hundred_faults_over_twenty_thousand_events_lose_nothing(sweep: Made, share: int) -> None:
    found = swept(sweep, share, CI[0] // SHARES, CI[1] // SHARES, every=2)
    assert all(found.counts[kind] > 1 for kind in FAULTS)
    assert {"exit -9", "exit 0", "exit 1"} <= found.counts.keys()


@pytest.mark.sweep
def test_ten_thousand_faults_over_a_million_events_lose_nothing(sweep: Made) -> None:
    """`SYNC_FAULTS` and `SYNC_EVENTS` make it smaller."""
    swept(sweep, 11, *WHOLE, every=100)
