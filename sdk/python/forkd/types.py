# SPDX-License-Identifier: Apache-2.0
"""What the daemon answers with, and takes: plain dicts. From its OpenAPI document, by sdk/python/generate."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, Optional, TypedDict, Union

if sys.version_info >= (3, 11):
    from typing import NotRequired
elif TYPE_CHECKING:
    from typing_extensions import NotRequired


class EvalResponse(TypedDict):
    result: Any
    """The repr() of Python, or any JSON value; null when there was an error."""
    error: Optional[str]
    exit_code: int
    traceback: NotRequired[str]
    """Absent without one."""
    warning: NotRequired[str]
    """With an error, as in ExecResponse."""


class ExecResponse(TypedDict):
    stdout: str
    stderr: str
    """With a last line when the command could not be run, took too long, or wrote more than is kept."""
    exit_code: int
    """Negative when a signal ended it."""
    error: NotRequired[str]
    """Why the command could not be run, or was ended; the last line of stderr, too. Absent otherwise."""
    warning: NotRequired[str]
    """When exit_code is not 0, what may be why: the host had no room for what the sandbox wrote to its disks, or
    that was more than its limit. Absent otherwise.
    """


class File(TypedDict):
    name: str
    logical_bytes: int
    physical_bytes: int


class FileChange(TypedDict):
    change: Literal["create", "write", "remove", "move", "attributes", "lost"]
    """lost: there were more than could be kept; look again."""
    path: NotRequired[str]
    path_base64: NotRequired[str]
    to: NotRequired[str]
    to_base64: NotRequired[str]


class FileEntry(TypedDict):
    name: str
    name_base64: NotRequired[str]
    """When it is not UTF-8."""
    path: str
    path_base64: NotRequired[str]
    type: Literal["file", "directory", "symlink", "fifo", "socket", "block", "char"]
    size: int
    mode: str
    """Octal, the lower 12 bits."""
    uid: int
    gid: int
    user: NotRequired[str]
    group: NotRequired[str]
    mtime_ms: int
    target: NotRequired[str]
    """Where a symlink leads."""
    target_base64: NotRequired[str]
    error: NotRequired[str]
    """Why what is in this directory is not listed."""


class GuestMetrics(TypedDict):
    cpus: int
    """Virtual processors."""
    cpu_usec: int
    """Processor time of all, since it was booted."""
    memory_bytes: int
    """All memory."""
    memory_used_bytes: int
    """Without caches."""
    memory_cache_bytes: int
    """What caches take."""
    disk_bytes: int
    """Of the disk that / is on."""
    disk_used_bytes: int
    """Of the same."""
    processes: int
    """How many there are."""
    uptime_ms: int
    """Since it was booted, with what it was before it was forked."""


class Health(TypedDict):
    ok: Literal[True]


Labels = dict[str, str]


class Lifetime(TypedDict):
    """How long a sandbox goes on by itself."""

    ttl_secs: NotRequired[Optional[int]]
    """Its time to live: from when it is made or resumed, or this is said, until it is over, whatever it does."""
    idle_secs: NotRequired[Optional[int]]
    """It is over when nobody has used it for so long, too."""
    freeze_secs: NotRequired[Optional[int]]
    """When its guest has been idle for so long, its processors stop until something reaches it. Null: never."""
    on_timeout: NotRequired[Optional[Literal["kill", "pause"]]]
    """What happens when it is over. Default: kill."""
    wake: NotRequired[Optional[bool]]
    """Whether exec, eval, ping and branch resume it when it is paused. Default: false."""


class MadeDirectory(TypedDict):
    created: bool


Name = str
"""Of a sandbox, beside its id, which stands wherever its id does; no other of the same caller has it. It does
not begin with sb-.
"""


NetworkPolicy = Union[str, dict[str, Any]]
"""What a guest may reach. What is denied is denied whatever allows it, and what nothing allows is denied, too. A
rule is a range of addresses, a name, internet or all, with a port or ports behind a colon if it is about
those alone.
"""


Pong = dict[str, Any]
"""What the agent of the guest answers, word for word."""


class Pool(TypedDict):
    name: str
    owner: Optional[str]
    """The user whose it is."""
    snapshot_tag: str
    size: int
    """How many are kept ready."""
    per_child_netns: bool
    network: NotRequired[Optional[NetworkPolicy]]
    """What each may reach, from a namespace of its own. Without it what the snapshot was branched with, than which
    it cannot be wider; else internet.
    """
    memory_limit_mib: NotRequired[Optional[int]]
    """What each may take of the host's memory for its guest's, past which it is killed. Default: no limit."""
    console_limit_kib: NotRequired[Optional[int]]
    """How much of its console is kept, where that is logged. Default: 1024."""
    disk_limit_mib: NotRequired[Optional[int]]
    """What it may take of the host's disk for what it writes to private disks; 0: no limit. Default: 10240."""
    disk_bps: NotRequired[Optional[int]]
    """Bytes a second of each disk; 0: no limit. Default: none."""
    disk_iops: NotRequired[Optional[int]]
    """Requests a second of each disk; 0: no limit. Default: none."""
    net_bps: NotRequired[Optional[int]]
    """Bytes a second of its network, in each direction; 0: no limit. Default: none."""
    vsock_connections: NotRequired[Optional[int]]
    """Connections between host and guest at a time. Default: 1023."""
    vsock_buffer_mib: NotRequired[Optional[int]]
    """What it may have written to connections that nobody has read yet. Default: 64."""
    cpus: NotRequired[Optional[float]]
    """How many of the host's processors it may use. Default, and 0: no limit."""
    pids_limit: NotRequired[Optional[int]]
    """How many of the host's threads it may have: it takes 4 and one for each vCPU. Default, and 0: no limit."""
    io_bps: NotRequired[Optional[int]]
    """Bytes a second that it reads, and writes, of the host's disks. Default, and 0: no limit."""
    io_iops: NotRequired[Optional[int]]
    """The same in requests. Default, and 0: no limit."""
    ttl_secs: NotRequired[Optional[int]]
    """Its time to live: from when it is made or resumed, or this is said, until it is over, whatever it does."""
    idle_secs: NotRequired[Optional[int]]
    """It is over when nobody has used it for so long, too."""
    freeze_secs: NotRequired[Optional[int]]
    """When its guest has been idle for so long, its processors stop until something reaches it. Null: never."""
    on_timeout: NotRequired[Optional[Literal["kill", "pause"]]]
    """What happens when it is over. Default: kill."""
    wake: NotRequired[Optional[bool]]
    """Whether exec, eval, ping and branch resume it when it is paused. Default: false."""
    labels: NotRequired[Optional[Labels]]
    ready: int
    """How many are ready: more than size when some have been given back."""
    taken: int
    """How many have been taken, and neither ended nor given back."""
    problem: Optional[str]
    """Why fewer are ready than there should be."""


