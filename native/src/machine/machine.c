/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/machine.h"

#include "machine/acpi.h"
#include "machine/cpuid.h"
#include "machine/kernel.h"
#include "machine/limits.h"
#include "machine/tsc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include <x86intrin.h>

#define CONFIG_SECTION "machine"
#define CONFIG_VERSION 2
#define IRQCHIP_SECTION "irqchip"
#define IRQCHIP_VERSION 1
#define CLOCK_SECTION "clock"
#define CLOCK_VERSION 1

static const uint32_t irqchip_ids[3] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC};

/* --- what devices see -------------------------------------------------------------------------------------
 */

static void set_line(struct machine *machine, uint32_t gsi, bool level)
{
    struct kvm_irq_level request = {.irq = gsi, .level = level ? 1 : 0};
    ioctl(machine->vm_fd, KVM_IRQ_LINE, &request);
}

static void bus_set_irq(struct virtio_machine *bus, uint32_t gsi, bool level)
{
    struct machine *machine = container_of(bus, struct machine, bus);
    uint8_t *users = &machine->line_users[gsi];
    if (level ? (*users)++ == 0 : --*users == 0)
        set_line(machine, gsi, level);
}

static void bus_wake(struct virtio_machine *bus)
{
    struct machine *machine = container_of(bus, struct machine, bus);
    if (machine->wake_pending)
        return;
    machine->wake_pending = true;
    uint64_t one = 1;
    ssize_t ignored = write(machine->wake_watch.fd, &one, sizeof one);
    (void)ignored; /* an eventfd takes a 1 at any time */
}

static void bus_fail(struct virtio_machine *bus, const struct forkd_error *error)
{
    machine_finish(container_of(bus, struct machine, bus), FORKD_END_ERROR, error);
}

static void on_wake(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct machine *machine = container_of(watch, struct machine, wake_watch);
    uint64_t count;
    ssize_t ignored = read(watch->fd, &count, sizeof count);
    (void)ignored;
    machine->wake_pending = false;
    for (uint32_t i = 0; i < machine->device_count; i++)
        virtio_process(machine->devices[i]);
}

/* Any interrupt thaws a guest: frozen, it was waiting for one. Also if it has turned that off meanwhile. */
static void bus_news(struct virtio_machine *bus)
{
    struct machine *machine = container_of(bus, struct machine, bus);
    machine->news++;
    machine_thaw(machine);
}

/* --- assembly ---------------------------------------------------------------------------------------------
 */

/* The order of devices is the order of their slots, which the guest was told: disks, vsock, rng, net,
 * balloon. */
static int create_devices(struct machine *machine, struct vsock_host *vsock_host, struct forkd_error *err)
{
    struct virtio_device **device = machine->devices;
    uint32_t slot = 0;
    int result = 0;
    for (uint32_t i = 0; i < machine->config.disk_count && result == 0; i++, slot++)
        result =
            block_create(&device[slot], &machine->bus, PLATFORM_GSI_VIRTIO(slot), machine->disks[i], err);
    if (result < 0 ||
        (result = vsock_create(&device[slot], &machine->bus, PLATFORM_GSI_VIRTIO(slot), vsock_host, err)) < 0)
        return result;
    machine->vsock = device[slot++];
    if ((result = rng_create(&device[slot], &machine->bus, PLATFORM_GSI_VIRTIO(slot), err)) < 0)
        return result;
    slot++;
    if (machine->config.has_net) {
        result =
            net_create(&device[slot], &machine->bus, PLATFORM_GSI_VIRTIO(slot), machine->config.mac, err);
        if (result < 0)
            return result;
        machine->net = device[slot++];
    }
    if (machine->config.has_balloon) {
        result = balloon_create(&device[slot], &machine->bus, PLATFORM_GSI_VIRTIO(slot), err);
        if (result < 0)
            return result;
        slot++;
    }
    machine->device_count = slot;
    return 0;
}

