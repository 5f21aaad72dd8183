/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/limits.h"

#include <string.h>

#define DEFAULT_DISK (10ull << 30)
#define DEFAULT_VSOCK_BUFFER (64ull << 20)

static void take_over(uint64_t *limit, uint64_t asked)
{
    if (asked != 0)
        *limit = asked;
}

/* What needs no more than a number. */
static void set_numbers(struct machine *machine)
{
    const struct forkd_limits *limits = &machine->limits;
    uint64_t buffers = limits->vsock_buffer_bytes / VSOCK_BUFFER_BYTES;
    machine->serial.log_most = (int64_t)limits->console_bytes;
    machine->disk_quota.most = limits->disk_bytes / DISK_BLOCK_SIZE;
    vsock_limit(machine->vsock, limits->vsock_connections,
                buffers < VSOCK_MAX_CONNECTIONS ? (uint32_t)buffers : VSOCK_MAX_CONNECTIONS);
}

void limits_default(struct machine *machine)
{
    machine->limits = (struct forkd_limits){.console_bytes = SERIAL_LOG_MOST,
                                            .disk_bytes = DEFAULT_DISK,
                                            .disk_bytes_per_second = FORKD_UNLIMITED,
                                            .disk_requests_per_second = FORKD_UNLIMITED,
                                            .net_bytes_per_second = FORKD_UNLIMITED,
                                            .vsock_buffer_bytes = DEFAULT_VSOCK_BUFFER,
                                            .vsock_connections = VSOCK_MAX_CONNECTIONS};
    for (uint32_t i = 0; i < machine->config.disk_count; i++)
        disk_set_quota(machine->disks[i], &machine->disk_quota);
    set_numbers(machine);
}

void limits_inherit(struct machine *machine, const struct machine *from)
{
    machine->limits = from->limits;
    set_numbers(machine);
}

int limits_apply(struct machine *machine, const struct forkd_limits *asked, struct forkd_error *err)
{
    static const struct forkd_limits nothing;
    struct forkd_limits *limits = &machine->limits;
    take_over(&limits->console_bytes, asked->console_bytes);
    take_over(&limits->disk_bytes, asked->disk_bytes);
    take_over(&limits->disk_bytes_per_second, asked->disk_bytes_per_second);
    take_over(&limits->disk_requests_per_second, asked->disk_requests_per_second);
    take_over(&limits->net_bytes_per_second, asked->net_bytes_per_second);
    take_over(&limits->vsock_buffer_bytes, asked->vsock_buffer_bytes);
    if (asked->vsock_connections != 0)
        limits->vsock_connections = asked->vsock_connections;
    /* In most children nothing is, and what they would write to is the server's memory still. */
    if (memcmp(asked, &nothing, sizeof nothing) != 0)
        set_numbers(machine);
    int result = 0;
    /* The disks' devices are the first. */
    for (uint32_t i = 0; i < machine->config.disk_count && result == 0; i++)
        result = block_limit(machine->devices[i], limits->disk_bytes_per_second,
                             limits->disk_requests_per_second, err);
    if (result == 0 && machine->net != NULL)
        result = net_limit(machine->net, limits->net_bytes_per_second, err);
    return result;
}
