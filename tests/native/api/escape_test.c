/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest can do that has taken a process of forkd's over: each kind of process tries each thing that it
 * must not be able to do (escape/hook.c, which is linked into a forkd-vmm of this test's own), once as a
 * child of root's server, and once as another user's. None comes through, and a VM's end says which call it
 * was.
 */
#include "escape/attempts.h"
#include "stranger.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#define WAIT_MS 60000

static const char *const calls[] = {
#define X(name, call) [ESCAPE_##name] = call,
    ESCAPE_ATTEMPTS(X)
#undef X
};

static const char *name_of(uint32_t attempt)
{
    return attempt < ESCAPE_COUNT ? calls[attempt] : "harm";
}

/* What became of an attempt. */
struct outcome {
    bool died;
    bool named; /* and the call was said to be why */
    int result; /* it lives: what the call came to */
};

struct place {
    struct fixture *fixture;
    char unfiltered[128]; /* a forkd-vmm that has all but the filter */
    struct forkd_server *server;
    struct forkd_vm *sibling;
    int sibling_pid;
    int listener;
    int service; /* the same, in the folder for disks */
};

/* --- asking ----------------------------------------------------------------------------------------------
 */

static bool says(const void *message, size_t length, const char *text)
{
    return memmem(message, length, text, strlen(text)) != NULL;
}

/* Until there is an answer, or nobody who could give one. */
static struct outcome ask(int channel, const struct escape_request *request)
{
    struct outcome outcome = {0};
    assert_int_equal(send(channel, request, sizeof *request, MSG_NOSIGNAL), sizeof *request);
    for (;;) {
        char message[4096];
        struct pollfd polled = {.fd = channel, .events = POLLIN};
        if (poll(&polled, 1, WAIT_MS) != 1)
            fail_msg("no answer to %s (%u)", name_of(request->attempt), request->attempt);
        ssize_t length = recv(channel, message, sizeof message, 0);
        outcome.died = length <= 0;
        if (outcome.died)
            return outcome;
        struct escape_reply reply;
        memcpy(&reply, message, sizeof reply);
        if (length == sizeof reply && reply.magic == ESCAPE_MAGIC) {
            outcome.result = reply.result;
            return outcome;
        }
        outcome.named = outcome.named || (says(message, (size_t)length, "seccomp") &&
                                          says(message, (size_t)length, name_of(request->attempt)));
    }
}

static struct escape_request request_of(const struct place *place, int attempt, enum escape_by by)
{
    return (struct escape_request){ESCAPE_MAGIC, (uint32_t)attempt, place->sibling_pid, by};
}

/* A process that it was not asked of. */
static void assert_unharmed(const struct place *place, int attempt)
{
    struct forkd_vm_status status;
    struct forkd_error error = {0};
    OK(forkd_vm_wait(place->sibling, 0, &status, &error));
    if (status.phase != FORKD_VM_READY)
        fail_msg("%s: the sibling has ended", calls[attempt]);
    assert_int_equal(access(FILE_IN(place->fixture->folder, ESCAPE_VICTIM), F_OK), 0);
    assert_int_equal(access(ESCAPE_SOCKET_PATH, F_OK), 0);
}

static bool is_foreign_abi(int attempt)
{
    return attempt == ESCAPE_OLD_ABI || attempt == ESCAPE_X32_ABI;
}

static bool is_brokers(int attempt)
{
    return strcmp(calls[attempt], "broker") == 0;
}

/* What clone3(2) is asked for no filter can see: the kernel refuses it. */
static bool is_survived(int attempt)
{
    return is_brokers(attempt) || strcmp(calls[attempt], "clone3") == 0;
}

/* The broker refuses and says so; the kernel does what a filter says. */
static void assert_refused(const struct place *place, int attempt, struct outcome outcome)
{
    if (outcome.died == is_survived(attempt))
        fail_msg("%s (%d): it %s", calls[attempt], attempt, outcome.died ? "died" : "lives");
    if (!outcome.died && outcome.result >= 0)
        fail_msg("%s (%d): it came through with %d", calls[attempt], attempt, outcome.result);
    assert_unharmed(place, attempt);
}

static int connect_raw(const char *path)
{
    struct sockaddr_un address = socket_address(path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* --- by whom ----------------------------------------------------------------------------------------------
 */

static struct forkd_server *start_at(const struct place *place, const char *control)
{
    struct forkd_server_options options = place->fixture->options;
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    options.control_path = control;
    OK(forkd_server_start(&server, &options, &error));
    return server;
}

static void nothing_comes_out_of_a_child(void **state)
{
    const struct place *place = *state;
    for (int attempt = 0; attempt < ESCAPE_COUNT; attempt++) {
        struct forkd_vm_status status;
        struct forkd_vm *child = fork_ready(place->server, NULL, &status);
        const struct escape_request request = request_of(place, attempt, ESCAPE_BY_ITSELF);
        struct outcome outcome = ask(forkd_vm_fd(child), &request);
        assert_refused(place, attempt, outcome);
        if (outcome.died && !outcome.named && !is_foreign_abi(attempt))
            fail_msg("%s: nobody was told", calls[attempt]);
        forkd_vm_free(child);
    }
}

static void nothing_comes_out_of_a_booted_vm(void **state)
{
    const struct place *place = *state;
    for (int attempt = 0; attempt < ESCAPE_COUNT; attempt++) {
        struct forkd_boot_options options = boot_options(place->fixture->guest);
        struct forkd_error error = {0};
        options.vmm_path = place->fixture->options.vmm_path;
        options.scratch_dir = place->fixture->folder.path;
        struct forkd_vm *vm = boot(&options);
        OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
        const struct escape_request request = request_of(place, attempt, ESCAPE_BY_ITSELF);
        struct outcome outcome = ask(forkd_vm_fd(vm), &request);
        assert_refused(place, attempt, outcome);
        if (outcome.died && !outcome.named && !is_foreign_abi(attempt))
            fail_msg("%s: nobody was told", calls[attempt]);
        forkd_vm_free(vm);
    }
}

static void nothing_comes_out_of_a_fork_server(void **state)
{
    const struct place *place = *state;
    const char *control = FILE_IN(place->fixture->folder, "server");
    for (int attempt = 0; attempt < ESCAPE_COUNT; attempt++) {
        struct forkd_server *server = start_at(place, control);
        int channel = connect_raw(control);
        const struct escape_request request = request_of(place, attempt, ESCAPE_BY_ITSELF);
        assert_refused(place, attempt, ask(channel, &request));
        close(channel);
        forkd_server_free(server);
        unlink(control);
    }
}

/* Of a child's branch, which is kept until it is written. */
static struct forkd_server *branch_of(struct forkd_vm *child, const char *directory, const char *control)
{
    struct forkd_error error = {0};
    struct forkd_server *twin = NULL;
    const struct forkd_branch_options options = {.directory = directory, .control_path = control};
    assert_int_equal(mkdir(directory, 0700), 0);
    OK(forkd_vm_branch(child, &options, &twin, NULL, &error));
    return twin;
}

static void remove_directory(const char *directory)
{
    char command[192];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    assert_int_equal(system(command), 0);
}

static void nothing_comes_out_of_a_twin(void **state)
{
    const struct place *place = *state;
    char directory[128];
    char control[128];
    folder_file(&place->fixture->folder, "branch", directory, sizeof directory);
    folder_file(&place->fixture->folder, "twin", control, sizeof control);
    for (int attempt = 0; attempt < ESCAPE_COUNT; attempt++) {
        struct forkd_vm_status status;
        struct forkd_vm *child = fork_ready(place->server, NULL, &status);
        struct forkd_server *twin = branch_of(child, directory, control);
        int channel = connect_raw(control);
        const struct escape_request request = request_of(place, attempt, ESCAPE_BY_ITSELF);
        assert_refused(place, attempt, ask(channel, &request));
        close(channel);
        /* It goes on to write, if it lives: not while its folder is removed. */
        struct forkd_error error = {0};
        int written = forkd_server_wait_written(twin, WAIT_MS, &error);
        assert_true(written == 0 || written == -EPIPE);
        forkd_server_free(twin);
        forkd_vm_free(child);
        unlink(control);
        remove_directory(directory);
    }
}

static void nothing_comes_out_of_a_writer(void **state)
{
    const struct place *place = *state;
    char directory[128];
    folder_file(&place->fixture->folder, "branch", directory, sizeof directory);
    for (int attempt = 0; attempt < ESCAPE_COUNT; attempt++) {
        struct forkd_vm_status status;
        struct forkd_error error = {0};
        struct forkd_vm *child = fork_ready(place->server, NULL, &status);
        const struct escape_request request = request_of(place, attempt, ESCAPE_BY_WRITER);
        assert_int_equal(ask(forkd_vm_fd(child), &request).result, 0);
        struct forkd_server *twin = branch_of(child, directory, NULL);
        int code = forkd_server_wait_written(twin, WAIT_MS, &error);
        if (code != (is_survived(attempt) ? -EACCES : -EPIPE))
            fail_msg("%s (%d): %s", calls[attempt], attempt, error.text);
        assert_unharmed(place, attempt);
        forkd_server_free(twin);
        forkd_vm_free(child);
        remove_directory(directory);
    }
}

/* What a broker may do it may: open files, and make sockets. */
static bool is_for_brokers(int attempt)
{
    return attempt == ESCAPE_OPEN_FROM_FOLDER || attempt == ESCAPE_CONNECT || attempt == ESCAPE_PIDFD ||
           attempt == ESCAPE_UNLINK || is_brokers(attempt);
}

static void nothing_else_is_done_by_a_broker(void **state)
{
    const struct place *place = *state;
    for (int attempt = 0; attempt < ESCAPE_COUNT; attempt++) {
        if (is_for_brokers(attempt))
            continue;
        struct forkd_vm_status status;
        struct forkd_server *server = start(place->fixture);
        struct forkd_vm *child = fork_ready(server, NULL, &status);
        const struct escape_request request = request_of(place, attempt, ESCAPE_BY_BROKER);
        struct outcome outcome = ask(forkd_vm_fd(child), &request);
        if (outcome.died || outcome.result != -EPIPE)
            fail_msg("%s (%d): the broker lives (%d)", calls[attempt], attempt, outcome.result);
        assert_unharmed(place, attempt);
        forkd_vm_free(child);
        forkd_server_free(server);
    }
}

/* Were there a way around the filter, what is asked for would not be had either. */
static void nothing_comes_out_of_a_child_without_a_filter(void **state)
{
    static const int attempts[] = {
        ESCAPE_OPEN,
        ESCAPE_OPEN_FROM_FOLDER,
        ESCAPE_OPEN_MEMORY_OF_SIBLING,
        ESCAPE_CONNECT,
        ESCAPE_PTRACE,
        ESCAPE_READ_SIBLING,
        ESCAPE_MOUNT,
        ESCAPE_EXECVE,
        ESCAPE_UNLINK,
        ESCAPE_KILL,
        ESCAPE_UNSHARE,
        ESCAPE_CLONE_NEW_USER,
        ESCAPE_CLONE3_NEW_USER,
        ESCAPE_CLONE3_NEW_NET,
    };
    const struct place *place = *state;
    struct forkd_server_options options = place->fixture->options;
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    options.vmm_path = place->unfiltered;
    OK(forkd_server_start(&server, &options, &error));
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        struct forkd_vm_status status;
        struct forkd_vm *sibling = fork_ready(server, NULL, &status);
        const struct escape_request request = {ESCAPE_MAGIC, (uint32_t)attempts[i], status.pid,
                                               ESCAPE_BY_ITSELF};
        struct forkd_vm *child = fork_ready(server, NULL, &status);
        struct outcome outcome = ask(forkd_vm_fd(child), &request);
        /* Another user's processes are one user's. */
        if (!(attempts[i] == ESCAPE_KILL && geteuid() != 0) && (outcome.died || outcome.result >= 0))
            fail_msg("%s (%d): %d", calls[attempts[i]], attempts[i], outcome.result);
        assert_unharmed(place, attempts[i]);
        forkd_vm_free(child);
        forkd_vm_free(sibling);
    }
    forkd_server_free(server);
}

/* --- what harms others -------------------------------------------------------------------------------------
 */

/* Its socket, its broker, and what it is asked are what they were; and others like it can be made. */
static void assert_served(const struct place *place, struct forkd_server *server, struct forkd_vm *sibling,
                          const char *socket_path, int harm)
{
    char another[128];
    struct forkd_vm_status status;
    const struct escape_request question = request_of(place, ESCAPE_BROKER_OPEN_OTHER, ESCAPE_BY_ITSELF);
    if (access(socket_path, F_OK) != 0)
        fail_msg("harm %d: the sibling's socket is gone", harm);
    struct outcome outcome = ask(forkd_vm_fd(sibling), &question);
    if (outcome.died || outcome.result != -EPERM)
        fail_msg("harm %d: the sibling's broker says %d", harm, outcome.result);
    folder_file(&place->fixture->folder, "another", another, sizeof another);
    forkd_vm_free(fork_ready(server, another, &status));
}

static void nothing_that_a_child_does_to_the_broker_harms_its_siblings(void **state)
{
    static const int harms[] = {HARM_EMPTY_REQUEST, HARM_SHUTDOWN, HARM_KEPT_REPLY, HARM_MANY_LISTENERS,
                                HARM_MANY_CHANNELS};
    const struct place *place = *state;
    const char *socket_path = FILE_IN(place->fixture->folder, "sibling");
    for (size_t i = 0; i < sizeof harms / sizeof harms[0]; i++) {
        struct forkd_vm_status status;
        struct forkd_server *server = start(place->fixture);
        struct forkd_vm *sibling = fork_ready(server, socket_path, &status);
        struct forkd_vm *child = fork_ready(server, FILE_IN(place->fixture->folder, "own"), &status);
        const struct escape_request request = request_of(place, harms[i], ESCAPE_BY_ITSELF);
        struct outcome outcome = ask(forkd_vm_fd(child), &request);
        assert_served(place, server, sibling, socket_path, harms[i]);
        if (outcome.died || outcome.result != 0)
            fail_msg("harm %d: it came to %d", harms[i], outcome.result);
        forkd_vm_free(child);
        assert_served(place, server, sibling, socket_path, harms[i]);
        forkd_vm_free(sibling);
        forkd_server_free(server);
        assert_int_equal(access(socket_path, F_OK), -1);
    }
}

/* What is killed is the process that lied, and what is shown ends, and moves no cursor. */
static void what_a_child_says_it_is_makes_nobody_another(void **state)
{
    static const int lies[] = {HARM_LIE, HARM_LIE_OF_PHASE};
    const struct place *place = *state;
    for (size_t i = 0; i < 2; i++) {
        struct forkd_error error = {0};
        struct forkd_vm_status status;
        struct forkd_vm *child = fork_ready(place->server, NULL, &status);
        int pid = status.pid;
        const struct escape_request request = request_of(place, lies[i], ESCAPE_BY_ITSELF);
        assert_int_equal(send(forkd_vm_fd(child), &request, sizeof request, MSG_NOSIGNAL), sizeof request);
        struct pollfd polled = {.fd = forkd_vm_fd(child), .events = POLLIN};
        assert_int_equal(poll(&polled, 1, WAIT_MS), 1);
        OK(forkd_vm_wait(child, 0, &status, &error));
        assert_int_equal(status.pid, pid);
        assert_in_range(status.phase, FORKD_VM_READY, FORKD_VM_ENDED);
        assert_in_range(status.end, FORKD_END_NONE, FORKD_END_ERROR);
        assert_true(status.error.code <= 0);
        assert_in_range(strnlen(status.error.object, sizeof status.error.object), 0,
                        sizeof status.error.object - 1);
        assert_in_range(strnlen(status.error.text, sizeof status.error.text), 0,
                        sizeof status.error.text - 1);
        assert_null(memchr(status.error.text, '\033', sizeof status.error.text));
        forkd_vm_free(child);
        assert_gone(pid);
        assert_unharmed(place, ESCAPE_KILL);
    }
}

/* A server that is started there has a terminal as its standard error, open for both as terminals are. */
static struct forkd_server *start_on_terminal(const struct place *place, int *keyboard)
{
    char name[64];
    *keyboard = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_int_equal(grantpt(*keyboard), 0);
    assert_int_equal(unlockpt(*keyboard), 0);
    assert_int_equal(ptsname_r(*keyboard, name, sizeof name), 0);
    int terminal = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    int before = dup(STDERR_FILENO);
    assert_true(terminal >= 0);
    dup2(terminal, STDERR_FILENO);
    struct forkd_server *server = start(place->fixture);
    dup2(before, STDERR_FILENO);
    close(before);
    close(terminal);
    return server;
}

static void what_is_typed_is_not_read_by_a_child(void **state)
{
    const struct place *place = *state;
    int keyboard = -1;
    struct forkd_vm_status status;
    struct forkd_server *server = start_on_terminal(place, &keyboard);
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    assert_int_equal(write(keyboard, "secret\n", 7), 7);
    const struct escape_request request = request_of(place, HARM_READ_ERRORS, ESCAPE_BY_ITSELF);
    struct outcome outcome = ask(forkd_vm_fd(child), &request);
    assert_false(outcome.died);
    assert_int_equal(outcome.result, -EBADF);
    forkd_vm_free(child);
    forkd_server_free(server);
    close(keyboard);
}

/* --- what is promised --------------------------------------------------------------------------------------
 */

static char *read_all(FILE *file)
{
    enum { ROOM = 1 << 18 };
    char *text = calloc(ROOM, 1);
    assert_non_null(file);
    assert_non_null(text);
    assert_in_range(fread(text, 1, ROOM - 1, file), 1, ROOM - 2);
    return text;
}

static void the_documented_calls_are_those_that_are_allowed(void **state)
{
    static const char *const programs[] = {FORKD_ESCAPE_VMM, FORKD_MKFS, FORKD_PAGER};
    (void)state;
    FILE *file = fopen(FORKD_DOCS "/isolation.md", "re");
    char *page = read_all(file);
    fclose(file);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        char command[512];
        snprintf(command, sizeof command, "'%s' --syscalls", programs[i]);
        FILE *output = popen(command, "re");
        char *calls_there = read_all(output);
        assert_int_equal(pclose(output), 0);
        if (strstr(page, calls_there) == NULL)
            fail_msg("docs/isolation.md does not hold what %s says", command);
        free(calls_there);
    }
    free(page);
}

/* --- where ------------------------------------------------------------------------------------------------
 */

static void copy_program(const struct fixture *fixture, const char *program, const char *name, char *path,
                         size_t size)
{
    char command[512];
    folder_file(&fixture->folder, name, path, size);
    snprintf(command, sizeof command, "cp '%s' '%s'", program, path);
    assert_int_equal(system(command), 0);
}

static int make_place_of(void **state, uid_t user)
{
    struct place *place = calloc(1, sizeof *place);
    void *fixture = NULL;
    assert_int_equal(make_snapshot(&fixture), 0);
    place->fixture = fixture;
    copy_program(place->fixture, FORKD_ESCAPE_VMM, "forkd-vmm", place->fixture->vmm,
                 sizeof place->fixture->vmm);
    copy_program(place->fixture, FORKD_ESCAPE_VMM "-unfiltered", "unfiltered", place->unfiltered,
                 sizeof place->unfiltered);
    copy_program(place->fixture, GUEST("ready"), "ready.elf", place->fixture->guest,
                 sizeof place->fixture->guest);
    place->fixture->options.vmm_path = place->fixture->vmm;
    place->fixture->options.scratch_dir = place->fixture->folder.path;
    unlink(ESCAPE_SOCKET_PATH);
    place->listener = bind_at(ESCAPE_SOCKET_PATH, true);
    assert_int_equal(chmod(ESCAPE_SOCKET_PATH, 0777), 0);
    write_file(FILE_IN(place->fixture->folder, ESCAPE_VICTIM), "mine");
    place->service = bind_at(FILE_IN(place->fixture->folder, ESCAPE_SERVICE), true);
    if (user != 0) {
        char command[128];
        snprintf(command, sizeof command, "chown -R %d '%s'", user, place->fixture->folder.path);
        assert_int_equal(system(command), 0);
        own_mounts();
        put_kvm(place->fixture, KVM_DEVICE, 0666);
    }
    become(user);
    struct forkd_vm_status status;
    place->server = start(place->fixture);
    place->sibling = fork_ready(place->server, NULL, &status);
    place->sibling_pid = status.pid;
    *state = place;
    return 0;
}

static int leave_place(void **state)
{
    struct place *place = *state;
    void *fixture = place->fixture;
    forkd_vm_free(place->sibling);
    forkd_server_free(place->server);
    close(place->listener);
    close(place->service);
    become(0);
    unlink(ESCAPE_SOCKET_PATH);
    remove_snapshot(&fixture);
    free(place);
    return 0;
}

static int make_place(void **state)
{
    return make_place_of(state, 0);
}

static int make_place_of_stranger(void **state)
{
    return make_place_of(state, STRANGER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_comes_out_of_a_child),
        cmocka_unit_test(nothing_comes_out_of_a_booted_vm),
        cmocka_unit_test(nothing_comes_out_of_a_fork_server),
        cmocka_unit_test(nothing_comes_out_of_a_twin),
        cmocka_unit_test(nothing_comes_out_of_a_writer),
        cmocka_unit_test(nothing_else_is_done_by_a_broker),
        cmocka_unit_test(nothing_comes_out_of_a_child_without_a_filter),
        cmocka_unit_test(nothing_that_a_child_does_to_the_broker_harms_its_siblings),
        cmocka_unit_test(what_a_child_says_it_is_makes_nobody_another),
        cmocka_unit_test(what_is_typed_is_not_read_by_a_child),
        cmocka_unit_test(the_documented_calls_are_those_that_are_allowed),
    };
    int failed = cmocka_run_group_tests_name("root", tests, make_place, leave_place);
    return failed + cmocka_run_group_tests_name("another user", tests, make_place_of_stranger, leave_place);
}
