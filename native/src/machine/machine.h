/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One machine: memory, devices, vCPUs. It comes into being in two ways.
 *   Boot: machine_init, machine_create_vm, machine_boot, machine_run, machine_run_first.
 *   Restore: machine_load in the fork server (everything that children share), then in each child after
 * fork(2): machine_create_vm, machine_prepare, machine_restore, machine_run; and machine_reset, any number of
 * times, to be as after machine_restore again.
 *
 * Threads: each vCPU has one; the thread that calls machine_loop runs the devices. `lock` guards everything
 * but guest memory; it is held in every callback of the loop and around every register access.
 */
#ifndef FORKD_MACHINE_MACHINE_H
#define FORKD_MACHINE_MACHINE_H

#include "base/guest_memory.h"
#include "base/loop.h"
#include "devices/devices.h"
#include "devices/serial.h"
#include "machine/host.h"
#include "machine/kvm.h"
#include "machine/platform.h"
#include "machine/vcpu.h"

#include <pthread.h>

/* What is asked for at boot, and kept in the section "machine". */
struct machine_config {
    uint64_t memory_bytes;
    uint32_t vcpu_count;
    uint32_t disk_count;
    uint32_t disk_modes[FORKD_MAX_DISKS];
    bool has_net;
    uint8_t mac[6];
    bool has_balloon;    /* not in snapshots of before there was one */
    uint64_t generation; /* 0: booted; a child has one more than what it came from */
    bool baseline_cpu;   /* at boot only: what the guest was shown is in its vCPUs' state */
};

/* What a snapshot holds beside the devices' own state. Read-only in children, so that it stays shared. */
struct machine_state {
    struct kvm_irqchip irqchips[3];
    struct kvm_clock_data clock;
    uint64_t host_tsc; /* at the same instant as `clock` */
    struct vcpu_state vcpus[FORKD_MAX_VCPUS];
    struct vmstate_writer devices;      /* their sections */
    struct vmstate_reader kept_devices; /* of these, checked once: machine_reset reads them again */
};

struct machine {
    struct machine_config config;
    struct kvm_host host;
    struct guest_memory memory;
    const char *memory_name;   /* where it is from, for people */
    struct virtio_machine bus; /* what devices see of us */
    struct loop loop;
    struct loop_watch wake_watch; /* an eventfd: vCPU threads have left work for the loop */
    bool wake_pending;
    pthread_mutex_t lock;
    pthread_cond_t parked;   /* a vCPU has parked */
    pthread_cond_t unparked; /* vCPUs may go on */
    bool paused;
    bool frozen;   /* paused by machine_freeze */
    uint32_t news; /* counts whenever a device had something for the guest */
    int vm_fd;
    struct vcpu vcpus[FORKD_MAX_VCPUS];
    struct virtio_device *devices[PLATFORM_MAX_VIRTIO];
    uint32_t device_count;
    struct virtio_device *net;   /* also in devices; NULL: none */
    struct virtio_device *vsock; /* also in devices */
    struct disk *disks[FORKD_MAX_DISKS];
    struct disk_quota disk_quota;
    struct forkd_limits limits; /* all set; see limits.h */
    struct serial serial;
    uint8_t line_users[24]; /* how many devices hold each interrupt line up */
    struct machine_state *state;

    /* The owner's: called with the lock held, `ready` and `ended` from any thread, once each. */
    void (*ready)(struct machine *machine); /* the guest wrote to PLATFORM_PORT_READY */
    void (*ended)(struct machine *machine);
    /* The same, whenever it is frozen no more. */
    void (*thawed)(struct machine *machine);
    bool guest_ready;
    enum forkd_vm_end end;    /* FORKD_END_NONE while it runs */
    struct forkd_error error; /* with FORKD_END_ERROR */
};

/*
 * Make a machine that has not been booted. Guest memory of config.memory_bytes is mapped at `memory` already
 * (and becomes the machine's, like the disks, of which there are config.disk_count). `console_fd` stays the
 * caller's.
 */
int machine_init(struct machine *machine, const struct machine_config *config, void *memory,
                 struct disk **disks, int console_fd, struct vsock_host *vsock_host, struct forkd_error *err);

