/* SPDX-License-Identifier: Apache-2.0 */
#include "identity.h"

#include "clock.h"
#include "console.h"
#include "hosts.h"
#include "mounts.h"
#include "network.h"
#include "tcp.h"
#include "volumes.h"
#include "vsock.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

/* Docker's own is some 200 bytes; blocklists of a hundred times that are in use. */
#define HOSTS_MAX ((size_t)256 << 10)

#define MAX_AGE_MS 600000u
#define NANOSECONDS 1000000000ull

int identity_check(const struct guest_identity *identity, struct forkd_error *err)
{
    if (le32toh(identity->magic) != GUEST_IDENTITY_MAGIC)
        return error_set(err, EBADMSG, "", "identity", NULL);
    if (le32toh(identity->version) != GUEST_PROTOCOL_VERSION)
        return error_say(err, EPROTONOSUPPORT, "check", "identity",
                         "the snapshot's agent is of another version of forkd: %s",
                         strerror(EPROTONOSUPPORT));
    size_t length = strnlen(identity->hostname, sizeof identity->hostname);
    /* A slash or a newline would end up in /etc/hostname. */
    if (length == 0 || length == sizeof identity->hostname || strpbrk(identity->hostname, "/\n"))
        return error_set(err, EINVAL, "", "identity", NULL);
    return 0;
}

static int add_entropy(int random, const uint8_t seed[64])
{
    if (random < 0)
        return random;
    _Alignas(struct rand_pool_info) uint8_t bytes[sizeof(struct rand_pool_info) + 64];
    struct rand_pool_info *pool = (struct rand_pool_info *)bytes;
    pool->entropy_count = 512;
    pool->buf_size = 64;
    memcpy(pool->buf, seed, 64);
    int status = ioctl(random, RNDADDENTROPY, pool) < 0 || ioctl(random, RNDRESEEDCRNG) < 0 ? -errno : 0;
    explicit_bzero(bytes, sizeof bytes);
    return status;
}

/* How long ago the message was made: it may have waited a while for a guest that has just woken up. */
static uint64_t age_ns(const struct guest_identity *identity)
{
    uint64_t khz = le64toh(identity->tsc_khz);
    uint64_t now = __rdtsc();
    uint64_t then = le64toh(identity->tsc);
    /* A TSC that is not the first vCPU's, or one that nobody keeps right, is not believed. */
    if (khz == 0 || now < then || (now - then) / khz > MAX_AGE_MS)
        return 0;
    return (now - then) / khz * 1000000u + (now - then) % khz * 1000000u / khz;
}

static int set_clock(const struct guest_identity *identity)
{
    uint64_t realtime_ns = le64toh(identity->realtime_ns) + age_ns(identity);
    struct timespec time = {.tv_sec = (time_t)(realtime_ns / NANOSECONDS),
                            .tv_nsec = (long)(realtime_ns % NANOSECONDS)};
    return clock_settime(CLOCK_REALTIME, &time) < 0 ? -errno : 0;
}

/* A link in /etc is not followed, but what mounts.c mounted over its target is written to. */
static int open_file(const char *root, const char *name, int how)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s", root, name);
    int fd = open(path, how | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (fd >= 0 || errno != ELOOP)
        return fd;
    snprintf(path, sizeof path, "%s" MOUNTS_OWN "/%s", root, strrchr(name, '/') + 1);
    return open(path, (how & ~O_CREAT) | O_CLOEXEC | O_NOFOLLOW);
}

/*
 * Written over what is there and cut afterwards: O_TRUNC would make ext4 flush the file at once. Failure is
 * what an image without /etc gives, and is no error.
 */
static void write_file(const char *root, const char *name, const char *text, size_t length)
{
    int fd = open_file(root, name, O_WRONLY | O_CREAT);
    if (fd < 0)
        return;
    struct stat now;
    if (pwrite(fd, text, length, 0) == (ssize_t)length && fstat(fd, &now) == 0 && now.st_size > (off_t)length)
        (void)!ftruncate(fd, (off_t)length);
    close(fd);
}

static void write_generation(const char *root, uint64_t generation)
{
    char path[PATH_MAX];
    char temporary[PATH_MAX];
    char text[32];
    int length = snprintf(text, sizeof text, "%llu\n", (unsigned long long)generation);
    snprintf(path, sizeof path, "%s/run/forkd/generation", root);
    snprintf(temporary, sizeof temporary, "%s/run/forkd/generation.new", root);
    write_file(root, "/run/forkd/generation.new", text, (size_t)length);
    (void)rename(temporary, path);
}