int machine_init(struct machine *machine, const struct machine_config *config, void *memory,
                 struct disk **disks, int console_fd, struct vsock_host *vsock_host, struct forkd_error *err)
{
    memset(machine, 0, sizeof *machine);
    machine->config = *config;
    machine->memory = (struct guest_memory){.host = memory, .size = config->memory_bytes};
    machine->bus = (struct virtio_machine){.memory = &machine->memory,
                                           .loop = &machine->loop,
                                           .set_irq = bus_set_irq,
                                           .news = bus_news,
                                           .wake = bus_wake,
                                           .fail = bus_fail};
    machine->memory_name = "guest memory";
    machine->vm_fd = -1;
    machine->wake_watch = (struct loop_watch){.fd = -1, .ready = on_wake};
    pthread_mutex_init(&machine->lock, NULL);
    pthread_cond_init(&machine->parked, NULL);
    pthread_cond_init(&machine->unparked, NULL);
    memcpy(machine->disks, disks, config->disk_count * sizeof *disks);
    serial_init(&machine->serial, &machine->bus, PLATFORM_GSI_SERIAL, console_fd);
    int result = create_devices(machine, vsock_host, err);
    if (result == 0)
        limits_default(machine);
    return result;
}

/* Slot 0 is below the hole, slot 1 from 4 GiB up. */
static uint32_t slot_count(const struct machine *machine)
{
    return guest_memory_high(&machine->memory) == 0 ? 1 : 2;
}

/* The memslots come before the interrupt controllers: the other way round each costs an SRCU grace period. */
static int set_memory(struct machine *machine, uint32_t flags, struct forkd_error *err)
{
    uint64_t low = guest_memory_low(&machine->memory);
    uint64_t high = guest_memory_high(&machine->memory);
    int result = 0;
    for (uint32_t slot = 0; slot < slot_count(machine) && result == 0; slot++) {
        struct kvm_userspace_memory_region region = {.slot = slot,
                                                     .flags = flags,
                                                     .guest_phys_addr = slot == 0 ? 0 : GUEST_HOLE_END,
                                                     .memory_size = slot == 0 ? low : high,
                                                     .userspace_addr = (uintptr_t)machine->memory.host +
                                                                       (slot == 0 ? 0 : low)};
        result = KVM_IOCTL(machine->vm_fd, KVM_SET_USER_MEMORY_REGION, &region, err);
    }
    return result;
}

static int create_irqchip(struct machine *machine, struct forkd_error *err)
{
    uint64_t identity_map = PLATFORM_IDENTITY_MAP;
    int result = KVM_IOCTL_VALUE(machine->vm_fd, KVM_SET_TSS_ADDR, PLATFORM_TSS, err);
    if (result < 0 || (result = KVM_IOCTL(machine->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map, err)) < 0)
        return result;
    return KVM_IOCTL(machine->vm_fd, KVM_CREATE_IRQCHIP, NULL, err);
}

int machine_create_vm(struct machine *machine, struct forkd_error *err)
{
    int result = KVM_IOCTL(machine->host.fd, KVM_CREATE_VM, NULL, err);
    if (result < 0)
        return result;
    machine->vm_fd = result;
    if ((result = set_memory(machine, 0, err)) < 0 || (result = create_irqchip(machine, err)) < 0)
        return result;
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++) {
        result = vcpu_create(&machine->vcpus[i], machine, i, machine->vm_fd, &machine->host, err);
        if (result < 0)
            return result;
    }
    result = loop_init(&machine->loop, &machine->lock, err);
    if (result < 0)
        return result;
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0)
        return error_set(err, errno, "eventfd", "event loop", NULL);
    return loop_add(&machine->loop, &machine->wake_watch, wake_fd, EPOLLIN, err);
}

/* --- boot -------------------------------------------------------------------------------------------------
 */

/* Nobody drives the PICs of a hardware-reduced machine; masked, they also keep quiet before the kernel's
 * first look at the local APIC. */
static int mask_pics(struct machine *machine, struct forkd_error *err)
{
    for (int i = 0; i < 2; i++) {
        struct kvm_irqchip chip = {.chip_id = irqchip_ids[i]};
        int result = KVM_IOCTL(machine->vm_fd, KVM_GET_IRQCHIP, &chip, err);
        if (result < 0)
            return result;
        chip.chip.pic.imr = 0xff;
        if ((result = KVM_IOCTL(machine->vm_fd, KVM_SET_IRQCHIP, &chip, err)) < 0)
            return result;
    }
    return 0;
}

