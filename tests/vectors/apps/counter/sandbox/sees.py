"""What a container sees, and what the kernel answers to what it should not be able to do."""

import ctypes
import errno
import json
import os
import resource

# Docker's masked paths, and the guest's own.
MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware", "/sys/devices/virtual/misc/tdx_guest", "/sys/kernel/config", "/sys/kernel/security",
]
UNWRITABLE = [
    "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/sys/power/state",
    "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory.max", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys", "/sys/fs/cgroup"]
# Numbers of x86_64, and arguments that do no harm where a call is let through.
CALLS = {
    "getppid": (110,), "socket AF_UNIX": (41, 1, 1, 0), "socket AF_VSOCK": (41, 40, 1, 0),
    "socket AF_VSOCK above 32 bits": (41, (1 << 32) + 40, 1, 0), "clone3": (435, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0), "unshare nothing": (272, 0), "unshare user": (272, 0x10000000), "setns": (308, -1, 0),
    "io_uring_setup": (425, 0, 0), "keyctl": (250, 0, -3, 0), "add_key": (248, 0, 0, 0, 0, 0), "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0), "init_module": (175, 0, 0, 0), "reboot": (169, 0, 0, 0),
    "userfaultfd": (323, -1), "open_by_handle_at": (304, -1, 0, 0), "swapon": (167, 0, 0), "iopl": (172, 4),
    "settimeofday": (164, 0, 0), "personality": (135, 0x0040000), "kexec_load": (246, -1, -1, 0, -1),
}
# Requests of ioctl to the writable directory: letter and number are btrfs's own but for the last two.
REQUESTS = {
    "SNAP_CREATE": 0x50009401, "SUBVOL_CREATE": 0x5000940E, "SNAP_DESTROY": 0x5000940F, "DEFAULT_SUBVOL": 0x40089413,
    "SNAP_CREATE_V2": 0x50009417, "SUBVOL_CREATE_V2": 0x50009418, "SUBVOL_SETFLAGS": 0x4008941A,
    "SET_RECEIVED_SUBVOL": 0xC0C89425, "SEND": 0x40489426, "SNAP_DESTROY_V2": 0x5000943F,
    "SUBVOL_CREATE above 32 bits": (1 << 32) + 0x5000940E, "FICLONE": 0x40049409, "FICLONERANGE": 0x4020940D,
}
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_NOCOW_FL = 0x80086601, 0x40086602, 0x00800000
FILE_SETATTR, AT_FDCWD = 469, -100
LIMITS = {"open files": resource.RLIMIT_NOFILE, "core": resource.RLIMIT_CORE}
NAMESPACES = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]


def outcome(action):
    """What an action gives, or the name of the error that it ends with."""
    try:
        return action()
    except OSError as error:
        return errno.errorcode[error.errno]


def report(places):
    """Everything; `places` are folders in which device nodes are tried."""
    status = dict(line.rstrip("\n").split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
    return {
        "status": status,
        "ids": open("/proc/self/uid_map").read().split(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
        "limits": {name: resource.getrlimit(limit) for name, limit in LIMITS.items()},
        "masked": {path: outcome(lambda: content(path)) for path in MASKED},
        "unwritable": {path: outcome(lambda: opened(path, os.O_WRONLY)) for path in UNWRITABLE},
        "read_only": {path: outcome(lambda: bool(os.statvfs(path).f_flag & os.ST_RDONLY)) for path in READ_ONLY},
        "calls": in_child(calls),
        "disk": disk("/kept"),
        "nodes": [node(place, device) for place in places for device in devices()],
        "given": {mode: outcome(lambda: opened("/dev/given", flag)) for mode, flag in [("r", os.O_RDONLY), ("w", os.O_WRONLY)]},
        "cgroup": {name: outcome(lambda: open(f"/sys/fs/cgroup/{name}").read().strip()) for name in
                   ["memory.max", "memory.swap.max", "pids.max"]},
        "swaps": outcome(lambda: open("/proc/swaps").read().splitlines()[1:]),
    }


def content(path):
    """Names in a folder, or the first byte of a file."""
    if os.path.isdir(path):
        return sorted(os.listdir(path))
    with open(path, "rb", buffering=0) as file:
        return list(file.read(1))


def opened(path, flags):
    os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
    return "opened"


def in_child(work):
    """What `work` gives in a copy of this process, which it may change."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(work()).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        result = json.load(file)
    os.waitpid(child, 0)
    return result


def of_guests_network(path):
    """A file as it is in the network namespace of process 1, which this process joins for good."""
    with open("/proc/1/ns/net") as namespace:
        if (error := call(308, namespace.fileno(), 0)) != 0:
            return error
    return open(path).read()


def calls():
    return {name: call(*numbers) for name, numbers in CALLS.items()}


def call(*numbers):
    """0, or the name of the error."""
    result = LIBRARY.syscall(*(value if isinstance(value, bytes) else ctypes.c_long(value) for value in numbers))
    return errno.errorcode[ctypes.get_errno()] if result < 0 else 0


def disk(place):
    """What the file system says to requests by which its promises could be changed; every argument is one that it reads."""
    path = os.path.join(place, "promised")
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    below = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    name = ctypes.create_string_buffer(4096)
    flags = ctypes.c_int()
    call(16, file, FS_IOC_GETFLAGS, ctypes.addressof(flags))
    flags.value |= FS_NOCOW_FL
    attributes = ctypes.create_string_buffer(24)
    answers = {
        "requests": {request: call(16, below, number, ctypes.addressof(name)) for request, number in REQUESTS.items()},
        "no copy on write": call(16, file, FS_IOC_SETFLAGS, ctypes.addressof(flags)),
        "file_setattr": call(FILE_SETATTR, AT_FDCWD, path.encode(), ctypes.addressof(attributes), len(attributes), 0),
    }
    call(16, file, FS_IOC_GETFLAGS, ctypes.addressof(flags))
    os.close(below)
    os.close(file)
    return {**answers, "is copied on write": not flags.value & FS_NOCOW_FL}


def devices():
    """Every disk of the guest, every device with a number of its own, its memory, its log, its serial ports."""
    for line in open("/proc/partitions").read().splitlines()[2:]:
        major, minor, _, name = line.split()
        yield name, 0o060600, int(major), int(minor)
    for line in open("/proc/misc"):
        minor, name = line.split()
        yield name, 0o020600, 10, int(minor)
    for name, major, minor in [("mem", 1, 1), ("port", 1, 4), ("kmsg", 1, 11), ("ttyS0", 4, 64), ("ttyS1", 4, 65)]:
        yield name, 0o020600, major, minor


def node(place, device):
    """Whether the node of a device can be made in a folder, and opened there."""
    name, kind, major, minor = device
    path = os.path.join(place, "node")
    made = outcome(lambda: os.mknod(path, kind, os.makedev(major, minor)) or "made")
    how = outcome(lambda: opened(path, os.O_RDONLY))
    outcome(lambda: os.unlink(path))
    return {"name": name, "place": place, "made": made, "opened": how}


LIBRARY = ctypes.CDLL(None, use_errno=True)
