// SPDX-License-Identifier: Apache-2.0
// The firmware configuration device that emulators have: a key is written to its selector port, its item's
// bytes are read from the data port, little-endian unless said otherwise (fw_cfg, "Register Locations").
//
// Without DMA. Keys that are not in the table, and bytes beyond an item's end, read as zero.
#include "hv/vmm/pc.h"

#define SELECTOR_PORT 0x510u
#define DATA_PORT 0x511u

enum fw_cfg_key {
    KEY_SIGNATURE = 0x00, // "QEMU"
    KEY_ID = 0x01,        // Bit 0: the traditional interface.
    KEY_RAM_SIZE = 0x03,  // u64
    KEY_NB_CPUS = 0x05,   // u16
    KEY_MAX_CPUS = 0x0f,  // u16
    KEY_FILE_DIR = 0x19,  // u32, big-endian: how many files. None.
};
#define SIGNATURE 0x554d4551u

struct fw_cfg {
    u16 key;
    u32 offset;
};

static u64 item(const struct vmm_vm *vm, u16 key)
{
    switch ((enum fw_cfg_key)key) {
    case KEY_SIGNATURE:
        return SIGNATURE;
    case KEY_ID:
        return 1;
    case KEY_RAM_SIZE:
        return vm->config->memory_bytes;
    case KEY_NB_CPUS:
    case KEY_MAX_CPUS:
        return vm->config->vcpu_count;
    case KEY_FILE_DIR:
        break;
    }
    return 0;
}

static u8 next_byte(struct vmm_pc_device *d)
{
    struct fw_cfg *f = d->state;

    if (f->offset >= sizeof(u64))
        return 0;
    return (u8)(item(d->vm, f->key) >> 8 * f->offset++);
}

static u64 read(struct vmm_pc_device *d, u64 address, u32 size)
{
    u64 value = 0;

    if (address == SELECTOR_PORT)
        return ~0ull; // Write only.
    for (u32 i = 0; i < size; i++)
        value |= (u64)next_byte(d) << 8 * i;
    return value;
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    (void)size;
    if (address == SELECTOR_PORT)
        *(struct fw_cfg *)d->state = (struct fw_cfg){.key = (u16)value};
}

const struct vmm_pc_model vmm_pc_fw_cfg = {
    .name = "fw_cfg",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = SELECTOR_PORT, .size = DATA_PORT - SELECTOR_PORT + 1}},
    .state_bytes = sizeof(struct fw_cfg),
    .read = read,
    .write = write,
};
