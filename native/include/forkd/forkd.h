/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forkd: fork microVMs the way you fork processes.
 *
 * A VM is a process (forkd-vmm). Booting one takes a kernel and disks; forkd_vm_snapshot writes it down as
 * memory.bin, vmstate and one disk layer per writable disk; forkd_server_start turns such a snapshot into a
 * fork server, and forkd_server_fork makes children of it, each in a process of its own that maps memory.bin
 * copy-on-write. forkd_vm_branch turns a running VM into one more fork server without stopping it for longer
 * than a fork(2), at most.
 *
 * Whatever was started ends with its handle, and with the process that holds it; unless it was given a
 * control_path. Then it is detached: it goes on by itself, and any process that may open that Unix socket
 * gets a handle of it with forkd_vm_attach or forkd_server_attach. Who can connect there owns the VM: keep
 * the socket in a folder that only the owner may enter.
 *
 * Conventions
 *   - A function returns 0, or a negative errno, in which case *err (when not NULL) is filled in completely.
 *     On failure an out parameter is left as it was.
 *   - Option structs: zero every byte, then set what is needed; zero or NULL means the documented default.
 *     `reserved` fields must be zero (-EINVAL otherwise).
 *   - Strings are NUL-terminated UTF-8 and are copied; the caller keeps ownership of everything it passes in.
 *   - No call waits for ever for a process that does not answer, since it is stopped, say: -ETIMEDOUT after
 *     1 s for attaching, 10 s for a request, 60 s for a branch, 10 minutes for a start and an hour for a
 *     snapshot. What takes a timeout of its own waits for as long as that says.
 *   - Handles are used by one thread at a time; different handles may be used by different threads.
 *   - Descriptors handed out are close-on-exec and belong to the caller.
 */
#ifndef FORKD_FORKD_H
#define FORKD_FORKD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FORKD_VERSION "0.1.0"

/* What went wrong: doing what (operation), to what (object), why (code, a negative errno), and a sentence. */
struct forkd_error {
    int32_t code;       /* negative errno; 0 when no error was set */
    uint32_t reserved;  /* zero */
    char operation[48]; /* for example "open" or "KVM_CREATE_VM" */
    char object[192];   /* for example a path, a section of vmstate, a device */
    char text[768];     /* the whole sentence, fit to be shown to a person */
};

/*
 * How a disk's image is attached. As long as a VM or a fork server has it, the image is locked with flock(2):
 * any number of them may read it, or one write to it. -EBUSY, with the path as the object, otherwise; also
 * when one guest is to have an image twice.
 */
enum forkd_disk_mode {
    FORKD_DISK_PRIVATE = 0,   /* copy-on-write: the image is never written; writes go to a nameless file */
    FORKD_DISK_READ_ONLY = 1, /* the guest sees a read-only device */
    FORKD_DISK_SHARED = 2     /* writes go through to the image, which nobody else may have */
};

/* One virtio block device. Disks appear in the guest in the order given: vda, vdb, ... */
struct forkd_disk {
    const char *path;               /* raw image; required; its size must be a multiple of 512 bytes */
    const char *const *layer_paths; /* the layers that snapshots wrote for this disk, that of the first of a
                                       chain first; only for forkd_server_start; may be NULL when there are
                                       none */
    uint32_t layer_count;           /* 0 to FORKD_MAX_LAYERS */
    uint32_t mode;                  /* enum forkd_disk_mode */
    uint64_t reserved[6];           /* zero */
};

/*
 * What one VM may use of the host, past which it waits, loses or fails, and nobody else notices. 0 means the
 * default; for a child, what its server has: that of a branch has what the branched VM has, one that was
 * started from files the defaults.
 */
