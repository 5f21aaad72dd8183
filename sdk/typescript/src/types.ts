// SPDX-License-Identifier: Apache-2.0
// What the daemon takes and answers: its OpenAPI document has each of these, with the bounds. Answers are as they come
// over the wire; options are camelCase, and undefined is as not given.

// --- answers ---

export interface Health {
    ok: true;
}

export interface Version {
    version: string;
    api: 'v1';
}

export interface SnapshotInfo {
    tag: string;
    /** Its folder on the host. */
    dir: string;
    created_at_unix: number;
    /** The sandbox that it is a branch of, or compact:TAG. */
    branched_from?: string;
    /** How long the sandbox stood still for the branch. */
    pause_ms?: number;
    /** The same in microseconds. */
    pause_us?: number;
    /** How the branch got its memory: by fork(2), which shares it, or copied while the sandbox ran. */
    way?: 'fork' | 'precopy';
    diff_ms?: number;
    diff_physical_bytes?: number;
    diff_logical_bytes?: number;
    /** Why it cannot be used, if it cannot. */
    warning?: string;
    status: 'writing' | 'ready' | 'failed';
    bootable: boolean;
}

export interface SnapshotInfoDetail {
    tag: string;
    dir: string;
    created_at_unix: number;
    memory_logical_bytes: number;
    memory_physical_bytes: number;
    vmstate_bytes: number;
    parent_tag?: string;
    parent_content_hash?: string;
    chain_depth: number;
    ancestors: string[];
    dependents: string[];
    status: 'writing' | 'ready' | 'failed';
    vcpus: number;
    content_hash?: string;
    /** Whether the kernel checks each page of its memory whenever it is read (fs-verity), which every start sees to. */
    verity: boolean;
    /** Why it cannot be forked, if it cannot. */
    problem?: string;
    volumes: Volume[];
    files: File[];
}

export interface Volume {
    host_path: string;
    guest_path: string;
    read_only: boolean;
}

export interface File {
    name: string;
    logical_bytes: number;
    physical_bytes: number;
}

/** What a sandbox takes of the host, where it has a cgroup. */
export interface Usage {
    memory_bytes: number | null;
    cpu_usec: number;
    threads: number | null;
    io_read_bytes: number | null;
    io_written_bytes: number | null;
}

export interface SandboxInfo {
    id: string;
    snapshot_tag: string;
    guest_addr: string;
    netns: string | null;
    network: NetworkPolicy | null;
    created_at_unix: number;
    pid: number | null;
    memory_limit_mib: number | null;
    usage: Usage | null;
    has_branched: boolean;
    last_branch_memory_path: string | null;
    branch_count: number;
    state: 'running' | 'paused' | 'full' | 'at limit' | 'unmounted' | 'stopped' | 'other version' | 'damaged';
    ttl_secs: number | null;
    idle_secs: number | null;
    on_timeout: 'kill' | 'pause';
    wake: boolean;
    freeze_secs: number | null;
    /** When its time to live is over; null when it has none, or is paused. */
    ends_at_unix: number | null;
    name: string | null;
    labels: Record<string, string>;
    /** The pool that it is ready in, or was taken of. Only one that is taken can be used. */
    pool: {name: string; state: 'ready' | 'taken' | 'returning'} | null;
}

export interface SandboxMetrics {
    id: string;
    state: string;
    cpu_usec: number | null;
    own_bytes: number | null;
    resident_bytes: number | null;
    threads: number | null;
    usage: Usage | null;
    /** null unless it was asked. */
    guest: GuestMetrics | null;
}

/** What a guest says of itself. */
export interface GuestMetrics {
    cpus: number;
    /** Of all, since it was booted. */
    cpu_usec: number;
    memory_bytes: number;
    /** Without caches. */
    memory_used_bytes: number;
    memory_cache_bytes: number;
    /** Of the disk that / is on. */
    disk_bytes: number;
    disk_used_bytes: number;
    processes: number;
    /** Since it was booted, with what it was before it was forked. */
    uptime_ms: number;
}

/** Of a snapshot that is made. The last has `snapshot`, and what it took. */
export interface SnapshotLine {
    /** What is done now. */
    step?: string;
    /** What the step has to pull; 0: nothing, or nobody knows. */
    bytes_total?: number;
    bytes_done?: number;
    note?: string;
    warning?: string;
    snapshot?: SnapshotInfo;
    memory_bytes?: number;
    boot_ms?: number;
    snapshot_ms?: number;
    /** Digest of the image's configuration. */
    image?: string;
    /** The disk image on the host. */
    rootfs?: string;
    /** Whether it was there already. */
    cached?: boolean;
    rootfs_ms?: number;
    /** Never seen here: it is thrown. */
    error?: string;
    status?: number;
}

