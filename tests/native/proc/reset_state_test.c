/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child that was reset has what a fresh child has: both are written down where they stand still, and every
 * byte of memory and every field of the state is compared but those of time and of identity.
 */
#include "api/snapshot.h"

#include "base/io.h"
#include "machine/machine.h"
#include "machine/vcpu.h"

#include <sys/mman.h>

#define VMGENID 0xf0000u
#define MSR_TSC 0x10u
#define LAPIC_CURRENT_COUNT 0x390

struct written {
    uint8_t *memory;
    uint8_t *bytes;
    struct vmstate_reader reader;
    struct machine_config config;
};

static int set_up(void **state)
{
    return make_snapshot_of(state, GUEST("answer"));
}

static void *map_file(const char *path, size_t *length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t size = 0;
    assert_true(fd >= 0 && io_size(fd, &size) == 0);
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    close(fd);
    *length = size;
    return bytes;
}

/* Its first vCPU, whose thread is the process's first, halts. */
static void wait_until_idle(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int seen = 0;
    for (int i = 0; i < 5000 && seen < 10; i++) {
        char name = 0;
        FILE *file = fopen(path, "re");
        assert_non_null(file);
        assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &name), 1);
        fclose(file);
        seen = name == 'S' ? seen + 1 : 0;
        usleep(2000);
    }
    assert_int_equal(seen, 10);
}

static struct written write_down(const struct fixture *fixture, struct forkd_vm *child, const char *name)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    struct written written;
    char folder[128];
    char path[256];
    size_t length = 0;
    OK(forkd_vm_wait(child, 20000, &status, &error));
    assert_int_equal(status.phase, FORKD_VM_READY);
    wait_until_idle(status.pid);
    folder_file(&fixture->folder, name, folder, sizeof folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    OK(forkd_vm_snapshot(child, folder, &error));
    forkd_vm_free(child);
    snprintf(path, sizeof path, "%s/disk-0.layer", folder);
    assert_int_equal(access(path, F_OK), -1); /* nothing was written to it, or what was is gone */
    snprintf(path, sizeof path, "%s/memory.bin", folder);
    written.memory = map_file(path, &length);
    assert_int_equal(length, MEMORY);
    snprintf(path, sizeof path, "%s/vmstate", folder);
    written.bytes = map_file(path, &length);
    OK(vmstate_reader_init(&written.reader, written.bytes, length, &error));
    OK(machine_load_config(&written.config, &written.reader, &error));
    return written;
}

static void assert_same_memory(struct written *fresh, struct written *reset)
{
    for (size_t i = 0; i < MEMORY; i += GUEST_PAGE_SIZE) {
        if (i == VMGENID) {
            assert_memory_not_equal(fresh->memory + i, reset->memory + i, 16);
            assert_memory_equal(fresh->memory + i + 16, reset->memory + i + 16, GUEST_PAGE_SIZE - 16);
        } else if (memcmp(fresh->memory + i, reset->memory + i, GUEST_PAGE_SIZE) != 0) {
            fail_msg("the page at 0x%zx is another", i);
        }
    }
}

static struct vcpu_state load_vcpu(const struct written *written, uint32_t index)
{
    struct forkd_error error = {0};
    struct vcpu_state state;
    OK(vcpu_state_load(&state, index, &written->reader, &error));
    state.tsc = 0;
    memset(state.lapic.regs + LAPIC_CURRENT_COUNT, 0, 4);
    for (uint32_t i = 0; i < state.msrs->nmsrs; i++) {
        if (state.msrs->entries[i].index == MSR_TSC)
            state.msrs->entries[i].data = 0;
    }
    return state;
}

