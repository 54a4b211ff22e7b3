// SPDX-License-Identifier: Apache-2.0
// What the ACPI tables (acpi.c) and the hardware that they describe (pm.c, pci.c) agree upon.
#ifndef HV_VMM_ACPI_H
#define HV_VMM_ACPI_H

#include "hv/hw/types.h"

#define VMM_PM_BASE 0x600u // PM1a event block, 4 ports.
#define VMM_PM_CONTROL 0x604u
#define VMM_PM_TIMER 0x608u
#define VMM_PM_TIMER_HZ 3579545u // ACPI 6.4, 4.8.3.3.
#define VMM_SCI 9u               // Interrupt of ACPI events: level, active high.
#define VMM_ACPI_S5 0u           // SLP_TYP of soft off.
#define VMM_RESET_PORT 0xcf9u
#define VMM_RESET_VALUE 0x06u
// Of the PCI host bridge.
#define VMM_PCI_PORTS 0xcf8u
#define VMM_PCI_IO_BASE 0xc000u
#define VMM_PCI_IO_BYTES 0x1000u
#define VMM_PCI_MEMORY_BASE 0xfea00000u
#define VMM_PCI_MEMORY_BYTES 0x100000u

// Bytes of the tables, little-endian, one behind the other. What does not fit is counted, not written.
struct acpi_bytes {
    u8 *base;
    u32 used, max;
};
void acpi_put(struct acpi_bytes *b, u64 value, u32 bytes);
// Body of the DSDT (acpi_aml.c): the processors, the PCI host bridge, soft off.
void acpi_put_aml(struct acpi_bytes *b, u32 processors);

#endif
