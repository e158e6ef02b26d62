"""Computes app-keys.txt with eth_keys, cryptography and the standard library.

    pip install eth_keys eth_utils eth_hash[pycryptodome] cryptography
    python3 app-keys.py > app-keys.txt
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_keys import keys
from eth_utils import keccak

APP_KEY = bytes(range(0x11, 0x31))
RAW = (Encoding.Raw, PublicFormat.Raw)
POINT = (Encoding.X962, PublicFormat.CompressedPoint)


def derive(path):
    """HKDF-SHA256 (RFC 5869), one block."""
    prk = hmac.new(b"RATLS", APP_KEY, hashlib.sha256).digest()
    return hmac.new(prk, path.encode() + b"\x01", hashlib.sha256).digest()


def public(algorithm, key):
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes(*RAW)
    curve = ec.SECP256K1() if algorithm == "secp256k1" else ec.SECP256R1()
    return ec.derive_private_key(int.from_bytes(key, "big"), curve).public_key().public_bytes(*POINT)


print(f"# algorithm, path, purpose, key, public key, signature of the purpose by the app's key")
print(f"# the app's key is {APP_KEY.hex()}")
for algorithm, path, purpose in [
    ("secp256k1", "vms", "signing"),
    ("ed25519", "vms", "signing"),
    ("secp256k1", "wallet/ethereum", "mainnet"),
    ("ed25519", "wallet/solana", "-"),
    ("secp256k1", "-", "-"),
    ("p256", "tls", "-"),
]:
    key = derive(path.strip("-"))
    point = public(algorithm, key)
    signed = f"{purpose.strip('-')}:{point.hex()}".encode()
    signature = keys.PrivateKey(APP_KEY).sign_msg_hash(keccak(signed)).to_bytes()
    assert keys.Signature(signature).recover_public_key_from_msg_hash(keccak(signed)) == keys.PrivateKey(APP_KEY).public_key
    print(algorithm, path, purpose, key.hex(), point.hex(), signature.hex())
