/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One detached child of a fork server that somebody else started, for each line of input: the floor of a
 * service that makes sandboxes. Prints how many milliseconds it took until the child was ready, or had
 * answered its agent's QUESTION; then the child ends.
 *
 *   spawn CONTROL DIRECTORY [QUESTION]
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4)
        errx(2, "usage: spawn CONTROL DIRECTORY [QUESTION]");
    const char *question = argv[3]; /* NULL without one */
    struct forkd_error error;
    struct forkd_server *server = NULL;
    if (forkd_server_attach(&server, argv[1], &error) < 0)
        errx(1, "%s", error.text);
    char vsock[100];
    char control[100];
    snprintf(vsock, sizeof vsock, "%s/agent.vsock", argv[2]);
    snprintf(control, sizeof control, "%s/control.sock", argv[2]);
    struct forkd_child_options options = {.hostname = "floor", .vsock_path = vsock, .control_path = control};
    for (int c = getchar(); c != EOF; c = getchar()) {
        if (c != '\n')
            continue;
        struct forkd_vm *child = NULL;
        struct forkd_vm_status status;
        double start = measure_now_ms();
        if (forkd_server_fork(server, &options, &child, &error) < 0 ||
            forkd_vm_wait(child, 60000, &status, &error) < 0)
            errx(1, "%s", error.text);
        if (status.phase != FORKD_VM_READY)
            errx(1, "the child ended: %s", status.error.text);
        if (question)
            measure_ask(child, question, NULL);
        double took = measure_now_ms() - start;
        forkd_vm_kill(child);
        forkd_vm_free(child);
        (void)unlink(vsock);
        (void)unlink(control);
        printf("%.3f\n", took);
        fflush(stdout);
    }
    forkd_server_free(server);
    return 0;
}
