/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: what forking N children costs with bare system calls and nothing else. One process maps a memory
 * image copy-on-write and calls fork(2) N times; each child makes a VM with one vCPU over the mapping, sets
 * every piece of state that a restored vCPU has, and runs to its first exit. No devices, no protocol, no
 * identity, no error text.
 *
 *   floor MEMORY_IMAGE all N      N at once: milliseconds from the first fork to the last child's first exit
 *   floor MEMORY_IMAGE single N   N times one: milliseconds of each, a line each
 *   floor MEMORY_IMAGE parked N   the same with the child forked, its VM and vCPU made, and KVM entered
 *                                 beforehand
 *   floor MEMORY_IMAGE reset:P N  N times, milliseconds of each: a VM in another process, whose guest has
 *                                 written to P pages and halts, put back: from the request, by one message,
 *                                 until its vCPU, which is stopped, could run again
 *
 * MEMORY_IMAGE is a snapshot's memory.bin of the guest tests/native/guests/ready.S.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RESUME 0x100010u    /* tests/native/guests/ready.S */
#define GENERATION 0xf0000u /* a page that the host writes to */
#define MAX_ENTRIES 256
#ifndef KVM_CAP_PRE_FAULT_MEMORY
#define KVM_CAP_PRE_FAULT_MEMORY 236
#endif

static struct {
    int kvm;
    size_t run_size;
    uint8_t *memory;
    size_t memory_size;
    struct kvm_cpuid2 *cpuid;
    struct kvm_irqchip irqchips[3];
    struct kvm_clock_data clock;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xsave xsave;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_lapic_state lapic;
    struct kvm_vcpu_events events;
    struct kvm_mp_state mp_state;
    struct kvm_msrs *msrs;
} parent;

static int call(int fd, unsigned long request, void *argument, const char *name)
{
    int result = ioctl(fd, request, argument);
    if (result < 0)
        err(1, "%s", name);
    return result;
}
#define CALL(fd, request, argument) call(fd, request, argument, #request)

struct child {
    int vm;
    int vcpu;
    struct kvm_run *run;
};

static struct child create(void)
{
    struct child child;
    child.vm = CALL(parent.kvm, KVM_CREATE_VM, NULL);
    struct kvm_userspace_memory_region region = {.memory_size = parent.memory_size,
                                                 .userspace_addr = (uintptr_t)parent.memory};
    CALL(child.vm, KVM_SET_USER_MEMORY_REGION, &region);
    CALL(child.vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul);
    CALL(child.vm, KVM_CREATE_IRQCHIP, NULL);
    child.vcpu = CALL(child.vm, KVM_CREATE_VCPU, NULL);
    child.run = mmap(NULL, parent.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, child.vcpu, 0);
    if (child.run == MAP_FAILED)
        err(1, "mmap kvm_run");
    CALL(child.vcpu, KVM_SET_CPUID2, parent.cpuid);
    return child;
}

