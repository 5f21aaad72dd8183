/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/process.h"

#include "clock.h"
#include "drain.h"
#include "spawn.h"
#include "streams/listener.h"
#include "streams/session.h"
#include "streams/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* How long others that the program started may still hold its output when it has ended, to write the rest. */
#define EXIT_GRACE_MS 200

/* What a connection to the host holds at most: 256 KiB in the VM, 256 in the monitor, 208 in the host's
 * socket. */
#define ON_THE_WAY ((size_t)768 << 10)

/* Of one call. What a pipe holds in our guests is less. */
#define READ_MAX ((size_t)256 << 10)

/* Room for a program and for us to go on at the same time; the kernel's own size is enough where it fails. */
#define PIPE_SIZE (256 << 10)

/* Of what `processes` tells. */
#define ARGUMENTS_MAX 4096
#define LIST_MAX ((size_t)1 << 20)

/* Numbers of processes that were here; see find. */
#define GONE_MAX 1024

struct process {
    /* Under the lock of the table. */
    struct process *next;
    struct child child;
    pid_t pid;
    bool ended;
    int exit_code;
    uint64_t ended_as; /* the how-manieth that ended */
    bool told;         /* somebody was sent the end */
    bool gone;         /* from the table: nobody needs it any more */
    int attached;      /* connections, `joining` included */
    struct listener *joining;
    int terminal; /* -1: none */
    char tag[ORDER_TAG_MAX + 1];

    /* What it was started with. */
    bool has_terminal;
    bool has_input;
    bool detached;
    int64_t started_ms; /* since 1970 */
    char *arguments;    /* each with its NUL */
    size_t arguments_length;
    char *cwd;
    int wake; /* an eventfd: there is something new under the lock */

    /* Of its thread. */
    struct log log;
    struct source source;
    struct listener *listeners;
    int input; /* -1: closed */
    int output[LOG_OUTPUTS];
    int64_t deadline;
    bool timed_out;
    bool over; /* ended, and its output is taken */
    bool resting;
    int left[LOG_OUTPUTS]; /* resting: what is still to be taken */
    struct pollfd *polled;
    size_t polled_size;
};

static struct {
    pthread_mutex_t lock;
    struct process *first;
    size_t count;
    size_t ended; /* of those */
    uint64_t ends;
    pid_t gone[GONE_MAX];
    size_t gone_next;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void wake(const struct process *process)
{
    (void)!write(process->wake, &(uint64_t){1}, sizeof(uint64_t));
}

/* --- The table; its lock is held --- */

static void take_out(struct process *process)
{
    struct process **at = &table.first;
    while (*at && *at != process)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = process->next;
    table.count--;
    table.ended -= process->ended;
    process->gone = true;
    if (process->pid > 0)
        table.gone[table.gone_next++ % GONE_MAX] = process->pid;
}

/* Of those that nobody listens to, the one that has been over for longest goes. */
static void make_room(void)
{
    while (table.ended > PROCESSES_ENDED_MAX) {
        struct process *oldest = NULL;
        for (struct process *at = table.first; at; at = at->next)
            if (at->ended && at->attached == 0 && (!oldest || at->ended_as < oldest->ended_as))
                oldest = at;
        if (!oldest)
            return;
        take_out(oldest);
        wake(oldest);
    }
}

/* The newest: a number or a tag may have been one's that has ended. */
static struct process *find(const struct order *order)
{
    for (struct process *at = table.first; at; at = at->next)
        if (at->pid > 0 && (order->pid ? at->pid == order->pid : strcmp(at->tag, order->tag) == 0))
            return at;
    return NULL;
}

static int refuse_unknown(const struct order *order, struct forkd_error *err)
{
    bool was_here = false;
    char name[ORDER_TAG_MAX + 16];
    for (size_t i = 0; i < GONE_MAX; i++)
        was_here = was_here || (order->pid && table.gone[i] == order->pid);
    if (order->pid)
        snprintf(name, sizeof name, "process %d", (int)order->pid);
    else
        snprintf(name, sizeof name, "process '%s'", order->tag);
    if (was_here)
        return error_say(err, ESTALE, "find", name, "%s has ended and is forgotten", name);
    return error_say(err, ESRCH, "find", name, "there is no %s that was started here", name);
}

/* A tag is free again when somebody has been told the end of its process. */
static int enter(struct process *process, struct forkd_error *err)
{
    if (table.count >= PROCESSES_MAX)
        return error_say(err, EAGAIN, "start", "process", "%d processes are kept already", PROCESSES_MAX);
    for (struct process *at = table.first; at && *process->tag; at = at->next)
        if (strcmp(at->tag, process->tag) == 0 && !at->told)
            return error_say(err, EEXIST, "start", "process", "there is a process '%s' already",
                             process->tag);
    process->next = table.first;
    table.first = process;
    table.count++;
    return 0;
}

/* --- Start --- */

/* What is told of it; less of the arguments when there are many. */
static int remember(struct process *process, const struct stream *stream)
{
    const struct order *order = &stream->order;
    const char *cwd = order->cwd;
    if (!cwd)
        cwd = stream->image && stream->image->cwd ? stream->image->cwd : "/";
    size_t length = 0;
    size_t count = 0;
    for (; order->argv[count] && length < ARGUMENTS_MAX; count++)
        length += strlen(order->argv[count]) + 1;
    process->arguments = malloc(length < ARGUMENTS_MAX ? length + 1 : ARGUMENTS_MAX);
    process->cwd = strdup(cwd);
    if (!process->arguments || !process->cwd)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        size_t part = strlen(order->argv[i]) + 1;
        size_t room = ARGUMENTS_MAX - process->arguments_length;
        memcpy(process->arguments + process->arguments_length, order->argv[i], part < room ? part : room);
        process->arguments_length += part < room ? part : room;
    }
    process->arguments[process->arguments_length - 1] = '\0';
    return 0;
}