/** Sandboxes that are kept ready; and what each is made with. */
export interface Pool {
    name: string;
    /** The user whose it is. */
    owner: string | null;
    snapshot_tag: string;
    /** How many are kept ready. */
    size: number;
    per_child_netns: boolean;
    network?: NetworkPolicy;
    memory_limit_mib?: number;
    console_limit_kib?: number;
    disk_limit_mib?: number;
    disk_bps?: number;
    disk_iops?: number;
    net_bps?: number;
    vsock_connections?: number;
    vsock_buffer_mib?: number;
    cpus?: number;
    pids_limit?: number;
    io_bps?: number;
    io_iops?: number;
    ttl_secs?: number;
    idle_secs?: number;
    freeze_secs?: number;
    on_timeout?: 'kill' | 'pause';
    wake?: boolean;
    labels?: Record<string, string>;
    /** More than size when some have been given back. */
    ready: number;
    /** Taken, and neither ended nor given back. */
    taken: number;
    /** Why fewer are ready than there should be. */
    problem: string | null;
}

export interface WorkspaceInfo {
    id: string;
    name: string;
    source_snapshot_tag: string;
    status: 'running' | 'suspended' | 'stale';
    created_at_unix: number;
    last_active_unix: number;
    current_state_tag?: string;
    live_sandbox_id?: string;
    last_branch_memory_path?: string;
}

export interface ExecResponse {
    stdout: string;
    stderr: string;
    /** Negative of a signal. */
    exit_code: number;
    error?: string;
    warning?: string;
}

export interface EvalResponse {
    result: unknown;
    error: string | null;
    exit_code: number;
    traceback?: string;
    warning?: string;
}

export interface Started {
    pid: number;
    tag: string | null;
}

/** A program that was started and is kept. */
export interface Process {
    pid: number;
    tag: string | null;
    args: string[];
    cwd: string;
    pty: boolean;
    started_ms: number;
    /** When it has ended; negative of a signal. */
    exit_code: number | null;
}

export interface FileEntry {
    name: string;
    /** When it is not UTF-8. */
    name_base64?: string;
    path: string;
    path_base64?: string;
    type: 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'block' | 'char';
    size: number;
    /** Octal. */
    mode: string;
    uid: number;
    gid: number;
    user?: string;
    group?: string;
    mtime_ms: number;
    /** Where a symlink leads. */
    target?: string;
    target_base64?: string;
    /** Why what is in this directory is not listed. */
    error?: string;
}

export interface FileChange {
    /** lost: there were more than could be kept; look again. */
    change: 'create' | 'write' | 'remove' | 'move' | 'attributes' | 'lost';
    path?: string;
    path_base64?: string;
    to?: string;
    to_base64?: string;
}

export interface MadeDirectory {
    created: boolean;
}

/** What became of a sandbox that was to end. */
export interface Deleted {
    id: string;
    success: boolean;
    error?: string;
}

/** Something that has happened. */
export interface ForkdEvent {
    /** What to go on after. */
    id: string;
    /** lost: there is something that is not known any more; look at the lists. */
    event:
        | 'created'
        | 'ended'
        | 'paused'
        | 'resumed'
        | 'reset'
        | 'taken'
        | 'given_back'
        | 'branched'
        | 'snapshot_made'
        | 'snapshot_removed'
        | 'lost';
    time: string;
    sandbox?: string;
    snapshot?: string;
    pool?: string;
    reason?: string;
}

// --- options ---

/** `none`, `internet`, `all`, or rules with commas between them, those with `!` in front deny; or two lists of rules. */
export type NetworkPolicy = string | {allow?: string[] | null; deny?: string[] | null};

/** What a sandbox may take of the host. */
export interface LimitOptions {
    memoryLimitMib?: number;
    consoleLimitKib?: number;
    diskLimitMib?: number;
    diskBps?: number;
    diskIops?: number;
    netBps?: number;
    vsockConnections?: number;
    vsockBufferMib?: number;
    cpus?: number;
    pidsLimit?: number;
    ioBps?: number;
    ioIops?: number;
}

/** How long a sandbox goes on by itself. */
export interface LifetimeOptions {
    /** Its time to live. */
    ttlSecs?: number;
    /** How long it goes on when nobody uses it. */
    idleSecs?: number;
    /** Default: kill. */
    onTimeout?: 'kill' | 'pause';
    /** Whether exec, eval, ping and branch resume it when it is paused. Default: false. */
    wake?: boolean;
    /** How long its guest is idle until its processors stop; something that reaches it has them go on. Default: never. */
    freezeSecs?: number;
}