struct forkd_limits {
    uint64_t console_bytes; /* of the console's log that are kept: 4096 to FORKD_CONSOLE_MOST. When it is
                               full, the older half goes. Default: 1 MiB */
    uint64_t disk_bytes;    /* of the host that what it writes to its FORKD_DISK_PRIVATE disks may take, all
                               together, in whole blocks of 4096: what it had when it was forked is not its own.
                               The write that would be past it fails with an I/O error (virtio knows no other),
                               and status.disk_full says so. Default: 10 GiB */
    uint64_t disk_bytes_per_second;    /* read and written, of each disk; what is past it waits. A tenth of a
                                          second's worth may come at once. Default: FORKD_UNLIMITED */
    uint64_t disk_requests_per_second; /* the same in requests */
    uint64_t net_bytes_per_second;     /* the same of the network device, in each direction */
    uint64_t vsock_buffer_bytes;       /* that the guest has written to vsock connections and nobody has read
                                          yet, all together: the connection that would be past it is reset. At
                                          least 262144, what one may have. Default: 64 MiB */
    uint32_t vsock_connections;        /* 1 to FORKD_MAX_VSOCK_CONNECTIONS, which is the default: a guest that
                                          asks for one more is refused, a client on the host waits */
    uint32_t reserved32;               /* zero */
    uint64_t reserved[8];              /* zero */
};

#define FORKD_UNLIMITED UINT64_MAX /* for all that is a uint64_t, except of the console */
#define FORKD_CONSOLE_MOST (64u << 20)
#define FORKD_MAX_VSOCK_CONNECTIONS 1023

#define FORKD_MAX_DISKS 25
#define FORKD_MAX_LAYERS 32
#define FORKD_MAX_VCPUS 32

/* forkd_boot_options.flags, forkd_child_options.flags */
#define FORKD_NO_AGENT                                                                                       \
    1u /* the guest has no forkd agent: it is ready when it first writes to I/O port 0x510 */

/*
 * What the guest sees of the host's processor. A snapshot can be restored where nothing of that is missing:
 * -ENOTSUP otherwise, by name, before anything runs.
 */
enum forkd_cpu_template {
    FORKD_CPU_HOST = 0,    /* all that KVM offers on this host */
    FORKD_CPU_BASELINE = 1 /* what all processors of its vendor have: Intel since Haswell, AMD since Zen */
};

struct forkd_boot_options {
    const char *vmm_path;           /* the forkd-vmm executable; required */
    const char *kernel_path;        /* ELF vmlinux or bzImage; required */
    const char *initrd_path;        /* NULL: none */
    const char *command_line;       /* kernel command line, at most 2047 bytes; NULL: empty */
    uint64_t memory_bytes;          /* multiple of 4096, at least 64 MiB; 0: 512 MiB */
    uint32_t vcpu_count;            /* 1 to FORKD_MAX_VCPUS; 0: 2 */
    uint32_t disk_count;            /* 0 to FORKD_MAX_DISKS */
    const struct forkd_disk *disks; /* disk_count of them; may be NULL when there are none */
    const char *tap_name;           /* host tap device of the one network device; NULL: no network device */
    uint8_t mac[6];                 /* all zero: AA:FC:00:00:00:01 */
    uint8_t mac_reserved[2];        /* zero */
    const char *console_path;       /* file that the serial console is appended to; NULL: discarded */
    const char *vsock_path;  /* Unix socket to create (CONNECT <port>\n / OK <port>\n); NULL: none. What
                                is there already stays, and the VM ends with -EADDRINUSE */
    const char *scratch_dir; /* where private disk layers live, without a name; NULL: /var/tmp */
    uint32_t flags;          /* FORKD_NO_AGENT */
    uint32_t cpu_template;   /* enum forkd_cpu_template */
    struct forkd_limits limits;
    const char *cgroup_path; /* folder of a cgroup, of version 2, that its process moves to before it takes
                                anything; NULL: that of who starts it. -EINVAL it is none; -EACCES */
    uint64_t reserved[7];    /* zero */
};

/* Where a VM is in its life. */
enum forkd_vm_phase {
    FORKD_VM_STARTING = 0, /* the process is there; the guest is not ready yet */
    FORKD_VM_READY =
        1,             /* agent answered and identity acknowledged; or, with FORKD_NO_AGENT, the port write */
    FORKD_VM_ENDED = 2 /* the process is gone or about to go; see `end` */
};