/* What the image and programs wrote there stays. One thread of the agent does this, and init before it. */
static void write_hosts(const char *root, const char *hostname)
{
    static char old[HOSTS_MAX];
    static char new[HOSTS_MAX];
    int fd = open_file(root, "/etc/hosts", O_RDONLY);
    ssize_t length = fd < 0 ? 0 : read(fd, old, sizeof old);
    if (fd >= 0)
        close(fd);
    size_t used = length < 0 || (size_t)length == sizeof old
                      ? 0
                      : hosts_text(old, (size_t)length, network_own_address(), hostname, new, sizeof new);
    if (used > 0)
        write_file(root, "/etc/hosts", new, used);
    else
        console("/etc/hosts: %s: it stays without this machine's name",
                length < 0 ? strerror(errno) : "too large");
}

void identity_write_files(const char *root, const struct guest_identity *identity)
{
    char text[80];
    int length = snprintf(text, sizeof text, "%s\n", identity->hostname);
    write_file(root, "/etc/hostname", text, (size_t)length);
    for (size_t i = 0; i < sizeof identity->machine_id; i++)
        snprintf(text + 2 * i, 3, "%02x", identity->machine_id[i]);
    text[32] = '\n';
    write_file(root, "/etc/machine-id", text, 33);
    write_hosts(root, identity->hostname);
    write_generation(root, le64toh(identity->generation));
}

static bool read_machine_id(const char *root, uint8_t out[16])
{
    char path[PATH_MAX];
    char text[33] = "";
    snprintf(path, sizeof path, "%s/etc/machine-id", root);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (length != 32 || strspn(text, "0123456789abcdef") != 32)
        return false;
    for (size_t i = 0; i < 16; i++) {
        char digits[3] = {text[2 * i], text[2 * i + 1]};
        out[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

void identity_begin(const char *root)
{
    struct guest_identity identity = {0};
    gethostname(identity.hostname, sizeof identity.hostname - 1);
    /* It has to be unique, not secret: no waiting for entropy. */
    if (!read_machine_id(root, identity.machine_id) &&
        getrandom(identity.machine_id, sizeof identity.machine_id, GRND_INSECURE) < 0)
        console_failure(errno, "", "machine-id");
    identity_write_files(root, &identity);
}

/* Only the first step that fails is told. */
static void note(int *first, int status, const char *step, struct forkd_error *err)
{
    if (status < 0 && *first == 0)
        *first = error_set(err, status, "", step, NULL);
}

static void mount_volumes(int *first, struct forkd_error *err)
{
    struct forkd_error failed;
    char step[80];
    int status = volumes_mount(&failed);
    if (status < 0) {
        /* An acknowledgement has room for so much of a path beside the reason. */
        snprintf(step, sizeof step, "volume on %.64s", failed.object);
        note(first, status, step, err);
    }
}

int identity_apply(const struct identity_target *target, const struct guest_identity *identity,
                   struct forkd_error *err)
{
    int first = 0;
    note(&first, add_entropy(target->random, identity->seed), "entropy for /dev/random", err);
    /* Behind the entropy, which it draws from; beside the rest, which does not need it. */
    warm_reseed_begin(target->warm);
    note(&first, set_clock(identity), "setting the clock", err);
    note(&first, sethostname(identity->hostname, strlen(identity->hostname)) < 0 ? -errno : 0,
         "setting the hostname", err);
    identity_write_files(target->root, identity);
    mount_volumes(&first, err);
    note(&first, tcp_end_connections(), "ending the snapshot's TCP connections", err);
    note(&first, warm_reseed_finish(target->warm), "reseeding the warm interpreter", err);
    return first;
}

static void serve_one(const struct identity_target *target, int fd)
{
    struct timeval patience = {.tv_sec = 120};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct guest_identity identity;
    struct guest_identity_ack ack = {.magic = htole32(GUEST_IDENTITY_MAGIC)};
    if (recv(fd, &identity, sizeof identity, MSG_WAITALL) != sizeof identity)
        return;
    struct forkd_error err;
    int status = identity_check(&identity, &err);
    if (status == 0) {
        ack.generation = identity.generation;
        status = identity_apply(target, &identity, &err);
    }
    explicit_bzero(&identity, sizeof identity);
    if (status < 0) {
        ack.status = htole32((uint32_t)-status);
        snprintf(ack.message, sizeof ack.message, "%.*s", (int)sizeof ack.message - 1, err.text);
        console("identity not taken: %s", ack.message);
    }
    (void)!send(fd, &ack, sizeof ack, MSG_NOSIGNAL);
}

void identity_serve(const struct identity_target *target, int listener)
{
    for (;;) {
        bool of_host = false;
        int fd = vsock_accept(listener, &of_host);
        if (fd < 0) {
            clock_sleep_ms(10);
            continue;
        }
        if (of_host)
            serve_one(target, fd);
        close(fd);
    }
}
