"""Writes sealed.bin: an environment by docs/environment.md, apart from dstyx's code.

HPKE is spelt out from RFC 9180 over the primitives of `cryptography`; keys are fixed.
"""

import hashlib
import hmac
import json
import struct
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEM = b"KEM" + struct.pack(">H", 0x20)
HPKE = b"HPKE" + struct.pack(">HHH", 0x20, 1, 2)


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def extract(suite, salt, label, material):
    return mac(salt or bytes(32), b"HPKE-v1" + suite + label + material)


def expand(suite, key, label, info, length):
    info = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    out, block, count = b"", b"", 1
    while len(out) < length:
        block = mac(key, block + info + bytes([count]))
        out, count = out + block, count + 1
    return out[:length]


recipient = X25519PrivateKey.from_private_bytes(b"\x42" * 32).public_key()
ephemeral = X25519PrivateKey.from_private_bytes(b"\x24" * 32)
signer = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)

header = b"DSTYXENV" + struct.pack("<HH", 1, 1) + b"\xaa" * 20 + b"\xcc" * 32 + struct.pack("<Q", 7)
variables = [{"key": "A", "value": "\\"}, {"key": "DB_PASSWORD", "value": "pass word"}]
content = json.dumps(variables, separators=(",", ":")).encode()

encapsulated = ephemeral.public_key().public_bytes_raw()
material = extract(KEM, b"", b"eae_prk", ephemeral.exchange(recipient))
shared = expand(KEM, material, b"shared_secret", encapsulated + recipient.public_bytes_raw(), 32)
context = b"\0" + extract(HPKE, b"", b"psk_id_hash", b"")
context += extract(HPKE, b"", b"info_hash", b"dstyx environment 1")
secret = extract(HPKE, shared, b"secret", b"")
key = expand(HPKE, secret, b"key", context, 32)
nonce = expand(HPKE, secret, b"base_nonce", context, 12)
ciphertext = AESGCM(key).encrypt(nonce, content, header)

digest = hashlib.sha256(encapsulated + ciphertext).digest()
signature = signer.sign(b"dstyx environment signature 1\0" + header + digest)
envelope = header + encapsulated + struct.pack("<I", len(ciphertext)) + ciphertext
envelope += b"\1" + signer.public_key().public_bytes_raw() + signature
Path(__file__).with_name("sealed.bin").write_bytes(envelope)
