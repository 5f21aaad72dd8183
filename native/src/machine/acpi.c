/* SPDX-License-Identifier: Apache-2.0 */
/* Section numbers are those of the ACPI specification 6.5. */
#include "machine/acpi.h"

#include "machine/platform.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OEM_ID "FORKD "
#define OEM_TABLE_ID "FORKDVM "

/* 5.2.9, FADT flags and boot architecture flags */
#define FADT_WBINVD (1u << 0)
#define FADT_POWER_BUTTON_NONE (1u << 4)
#define FADT_SLEEP_BUTTON_NONE (1u << 5)
#define FADT_RESET_REGISTER (1u << 10)
#define FADT_HW_REDUCED (1u << 20)
#define BOOT_NO_VGA (1u << 2)
#define BOOT_NO_CMOS_RTC (1u << 5)

/* 20.2: AML byte encodings */
enum {
    AML_ZERO = 0x00,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_DWORD = 0x0c,
    AML_STRING = 0x0d,
    AML_BUFFER = 0x11,
    AML_PACKAGE = 0x12,
    AML_METHOD = 0x14,
    AML_SCOPE = 0x10,
    AML_EXT = 0x5b,
    AML_EXT_DEVICE = 0x82,
    AML_NOTIFY = 0x86,
    AML_ROOT = 0x5c,
    AML_DUAL_NAME = 0x2e,
};

/* 6.4.3.6, extended interrupt descriptor flags */
#define INTERRUPT_CONSUMER 0x01u
#define INTERRUPT_EDGE 0x02u
#define INTERRUPT_SHARED 0x08u

struct area {
    uint8_t *data;
    size_t size;
    size_t used;
    int full;
};

static void put(struct area *area, const void *data, size_t length)
{
    if (area->full || length > area->size - area->used) {
        area->full = 1;
        return;
    }
    memcpy(area->data + area->used, data, length);
    area->used += length;
}

static void put_u8(struct area *area, uint8_t value)
{
    put(area, &value, 1);
}

static void put_u16(struct area *area, uint16_t value)
{
    put(area, &value, 2);
}

static void put_u32(struct area *area, uint32_t value)
{
    put(area, &value, 4);
}

static void put_u64(struct area *area, uint64_t value)
{
    put(area, &value, 8);
}

static void put_zeroes(struct area *area, size_t length)
{
    while (length-- > 0)
        put_u8(area, 0);
}

static void set_u32(struct area *area, size_t at, uint32_t value)
{
    if (!area->full)
        memcpy(area->data + at, &value, 4);
}

static uint8_t checksum(const uint8_t *data, size_t length)
{
    uint8_t sum = 0;
    while (length-- > 0)
        sum = (uint8_t)(sum + *data++);
    return (uint8_t)-sum;
}

/* 5.2.6: every table but the RSDP begins so. Returns where it starts. */
static size_t table_begin(struct area *area, const char *signature, uint8_t revision)
{
    while (area->used % 16 != 0 && !area->full)
        put_u8(area, 0);
    size_t start = area->used;
    put(area, signature, 4);
    put_u32(area, 0); /* length */
    put_u8(area, revision);
    put_u8(area, 0); /* checksum */
    put(area, OEM_ID, 6);
    put(area, OEM_TABLE_ID, 8);
    put_u32(area, 1);
    put(area, "FRKD", 4);
    put_u32(area, 1);
    return start;
}

static void table_end(struct area *area, size_t start)
{
    set_u32(area, start + 4, (uint32_t)(area->used - start));
    if (!area->full)
        area->data[start + 9] = checksum(area->data + start, area->used - start);
}

/*
 * AML packages carry their length in front (20.2.4). It is always written in the four-byte form, 28 bits, so
 * that it can be filled in afterwards.
 */
static size_t package_begin(struct area *area)
{
    put_u32(area, 0);
    return area->used - 4;
}

static void package_end(struct area *area, size_t start)
{
    uint32_t length = (uint32_t)(area->used - start);
    set_u32(area, start, 0xc0u | (length & 0xfu) | ((length >> 4) << 8));
}

static void aml_name(struct area *area, const char *name)
{
    put_u8(area, AML_NAME);
    put(area, name, 4);
}

static void aml_string(struct area *area, const char *name, const char *value)
{
    aml_name(area, name);
    put_u8(area, AML_STRING);
    put(area, value, strlen(value) + 1);
}

static void aml_integer(struct area *area, uint32_t value)
{
    put_u8(area, AML_DWORD);
    put_u32(area, value);
}

/* 19.3.4: "PNP0501" packed into 32 bits, big-endian. */
static void aml_eisa_id(struct area *area, const char *name, const char *id, uint16_t number)
{
    uint16_t letters = (uint16_t)(((id[0] - 0x40) << 10) | ((id[1] - 0x40) << 5) | (id[2] - 0x40));
    aml_name(area, name);
    put_u8(area, AML_DWORD);
    put_u8(area, (uint8_t)(letters >> 8));
    put_u8(area, (uint8_t)letters);
    put_u8(area, (uint8_t)(number >> 8));
    put_u8(area, (uint8_t)number);
}