/* Take every state from a vCPU that was never run; only where it starts is set by hand. */
static void prepare_state(void)
{
    parent.cpuid = calloc(1, sizeof *parent.cpuid + MAX_ENTRIES * sizeof parent.cpuid->entries[0]);
    parent.cpuid->nent = MAX_ENTRIES;
    CALL(parent.kvm, KVM_GET_SUPPORTED_CPUID, parent.cpuid);
    struct child child = create();
    for (uint32_t i = 0; i < 3; i++) {
        parent.irqchips[i].chip_id = i;
        CALL(child.vm, KVM_GET_IRQCHIP, &parent.irqchips[i]);
    }
    CALL(child.vm, KVM_GET_CLOCK, &parent.clock);
    parent.clock.flags = 0;
    CALL(child.vcpu, KVM_GET_SREGS, &parent.sregs);
    CALL(child.vcpu, KVM_GET_XSAVE, &parent.xsave);
    CALL(child.vcpu, KVM_GET_XCRS, &parent.xcrs);
    CALL(child.vcpu, KVM_GET_DEBUGREGS, &parent.debugregs);
    CALL(child.vcpu, KVM_GET_LAPIC, &parent.lapic);
    CALL(child.vcpu, KVM_GET_VCPU_EVENTS, &parent.events);
    CALL(child.vcpu, KVM_GET_MP_STATE, &parent.mp_state);
    struct kvm_segment flat = {
        .limit = 0xffffffff, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1, .selector = 16};
    parent.sregs.ds = parent.sregs.es = parent.sregs.ss = flat;
    flat.type = 11;
    flat.selector = 8;
    parent.sregs.cs = flat;
    parent.sregs.cr0 |= 1;
    parent.regs.rip = RESUME;
    parent.regs.rflags = 2;

    struct kvm_msr_list *list = calloc(1, sizeof *list + MAX_ENTRIES * sizeof list->indices[0]);
    list->nmsrs = MAX_ENTRIES;
    CALL(parent.kvm, KVM_GET_MSR_INDEX_LIST, list);
    parent.msrs = calloc(1, sizeof *parent.msrs + list->nmsrs * sizeof parent.msrs->entries[0]);
    for (uint32_t i = 0; i < list->nmsrs; i++) {
        /* Only what can be read and written back, one by one: a restore sets no others. */
        struct kvm_msrs *one = calloc(1, sizeof *one + sizeof one->entries[0]);
        one->nmsrs = 1;
        one->entries[0].index = list->indices[i];
        if (ioctl(child.vcpu, KVM_GET_MSRS, one) == 1 && ioctl(child.vcpu, KVM_SET_MSRS, one) == 1)
            parent.msrs->entries[parent.msrs->nmsrs++] = one->entries[0];
        free(one);
    }
    munmap(child.run, parent.run_size);
    close(child.vcpu);
    close(child.vm);
}

static void set_state(struct child child)
{
    CALL(child.vm, KVM_SET_CLOCK, &parent.clock);
    CALL(child.vcpu, KVM_SET_MP_STATE, &parent.mp_state);
    CALL(child.vcpu, KVM_SET_REGS, &parent.regs);
    CALL(child.vcpu, KVM_SET_SREGS, &parent.sregs);
    CALL(child.vcpu, KVM_SET_XSAVE, &parent.xsave);
    CALL(child.vcpu, KVM_SET_XCRS, &parent.xcrs);
    CALL(child.vcpu, KVM_SET_DEBUGREGS, &parent.debugregs);
    CALL(child.vcpu, KVM_SET_LAPIC, &parent.lapic);
    CALL(child.vcpu, KVM_SET_MSRS, parent.msrs);
    CALL(child.vcpu, KVM_SET_VCPU_EVENTS, &parent.events);
}

/* Set the state, run to the first exit, and say so. */
static void run_child(struct child child, int done)
{
    set_state(child);
    CALL(child.vcpu, KVM_RUN, NULL);
    if (child.run->exit_reason != KVM_EXIT_IO || child.run->io.port != 0x510)
        errx(1, "exit reason %u instead of the guest's port write", child.run->exit_reason);
    if (write(done, "", 1) != 1)
        err(1, "write");
    for (;;)
        pause();
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void make_pipe(int out[2])
{
    if (pipe(out) < 0)
        err(1, "pipe");
}

static void wait_byte(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 1)
        errx(1, "a child did not come up");
}

/* Once, without running the guest: the first time, KVM makes a thread for the VM. */
static void enter_kvm(struct child child)
{
    child.run->immediate_exit = 1;
    if (ioctl(child.vcpu, KVM_RUN, NULL) == 0 || errno != EINTR)
        err(1, "KVM_RUN");
    child.run->immediate_exit = 0;
}

/* `go` -1: at once; otherwise once a byte comes from there. */
static pid_t fork_child(int go, int done)
{
    pid_t pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid == 0) {
        struct child child = create();
        for (int i = 0; i < 3; i++)
            CALL(child.vm, KVM_SET_IRQCHIP, &parent.irqchips[i]);
        if (go >= 0) {
            enter_kvm(child);
            wait_byte(go);
        }
        run_child(child, done);
    }
    return pid;
}

static double run_all(int count)
{
    int done[2];
    make_pipe(done);
    double start = now_ms();
    for (int i = 0; i < count; i++)
        fork_child(-1, done[1]);
    close(done[1]);
    for (int i = 0; i < count; i++)
        wait_byte(done[0]);
    return now_ms() - start;
}