/* Why a VM ended. */
enum forkd_vm_end {
    FORKD_END_NONE = 0,      /* it has not */
    FORKD_END_KILLED = 1,    /* by forkd_vm_kill, or its process was killed from outside */
    FORKD_END_POWER_OFF = 2, /* the guest powered itself off (ACPI S5) */
    FORKD_END_RESET = 3,     /* the guest asked for a reset (a panic with panic=N ends so, too) */
    FORKD_END_CRASH = 4,     /* triple fault, or a state from which KVM cannot go on */
    FORKD_END_ERROR = 5      /* the monitor failed; `error` says how */
};

struct forkd_vm_status {
    uint32_t phase;     /* enum forkd_vm_phase */
    uint32_t end;       /* enum forkd_vm_end */
    int32_t pid;        /* of the VM's process, in the caller's PID namespace; 0 while not yet known */
    uint32_t host_full; /* 1: a write to a disk has failed, since the host had no room for it: the guest had
                           an I/O error */
    uint64_t fork_us;   /* child only: from forkd_server_fork to the first KVM_RUN, microseconds */
    uint64_t ready_us;  /* child only: from forkd_server_fork to FORKD_VM_READY, microseconds */
    struct forkd_error error; /* set when end is FORKD_END_ERROR */
    uint64_t start_time;      /* of a detached VM's process, for forkd_process_kill; 0 otherwise */
    uint32_t disk_full;       /* 1: a write to a private disk has failed, since it would have been past
                                 limits.disk_bytes: the guest had an I/O error */
    uint32_t frozen;          /* 1: when it was attached to, it was frozen (forkd_vm_freeze) */
    uint64_t reserved[8];
};

struct forkd_vm;     /* one VM: a booted one or a child */
struct forkd_server; /* the fork server of one snapshot */

/*
 * Every process behind these calls confines itself before it reads what it is to do: docs/isolation.md. The
 * folders of sockets, and the scratch folder, are looked up by the call that names them, as its caller sees
 * them.
 *
 * Start a VM process and boot the kernel in it. Returns once the vCPUs run; the guest is not ready yet
 * (forkd_vm_wait). The VM ends when *out is freed or the calling process dies.
 * Errors: -ENOENT/-EACCES a file or /dev/kvm cannot be opened; -ENOEXEC the kernel is in no known format;
 * -EINVAL an option is out of range; -ENOMEM more memory than the host has; -EBUSY a disk or the tap is in
 * use; -ENOTSUP the kernel is Linux, and /dev/kvm works without VMX or SVM and runs none;
 * -EPIPE forkd-vmm died.
 */
int forkd_vm_boot(struct forkd_vm **out, const struct forkd_boot_options *options, struct forkd_error *err);

/*
 * Wait until the VM's phase is at least FORKD_VM_READY, or timeout_ms (milliseconds; -1: no limit; 0: only
 * look) has passed. *out (may be NULL) is filled in on success. A VM that has ended is not an error here:
 * look at status.phase. Errors: -ETIMEDOUT.
 */
int forkd_vm_wait(struct forkd_vm *vm, int32_t timeout_ms, struct forkd_vm_status *out,
                  struct forkd_error *err);

/*
 * Wait until one of `count` VMs is one that forkd_vm_wait would return for at once. *out is its index in
 * `vms`; the first, when there are several. For many children on few cores: ask for a few, and for one more
 * whenever this returns; children that all start at once get in each other's way. Errors: -ETIMEDOUT;
 * -EINVAL count is 0; -ENOMEM.
 */
int forkd_vm_wait_any(struct forkd_vm *const *vms, uint32_t count, int32_t timeout_ms, uint32_t *out,
                      struct forkd_error *err);

/* As forkd_vm_wait, but returns only when the VM has ended. */
int forkd_vm_wait_end(struct forkd_vm *vm, int32_t timeout_ms, struct forkd_vm_status *out,
                      struct forkd_error *err);

