/* SPDX-License-Identifier: Apache-2.0 */
/* The vmstate of a machine with two vCPUs: every checksum, the configuration, and both vCPUs. */
#include "micro.h"

extern "C" {
#include "machine/vcpu.h"
}

#include <fstream>
#include <iterator>
#include <vector>

namespace
{
std::vector<char> file()
{
    std::ifstream stream(micro_snapshot.vmstate, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void ours(benchmark::State &state)
{
    std::vector<char> bytes = file();
    for (auto _ : state) {
        vmstate_reader reader;
        forkd_error error;
        int result = vmstate_reader_init(&reader, bytes.data(), bytes.size(), &error);
        for (uint32_t i = 0; i < MICRO_VCPUS && result == 0; i++) {
            vcpu_state vcpu;
            result = vcpu_state_load(&vcpu, i, &reader, &error);
            if (result == 0)
                vcpu_state_free(&vcpu);
        }
        if (result < 0) {
            state.SkipWithError(error.text);
            return;
        }
    }
}

void bare(benchmark::State &state)
{
    std::vector<char> bytes = file();
    for (auto _ : state) {
        benchmark::ClobberMemory();
        benchmark::DoNotOptimize(micro_hash(bytes.data(), bytes.size()));
    }
}

BENCHMARK(bare)->Name("vmstate/floor");
BENCHMARK(ours)->Name("vmstate/ours");
} // namespace
