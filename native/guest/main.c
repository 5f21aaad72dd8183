/* SPDX-License-Identifier: Apache-2.0 */
#include "init.h"

#include <stdio.h>
#include <unistd.h>

int main(void)
{
    if (getpid() == 1)
        init_run();
    fputs("forkd-guest is the init of a forkd VM: it runs as process 1 and nowhere else.\n", stderr);
    return 2;
}