/*
 * A descriptor that polls readable when forkd_vm_wait would have news: for use in the caller's own event
 * loop. It stays the library's; do not read from it.
 */
int forkd_vm_fd(const struct forkd_vm *vm);

/*
 * Pause the VM and write it into `directory` (which must exist): memory.bin, vmstate, and disk-<i>.layer for
 * every FORKD_DISK_PRIVATE disk i (decimal, from 0) that was written to. Everything is fsynced, the directory
 * too. The VM stays paused and can only be killed. Existing files of these names are an error (-EEXIST) and
 * stay; so is a snapshot that is being written there (it has a file vmstate.new until it is complete). After
 * a failure the files written so far have been removed, and the VM goes on. Once it has begun it is done to
 * its end, whatever becomes of who asked. Errors: -ENOSPC and others of writing; -ENOSPC also when
 * status.host_full or status.disk_full; -ETIMEDOUT as for forkd_vm_branch; -EAGAIN the guest is not ready
 * yet; -EBUSY it has been snapshotted already; -EPIPE the VM died.
 */
int forkd_vm_snapshot(struct forkd_vm *vm, const char *directory, struct forkd_error *err);

/*
 * Connect to a vsock port that the guest listens on. *out_fd is a connected stream socket: bytes flow, and
 * end of file and resets carry over. Returns as soon as the request is on its way: a port nobody listens on
 * shows as end of file on the first read. Errors: -EAGAIN not ready yet; -EPIPE the VM is gone.
 */
int forkd_vm_connect(struct forkd_vm *vm, uint32_t port, int *out_fd, struct forkd_error *err);

/* End the VM now (SIGKILL of its process) and wait until it is gone, for 10 s at most, in case the kernel
 * cannot end it. A VM that has ended is no error. */
void forkd_vm_kill(struct forkd_vm *vm);

/*
 * Kill the VM if it still runs, remove its sockets, free the handle. A detached VM goes on: only the handle
 * is freed. NULL is allowed.
 */
void forkd_vm_free(struct forkd_vm *vm);

/*
 * Get a handle of a detached VM. Several handles of one VM may be in use at once. Errors: -ENOENT,
 * -ECONNREFUSED nothing lives there (any more); -EACCES; -EPROTO it is no VM, or of another version;
 * -ETIMEDOUT no answer within a second: the process is stopped, or has too much to do.
 */
int forkd_vm_attach(struct forkd_vm **out, const char *control_path, struct forkd_error *err);

/*
 * End the process of a detached VM that cannot be attached to (it is stopped, or of another version), as
 * forkd_vm_kill does. pid and start_time are those of its status (start_time: field 22 of /proc/PID/stat, in
 * clock ticks since the host booted): a process that got the same number later is left alone. Errors: -ESRCH
 * there is no such process (any more); -EPERM it is another user's; -ETIMEDOUT it was killed, and the kernel
 * has not let go of it in 10 s.
 */
int forkd_process_kill(int32_t pid, uint64_t start_time, struct forkd_error *err);

/*
 * Tells when processes end: those of any number of detached VMs, say, with one thread. The one handle that
 * several threads may use at a time: one waits, any others add.
 */
struct forkd_watch;

/* Errors: -ENOMEM; -EMFILE. */
int forkd_watch_new(struct forkd_watch **out, struct forkd_error *err);

/*
 * From now on forkd_watch_wait tells `token` (any number) when that process has ended, once. pid and
 * start_time as for forkd_process_kill. It takes a descriptor until then. Errors: -ESRCH there is no such
 * process (any more); -EMFILE; -ENOMEM.
 */
int forkd_watch_add(struct forkd_watch *watch, int32_t pid, uint64_t start_time, uint64_t token,
                    struct forkd_error *err);

/* Wait for timeout_ms (-1: no limit) until one of them has ended; *token is what it was added with. Errors:
 * -ETIMEDOUT. */
