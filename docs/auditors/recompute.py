#!/usr/bin/env python3
"""What dstyx computes, computed again with nothing but Python's standard library.

For auditors who do not want to trust our binary: read this one file instead. Nothing of dstyx uses them.

  recompute.py replay EVIDENCE.json     quote and event log of ours or dstack's: RTMR0 to RTMR3
  recompute.py mrtd FIRMWARE            both page orders
  recompute.py kernel KERNEL            Authenticode digest (SHA-384, and SHA-256 to compare with pesign) and RTMR1
  recompute.py system INITRD CMDLINE    RTMR2
"""
import hashlib
import json
import struct
import sys
from pathlib import Path
from uuid import UUID


def sha384(*parts):
    return hashlib.sha384(b"".join(parts)).digest()


def extend_all(digests):
    """A register starts as 48 zero bytes; each event makes it the hash of itself and the event's digest."""
    register = bytes(48)
    for digest in digests:
        register = sha384(register, digest)
    return register


def replay(evidence):
    evidence = json.loads(Path(evidence).read_bytes())
    quote, log = bytes.fromhex(evidence["quote"]), evidence["event_log"]
    log = json.loads(log) if isinstance(log, str) else log
    # Header 48 bytes (a version 5 quote has 6 more); in the report RTMR0 stands at 328.
    report = quote[48 + (6 if quote[0] == 5 else 0):]
    for index in range(4):
        events = [event for event in log if event["imr"] == index]
        found, replayed = report[328 + 48 * index:][:48], extend_all(map(digest_of, events))
        verdict = "equal" if found == replayed else f"DIFFERENT, the log gives {replayed.hex()}"
        print(f"RTMR{index} {found.hex()} {len(events)} events: {verdict}" if events else f"RTMR{index} {found.hex()} no events")


def digest_of(event):
    if event["imr"] != 3:
        return bytes.fromhex(event["digest"])
    # What a run-time event extends is its name and payload, whatever digest stands beside them.
    name, payload = event["event"].encode(), bytes.fromhex(event["event_payload"])
    return sha384(struct.pack("<I", event["event_type"]), b":", name, b":", payload)


def mrtd(firmware):
    """TDX module specification, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND; sections from the firmware's TDVF metadata."""
    image = Path(firmware).read_bytes()
    at = tdvf_descriptor(image)
    count = struct.unpack_from("<I", image, at + 12)[0]
    sections = [struct.unpack_from("<IIQQII", image, at + 16 + 32 * index) for index in range(count)]
    for name, single_pass in [("one pass (QEMU 9.0 and later)", True), ("two passes", False)]:
        stream = hashlib.sha384()
        for offset, _, address, size, _, attributes in sections:
            if attributes & 2:  # pages that the guest accepts later
                continue
            pages = range(address, address + size, 4096)
            for page in pages:
                stream.update(b"MEM.PAGE.ADD".ljust(16, b"\0") + struct.pack("<Q", page) + bytes(104))
                if attributes & 1 and single_pass:
                    measure(stream, image, offset + page - address, page)
            if attributes & 1 and not single_pass:
                for page in pages:
                    measure(stream, image, offset + page - address, page)
        print(f"MRTD  {stream.hexdigest()} {name}")


def measure(stream, image, offset, page):
    for chunk in range(0, 4096, 256):
        stream.update(b"MR.EXTEND".ljust(16, b"\0") + struct.pack("<Q", page + chunk) + bytes(104))
        stream.update(image[offset + chunk:][:256])


def tdvf_descriptor(image):
    """Walks the table of GUIDs that ends 32 bytes before the firmware's end, backwards, to TDVF's entry."""
    footer, tdvf = UUID("96b582de-1fb2-45f7-baea-a366c55a082d"), UUID("e47a6535-984a-4798-865e-4685a7bf8ec2")
    end = len(image) - 32
    if image[end - 16:end] != footer.bytes_le:
        raise SystemExit("no table of GUIDs")
    start, end = end - struct.unpack_from("<H", image, end - 18)[0], end - 18
    while end > start:  # an entry: data, its whole length, its name
        if image[end - 16:end] == tdvf.bytes_le:
            return len(image) - struct.unpack_from("<I", image, end - 22)[0]
        end -= struct.unpack_from("<H", image, end - 18)[0]
    raise SystemExit("no TDVF metadata")


def authenticode(image, algorithm):
    """Microsoft's Authenticode: the file without checksum, certificate entry and certificates, filled up to 8 bytes."""
    pe = struct.unpack_from("<I", image, 0x3C)[0]
    optional = pe + 24
    checksum = optional + 64
    certificates = optional + (144 if struct.unpack_from("<H", image, optional)[0] == 0x20B else 128)
    offset, size = struct.unpack_from("<II", image, certificates)
    end = offset if size else len(image)
    parts = [image[:checksum], image[checksum + 4:certificates], image[certificates + 8:end], bytes(-end % 8)]
    return hashlib.new(algorithm, b"".join(parts)).digest()


SEPARATOR = sha384(bytes(4))


def kernel(file):
    image = Path(file).read_bytes()
    digest = authenticode(image, "sha384")
    print(f"Authenticode SHA-256 {authenticode(image, 'sha256').hex()}")
    print(f"Authenticode SHA-384 {digest.hex()}")
    words = [b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success"]
    first = sha384(b"Calling EFI Application from Boot Option")
    print(f"RTMR1 {extend_all([digest, first, SEPARATOR, *map(sha384, words)]).hex()}")


def system(initrd, cmdline):
    # The firmware's loader appends where the initrd is; the kernel's stub measures the text as UTF-16 with its end.
    load_options = (cmdline + " initrd=initrd").encode("utf-16-le") + bytes(2)
    print(f"RTMR2 {extend_all([sha384(load_options), sha384(Path(initrd).read_bytes())]).hex()}")


if __name__ == "__main__":
    commands = {"replay": replay, "mrtd": mrtd, "kernel": kernel, "system": system}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        raise SystemExit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
