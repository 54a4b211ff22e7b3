// SPDX-License-Identifier: Apache-2.0
#include "traces/ring.h"

#include "traces/memory.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>

static void *ring_writer(void *context)
{
    struct ring *ring = context;

    pthread_mutex_lock(&ring->lock);
    for (;;) {
        while (ring->consumed == ring->filled && !ring->stop)
            pthread_cond_wait(&ring->changed, &ring->lock);
        if (ring->consumed == ring->filled)
            break;
        int block = ring->queue[ring->consumed % RING_BLOCKS].block;
        size_t size = ring->queue[ring->consumed % RING_BLOCKS].size;

        pthread_mutex_unlock(&ring->lock);
        ring->consume(ring->context, ring->blocks[block], size);
        pthread_mutex_lock(&ring->lock);
        ring->consumed++;
        ring->free[ring->free_count++] = block;
        pthread_cond_broadcast(&ring->changed);
    }
    pthread_mutex_unlock(&ring->lock);
    return NULL;
}

void ring_open(struct ring *ring, bool threaded, ring_consume_fn *consume, void *context)
{
    sigset_t all, before;

    *ring = (struct ring){.consume = consume, .context = context};
    ring->blocks[0] = memory_zeroed(1, RING_BLOCK_BYTES);
    for (int i = RING_BLOCKS - 1; i > 0; i--)
        ring->free[ring->free_count++] = i;
    pthread_mutex_init(&ring->lock, NULL);
    pthread_cond_init(&ring->changed, NULL);
    if (!threaded)
        return;
    // Ctrl-C belongs to the simulator's thread.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ring->threaded = pthread_create(&ring->thread, NULL, ring_writer, ring) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void ring_close(struct ring *ring)
{
    if (ring->threaded) {
        pthread_mutex_lock(&ring->lock);
        ring->stop = true;
        pthread_cond_broadcast(&ring->changed);
        pthread_mutex_unlock(&ring->lock);
        pthread_join(ring->thread, NULL);
    }
    for (int i = 0; i < RING_BLOCKS; i++)
        free(ring->blocks[i]);
    pthread_cond_destroy(&ring->changed);
    pthread_mutex_destroy(&ring->lock);
}

void ring_hold(struct ring *ring)
{
    assert(!ring->threaded && ring->current == 0);
    ring->holds = true;
    ring->spilled = false;
}

static void ring_consume_held(struct ring *ring)
{
    for (int i = 0; i < ring->current; i++)
        ring->consume(ring->context, ring->blocks[i], ring->held[i]);
    ring->current = 0;
}

static void ring_keep(struct ring *ring, size_t size)
{
    ring->held[ring->current++] = size;
    if (ring->current == RING_BLOCKS) {
        ring->spilled = true;
        ring_consume_held(ring);
    }
    if (!ring->blocks[ring->current])
        ring->blocks[ring->current] = memory_zeroed(1, RING_BLOCK_BYTES);
}

void ring_push(struct ring *ring, size_t size)
{
    if (ring->holds) {
        ring_keep(ring, size);
        return;
    }
    if (!ring->threaded) {
        ring->consume(ring->context, ring_block(ring), size);
        return;
    }
    pthread_mutex_lock(&ring->lock);
    ring->queue[ring->filled % RING_BLOCKS].block = ring->current;
    ring->queue[ring->filled % RING_BLOCKS].size = size;
    ring->filled++;
    pthread_cond_broadcast(&ring->changed);
    while (!ring->free_count)
        pthread_cond_wait(&ring->changed, &ring->lock);
    ring->current = ring->free[--ring->free_count];
    pthread_mutex_unlock(&ring->lock);
    if (!ring->blocks[ring->current])
        ring->blocks[ring->current] = memory_zeroed(1, RING_BLOCK_BYTES);
}

void ring_drain(struct ring *ring)
{
    if (ring->holds)
        ring_consume_held(ring);
    if (!ring->threaded)
        return;
    pthread_mutex_lock(&ring->lock);
    while (ring->filled != ring->consumed)
        pthread_cond_wait(&ring->changed, &ring->lock);
    pthread_mutex_unlock(&ring->lock);
}

void ring_after_fork(struct ring *ring)
{
    if (!ring->threaded)
        return;
    ring->threaded = false;
    pthread_mutex_init(&ring->lock, NULL);
    pthread_cond_init(&ring->changed, NULL);
}
