// SPDX-License-Identifier: Apache-2.0
// What is typed next at a guest's console, in a word: as port INPUT of the board reads (hv/hw/board.h) and
// HV_SYS_CONSOLE_READ returns.
//
//    31     16 15         8 7     0
//   | pause ms | pause chars | byte |
//
// The byte begins on the line so many characters' times and milliseconds after the one before it has ended,
// or after what the guest showed last.
#ifndef SPEC_CONSOLE_INPUT_H
#define SPEC_CONSOLE_INPUT_H

#include <stdint.h>

#define CONSOLE_INPUT_NONE 0xffffffffu // Nothing, until the guest shows more.
#define CONSOLE_INPUT_MS_MAX 0xfffeu

static inline uint32_t console_input_word(uint8_t byte, uint8_t pause_characters, uint16_t pause_ms)
{
    return (uint32_t)pause_ms << 16 | (uint32_t)pause_characters << 8 | byte;
}
static inline uint8_t console_input_byte(uint32_t word)
{
    return (uint8_t)word;
}
static inline uint32_t console_input_pause_characters(uint32_t word)
{
    return word >> 8 & 0xff;
}
static inline uint32_t console_input_pause_ms(uint32_t word)
{
    return word >> 16;
}

#endif