static int new_generation_id(struct machine *machine, struct forkd_error *err)
{
    void *id = guest_memory_at(&machine->memory, PLATFORM_VMGENID, 16);
    if (id == NULL || getrandom(id, 16, 0) != 16)
        return error_set(err, id == NULL ? EINVAL : errno, "getrandom", "VM generation id", NULL);
    return 0;
}

/* Where the kernel's code is emulated, Linux does not get to starting its first program. */
static int check_flavour(const struct machine *machine, const struct kernel_entry *entry,
                         struct forkd_error *err)
{
    if (!entry->is_linux || machine->host.flavour != HOST_PAGE_TABLES)
        return 0;
    return error_set(err, ENOTSUP, "boot", "/dev/kvm",
                     "it works without VMX or SVM here, and runs no stock Linux kernel; take a host whose "
                     "processor has them (in /proc/cpuinfo: vmx or svm), or where this is a virtual machine, "
                     "turn nested virtualisation on");
}

int machine_boot(struct machine *machine, int kernel_fd, int initrd_fd, const char *command_line,
                 struct forkd_error *err)
{
    struct kernel_entry entry;
    int result = kernel_load(&machine->memory, kernel_fd, initrd_fd, command_line, &entry, err);
    if (result < 0 || (result = check_flavour(machine, &entry, err)) < 0)
        return result;
    uint8_t *tables = guest_memory_at(&machine->memory, PLATFORM_ACPI, PLATFORM_ACPI_SIZE);
    if ((result = acpi_build(tables, PLATFORM_ACPI_SIZE, PLATFORM_ACPI, machine->config.vcpu_count,
                             machine->device_count, err)) < 0 ||
        (result = new_generation_id(machine, err)) < 0 || (result = mask_pics(machine, err)) < 0)
        return result;
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++) {
        struct kvm_cpuid2 *cpuid = NULL;
        result = cpuid_for_vcpu(&cpuid, machine->host.cpuid, i, machine->config.vcpu_count,
                                machine->config.baseline_cpu, err);
        if (result == 0)
            result = KVM_IOCTL(machine->vcpus[i].fd, KVM_SET_CPUID2, cpuid, err);
        free(cpuid);
        if (result < 0)
            return result;
    }
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    int vcpu = machine->vcpus[0].fd;
    if ((result = KVM_IOCTL(vcpu, KVM_GET_SREGS, &sregs, err)) < 0 ||
        (result = kernel_set_entry(&machine->memory, &entry, &regs, &sregs, err)) < 0 ||
        (result = KVM_IOCTL(vcpu, KVM_SET_SREGS, &sregs, err)) < 0)
        return result;
    return KVM_IOCTL(vcpu, KVM_SET_REGS, &regs, err);
}

/* --- running ----------------------------------------------------------------------------------------------
 */

void machine_finish(struct machine *machine, enum forkd_vm_end end, const struct forkd_error *error)
{
    if (machine->end != FORKD_END_NONE)
        return;
    machine->end = end;
    if (error != NULL)
        machine->error = *error;
    serial_flush(&machine->serial);
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++)
        vcpu_kick(&machine->vcpus[i]);
    machine->ended(machine);
}

int machine_settle(struct machine *machine, struct forkd_error *err)
{
    int result = 0;
    for (uint32_t i = 0; i < machine->device_count && result == 0; i++) {
        struct virtio_device *device = machine->devices[i];
        if (device->ops->settle != NULL)
            result = device->ops->settle(device, err);
    }
    return result;
}

static void stop_vcpus(struct machine *machine)
{
    machine->paused = true;
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++)
        vcpu_kick(&machine->vcpus[i]);
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++) {
        while (!machine->vcpus[i].parked && machine->end == FORKD_END_NONE)
            pthread_cond_wait(&machine->parked, &machine->lock);
    }
}

static void start_vcpus(struct machine *machine)
{
    machine->paused = false;
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++)
        machine->vcpus[i].run->immediate_exit = 0;
    pthread_cond_broadcast(&machine->unparked);
}

