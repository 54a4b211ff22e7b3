// SPDX-License-Identifier: Apache-2.0
#include "tools/mutate/mutate.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void *mutate_alloc(size_t size_bytes)
{
    void *memory = calloc(1, size_bytes ? size_bytes : 1);
    if (!memory)
        abort();
    return memory;
}

char *mutate_printf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        abort();
    va_end(args);
    return text;
}

char *mutate_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    char *text = NULL;
    size_t length = 0, got;
    do {
        text = realloc(text, length + 65537);
        if (!text)
            abort();
        got = fread(text + length, 1, 65536, f);
        length += got;
    } while (got > 0);
    text[length] = 0;
    fclose(f);
    return text;
}

void mutate_write(const char *path, const char *text)
{
    char *copy = mutate_printf("%s", path);
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(copy, 0777);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0) {
        fprintf(stderr, "hvsim-mutate: cannot write %s: %s\n", path, strerror(errno));
        exit(2);
    }
    free(copy);
}

// FNV-1a.
static uint64_t hash_bytes(uint64_t hash, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3;
    return hash;
}

uint64_t mutate_hash(uint64_t start, const char *text)
{
    return hash_bytes(start ^ 0xcbf29ce484222325, text, strlen(text) + 1);
}

uint64_t mutate_hash_file(uint64_t start, const char *path)
{
    FILE *f = fopen(path, "rb");
    char bytes[65536];
    size_t got;
    while (f && (got = fread(bytes, 1, sizeof bytes, f)) > 0)
        start = hash_bytes(start, bytes, got);
    if (f)
        fclose(f);
    return start;
}
