// SPDX-License-Identifier: Apache-2.0
// Ports of a host's board (hw_in, hw_out) that are not a device's of their own: power, and what the user at
// the machine sees.
//
//   port 0x604  POWER    out, 2 bytes: bit 13 set switches the host off (ACPI's PM1a control block, SLP_EN).
//   port 0xd10  CONSOLE  out, 4 bytes: bits 7:0 a byte that some guest's console shows, bits 31:8 the number
//                        of its VM.
//   port 0xd14  END      out, 4 bytes: bits 7:0 the number of a VM whose guest has ended, 15:8 how
//                        (enum guest_end), 31:16 the code that it ended with, 0xffff: that or a larger one.
//   port 0xd20  INPUT    in, 4 bytes; + 4 * the number of a VM, below BOARD_INPUT_VMS: takes the next byte
//   that
//                        is typed at its console, as spec/console_input.h has it.
//
// Others are write only; reads are all ones. The simulator's user sees what CONSOLE and END say and types
// what INPUT reads; no software does.
#ifndef HV_HW_BOARD_H
#define HV_HW_BOARD_H

#include "hv/hw/types.h"
#include "spec/guest_end.h"

#define BOARD_PORT_POWER 0x604u
#define BOARD_POWER_SLP_EN (1u << 13)
#define BOARD_PORT_CONSOLE 0xd10u
#define BOARD_PORT_END 0xd14u
#define BOARD_PORT_INPUT 0xd20u
#define BOARD_INPUT_VMS 16u

static inline u32 board_console(u32 number, u8 byte)
{
    return number << 8 | byte;
}
static inline u32 board_end(u32 number, enum guest_end how, u64 code)
{
    return (u32)(code < 0xffff ? code : 0xffff) << 16 | (u32)how << 8 | (number & 0xff);
}

#endif
