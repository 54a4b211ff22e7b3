// SPDX-License-Identifier: Apache-2.0
// The ACPI tables of a PC, as firmware would have left them in the guest's memory (ACPI 6.4, 5.2).
//
// RSDP, FACS, DSDT, FADT, MADT, HPET, RSDT and XSDT lie one behind the other from VMM_ACPI_BASE on. Sizes of
// tables are those of ACPI 2.0, which every later system reads.
#include "hv/vmm/acpi.h"

#include "hv/lib/string.h"
#include "hv/vmm/pc.h"
#include "spec/apic_bits.h"

#define HEADER_BYTES 36u
#define LENGTH_AT 4u
#define CHECKSUM_AT 9u
#define RSDP_BYTES 36u
#define RSDP_OLD_BYTES 20u // What its first checksum covers.
#define FACS_BYTES 64u
#define TABLES 3u // That RSDT and XSDT name: FADT, MADT, HPET.

// FADT flags (5.2.9, table 5.10).
#define FADT_WBINVD 0x001u
#define FADT_PROC_C1 0x004u
#define FADT_NO_POWER_BUTTON 0x010u
#define FADT_NO_SLEEP_BUTTON 0x020u
#define FADT_TIMER_32BIT 0x100u
#define FADT_RESET_REGISTER 0x400u
#define FADT_FLAGS                                                                                           \
    (FADT_WBINVD | FADT_PROC_C1 | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON | FADT_TIMER_32BIT |           \
     FADT_RESET_REGISTER)
// IA-PC boot architecture: ISA devices are there, a keyboard and a screen are not.
#define BOOT_LEGACY_DEVICES 0x01u
#define BOOT_NO_VGA 0x04u
#define FADT_NO_LATENCY 0xffffu // Beyond the limits of C2 and C3: neither is there.
#define RTC_CENTURY 0x32u

#define MADT_PCAT 1u // There is a pair of 8259s besides.
#define FLAGS_EDGE_HIGH 0x0005u
#define FLAGS_LEVEL_HIGH 0x000du

#define SPACE_MEMORY 0u
#define SPACE_IO 1u

void acpi_put(struct acpi_bytes *b, u64 value, u32 bytes)
{
    for (u32 i = 0; i < bytes; i++, b->used++)
        if (b->used < b->max)
            b->base[b->used] = (u8)(value >> 8 * i);
}

static void put_text(struct acpi_bytes *b, const char *text, u32 bytes)
{
    for (u32 i = 0; i < bytes; i++)
        acpi_put(b, (u8)text[i], 1);
}

static void align(struct acpi_bytes *b, u32 to)
{
    while (b->used % to)
        acpi_put(b, 0, 1);
}

static u8 checksum(const u8 *bytes, u32 count)
{
    u8 sum = 0;

    for (u32 i = 0; i < count; i++)
        sum += bytes[i];
    return (u8)-sum;
}

// A generic address structure (5.2.3.2); no access size is wanted.
static void put_address(struct acpi_bytes *b, u32 space, u32 bits, u64 address)
{
    acpi_put(b, space | bits << 8, 4);
    acpi_put(b, address, 8);
}

// Returns where the table begins.
static u32 open_table(struct acpi_bytes *b, const char *signature, u32 revision)
{
    align(b, 16);
    u32 at = b->used;

    put_text(b, signature, 4);
    acpi_put(b, 0, 4); // Length.
    acpi_put(b, revision, 2);
    put_text(b, "HVSIM PC      ", 14);
    acpi_put(b, 1, 4);
    put_text(b, "HVSM", 4);
    acpi_put(b, 1, 4);
    return at;
}

static u64 close_table(struct acpi_bytes *b, u32 at)
{
    u32 length = b->used - at;

    if (b->used <= b->max) {
        memcpy(b->base + at + LENGTH_AT, &length, sizeof length);
        b->base[at + CHECKSUM_AT] = checksum(b->base + at, length);
    }
    return VMM_ACPI_BASE + at;
}

static u64 put_facs(struct acpi_bytes *b)
{
    align(b, 64);
    u32 at = b->used;

    put_text(b, "FACS", 4);
    acpi_put(b, FACS_BYTES, 4);
    while (b->used < at + FACS_BYTES) // Signature, waking vectors, global lock, flags.
        acpi_put(b, b->used == at + 32 ? 1 : 0, 1);
    return VMM_ACPI_BASE + at;
}

static u64 put_dsdt(struct acpi_bytes *b, u32 processors)
{
    u32 at = open_table(b, "DSDT", 2);

    acpi_put_aml(b, processors);
    return close_table(b, at);
}