static double run_single(int parked)
{
    int done[2];
    int go[2] = {-1, -1};
    make_pipe(done);
    if (parked) {
        make_pipe(go);
        fork_child(go[0], done[1]);
        usleep(20000); /* until it is parked */
    }
    double start = now_ms();
    if (!parked)
        fork_child(-1, done[1]);
    else if (write(go[1], "", 1) != 1)
        err(1, "write");
    wait_byte(done[0]);
    double elapsed = now_ms() - start;
    close(done[0]);
    close(done[1]);
    close(go[0]);
    close(go[1]);
    return elapsed;
}

/* A guest that writes to so many pages, in no order, as bench/reset.c's does, and halts; where ready.S has
 * its own code. */
static void write_code(uint32_t pages)
{
    static uint8_t code[] = {0xbb, 0,    0,    0, 0,    /* mov $pages, %ebx */
                             0x89, 0xd9,                /* mov %ebx, %ecx */
                             0x31, 0xd2,                /* xor %edx, %edx */
                             0x89, 0xd0,                /* loop: mov %edx, %eax */
                             0x89, 0xd7,                /* mov %edx, %edi */
                             0xc1, 0xe7, 0x0c,          /* shl $12, %edi */
                             0x81, 0xc7, 0,    0, 0, 1, /* add $0x1000000, %edi */
                             0xc7, 0x07, 1,    0, 0, 0, /* movl $1, (%edi) */
                             0x05, 0x27, 0x9e, 0, 0,    /* add $40487, %eax */
                             0x31, 0xd2,                /* xor %edx, %edx */
                             0xf7, 0xf3,                /* div %ebx */
                             0x49,                      /* dec %ecx */
                             0x75, 0xe1,                /* jnz loop */
                             0x66, 0xba, 0x10, 5,       /* mov $0x510, %dx */
                             0xee,                      /* out %al, %dx */
                             0xf4,                      /* halt: hlt */
                             0xeb, 0xfd};               /* jmp halt */
    memcpy(code + 1, &pages, sizeof pages);
    memcpy(parent.memory + RESUME, code, sizeof code);
}

/* Without two-dimensional paging, KVM has to be told that the guest's page tables are others. */
static void drop_shadow_pages(struct child child)
{
    struct kvm_userspace_memory_region slot = {.slot = 2,
                                               .guest_phys_addr = 0xfffb0000,
                                               .memory_size = 4096,
                                               .userspace_addr = (uintptr_t)parent.memory};
    if (ioctl(parent.kvm, KVM_CHECK_EXTENSION, KVM_CAP_PRE_FAULT_MEMORY) > 0)
        return;
    CALL(child.vm, KVM_SET_USER_MEMORY_REGION, &slot);
    slot.memory_size = 0;
    CALL(child.vm, KVM_SET_USER_MEMORY_REGION, &slot);
}

/* The VM of the process that is put back again and again. */
static struct {
    struct child child;
    pthread_t vcpu_thread;
    sem_t run;
    sem_t written;
    sem_t stopped;
} put_back;

static void on_kick(int signal)
{
    (void)signal;
    put_back.child.run->immediate_exit = 1;
}

static void *vcpu_thread(void *unused)
{
    (void)unused;
    struct child child = put_back.child;
    for (;;) {
        sem_wait(&put_back.run);
        CALL(child.vcpu, KVM_RUN, NULL);
        if (child.run->exit_reason != KVM_EXIT_IO || child.run->io.port != 0x510)
            errx(1, "exit reason %u instead of the guest's port write", child.run->exit_reason);
        sem_post(&put_back.written);
        if (ioctl(child.vcpu, KVM_RUN, NULL) == 0 || errno != EINTR) /* it halts, until it is kicked */
            err(1, "KVM_RUN");
        child.run->immediate_exit = 0;
        sem_post(&put_back.stopped);
    }
    return NULL;
}