class Process(TypedDict):
    pid: int
    tag: Optional[str]
    args: list[str]
    """The first 4 KiB of them."""
    cwd: str
    pty: bool
    """Whether it has a terminal."""
    started_ms: int
    """Milliseconds since 1970."""
    exit_code: Optional[int]
    """When it has ended; negative of a signal."""


class SandboxInfo(TypedDict):
    id: str
    snapshot_tag: str
    """What it was made of; empty of one whose files are damaged."""
    guest_addr: str
    """Of its agent, in its own network."""
    netns: Optional[str]
    """Its network namespace."""
    network: Optional[NetworkPolicy]
    """What it may reach; null when that is not forkd's to say."""
    created_at_unix: int
    pid: Optional[int]
    memory_limit_mib: Optional[int]
    usage: Optional[Usage]
    """What it takes of the host; null where nobody counts, as it has no limit that needs a cgroup."""
    has_branched: bool
    last_branch_memory_path: Optional[str]
    branch_count: int
    state: Literal["running", "paused", "full", "at limit", "unmounted", "stopped", "other version", "damaged"]
    """Paused: it has no process, until it is resumed. Full: it runs, and the host had no room for what its guest
    wrote (told where it is asked). At limit: it runs, and wrote more to its disks than disk_limit_mib allows
    (likewise). Unmounted: it runs without its volumes, as it is being branched. Stopped: its process does not
    answer. Other version: another forkd made it. Damaged: it lives, and its files do not tell what it is.
    """
    ttl_secs: Optional[int]
    """Its time to live: from when it is made or resumed, or this is said, until it is over, whatever it does."""
    idle_secs: Optional[int]
    """It is over when nobody has used it for so long, too."""
    freeze_secs: Optional[int]
    """When its guest has been idle for so long, its processors stop until something reaches it. Null: never."""
    on_timeout: Literal["kill", "pause"]
    wake: bool
    ends_at_unix: Optional[int]
    """When its time to live is over; null when it has none, or is paused."""
    name: Optional[str]
    labels: Labels
    pool: Optional[dict[str, Any]]
    """The pool that it is ready in, or was taken of; null of one that is of none."""