static int make_pipe(int *ours, int *theirs, bool to_program)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ours = ends[to_program];
    *theirs = ends[!to_program];
    fcntl(*ours, F_SETPIPE_SZ, PIPE_SIZE);
    return fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_terminal(struct process *process, const struct order *order, int theirs[3])
{
    int ours;
    int status = terminal_open(order->rows, order->columns, &ours, &theirs[0]);
    if (status < 0)
        return status;
    process->terminal = ours;
    process->input = ours;
    process->output[LOG_OUT] = ours;
    return 0;
}

static int open_pipes(struct process *process, const struct order *order, int theirs[3])
{
    int status = 0;
    if (order->input)
        status = make_pipe(&process->input, &theirs[0], true);
    else if ((theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
        status = -errno;
    if (status == 0)
        status = make_pipe(&process->output[LOG_OUT], &theirs[1], false);
    return status < 0 ? status : make_pipe(&process->output[LOG_ERR], &theirs[2], false);
}

/* spawn's errors are in Python's words; this has what they were made of. */
static int say_spawn_error(struct forkd_error *err)
{
    struct forkd_error given = *err;
    return error_set(err, given.code, given.operation, given.object, NULL);
}

static int start(struct process *process, const struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    int theirs[3] = {-1, -1, -1};
    struct child child = {0};
    int status = order->terminal ? open_terminal(process, order, theirs) : open_pipes(process, order, theirs);
    if (status < 0) {
        error_set(err, status, SPAWN_PROGRAM, order->argv[0], NULL);
    } else {
        struct spawn_options options = {
            .image = stream->image,
            .argv = order->argv,
            .environment = order->environment,
            .cwd = order->cwd,
            .stdio = {theirs[0], order->terminal ? theirs[0] : theirs[1],
                      order->terminal ? theirs[0] : theirs[2]},
            .keep = {-1, -1},
            .terminal = order->terminal,
        };
        status = spawn(&options, &child, err);
        if (status < 0)
            say_spawn_error(err);
    }
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (status < 0)
        return status;
    pthread_mutex_lock(&table.lock);
    process->child = child;
    process->pid = child.pid;
    pthread_mutex_unlock(&table.lock);
    return 0;
}

/* Who held the other end of a pipe goes on with one that is read. */
static void release(struct process *process)
{
    if (process->terminal >= 0) {
        pthread_mutex_lock(&table.lock);
        close_fd(&process->terminal);
        pthread_mutex_unlock(&table.lock);
        process->input = -1;
        process->output[LOG_OUT] = -1;
    }
    close_fd(&process->input);
    for (int i = 0; i < LOG_OUTPUTS; i++) {
        if (process->output[i] >= 0)
            drain_adopt(process->output[i]);
        process->output[i] = -1;
    }
}

static void process_free(struct process *process)
{
    release(process);
    log_free(&process->log);
    close_fd(&process->wake);
    free(process->arguments);
    free(process->cwd);
    free(process->polled);
    free(process);
}

static struct process *process_new(const struct order *order)
{
    struct process *process = calloc(1, sizeof *process);
    struct timespec now;
    if (!process)
        return NULL;
    clock_gettime(CLOCK_REALTIME, &now);
    process->terminal = -1;
    process->input = -1;
    process->output[LOG_OUT] = -1;
    process->output[LOG_ERR] = -1;
    process->has_terminal = order->terminal;
    process->has_input = order->input || order->terminal;
    process->detached = order->detach;
    process->started_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    process->deadline = CLOCK_NEVER;
    process->source = (struct source){.log = &process->log, .terminal = order->terminal};
    process->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (order->tag)
        snprintf(process->tag, sizeof process->tag, "%s", order->tag);
    if (log_init(&process->log) == 0 && process->wake >= 0)
        return process;
    process_free(process);
    return NULL;
}

static int run(struct process *process, struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    struct listener *listener = listener_new(stream->fd, stream->rest, stream->rest_length);
    if (!listener || remember(process, stream) < 0) {
        free(listener);
        return error_set(err, ENOMEM, SPAWN_PROGRAM, order->argv[0], NULL);
    }
    pthread_mutex_lock(&table.lock);
    int status = enter(process, err);
    pthread_mutex_unlock(&table.lock);
    if (status == 0) {
        status = start(process, stream, err);
        if (status < 0) {
            pthread_mutex_lock(&table.lock);
            take_out(process);
            pthread_mutex_unlock(&table.lock);
        }
    }
    if (status < 0) {
        inbox_free(&listener->inbox);
        free(listener);
        return status;
    }
    char answer[32];
    snprintf(answer, sizeof answer, "{\"pid\":%d}\n", (int)process->pid);
    listener_say(listener, answer);
    process->listeners = listener;
    process->attached = 1;
    stream->fd = -1;
    if (order->timeout_ms != ORDER_NONE)
        process->deadline = clock_deadline((double)order->timeout_ms / 1000);
    return 0;
}

int process_run(struct stream *stream, struct process **out, struct forkd_error *err)
{
    struct process *process = process_new(&stream->order);
    if (!process)
        return error_set(err, ENOMEM, SPAWN_PROGRAM, stream->order.argv[0], NULL);
    int status = run(process, stream, err);
    if (status < 0)
        process_free(process);
    else
        *out = process;
    return status;
}

/* --- Its thread --- */

/* Until the program takes no more, which it may do by closing. */
static void feed(struct process *process, struct listener *listener)
{
    while (listener->unsent_length > 0 && process->input >= 0) {
        ssize_t sent = write(process->input, listener->unsent, listener->unsent_length);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0 && errno != EINTR && process->terminal < 0)
            close_fd(&process->input);
        else if (sent < 0 && errno != EINTR)
            break;
        if (sent > 0) {
            listener->unsent += sent;
            listener->unsent_length -= (size_t)sent;
        }
    }
    listener->unsent_length = 0;
}

static void end_input(struct process *process, struct listener *listener)
{
    listener->over = true;
    if (process->terminal < 0) {
        close_fd(&process->input);
        return;
    }
    listener->end_of_file = terminal_end_of_file(process->terminal);
    listener->unsent = &listener->end_of_file;
    listener->unsent_length = 1;
    feed(process, listener);
}

/* What has come, and then what comes in one call. */
static void receive(struct process *process, struct listener *listener)
{
    bool filled = false;
    while (listener->unsent_length == 0) {
        int got = inbox_take(&listener->inbox, &listener->unsent, &listener->unsent_length);
        if (got == INBOX_PIECE) {
            feed(process, listener);
        } else if (got == INBOX_OVER) {
            end_input(process, listener);
        } else if (got == INBOX_EMPTY && !filled) {
            filled = true;
            got = inbox_fill(&listener->inbox, MSG_DONTWAIT);
            if (got == -EAGAIN)
                return;
            if (got <= 0)
                listener->state = LISTENER_BROKEN;
        } else {
            if (got < 0)
                listener->state = LISTENER_BROKEN;
            return;
        }
        if (listener->state != LISTENER_LIVE)
            return;
    }
}

/* The program takes more, and what has come meanwhile is not announced by poll(2). */
static void feed_on(struct process *process, struct listener *listener)
{
    if (listener->unsent_length == 0)
        return;
    feed(process, listener);
    if (listener->unsent_length == 0)
        receive(process, listener);
}

/* Nor is what came with the opening line. */
static void receive_rest(struct process *process, struct listener *listener)
{
    if (listener->inbox.used > 0)
        receive(process, listener);
}

/*
 * Who listens is not overtaken, nor, should it go, what it was sent and has not read: another may ask for
 * that. Without anybody, what is kept is only lost where that is asked for.
 */
static size_t room(const struct process *process)
{
    const struct log_cursor *keep = NULL;
    for (const struct listener *at = process->listeners; at; at = at->next)
        if (at->output && (!keep || at->at.byte < keep->byte))
            keep = &at->at;
    if (keep) {
        size_t most = log_room(&process->log, keep);
        return most > ON_THE_WAY ? most - ON_THE_WAY : 0;
    }
    return log_room(&process->log, process->detached ? NULL : &process->log.oldest);
}

static void read_output(struct process *process, int output)
{
    struct iovec parts[2];
    size_t most = room(process);
    if (most > READ_MAX)
        most = READ_MAX;
    if (process->resting && most > (size_t)process->left[output])
        most = (size_t)process->left[output];
    if (most == 0)
        return;
    ssize_t got = readv(process->output[output], parts, log_space(&process->log, most, parts));
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0) {
        log_add(&process->log, output, (size_t)got);
        process->left[output] -= process->resting ? (int)got : 0;
        return;
    }
    /* EIO is what a terminal says that no program has open any more. */
    if (process->terminal < 0)
        close(process->output[output]);
    process->output[output] = -1;
    process->source.closed[output] = true;
}

