"""Reads every vector of vectors.json by docs/pad-format.md, apart from dstyx's code.

    python3 reader.py vectors.json

AES-256-GCM and Ed25519 are spelt out from FIPS 197, NIST SP 800-38D and RFC 8032: slowly, and
without any care for secrets.
"""

import hashlib
import hmac
import json
import re
import struct
import sys
import uuid


class Refused(Exception):
    """The part that is wrong, as vectors spell it."""


# AES-256-GCM


def sbox():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= (p << 1) ^ (0x11B if p & 0x80 else 0)
        p &= 0xFF
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        x = q
        for shift in (1, 2, 3, 4):
            x ^= (q << shift | q >> 8 - shift) & 0xFF
        box[p] = x ^ 0x63
        if p == 1:
            box[0] = 0x63
            return box


SBOX = sbox()


def doubled(byte):
    return (byte << 1 ^ (0x11B if byte & 0x80 else 0)) & 0xFF


def round_keys(key):
    words = [list(key[i : i + 4]) for i in range(0, 32, 4)]
    constant = 1
    for i in range(8, 60):
        word = words[-1]
        if i % 8 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= constant
            constant = doubled(constant)
        elif i % 8 == 4:
            word = [SBOX[b] for b in word]
        words.append([a ^ b for a, b in zip(words[i - 8], word)])
    return [sum(words[i : i + 4], []) for i in range(0, 60, 4)]


