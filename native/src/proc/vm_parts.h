/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a VM process (vm.h) have from each other. Lock held, where nothing else is said. */
#ifndef FORKD_PROC_VM_PARTS_H
#define FORKD_PROC_VM_PARTS_H

#include "proc/vm.h"

#include <stdbool.h>

/* vm.c: its life. vm_init: of this process, and nobody's yet; no lock yet. */
void vm_init(struct vm *vm);
/* Make `channel` the owner's. */
void vm_give(struct vm *vm, int channel, uint32_t flags, const char *vsock_path);
void vm_set_name(const char *name);
/* `tap` becomes the device's, or is closed; -1: there is none. */
int vm_attach_net(struct vm *vm, int tap, struct forkd_error *err);
/* The name, in vsock_directory, of the socket at vsock_path. */
const char *vm_vsock_name(const struct vm *vm);
int vm_make_deadline(struct vm *vm, struct forkd_error *err);
int vm_arm_deadline(struct vm *vm, uint32_t timeout_ms, struct forkd_error *err);
int vm_start_loop(struct vm *vm, struct forkd_error *err);
/* This thread is the first vCPU's; the loop's ends the process. Without the lock. */
_Noreturn void vm_run(struct vm *vm);
/* The guest is open to the owner from here on. */
void vm_become_ready(struct vm *vm);
void vm_on_guest_ready(struct machine *machine);
void vm_on_ended(struct machine *machine);
bool vm_is_host_full(const struct vm *vm);
void vm_fail(struct vm *vm, const struct forkd_error *error);
/* The same while it starts; without the lock. */
_Noreturn void vm_fail_start(struct vm *vm, const struct forkd_error *error);
_Noreturn void vm_leave(struct vm *vm);

/* peers.c */
void peers_publish(struct vm *vm);
void peers_reply(const struct vm_peer *peer, const struct control_reply *reply);
void peers_on_peer(struct loop_watch *watch, uint32_t events);
void peers_on_listener(struct loop_watch *watch, uint32_t events);

/* agent.c: for vsock_host.accept, and to start the exchange that a child is not ready without. */
int agent_accept(struct vsock_host *host, uint32_t port);
int agent_start_identity(struct vm *vm, const char *hostname, struct forkd_error *err);

/* first_answer.c; the second and third for vsock_host */
void first_answer_starting(const struct vm *vm);
void first_answer_opening(struct vsock_host *host);
void first_answer_given(struct vsock_host *host);
void first_answer_forget(struct vm *vm);

/* reset.c */
int vm_reset(struct vm *vm, const struct control_reset *message, struct forkd_error *err);

/* freeze.c: frozen when it was idle for so long, 0: never; and for machine.thawed */
int vm_freeze(struct vm *vm, uint32_t after_ms, struct forkd_error *err);
void vm_on_thawed(struct machine *machine);

/* branch.c; `fds` as control.h says. */
int vm_check_ready(const struct vm *vm, const char *operation, struct forkd_error *err);
/* And whether it still runs: what has been written down never does again. */
int vm_check_running(const struct vm *vm, const char *operation, struct forkd_error *err);
int vm_snapshot(struct vm *vm, int directory, struct forkd_error *err);
/* 1: it is under way, `fds` are its own, and `peer` gets its reply later. */
int vm_branch(struct vm *vm, struct vm_peer *peer, const struct control_branch *message, const int *fds,
              uint32_t fd_count, struct forkd_branch_result *result, struct forkd_error *err);
/* Be done with the one that is under way, so that something else may begin. */
void branch_finish(struct vm *vm);
/* The same when `peer` is to get its reply. */
void branch_finish_of(struct vm *vm, const struct vm_peer *peer);
/* The VM ends before it is made. */
void branch_abandon(struct vm *vm);

/* load.c; `layer_counts`: NULL when no disk has layers. No lock yet. */
int vm_open_disks(struct disk **disks, uint32_t count, const uint32_t *modes, const uint32_t *layer_counts,
                  const int *fds, uint32_t fd_count, int scratch, struct forkd_error *err);

#endif
