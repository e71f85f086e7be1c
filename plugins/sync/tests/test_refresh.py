"""One refresh for all threads and processes; a login that is over is asked about once; a kill at any moment loses no login."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kitty_host.api import KittyError
from kitty_sync.auth import refresh, tokens
from kitty_sync.auth.refresh import AuthRefreshFailed
from kitty_sync.auth.tokens import Tokens
from kitty_sync.transport import transport_for

if TYPE_CHECKING:
    from .odd_server import Server

# Many threads of one process: it says that it is there, waits for a word, and says what became of its requests.
MANY = """
import sys, threading
from collections import Counter
import httpx
from kitty_host.api import KittyError
from kitty_sync.transport import transport_for

to, said = transport_for(sys.argv[1]), Counter()

def ask():
    try:
        said[str(to.request("GET", "/v1/me").status)] += 1
    except KittyError as error:
        said[error.code] += 1

print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=ask) for _ in range(int(sys.argv[2]))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*sorted(said.elements()), flush=True)
"""

KITTEN = """
from kitty_host.api import Command, hookimpl

@hookimpl
def kitty_commands():
    return [Command("ask", "ask_cli:ask", "Ask fifty times.")]
"""
KITTEN_CLI = """
import click
from kitty_host.api import KittyError
from kitty_host.command import command

@command("ask")
@click.option("--stubborn", is_flag=True)
@click.argument("issuer")
def ask(call, issuer, stubborn):
    failed = None
    for _ in range(50):
        try:
            call.plugins.required("kitty_transport", issuer=issuer).request("GET", "/v1/me")
        except KittyError as error:
            failed = error
    if failed and not stubborn:
        raise failed
    call.show({"schema": "ask/1"}, "asked")
"""


@contextlib.contextmanager
def crowd(server: Server, processes: int, threads: int) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that live and wait for a word."""
    command = [sys.executable, "-c", MANY, server.address, str(threads)]
    started: list[subprocess.Popen[str]] = []
    try:
        while len(started) < processes:
            wave = [
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
                for _ in range(min(10, processes - len(started)))
            ]
            started += wave
            assert [one.stdout.readline() for one in wave if one.stdout] == ["ready\n"] * len(wave)
        yield started
    finally:
        for one in started:
            one.kill()
            one.communicate()


def what_they_say(crowd: list[subprocess.Popen[str]]) -> list[str]:
    """Let them go; what each request came to, and every line that went to standard error."""
    assert [one.poll() for one in crowd] == [None] * len(crowd)
    for one in crowd:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    said: list[str] = []
    for one in crowd:
        out, err = one.communicate()
        said += [*out.split(), *err.splitlines()]
    return said


def storm(server: Server, processes: int, threads: int) -> str:
    server.log_in()
    server.expire()
    server.together = processes * threads
    with crowd(server, processes, threads) as waiting:
        said = what_they_say(waiting)
    assert said == ["200"] * processes * threads
    assert server.refreshes == 1
    return f"logins renewed for {processes} processes of {threads} threads|{server.refreshes}|1"


def test_ten_processes_of_ten_threads_refresh_once(server: Server) -> None:
    storm(server, 10, 10)


@pytest.mark.slow
def test_a_hundred_processes_of_ten_threads_refresh_once(
    server: Server, record_property: Callable[[str, object], None]
) -> None:
    record_property("figure", storm(server, 100, 10))


def dead(server: Server, processes: int) -> None:
    server.log_in()
    server.expire()
    server.over = True
    with crowd(server, processes, 1) as waiting:
        said = what_they_say(waiting)
    assert said == ["AUTH_REFRESH_FAILED"] * processes
    assert server.refreshes == 1


def test_a_login_that_is_over_is_asked_about_once(server: Server) -> None:
    dead(server, 10)


@pytest.mark.slow
def test_a_login_that_is_over_is_asked_about_once_by_a_hundred(server: Server) -> None:
    dead(server, 100)


def test_those_who_wait_share_a_refresh_that_failed(server: Server) -> None:
    server.log_in()
    server.expire()
    server.failing = 503
    server.together = 40
    with crowd(server, 4, 10) as waiting:
        said = what_they_say(waiting)
    assert said == ["AUTH_REFRESH_FAILED"] * 40
    assert server.refreshes == 1
    server.failing = None
    assert transport_for(server.address).request("GET", "/v1/me").status == 200  # and nobody later does