/* Whether nothing happens before an interrupt: no vCPU is at work, and no disk. */
static bool is_waiting(const struct machine *machine)
{
    bool waiting = true;
    for (uint32_t i = 0; i < machine->config.vcpu_count && waiting; i++)
        waiting = vcpu_is_halted(&machine->vcpus[i]);
    for (uint32_t i = 0; i < machine->device_count && waiting; i++) {
        const struct virtio_device *device = machine->devices[i];
        waiting = device->kicked == 0 && (device->ops->busy == NULL || !device->ops->busy(device));
    }
    return waiting;
}

bool machine_freeze(struct machine *machine)
{
    uint32_t news = machine->news;
    stop_vcpus(machine);
    if (machine->end != FORKD_END_NONE)
        return false;
    if (machine->news == news && is_waiting(machine))
        machine->frozen = true;
    else
        start_vcpus(machine);
    return machine->frozen;
}

void machine_thaw(struct machine *machine)
{
    if (!machine->frozen)
        return;
    machine->frozen = false;
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++)
        vcpu_tell_stopped(&machine->vcpus[i]);
    start_vcpus(machine);
    machine->thawed(machine);
}

int machine_pause(struct machine *machine, struct forkd_error *err)
{
    int result = machine_settle(machine, err);
    if (result < 0)
        return result;
    machine_thaw(machine);
    stop_vcpus(machine);
    if (machine->end != FORKD_END_NONE)
        return error_set(err, EPIPE, "pause", "VM", "it has ended");
    /* What vCPUs left for the loop before they stopped belongs to the instant before the pause. */
    for (uint32_t i = 0; i < machine->device_count; i++)
        virtio_process(machine->devices[i]);
    return 0;
}

void machine_release(struct machine *machine)
{
    for (uint32_t i = 0; i < machine->device_count; i++) {
        if (machine->devices[i]->ops->release != NULL)
            machine->devices[i]->ops->release(machine->devices[i]);
    }
}

void machine_resume(struct machine *machine)
{
    machine_thaw(machine); /* a pause may have failed before it came to that */
    start_vcpus(machine);
    machine_release(machine);
}

/* --- what is written to -----------------------------------------------------------------------------------
 */

int machine_log_writes(struct machine *machine, uint64_t *noted, struct forkd_error *err)
{
    machine->memory.noted = noted;
    /* A change of a memslot may take milliseconds, which no exit is to wait for. */
    pthread_mutex_unlock(&machine->lock);
    int result = set_memory(machine, noted == NULL ? 0 : KVM_MEM_LOG_DIRTY_PAGES, err);
    pthread_mutex_lock(&machine->lock);
    return result;
}

/* Whether a request was taken from a queue and is not completed: what is done on the loop is, in between. */
static bool is_busy(const struct machine *machine)
{
    bool busy = false;
    for (uint32_t i = 0; i < machine->device_count; i++) {
        const struct virtio_device *device = machine->devices[i];
        busy = busy || (device->ops->busy != NULL && device->ops->busy(device));
    }
    return busy;
}

int machine_take_written(struct machine *machine, uint64_t *pages, uint64_t *scratch, struct forkd_error *err)
{
    uint64_t low = guest_memory_low(&machine->memory) / GUEST_PAGE_SIZE;
    uint64_t words = (machine->memory.size / GUEST_PAGE_SIZE + 63) / 64;
    for (uint32_t slot = 0; slot < slot_count(machine); slot++) {
        /* The second begins with a word of its own: the hole is at a multiple of 64 pages. */
        struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = scratch + (slot == 0 ? 0 : low / 64)};
        int result = KVM_IOCTL(machine->vm_fd, KVM_GET_DIRTY_LOG, &log, err);
        if (result < 0)
            return result;
    }
    uint64_t *noted = machine->memory.noted;
    for (uint64_t i = 0; i < words; i++)
        pages[i] |= scratch[i] | noted[i];
    if (!is_busy(machine))
        memset(noted, 0, words * sizeof *noted);
    return 0;
}

/* --- saving -----------------------------------------------------------------------------------------------
 */