int forkd_watch_wait(struct forkd_watch *watch, int32_t timeout_ms, uint64_t *token, struct forkd_error *err);

/* No thread may be waiting. NULL is allowed. */
void forkd_watch_free(struct forkd_watch *watch);

#define FORKD_MAX_PARKED 128

/* forkd_server_options.flags */
#define FORKD_LEARN_WORKING_SET 4u /* make the file at working_set_path, or make it anew; see below */

struct forkd_server_options {
    const char *vmm_path;     /* the forkd-vmm executable; required */
    const char *memory_path;  /* memory.bin; required; must not change while the server or a child lives */
    const char *vmstate_path; /* vmstate; required */
    uint32_t disk_count;      /* as many as the snapshot has (-EINVAL otherwise) */
    uint32_t parked_count;    /* children to keep forked in advance, 0 to FORKD_MAX_PARKED; see below */
    const struct forkd_disk *disks; /* in the snapshot's order */
    const char *scratch_dir;        /* as in forkd_boot_options */
    const char *control_path;     /* Unix socket to create, below 108 bytes: the server is detached, and ends
                                     by itself after idle_timeout_ms; NULL: it ends with its handle */
    uint32_t idle_timeout_ms;     /* how long a detached server stays with neither a handle nor a child that
                                     is not detached itself; 0: 60000 */
    uint32_t flags;               /* FORKD_LEARN_WORKING_SET */
    const char *working_set_path; /* file of the pages that a child touches until it is ready, and for its
                                     first answer; NULL: none are prepared; see below */
    uint64_t reserved[7];         /* zero */
};

/*
 * Start the fork server of a snapshot: maps the memory, decodes vmstate, opens the disks, once for all
 * children. With parked_count, that many children are forked in advance and wait, with their KVM VM made but
 * no state yet, so that forkd_server_fork takes one of them in half the time; the server forks new ones when
 * it has nothing else to do. A parked child costs what an idle child costs.
 *
 * With working_set_path, every child has the pages that this file tells of prepared, at most 64 MiB of
 * them its own, so that its guest takes few page faults: those of its start before it runs, those of an
 * answer when its first connection is opened (forkd_vm_connect, vsock_path) and not before. So have the
 * children of its branches (forkd_vm_branch). Who makes a snapshot makes this file, too: with a server
 * that has FORKD_LEARN_WORKING_SET, the first child that answers a connection notes there which pages of
 * memory it touched until it was asked, and for the answer. No other child may write to it: what one did
 * would be all others' cost. It is a cache: one that is damaged, or belongs to other memory, and one that
 * cannot be opened, is done without. One file belongs to one memory image.
 *
 * The server ends, and every child that is not detached with it, when *out is freed or the calling process
 * dies, unless it is detached.
 * Errors: -ENOENT/-EACCES; -EBUSY a disk is in use; -EBADMSG vmstate or a disk layer is damaged (the object
 * names the section, or the layer's file), all of which is checked;
 * -ENOTSUP this host lacks something that the snapshot needs; -EINVAL disks or memory size do not match.
 */
int forkd_server_start(struct forkd_server **out, const struct forkd_server_options *options,
                       struct forkd_error *err);

/* Process id of the fork server. */
int32_t forkd_server_pid(const struct forkd_server *server);

/*
 * End the server and all its children that are not detached, free the handle. Handles of the children stay
 * valid until freed. A detached server goes on: only the handle is freed.
 */
void forkd_server_free(struct forkd_server *server);

/* Get a handle of a detached server. Errors as for forkd_vm_attach. */
int forkd_server_attach(struct forkd_server **out, const char *control_path, struct forkd_error *err);

/* What a branch has on disk. */
enum forkd_write_state {
    FORKD_WRITTEN = 0,     /* everything; also for a server that was started from files */
    FORKD_WRITING = 1,     /* not all of it yet */
    FORKD_WRITE_FAILED = 2 /* `error` says why; what was written has been removed */
};

