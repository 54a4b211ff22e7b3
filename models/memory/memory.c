// SPDX-License-Identifier: Apache-2.0
// Beginning, threads and messages.
#include "models/memory/c11.h"
#include <stdlib.h>

static uint64_t *new_view(const struct memory *m)
{
    return calloc(1, m->view_bytes);
}

struct memory *memory_create(uint32_t cpus)
{
    struct memory *m = calloc(1, sizeof *m);
    bool good = m != NULL && cpus >= 1 && cpus <= MEMORY_CPUS_MAX;

    if (!good) {
        free(m);
        return NULL;
    }
    m->cpus = cpus;
    m->view_words = 1 + 3 * cpus;
    m->view_bytes = m->view_words * sizeof(uint64_t);
    m->store_bytes = sizeof(struct c11_store) + m->view_bytes + 2 * cpus * sizeof(uint64_t);
    m->stores = calloc(C11_STORES, m->store_bytes);
    m->fences = new_view(m);
    m->forgotten = new_view(m);
    m->combined = new_view(m);
    m->sc_order = new_view(m);
    good = m->stores && m->fences && m->forgotten && m->combined && m->sc_order;
    for (uint32_t i = 0; i < cpus; i++) {
        struct c11_cpu *c = &m->cpu[i];

        c->now = new_view(m);
        c->acquired = new_view(m);
        c->released = new_view(m);
        c->message = new_view(m);
        good = good && c->now && c->acquired && c->released && c->message;
    }
    m->threads = calloc(MEMORY_THREADS_MAX, 3 * m->view_bytes);
    good = good && m->threads;
    if (!good) {
        memory_destroy(m);
        return NULL;
    }
    m->cpu[0].active = true;
    return m;
}

void memory_destroy(struct memory *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; i < m->cpus; i++) {
        free(m->cpu[i].now);
        free(m->cpu[i].acquired);
        free(m->cpu[i].released);
        free(m->cpu[i].message);
    }
    free(m->threads);
    free(m->fences);
    free(m->forgotten);
    free(m->combined);
    free(m->sc_order);
    free(m->stores);
    free(m);
}

void memory_reset(struct memory *m)
{
    for (uint32_t i = 0; i < m->locations; i++) {
        m->bucket[m->location[i].bucket] = NULL;
        m->bucket_count[m->location[i].bucket] = 0;
        m->location[i].used = false;
    }
    m->locations = m->holes = m->next_victim = 0;
    m->stores_used = 0;
    m->free_store = NULL;
    for (uint32_t i = 0; i < m->cpus; i++) {
        struct c11_cpu *c = &m->cpu[i];

        memset(c->now, 0, m->view_bytes);
        memset(c->acquired, 0, m->view_bytes);
        memset(c->released, 0, m->view_bytes);
        memset(c->message, 0, m->view_bytes);
        c->active = i == 0;
        c->has_released = false;
    }
    memset(m->threads, 0, 3 * m->view_bytes * m->threads_used);
    m->threads_used = 0;
    memset(m->fences, 0, m->view_bytes);
    memset(m->forgotten, 0, m->view_bytes);
    m->has_forgotten = false;
    m->sc = 0;
    m->promises = 0;
    m->hopeless = false;
    if (!m->values)
        return;
    memset(m->sc_order, 0, m->view_bytes);
    m->stored_count = 0;
}

void memory_cpu_starts(struct memory *m, uint32_t cpu, uint32_t by)
{
    struct c11_cpu *c = &m->cpu[cpu];

    c->active = true;
    if (by != cpu)
        c11_join(m, c->now, m->cpu[by].now);
}

void memory_thread_leaves(struct memory *m, uint32_t cpu, uint32_t thread)
{
    const struct c11_cpu *c = &m->cpu[cpu];
    uint64_t *saved = c11_thread(m, thread);

    memcpy(saved, c->now, m->view_bytes);
    memcpy(saved + m->view_words, c->acquired, m->view_bytes);
    memcpy(saved + 2ull * m->view_words, c->released, m->view_bytes);
    if (thread >= m->threads_used)
        m->threads_used = thread + 1;
    if (m->promises)
        c11_promises_acquired(m, cpu);
}

void memory_thread_comes(struct memory *m, uint32_t cpu, uint32_t thread)
{
    struct c11_cpu *c = &m->cpu[cpu];
    const uint64_t *saved = c11_thread(m, thread);

    if (thread >= m->threads_used)
        return;
    c11_join(m, c->now, saved);
    c11_join(m, c->acquired, saved + m->view_words);
    c11_join(m, c->released, saved + 2ull * m->view_words);
    for (uint32_t i = 0; i < m->view_words; i++)
        c->has_released |= c->released[i] != 0;
}

void memory_message_sent(struct memory *m, uint32_t from, uint32_t to)
{
    c11_join(m, m->cpu[to].message, m->cpu[from].released);
}

void memory_message_taken(struct memory *m, uint32_t cpu)
{
    c11_join(m, m->cpu[cpu].now, m->cpu[cpu].message);
}