static void save_config(const struct machine_config *config, struct vmstate_writer *writer)
{
    vmstate_begin(writer, CONFIG_SECTION, 0, CONFIG_VERSION);
    vmstate_put_u64(writer, config->memory_bytes);
    vmstate_put_u32(writer, config->vcpu_count);
    vmstate_put_u64(writer, config->generation);
    vmstate_put_u8(writer, config->has_net ? 1 : 0);
    vmstate_put_bytes(writer, config->mac, sizeof config->mac);
    vmstate_put_u32(writer, config->disk_count);
    for (uint32_t i = 0; i < config->disk_count; i++)
        vmstate_put_u32(writer, config->disk_modes[i]);
    vmstate_put_u8(writer, config->has_balloon ? 1 : 0);
    vmstate_end(writer);
}

static int save_irqchips(const struct machine *machine, struct vmstate_writer *writer,
                         struct forkd_error *err)
{
    vmstate_begin(writer, IRQCHIP_SECTION, 0, IRQCHIP_VERSION);
    for (int i = 0; i < 3; i++) {
        struct kvm_irqchip chip = {.chip_id = irqchip_ids[i]};
        int result = KVM_IOCTL(machine->vm_fd, KVM_GET_IRQCHIP, &chip, err);
        if (result < 0)
            return result;
        vmstate_put_bytes(writer, &chip.chip, sizeof chip.chip);
    }
    vmstate_end(writer);
    return 0;
}

/* KVM's clock and the host's TSC at the same instant: from the clock itself where it says so. */
static int get_clock(const struct machine *machine, struct kvm_clock_data *clock, uint64_t *host_tsc,
                     struct forkd_error *err)
{
    memset(clock, 0, sizeof *clock);
    int result = KVM_IOCTL(machine->vm_fd, KVM_GET_CLOCK, clock, err);
    if (result < 0)
        return result;
    *host_tsc = (clock->flags & KVM_CLOCK_HOST_TSC) != 0 ? clock->host_tsc : __rdtsc();
    return 0;
}

static void save_devices(const struct machine *machine, struct vmstate_writer *writer)
{
    serial_save(&machine->serial, writer);
    for (uint32_t i = 0; i < machine->device_count; i++)
        virtio_save(machine->devices[i], i, writer);
}

int machine_save(struct machine *machine, struct vmstate_writer *writer, struct forkd_error *err)
{
    struct host_record host;
    host_identify(&host);
    host_save(&host, writer);
    save_config(&machine->config, writer);
    struct kvm_clock_data clock;
    uint64_t host_tsc = 0;
    int result = get_clock(machine, &clock, &host_tsc, err);
    if (result < 0 || (result = save_irqchips(machine, writer, err)) < 0)
        return result;
    vmstate_begin(writer, CLOCK_SECTION, 0, CLOCK_VERSION);
    vmstate_put_u64(writer, clock.clock);
    vmstate_put_u64(writer, host_tsc);
    vmstate_end(writer);
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++) {
        struct vcpu_state state;
        struct tsc_rate rate;
        result = vcpu_get_state(&machine->vcpus[i], &machine->host, &state, err);
        if (result == 0)
            result = tsc_rate(&rate, &machine->host, state.tsc_khz, err);
        /* What the next host has to know is the guest's TSC at the clock's instant, whatever this one scales
         * by. */
        if (result == 0)
            state.tsc_offset += tsc_scale(&rate, host_tsc) - host_tsc;
        if (result == 0)
            vcpu_state_save(&state, i, writer);
        vcpu_state_free(&state);
        if (result < 0)
            return result;
    }
    save_devices(machine, writer);
    return 0;
}

/* --- loading ----------------------------------------------------------------------------------------------
 */

