// SPDX-License-Identifier: Apache-2.0
// Inside of models/dev: messages on a link, and lists of what becomes known when.
#ifndef MODELS_DEV_LINK_QUEUE_H
#define MODELS_DEV_LINK_QUEUE_H

#include "hv/hw/link.h"
#include "sim/sim.h"

struct link_transfer {
    struct link_transfer *next;
    uint64_t generation; // Of the carrier that it was sent under.
    uint64_t arrival_ps; // SIM_PS_NEVER: waits for its turn.
    uint64_t queued_ps;
    uint64_t size_bytes; // Header and payload: what it holds of the queues.
    uint32_t header_bytes, payload_bytes, segment_count;
    uint64_t zero[8];
    bool seen; // Software has had a look since it arrived.
    uint8_t *header;
    struct link_segment *segments; // Of the sender's memory.
};

struct link_fifo {
    struct link_transfer *first, **end;
};

// Things that become known at a time: sizes that leave a queue, or just a count.
struct link_moment {
    uint64_t at_ps, bytes;
};
struct link_moments {
    struct link_moment *v; // Ascending by time, from `first` on.
    size_t first, count, capacity;
};

void link_fifo_init(struct link_fifo *f);
void link_fifo_push(struct link_fifo *f, struct link_transfer *m);
struct link_transfer *link_fifo_pop(struct link_fifo *f);
void link_transfer_free(struct link_transfer *m);
void link_moments_push(struct link_moments *s, uint64_t at_ps, uint64_t bytes);
uint64_t link_moments_next_ps(const struct link_moments *s);
// Takes the first if it is due; *bytes are its.
bool link_moments_pop(struct link_moments *s, uint64_t now_ps, uint64_t *bytes);

#endif
