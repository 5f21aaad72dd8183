/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses and interrupt lines of the one machine we are. What the guest was told of them is frozen into
 * every snapshot, so a change here is a change of the vmstate format. */
#ifndef FORKD_MACHINE_PLATFORM_H
#define FORKD_MACHINE_PLATFORM_H

/* Low memory: what the boot needs, below the 640 KiB line. All of it is free again for the kernel once it
 * runs, except what the memory map reserves. */
#define PLATFORM_GDT 0x500u
#define PLATFORM_START_INFO 0x6000u /* PVH hvm_start_info, module list, memory map */
#define PLATFORM_ZERO_PAGE 0x7000u  /* struct boot_params */
#define PLATFORM_PAGE_TABLES 0x9000u
#define PLATFORM_COMMAND_LINE 0x20000u
#define PLATFORM_COMMAND_LINE_MAX 2048u /* COMMAND_LINE_SIZE of x86 Linux, with the NUL */
#define PLATFORM_LOW_RAM_END 0x9fc00u
#define PLATFORM_ACPI 0xe0000u /* RSDP first: the BIOS area, where kernels that were told nothing look */
#define PLATFORM_ACPI_SIZE 0x10000u
#define PLATFORM_VMGENID 0xf0000u /* 16 bytes, in a page of their own */
#define PLATFORM_HIGH_RAM 0x100000u

/* Devices, in the hole below 4 GiB. */
#define PLATFORM_VIRTIO 0xd0000000ull
#define PLATFORM_VIRTIO_STRIDE 0x1000u
#define PLATFORM_MAX_VIRTIO 29 /* 25 disks, vsock, rng, net, balloon */
#define PLATFORM_IOAPIC 0xfec00000u
#define PLATFORM_LAPIC 0xfee00000u
/* A page where there is nothing, ever, that a guest sees (machine_reset). */
#define PLATFORM_SPARE 0xfffb0000ull
/* KVM's own pages for real mode on VMX without "unrestricted guest" (KVM API, 4.37 and 4.41). */
#define PLATFORM_IDENTITY_MAP 0xfffbc000ull
#define PLATFORM_TSS 0xfffbd000ull

/* Interrupt lines. Virtio lines are level-triggered and may be shared; those above 15 come first, since only
 * they do not also reach the (masked) PIC. */
#define PLATFORM_GSI_SERIAL 4u
#define PLATFORM_GSI_EVENT 23u
#define PLATFORM_GSI_VIRTIO(slot) ((slot) < 7 ? 16u + (slot) : 5u + ((slot) - 7) % 11)

/* I/O ports. */
#define PLATFORM_PORT_SERIAL 0x3f8u
#define PLATFORM_PORT_I8042 0x60u  /* data; command and status at +4 */
#define PLATFORM_PORT_READY 0x510u /* a guest without an agent says that it is ready */
#define PLATFORM_PORT_SLEEP 0x600u /* ACPI sleep control; status at +1 */
#define PLATFORM_PORT_RESET 0x602u /* ACPI reset register */
#define PLATFORM_SLEEP_TYPE_S5 5u

#endif
