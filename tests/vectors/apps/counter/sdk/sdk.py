"""Makes every public call of dstack's Python SDK once, then serves what each gave as one JSON document."""

import asyncio
import http.server
import json
import warnings

import httpx
from dstack_sdk import AsyncDstackClient, DstackClient, TappdClient

PATIENCE = 60
REPORT_DATA = b"python"
warnings.simplefilter("ignore", DeprecationWarning)

client = DstackClient(timeout=PATIENCE)
legacy = TappdClient(timeout=PATIENCE)
results = {}


def call(name, work):
    try:
        result = work()
        if hasattr(result, "model_dump"):
            result = result.model_dump()
        results[name] = {"ok": result}
    except httpx.HTTPStatusError as error:
        results[name] = {"status": error.response.status_code, "refused": error.response.text}
    except Exception as error:
        results[name] = {"failed": repr(error)}


def quote_with_rtmrs(quote):
    return {**quote.model_dump(), "replayed": quote.replay_rtmrs()}


async def asynchronous():
    async with AsyncDstackClient(timeout=PATIENCE) as both:
        return (await both.info()).app_id


call("version", client.version)
call("info", client.info)
call("quote", lambda: quote_with_rtmrs(client.get_quote(REPORT_DATA)))
call("attest", lambda: client.attest(REPORT_DATA))
call("reachable", client.is_reachable)
call("async info", lambda: asyncio.run(asynchronous()))
call("event", lambda: client.emit_event("sdk-python", b"said by python"))
call("event of the boot", lambda: client.emit_event("system-ready", b""))
call("quote after the event", lambda: quote_with_rtmrs(client.get_quote(REPORT_DATA)))
call("key", lambda: client.get_key("some/path", "some purpose"))
call("tls key", lambda: client.get_tls_key(subject="example"))
call("sign", lambda: client.sign("ed25519", b"data"))
call("legacy info", legacy.info)
call("legacy quote", lambda: quote_with_rtmrs(legacy.tdx_quote(REPORT_DATA, "raw")))
call("legacy hashed quote", lambda: quote_with_rtmrs(legacy.tdx_quote(REPORT_DATA, "sha512")))
call("legacy key", lambda: legacy.derive_key("some/path"))
document = json.dumps(results).encode()


class Results(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)


http.server.HTTPServer(("0.0.0.0", 8081), Results).serve_forever()
