/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/throttle.h"

#include "base/clock.h"
#include "devices/virtio.h"

#include <forkd/forkd.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull
/* What was not used may be used at once later: at most the worth of this. */
#define BURST_NS (SECOND_NS / 10)

/* A token bucket as a point in time: until then all that was taken is paid for at the rate. */
struct bucket {
    uint64_t per_second;
    uint64_t paid_until_ns;
};

struct throttle {
    struct loop_watch timer;
    struct virtio_device *device;
    uint16_t queue;
    bool waiting; /* the timer is set */
    struct bucket bytes;
    struct bucket requests;
};

static void charge(struct bucket *bucket, uint64_t amount, uint64_t now)
{
    if (bucket->per_second == FORKD_UNLIMITED || amount == 0)
        return;
    if (bucket->paid_until_ns < now - BURST_NS)
        bucket->paid_until_ns = now - BURST_NS;
    /* Apart, so that neither product leaves 64 bits: a chain has less than 2^33 bytes. */
    bucket->paid_until_ns += amount / bucket->per_second * SECOND_NS +
                             amount % bucket->per_second * SECOND_NS / bucket->per_second;
}

void throttle_charge(struct throttle *throttle, uint64_t bytes, uint64_t requests)
{
    if (throttle == NULL)
        return;
    uint64_t now = clock_now_ns();
    charge(&throttle->bytes, bytes, now);
    charge(&throttle->requests, requests, now);
}

bool throttle_admits(struct throttle *throttle)
{
    if (throttle == NULL)
        return true;
    uint64_t due = throttle->bytes.paid_until_ns > throttle->requests.paid_until_ns
                       ? throttle->bytes.paid_until_ns
                       : throttle->requests.paid_until_ns;
    if (due <= clock_now_ns())
        return true;
    const struct itimerspec time = {
        .it_value = {.tv_sec = (time_t)(due / SECOND_NS), .tv_nsec = (long)(due % SECOND_NS)}};
    if (!throttle->waiting)
        timerfd_settime(throttle->timer.fd, TFD_TIMER_ABSTIME, &time, NULL);
    throttle->waiting = true;
    return false;
}

static void on_timer(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct throttle *throttle = container_of(watch, struct throttle, timer);
    uint64_t count;
    ssize_t ignored = read(watch->fd, &count, sizeof count);
    (void)ignored;
    throttle->waiting = false;
    virtio_kick(throttle->device, throttle->queue);
}

static int make_timer(struct throttle *throttle, struct forkd_error *err)
{
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer < 0)
        return error_set(err, errno, "timerfd_create", throttle->device->ops->name, NULL);
    int result = loop_add(throttle->device->machine->loop, &throttle->timer, timer, EPOLLIN, err);
    if (result < 0)
        close(timer);
    return result;
}

int throttle_queue(struct virtio_device *device, uint16_t queue, uint64_t bytes_per_second,
                   uint64_t requests_per_second, struct forkd_error *err)
{
    if (bytes_per_second == FORKD_UNLIMITED && requests_per_second == FORKD_UNLIMITED)
        return 0;
    if (device->throttles[queue] != NULL)
        return error_set(err, EBUSY, "throttle", device->ops->name, "it is");
    struct throttle *throttle = calloc(1, sizeof *throttle);
    if (throttle == NULL)
        return error_set(err, ENOMEM, "throttle", device->ops->name, NULL);
    *throttle = (struct throttle){.timer = {.fd = -1, .ready = on_timer},
                                  .device = device,
                                  .queue = queue,
                                  .bytes = {.per_second = bytes_per_second},
                                  .requests = {.per_second = requests_per_second}};
    int result = make_timer(throttle, err);
    if (result < 0) {
        free(throttle);
        return result;
    }
    device->throttles[queue] = throttle;
    return 0;
}

void throttle_forgive(struct virtio_device *device)
{
    for (uint16_t i = 0; i < device->ops->queue_count; i++) {
        struct throttle *throttle = device->throttles[i];
        if (throttle == NULL)
            continue;
        const struct itimerspec never = {0};
        timerfd_settime(throttle->timer.fd, 0, &never, NULL);
        throttle->waiting = false;
        throttle->bytes.paid_until_ns = 0;
        throttle->requests.paid_until_ns = 0;
    }
}

void throttle_free(struct virtio_device *device)
{
    for (uint16_t i = 0; i < device->ops->queue_count; i++) {
        struct throttle *throttle = device->throttles[i];
        if (throttle == NULL)
            continue;
        int timer = throttle->timer.fd;
        loop_remove(device->machine->loop, &throttle->timer);
        close(timer);
        free(throttle);
        device->throttles[i] = NULL;
    }
}
