/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fork 20 children, ask each of them something, end them in every way; again and again for
 * FORKD_SOAK_SECONDS (20 when not set). Descriptors, memory, processes and files are at the end what they
 * were after the first rounds.
 */
#include "snapshot.h"

#include <time.h>

#define CHILDREN 20
#define PARKED 4
#define CHANNELS 8 /* which a server has made for processes to come, at most: BROKER_MAX_JOINING */
#define WARM_UP_ROUNDS 20
#define SERVER_ROUNDS 32 /* then it is ended, with its children, and another is started */
#ifdef __SANITIZE_ADDRESS__
#define MAY_GROW_KIB 65536 /* freed memory is kept back */
#else
#define MAY_GROW_KIB 1024
#endif

struct soak {
    struct fixture *fixture;
    struct forkd_server *server;
    uint64_t rounds;
};

struct figures {
    int descriptors;
    int server_descriptors;
    int files;
    long kib;
    long server_kib;
    long machine_kib; /* shown only: it is others', too */
    long kernel_kib;
};

static long field_kib(const char *path, const char *field)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char line[256];
    long kib = -1;
    while (kib < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0)
            kib = strtol(line + strlen(field), NULL, 10);
    }
    fclose(file);
    assert_true(kib >= 0);
    return kib;
}

static long resident_kib(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    return field_kib(path, "VmRSS:");
}

static void start_server(struct soak *soak)
{
    soak->server = start(soak->fixture);
}

/* With every child reaped, and those parked that are to be. */
static struct figures look(const struct soak *soak)
{
    int pid = forkd_server_pid(soak->server);
    wait_for_children(pid, PARKED);
    return (struct figures){.descriptors = count_entries("/proc/self/fd"),
                            .server_descriptors = count_entries("/proc/%d/fd", pid),
                            .files = count_entries("%s", soak->fixture->folder.path),
                            .kib = resident_kib(getpid()),
                            .server_kib = resident_kib(pid),
                            .machine_kib = field_kib("/proc/meminfo", "MemAvailable:"),
                            .kernel_kib = field_kib("/proc/meminfo", "SUnreclaim:")};
}

static void fork_children(struct soak *soak, struct forkd_vm **children, int *pids)
{
    struct forkd_error error = {0};
    char console[128];
    folder_file(&soak->fixture->folder, "console", console, sizeof console);
    for (int i = 0; i < CHILDREN; i++) {
        char vsock[128];
        snprintf(vsock, sizeof vsock, "%s/%d.vsock", soak->fixture->folder.path, i);
        struct forkd_child_options options = {
            .flags = FORKD_NO_AGENT, .vsock_path = vsock, .console_path = console};
        OK(forkd_server_fork(soak->server, &options, &children[i], &error));
    }
    for (int i = 0; i < CHILDREN; i++) {
        struct forkd_vm_status status;
        OK(forkd_vm_wait(children[i], 60000, &status, &error));
        if (status.phase != FORKD_VM_READY)
            fail_msg("a child ended: %s", status.error.text);
        pids[i] = status.pid;
        ask_child(children[i]);
    }
}

static void run_round(struct soak *soak)
{
    struct forkd_vm *children[CHILDREN];
    int pids[CHILDREN];
    fork_children(soak, children, pids);
    soak->rounds++;
    if (soak->rounds % SERVER_ROUNDS == 0) {
        forkd_server_free(soak->server);
        start_server(soak);
    }
    for (int i = 0; i < CHILDREN; i++) {
        if (i % 3 == 0)
            kill(pids[i], SIGKILL);
        if (i % 3 == 1)
            forkd_vm_kill(children[i]);
        forkd_vm_free(children[i]);
    }
}

static int set_up(void **state)
{
    int result = make_snapshot_of(state, GUEST("answer"));
    struct soak *soak = calloc(1, sizeof *soak);
    soak->fixture = *state;
    soak->fixture->options.parked_count = PARKED;
    start_server(soak);
    *state = soak;
    return result;
}

static int tear_down(void **state)
{
    struct soak *soak = *state;
    forkd_server_free(soak->server);
    *state = soak->fixture;
    free(soak);
    return remove_snapshot(state);
}

static void nothing_grows(void **state)
{
    struct soak *soak = *state;
    const char *given = getenv("FORKD_SOAK_SECONDS");
    time_t end = time(NULL) + (given == NULL ? 20 : strtol(given, NULL, 10));
    while (soak->rounds < WARM_UP_ROUNDS)
        run_round(soak);
    struct figures before = look(soak);
    while (time(NULL) < end)
        run_round(soak);
    struct figures after = look(soak);
    printf(
        "%llu children; at the start, at the end: descriptors %d, %d; the server's %d, %d; files %d, %d;\n"
        "resident KiB %ld, %ld; the server's %ld, %ld; the machine's available %ld, %ld; its slab %ld, %ld\n",
        (unsigned long long)soak->rounds * CHILDREN, before.descriptors, after.descriptors,
        before.server_descriptors, after.server_descriptors, before.files, after.files, before.kib, after.kib,
        before.server_kib, after.server_kib, before.machine_kib, after.machine_kib, before.kernel_kib,
        after.kernel_kib);
    assert_int_equal(after.descriptors, before.descriptors);
    assert_true(after.server_descriptors <= before.server_descriptors + CHANNELS);
    assert_int_equal(after.files, before.files);
    assert_true(after.kib <= before.kib + MAY_GROW_KIB);
    assert_true(after.server_kib <= before.server_kib + MAY_GROW_KIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(nothing_grows, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
