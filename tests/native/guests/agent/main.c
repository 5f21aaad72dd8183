/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest with an agent, for tests and benchmarks on any KVM: it takes an identity, and answers the agent's
 * requests on vsock as the one for Linux does, with commands of its own (commands.c, eval.c). It halts when
 * there is nothing to do, so that a thousand of them can be alive.
 *
 * Where this mode of the processor is emulated, an instruction takes a microsecond: what is long (output,
 * copies) is made of string instructions and of text that was encoded at the start.
 */
#include "../guest.h"
#include "agent.h"
#include "cpu.h"

void run(uint32_t start_info)
{
    /* hvm_start_info: the memory map's address at 40; the fifth of its entries, of 24 bytes, is the RAM from
     * 1 MiB. */
    uint32_t map = *at(start_info + 40);
    memory_end = *at(map + 4 * 24) + *at(map + 4 * 24 + 8);
    agent_start();
    cpu_start(vsock_start());
    out8(READY_PORT, 0);
    vsock_connect(GUEST_PORT_HELLO);
    for (;;)
        agent_step();
}