/* What a vCPU does not have by its state: what is under way, and the time. */
static void set_time(struct child child)
{
    struct kvm_mp_state mp_state;
    struct kvm_clock_data clock;
    uint64_t offset = 0;
    struct kvm_device_attr attribute = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset};
    CALL(child.vcpu, KVM_GET_MP_STATE, &mp_state);
    CALL(child.vm, KVM_GET_CLOCK, &clock);
    CALL(child.vcpu, KVM_SET_DEVICE_ATTR, &attribute);
}

static void put_child_back(struct child child)
{
    if (pthread_kill(put_back.vcpu_thread, SIGURG) != 0)
        errx(1, "pthread_kill");
    sem_wait(&put_back.stopped);
    if (madvise(parent.memory, parent.memory_size, MADV_DONTNEED) < 0)
        err(1, "madvise");
    drop_shadow_pages(child);
    for (int i = 0; i < 3; i++)
        CALL(child.vm, KVM_SET_IRQCHIP, &parent.irqchips[i]);
    set_state(child);
    if (getrandom(parent.memory + GENERATION, 16, 0) != 16)
        err(1, "getrandom");
    set_time(child);
}

/* Tells of each time that the guest has written, and of when it could run again. */
_Noreturn static void serve_resets(int channel, uint32_t pages)
{
    struct sigaction action = {.sa_handler = on_kick};
    sigaction(SIGURG, &action, NULL);
    put_back.child = create();
    sem_init(&put_back.run, 0, 0);
    sem_init(&put_back.written, 0, 0);
    sem_init(&put_back.stopped, 0, 0);
    set_state(put_back.child);
    if (pthread_create(&put_back.vcpu_thread, NULL, vcpu_thread, NULL) != 0)
        errx(1, "pthread_create");
    for (double time = 0;;) {
        write_code(pages);
        sem_post(&put_back.run);
        sem_wait(&put_back.written);
        if (write(channel, &time, sizeof time) != sizeof time || read(channel, &time, sizeof time) <= 0)
            _exit(0);
        put_child_back(put_back.child);
        time = now_ms();
    }
}

static double await_written(int channel)
{
    double time;
    if (read(channel, &time, sizeof time) != sizeof time)
        errx(1, "the VM's process ended");
    return time;
}

static void run_resets(uint32_t pages, int count)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        err(1, "socketpair");
    pid_t pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid == 0) {
        close(pair[0]);
        serve_resets(pair[1], pages);
    }
    close(pair[1]);
    await_written(pair[0]);
    for (int i = 0; i < count + 1; i++) {
        usleep(20000); /* right after one change of memslots another takes milliseconds */
        double start = now_ms();
        if (write(pair[0], &start, sizeof start) != sizeof start)
            err(1, "write");
        double elapsed = await_written(pair[0]) - start;
        if (i > 0) /* the first one warms up */
            printf("%.4f\n", elapsed);
    }
    close(pair[0]);
    waitpid(pid, NULL, 0);
}

/* All of our process group but us. */
static void end_children(void)
{
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    while (wait(NULL) > 0)
        ;
    signal(SIGTERM, SIG_DFL);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        errx(2, "usage: floor MEMORY_IMAGE all|single|parked|reset:P N");
    int count = atoi(argv[3]);
    setpgid(0, 0);
    int image = open(argv[1], O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (image < 0 || fstat(image, &info) < 0)
        err(1, "%s", argv[1]);
    parent.memory_size = (size_t)info.st_size;
    parent.memory =
        mmap(NULL, parent.memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, image, 0);
    parent.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (parent.memory == MAP_FAILED || parent.kvm < 0)
        err(1, "/dev/kvm or memory image");
    parent.run_size = (size_t)CALL(parent.kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
    prepare_state();
    if (strcmp(argv[2], "all") == 0) {
        printf("%.3f\n", run_all(count));
        fflush(stdout);
        end_children();
        return 0;
    }
    if (strncmp(argv[2], "reset:", strlen("reset:")) == 0) {
        run_resets((uint32_t)atoi(argv[2] + strlen("reset:")), count);
        return 0;
    }
    int parked = strcmp(argv[2], "parked") == 0;
    for (int i = 0; i < count; i++) {
        printf("%.3f\n", run_single(parked));
        fflush(stdout);
        end_children();
    }
    return 0;
}