static u64 put_fadt(struct acpi_bytes *b, u64 facs, u64 dsdt)
{
    u32 at = open_table(b, "FACP", 3);

    acpi_put(b, facs, 4);
    acpi_put(b, dsdt, 4);
    acpi_put(b, 0, 2); // Reserved; preferred profile: unspecified.
    acpi_put(b, VMM_SCI, 2);
    acpi_put(b, 0, 4); // SMI_CMD: always in ACPI mode.
    acpi_put(b, 0, 4); // ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT
    acpi_put(b, VMM_PM_BASE, 4);
    acpi_put(b, 0, 4); // PM1b
    acpi_put(b, VMM_PM_CONTROL, 4);
    acpi_put(b, 0, 8); // PM1b, PM2
    acpi_put(b, VMM_PM_TIMER, 4);
    acpi_put(b, 0, 8);                    // GPE0, GPE1
    acpi_put(b, 4 | 2 << 8 | 4 << 24, 4); // PM1_EVT_LEN, PM1_CNT_LEN, PM2_CNT_LEN, PM_TMR_LEN
    acpi_put(b, 0, 4);                    // Lengths of GPE0, GPE1, base of GPE1, CST_CNT.
    acpi_put(b, FADT_NO_LATENCY, 2);
    acpi_put(b, FADT_NO_LATENCY, 2);
    acpi_put(b, 0, 8); // FLUSH_SIZE, FLUSH_STRIDE, DUTY_OFFSET, DUTY_WIDTH, DAY_ALRM, MON_ALRM
    acpi_put(b, RTC_CENTURY, 1);
    acpi_put(b, BOOT_LEGACY_DEVICES | BOOT_NO_VGA, 2);
    acpi_put(b, 0, 1);
    acpi_put(b, FADT_FLAGS, 4);
    put_address(b, SPACE_IO, 8, VMM_RESET_PORT);
    acpi_put(b, VMM_RESET_VALUE, 4);
    acpi_put(b, facs, 8);
    acpi_put(b, dsdt, 8);
    put_address(b, SPACE_IO, 32, VMM_PM_BASE);
    put_address(b, SPACE_IO, 0, 0);
    put_address(b, SPACE_IO, 16, VMM_PM_CONTROL);
    put_address(b, SPACE_IO, 0, 0);
    put_address(b, SPACE_IO, 0, 0);
    put_address(b, SPACE_IO, 32, VMM_PM_TIMER);
    put_address(b, SPACE_IO, 0, 0);
    put_address(b, SPACE_IO, 0, 0);
    return close_table(b, at);
}

static void put_override(struct acpi_bytes *b, u32 irq, u32 gsi, u32 flags)
{
    acpi_put(b, 2 | 10 << 8, 2);
    acpi_put(b, irq << 8, 2); // Bus 0: ISA.
    acpi_put(b, gsi, 4);
    acpi_put(b, flags, 2);
}

static u64 put_madt(struct acpi_bytes *b, const struct vmm_vm *vm)
{
    const struct vmm_vcpu_config *vcpus = vmm_config_at(vm->vmm->config, vm->config->vcpus_offset);
    u32 at = open_table(b, "APIC", 1);

    acpi_put(b, APIC_DEFAULT_BASE, 4);
    acpi_put(b, MADT_PCAT, 4);
    for (u32 i = 0; i < vm->config->vcpu_count; i++) {
        acpi_put(b, 0 | 8 << 8, 2);
        acpi_put(b, i | vcpus[i].apic_id << 8, 2);
        acpi_put(b, 1, 4); // Enabled.
    }
    acpi_put(b, 1 | 12 << 8, 4); // I/O APIC 0.
    acpi_put(b, IOAPIC_DEFAULT_BASE, 4);
    acpi_put(b, 0, 4);
    put_override(b, 0, 2, FLAGS_EDGE_HIGH); // The timer comes in at pin 2.
    put_override(b, VMM_SCI, VMM_SCI, FLAGS_LEVEL_HIGH);
    acpi_put(b, 4 | 6 << 8, 2); // LINT1 of every processor is NMI.
    acpi_put(b, 0xff | 1u << 24, 4);
    return close_table(b, at);
}

static u64 put_hpet(struct acpi_bytes *b)
{
    u32 at = open_table(b, "HPET", 1);

    acpi_put(b, VMM_HPET_ID, 4);
    put_address(b, SPACE_MEMORY, 64, VMM_HPET_BASE);
    acpi_put(b, 0, 1);
    acpi_put(b, VMM_HPET_MIN_TICKS, 2);
    acpi_put(b, 0, 1);
    return close_table(b, at);
}

static u64 put_root(struct acpi_bytes *b, const char *signature, u32 entry_bytes, const u64 *tables)
{
    u32 at = open_table(b, signature, 1);

    for (u32 i = 0; i < TABLES; i++)
        acpi_put(b, tables[i], entry_bytes);
    return close_table(b, at);
}

static void write_rsdp(u8 *to, u64 rsdt, u64 xsdt)
{
    struct acpi_bytes b = {.base = to, .max = RSDP_BYTES};

    put_text(&b, "RSD PTR ", 8);
    acpi_put(&b, 0, 1);
    put_text(&b, "HVSIM ", 6);
    acpi_put(&b, 2, 1); // Revision: there is an XSDT.
    acpi_put(&b, rsdt, 4);
    acpi_put(&b, RSDP_BYTES, 4);
    acpi_put(&b, xsdt, 8);
    acpi_put(&b, 0, 4);
    to[8] = checksum(to, RSDP_OLD_BYTES);
    to[32] = checksum(to, RSDP_BYTES);
}

static void reset(struct vmm_pc_device *d)
{
    struct acpi_bytes b = {.base = d->state, .used = RSDP_BYTES, .max = VMM_ACPI_BYTES_MAX};
    u64 tables[TABLES], facs = put_facs(&b), dsdt = put_dsdt(&b, d->vm->config->vcpu_count);

    tables[0] = put_fadt(&b, facs, dsdt);
    tables[1] = put_madt(&b, d->vm);
    tables[2] = put_hpet(&b);
    u64 rsdt = put_root(&b, "RSDT", 4, tables), xsdt = put_root(&b, "XSDT", 8, tables);

    vmm_check(b.used <= b.max, "the ACPI tables do not fit");
    write_rsdp(b.base, rsdt, xsdt);
    if (d->vm->config->memory_bytes >= VMM_ACPI_BASE + VMM_ACPI_BYTES_MAX) // Else nobody would find them.
        vmm_require(vmm_write_guest(d->vm, VMM_ACPI_BASE, b.base, b.used), "ACPI tables");
}

const struct vmm_pc_model vmm_pc_acpi = {
    .name = "ACPI tables",
    .state_bytes = VMM_ACPI_BYTES_MAX,
    .reset = reset,
};