static void notice_end(struct process *process)
{
    pthread_mutex_lock(&table.lock);
    process->exit_code = child_reap(&process->child);
    process->ended = true;
    process->ended_as = table.ends++;
    table.ended++;
    make_room();
    pthread_mutex_unlock(&table.lock);
    process->deadline = clock_now_ms() + EXIT_GRACE_MS;
}

/* What is in the pipes when the rest has had its time; what comes later is nobody's. */
static void begin_rest(struct process *process)
{
    process->resting = true;
    process->deadline = CLOCK_NEVER;
    for (int i = 0; i < LOG_OUTPUTS; i++)
        if (process->output[i] < 0 || ioctl(process->output[i], FIONREAD, &process->left[i]) < 0)
            process->left[i] = 0;
}

static void check_time(struct process *process)
{
    bool late = clock_now_ms() >= process->deadline;
    if (!process->ended && late) {
        process->timed_out = true;
        process->deadline = CLOCK_NEVER;
        session_signal(process->pid, SIGKILL);
        return;
    }
    if (!process->ended || process->over)
        return;
    if (late && !process->resting)
        begin_rest(process);
    bool open = false;
    for (int i = 0; i < LOG_OUTPUTS; i++)
        open = open || (process->output[i] >= 0 && (!process->resting || process->left[i] > 0));
    if (open)
        return;
    process->over = true;
    process->deadline = CLOCK_NEVER;
    release(process);
    process->source.closed[LOG_OUT] = true;
    process->source.closed[LOG_ERR] = true;
    snprintf(process->source.end, sizeof process->source.end, "{\"exit_code\":%d%s}", process->exit_code,
             process->timed_out ? ",\"timed_out\":true" : "");
}