struct forkd_server_status {
    int32_t pid;
    uint32_t write_state;  /* enum forkd_write_state */
    uint32_t child_count;  /* that live, without the parked ones */
    uint32_t parked_count; /* that are forked in advance */
    struct forkd_error error;
    uint64_t reserved[4];
};

/* Ask the server how it is. Errors: -EPIPE it is gone. */
int forkd_server_get_status(struct forkd_server *server, struct forkd_server_status *out,
                            struct forkd_error *err);

/*
 * Wait until write_state is no longer FORKD_WRITING, or timeout_ms (-1: no limit) has passed. Errors:
 * -ETIMEDOUT; -EPIPE the server died before all was written; and those of writing (-ENOSPC, ...).
 */
int forkd_server_wait_written(struct forkd_server *server, int32_t timeout_ms, struct forkd_error *err);

struct forkd_child_options {
    const char *hostname;   /* at most 63 bytes; set in the guest before the child is ready; required, except
                               with FORKD_NO_AGENT */
    const char *vsock_path; /* Unix socket to create (CONNECT convention), below 108 bytes; NULL: none.
                               What is there already stays, and the child ends with -EADDRINUSE */
    const char *console_path; /* as in forkd_boot_options */
    const char *tap_name; /* host tap for the network device, which the snapshot has; NULL: link down. It is
                             opened at once: -ENOENT, -EBUSY, -EPERM */
    const char
        *netns_path; /* network namespace to open the tap in, such as /var/run/netns/x; NULL: caller's */
    const char *control_path;  /* Unix socket to create, below 108 bytes: the child is detached, and outlives
                                  handle and server; NULL: it ends with them */
    uint32_t flags;            /* FORKD_NO_AGENT */
    uint32_t ready_timeout_ms; /* a child whose agent has not acknowledged by then is ended; 0: 120000 */
    struct forkd_limits limits;
    const char *cgroup_path; /* folder of a cgroup, of version 2, that its process is born in; NULL: its
                                server's. Such a child is forked when it is asked for. -EINVAL it is none;
                                -EACCES. It ends with an error when the server may not put it there */
    uint64_t reserved[7];    /* zero */
};

/*
 * Ask the server for one child. Returns at once with a handle in phase FORKD_VM_STARTING; many may be under
 * way. A child that cannot be made, or does not acknowledge its new identity in time, shows as
 * FORKD_VM_ENDED with FORKD_END_ERROR. Errors: -EPIPE the server is gone; -EMFILE; -EINVAL.
 */
int forkd_server_fork(struct forkd_server *server, const struct forkd_child_options *options,
                      struct forkd_vm **out, struct forkd_error *err);

/* forkd_branch_options.flags */
#define FORKD_BRANCH_LAYER                                                                                   \
    2u /* write what differs from the files that the VM's server was started from, instead of all */
#define FORKD_BRANCH_UNWRITTEN                                                                               \
    4u /* write nothing: it is for children that are forked now, which then have the processors and the disk \
          to themselves */

/* How a branch gets its memory. */
enum forkd_branch_way {
    FORKD_BRANCH_CHOOSE = 0, /* whichever is to have the guest stand still for less, within reason */
    FORKD_BRANCH_FORK = 1,   /* fork(2): shared until one of both writes to it */
    FORKD_BRANCH_PRECOPY = 2 /* what is not the file's any more is copied, most of it while the guest runs */
};

struct forkd_branch_options {
    const char *directory;    /* existing folder to write the snapshot to; required */
    const char *control_path; /* Unix socket to create: the branch is detached until all is written, and then
                                 ends by itself; NULL: it ends with its handle */
    uint32_t flags;           /* FORKD_BRANCH_LAYER, or FORKD_BRANCH_UNWRITTEN */
    uint32_t way;             /* enum forkd_branch_way; see below */
    const char *cgroup_path;  /* folder of a cgroup, of version 2, that the branch moves to before it takes
                                 anything; NULL: it stays in the VM's. Memory that it shares with the VM goes
                                 on  to count as the VM's. -EINVAL it is none; -EACCES */
    uint64_t reserved[7];     /* zero */
};

