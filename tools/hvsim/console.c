// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/console.h"

#include "tools/hvsim/command.h"
#include <errno.h>
#include <string.h>

static int unwritable(const struct console *c)
{
    return c->path ? complain("--console %s: cannot be written: %s", c->path, strerror(c->error))
                   : complain("the console cannot be written: %s", strerror(c->error));
}

static void check(struct console *c, bool good)
{
    if (!good && !c->error)
        c->error = errno;
}

int console_open(struct console *c, const char *path, FILE *without)
{
    *c = (struct console){.file = path ? fopen(path, "we") : without, .path = path};
    check(c, c->file != NULL);
    return c->file ? 0 : unwritable(c);
}

void console_byte(struct console *c, uint8_t byte)
{
    check(c, fputc(byte, c->file) != EOF && (byte != '\n' || fflush(c->file) == 0));
}

void console_flush(struct console *c)
{
    check(c, fflush(c->file) == 0);
}

int console_close(struct console *c)
{
    console_flush(c);
    if (c->path)
        check(c, fclose(c->file) == 0);
    return c->error ? unwritable(c) : 0;
}