class SandboxMetrics(TypedDict):
    id: str
    state: str
    cpu_usec: Optional[int]
    """Processor time of its process, since it was made or resumed; null when it has none, as the following."""
    own_bytes: Optional[int]
    """Memory that nobody else has."""
    resident_bytes: Optional[int]
    """Memory with what it shares with others."""
    threads: Optional[int]
    """Of the host."""
    usage: Optional[Usage]
    """What it takes of the host; null where nobody counts, as it has no limit that needs a cgroup."""
    guest: Optional[GuestMetrics]
    """What its guest says of itself; null unless it was asked."""


class SnapshotInfo(TypedDict):
    tag: str
    dir: str
    """Its folder on the host."""
    created_at_unix: int
    """In seconds; the folder's time when the snapshot itself does not tell."""
    branched_from: NotRequired[str]
    """The sandbox that it is a branch of, or compact:TAG. Absent of one that was booted."""
    pause_ms: NotRequired[int]
    """How long the sandbox stood still for the branch. Absent of what is no branch."""
    pause_us: NotRequired[int]
    """The same in microseconds."""
    way: NotRequired[Literal["fork", "precopy"]]
    """How the branch got its memory: by fork(2), which shares it, or copied while the sandbox ran. Absent of what is
    no branch.
    """
    diff_ms: NotRequired[int]
    """How long the making of the difference took. Present, with the two below, when a difference was asked for."""
    diff_physical_bytes: NotRequired[int]
    """What the difference takes on the disk."""
    diff_logical_bytes: NotRequired[int]
    """What it stands for."""
    warning: NotRequired[str]
    """Why it cannot be used, if it cannot."""
    status: Literal["writing", "ready", "failed"]
    bootable: bool
    """Whether sandboxes can be made of it: never before it is ready."""


class SnapshotInfoDetail(TypedDict):
    tag: str
    dir: str
    created_at_unix: int
    memory_logical_bytes: int
    """The guest's memory."""
    memory_physical_bytes: int
    """What the snapshot's own memory file takes on the disk; 0 when it is not there."""
    vmstate_bytes: int
    """0 when it is not there."""
    parent_tag: NotRequired[str]
    """Absent of one without a parent, as is the next."""
    parent_content_hash: NotRequired[str]
    chain_depth: int
    """How many ancestors it has."""
    ancestors: list[str]
    """The first one first."""
    dependents: list[str]
    """Those whose parent this is."""
    status: Literal["writing", "ready", "failed"]
    vcpus: int
    content_hash: NotRequired[str]
    """Of what it restores to. Absent until a snapshot has been made of it."""
    verity: bool
    """Whether the kernel checks each page of its memory whenever it is read (fs-verity), which every start sees to."""
    problem: NotRequired[str]
    """Why it cannot be forked, if it cannot."""
    volumes: list[Volume]
    files: list[File]
    """Those that the snapshot itself has."""