struct forkd_branch_result {
    uint64_t pause_us; /* how long the guest stood still, microseconds */
    uint64_t fork_us;  /* of that, in fork(2) */
    int32_t pid;       /* of the branch's server; 0: it has died at once */
    uint32_t way;      /* FORKD_BRANCH_FORK or FORKD_BRANCH_PRECOPY: how it was made */
    uint64_t reserved[4];
};

/*
 * Branch a running VM: for as long as a fork(2) takes it stands still, then it goes on; for less, where its
 * memory is copied beforehand, while it runs (FORKD_BRANCH_PRECOPY). That is chosen when fork(2) would take
 * more than a millisecond or two (with FORKD_BRANCH_UNWRITTEN: some milliseconds, most of them for memory
 * that the guest has only read, since the branch is there later), and what the guest has written to is 256
 * MiB at most; asked for, it is done with whatever that is. In both cases the copies are to be at most half
 * of the memory that the host and the cgroups of the VM have left. Where there is less, and where something
 * else is asked of the VM meanwhile, it becomes fork(2); result->way says what it was.
 *
 * The other side holds memory, devices and disks of exactly that instant: it is a fork server at once (*out),
 * while a process beside it writes them to `directory`: memory.bin (or, with FORKD_BRANCH_LAYER,
 * memory.layer: what differs, in the layer format), disk-<i>.layer for every FORKD_DISK_PRIVATE disk i that
 * was written to (since the VM's server was started, with FORKD_BRANCH_LAYER; in all otherwise), and at the
 * very end, when all of that is fsynced, vmstate: a folder without it is no snapshot. The VM may end before
 * that. With FORKD_BRANCH_UNWRITTEN nothing but the mark that the folder is taken is made there, write_state
 * stays FORKD_WRITING, and a detached branch ends when nobody has had a handle of it for a minute. A branch
 * with a FORKD_DISK_SHARED disk is only written: it gives no children (-EBUSY), since the VM goes on writing
 * to that disk. Errors: -EAGAIN the guest is not ready yet; -EBUSY it has been snapshotted, and stands still;
 * -EEXIST as for forkd_vm_snapshot; -EINVAL an unknown way, or FORKD_BRANCH_LAYER for a VM that was booted,
 * which differs from nothing; -ENOSPC when status.host_full or status.disk_full; -ETIMEDOUT the storage of a
 * disk has not answered what the guest asked of it for five seconds: the guest ran on meanwhile, and does;
 * -EMFILE it was branched faster than what was written in between can be put together, and has no more of the
 * descriptors that a process may have (RLIMIT_NOFILE): wait a moment; -ENOMEM, -EAGAIN of fork(2); -EPIPE the
 * VM died.
 */
int forkd_vm_branch(struct forkd_vm *vm, const struct forkd_branch_options *options,
                    struct forkd_server **out, struct forkd_branch_result *result, struct forkd_error *err);

struct forkd_reset_options {
    const char *hostname;      /* as in forkd_child_options; NULL only with FORKD_NO_AGENT */
    uint32_t ready_timeout_ms; /* likewise */
    uint32_t reserved32;       /* zero */
    uint64_t reserved[6];      /* zero */
};

/*
 * Put a child back to the snapshot that it was forked from, in the same process: memory, vCPUs, clock,
 * devices and private disks are those of a child that has just been forked, and what the guest wrote is gone.
 * Open connections to the guest end. Kept are the process, the VM's handles and sockets (new clients wait
 * there until it is ready), its console's log, its tap and limits. It is as after forkd_server_fork: in phase
 * FORKD_VM_STARTING, also for those who have attached (of whom those are dropped who read none of what they
 * are told over some tens of resets), and ready (forkd_vm_wait) when its agent has acknowledged a new
 * identity; fork_us and ready_us of its status count from this call. It takes less than to fork: a tenth of a
 * millisecond, and half a microsecond for each page that the guest wrote to, where KVM has two-dimensional
 * paging and the kernel says so (Linux 6.11).
 *
 * Errors, after which the VM is as it was: -EAGAIN the guest is not ready yet; -ENOTSUP it was booted, not
 * forked; it was forked from a branch that had its memory in no file yet; or the snapshot was made on a host
 * that lacks an MSR that this one has; -EBUSY it has been snapshotted; or it has a FORKD_DISK_SHARED disk,
 * which goes its own way; -ETIMEDOUT the host's storage does not answer what the
 * guest wants of it; -EINVAL; -EPIPE it is gone. With any other error it has ended.
 */
