"""What is sent, to whom, and what may come back: real requests to real servers, some of which behave badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from kitty_host import __version__
from kitty_host.api import KittyError
from kitty_host.plugins import Plugins
from kitty_sync import transport as transports
from kitty_sync.switch import VARIABLE
from kitty_sync.transport import async_client, transport_for

if TYPE_CHECKING:
    from .odd_server import Server, Trap


def test_a_request_is_authenticated_and_its_answer_comes_whole(server: Server) -> None:
    server.log_in()
    answer = transport_for(server.address).request("POST", "/echo?a=b", body=b"text", headers={"X-One": "1"})
    seen = json.loads(answer.body)
    assert (answer.status, seen["body"], seen["headers"]["x-one"]) == (200, "text", "1")
    assert seen["path"] == f"{server.address}/echo?a=b"
    assert seen["headers"]["authorization"] == "Bearer access-0"
    assert seen["headers"]["user-agent"] == f"kitty/{__version__}"
    assert answer.headers["content-type"] == "application/json"


def test_whoever_asks_cannot_say_who_asks(server: Server) -> None:
    server.log_in()
    headers = {"AUTHORIZATION": "Bearer stolen", "Host": "evil.invalid", "Cookie": "a=b", "Content-Length": "9999"}
    seen = json.loads(transport_for(server.address).request("POST", "/echo", body=b"1", headers=headers).body)
    assert seen["headers"]["authorization"] == "Bearer access-0"
    assert "cookie" not in seen["headers"]
    assert server.address == f"http://{seen['headers']['host']}"


def test_cookies_are_not_kept(server: Server) -> None:
    server.log_in()
    transport_for(server.address).request("GET", "/cookie")
    assert "cookie" not in json.loads(transport_for(server.address).request("GET", "/echo").body)["headers"]


def test_without_a_token_nothing_is_sent(server: Server) -> None:
    with pytest.raises(KittyError) as refused:
        transport_for(server.address).request("GET", "/v1/me")
    assert refused.value.code == "AUTH_REQUIRED"
    assert refused.value.hint == f"run: kitty auth login {server.address}"
    assert server.calls == []


@pytest.mark.parametrize("path", ["v1/me", "", ".evil.invalid/", "@evil.invalid/", ":1/"])
def test_a_path_cannot_lead_to_another_server(server: Server, path: str) -> None:
    server.log_in()
    with pytest.raises(ValueError, match="slash"):
        transport_for(server.address).request("GET", path)
    assert server.calls == []


def test_a_redirect_is_an_answer_and_is_not_followed(server: Server, other: Server) -> None:
    server.log_in()
    answer = transport_for(server.address).request("GET", f"/redirect?to={other.address}/v1/me")
    assert (answer.status, answer.headers["location"]) == (302, f"{other.address}/v1/me")
    assert other.calls == []


def test_a_token_goes_to_the_server_that_gave_it_and_to_no_other(server: Server, other: Server) -> None:
    server.log_in()
    other.access = "access-of-the-other"
    other.log_in()
    for one in (server, other, server):
        assert transport_for(one.address).request("GET", "/v1/me").status == 200
    assert {authorization for _, _, authorization in server.calls} == {"Bearer access-0"}
    assert {authorization for _, _, authorization in other.calls} == {"Bearer access-of-the-other"}


def test_a_bomb_is_refused_before_it_fills_the_memory(server: Server) -> None:
    server.log_in()
    asked = (
        "import resource, sys\n"
        "from kitty_host.api import KittyError\n"
        "from kitty_sync.transport import transport_for\n"
        "to = transport_for(sys.argv[1])\n"
        "to.request('GET', '/v1/me')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    to.request('GET', '/bomb')\n"
        "except KittyError as error:\n    print(error.code, 'too large' in error.message)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", asked, server.address], capture_output=True, text=True)
    said, grown = done.stdout.splitlines()
    assert said == "SERVER_UNREACHABLE True"
    assert int(grown) < 40


@pytest.mark.parametrize("path", ["/cut", "/bomb"])
def test_what_is_no_whole_answer_is_none(server: Server, path: str) -> None:
    server.log_in()
    with pytest.raises(KittyError) as failed:
        transport_for(server.address).request("GET", path)
    assert failed.value.code == "SERVER_UNREACHABLE"


def test_a_server_that_is_not_there(user: Any) -> None:
    from kitty_sync.auth import refresh
    from kitty_sync.auth.tokens import Tokens

    refresh.keep("http://127.0.0.1:1", Tokens("access"))
    with pytest.raises(KittyError) as failed:
        transport_for("http://127.0.0.1:1").request("GET", "/v1/me")
    assert failed.value.code == "SERVER_UNREACHABLE"
    assert "Connection refused" in failed.value.message


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.log_in()
    monkeypatch.setattr(transports, "_READ", 0.2)
    monkeypatch.setattr(transports, "_SILENCE", 0.2)
    to = transport_for(server.address)
    with pytest.raises(KittyError) as failed:
        to.request("GET", "/never")
    assert failed.value.code == "SERVER_UNREACHABLE"
    seen: list[str] = []
    with pytest.raises(KittyError) as failed, to.stream("/v1/events/stream") as lines:
        seen.extend(lines)
    assert failed.value.code == "SERVER_UNREACHABLE"


def test_an_answer_that_drips_is_not_waited_for_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.log_in()
    monkeypatch.setattr(transports, "_WHOLE", 0.5)
    with pytest.raises(KittyError) as failed:
        transport_for(server.address).request("GET", "/drip")
    assert (failed.value.code, "too long" in failed.value.message) == ("SERVER_UNREACHABLE", True)


def test_ctrl_c_ends_a_request_at_once(server: Server) -> None:
    server.log_in()
    asked = "import sys\nfrom kitty_sync.transport import transport_for\ntransport_for(sys.argv[1]).request('GET', '/never')"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import signal\nsignal.signal(2, signal.default_int_handler)\n{asked}", server.address],
        stderr=subprocess.PIPE,
    )
    while "/never" not in server.paths():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)  # far less than any time-out of the transport
    assert b"KeyboardInterrupt" in err


# Streams


def test_a_stream_is_lines(server: Server) -> None:
    server.log_in()
    server.events = ["id: 1\r\ndata: ä\n\ndata: last"]
    with transport_for(server.address).stream("/v1/events/stream") as lines:
        assert list(lines) == [": here", "", "id: 1", "data: ä", "", "data: last"]


def test_a_stream_that_is_refused_says_why(server: Server) -> None:
    server.log_in()
    server.me = (503, {"code": "BUSY", "message": "come\x1b[31m later"})
    with pytest.raises(KittyError) as refused, transport_for(server.address).stream("/v1/me"):
        pass
    assert (refused.value.code, refused.value.details["status"], refused.value.details["said"]) == (
        "SERVER_REFUSED",
        503,
        "BUSY",
    )
    assert "\x1b" not in refused.value.message


def test_a_stream_renews_the_login_as_a_request_does(server: Server) -> None:
    server.log_in()
    server.expire()
    server.events = ["data: x\n\n"]
    with transport_for(server.address).stream("/v1/events/stream") as lines:
        assert "data: x" in list(lines)
    assert server.refreshes == 1


def test_a_line_without_an_end_is_not_collected_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.log_in()
    monkeypatch.setattr(transports, "LONGEST_LINE", 1000)
    server.events = ["x" * 2000]
    with pytest.raises(KittyError) as failed, transport_for(server.address).stream("/v1/events/stream") as lines:
        list(lines)
    assert failed.value.code == "SERVER_UNREACHABLE"


# Proxies


def test_proxies_of_the_environment_are_not_for_loopback(
    server: Server, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.log_in()
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, trap.address)
    assert transport_for(server.address).request("GET", "/v1/me").status == 200
    assert trap.got == []


def test_proxies_of_the_environment_are_for_other_servers(
    user: Any, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kitty_sync.auth import refresh
    from kitty_sync.auth.tokens import Tokens

    monkeypatch.setenv("HTTPS_PROXY", trap.address)
    for host in ("hub-a.invalid", "hub-b.invalid"):
        refresh.keep(f"https://{host}", Tokens("access"))
    with pytest.raises(KittyError):
        transport_for("https://hub-a.invalid").request("GET", "/v1/me")
    assert [got.split(b"\r\n")[0] for got in trap.got] == [b"CONNECT hub-a.invalid:443 HTTP/1.1"]
    assert b"access" not in trap.got[0]
    monkeypatch.setenv("NO_PROXY", "example.invalid, .hub-b.invalid")
    with pytest.raises(KittyError):
        transport_for("https://hub-b.invalid").request("GET", "/v1/me")
    assert len(trap.got) == 1


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "ftp://x"])
def test_a_proxy_of_another_kind_is_refused_and_not_gone_around(
    user: Any, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    from kitty_sync.auth import refresh
    from kitty_sync.auth.tokens import Tokens

    monkeypatch.setenv("HTTPS_PROXY", proxy)
    refresh.keep("https://hub-c.invalid", Tokens("access"))
    with pytest.raises(KittyError) as refused:
        transport_for("https://hub-c.invalid").request("GET", "/v1/me")
    assert (refused.value.code, "proxy" in refused.value.message) == ("SERVER_UNREACHABLE", True)


# The hook


def test_the_hook_gives_one_transport_for_an_issuer(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", "sync")
    plugins = Plugins.discover()
    found = plugins.required("kitty_transport", issuer="https://HUB.invalid:443/")
    assert found is transport_for("https://hub.invalid")
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(KittyError) as refused:
        plugins.required("kitty_transport", issuer="https://hub.invalid")
    assert refused.value.code == "SYNC_DISABLED"


@pytest.mark.usefixtures("unmeasured")
def test_nothing_of_http_is_loaded_until_something_is_sent(server: Server) -> None:
    asked = (
        "import sys\nfrom kitty_sync import transport\nfrom kitty_host.api import KittyError\n"
        "try:\n    transport.transport_for(sys.argv[1]).request('GET', '/v1/me')\nexcept KittyError as error:\n    print(error.code)\n"
        "print([name for name in ('httpx', 'httpcore', 'ssl', 'truststore', 'keyring', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", asked, server.address], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["AUTH_REQUIRED", "[]"]


# Connectors


def driven(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing: there is no event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


def test_connectors_send_through_the_transport_without_an_event_loop(server: Server) -> None:
    server.log_in()
    client = async_client(server.address, transport_for(server.address))
    answer = driven(
        client.post(
            f"{server.address}/echo?a=%20b",
            json={"title": "ä"},
            headers={"Authorization": "Bearer of-the-connector", "X-One": "1"},
        )
    )
    seen = answer.json()
    assert json.loads(seen["body"]) == {"title": "ä"}
    assert (seen["headers"]["authorization"], seen["headers"]["x-one"]) == ("Bearer access-0", "1")
    assert seen["path"] == f"{server.address}/echo?a=%20b"
    assert driven(client.get(f"{server.address}/v1/me", auth=("user", "password"))).json() == server.me[1]
    driven(client.aclose())
    assert "password" not in str(server.calls)


def test_connectors_are_refreshed_as_everybody_is(server: Server) -> None:
    server.log_in()
    server.expire()
    client = async_client(server.address, transport_for(server.address))
    assert driven(client.get(f"{server.address}/v1/me")).status_code == 200
    assert server.refreshes == 1


def test_connectors_cannot_send_elsewhere(server: Server, other: Server) -> None:
    server.log_in()
    other.log_in()
    client = async_client(server.address, transport_for(server.address))
    for address in (f"{other.address}/v1/me", "https://api.example.invalid/", f"{server.address[:-1]}/"):
        with pytest.raises(KittyError) as refused:
            driven(client.get(address))
        assert refused.value.code == "SERVER_ADDRESS_INVALID"
    with pytest.raises(KittyError):
        driven(client.get(f"{server.address}/redirect?to={other.address}/v1/me", follow_redirects=True))
    assert other.calls == []
    assert server.paths() == [f"/redirect?to={other.address}/v1/me"]


def test_threads_share_one_client(server: Server) -> None:
    server.log_in()
    to = transport_for(server.address)
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(to.request("GET", "/v1/me").status)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20
    assert os.environ["KITTY_KEYRING"] == "0"
