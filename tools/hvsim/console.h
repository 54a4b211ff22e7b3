// SPDX-License-Identifier: Apache-2.0
// A guest's console as a file: --console FILE, or a stream of this command.
#ifndef TOOLS_HVSIM_CONSOLE_H
#define TOOLS_HVSIM_CONSOLE_H

#include <stdint.h>
#include <stdio.h>

struct console {
    FILE *file;
    const char *path; // NULL: a stream of this command
    int error;        // errno of the write that failed: nobody listens any more; 0: all is well
};

// Opens `path` anew; NULL: `without` is the console. 0, or STATUS_USAGE after a message.
int console_open(struct console *c, const char *path, FILE *without);
// Lines appear when they are complete, the rest of one with console_flush().
void console_byte(struct console *c, uint8_t byte);
void console_flush(struct console *c);
// Closes a file. 0, or STATUS_USAGE after a message if not all could be written.
int console_close(struct console *c);

#endif
