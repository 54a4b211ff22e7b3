// SPDX-License-Identifier: Apache-2.0
// The keyboard controller of a PC without a keyboard (8042: ports 60H and 64H), and port 92H, which does two
// of its jobs faster.
//
// Its processor-reset line ends the guest. The A20 gate is kept, but open whatever it says.
#include "hv/vmm/pc.h"

#define DATA_PORT 0x60u
#define COMMAND_PORT 0x64u // Read: status.
#define SYSTEM_PORT 0x92u

#define STATUS_OUTPUT_FULL 0x01u
#define STATUS_SELF_TESTED 0x04u
#define STATUS_COMMAND 0x08u // The last write was to the command port.
#define STATUS_UNLOCKED 0x10u
#define STATUS_TIMEOUT 0x40u

#define CONFIG_SELF_TESTED 0x04u
#define OUTPUT_NO_RESET 0x01u
#define OUTPUT_A20 0x02u
#define SYSTEM_RESET 0x01u
#define SYSTEM_A20 0x02u

enum command {
    READ_CONFIG = 0x20,
    WRITE_CONFIG = 0x60,
    TEST_MOUSE_PORT = 0xa9,
    SELF_TEST = 0xaa,
    TEST_KEYBOARD_PORT = 0xab,
    READ_INPUT_PORT = 0xc0,
    READ_OUTPUT_PORT = 0xd0,
    WRITE_OUTPUT_PORT = 0xd1,
    PULSE_OUTPUT_PORT = 0xf0, // Bits 3:0 clear: which lines.
};
#define SELF_TEST_PASSED 0x55u
#define NO_MOUSE 0x01u // "Clock line stuck low".
#define RESEND 0xfeu   // What a device that does not answer is made to say.

struct i8042 {
    u8 status; // But STATUS_OUTPUT_FULL.
    u8 config, output_port;
    u8 command; // That waits for its data byte; 0: none.
    bool full;
    u8 data;
    u8 system; // Port 92H.
};

static void reset_guest(struct vmm_pc_device *d)
{
    vmm_guest_end(d->vm, GUEST_END_RESET, 0);
}

static void answer(struct i8042 *k, u32 byte)
{
    k->data = (u8)byte;
    k->full = true;
}

static void write_output_port(struct vmm_pc_device *d, u8 value)
{
    ((struct i8042 *)d->state)->output_port = value | OUTPUT_NO_RESET;
    if ((value & OUTPUT_NO_RESET) == 0)
        reset_guest(d);
}

static void write_command(struct vmm_pc_device *d, u8 value)
{
    struct i8042 *k = d->state;

    k->status |= STATUS_COMMAND;
    k->command = 0;
    switch (value) {
    case READ_CONFIG:
        answer(k, k->config);
        break;
    case WRITE_CONFIG:
    case WRITE_OUTPUT_PORT:
        k->command = value;
        break;
    case TEST_MOUSE_PORT:
        answer(k, NO_MOUSE);
        break;
    case SELF_TEST:
        k->status |= STATUS_SELF_TESTED;
        answer(k, SELF_TEST_PASSED);
        break;
    case TEST_KEYBOARD_PORT:
    case READ_INPUT_PORT:
        answer(k, 0);
        break;
    case READ_OUTPUT_PORT:
        answer(k, k->output_port);
        break;
    default: // Others concern devices that are not there.
        if (value >= PULSE_OUTPUT_PORT && (value & 1) == 0)
            reset_guest(d);
        break;
    }
}

static void write_data(struct vmm_pc_device *d, u8 value)
{
    struct i8042 *k = d->state;
    u8 command = k->command;

    k->status &= (u8) ~(STATUS_COMMAND | STATUS_TIMEOUT);
    k->command = 0;
    if (command == WRITE_CONFIG) {
        k->config = value;
    } else if (command == WRITE_OUTPUT_PORT) {
        write_output_port(d, value);
    } else { // For the keyboard.
        k->status |= STATUS_TIMEOUT;
        answer(k, RESEND);
    }
}

static u64 read(struct vmm_pc_device *d, u64 address, u32 size)
{
    struct i8042 *k = d->state;

    (void)size;
    if (address == SYSTEM_PORT)
        return k->system;
    if (address == COMMAND_PORT)
        return k->status | (k->full ? STATUS_OUTPUT_FULL : 0);
    k->full = false;
    return k->data;
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    struct i8042 *k = d->state;

    (void)size;
    if (address == SYSTEM_PORT) {
        bool rises = (value & ~(u64)k->system & SYSTEM_RESET) != 0;

        k->system = value & (SYSTEM_RESET | SYSTEM_A20);
        if (rises)
            reset_guest(d);
    } else if (address == COMMAND_PORT) {
        write_command(d, (u8)value);
    } else {
        write_data(d, (u8)value);
    }
}

static void reset(struct vmm_pc_device *d)
{
    struct i8042 *k = d->state;

    k->status = STATUS_SELF_TESTED | STATUS_UNLOCKED;
    k->config = CONFIG_SELF_TESTED;
    k->output_port = OUTPUT_NO_RESET | OUTPUT_A20;
    k->system = SYSTEM_A20;
}

const struct vmm_pc_model vmm_pc_i8042 = {
    .name = "8042",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = DATA_PORT, .size = 1},
               {.kind = VMM_DEVICE_PORT, .base = COMMAND_PORT, .size = 1},
               {.kind = VMM_DEVICE_PORT, .base = SYSTEM_PORT, .size = 1}},
    .state_bytes = sizeof(struct i8042),
    .reset = reset,
    .read = read,
    .write = write,
};
