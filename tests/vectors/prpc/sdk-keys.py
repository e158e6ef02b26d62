"""Makes the calls for keys of dstack's Python SDK on the two sockets given, whose guest has keys under the root whose public key is the third argument, and follows
each chain to that root as a relying party does."""

import datetime
import hashlib
import sys
import warnings

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.verification import PolicyBuilder, Store
from dstack_sdk import DstackClient, TappdClient
from eth_keys import keys
from Crypto.Hash import keccak as pycryptodome

warnings.simplefilter("ignore", DeprecationWarning)
dstack, tappd = DstackClient(sys.argv[1]), TappdClient(sys.argv[2])
ROOT = bytes.fromhex(sys.argv[3])
APP_ID = bytes.fromhex(dstack.info().app_id)


def keccak(message):
    return pycryptodome.new(digest_bits=256, data=message).digest()


def signer(message, signature):
    key = keys.Signature(signature).recover_public_key_from_msg_hash(keccak(message))
    return key.to_compressed_bytes()


def leads_to_the_root(public_key, purpose, chain):
    app = signer(f"{purpose}:{public_key.hex()}".encode(), chain[0])
    return signer(b"dstack-kms-issued:" + APP_ID + app, chain[1]) == ROOT


def public(algorithm, key):
    if algorithm == "ed25519":
        key = ed25519.Ed25519PrivateKey.from_private_bytes(key).public_key()
        return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return keys.PrivateKey(key).public_key.to_compressed_bytes()


for algorithm in ("secp256k1", "ed25519"):
    found = dstack.get_key("wallet/eth", "mainnet", algorithm)
    key = public(algorithm, found.decode_key())
    assert leads_to_the_root(key, "mainnet", found.decode_signature_chain()), algorithm
    assert not leads_to_the_root(key, "testnet", found.decode_signature_chain()), algorithm
    assert dstack.get_key("wallet/eth", "mainnet", algorithm).key == found.key
    assert dstack.get_key("wallet/other", "mainnet", algorithm).key != found.key

digest = hashlib.sha256(b"data").digest()
for algorithm, data in (("secp256k1", b"data"), ("secp256k1_prehashed", digest), ("ed25519", b"data")):
    signed = dstack.sign(algorithm, data)
    signature, *chain = signed.decode_signature_chain()
    key = signed.decode_public_key()
    assert signature == signed.decode_signature()
    assert dstack.verify(algorithm, data, signature, key).valid, algorithm
    assert leads_to_the_root(key, "signing", chain), algorithm
    assert not dstack.verify(algorithm, bytes(32), signature, key).valid, algorithm


def certified(answer, name):
    leaf, app, root = (x509.load_pem_x509_certificate(pem.encode()) for pem in answer.certificate_chain)
    key = serialization.load_pem_private_key(answer.key.encode(), None)
    assert key.public_key() == leaf.public_key()
    time = leaf.not_valid_before_utc + datetime.timedelta(hours=2)
    verifier = PolicyBuilder().store(Store([root])).time(time).build_server_verifier(x509.DNSName(name))
    assert verifier.verify(leaf, [app])[0] == leaf
    return key


own = f"{APP_ID.hex()}.dstyx.internal"
first = certified(dstack.get_tls_key("web.example", ["web.example"], usage_ra_tls=True), "web.example")
second = certified(dstack.get_tls_key(), own)
assert first.public_key() != second.public_key()
first.sign(b"data", ec.ECDSA(hashes.SHA256()))
derived = certified(tappd.derive_key("/tls/a.b"), own)
assert derived.public_key() == certified(tappd.derive_key("/tls/a.b"), own).public_key()
assert derived.public_key() != certified(tappd.derive_key("/tls/c"), own).public_key()
