"""Makes every public call of dstack's Python SDK once, then serves what each gave as one JSON document; and encrypts a
variable for another app where it is asked to."""

import asyncio
import http.server
import json
import urllib.parse
import warnings

import httpx
from dstack_sdk import AsyncDstackClient, DstackClient, EnvVar, TappdClient
from dstack_sdk import encrypt_env_vars_sync, verify_env_encrypt_public_key
from eth_keys import keys
from eth_utils import keccak

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


def root():
    """The KMS's key, to which the two signatures of a key of this app lead."""
    key = client.get_key("some/path", "some purpose")
    by_app, by_root = key.decode_signature_chain()
    public = keys.PrivateKey(key.decode_key()).public_key.to_compressed_bytes()
    app = signer(by_app, b"some purpose:" + public.hex().encode())
    return "0x" + signer(by_root, b"dstack-kms-issued:" + bytes.fromhex(client.info().app_id) + app).hex()


def signer(signature, message):
    recovered = keys.Signature(signature).recover_public_key_from_msg_hash(keccak(message))
    return recovered.to_compressed_bytes()


def envelope(kms, app, name, value):
    """What a deployer does: the KMS's signature says whose key it is, not its certificate."""
    url = f"{kms}/prpc/KMS.GetAppEnvEncryptPubKey?app_id={app}"
    answer = httpx.get(url, verify=False, timeout=PATIENCE).json()
    key, signature = (bytes.fromhex(answer[field]) for field in ("public_key", "signature_v1"))
    signed_by = verify_env_encrypt_public_key(key, signature, app, int(answer["timestamp"]))
    return {"signer": signed_by, "envelope": encrypt_env_vars_sync([EnvVar(name, value)], answer["public_key"])}


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
call("root", root)
call("tls key", lambda: client.get_tls_key(subject="example"))
call("sign", lambda: client.sign("ed25519", b"data"))
call("legacy info", legacy.info)
call("legacy quote", lambda: quote_with_rtmrs(legacy.tdx_quote(REPORT_DATA, "raw")))
call("legacy hashed quote", lambda: quote_with_rtmrs(legacy.tdx_quote(REPORT_DATA, "sha512")))
call("legacy key", lambda: legacy.derive_key("some/path"))
document = json.dumps(results).encode()


class Results(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        body = document
        if url.path == "/envelope":
            body = json.dumps(envelope(**dict(urllib.parse.parse_qsl(url.query)))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("0.0.0.0", 8081), Results).serve_forever()