static size_t device_begin(struct area *area, const char *name)
{
    put_u8(area, AML_EXT);
    put_u8(area, AML_EXT_DEVICE);
    size_t start = package_begin(area);
    put(area, name, 4);
    return start;
}

/* _CRS, a buffer of resource descriptors that ends with an end tag (6.4.2.9). */
struct resources {
    size_t package;
    size_t size;
    size_t start;
};

static struct resources resources_begin(struct area *area)
{
    struct resources resources;
    aml_name(area, "_CRS");
    put_u8(area, AML_BUFFER);
    resources.package = package_begin(area);
    aml_integer(area, 0);
    resources.size = area->used - 4;
    resources.start = area->used;
    return resources;
}

static void resources_end(struct area *area, struct resources resources)
{
    put_u8(area, 0x79);
    put_u8(area, 0); /* checksum 0: treated as right */
    set_u32(area, resources.size, (uint32_t)(area->used - resources.start));
    package_end(area, resources.package);
}

static void resource_interrupt(struct area *area, uint8_t flags, uint32_t gsi)
{
    put_u8(area, 0x89);
    put_u16(area, 6);
    put_u8(area, (uint8_t)(INTERRUPT_CONSUMER | flags));
    put_u8(area, 1);
    put_u32(area, gsi);
}

static void resource_memory(struct area *area, uint32_t address, uint32_t length)
{
    put_u8(area, 0x86); /* 6.4.3.4 */
    put_u16(area, 9);
    put_u8(area, 1); /* read and write */
    put_u32(area, address);
    put_u32(area, length);
}

static void resource_ports(struct area *area, uint16_t port, uint8_t count)
{
    put_u8(area, 0x47); /* 6.4.2.5 */
    put_u8(area, 1);    /* all 16 address bits are decoded */
    put_u16(area, port);
    put_u16(area, port);
    put_u8(area, 1);
    put_u8(area, count);
}

static void virtio_device(struct area *area, uint32_t slot)
{
    char name[8];
    snprintf(name, sizeof name, "VR%02X", slot & 0xffu);
    size_t device = device_begin(area, name);
    aml_string(area, "_HID", "LNRO0005"); /* what Linux's virtio_mmio driver binds to */
    aml_name(area, "_UID");
    aml_integer(area, slot);
    aml_name(area, "_CCA"); /* cache-coherent */
    aml_integer(area, 1);
    struct resources resources = resources_begin(area);
    resource_memory(area, (uint32_t)(PLATFORM_VIRTIO + slot * PLATFORM_VIRTIO_STRIDE),
                    PLATFORM_VIRTIO_STRIDE);
    resource_interrupt(area, INTERRUPT_SHARED, PLATFORM_GSI_VIRTIO(slot));
    resources_end(area, resources);
    package_end(area, device);
}

static void serial_device(struct area *area)
{
    size_t device = device_begin(area, "COM1");
    aml_eisa_id(area, "_HID", "PNP", 0x0501);
    aml_name(area, "_UID");
    aml_integer(area, 0);
    struct resources resources = resources_begin(area);
    resource_ports(area, PLATFORM_PORT_SERIAL, 8);
    resource_interrupt(area, INTERRUPT_EDGE, PLATFORM_GSI_SERIAL);
    resources_end(area, resources);
    package_end(area, device);
}

/* Virtual Machine Generation ID (Microsoft, 2012): ADDR gives the address of the 16 bytes in two halves. */
static void generation_device(struct area *area)
{
    size_t device = device_begin(area, "VGEN");
    aml_string(area, "_HID", "FRKD0001");
    aml_string(area, "_CID", "VM_Gen_Counter");
    aml_string(area, "_DDN", "VM_Gen_Counter");
    aml_name(area, "ADDR");
    put_u8(area, AML_PACKAGE);
    size_t package = package_begin(area);
    put_u8(area, 2);
    aml_integer(area, PLATFORM_VMGENID);
    aml_integer(area, 0);
    package_end(area, package);
    package_end(area, device);
}

/* 5.6.9: the generic event device's one interrupt means that the generation changed. */
static void event_device(struct area *area)
{
    size_t device = device_begin(area, "GED0");
    aml_string(area, "_HID", "ACPI0013");
    aml_name(area, "_UID");
    aml_integer(area, 0);
    struct resources resources = resources_begin(area);
    resource_interrupt(area, INTERRUPT_EDGE, PLATFORM_GSI_EVENT);
    resources_end(area, resources);
    put_u8(area, AML_METHOD);
    size_t method = package_begin(area);
    put(area, "_EVT", 4);
    put_u8(area, 0x09); /* one argument, serialized */
    put_u8(area, AML_NOTIFY);
    put_u8(area, AML_ROOT);
    put_u8(area, AML_DUAL_NAME);
    put(area, "_SB_VGEN", 8);
    put_u8(area, AML_BYTE);
    put_u8(area, 0x80);
    package_end(area, method);
    package_end(area, device);
}