int machine_load_config(struct machine_config *config, const struct vmstate_reader *reader,
                        struct forkd_error *err)
{
    memset(config, 0, sizeof *config);
    struct vmstate_section section;
    int result = vmstate_open(reader, CONFIG_SECTION, 0, CONFIG_VERSION, &section, err);
    if (result < 0)
        return result;
    config->memory_bytes = vmstate_get_u64(&section);
    config->vcpu_count = vmstate_get_u32(&section);
    config->generation = vmstate_get_u64(&section);
    config->has_net = vmstate_get_u8(&section) != 0;
    vmstate_get_bytes(&section, config->mac, sizeof config->mac);
    config->disk_count = vmstate_get_u32(&section);
    if (config->memory_bytes < GUEST_MEMORY_MIN || config->memory_bytes % GUEST_PAGE_SIZE != 0 ||
        config->vcpu_count < 1 || config->vcpu_count > FORKD_MAX_VCPUS ||
        config->disk_count > FORKD_MAX_DISKS)
        vmstate_reject(&section);
    for (uint32_t i = 0; i < config->disk_count && i < FORKD_MAX_DISKS; i++)
        config->disk_modes[i] = vmstate_get_u32(&section);
    config->has_balloon = section.version >= 2 && vmstate_get_u8(&section) != 0;
    return vmstate_close(&section, err);
}

static int load_irqchips(struct machine_state *state, const struct vmstate_reader *reader,
                         struct forkd_error *err)
{
    struct vmstate_section section;
    int result = vmstate_open(reader, IRQCHIP_SECTION, 0, IRQCHIP_VERSION, &section, err);
    if (result < 0)
        return result;
    for (int i = 0; i < 3; i++) {
        state->irqchips[i].chip_id = irqchip_ids[i];
        vmstate_get_bytes(&section, &state->irqchips[i].chip, sizeof state->irqchips[i].chip);
    }
    return vmstate_close(&section, err);
}

static int load_clock(struct machine_state *state, const struct vmstate_reader *reader,
                      struct forkd_error *err)
{
    struct vmstate_section section;
    int result = vmstate_open(reader, CLOCK_SECTION, 0, CLOCK_VERSION, &section, err);
    if (result < 0)
        return result;
    state->clock.clock = vmstate_get_u64(&section);
    state->host_tsc = vmstate_get_u64(&section);
    return vmstate_close(&section, err);
}

/* KVM copies as many bytes as this host's area has, whatever the snapshot's had. */
static int fit_xsave(struct vcpu_state *state, uint32_t host_size, struct forkd_error *err)
{
    if (state->xsave_size >= host_size)
        return 0;
    struct kvm_xsave *larger = realloc(state->xsave, host_size);
    if (larger == NULL)
        return error_set(err, ENOMEM, "allocate", "XSAVE area", NULL);
    memset((uint8_t *)larger + state->xsave_size, 0, host_size - state->xsave_size);
    state->xsave = larger;
    state->xsave_size = host_size;
    return 0;
}

static bool is_known(const struct machine *machine, const struct vmstate_section *section)
{
    static const char *const single[] = {HOST_SECTION, CONFIG_SECTION, IRQCHIP_SECTION, CLOCK_SECTION,
                                         SERIAL_SECTION};
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        if (strcmp(section->name, single[i]) == 0)
            return section->instance == 0;
    }
    if (strcmp(section->name, VCPU_SECTION) == 0)
        return section->instance < machine->config.vcpu_count;
    return section->instance < machine->device_count &&
           strcmp(section->name, machine->devices[section->instance]->ops->name) == 0;
}

/* State that nobody takes up would be state that the guest silently loses. */
static int refuse_unknown(const struct machine *machine, const struct vmstate_reader *reader,
                          struct forkd_error *err)
{
    size_t cursor = 0;
    struct vmstate_section section;
    while (vmstate_next(reader, &cursor, &section)) {
        if (!is_known(machine, &section))
            return error_set(err, ENOTSUP, "load", "vmstate",
                             "the section '%s' %u is unknown to this version", section.name,
                             section.instance);
    }
    return 0;
}

static int load_devices(struct machine *machine, const struct vmstate_reader *reader, struct forkd_error *err)
{
    int result = serial_restore(&machine->serial, reader, err);
    for (uint32_t i = 0; i < machine->device_count && result == 0; i++)
        result = virtio_restore(machine->devices[i], i, reader, err);
    return result;
}

/* A device has no other place for what it was loaded with than what it becomes. A few hundred bytes each,
 * which children share. */