export interface NamingOptions {
    name?: string;
    labels?: Record<string, string>;
}

export interface SnapshotOptions extends LimitOptions {
    tag: string;
    /** A container image to make the root disk of, as in python:3.12-slim. */
    image?: string;
    /** Path on the host. Required without an image; default with one: the kernel that is installed. */
    kernel?: string;
    /** Path on the host. Required without an image, and does not go with one. */
    rootfs?: string;
    /** Path on the host. Default: the one beside the kernel. */
    initrd?: string;
    rw?: boolean;
    tap?: string;
    /** Default: 10, or 60 with an image. */
    bootWaitSecs?: number;
    /** Default: 512. */
    memoryMib?: number;
    /** Default: 2. */
    vcpus?: number;
    /** Python that the guest's warm interpreter runs before it is written down. */
    warm?: string;
    /** Disk images of the host: HOST:GUEST or HOST:GUEST:ro. */
    volumes?: string[];
    /** private: what the guest writes to a volume does not go to its image. Default: fail. */
    volumeConflict?: 'fail' | 'private';
    /** Replaces a snapshot of that tag. */
    force?: boolean;
    /** With an image, as the three below: size of the disk. Default: 1536. */
    sizeMib?: number;
    /** Which of several to take, as in linux/amd64/v3. */
    platform?: string;
    /** What its package manager installs in addition. */
    packages?: string[];
    /** Speak plain HTTP to a registry without TLS. */
    insecureRegistry?: boolean;
}

export interface SpawnOptions extends LimitOptions, LifetimeOptions, NamingOptions {
    snapshotTag: string;
    /** Default: 1. */
    n?: number;
    perChildNetns?: boolean;
    network?: NetworkPolicy;
    /** Without effect, as the two below: nothing has to be prepared. */
    prewarm?: boolean;
    liveFork?: boolean;
    hugepages?: boolean;
}

export interface ForkOptions extends LifetimeOptions, NamingOptions {
    /** Default: 1. */
    n?: number;
}

export interface BranchOptions {
    /** Generated without one. */
    tag?: string;
    /** full, live: all of its memory. diff: what differs from what the sandbox was forked from. Default: full. */
    mode?: 'full' | 'diff' | 'live';
    /** An older form of mode diff. */
    diff?: boolean;
    /** An older form of mode live. */
    live?: boolean;
    measure_diff?: boolean;
    /** false, for mode live only: answer before it is written. */
    wait?: boolean;
    parentTag?: string;
}

export interface ExecOptions {
    /** Default: 30; of a program that is listened to, none. */
    timeoutSecs?: number;
    /** Beside those of the image. */
    env?: Record<string, string>;
    cwd?: string;
    /** NAME or UID, with :GROUP or :GID. */
    user?: string;
    /** Its input. Without one it is empty. */
    stdin?: string | Uint8Array;
}

export interface StartOptions extends ExecOptions {
    /** A name for it, which no other has. */
    tag?: string;
    /** It goes on when nobody listens, and the oldest of what it wrote is forgotten. */
    detach?: boolean;
}

export interface TalkOptions {
    /** Gives it a terminal. */
    terminal?: {rows: number; columns: number};
    /** Whether it gets input; with a terminal it does. */
    stdin?: boolean;
    env?: Record<string, string>;
    cwd?: string;
    user?: string;
    timeoutSecs?: number;
    tag?: string;
    detach?: boolean;
}

export interface PoolOptions extends LimitOptions, LifetimeOptions {
    snapshotTag: string;
    /** How many are kept ready, from 1 to 100. Default: 1. */
    size?: number;
    perChildNetns?: boolean;
    network?: NetworkPolicy;
    /** Those that each gets when it is taken. */
    labels?: Record<string, string>;
}

export interface WorkspaceOptions {
    name: string;
    snapshotTag: string;
    perChildNetns?: boolean;
    memoryLimitMib?: number;
}

/** Of the guest; bytes are for a path that is not UTF-8. */
export type Path = string | Uint8Array;

export interface FileOptions {
    /** With whose rights: NAME or UID, with :GROUP or :GID. Default: the image's. */
    user?: string;
}

export interface ReadOptions extends FileOptions {
    /** The first byte and the last, from 0. Default: all. */
    start?: number;
    end?: number;
}

export interface OwnerOptions extends FileOptions {
    /** Octal. */
    mode?: string;
    /** Missing directories are made. */
    parents?: boolean;
    uid?: number;
    gid?: number;
    mtimeMs?: number;
}
