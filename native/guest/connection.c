/* SPDX-License-Identifier: Apache-2.0 */
#include "connection.h"

#include "exec.h"
#include "line.h"
#include "peer.h"
#include "reply.h"
#include "volumes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_node(const struct agent *agent)
{
    return strcmp(agent->options.language, "node") == 0;
}

static void reply_ping(struct agent *agent, struct writer *writer)
{
    char version[64];
    warm_numpy_version(&agent->warm, version, sizeof version);
    const char *language = agent->options.language;
    writer_text(writer, "{\"pong\":true,\"numpy_version\":");
    writer_string(writer, version, strlen(version));
    writer_format(writer, ",\"pid\":%d,\"agent_lang\":", (int)getpid());
    writer_string(writer, language, strlen(language));
    writer_format(writer, ",\"warmup_ready\":%s}\n", agent->bridge.ready ? "true" : "false");
}

static void unmount_volumes(struct writer *writer)
{
    struct volumes_busy busy;
    volumes_unmount(&busy);
    writer_text(writer, "{\"busy\":[");
    for (size_t i = 0; i < busy.count; i++) {
        writer_text(writer, i ? "," : "");
        writer_string(writer, busy.targets[i], strlen(busy.targets[i]));
    }
    writer_text(writer, "]}\n");
}

static void mount_volumes(struct writer *writer)
{
    struct forkd_error err;
    if (volumes_mount(&err) < 0)
        reply_error(writer, err.text, REPLY_NO_CODE);
    else
        writer_text(writer, "{\"mounted\":true}\n");
}

static void answer(struct agent *agent, const struct request *request, struct writer *writer)
{
    peer_watch(writer->fd);
    switch (request->action) {
    case REQUEST_PING:
        reply_ping(agent, writer);
        break;
    case REQUEST_EXEC:
        exec_serve(request, agent->options.image, writer);
        break;
    case REQUEST_EVAL:
        if (is_node(agent))
            bridge_eval(&agent->bridge, request, writer);
        else
            warm_eval(&agent->warm, request, writer);
        break;
    case REQUEST_UNMOUNT:
        unmount_volumes(writer);
        break;
    case REQUEST_MOUNT:
        mount_volumes(writer);
        break;
    case REQUEST_SHUTDOWN:
        writer_text(writer, "{\"exit_code\":0}\n");
        break;
    }
}

/* Whether an action was served; if so, *action tells which. */
static bool handle(struct agent *agent, struct line *line, struct writer *writer, enum request_action *action)
{
    struct forkd_error err;
    struct request request;
    bool served = false;
    int got = line_read(line);
    if (got == -EMSGSIZE) {
        reply_error(writer, "ValueError: the request is longer than 64 MiB", REPLY_NO_CODE);
    } else if (got == -ENOMEM) {
        reply_error(writer, "MemoryError: the request does not fit into memory", REPLY_NO_CODE);
    } else if (got > 0 && request_parse(line->data, line->length, &request, &err) < 0) {
        reply_error(writer, err.text, REPLY_NO_CODE);
    } else if (got > 0) {
        if (request.input_follows)
            request.input = (const unsigned char *)line_rest(line, &request.input_length);
        answer(agent, &request, writer);
        request_free(&request);
        *action = request.action;
        served = true;
    }
    writer_flush(writer);
    return served;
}

void connection_serve(struct agent *agent, int fd)
{
    struct line line;
    line_init(&line, fd, LINE_MAX_LENGTH);
    struct writer *writer = malloc(sizeof *writer);
    enum request_action action;
    bool served = false;
    if (writer) {
        writer_init(writer, fd);
        served = handle(agent, &line, writer, &action);
    }
    free(writer);
    line_free(&line);
    peer_finish(fd);
    if (served && action == REQUEST_EVAL && !is_node(agent))
        warm_revive(&agent->warm);
    if (served && action == REQUEST_SHUTDOWN && agent->options.shutdown)
        agent->options.shutdown();
}