# One process


def test_what_another_process_got_is_taken(server: Server) -> None:
    server.log_in()
    to = transport_for(server.address)
    assert to.request("GET", "/v1/me").status == 200
    server.access = "access-of-another"
    refresh.keep(server.address, Tokens("access-of-another", "refresh-of-another"))
    assert to.request("GET", "/v1/me").status == 200
    assert server.refreshes == 0


def test_what_another_process_got_long_ago_is_renewed(server: Server) -> None:
    server.log_in()
    to = transport_for(server.address)
    assert to.request("GET", "/v1/me").status == 200
    refresh.keep(server.address, Tokens("over-as-well", "refresh-0"))
    server.expire()
    assert to.request("GET", "/v1/me").status == 200
    assert server.refreshes == 1


def test_a_new_token_that_is_refused_is_not_renewed_again(server: Server) -> None:
    server.log_in()
    server.me = (401, {})
    with pytest.raises(AuthRefreshFailed):
        transport_for(server.address).request("GET", "/v1/me")
    assert server.refreshes == 1
    assert server.paths() == ["/v1/me", "/oauth/token", "/v1/me"]


def test_a_refresh_is_on_disk_before_it_is_used(server: Server) -> None:
    server.log_in()
    server.expire()
    seen: list[bytes] = []
    path = tokens.path_of(server.address)
    server.before = lambda authorization: seen.append(path.read_bytes()) if "access-1" in authorization else None
    assert transport_for(server.address).request("GET", "/v1/me").status == 200
    assert [json.loads(one)["tokens"]["access"] for one in seen] == ["access-1"]


@pytest.mark.parametrize("failing", [400, 429, 500, 503])
def test_a_refresh_that_fails_otherwise_forgets_nothing(server: Server, failing: int) -> None:
    server.log_in()
    server.expire()
    server.failing = failing
    to = transport_for(server.address)
    with pytest.raises(AuthRefreshFailed) as failed:
        to.request("GET", "/v1/me")
    assert failed.value.hint == f"run: kitty auth login {server.address}"
    server.failing = None
    assert to.request("GET", "/v1/me").status == 200


def test_a_server_that_goes_away_during_a_refresh_costs_no_login(server: Server) -> None:
    server.log_in()
    server.close()
    kept = tokens.read(server.address)

    def ask(path: str, fields: object) -> object:
        from kitty_sync.transport import open_form

        return open_form(server.address, path, {})

    with pytest.raises(AuthRefreshFailed):
        refresh.refresh(server.address, "access-0", ask, time.time())  # type: ignore[arg-type]
    assert tokens.read(server.address) == kept


def test_a_login_that_is_over_is_cleared_and_a_new_one_counts_at_once(server: Server) -> None:
    server.log_in()
    server.expire()
    server.over = True
    to = transport_for(server.address)
    for _ in range(3):
        with pytest.raises(AuthRefreshFailed):
            to.request("GET", "/v1/me")
    assert (server.refreshes, tokens.read(server.address)) == (1, None)
    server.over = False
    server.access = "access-new"
    refresh.keep(server.address, Tokens("access-new", "refresh-new"))
    assert to.request("GET", "/v1/me").status == 200


def test_a_login_that_is_over_and_cannot_be_cleared_is_not_asked_about_again(server: Server) -> None:
    server.log_in()
    server.expire()
    server.over = True
    kept = tokens.read(server.address)
    assert kept
    for _ in range(3):
        with pytest.raises(AuthRefreshFailed):
            transport_for(server.address).request("GET", "/v1/me")
        tokens.write(server.address, kept.tokens)
    assert server.refreshes == 1


def test_what_is_known_of_a_dead_login_is_forgotten_after_a_minute(server: Server) -> None:
    server.log_in()
    server.expire()
    server.over = True
    kept = tokens.read(server.address)
    assert kept
    to = transport_for(server.address)
    with pytest.raises(AuthRefreshFailed):
        to.request("GET", "/v1/me")
    tokens.write(server.address, kept.tokens)
    note = tokens.path_of(server.address, "refused")
    note.write_text(json.dumps({**json.loads(note.read_text()), "at": time.time() - refresh.REMEMBERED - 1}))
    server.over = False
    assert to.request("GET", "/v1/me").status == 200