class SnapshotLine(TypedDict):
    """step, with bytes_total when there is something to pull; bytes_done of that; a note or a warning; and last
    snapshot, with what it took, or error.
    """

    step: NotRequired[str]
    """What is done now."""
    bytes_total: NotRequired[int]
    """What the step has to pull; 0: nothing, or nobody knows."""
    bytes_done: NotRequired[int]
    """How much of it is pulled."""
    note: NotRequired[str]
    warning: NotRequired[str]
    snapshot: NotRequired[SnapshotInfo]
    memory_bytes: NotRequired[int]
    """Of the guest."""
    boot_ms: NotRequired[int]
    """Until the guest was ready."""
    snapshot_ms: NotRequired[int]
    """Until it was written."""
    image: NotRequired[str]
    """Digest of the image's configuration."""
    rootfs: NotRequired[str]
    """The disk image on the host."""
    cached: NotRequired[bool]
    """Whether it was there already."""
    rootfs_ms: NotRequired[int]
    """Until it was there."""
    error: NotRequired[str]
    status: NotRequired[int]
    """What the answer would have had without progress."""


class Started(TypedDict):
    pid: int
    tag: Optional[str]


class Usage(TypedDict):
    memory_bytes: Optional[int]
    """Memory, with what of files the kernel keeps for it."""
    cpu_usec: int
    """Processor time so far, microseconds."""
    threads: Optional[int]
    """Of the host."""
    io_read_bytes: Optional[int]
    """From disks of the host, so far."""
    io_written_bytes: Optional[int]
    """To disks of the host, so far."""


class Version(TypedDict):
    version: str
    api: Literal["v1"]


class Volume(TypedDict):
    host_path: str
    guest_path: str
    read_only: bool


class WorkspaceInfo(TypedDict):
    id: str
    name: str
    source_snapshot_tag: str
    status: Literal["running", "suspended", "stale"]
    """Stale: its sandbox has ended by itself, and it can be resumed."""
    created_at_unix: int
    last_active_unix: int
    current_state_tag: NotRequired[str]
    """The snapshot that it was last suspended as."""
    live_sandbox_id: NotRequired[str]
    """Present while it runs."""
    last_branch_memory_path: NotRequired[str]


