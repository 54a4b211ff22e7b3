// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_RING_H
#define HVSIM_TRACES_RING_H

/*
 * Blocks of records on their way from the producer to the consumer. With a writer thread, full blocks queue
 * for it and the producer waits only when all are full; without one, a full block is consumed on the spot,
 * unless it is to be held: then it stays until ring_drain(), or until there are too many.
 */

#include "traces/trace.h"

#include <pthread.h>

// Enough for the writer to be away for some tens of milliseconds; memory is taken as it is needed.
enum { RING_BLOCKS = 64, RING_BLOCK_BYTES = 128 * 1024 };

typedef void ring_consume_fn(void *context, const unsigned char *block, size_t size);

struct ring {
    unsigned char *blocks[RING_BLOCKS];
    int current; // the block being filled
    ring_consume_fn *consume;
    void *context;
    bool threaded;
    // Without a thread, blocks 0..current - 1 if they are held, with their sizes.
    bool holds, spilled; // spilled: since ring_hold() there were too many.
    size_t held[RING_BLOCKS];
    // Guarded by lock. The last block that became free is taken first: it is still in a cache.
    int free[RING_BLOCKS], free_count;
    struct {
        int block;
        size_t size;
    } queue[RING_BLOCKS]; // filled blocks in order, entry n at n % RING_BLOCKS
    uint64_t filled, consumed;
    bool stop;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
};

// threaded is a wish: without resources for a thread it stays on the caller's.
void ring_open(struct ring *ring, bool threaded, ring_consume_fn *consume, void *context);
void ring_close(struct ring *ring);

// The block to fill now.
static inline unsigned char *ring_block(const struct ring *ring)
{
    return ring->blocks[ring->current];
}

// Hands the block over, filled with size bytes; returns when the next one is free.
void ring_push(struct ring *ring, size_t size);

// Returns when everything handed over has been consumed. The block to fill may be another one.
void ring_drain(struct ring *ring);

// From here on blocks are held. Nothing is in the block to fill. Without a writer thread.
void ring_hold(struct ring *ring);

// In a forked child, where the writer thread does not exist.
void ring_after_fork(struct ring *ring);

#endif