/* Read the section "machine", to know what machine_load needs. */
int machine_load_config(struct machine_config *config, const struct vmstate_reader *reader,
                        struct forkd_error *err);
/* Fill an initialised machine with a snapshot's state, if this host (opened with its CPUID) has what that
 * needs. Touches neither a VM nor guest memory. */
int machine_load(struct machine *machine, const struct vmstate_reader *reader, struct forkd_error *err);

/* The KVM objects, the event loop and the vCPU threads' things; in the process that will run the machine. */
int machine_create_vm(struct machine *machine, struct forkd_error *err);
int machine_boot(struct machine *machine, int kernel_fd, int initrd_fd, const char *command_line,
                 struct forkd_error *err);
/* What of a restore does not depend on when it happens, so that a parked child has it done: most of the
 * loaded state, and a new generation id. */
int machine_prepare(struct machine *machine, struct forkd_error *err);
/*
 * For a machine that is prepared, on the first vCPU's thread, and then waits: go through what comes next as
 * far as it can be undone, so that what the kernel makes of it (a thread of the VM's at its first KVM_RUN,
 * pages that are written to) is there when it counts.
 */
void machine_rehearse(struct machine *machine);
/* Put the rest of the loaded state, that of time, into KVM, and attach the devices. */
int machine_restore(struct machine *machine, struct forkd_error *err);

/* The process's handlers of signals that vCPUs need, which children inherit. */
void machine_take_signals(void);

/*
 * Start the threads of all vCPUs but the first, which belongs to the calling thread, the process's first:
 * that goes on to machine_run_first. `parked`: the machine is paused from the start, until machine_resume.
 */
int machine_run(struct machine *machine, bool parked, struct forkd_error *err);
/* Run the first vCPU on this thread until the machine ends. */
void machine_run_first(struct machine *machine);

/*
 * To pause, on the loop's thread, lock held; machine_resume undoes it, also when it has failed. First, while
 * the guest runs: whatever it wants of a disk is done or not begun. That is waited for, but for seconds only
 * (-ETIMEDOUT). Then, which does the first as well: stop all vCPUs with their last instruction completed.
 */
int machine_settle(struct machine *machine, struct forkd_error *err);
int machine_pause(struct machine *machine, struct forkd_error *err);
void machine_resume(struct machine *machine);
/*
 * Stop the vCPUs until a device has something for the guest, or machine_thaw, or a pause. Its time goes on,
 * and timers that were due meanwhile come at once. On the loop's thread, lock held. False: it has something
 * to do, and has not been stopped.
 */
bool machine_freeze(struct machine *machine);
void machine_thaw(struct machine *machine);
/* Undoes machine_settle alone. */
void machine_release(struct machine *machine);
/*
 * Keep a record of the pages that are written to, by whomever; `noted`: zeroed, a bit for each page, where
 * devices' own go; NULL: no more. After machine_settle, so that nothing is under way that was not noted.
 * Gives the lock back meanwhile.
 */
int machine_log_writes(struct machine *machine, uint64_t *noted, struct forkd_error *err);
/*
 * Add those written to since it was asked last to `pages`. A page that a disk is reading into is told again
 * until that is done. `scratch` is of the same size.
 */
int machine_take_written(struct machine *machine, uint64_t *pages, uint64_t *scratch,
                         struct forkd_error *err);
/* Whether machine_reset can be: -ENOTSUP with what is missing. */
int machine_check_reset(const struct machine *machine, struct forkd_error *err);
/*
 * Put a paused machine back to what it was loaded with: memory, devices, disks, vCPUs, clock, in the same VM
 * and with the same files, taps and sockets; then machine_resume. Its memory must be a private mapping of a
 * file, none of whose pages were its own when it was loaded. After a failure it is neither the one nor the
 * other, and must not run.
 */
int machine_reset(struct machine *machine, struct forkd_error *err);
/* Write the whole state of a paused machine. */
int machine_save(struct machine *machine, struct vmstate_writer *writer, struct forkd_error *err);

/* End the machine for this reason, the first one counts; from any thread, lock held. */
void machine_finish(struct machine *machine, enum forkd_vm_end end, const struct forkd_error *error);

#endif