class SnapshotOptions(TypedDict):
    """Keyword arguments."""

    image: NotRequired[Optional[str]]
    """A container image to make the root disk of, as in python:3.12-slim. Administrators also give oci:DIR, oci-
    archive:FILE, docker-archive:FILE and docker-daemon:NAME of the host.
    """
    kernel: NotRequired[Optional[str]]
    """Path of a kernel on the host; required without image. Default with it: the one that is installed."""
    rootfs: NotRequired[Optional[str]]
    """Path of a disk image on the host; required without image."""
    rw: NotRequired[Optional[bool]]
    """Whether the guest may write to its disk; always of an image whose name ends with .ext4."""
    tap: NotRequired[Optional[str]]
    """The host's network device for it."""
    boot_wait_secs: NotRequired[Optional[int]]
    """Default with image: 60. Of users 60 at most."""
    initrd: NotRequired[Optional[str]]
    """Path of an initial RAM disk on the host. Default: the one beside the kernel."""
    memory_mib: NotRequired[Optional[int]]
    """Memory of the guest."""
    vcpus: NotRequired[Optional[int]]
    """Processors of the guest."""
    warm: NotRequired[Optional[str]]
    """Python that the guest's warm interpreter runs before it is written down."""
    volumes: NotRequired[Optional[list[str]]]
    """Disk images of the host for the guest to mount, as HOST:GUEST or HOST:GUEST:ro."""
    volume_conflict: NotRequired[Optional[Literal["fail", "private"]]]
    """fail: what the guest writes to a volume goes to its image, which no other VM may have; private: it has a copy-
    on-write view of its own.
    """
    force: NotRequired[Optional[bool]]
    """Replace a snapshot of that tag."""
    size_mib: NotRequired[Optional[int]]
    """With image: size of the disk. Users: at most 10240."""
    platform: NotRequired[Optional[str]]
    """With image: which of several to take, as in linux/amd64/v3."""
    packages: NotRequired[Optional[list[str]]]
    """With image: what its package manager installs in addition."""
    insecure_registry: NotRequired[Optional[bool]]
    """With image: speak plain HTTP to a registry without TLS."""
    console_limit_kib: NotRequired[Optional[int]]
    """How much of its console is kept, where that is logged. Default: 1024."""
    disk_limit_mib: NotRequired[Optional[int]]
    """What it may take of the host's disk for what it writes to private disks; 0: no limit. Default: 10240."""
    disk_bps: NotRequired[Optional[int]]
    """Bytes a second of each disk; 0: no limit. Default: none."""
    disk_iops: NotRequired[Optional[int]]
    """Requests a second of each disk; 0: no limit. Default: none."""
    net_bps: NotRequired[Optional[int]]
    """Bytes a second of its network, in each direction; 0: no limit. Default: none."""
    vsock_connections: NotRequired[Optional[int]]
    """Connections between host and guest at a time. Default: 1023."""
    vsock_buffer_mib: NotRequired[Optional[int]]
    """What it may have written to connections that nobody has read yet. Default: 64."""
    memory_limit_mib: NotRequired[Optional[int]]
    """What it may take of the host's memory for its guest's, past which it is killed. Default: no limit."""
    cpus: NotRequired[Optional[float]]
    """How many of the host's processors it may use. Default, and 0: no limit."""
    pids_limit: NotRequired[Optional[int]]
    """How many of the host's threads it may have: it takes 4 and one for each vCPU. Default, and 0: no limit."""
    io_bps: NotRequired[Optional[int]]
    """Bytes a second that it reads, and writes, of the host's disks. Default, and 0: no limit."""
    io_iops: NotRequired[Optional[int]]
    """The same in requests. Default, and 0: no limit."""


class SandboxOptions(TypedDict):
    """Keyword arguments."""

    network: NotRequired[Optional[NetworkPolicy]]
    """What each may reach, from a namespace of its own. Without it what the snapshot was branched with, than which
    it cannot be wider; else internet.
    """
    console_limit_kib: NotRequired[Optional[int]]
    """How much of its console is kept, where that is logged. Default: 1024."""
    disk_limit_mib: NotRequired[Optional[int]]
    """What it may take of the host's disk for what it writes to private disks; 0: no limit. Default: 10240."""
    disk_bps: NotRequired[Optional[int]]
    """Bytes a second of each disk; 0: no limit. Default: none."""
    disk_iops: NotRequired[Optional[int]]
    """Requests a second of each disk; 0: no limit. Default: none."""
    net_bps: NotRequired[Optional[int]]
    """Bytes a second of its network, in each direction; 0: no limit. Default: none."""
    vsock_connections: NotRequired[Optional[int]]
    """Connections between host and guest at a time. Default: 1023."""
    vsock_buffer_mib: NotRequired[Optional[int]]
    """What it may have written to connections that nobody has read yet. Default: 64."""
    cpus: NotRequired[Optional[float]]
    """How many of the host's processors it may use. Default, and 0: no limit."""
    pids_limit: NotRequired[Optional[int]]
    """How many of the host's threads it may have: it takes 4 and one for each vCPU. Default, and 0: no limit."""
    io_bps: NotRequired[Optional[int]]
    """Bytes a second that it reads, and writes, of the host's disks. Default, and 0: no limit."""
    io_iops: NotRequired[Optional[int]]
    """The same in requests. Default, and 0: no limit."""
    ttl_secs: NotRequired[Optional[int]]
    """Its time to live: from when it is made or resumed, or this is said, until it is over, whatever it does."""
    idle_secs: NotRequired[Optional[int]]
    """It is over when nobody has used it for so long, too."""
    freeze_secs: NotRequired[Optional[int]]
    """When its guest has been idle for so long, its processors stop until something reaches it. Null: never."""
    on_timeout: NotRequired[Optional[Literal["kill", "pause"]]]
    """What happens when it is over. Default: kill."""
    wake: NotRequired[Optional[bool]]
    """Whether exec, eval, ping and branch resume it when it is paused. Default: false."""
    name: NotRequired[Optional[Name]]
    labels: NotRequired[Optional[Labels]]


