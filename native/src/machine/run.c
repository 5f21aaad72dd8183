/* SPDX-License-Identifier: Apache-2.0 */
/* The vCPU threads: one loop over exits, and parking for a pause. */
#include "machine/machine.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define KICK_SIGNAL SIGURG
#define STACK_SIZE (64u * 1024)
#define I8042_COMMAND_RESET 0xfe
#define SLEEP_ENABLE 0x20u
#define EFLAGS_TF (1u << 8)

/* Of the process's time on processors: how often a vCPU at work is made to tell whether it gets on. */
#define TELL_EVERY_US 100000

static void on_kick(int signal)
{
    (void)signal; /* it is enough that KVM_RUN returns */
}

void vcpu_kick(struct vcpu *vcpu)
{
    if (!vcpu->started)
        return;
    /* The flag covers the moment before KVM_RUN is entered, the signal the time inside. */
    vcpu->run->immediate_exit = 1;
    if (vcpu ==
        vcpu->machine->vcpus) /* of whose thread the C library may not know the number: proc/cgroup.h */
        syscall(SYS_tkill, getpid(), KICK_SIGNAL);
    else
        pthread_kill(vcpu->thread, KICK_SIGNAL);
}

static uint8_t port_in(struct machine *machine, uint16_t port)
{
    if (port >= PLATFORM_PORT_SERIAL && port < PLATFORM_PORT_SERIAL + 8)
        return serial_read(&machine->serial, port - PLATFORM_PORT_SERIAL);
    /* An i8042 whose buffers are empty, so that a reset through it does not wait. */
    if (port == PLATFORM_PORT_I8042 || port == PLATFORM_PORT_I8042 + 4 || port == PLATFORM_PORT_SLEEP + 1)
        return 0;
    return 0xff;
}

static void port_out(struct machine *machine, uint16_t port, uint8_t value)
{
    if (port >= PLATFORM_PORT_SERIAL && port < PLATFORM_PORT_SERIAL + 8) {
        serial_write(&machine->serial, port - PLATFORM_PORT_SERIAL, value);
    } else if ((port == PLATFORM_PORT_I8042 + 4 && value == I8042_COMMAND_RESET) ||
               (port == PLATFORM_PORT_RESET && value == 1)) {
        machine_finish(machine, FORKD_END_RESET, NULL);
    } else if (port == PLATFORM_PORT_SLEEP && value == ((PLATFORM_SLEEP_TYPE_S5 << 2) | SLEEP_ENABLE)) {
        machine_finish(machine, FORKD_END_POWER_OFF, NULL);
    } else if (port == PLATFORM_PORT_READY && !machine->guest_ready) {
        machine->guest_ready = true;
        machine->ready(machine);
    }
}

/* kvm_run's io: `count` items of `size` bytes each. All our ports are bytes wide; wider accesses hit
 * neighbours. */
static void handle_io(struct machine *machine, struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    for (uint32_t item = 0; item < run->io.count; item++) {
        for (uint8_t byte = 0; byte < run->io.size; byte++, data++) {
            uint16_t port = (uint16_t)(run->io.port + byte);
            if (run->io.direction == KVM_EXIT_IO_OUT)
                port_out(machine, port, *data);
            else
                *data = port_in(machine, port);
        }
    }
}

/* Its file cannot be read: the disk, fs-verity or forkd-pager has nothing for it, or it was cut short. */
static void finish_without_memory(struct machine *machine, int code)
{
    struct forkd_error error;
    error_set(&error, code, "read", machine->memory_name, "the guest came upon memory that is not there");
    machine_finish(machine, FORKD_END_ERROR, &error);
}

static void handle_mmio(struct machine *machine, struct kvm_run *run)
{
    uint64_t address = run->mmio.phys_addr;
    if (guest_memory_at(&machine->memory, address, 1) != NULL) {
        /* KVM, emulating an instruction, takes memory that it cannot read for none. */
        finish_without_memory(machine, EIO);
        return;
    }
    uint64_t slot = (address - PLATFORM_VIRTIO) / PLATFORM_VIRTIO_STRIDE;
    uint32_t offset = (uint32_t)(address % PLATFORM_VIRTIO_STRIDE);
    bool ours = address >= PLATFORM_VIRTIO && slot < machine->device_count;
    if (run->mmio.is_write) {
        if (ours)
            virtio_mmio_write(machine->devices[slot], offset, run->mmio.data, run->mmio.len);
        return;
    }
    memset(run->mmio.data, 0xff, sizeof run->mmio.data);
    if (ours)
        virtio_mmio_read(machine->devices[slot], offset, run->mmio.data, run->mmio.len);
}

static void finish_with_crash(struct vcpu *vcpu, const char *what, uint64_t detail)
{
    struct forkd_error error;
    char name[32];
    snprintf(name, sizeof name, "vCPU %u", vcpu->index);
    error_set(&error, EFAULT, "KVM_RUN", name, "%s (0x%llx)", what, (unsigned long long)detail);
    machine_finish(vcpu->machine, FORKD_END_CRASH, &error);
}

/* What made KVM_RUN return; lock held. */
static void handle_exit(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    struct kvm_run *run = vcpu->run;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        handle_io(machine, run);
        break;
    case KVM_EXIT_MMIO:
        handle_mmio(machine, run);
        break;
    case KVM_EXIT_SHUTDOWN:
        finish_with_crash(vcpu, "triple fault", 0);
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        machine_finish(machine,
                       run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? FORKD_END_POWER_OFF
                                                                           : FORKD_END_RESET,
                       NULL);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        finish_with_crash(vcpu, "the processor refused the guest's state",
                          run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        finish_with_crash(vcpu, "KVM cannot emulate what the guest does", run->internal.suberror);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        break;
    default:
        finish_with_crash(vcpu, "unexpected exit reason", run->exit_reason);
        break;
    }
}