#define ASSERT_SAME(field)                                                                                   \
    do {                                                                                                     \
        if (memcmp(&fresh.field, &reset.field, sizeof fresh.field) != 0)                                     \
            fail_msg("vCPU %u has another %s", index, #field);                                               \
    } while (0)

static void assert_same_vcpu(const struct written *one, const struct written *other, uint32_t index)
{
    struct vcpu_state fresh = load_vcpu(one, index);
    struct vcpu_state reset = load_vcpu(other, index);
    ASSERT_SAME(regs);
    ASSERT_SAME(sregs);
    ASSERT_SAME(xcrs);
    ASSERT_SAME(debugregs);
    ASSERT_SAME(lapic);
    ASSERT_SAME(mp_state);
    ASSERT_SAME(events);
    ASSERT_SAME(tsc_khz);
    ASSERT_SAME(msrs->nmsrs);
    for (uint32_t i = 0; i < fresh.msrs->nmsrs; i++) {
        if (fresh.msrs->entries[i].data != reset.msrs->entries[i].data)
            fail_msg("vCPU %u has another MSR 0x%x", index, fresh.msrs->entries[i].index);
    }
    assert_memory_equal(fresh.xsave, reset.xsave, fresh.xsave_size);
    vcpu_state_free(&fresh);
    vcpu_state_free(&reset);
}

/* All but those of vCPUs and the clock: bytes. */
static void assert_same_sections(const struct written *fresh, const struct written *reset)
{
    size_t cursor = 0;
    uint32_t compared = 0;
    struct vmstate_section section;
    while (vmstate_next(&fresh->reader, &cursor, &section)) {
        struct forkd_error error = {0};
        struct vmstate_section other;
        OK(vmstate_open(&reset->reader, section.name, section.instance, section.version, &other, &error));
        if (strcmp(section.name, "clock") == 0 || strcmp(section.name, VCPU_SECTION) == 0)
            continue;
        if (section.length != other.length || memcmp(section.data, other.data, section.length) != 0)
            fail_msg("section %s %u is another", section.name, section.instance);
        compared++;
    }
    assert_true(compared >= 6); /* host, machine, interrupt controllers, serial, disk, vsock, rng */
}

static void assert_same(struct written *fresh, struct written *reset)
{
    assert_same_memory(fresh, reset);
    assert_same_sections(fresh, reset);
    for (uint32_t i = 0; i < fresh->config.vcpu_count; i++)
        assert_same_vcpu(fresh, reset, i);
    assert_int_equal(fresh->config.generation, reset->config.generation);
}

static void reset_once(struct forkd_vm *child)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    const struct forkd_reset_options options = {0};
    OK(forkd_vm_reset(child, &options, &error));
    OK(forkd_vm_wait(child, 20000, &status, &error));
    if (status.phase != FORKD_VM_READY)
        fail_msg("it ended: %s", status.error.text);
}

static void reset_child_is_as_a_fresh_one(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_vm_status status;
    struct forkd_server *server = start(fixture);
    struct written fresh = write_down(fixture, fork_ready(server, NULL, &status), "fresh");
    struct written again = write_down(fixture, fork_ready(server, NULL, &status), "again");
    assert_same(&fresh, &again); /* so that what differs is because of the reset */
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    reset_once(child);
    for (int i = 0; i < 20; i++) {
        ask_child_for(child, "m");
        reset_once(child);
    }
    struct written reset = write_down(fixture, child, "reset");
    assert_same(&fresh, &reset);
    forkd_server_free(server);
}

/* What the mess is, so that the test above says something: without a reset it is seen. */
static void mess_shows(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_vm_status status;
    struct forkd_server *server = start(fixture);
    struct written fresh = write_down(fixture, fork_ready(server, NULL, &status), "clean");
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    ask_child_for(child, "m");
    struct written messy = write_down(fixture, child, "messy");
    static const char *const changed[] = {"irqchip", "serial", "block", "vsock"};
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        struct forkd_error error = {0};
        struct vmstate_section one;
        struct vmstate_section other;
        uint32_t instance = strcmp(changed[i], "vsock") == 0;
        OK(vmstate_open(&fresh.reader, changed[i], instance, 9, &one, &error));
        OK(vmstate_open(&messy.reader, changed[i], instance, 9, &other, &error));
        if (one.length == other.length && memcmp(one.data, other.data, one.length) == 0)
            fail_msg("section %s is the same", changed[i]);
    }
    struct vcpu_state one = load_vcpu(&fresh, 0);
    struct vcpu_state other = load_vcpu(&messy, 0);
    assert_memory_not_equal(&one.debugregs, &other.debugregs, sizeof one.debugregs);
    assert_memory_not_equal(&one.lapic, &other.lapic, sizeof one.lapic);
    assert_memory_not_equal(&one.sregs, &other.sregs, sizeof one.sregs);
    vcpu_state_free(&one);
    vcpu_state_free(&other);
    forkd_server_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_child_is_as_a_fresh_one),
        cmocka_unit_test(mess_shows),
    };
    return cmocka_run_group_tests(tests, set_up, remove_snapshot);
}