int forkd_vm_reset(struct forkd_vm *vm, const struct forkd_reset_options *options, struct forkd_error *err);

/*
 * Have the VM be frozen whenever its guest has been idle for after_ms (100 at least; 0: never, as at first):
 * its vCPUs stop, and it wakes the host no more. Anything that reaches its guest, on vsock or from the
 * network, has it go on at once, as do a branch, a snapshot and a reset; its clocks have gone on, and what
 * was due meanwhile happens then. Idle is a guest that no device had anything for, or from, to which nobody
 * is connected, and whose processors were at work for less than 5 % of the time. So a program that only waits
 * for a time to come waits for longer. It is a matter of the VM, kept by a reset, and not passed on to
 * branches. Errors: -EINVAL; -EPIPE it is gone.
 */
int forkd_vm_freeze(struct forkd_vm *vm, uint32_t after_ms, struct forkd_error *err);

/*
 * Put a chain's memory together: base (a memory.bin) and the layers over it, the first of the chain first, as
 * a new file that serves as forkd_server_options.memory_path. Pages of zeroes are holes; fsynced. Reads and
 * checks all data of the layers. Errors: -EEXIST; -EBADMSG a layer is damaged, or is of another size;
 * -ENOSPC; after a failure there is no out file.
 */
int forkd_memory_flatten(const char *base_path, const char *const *layer_paths, uint32_t layer_count,
                         const char *out_path, struct forkd_error *err);

/* Merge the layers of a private disk to one new file, with the same meaning; fsynced. Errors likewise, and
 * -EBUSY a VM writes to the image. */
int forkd_disk_flatten(const struct forkd_disk *disk, const char *out_path, struct forkd_error *err);

/*
 * Have the kernel compare each page of a file with a hash of it whenever it is read from the disk (fs-verity:
 * SHA-256, blocks of 4096 bytes). A page that is another then cannot be read: read(2) fails with EIO, and a
 * VM whose memory it is gets no further. From now on nobody can write to the file; it can be
 * renamed, linked and removed. Reads all of it, and takes another 128th of its size, that of holes too. A
 * file that has it is left as it is. Errors: -EOPNOTSUPP the file system has none, or other blocks; -ETXTBSY
 * somebody has the file open for writing; -EBUSY somebody does the same at this moment; -EACCES, -EROFS it
 * cannot be written to; -ENOSPC.
 */
int forkd_verity_enable(const char *path, struct forkd_error *err);

#define FORKD_VERITY_DIGEST_SIZE 65

/*
 * What the kernel compares a file with, in FORKD_VERITY_DIGEST_SIZE bytes: the digest of fs-verity that
 * stands for all of the content, as hexadecimal digits and a zero byte. Reads nothing of the file. Errors:
 * -ENODATA it has none, or not one of SHA-256.
 */
int forkd_verity_measure(const char *path, char *digest, struct forkd_error *err);

/*
 * Have the calling thread, and no other, make its sockets in a network namespace, such as /var/run/netns/x,
 * from now on: the agent of a guest whose tap device is in there is reached over TCP from there alone. There
 * is no way back, so it is for a thread that ends soon. Errors: -ENOENT; -EPERM only root may; -EINVAL it is
 * no network namespace.
 */
int forkd_netns_enter(const char *path, struct forkd_error *err);

/* The library's version, as "MAJOR.MINOR.PATCH". */
const char *forkd_version(void);

#ifdef __cplusplus
}
#endif

#endif
