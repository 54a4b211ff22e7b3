// SPDX-License-Identifier: Apache-2.0
// What somebody at a guest's console waits for and types: the text of a script, a step on each line.
//
//   wait TEXT    until the guest has written TEXT, behind the text that was waited for before
//   type TEXT    types TEXT
//   enter TEXT   types TEXT and the Enter key (a carriage return); without TEXT the key alone
//   pause TIME   before what is typed next, 1ms to 60s in whole milliseconds
//
// Empty lines and lines that begin with `#` are left out. TEXT is the rest of the line without the blanks
// around it, or stands in double quotes, in which \n \r \t \e \\ \" and \xHH mean what they do in C (\e:
// escape).
#ifndef SIM_SCENARIO_CONSOLE_SCRIPT_H
#define SIM_SCENARIO_CONSOLE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONSOLE_STEPS_MAX 100000u
#define CONSOLE_PAUSE_MS_MAX 60000u

struct console_step {
    bool waits;        // For the bytes; else they are typed.
    uint32_t pause_ms; // Before they are.
    uint32_t line;     // Of the script, from 1.
    uint8_t *bytes;    // Never none.
    uint32_t size;
};
struct console_script {
    struct console_step *steps;
    uint32_t step_count;
};
struct console_script_error {
    uint32_t line;
    char text[240];
};

// 0, or -1 with `e`; console_script_free() in either case.
int console_script_parse(const char *text, struct console_script *script, struct console_script_error *e);
void console_script_free(struct console_script *script);

// Writes a script that types these bytes.
void console_script_type(FILE *out, const uint8_t *bytes, uint64_t size);

#endif