def test_a_login_made_meanwhile_is_not_cleared(server: Server) -> None:
    server.log_in()
    server.expire()
    server.over = True
    server.hold_before.clear()
    failed: list[KittyError] = []

    def ask() -> None:
        try:
            transport_for(server.address).request("GET", "/v1/me")
        except KittyError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not server.refreshes:
        time.sleep(0.01)
    tokens.write(server.address, Tokens("new", "new"))  # by somebody who does not mind the lock
    server.hold_before.set()
    thread.join()
    kept = tokens.read(server.address)
    assert failed
    assert kept
    assert kept.tokens.access == "new"


@pytest.mark.parametrize("answered", [False, True])
def test_a_refresh_that_is_killed_costs_no_login(server: Server, answered: bool) -> None:
    server.log_in()
    server.expire()
    (server.hold_after if answered else server.hold_before).clear()
    process = subprocess.Popen(
        [sys.executable, "-c", MANY, server.address, "1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stdin
    process.stdin.write(b"go\n")
    process.stdin.flush()
    while not (server.number if answered else server.refreshes):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.hold_before.set()
    server.hold_after.set()
    server.expire()
    assert transport_for(server.address).request("GET", "/v1/me").status == 200


def test_a_static_token_is_not_renewed(server: Server) -> None:
    refresh.keep(server.address, Tokens("static"))
    with pytest.raises(KittyError) as refused:
        transport_for(server.address).request("GET", "/v1/me")
    assert (refused.value.code, refused.value.hint) == (
        "AUTH_REQUIRED",
        f"run: kitty auth login {server.address} --with-token",
    )
    assert server.refreshes == 0


# What a person sees of it


@pytest.fixture
def asking(install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, user: Path) -> None:
    site = install_plugin("asking", KITTEN)
    (site / "ask_cli.py").write_text(KITTEN_CLI)
    monkeypatch.setenv("KITTY_PLUGINS", "sync,asking")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "kitty_host", *arguments], capture_output=True, text=True)


def test_SC_008_fifty_requests_of_a_dead_login_are_one_error(server: Server, asking: None) -> None:
    server.log_in()
    server.expire()
    server.over = True
    done = run("ask", server.address)
    assert (done.returncode, done.stdout) == (1, "")
    first, hint = done.stderr.splitlines()
    assert first.startswith("AUTH_REFRESH_FAILED: ")
    assert hint == f"  run: kitty auth login {server.address}"
    assert server.refreshes == 1


def test_nothing_is_said_of_a_refresh_after_success(server: Server, asking: None) -> None:
    server.log_in()
    server.expire()
    server.over = True
    done = run("ask", server.address, "--stubborn")
    assert (done.returncode, done.stdout, done.stderr) == (0, "asked\n", "")


def test_what_was_tried_is_in_the_log_and_no_token_is(server: Server) -> None:
    server.log_in()
    server.expire()
    transport_for(server.address).request("GET", "/v1/me")
    server.expire()
    server.over = True
    with pytest.raises(AuthRefreshFailed) as failed:
        transport_for(server.address).request("GET", "/v1/me")
    home = Path(os.environ["HOME"])
    logs = [path for path in home.rglob("*.log*") if path.is_file()]
    text = "".join(path.read_text() for path in logs)
    assert [line.split(" ", 3)[3] for line in text.splitlines()] == [
        "refreshed",
        "not refreshed: the server has ended it",
    ]
    for secret in ("access-", "refresh-"):
        assert secret not in text + repr(failed.value) + str(failed.value.details)


def test_the_log_has_an_end(user: Path) -> None:
    from kitty_sync.auth.log import log

    for _ in range(3000):
        log("https://hub.invalid", "x" * 1000)
    sizes = [path.stat().st_size for path in Path(os.environ["HOME"]).rglob("auth.log*")]
    assert len(sizes) == 2
    assert sum(sizes) < 600 * 1024


def test_who_holds_the_lock_for_too_long_is_not_waited_for_by_one_thread_after_the_other(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.log_in()
    monkeypatch.setattr(refresh, "_WAIT", 0.5)
    holding = (
        "import sys, time\nfrom kitty_sync.auth import refresh\n"
        "with refresh.alone(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", holding, server.address], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        failed: list[KittyError] = []

        def ask() -> None:
            try:
                with refresh.alone(server.address):
                    pass
            except AuthRefreshFailed as error:
                failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)  # one after the other they would take 100 s
        assert len(failed) == 200
        holder.kill()
