/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM process: a machine, the channel to its owner, and what happens between them: ready, identity,
 * snapshot, connect, end.
 */
#ifndef FORKD_PROC_VM_H
#define FORKD_PROC_VM_H

#include "base/loop.h"
#include "guest/protocol.h"
#include "machine/machine.h"
#include "proc/control.h"

#include <stdbool.h>
#include <stdint.h>

/* A message of known size that the guest's agent sends over vsock. */
struct exchange {
    struct loop_watch watch;
    size_t expected;
    size_t received;
    union {
        struct guest_hello hello;
        struct guest_identity_ack ack;
        uint8_t bytes[sizeof(struct guest_hello)];
    } data;
};

/* One channel to the library. */
struct vm_peer {
    struct vm *vm;
    int fd;
    struct loop_watch watch;
    struct vm_peer *next;
};

/* When it is frozen (freeze.c). */
struct freezer {
    uint32_t after_ms;       /* of idleness; 0: never */
    uint32_t idle_looks;     /* in a row */
    uint32_t news;           /* the machine's, at the last look */
    uint64_t processor_ns;   /* what the process had used by then */
    struct loop_watch timer; /* fd -1: nobody has asked for it yet */
};

/*
 * Not whole pages: what every child writes, the end of the stack, the fields behind it and the C library's
 * own variables behind those, lies on three pages when a `struct vm` begins on one.
 */
#define VM_LOOP_STACK_SIZE (512u * 1024 - 1536)

struct vm {
    /* Of the loop's thread: here, so that no child has to map one. It has no guard: nothing there recurses.
     */
    uint8_t loop_stack[VM_LOOP_STACK_SIZE] __attribute__((aligned(16)));
    struct machine machine;
    struct vsock_host vsock_host;     /* guest-initiated connections */
    int memory_fd;                    /* what guest memory is a private mapping of; -1: booted, of no file */
    int working_set_fd;               /* a child's; -1: none */
    uint8_t *touched_before;          /* what memory has while that is learnt there; NULL: it is not */
    struct vm_peer owner;             /* who asked for this VM */
    struct vm_peer *peers;            /* the owner, while it is there, and who has attached */
    struct loop_watch listener_watch; /* fd -1: not detached */
    uint32_t flags;                   /* FORKD_NO_AGENT */
    uint64_t started_us;              /* CLOCK_MONOTONIC when the child was asked for; 0: booted */
    struct freezer freezer;
    struct loop_watch deadline_watch; /* a child's timer, until it is ready; fd -1: none */
    int console_fd;
    int vsock_directory;    /* where the socket at vsock_path is; -1: there is none */
    bool has_vsock_name;    /* it has its name, from when the guest is ready */
    bool of_files;          /* a child of a server that was started from files, so that it can be reset */
    bool was_asked;         /* it has its working set, or there is none to have */
    int listener_directory; /* where the control socket is; -1 likewise */
    char vsock_path[CONTROL_PATH_SIZE];
    struct branch *branch;         /* that is under way; NULL: none */
    struct exchange exchange;      /* hello of a booted machine, identity of a child */
    struct forkd_vm_status status; /* until it runs, its error is that of vm_prepare */
};

/* Answer a request of the owner: done, or, with a negative result, *error. */
void vm_send_reply(int channel, int result, const struct forkd_error *error);

/* The parent: boots what the message asks for, then serves; does not return. `fds` are the message's. */
_Noreturn void vm_process_boot(int channel, const struct control_boot *message, const int *fds,
                               uint32_t fd_count);

/*
 * Look whether the vCPUs of a file `vmstate` can run on this host: 0, -ENOTSUP with the names of what is
 * missing, or -EBADMSG.
 */
int vm_check_state(int fd, struct forkd_error *err);

/* Set up `vm` with a snapshot's state, in the fork server. fds[0], memory.bin, becomes the VM's. */
int vm_load(struct vm *vm, const struct control_serve *message, const int *fds, uint32_t fd_count,
            struct forkd_error *err);
/* The same with memory, disks and KVM at hand; all become the VM's. */
int vm_load_state(struct vm *vm, const struct vmstate_reader *reader, const struct machine_config *config,
                  void *memory, int memory_fd, struct disk **disks, const struct kvm_host *host,
                  struct forkd_error *err);

/* This process, or each child that it forks, is the VM's: what is done against the rules is told its owner.
 */
void vm_own_process(struct vm *vm);
/* For confine: tell the VM's owner, if this is a VM's process. */
void vm_tell_violation(const struct forkd_error *error);

/* From here on this process does not depend on the one that started it. */
void vm_detach_process(void);

/*
 * A child, straight after fork(2), with a loaded vm. vm_prepare does what does not depend on whom the child
 * is for: its KVM VM and its threads. A failure is kept for vm_process_child to report, which does not
 * return.
 * `cgroup`: the cgroup.procs of one to move to first; -1: none.
 */
void vm_prepare(struct vm *vm, int cgroup);
/* What else can be done while the child waits to be asked for. */
void vm_rehearse(struct vm *vm);
/* `fds`: as control.h says, without the channel. */
_Noreturn void vm_process_child(struct vm *vm, int channel, const struct control_fork *message,
                                const int *fds);

#endif