def encrypt_block(keys, block):
    state = [a ^ b for a, b in zip(block, keys[0])]
    for number, key in enumerate(keys[1:], 1):
        state = [SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if number < 14:
            mixed = []
            for column in range(0, 16, 4):
                a = state[column : column + 4]
                whole = a[0] ^ a[1] ^ a[2] ^ a[3]
                mixed += [a[i] ^ whole ^ doubled(a[i] ^ a[(i + 1) % 4]) for i in range(4)]
            state = mixed
        state = [a ^ b for a, b in zip(state, key)]
    return bytes(state)


def multiply(x, y):
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def gcm_open(key, nonce, associated, sealed):
    """The plain text, or None."""
    if len(sealed) < 16:
        return None
    keys = round_keys(key)
    text, tag = sealed[:-16], sealed[-16:]
    subkey = int.from_bytes(encrypt_block(keys, bytes(16)), "big")
    padded = b"".join(part + bytes(-len(part) % 16) for part in (associated, text))
    padded += struct.pack(">QQ", 8 * len(associated), 8 * len(text))
    digest = 0
    for i in range(0, len(padded), 16):
        digest = multiply(digest ^ int.from_bytes(padded[i : i + 16], "big"), subkey)
    mask = int.from_bytes(encrypt_block(keys, nonce + struct.pack(">I", 1)), "big")
    if (digest ^ mask).to_bytes(16, "big") != tag:
        return None
    plain = b""
    for i in range(0, len(text), 16):
        stream = encrypt_block(keys, nonce + struct.pack(">I", 2 + i // 16))
        plain += bytes(a ^ b for a, b in zip(text[i : i + 16], stream))
    return plain


# Ed25519

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def same(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def point(encoded):
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def base():
    return point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signed(key, message, signature):
    a, r = point(key), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    if any(same(times(8, small), (0, 1, 1, 0)) for small in (a, r)):
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    return same(times(s, base()), add(r, times(h, a)))


# CBOR


class Malformed(Exception):
    pass


def need(holds):
    if not holds:
        raise Malformed


def item(data, at, depth=8):
    """The item at an offset, and where the next one is."""
    need(depth and at < len(data))
    major, info, at = data[at] >> 5, data[at] & 31, at + 1
    need(info < 28 and major in (0, 2, 3, 4, 5))
    number = info
    if info >= 24:
        width = 1 << info - 24
        need(at + width <= len(data))
        number, at = int.from_bytes(data[at : at + width], "big"), at + width
        need(number >= (24, 1 << 8, 1 << 16, 1 << 32)[info - 24])
    if major == 0:
        return number, at
    if major in (2, 3):
        need(at + number <= len(data))
        value, at = bytes(data[at : at + number]), at + number
        if major == 2:
            return value, at
        try:
            return value.decode("utf-8", "strict"), at
        except UnicodeDecodeError:
            raise Malformed from None
    if major == 4:
        values = []
        for _ in range(number):
            value, at = item(data, at, depth - 1)
            values.append(value)
        return values, at
    values, last = {}, -1
    for _ in range(number):
        key, at = item(data, at, depth - 1)
        need(isinstance(key, int) and key > last)
        last = key
        values[key], at = item(data, at, depth - 1)
    return values, at


def decode(data):
    value, at = item(data, 0)
    need(at == len(data))
    return value


def encode(value):
    def head(major, number):
        if number < 24:
            return bytes([major << 5 | number])
        exponent = next(i for i in range(4) if number < 1 << 8 * 2**i)
        return bytes([major << 5 | 24 + exponent]) + number.to_bytes(1 << exponent, "big")

    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    pairs = (encode(key) + encode(value[key]) for key in sorted(value))
    return head(5, len(value)) + b"".join(pairs)


def keys(value, *expected):
    need(isinstance(value, dict) and tuple(value) == expected)


def string(value, least, most):
    need(isinstance(value, bytes) and least <= len(value) <= most)
    return value


def array(value, least, most):
    need(isinstance(value, list) and least <= len(value) <= most)
    return value


def integer(value, least, most=2**64 - 1):
    need(isinstance(value, int) and least <= value <= most)
    return value


def a_name(value):
    need(isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9._-]{0,63}", value))
    return value


def a_uuid(value, versions=range(1, 9)):
    string(value, 16, 16)
    need(value[8] >> 6 == 2 and value[6] >> 4 in versions)
    return value


# Custodians and what they sign


def prefixed(*fields):
    return b"".join(struct.pack("<I", len(field)) + field for field in fields)


def custodian_id(custodian):
    fields = prefixed(b"dstyx-pad-custodian-1", bytes([custodian[1]]), *custodian[2])
    return hashlib.sha256(fields).digest()


def check_custodian(custodian):
    keys(custodian, 1, 2)
    members = [string(key, 32, 32) for key in array(custodian[2], 1, 64)]
    need(members == sorted(set(members)))
    integer(custodian[1], 1, len(members))
    return custodian


def shown(digest):
    first = bytearray(digest[:16])
    first[6], first[8] = first[6] & 15 | 0x80, first[8] & 63 | 0x80
    return str(uuid.UUID(bytes=bytes(first)))


def check_signatures(signatures, custodian, message):
    for pair in array(signatures, 1, 64):
        key, signature = array(pair, 2, 2)
        string(key, 32, 32), string(signature, 64, 64)
        need(key in custodian[2] and is_signed(key, message, signature))
    signers = [key for key, _ in signatures]
    need(signers == sorted(set(signers)) and len(signers) >= custodian[1])


# Pads


def read_metadata(data):
    metadata = decode(data)
    keys(metadata, 1, 2, 3, 4)
    a_uuid(metadata[1], [4])
    string(metadata[2], 32, 32)
    keys(metadata[3], 1, 2)
    string(metadata[3][1], 32, 32)
    need(isinstance(metadata[3][2], str) and re.fullmatch(r"[!-~]{1,256}", metadata[3][2]))
    crypto = metadata[4]
    keys(crypto, 1, 2, 3, 4)
    need(crypto[1] == 1)
    string(crypto[2], 1, 64), string(crypto[3], 32, 32), integer(crypto[4], 8, 20)
    return metadata


def read_contents(data, metadata):
    need(len(data) <= 262144)
    contents = decode(data)
    keys(contents, 1, 2, 3, 4)
    integer(contents[1], 1)
    custodian = check_custodian(contents[2])
    need(custodian_id(custodian) == metadata[2])
    for policy in array(contents[3], 1, 16):
        keys(policy, 1, 2, 3, 4, 5, 6)
        a_uuid(policy[1]), string(policy[2], 32, 32), a_name(policy[3])
        for key in (4, 5, 6):
            string(policy[key], 0, 32768)
    names = []
    for attribute in array(contents[4], 0, 64):
        names.append(a_name(attribute[1]))
        value = attribute[2]
        if isinstance(value, str):
            need(len(value.encode()) <= 4096)
        elif isinstance(value, bytes):
            string(value, 0, 4096)
        else:
            integer(value, 0)
        if tuple(attribute) == (1, 2, 3):
            statement = encode([metadata[1], metadata[2], attribute[1], value])
            check_signatures(attribute[3], custodian, b"dstyx pad attribute 1\0" + statement)
        else:
            keys(attribute, 1, 2, 4)
            string(attribute[4], 32, 32)
    need(names == sorted(set(names)))
    return contents


def derive(key, salt, section, metadata):
    info = prefixed(b"dstyx-pad-1", section, b"aes-256-gcm", hashlib.sha256(metadata).digest())
    extracted = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\1", hashlib.sha256).digest()


def part(name, read, *arguments):
    try:
        return read(*arguments)
    except (Malformed, KeyError, TypeError, ValueError):
        raise Refused(name) from None


def read_pad(pad, data_key):
    if len(pad) < 16:
        raise Refused("truncated")
    magic, version, metadata_length, policies_length = struct.unpack("<8sHHI", pad[:16])
    if magic != b"DSTYXPAD" or version != 1:
        raise Refused("layout")
    if not 1 <= metadata_length <= 1024 or not 17 <= policies_length <= 262160:
        raise Refused("layout")
    head_length = 16 + metadata_length
    prefix_length = head_length + 32 + policies_length
    if len(pad) < head_length:
        raise Refused("truncated")
    encoded = pad[16:head_length]
    metadata = part("metadata", read_metadata, encoded)
    if len(pad) < prefix_length:
        raise Refused("truncated")
    salt = metadata[4][3]
    if derive(data_key, salt, b"commitment", encoded) != pad[head_length : head_length + 32]:
        raise Refused("key")
    sealed = pad[head_length + 32 : prefix_length]
    key = derive(data_key, salt, b"policies", encoded)
    plain = gcm_open(key, bytes(12), pad[:head_length], sealed)
    if plain is None:
        raise Refused("policies")
    contents = part("contents", read_contents, plain, metadata)
    digest = hashlib.sha256(pad[:prefix_length]).digest()
    key = derive(data_key, salt, b"data", encoded)
    size = (1 << metadata[4][4]) + 16
    sealed = pad[prefix_length:]
    chunks = [sealed[i : i + size] for i in range(0, len(sealed), size)]
    if not chunks or len(chunks[-1]) < (17 if len(chunks) > 1 else 16):
        raise Refused("layout")
    data = b""
    for index, chunk in enumerate(chunks):
        nonce = index.to_bytes(11, "big") + bytes([index == len(chunks) - 1])
        plain = gcm_open(key, nonce, digest, chunk)
        if plain is None:
            raise Refused("chunk")
        data += plain
    return metadata, contents, digest, data


def described(metadata, contents, digest, data):
    def policy(policy):
        return {
            "type": str(uuid.UUID(bytes=policy[1])),
            "engine": policy[2].hex(),
            "input_id": policy[3],
            "input": policy[4].hex(),
            "program": policy[5].hex(),
            "output": policy[6].hex(),
        }

    def attribute(attribute):
        value = attribute[2]
        if isinstance(value, int):
            value = {"integer": str(value)}
        elif isinstance(value, str):
            value = {"text": value}
        else:
            value = {"bytes": value.hex()}
        made_by = "custodian" if 3 in attribute else attribute[4].hex()
        return {"name": attribute[1], "value": value, "made_by": made_by}

    policies = b"dstyx pad policies 1\0" + encode(contents[3])
    return {
        "pad_id": str(uuid.UUID(bytes=metadata[1])),
        "custodian": metadata[2].hex(),
        "custodian_shown": shown(metadata[2]),
        "key_provider_id": metadata[3][1].hex(),
        "uri": metadata[3][2],
        "key_id": metadata[4][2].hex(),
        "chunk_bytes": 1 << metadata[4][4],
        "policy_version": contents[1],
        "policies": list(map(policy, contents[3])),
        "policies_digest": hashlib.sha256(policies).hexdigest(),
        "attributes": list(map(attribute, contents[4])),
        "digest": digest.hex(),
        "data": data.hex(),
    }


def check_pad(vector):
    pad, key = bytes.fromhex(vector["pad"]), bytes.fromhex(vector["data_key"])
    try:
        found = {"expect": "opens", **described(*read_pad(pad, key))}
    except Refused as refused:
        found = {"expect": str(refused)}
    expected = {name: value for name, value in vector.items() if name not in ("name", "pad", "data_key")}
    assert found == expected, (vector["name"], found, expected)


# Signed documents


def check_enrolment(vector):
    signed = decode(bytes.fromhex(vector["signed"]))
    keys(signed, 1, 2)
    keys(signed[1], 1, 2, 3, 4)
    string(signed[1][2], 32, 32), integer(signed[1][3], 1), string(signed[1][4], 32, 32)
    custodian = check_custodian(signed[1][1])
    check_signatures(signed[2], custodian, b"dstyx pad enrolment 1\0" + encode(signed[1]))
    assert custodian_id(custodian).hex() == vector["custodian"]
    assert signed[1][2].hex() == vector["key_provider_id"]
    assert signed[1][3] == vector["version"]
    assert signed[1][4].hex() == vector["result_key"]


def check_update(vector):
    signed = decode(bytes.fromhex(vector["signed"]))
    keys(signed, 1, 2)
    update = signed[1]
    keys(update, 1, 2, 3)
    a_uuid(update[1], [4]), string(update[2], 32, 32), integer(update[3], 1)
    owners = []
    for approval in array(signed[2], 1, 64):
        keys(approval, 1, 2)
        owner = custodian_id(check_custodian(approval[1]))
        message = b"dstyx pad update 1\0" + encode([owner, update])
        check_signatures(approval[2], approval[1], message)
        owners.append(owner)
    need(owners == sorted(set(owners)))
    found = (str(uuid.UUID(bytes=update[1])), update[2].hex(), update[3])
    assert found == (vector["pad_id"], vector["policies"], vector["version"])
    assert [owner.hex() for owner in owners] == vector["owners"]


def owner_of(signed, vector):
    signed = decode(bytes.fromhex(signed))
    keys(signed, 1, 2, 3, 4)
    owner, run = check_custodian(signed[1]), signed[2]
    keys(run, 1, 2, 3, 4, 5)
    expected = [vector[name] for name in ("id", "exporter", "program", "pads", "plain_input")]
    found = [run[1].hex(), run[2].hex(), run[3].hex(), [pad.hex() for pad in run[4]], run[5].hex()]
    assert found == expected
    need(vector["now"] <= signed[3] <= vector["now"] + 86400)
    statement = encode([custodian_id(owner), run, signed[3]])
    check_signatures(signed[4], owner, b"dstyx pad run 1\0" + statement)
    return custodian_id(owner).hex()


def check_run(vector):
    assert owner_of(vector["signed"], vector) == vector["owner"]
    for name in ("not_by_its_owner", "expired"):
        try:
            owner_of(vector[name], vector)
        except Malformed:
            continue
        raise AssertionError(name)


def main(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    for vector in vectors["pads"]:
        check_pad(vector)
    for vector in vectors["custodians"]:
        custodian = {1: vector["threshold"], 2: [bytes.fromhex(key) for key in vector["members"]]}
        digest = custodian_id(check_custodian(custodian))
        assert (digest.hex(), shown(digest)) == (vector["id"], vector["shown"])
    check_enrolment(vectors["enrolment"])
    check_update(vectors["update"])
    check_run(vectors["run"])
    opened = sum(vector["expect"] == "opens" for vector in vectors["pads"])
    print(f"{opened} Pads opened, {len(vectors['pads']) - opened} refused")


main(sys.argv[1])
