// SPDX-License-Identifier: Apache-2.0
// The local socket on which gdb is waited for: a Unix socket, or TCP on the loopback interface. One gdb,
// once.
#ifndef TOOLS_HVSIM_GDB_SERVER_H
#define TOOLS_HVSIM_GDB_SERVER_H

#include <stdbool.h>
#include <stddef.h>

struct server {
    int listener, fd; // -1: none
    const char *path; // To be removed; NULL: TCP
    char target[200]; // What gdb's `target remote` wants to have
};

// Takes the place of a socket at `path`, or without one at `port` of 127.0.0.1 (0: any). 0, or -1 with a
// message in `why`.
int server_open(struct server *s, const char *path, unsigned port, char *why, size_t why_size);
// From now on gdb can connect: it does not wait long for its first answer.
bool server_listen(struct server *s);
void server_close(struct server *s);

// Waits for gdb; false: a signal came, or `lifeline` became readable.
bool server_accept(struct server *s, int lifeline);
// Reads what is there, waiting for the first byte if `wait`. Bytes; 0: nothing there, or a signal came; -1:
// gdb or `lifeline` is gone.
int server_read(struct server *s, int lifeline, void *to, size_t size, bool wait);
// False: gdb is gone.
bool server_write(struct server *s, const void *bytes, size_t size);

#endif
