// SPDX-License-Identifier: Apache-2.0
// Memory for the walker's tests: an array, and a list of the accesses made.
#ifndef MODELS_MMU_TESTS_FAKE_MEM_H
#define MODELS_MMU_TESTS_FAKE_MEM_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_MEMORY_BYTES (1u << 20)
#define FAKE_ACCESSES_MAX 128u

struct fake_access {
    uint64_t hpa;
    bool write, locked;
};
extern unsigned char fake_memory[FAKE_MEMORY_BYTES];
extern struct fake_access fake_accesses[FAKE_ACCESSES_MAX];
extern unsigned fake_access_count;
extern uint64_t fake_ticks_of_read;

void fake_mem_reset(void);
uint64_t fake_get64(uint64_t hpa);
void fake_set64(uint64_t hpa, uint64_t value);

#endif
