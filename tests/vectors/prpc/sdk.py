"""Makes every public call of dstack's Python SDK on the two sockets given, and ends with 1 and a message where an answer is not what the SDK's users expect."""

import hashlib
import sys

import httpx
from dstack_sdk import DstackClient, TappdClient

dstack, tappd = (client(path) for client, path in zip((DstackClient, TappdClient), sys.argv[1:]))


def refused(call):
    try:
        call()
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 400, error
        return error.response.json()["error"]
    raise AssertionError("not refused")


assert dstack.is_reachable() and dstack.version().version
info = dstack.info()
assert (info.app_name, len(info.app_id), info.app_cert) == ("hello", 40, ""), info
assert hashlib.sha256(info.tcb_info.app_compose.encode()).hexdigest() == info.compose_hash
quote = dstack.get_quote("my-app-state")
assert quote.report_data == b"my-app-state".hex().ljust(128, "0")
# The "quote" of software registers is RTMR3 and the report data.
assert quote.decode_quote()[:48].hex() == quote.replay_rtmrs()[3]
assert quote.decode_event_log()[-1].event == "system-ready"
assert dstack.attest(b"my-app-state").decode_attestation()[:2] == b"\0\0"
dstack.emit_event("mine", b"\x01\x02")
after = dstack.get_quote("my-app-state")
assert after.decode_event_log()[-1].event == "mine"
assert after.decode_quote()[:48].hex() == after.replay_rtmrs()[3] != quote.replay_rtmrs()[3]
assert "after system-ready" in refused(lambda: dstack.emit_event("app-id", b""))
for call in (
    lambda: dstack.get_key("wallet/eth", "mainnet"),
    lambda: dstack.get_key("wallet/eth", algorithm="ed25519"),
    lambda: dstack.get_tls_key("a", ["b"], not_after=7),
    lambda: dstack.sign("ed25519", "data"),
    lambda: tappd.derive_key("p"),
):
    assert refused(call).startswith("no key provider"), call
assert not dstack.verify("ed25519", b"data", bytes(64), bytes.fromhex(
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")).valid
assert tappd.info().app_id == info.app_id
tagged = tappd.tdx_quote(b"test content", "sha512")
assert tagged.decode_quote()[48:] == hashlib.sha512(b"app-data:test content").digest()
assert tappd.tdx_quote(b"\7" * 64, "raw").decode_quote()[48:] == b"\7" * 64
