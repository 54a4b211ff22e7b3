// SPDX-License-Identifier: Apache-2.0
// The little AML that the PC's DSDT has (ACPI 6.4, chapter 20), encoded by hand:
//
//   Scope (\_PR_) { Processor (C000, 0, 0, 0) {} ... }
//   Scope (\_SB_) { Device (PCI0) { Name (_HID, EisaId ("PNP0A03"))  Name (_CRS, ResourceTemplate () {...}) }
//   } Name (\_S5_, Package () {0, 0, 0, 0})
#include "hv/vmm/acpi.h"

#define AML_NAME 0x08u
#define AML_DWORD 0x0cu
#define AML_BYTE 0x0au
#define AML_WORD 0x0bu
#define AML_SCOPE 0x10u
#define AML_BUFFER 0x11u
#define AML_PACKAGE 0x12u
#define AML_ZERO 0x00u
#define AML_DEVICE 0x825bu
#define AML_PROCESSOR 0x835bu
#define AML_ROOT 0x5cu // '\\'
#define EISA_PNP0A03 0x030ad041u

// Of address space descriptors (6.4.3.5): minimum and maximum are fixed, the bridge hands on what is in
// between.
#define SPACE_MEMORY 0u
#define SPACE_IO 1u
#define SPACE_BUS 2u
#define SPACE_FIXED 0x0cu
#define MEMORY_READ_WRITE 0x01u
#define IO_ENTIRE_RANGE 0x03u

static void put_name(struct acpi_bytes *b, const char *name)
{
    for (u32 i = 0; i < 4; i++)
        acpi_put(b, (u8)name[i], 1);
}

// A package length of two bytes stands for up to 4,095 bytes, itself included (20.2.4): opened with its
// place, closed when the end is known.
static u32 open_package(struct acpi_bytes *b)
{
    acpi_put(b, 0, 2);
    return b->used - 2;
}

static void close_package(struct acpi_bytes *b, u32 at)
{
    u32 length = b->used - at;

    if (b->used > b->max)
        return;
    b->base[at] = (u8)(1u << 6 | (length & 0xf));
    b->base[at + 1] = (u8)(length >> 4);
}

static void put_processors(struct acpi_bytes *b, u32 count)
{
    static const char digits[] = "0123456789ABCDEF";

    // Several scopes, as a package is no longer than that.
    for (u32 first = 0; first < count; first += 128) {
        acpi_put(b, AML_SCOPE, 1);
        u32 scope = open_package(b);

        acpi_put(b, AML_ROOT, 1);
        put_name(b, "_PR_");
        for (u32 i = first; i < count && i < first + 128; i++) {
            const char name[4] = {'C', '0', digits[i >> 4 & 15], digits[i & 15]};

            acpi_put(b, AML_PROCESSOR, 2);
            u32 processor = open_package(b);

            put_name(b, name);
            acpi_put(b, i, 1);
            acpi_put(b, 0, 5); // No P_BLK.
            close_package(b, processor);
        }
        close_package(b, scope);
    }
}

static void put_word_space(struct acpi_bytes *b, u32 type, u32 type_flags, u32 first, u32 count)
{
    acpi_put(b, 0x000d88, 3);
    acpi_put(b, type | SPACE_FIXED << 8 | type_flags << 16, 3);
    acpi_put(b, 0, 2); // Granularity.
    acpi_put(b, first, 2);
    acpi_put(b, first + count - 1, 2);
    acpi_put(b, 0, 2); // Translation.
    acpi_put(b, count, 2);
}

static void put_resources(struct acpi_bytes *b)
{
    put_word_space(b, SPACE_BUS, 0, 0, 1);
    acpi_put(b, 0x0147, 2); // Ports of the bridge itself: I/O port descriptor, 16 bits decoded.
    acpi_put(b, VMM_PCI_PORTS | VMM_PCI_PORTS << 16, 4);
    acpi_put(b, 0x0801, 2);
    put_word_space(b, SPACE_IO, IO_ENTIRE_RANGE, VMM_PCI_IO_BASE, VMM_PCI_IO_BYTES);
    acpi_put(b, 0x001787, 3);
    acpi_put(b, SPACE_MEMORY | SPACE_FIXED << 8 | MEMORY_READ_WRITE << 16, 3);
    acpi_put(b, 0, 4);
    acpi_put(b, VMM_PCI_MEMORY_BASE, 4);
    acpi_put(b, VMM_PCI_MEMORY_BASE + VMM_PCI_MEMORY_BYTES - 1, 4);
    acpi_put(b, 0, 4);
    acpi_put(b, VMM_PCI_MEMORY_BYTES, 4);
    acpi_put(b, 0x0079, 2); // End, without a checksum.
}

static void put_bridge(struct acpi_bytes *b)
{
    acpi_put(b, AML_SCOPE, 1);
    u32 scope = open_package(b);

    acpi_put(b, AML_ROOT, 1);
    put_name(b, "_SB_");
    acpi_put(b, AML_DEVICE, 2);
    u32 device = open_package(b);

    put_name(b, "PCI0");
    acpi_put(b, AML_NAME, 1);
    put_name(b, "_HID");
    acpi_put(b, AML_DWORD, 1);
    acpi_put(b, EISA_PNP0A03, 4);
    acpi_put(b, AML_NAME, 1);
    put_name(b, "_CRS");
    acpi_put(b, AML_BUFFER, 1);
    u32 buffer = open_package(b);

    acpi_put(b, AML_WORD, 1);
    u32 size = b->used;

    acpi_put(b, 0, 2);
    put_resources(b);
    if (b->used <= b->max) {
        b->base[size] = (u8)(b->used - size - 2);
        b->base[size + 1] = (u8)((b->used - size - 2) >> 8);
    }
    close_package(b, buffer);
    close_package(b, device);
    close_package(b, scope);
}

void acpi_put_aml(struct acpi_bytes *b, u32 processors)
{
    put_processors(b, processors);
    put_bridge(b);
    acpi_put(b, AML_NAME, 1);
    acpi_put(b, AML_ROOT, 1);
    put_name(b, "_S5_");
    acpi_put(b, AML_PACKAGE, 1);
    u32 package = open_package(b);

    acpi_put(b, 4, 1); // Elements: SLP_TYP for PM1a and PM1b, two reserved.
    acpi_put(b, AML_BYTE, 1);
    acpi_put(b, VMM_ACPI_S5, 1);
    for (u32 i = 0; i < 3; i++)
        acpi_put(b, AML_ZERO, 1);
    close_package(b, package);
}
