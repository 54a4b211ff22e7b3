// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/tests/fake_mem.h"

#include "models/mem/mem.h"
#include <string.h>

unsigned char fake_memory[FAKE_MEMORY_BYTES];
struct fake_access fake_accesses[FAKE_ACCESSES_MAX];
unsigned fake_access_count;
uint64_t fake_ticks_of_read;

void fake_mem_reset(void)
{
    memset(fake_memory, 0, sizeof fake_memory);
    fake_access_count = 0;
    fake_ticks_of_read = 0;
}

static void note(uint64_t hpa, bool write, bool locked)
{
    if (fake_access_count < FAKE_ACCESSES_MAX)
        fake_accesses[fake_access_count++] = (struct fake_access){hpa, write, locked};
}

uint64_t fake_get64(uint64_t hpa)
{
    uint64_t value;

    memcpy(&value, fake_memory + hpa, 8);
    return value;
}

void fake_set64(uint64_t hpa, uint64_t value)
{
    memcpy(fake_memory + hpa, &value, 8);
}

uint64_t mem_read64(struct pcpu *c, uint64_t hpa)
{
    note(hpa, false, false);
    c->now_ticks += fake_ticks_of_read;
    return fake_get64(hpa);
}

void mem_write64(struct pcpu *c, uint64_t hpa, uint64_t value, bool locked)
{
    (void)c;
    note(hpa, true, locked);
    fake_set64(hpa, value);
}

void *mem_hpa_to_ptr(const struct pcpu *c, uint64_t hpa, uint64_t size_bytes)
{
    (void)c;
    return hpa + size_bytes <= sizeof fake_memory ? fake_memory + hpa : NULL;
}
