/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM that nobody uses is frozen, when its owner has asked for that. Whether it is used is what can be seen
 * from here: that a device had something for the guest, or the guest for one; that somebody is connected to
 * it; how long its processors were at work. What a program in it waits for cannot be seen: a kernel's timers
 * are always set, for itself.
 */
#include "proc/vm_parts.h"

#include "base/clock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* It is looked at so often in that time, and has to be idle each time. */
#define LOOKS 4u
/* Of a processor: what is more than this is a program's work, not a kernel's ticks. */
#define BUSY_PERCENT 5u
#define MIN_MS 100u

static uint64_t processor_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Begin to look, from now on; or, with after_ms 0, no more. */
static void begin(struct vm *vm)
{
    struct freezer *freezer = &vm->freezer;
    freezer->idle_looks = 0;
    freezer->news = vm->machine.news;
    freezer->processor_ns = processor_ns();
    uint32_t every_ms = freezer->after_ms / LOOKS;
    const struct timespec time = {.tv_sec = every_ms / 1000, .tv_nsec = (long)(every_ms % 1000) * 1000000};
    const struct itimerspec timer = {.it_value = time, .it_interval = time};
    timerfd_settime(freezer->timer.fd, 0, &timer, NULL);
}

static void stop_looking(const struct freezer *freezer)
{
    static const struct itimerspec never;
    timerfd_settime(freezer->timer.fd, 0, &never, NULL);
}

/* Since the last look, `looks` intervals ago. */
static bool was_idle(struct vm *vm, uint64_t looks)
{
    struct freezer *freezer = &vm->freezer;
    uint64_t allowed_ns = looks * freezer->after_ms / LOOKS * 1000000 / 100 * BUSY_PERCENT;
    uint64_t now_ns = processor_ns();
    bool idle = vm->machine.news == freezer->news && now_ns - freezer->processor_ns < allowed_ns &&
                vm->status.phase == FORKD_VM_READY && !vsock_is_connected(vm->machine.vsock);
    freezer->news = vm->machine.news;
    freezer->processor_ns = now_ns;
    return idle;
}

static void on_look(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm *vm = container_of(watch, struct vm, freezer.timer);
    uint64_t looks;
    if (read(watch->fd, &looks, sizeof looks) != sizeof looks || vm->machine.paused)
        return;
    vm->freezer.idle_looks = was_idle(vm, looks) ? vm->freezer.idle_looks + 1 : 0;
    if (vm->freezer.idle_looks < LOOKS || !machine_freeze(&vm->machine))
        return;
    vm->status.frozen = 1;
    stop_looking(&vm->freezer);
}

void vm_on_thawed(struct machine *machine)
{
    struct vm *vm = container_of(machine, struct vm, machine);
    vm->status.frozen = 0;
    begin(vm);
}

static int make_timer(struct vm *vm, struct forkd_error *err)
{
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer < 0)
        return error_set(err, errno, "timerfd_create", "VM", NULL);
    vm->freezer.timer = (struct loop_watch){.fd = -1, .ready = on_look};
    int result = loop_add(&vm->machine.loop, &vm->freezer.timer, timer, EPOLLIN, err);
    if (result < 0)
        close(timer);
    return result;
}

int vm_freeze(struct vm *vm, uint32_t after_ms, struct forkd_error *err)
{
    if (after_ms != 0 && after_ms < MIN_MS)
        return error_set(err, EINVAL, "freeze", "VM", "%u ms are less than %u", after_ms, MIN_MS);
    int result = 0;
    if (vm->freezer.timer.fd < 0 && (after_ms == 0 || (result = make_timer(vm, err)) < 0))
        return result;
    vm->freezer.after_ms = after_ms;
    machine_thaw(&vm->machine);
    begin(vm);
    return 0;
}
