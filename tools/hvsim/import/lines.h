// SPDX-License-Identifier: Apache-2.0
// Lines of a file of any size in bounded memory. No simulated time.
#ifndef TOOLS_HVSIM_IMPORT_LINES_H
#define TOOLS_HVSIM_IMPORT_LINES_H

#include "sim/scenario/stream_names.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINES_BUFFER (1u << 20)
#define LINES_LINE_MAX (64u << 10) // The rest of a longer line is dropped.

struct lines {
    int fd;
    char *buffer;
    size_t begin, end; // Unread part of buffer.
    bool at_end, drop_pending;
    int error;          // errno of a failed read, 0.
    uint64_t count;     // Lines returned.
    uint64_t bytes;     // Bytes returned, with line ends.
    uint64_t cut_count; // Lines that were longer than LINES_LINE_MAX.
};

// Buffer from malloc; false without memory.
bool lines_begin(struct lines *lines, int fd);
void lines_end(struct lines *lines);
// The next line without its end (\n or \r\n), valid until the next call. False at the end or on an error.
bool lines_next(struct lines *lines, struct span *line);
// The first bytes of the input, up to LINES_BUFFER, without taking them. Fewer only at the end.
struct span lines_peek(struct lines *lines, size_t want);

#endif