class ForkOptions(TypedDict):
    """Keyword arguments."""

    ttl_secs: NotRequired[Optional[int]]
    """Its time to live: from when it is made or resumed, or this is said, until it is over, whatever it does."""
    idle_secs: NotRequired[Optional[int]]
    """It is over when nobody has used it for so long, too."""
    freeze_secs: NotRequired[Optional[int]]
    """When its guest has been idle for so long, its processors stop until something reaches it. Null: never."""
    on_timeout: NotRequired[Optional[Literal["kill", "pause"]]]
    """What happens when it is over. Default: kill."""
    wake: NotRequired[Optional[bool]]
    """Whether exec, eval, ping and branch resume it when it is paused. Default: false."""
    name: NotRequired[Optional[Name]]
    labels: NotRequired[Optional[Labels]]


class PoolOptions(TypedDict):
    """Keyword arguments."""

    per_child_netns: NotRequired[Optional[bool]]
    """Whether each gets a network namespace of its own, forkd-child-K: one that is there, or is made for it."""
    network: NotRequired[Optional[NetworkPolicy]]
    """What each may reach, from a namespace of its own. Without it what the snapshot was branched with, than which
    it cannot be wider; else internet.
    """
    memory_limit_mib: NotRequired[Optional[int]]
    """What each may take of the host's memory for its guest's, past which it is killed. Default: no limit."""
    console_limit_kib: NotRequired[Optional[int]]
    """How much of its console is kept, where that is logged. Default: 1024."""
    disk_limit_mib: NotRequired[Optional[int]]
    """What it may take of the host's disk for what it writes to private disks; 0: no limit. Default: 10240."""
    disk_bps: NotRequired[Optional[int]]
    """Bytes a second of each disk; 0: no limit. Default: none."""
    disk_iops: NotRequired[Optional[int]]
    """Requests a second of each disk; 0: no limit. Default: none."""
    net_bps: NotRequired[Optional[int]]
    """Bytes a second of its network, in each direction; 0: no limit. Default: none."""
    vsock_connections: NotRequired[Optional[int]]
    """Connections between host and guest at a time. Default: 1023."""
    vsock_buffer_mib: NotRequired[Optional[int]]
    """What it may have written to connections that nobody has read yet. Default: 64."""
    cpus: NotRequired[Optional[float]]
    """How many of the host's processors it may use. Default, and 0: no limit."""
    pids_limit: NotRequired[Optional[int]]
    """How many of the host's threads it may have: it takes 4 and one for each vCPU. Default, and 0: no limit."""
    io_bps: NotRequired[Optional[int]]
    """Bytes a second that it reads, and writes, of the host's disks. Default, and 0: no limit."""
    io_iops: NotRequired[Optional[int]]
    """The same in requests. Default, and 0: no limit."""
    ttl_secs: NotRequired[Optional[int]]
    """Its time to live: from when it is made or resumed, or this is said, until it is over, whatever it does."""
    idle_secs: NotRequired[Optional[int]]
    """It is over when nobody has used it for so long, too."""
    freeze_secs: NotRequired[Optional[int]]
    """When its guest has been idle for so long, its processors stop until something reaches it. Null: never."""
    on_timeout: NotRequired[Optional[Literal["kill", "pause"]]]
    """What happens when it is over. Default: kill."""
    wake: NotRequired[Optional[bool]]
    """Whether exec, eval, ping and branch resume it when it is paused. Default: false."""
    labels: NotRequired[Optional[Labels]]


class TakeOptions(TypedDict):
    """Keyword arguments."""

    name: NotRequired[Optional[Name]]
    labels: NotRequired[Optional[Labels]]