static size_t build_dsdt(struct area *area, uint32_t virtio_count)
{
    size_t table = table_begin(area, "DSDT", 2);
    put_u8(area, AML_SCOPE);
    size_t scope = package_begin(area);
    put_u8(area, AML_ROOT);
    put(area, "_SB_", 4);
    generation_device(area);
    event_device(area);
    serial_device(area);
    for (uint32_t slot = 0; slot < virtio_count; slot++)
        virtio_device(area, slot);
    package_end(area, scope);
    aml_name(area, "_S5_");
    put_u8(area, AML_PACKAGE);
    size_t package = package_begin(area);
    put_u8(area, 2);
    put_u8(area, AML_BYTE);
    put_u8(area, PLATFORM_SLEEP_TYPE_S5);
    put_u8(area, AML_ZERO);
    package_end(area, package);
    table_end(area, table);
    return table;
}

/* 5.2.3.2: a generic address, here one byte-wide I/O port; port 0: none */
static void put_port(struct area *area, uint16_t port)
{
    put_u8(area, port == 0 ? 0 : 1); /* system I/O space */
    put_u8(area, port == 0 ? 0 : 8);
    put_u8(area, 0);
    put_u8(area, port == 0 ? 0 : 1); /* byte access */
    put_u64(area, port);
}

static size_t build_fadt(struct area *area, uint64_t dsdt)
{
    size_t table = table_begin(area, "FACP", 6);
    put_u32(area, 0);              /* FIRMWARE_CTRL: no FACS, nothing sleeps */
    put_u32(area, (uint32_t)dsdt); /* DSDT */
    put_zeroes(area, 109 - 44);    /* reserved, and everything that hardware-reduced ACPI does not have */
    put_u16(area, BOOT_NO_VGA | BOOT_NO_CMOS_RTC); /* IAPC_BOOT_ARCH, offset 109 */
    put_u8(area, 0);
    put_u32(area, FADT_WBINVD | FADT_POWER_BUTTON_NONE | FADT_SLEEP_BUTTON_NONE | FADT_RESET_REGISTER |
                      FADT_HW_REDUCED);
    put_port(area, PLATFORM_PORT_RESET);
    put_u8(area, 1);  /* RESET_VALUE */
    put_u16(area, 0); /* ARM_BOOT_ARCH */
    put_u8(area, 5);  /* minor version: 6.5 */
    put_u64(area, 0); /* X_FIRMWARE_CTRL */
    put_u64(area, dsdt);
    put_zeroes(area, 244 - 148); /* X_PM1a_EVT_BLK to X_GPE1_BLK */
    put_port(area, PLATFORM_PORT_SLEEP);
    put_port(area, PLATFORM_PORT_SLEEP + 1);
    put(area, "FORKD\0\0\0", 8); /* hypervisor vendor */
    table_end(area, table);
    return table;
}

static size_t build_madt(struct area *area, uint32_t vcpu_count)
{
    size_t table = table_begin(area, "APIC", 5);
    put_u32(area, PLATFORM_LAPIC);
    put_u32(area, 0); /* no 8259 that anybody should use */
    for (uint32_t i = 0; i < vcpu_count; i++) {
        put_u8(area, 0); /* 5.2.12.2, local APIC */
        put_u8(area, 8);
        put_u8(area, (uint8_t)i);
        put_u8(area, (uint8_t)i);
        put_u32(area, 1); /* enabled */
    }
    put_u8(area, 1); /* 5.2.12.3, I/O APIC */
    put_u8(area, 12);
    put_u8(area, 0);
    put_u8(area, 0);
    put_u32(area, PLATFORM_IOAPIC);
    put_u32(area, 0); /* first GSI */
    table_end(area, table);
    return table;
}

int acpi_build(uint8_t *area_data, size_t size, uint64_t address, uint32_t vcpu_count, uint32_t virtio_count,
               struct forkd_error *err)
{
    struct area area = {.data = area_data, .size = size};
    put_zeroes(&area, 36); /* the RSDP, filled in last */
    size_t dsdt = build_dsdt(&area, virtio_count);
    size_t fadt = build_fadt(&area, address + dsdt);
    size_t madt = build_madt(&area, vcpu_count);
    size_t xsdt = table_begin(&area, "XSDT", 1);
    put_u64(&area, address + fadt);
    put_u64(&area, address + madt);
    table_end(&area, xsdt);
    if (area.full)
        return error_set(err, ENOSPC, "build", "ACPI tables", "%zu bytes are too few", size);

    /* 5.2.5.3: revision 2; the first checksum covers the 20 bytes of revision 0, the second all. */
    struct area rsdp = {.data = area_data, .size = 36};
    put(&rsdp, "RSD PTR ", 8);
    put_u8(&rsdp, 0);
    put(&rsdp, OEM_ID, 6);
    put_u8(&rsdp, 2);
    put_u32(&rsdp, 0);
    put_u32(&rsdp, 36);
    put_u64(&rsdp, address + xsdt);
    put_zeroes(&rsdp, 4);
    area_data[8] = checksum(area_data, 20);
    area_data[32] = checksum(area_data, 36);
    return 0;
}
