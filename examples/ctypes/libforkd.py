# SPDX-License-Identifier: Apache-2.0
"""A part of libforkd: the fork server of a snapshot, and children of it. native/include/forkd/forkd.h says it all."""

import ctypes
import json
import os
import socket
from ctypes import POINTER, byref, c_char, c_char_p, c_int32, c_uint32, c_uint64, c_void_p, pointer

BUILD = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../build")
LIBRARY = os.environ.get("FORKD_LIBRARY", os.path.join(BUILD, "libforkd.so.0"))
VMM = os.environ.get("FORKD_VMM", os.path.join(BUILD, "forkd-vmm"))

AGENT_PORT = 8888
MAX_ANSWER = 64 << 20  # a guest is not to be trusted: an answer has two streams of 8 MiB at most

DISK_PRIVATE, DISK_READ_ONLY, DISK_SHARED = range(3)
STARTING, READY, ENDED = range(3)


class CError(ctypes.Structure):
    _fields_ = [
        ("code", c_int32),
        ("reserved", c_uint32),
        ("operation", c_char * 48),
        ("object", c_char * 192),
        ("text", c_char * 768),
    ]


class Disk(ctypes.Structure):
    _fields_ = [
        ("path", c_char_p),
        ("layer_paths", POINTER(c_char_p)),
        ("layer_count", c_uint32),
        ("mode", c_uint32),
        ("reserved", c_uint64 * 6),
    ]


class Limits(ctypes.Structure):
    _fields_ = [
        ("console_bytes", c_uint64),
        ("disk_bytes", c_uint64),
        ("disk_bytes_per_second", c_uint64),
        ("disk_requests_per_second", c_uint64),
        ("net_bytes_per_second", c_uint64),
        ("vsock_buffer_bytes", c_uint64),
        ("vsock_connections", c_uint32),
        ("reserved32", c_uint32),
        ("reserved", c_uint64 * 8),
    ]


class ServerOptions(ctypes.Structure):
    _fields_ = [
        ("vmm_path", c_char_p),
        ("memory_path", c_char_p),
        ("vmstate_path", c_char_p),
        ("disk_count", c_uint32),
        ("parked_count", c_uint32),
        ("disks", POINTER(Disk)),
        ("scratch_dir", c_char_p),
        ("control_path", c_char_p),
        ("idle_timeout_ms", c_uint32),
        ("flags", c_uint32),
        ("working_set_path", c_char_p),
        ("reserved", c_uint64 * 7),
    ]


class ChildOptions(ctypes.Structure):
    _fields_ = [
        ("hostname", c_char_p),
        ("vsock_path", c_char_p),
        ("console_path", c_char_p),
        ("tap_name", c_char_p),
        ("netns_path", c_char_p),
        ("control_path", c_char_p),
        ("flags", c_uint32),
        ("ready_timeout_ms", c_uint32),
        ("limits", Limits),
        ("cgroup_path", c_char_p),
        ("reserved", c_uint64 * 7),
    ]


class Status(ctypes.Structure):
    _fields_ = [
        ("phase", c_uint32),
        ("end", c_uint32),
        ("pid", c_int32),
        ("host_full", c_uint32),
        ("fork_us", c_uint64),
        ("ready_us", c_uint64),
        ("error", CError),
        ("start_time", c_uint64),
        ("disk_full", c_uint32),
        ("reserved32", c_uint32),
        ("reserved", c_uint64 * 8),
    ]


# The test compares their sizes with those that a C compiler finds.
STRUCTS = {
    "forkd_error": CError,
    "forkd_disk": Disk,
    "forkd_limits": Limits,
    "forkd_server_options": ServerOptions,
    "forkd_child_options": ChildOptions,
    "forkd_vm_status": Status,
}


class ForkdError(OSError):
    """What the library says: an errno and a sentence."""


def check(result, function, arguments):
    """The last argument of each function is its struct forkd_error."""
    if result != 0:
        raise ForkdError(-result, arguments[-1].contents.text.decode(errors="replace"))
    return result


library = ctypes.CDLL(LIBRARY)
for name, types in {
    "forkd_server_start": [POINTER(c_void_p), POINTER(ServerOptions)],
    "forkd_server_fork": [c_void_p, POINTER(ChildOptions), POINTER(c_void_p)],
    "forkd_vm_wait": [c_void_p, c_int32, POINTER(Status)],
    "forkd_vm_connect": [c_void_p, c_uint32, POINTER(ctypes.c_int)],
}.items():
    function = getattr(library, name)
    function.argtypes = types + [POINTER(CError)]
    function.restype = ctypes.c_int
    function.errcheck = check
for name in "forkd_server_free", "forkd_vm_free":
    getattr(library, name).argtypes = [c_void_p]
    getattr(library, name).restype = None


class Server:
    """The fork server of a snapshot: a folder that `forkd snapshot` made. It ends with this object, its children too."""

    def __init__(self, snapshot):
        with open(os.path.join(snapshot, "snapshot.json")) as file:
            manifest = json.load(file)
        if "parent_tag" in manifest:
            raise ValueError(f"{snapshot} is a layer over another: make it flat with forkd snapshot-compact")
        disks = manifest["disks"]
        self._disks = (Disk * len(disks))()
        for index, (disk, image) in enumerate(zip(self._disks, disks)):
            disk.path = image["image"].encode()
            disk.mode = DISK_READ_ONLY if image["read_only"] else DISK_PRIVATE
            layer = os.path.join(snapshot, f"disk-{index}.layer")
            if os.path.exists(layer):
                disk.layer_paths = (c_char_p * 1)(layer.encode())
                disk.layer_count = 1
        options = ServerOptions(
            vmm_path=VMM.encode(),
            memory_path=os.path.join(snapshot, "memory.bin").encode(),
            vmstate_path=os.path.join(snapshot, "vmstate").encode(),
            disks=self._disks,
            disk_count=len(disks),
        )
        self._handle = c_void_p()
        library.forkd_server_start(byref(self._handle), byref(options), pointer(CError()))

    def fork(self, hostname):
        """Returns at once: see Child.wait."""
        handle = c_void_p()
        library.forkd_server_fork(
            self._handle, byref(ChildOptions(hostname=hostname.encode())), byref(handle), pointer(CError())
        )
        return Child(handle, hostname)

    def close(self):
        library.forkd_server_free(self._handle)
        self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Child:
    """A VM in a process of its own, which ends with this object."""

    def __init__(self, handle, hostname):
        self._handle = handle
        self.hostname = hostname

    def wait(self, timeout_ms=60_000):
        """Until its guest has taken its new identity."""
        status = Status()
        library.forkd_vm_wait(self._handle, timeout_ms, byref(status), pointer(CError()))
        if status.phase != READY:
            raise ForkdError(-status.error.code, f"{self.hostname} ended: {status.error.text.decode(errors='replace')}")
        return status

    def connect(self, port):
        """A socket to what listens at a vsock port in the guest."""
        descriptor = ctypes.c_int(-1)
        library.forkd_vm_connect(self._handle, port, byref(descriptor), pointer(CError()))
        return socket.socket(fileno=descriptor.value)

    def exec(self, *command):
        """Runs a command: a line of JSON to the agent, and one from it."""
        with self.connect(AGENT_PORT) as agent, agent.makefile("rb") as answer:
            agent.sendall(json.dumps({"action": "exec", "args": command}).encode() + b"\n")
            return json.loads(answer.read(MAX_ANSWER))

    def close(self):
        library.forkd_vm_free(self._handle)
        self._handle = None
