// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_MEMORY_H
#define HVSIM_TRACES_MEMORY_H

/*
 * Memory of traces/ itself. A trace of which a part is missing is worse than none, so running out of memory
 * ends the program with a message.
 */

#include <stddef.h>

void *memory_zeroed(size_t count, size_t size);

// Grows *array (of elements of size bytes) so that index fits; new elements are zero.
void memory_fit(void **array, size_t *capacity, size_t index, size_t size);

#endif