static int keep_devices(struct machine *machine, struct forkd_error *err)
{
    struct vmstate_writer *devices = &machine->state->devices;
    vmstate_writer_init(devices);
    save_devices(machine, devices);
    int result = vmstate_writer_finish(devices, err);
    if (result < 0)
        return result;
    return vmstate_reader_init(&machine->state->kept_devices, devices->data, devices->length, err);
}

int machine_load(struct machine *machine, const struct vmstate_reader *reader, struct forkd_error *err)
{
    int unknown = refuse_unknown(machine, reader, err);
    if (unknown < 0)
        return unknown;
    struct machine_state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return error_set(err, ENOMEM, "allocate", "machine state", NULL);
    machine->state = state;
    struct host_record made_on;
    int result = host_load(&made_on, reader, err);
    if (result == 0)
        result = load_irqchips(state, reader, err);
    if (result == 0)
        result = load_clock(state, reader, err);
    for (uint32_t i = 0; i < machine->config.vcpu_count && result == 0; i++) {
        result = vcpu_state_load(&state->vcpus[i], i, reader, err);
        if (result == 0)
            result = host_check(&made_on, &state->vcpus[i], &machine->host, err);
        if (result == 0)
            result = fit_xsave(&state->vcpus[i], machine->host.xsave_size, err);
        if (result == 0)
            result = vcpu_state_prepare(&state->vcpus[i], &machine->host, err);
    }
    if (result == 0)
        result = load_devices(machine, reader, err);
    if (result == 0)
        result = keep_devices(machine, err);
    return result;
}

/* --- restoring --------------------------------------------------------------------------------------------
 */

/* Let the clock go on. *host_tsc: what the host reads when it is *elapsed_ns further than it was saved. */
static int restore_clock(const struct machine *machine, uint64_t *host_tsc, uint64_t *elapsed_ns,
                         struct forkd_error *err)
{
    const struct machine_state *state = machine->state;
    struct kvm_clock_data clock = {.clock = state->clock.clock};
    int result = KVM_IOCTL(machine->vm_fd, KVM_SET_CLOCK, &clock, err);
    if (result < 0)
        return result;
    if ((result = get_clock(machine, &clock, host_tsc, err)) < 0)
        return result;
    *elapsed_ns = clock.clock - state->clock.clock;
    return 0;
}

/* All vCPUs' offsets come from one pair of clock and TSC, so that they, and the clock, agree to the cycle. */
static int restore_time(const struct machine *machine, struct forkd_error *err)
{
    const struct machine_state *state = machine->state;
    uint64_t host_tsc = 0;
    uint64_t elapsed_ns = 0;
    int result = restore_clock(machine, &host_tsc, &elapsed_ns, err);
    for (uint32_t i = 0; i < machine->config.vcpu_count && result == 0; i++) {
        const struct vcpu_state *vcpu = &state->vcpus[i];
        struct tsc_rate rate;
        if ((result = tsc_rate(&rate, &machine->host, vcpu->tsc_khz, err)) < 0)
            return result;
        uint64_t offset =
            tsc_offset_for(&rate, vcpu->tsc_khz, state->host_tsc + vcpu->tsc_offset, elapsed_ns, host_tsc);
        result = vcpu_set_time(&machine->vcpus[i], &machine->host, vcpu, offset, err);
    }
    return result;
}

static int set_irqchips(const struct machine *machine, struct forkd_error *err)
{
    int result = 0;
    for (int i = 0; i < 3 && result >= 0; i++)
        result = KVM_IOCTL(machine->vm_fd, KVM_SET_IRQCHIP, &machine->state->irqchips[i], err);
    return result;
}

int machine_prepare(struct machine *machine, struct forkd_error *err)
{
    const struct machine_state *state = machine->state;
    int result = set_irqchips(machine, err);
    if (result < 0)
        return result;
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++) {
        if ((result = vcpu_set_cpuid(&machine->vcpus[i], &machine->host, &state->vcpus[i], err)) < 0 ||
            (result = vcpu_set_state(&machine->vcpus[i], &state->vcpus[i], err)) < 0)
            return result;
    }
    machine->config.generation++;
    return new_generation_id(machine, err);
}

/* Make this process's own copy of a page that it is going to write to. */
static void touch(void *at)
{
    volatile uint8_t *byte = at;
    *byte = *byte;
}