static void answer_attached(struct process *process, struct listener *listener)
{
    char answer[320];
    char tag[ORDER_TAG_MAX + 16] = "";
    const struct log *log = &process->log;
    for (int i = 0; i < LOG_OUTPUTS; i++)
        if (listener->from[i] < log->oldest.offset[i])
            listener->from[i] = log->oldest.offset[i];
    listener->at = log->oldest;
    if (*process->tag)
        snprintf(tag, sizeof tag, "\"tag\":\"%s\",", process->tag);
    snprintf(answer, sizeof answer, "{\"pid\":%d,%s\"from\":[%llu,%llu],\"pty\":%s,\"stdin\":%s}\n",
             (int)process->pid, tag, (unsigned long long)listener->from[LOG_OUT],
             (unsigned long long)listener->from[LOG_ERR], process->has_terminal ? "true" : "false",
             process->has_input ? "true" : "false");
    listener_say(listener, answer);
}

static void dismiss(struct process *process, struct listener *listener)
{
    pthread_mutex_lock(&table.lock);
    process->attached--;
    if (listener->state == LISTENER_HAD && listener->output)
        take_out(process);
    make_room();
    pthread_mutex_unlock(&table.lock);
    listener_free(listener);
}

/* It may have what was written elsewhere, to the process that this is a copy of. */
static bool is_ahead(const struct process *process, const struct listener *listener)
{
    static const char *const names[LOG_OUTPUTS] = {"stdout", "stderr"};
    char answer[160];
    for (int i = 0; i < LOG_OUTPUTS && listener->output; i++) {
        uint64_t written = process->log.end.offset[i];
        if (listener->from[i] <= written)
            continue;
        int length = snprintf(
            answer, sizeof answer,
            "{\"error\":\"%s has %llu bytes until now, which is before %llu\",\"code\":\"EINVAL\"}\n",
            names[i], (unsigned long long)written, (unsigned long long)listener->from[i]);
        send(listener->fd, answer, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
        return true;
    }
    return false;
}

static void take_joining(struct process *process)
{
    uint64_t waste;
    (void)!read(process->wake, &waste, sizeof waste);
    pthread_mutex_lock(&table.lock);
    struct listener *joining = process->joining;
    process->joining = NULL;
    pthread_mutex_unlock(&table.lock);
    while (joining) {
        struct listener *next = joining->next;
        if (is_ahead(process, joining)) {
            dismiss(process, joining);
        } else {
            answer_attached(process, joining);
            joining->next = process->listeners;
            process->listeners = joining;
            receive_rest(process, joining);
        }
        joining = next;
    }
}

/*
 * Before it is sent: who has the end may use the tag again at once, and `processes` need not tell of it. When
 * it does not arrive all is as before, but for a tag that is another's by then.
 */
static void note_told(struct process *process)
{
    bool told = false;
    for (const struct listener *at = process->listeners; at && process->over; at = at->next)
        told = told || (at->output && at->state != LISTENER_BROKEN);
    if (process->told == told)
        return;
    pthread_mutex_lock(&table.lock);
    process->told = told;
    for (const struct process *at = table.first; at && !told; at = at->next)
        if (at != process && strcmp(at->tag, process->tag) == 0)
            *process->tag = '\0';
    pthread_mutex_unlock(&table.lock);
}

/* Sends what there is to send; who is done with goes. */
static void serve_listeners(struct process *process)
{
    struct listener **at = &process->listeners;
    note_told(process);
    while (*at) {
        struct listener *listener = *at;
        listener_push(listener, &process->source);
        /* One that does not close has had it all the same. */
        if (listener->state == LISTENER_TOLD && clock_now_ms() >= listener->deadline)
            listener->state = LISTENER_HAD;
        if (listener->state == LISTENER_HAD || listener->state == LISTENER_BROKEN) {
            *at = listener->next;
            dismiss(process, listener);
        } else {
            at = &listener->next;
        }
    }
    note_told(process);
}

/* Nobody can find it any more, and nobody is attached. */
static bool is_done(struct process *process)
{
    pthread_mutex_lock(&table.lock);
    bool done = process->gone && process->attached == 0;
    pthread_mutex_unlock(&table.lock);
    return done;
}

enum { SLOT_WAKE, SLOT_CHILD, SLOT_INPUT, SLOT_OUT, SLOT_ERR, SLOT_LISTENERS };

static short listener_events(const struct listener *listener)
{
    if (listener->state == LISTENER_TOLD)
        return POLLIN;
    int events = POLLRDHUP;
    if (listener->unsent_length == 0)
        events |= POLLIN;
    if (listener->blocked)
        events |= POLLOUT;
    return (short)events;
}

static void set_polled(struct process *process, size_t at, int fd, int events)
{
    process->polled[at] = (struct pollfd){.fd = fd, .events = (short)events};
}

/* How many; 0: no memory. */
static size_t fill_polled(struct process *process)
{
    size_t count = SLOT_LISTENERS;
    bool hungry = true;
    for (const struct listener *at = process->listeners; at; at = at->next, count++)
        hungry = hungry && at->unsent_length == 0;
    if (count > process->polled_size) {
        struct pollfd *grown = realloc(process->polled, count * 2 * sizeof *grown);
        if (!grown)
            return 0;
        process->polled = grown;
        process->polled_size = count * 2;
    }
    bool open = room(process) > 0;
    set_polled(process, SLOT_WAKE, process->wake, POLLIN);
    set_polled(process, SLOT_CHILD, process->child.pidfd, POLLIN);
    set_polled(process, SLOT_INPUT, hungry ? -1 : process->input, POLLOUT);
    set_polled(process, SLOT_OUT, open ? process->output[LOG_OUT] : -1, POLLIN);
    set_polled(process, SLOT_ERR, open ? process->output[LOG_ERR] : -1, POLLIN);
    count = SLOT_LISTENERS;
    for (const struct listener *at = process->listeners; at; at = at->next)
        set_polled(process, count++, at->fd, listener_events(at));
    return count;
}

static int64_t next_deadline(const struct process *process)
{
    int64_t next = process->deadline;
    for (const struct listener *at = process->listeners; at; at = at->next)
        if (at->deadline < next)
            next = at->deadline;
    return next;
}

static void hear(struct process *process, struct listener *listener, short events)
{
    if (!events)
        return;
    if (listener->state == LISTENER_TOLD)
        listener_hear_close(listener);
    else if (listener->unsent_length == 0 && events & (POLLIN | POLLHUP | POLLERR | POLLRDHUP))
        receive(process, listener);
    else if (events & (POLLHUP | POLLERR | POLLRDHUP))
        listener->state = LISTENER_BROKEN; /* in the middle of its input */
}

static void step(struct process *process)
{
    size_t count = fill_polled(process);
    if (count == 0) {
        clock_sleep_ms(50);
        return;
    }
    struct pollfd *polled = process->polled;
    if (poll(polled, count, clock_poll_timeout(next_deadline(process))) < 0)
        return;
    if (polled[SLOT_INPUT].revents)
        for (struct listener *at = process->listeners; at; at = at->next)
            feed_on(process, at);
    for (int i = 0; i < LOG_OUTPUTS; i++)
        if (polled[SLOT_OUT + i].revents && process->output[i] >= 0)
            read_output(process, i);
    size_t at = SLOT_LISTENERS;
    for (struct listener *listener = process->listeners; listener; listener = listener->next)
        hear(process, listener, polled[at++].revents);
    /* After the listeners that were polled: those who join have no place among them. */
    if (polled[SLOT_WAKE].revents)
        take_joining(process);
    if (polled[SLOT_CHILD].revents)
        notice_end(process);
}

void process_serve(struct process *process)
{
    receive_rest(process, process->listeners);
    for (;;) {
        check_time(process);
        serve_listeners(process);
        if (is_done(process))
            break;
        step(process);
    }
    process_free(process);
}

/* --- Operations on those that are there --- */

int process_attach(struct stream *stream, struct forkd_error *err)
{
    const struct order *order = &stream->order;
    struct listener *listener = listener_new(stream->fd, stream->rest, stream->rest_length);
    if (!listener)
        return error_set(err, ENOMEM, "attach to", "process", NULL);
    listener->output = order->output;
    for (int i = 0; i < LOG_OUTPUTS; i++)
        listener->from[i] = order->from[i];
    pthread_mutex_lock(&table.lock);
    struct process *process = find(order);
    int status = process ? 0 : refuse_unknown(order, err);
    if (process) {
        listener->next = process->joining;
        process->joining = listener;
        process->attached++;
        stream->fd = -1;
        wake(process);
    }
    pthread_mutex_unlock(&table.lock);
    if (status < 0) {
        inbox_free(&listener->inbox);
        free(listener);
    }
    return status;
}

static void list_arguments(const struct process *process, size_t most, struct writer *writer)
{
    size_t end = process->arguments_length < most ? process->arguments_length : most;
    for (size_t at = 0; at < end;) {
        size_t length = strnlen(process->arguments + at, end - at);
        writer_text(writer, at > 0 ? "," : "");
        writer_string(writer, process->arguments + at, length);
        at += length + 1;
    }
}

/* As it was while the lock was held; attached to, so that it stays. */
struct listed {
    struct process *process;
    bool ended;
    int exit_code;
    char tag[ORDER_TAG_MAX + 1];
};

static void list_one(const struct listed *listed, size_t most, struct writer *writer)
{
    const struct process *process = listed->process;
    writer_format(writer, "{\"pid\":%d,", (int)process->pid);
    if (*listed->tag)
        writer_format(writer, "\"tag\":\"%s\",", listed->tag);
    writer_text(writer, "\"argv\":[");
    list_arguments(process, most, writer);
    writer_text(writer, "],\"cwd\":");
    writer_string(writer, process->cwd, strnlen(process->cwd, most));
    writer_format(writer, ",\"pty\":%s,\"started_ms\":%lld", process->has_terminal ? "true" : "false",
                  (long long)process->started_ms);
    if (listed->ended)
        writer_format(writer, ",\"exit_code\":%d", listed->exit_code);
    writer_text(writer, "}");
}

static size_t hold_all(struct listed *listed)
{
    size_t count = 0;
    pthread_mutex_lock(&table.lock);
    for (struct process *at = table.first; at; at = at->next) {
        if (at->pid == 0 || at->told)
            continue;
        at->attached++;
        listed[count] = (struct listed){.process = at, .ended = at->ended, .exit_code = at->exit_code};
        memcpy(listed[count++].tag, at->tag, sizeof at->tag);
    }
    pthread_mutex_unlock(&table.lock);
    return count;
}

static void let_go(const struct listed *listed, size_t count)
{
    pthread_mutex_lock(&table.lock);
    for (size_t i = 0; i < count; i++) {
        listed[i].process->attached--;
        if (listed[i].process->gone)
            wake(listed[i].process);
    }
    make_room();
    pthread_mutex_unlock(&table.lock);
}

int process_list(struct writer *writer, struct forkd_error *err)
{
    struct listed *listed = malloc(PROCESSES_MAX * sizeof *listed);
    if (!listed)
        return error_set(err, ENOMEM, "list", "processes", NULL);
    size_t count = hold_all(listed);
    /* Of argv and cwd each: JSON makes six characters of one at most, and 400 are enough for the rest. */
    size_t most = count > 0 ? (LIST_MAX / count - 400) / 12 : 0;
    if (most > ARGUMENTS_MAX)
        most = ARGUMENTS_MAX;
    writer_text(writer, "{\"processes\":[");
    for (size_t i = 0; i < count; i++) {
        writer_text(writer, i > 0 ? "," : "");
        list_one(&listed[i], most, writer);
    }
    writer_text(writer, "]}\n");
    writer_flush(writer);
    let_go(listed, count);
    free(listed);
    return 0;
}

/* The process that is meant, which runs. The lock is held, so that its number stays its own. */
static int find_running(const struct order *order, struct process **out, struct forkd_error *err)
{
    *out = find(order);
    if (!*out)
        return refuse_unknown(order, err);
    if ((*out)->ended)
        return error_say(err, ESTALE, "find", "process", "process %d has ended", (int)(*out)->pid);
    return 0;
}

int process_signal(const struct order *order, struct forkd_error *err)
{
    struct process *process;
    pthread_mutex_lock(&table.lock);
    int status = find_running(order, &process, err);
    if (status == 0 && order->group)
        session_signal(process->pid, order->signal);
    else if (status == 0 && kill(process->pid, order->signal) < 0)
        status = error_set(err, errno, "signal", "process", NULL);
    pthread_mutex_unlock(&table.lock);
    return status;
}

int process_resize(const struct order *order, struct forkd_error *err)
{
    struct process *process;
    pthread_mutex_lock(&table.lock);
    int status = find_running(order, &process, err);
    if (status == 0 && process->terminal < 0)
        status = error_say(err, ENOTTY, "resize", "process", "process %d has no terminal", (int)process->pid);
    else if (status == 0)
        status = terminal_resize(process->terminal, order->rows, order->columns);
    if (status < 0 && status != err->code)
        error_set(err, status, "resize", "terminal", NULL);
    pthread_mutex_unlock(&table.lock);
    return status;
}