/*
 * While the guest takes interrupts KVM reads a page of its memory in the background and has it try again,
 * also when it could not be read: for ever, and nobody hears of it. For an instruction that no interrupt may
 * come before, as that after STI, it waits, and fails as it ought to. That is only done to a vCPU that stands
 * where it stood at the last tick, and is taken back at the next: KVM without VMX or SVM does not always end
 * it with the instruction, and a guest that then waits for an interrupt would get none.
 */
static void have_it_tell(struct vcpu *vcpu)
{
    struct kvm_vcpu_events events;
    struct kvm_regs regs;
    if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0)
        return;
    bool stands = memcmp(&regs, &vcpu->at_tick, sizeof regs) == 0;
    vcpu->at_tick = regs;
    if ((!stands && !vcpu->made_to_tell) || ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
        return;
    bool tells = stands && !vcpu->made_to_tell && vcpu->run->if_flag && !vcpu_is_halted(vcpu) &&
                 (regs.rflags & EFLAGS_TF) == 0 && !events.exception.injected && !events.interrupt.injected &&
                 !events.nmi.injected;
    if (tells == vcpu->made_to_tell)
        return;
    events.interrupt.shadow = tells ? KVM_X86_SHADOW_INT_STI : 0;
    events.flags = KVM_VCPUEVENT_VALID_SHADOW;
    if (ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &events) == 0)
        vcpu->made_to_tell = tells;
}

/* One KVM_RUN and what follows from it. */
static void run_once(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    vcpu->ran = true;
    int result = ioctl(vcpu->fd, KVM_RUN, 0);
    int code = errno;
    if (result < 0 && (code == EINTR || code == EAGAIN)) {
        /* EAGAIN: around INIT and SIPI, while the vCPU is not runnable yet. */
        if (code == EINTR && (vcpu->made_to_tell || !vcpu->run->immediate_exit))
            have_it_tell(vcpu);
        return;
    }
    pthread_mutex_lock(&machine->lock);
    if (result < 0 && (code == EFAULT || code == EHWPOISON))
        finish_without_memory(machine, code == EFAULT ? EIO : code);
    else if (result < 0)
        finish_with_crash(vcpu, strerror(code), (uint64_t)code);
    else
        handle_exit(vcpu);
    pthread_mutex_unlock(&machine->lock);
}

/* The last exit's instruction is completed by entering KVM once more without running the guest; a string
 * instruction may leave with further exits, which are handled until there are none. */
static void complete_exit(struct vcpu *vcpu)
{
    vcpu->run->immediate_exit = 1;
    while (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
        handle_exit(vcpu);
}

/* Wait as long as the machine is paused; lock held on return. False: the machine has ended. */
static bool park(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    pthread_mutex_lock(&machine->lock);
    if (machine->paused && vcpu->ran)
        complete_exit(vcpu);
    while (machine->paused && machine->end == FORKD_END_NONE) {
        vcpu->parked = true;
        pthread_cond_signal(&machine->parked);
        pthread_cond_wait(&machine->unparked, &machine->lock);
    }
    vcpu->parked = false;
    bool running = machine->end == FORKD_END_NONE;
    if (!running)
        pthread_cond_broadcast(&machine->parked);
    pthread_mutex_unlock(&machine->lock);
    return running;
}

static void run(struct vcpu *vcpu)
{
    for (;;) {
        /* machine->paused and ->end change only together with a kick, which leaves immediate_exit set. */
        if (vcpu->run->immediate_exit && !park(vcpu))
            return;
        run_once(vcpu);
    }
}

static void *vcpu_thread(void *argument)
{
    run(argument);
    return NULL;
}

static int start_thread(struct vcpu *vcpu, struct forkd_error *err)
{
    /* In a paused machine the thread parks at once. */
    vcpu->run->immediate_exit = vcpu->machine->paused ? 1 : 0;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE < PTHREAD_STACK_MIN ? PTHREAD_STACK_MIN : STACK_SIZE);
    int code = pthread_create(&vcpu->thread, &attributes, vcpu_thread, vcpu);
    pthread_attr_destroy(&attributes);
    if (code != 0)
        return error_set(err, code, "pthread_create", "vCPU thread", NULL);
    vcpu->started = true;
    return 0;
}

void machine_take_signals(void)
{
    /* No SA_RESTART: KVM_RUN must return. It does so of SIGPROF as well, and nothing else has to. */
    static const struct sigaction kick = {.sa_handler = on_kick};
    static const struct sigaction tick = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
    sigaction(KICK_SIGNAL, &kick, NULL);
    sigaction(SIGPROF, &tick, NULL);
}

int machine_run(struct machine *machine, bool parked, struct forkd_error *err)
{
    static const struct itimerval often = {{0, TELL_EVERY_US}, {0, TELL_EVERY_US}};
    setitimer(ITIMER_PROF, &often, NULL);
    machine->paused = parked;
    machine->vcpus[0].started = true;
    for (uint32_t i = 1; i < machine->config.vcpu_count; i++) {
        int result = start_thread(&machine->vcpus[i], err);
        if (result < 0)
            return result;
    }
    return 0;
}

void machine_run_first(struct machine *machine)
{
    run(&machine->vcpus[0]);
}