void machine_rehearse(struct machine *machine)
{
    struct vcpu *vcpu = &machine->vcpus[0];
    vcpu->run->immediate_exit = 1;
    ioctl(vcpu->fd, KVM_RUN, NULL);
    vcpu->run->immediate_exit = 0;
    for (uint32_t i = 0; i < machine->device_count; i++)
        touch(machine->devices[i]);
    uint8_t below[2 * GUEST_PAGE_SIZE] = {0}; /* of the stack: as deep as the way to the owner goes */
    touch(below);
    touch(below + GUEST_PAGE_SIZE);
}

/* Lock held. */
static void resume_devices(struct machine *machine)
{
    serial_resume(&machine->serial);
    for (uint32_t i = 0; i < machine->device_count; i++)
        virtio_resume(machine->devices[i]);
    /* The event line is edge-triggered: a pulse. */
    set_line(machine, PLATFORM_GSI_EVENT, true);
    set_line(machine, PLATFORM_GSI_EVENT, false);
}

int machine_restore(struct machine *machine, struct forkd_error *err)
{
    int result = restore_time(machine, err);
    if (result < 0)
        return result;
    pthread_mutex_lock(&machine->lock);
    resume_devices(machine);
    pthread_mutex_unlock(&machine->lock);
    return 0;
}

/* --- resetting --------------------------------------------------------------------------------------------
 */

int machine_check_reset(const struct machine *machine, struct forkd_error *err)
{
    int result = 0;
    for (uint32_t i = 0; i < machine->config.vcpu_count && result == 0; i++)
        result = vcpu_check_reset(&machine->vcpus[i], &machine->host, &machine->state->vcpus[i], err);
    return result;
}

/*
 * KVM drops what it knows of pages that are no longer mapped. But where it keeps page tables of its own in
 * place of the guest's, it relies on hearing of each write to those, and of this it does not: they would lead
 * to where the guest's led before. That a memslot is removed has it drop all of them, whatever that slot is
 * of. Nothing runs meanwhile.
 */
static int drop_shadow_pages(const struct machine *machine, struct forkd_error *err)
{
    struct kvm_userspace_memory_region slot = {.slot = 2,
                                               .guest_phys_addr = PLATFORM_SPARE,
                                               .memory_size = GUEST_PAGE_SIZE,
                                               .userspace_addr = (uintptr_t)machine->memory.host};
    int result = KVM_IOCTL(machine->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot, err);
    slot.memory_size = 0;
    return result < 0 ? result : KVM_IOCTL(machine->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot, err);
}

static int reset_memory(const struct machine *machine, struct forkd_error *err)
{
    if (madvise(machine->memory.host, machine->memory.size, MADV_DONTNEED) < 0)
        return error_set(err, errno, "madvise", "guest memory", NULL);
    return machine->host.has_shadow_pages ? drop_shadow_pages(machine, err) : 0;
}

static int reset_vcpus(struct machine *machine, struct forkd_error *err)
{
    int result = 0;
    for (uint32_t i = 0; i < machine->config.vcpu_count && result == 0; i++) {
        struct vcpu *vcpu = &machine->vcpus[i];
        if ((result = vcpu_reset(vcpu, err)) == 0)
            result = vcpu_set_state(vcpu, &machine->state->vcpus[i], err);
        vcpu->ran = false;
    }
    return result;
}

int machine_reset(struct machine *machine, struct forkd_error *err)
{
    /* Devices first: they let go of their interrupt lines, whose levels are in no state. */
    int result = load_devices(machine, &machine->state->kept_devices, err);
    if (result < 0)
        return result;
    for (uint32_t i = 0; i < machine->config.disk_count; i++)
        disk_reset(machine->disks[i]);
    machine->disk_quota.blocks = 0;
    machine->disk_quota.reached = false;
    machine->guest_ready = false;
    if ((result = reset_memory(machine, err)) < 0 || (result = set_irqchips(machine, err)) < 0 ||
        (result = reset_vcpus(machine, err)) < 0 || (result = new_generation_id(machine, err)) < 0 ||
        (result = restore_time(machine, err)) < 0)
        return result;
    resume_devices(machine);
    return 0;
}
