// SPDX-License-Identifier: Apache-2.0
#include "traces/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *memory_or_end(void *memory)
{
    if (!memory) {
        fputs("hvsim: out of memory while recording a trace\n", stderr);
        exit(70);
    }
    return memory;
}

void *memory_zeroed(size_t count, size_t size)
{
    return memory_or_end(calloc(count ? count : 1, size));
}

void memory_fit(void **array, size_t *capacity, size_t index, size_t size)
{
    size_t wanted = *capacity ? *capacity : 16;

    if (index < *capacity)
        return;
    while (wanted <= index)
        wanted *= 2;
    *array = memory_or_end(realloc(*array, wanted * size));
    memset((char *)*array + *capacity * size, 0, (wanted - *capacity) * size);
    *capacity = wanted;
}
