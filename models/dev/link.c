// SPDX-License-Identifier: Apache-2.0
#include "models/dev/link.h"

#include "hv/hw/link.h"
#include "models/dev/link_queue.h"
#include "models/mem/mem.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ENDS 2u
// Around each packet on the wire: preamble, header, check sequence and gap of Ethernet (IEEE 802.3, 4.2.3).
#define FRAME_BYTES 38u
// PCI Express 3.0 with 16 lanes moves about 15.75 bytes a nanosecond.
#define DMA_PS_PER_16_BYTES 1016u
#define ZERO_MAP_BYTES 64u

struct end {
    struct pcpu *irq_cpu;     // NULL: the card is not enabled.
    uint64_t irq_ps;          // An interrupt is under way for that time; SIM_PS_NEVER: none.
    struct link_fifo waiting; // Messages that wait for room at the peer.
    struct link_fifo inbox;   // Arrived or on the way here, by time.
    struct link_transfer *taken;
    uint64_t waiting_bytes;
    struct link_moments wire; // Ends of transmissions from here: the bytes leave the send queue.
    uint64_t wire_bytes;      // Of those.
    uint64_t wire_free_ps;
    struct link_moments releases; // Of messages from here, as they become known here.
    uint64_t
        unreleased_bytes; // In the peer's receive queue, by what is known here at the last release's time.
    uint32_t pending;     // Messages from here that the peer has not released, as is known here.
    uint64_t wire_total_bytes, wire_latched_bytes; // Ever put on the wire; at the last look.
    struct link_moments placements;
    uint64_t placing_until_ps;
    uint32_t placed;
    uint64_t carrier_ps; // Of a change that software has not seen; SIM_PS_NEVER: none.
    bool wants_space;
};

struct link {
    struct link_config config;
    struct end ends[ENDS];
    uint64_t generation; // How often the carrier was lost.
    bool up;
};

// --- Small parts. ---

static uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// --- Creation. ---

struct link *link_create(const struct link_config *config)
{
    struct link *l = calloc(1, sizeof *l);

    assert(l && config->bits_per_second && config->mtu_bytes);
    l->config = *config;
    for (unsigned i = 0; i < ENDS; i++) {
        link_fifo_init(&l->ends[i].waiting);
        link_fifo_init(&l->ends[i].inbox);
    }
    link_reset(l);
    return l;
}

static void drop_all(struct link_fifo *f)
{
    while (f->first)
        link_transfer_free(link_fifo_pop(f));
}

static void end_reset(struct end *e)
{
    drop_all(&e->waiting);
    drop_all(&e->inbox);
    link_transfer_free(e->taken);
    struct link_moments *const lists[] = {&e->wire, &e->releases, &e->placements};

    for (unsigned i = 0; i < 3; i++)
        free(lists[i]->v);
    *e = (struct end){.irq_ps = SIM_PS_NEVER, .carrier_ps = SIM_PS_NEVER};
    link_fifo_init(&e->waiting);
    link_fifo_init(&e->inbox);
}

void link_reset(struct link *l)
{
    for (unsigned i = 0; i < ENDS; i++)
        end_reset(&l->ends[i]);
    l->generation = 0;
    l->up = true;
}

void link_destroy(struct link *l)
{
    if (!l)
        return;
    link_reset(l);
    free(l);
}

// --- Interrupts. ---

// The earliest thing that software at this end has not seen: what it has seen is no longer in the lists.
static uint64_t next_event_ps(const struct end *e)
{
    const struct link_transfer *m = e->inbox.first;
    uint64_t next = min64(link_moments_next_ps(&e->releases), link_moments_next_ps(&e->placements));

    if (e->wants_space)
        next = min64(next, link_moments_next_ps(&e->wire));
    while (m && m->seen)
        m = m->next;
    if (m)
        next = min64(next, m->arrival_ps);
    return min64(next, e->carrier_ps);
}

static void arm(struct end *e, uint64_t now_ps)
{
    uint64_t next = next_event_ps(e);

    if (!e->irq_cpu || next == SIM_PS_NEVER || next >= e->irq_ps)
        return;
    e->irq_ps = max64(next, now_ps);
    pcpu_send(e->irq_cpu, PCPU_MSG_FIXED, LINK_VECTOR, false, pcpu_ps_to_ticks(e->irq_cpu, e->irq_ps));
}

// Brings counters to the present; software looks now.
static void look(struct end *e, uint64_t now_ps)
{
    uint64_t bytes;

    while (link_moments_pop(&e->wire, now_ps, &bytes))
        e->wire_bytes -= bytes;
    while (link_moments_pop(&e->releases, now_ps, &bytes)) {
        e->unreleased_bytes -= bytes;
        e->pending--;
    }
    while (link_moments_pop(&e->placements, now_ps, &bytes))
        e->placed++;
    for (struct link_transfer *m = e->inbox.first; m && m->arrival_ps <= now_ps; m = m->next)
        m->seen = true;
    e->carrier_ps = SIM_PS_NEVER;
    if (e->irq_ps <= now_ps)
        e->irq_ps = SIM_PS_NEVER;
}

// --- Sending. ---

static uint64_t packet_count(const struct link_config *config, uint64_t bytes)
{
    return (bytes + config->mtu_bytes - 1) / config->mtu_bytes;
}

static uint64_t framed_bytes(const struct link_config *config, uint64_t bytes)
{
    return bytes + packet_count(config, bytes) * FRAME_BYTES;
}

uint64_t link_serialize_ps(const struct link_config *config, uint64_t bytes)
{
    unsigned __int128 bits = (unsigned __int128)framed_bytes(config, bytes) * 8;

    return (uint64_t)((bits * 1000000000000ull + config->bits_per_second - 1) / config->bits_per_second) +
           packet_count(config, bytes) * config->packet_ps;
}

static unsigned char *host_memory(unsigned host, uint64_t hpa, uint64_t bytes)
{
    uint64_t size = mem_arena_bytes(host);

    assert(hpa <= size && bytes <= size - hpa && "DMA outside of the host's memory");
    return (unsigned char *)(uintptr_t)(HW_ARENA_BASE + host * HW_ARENA_STRIDE + hpa);
}

static bool is_zero(const unsigned char *p, uint64_t bytes)
{
    uint64_t word;

    if (bytes < sizeof word)
        return false;
    memcpy(&word, p, sizeof word);
    return word == 0 && memcmp(p, p + sizeof word, bytes - sizeof word) == 0;
}

// Marks a segment's pages of zeros, from page *page of the payload on; the bytes that must cross the link.
static uint64_t find_zeros_of(struct link_transfer *m, const struct link_segment *s, unsigned host,
                              uint32_t *page)
{
    const unsigned char *p = host_memory(host, s->hpa, s->bytes);
    uint64_t untouched[8] = {0}, bytes = 0;

    if (s->hpa % LINK_PAGE_BYTES == 0)
        mem_arena_untouched(host, s->hpa, (uint32_t)(s->bytes / LINK_PAGE_BYTES), untouched);
    for (uint64_t at = 0; at < s->bytes; at += LINK_PAGE_BYTES, ++*page) {
        uint64_t part = min64(s->bytes - at, LINK_PAGE_BYTES), i = at / LINK_PAGE_BYTES;

        if (part == LINK_PAGE_BYTES && ((untouched[i / 64] >> i % 64 & 1) || is_zero(p + at, part)))
            m->zero[*page / 64] |= 1ull << *page % 64;
        else
            bytes += part;
    }
    return bytes;
}

// The same for the whole payload.
static uint64_t find_zeros(struct link_transfer *m, unsigned host)
{
    uint64_t bytes = 0;
    uint32_t page = 0;

    for (uint32_t i = 0; i < m->segment_count; i++)
        bytes += find_zeros_of(m, &m->segments[i], host, &page);
    return bytes;
}

// When the receiver has room for `bytes` more, by what is known or will be; SIM_PS_NEVER: not yet known.
static uint64_t room_ps(const struct link *l, const struct end *from, uint64_t bytes, uint64_t at_ps)
{
    uint64_t used = from->unreleased_bytes;

    for (size_t i = 0;; i++) {
        if (used == 0 || used + bytes <= l->config.queue_bytes)
            return at_ps;
        if (i == from->releases.count)
            return SIM_PS_NEVER;
        const struct link_moment *r = &from->releases.v[from->releases.first + i];

        used -= r->bytes;
        at_ps = max64(at_ps, r->at_ps);
    }
}

// Starts what can be started; called when a message is queued or the receiver's room grows.
static void pump(struct link *l, unsigned from_host, uint64_t now_ps)
{
    struct end *from = &l->ends[from_host], *to = &l->ends[1 - from_host];

    while (from->waiting.first) {
        struct link_transfer *m = from->waiting.first;
        uint64_t start = room_ps(l, from, m->size_bytes, max64(m->queued_ps, from->wire_free_ps));

        if (start == SIM_PS_NEVER)
            break;
        link_fifo_pop(&from->waiting);
        uint64_t bytes = m->header_bytes + (m->payload_bytes ? ZERO_MAP_BYTES : 0) + find_zeros(m, from_host);

        from->wire_free_ps = start + link_serialize_ps(&l->config, bytes);
        from->wire_total_bytes += framed_bytes(&l->config, bytes);
        from->waiting_bytes -= m->size_bytes;
        from->wire_bytes += m->size_bytes;
        from->unreleased_bytes += m->size_bytes;
        link_moments_push(&from->wire, from->wire_free_ps, m->size_bytes);
        m->arrival_ps = from->wire_free_ps + l->config.latency_ps;
        link_fifo_push(&to->inbox, m);
    }
    arm(from, now_ps);
    arm(to, now_ps);
}

static bool has_space(const struct link *l, const struct end *e)
{
    return e->waiting_bytes + e->wire_bytes < l->config.queue_bytes;
}

static void send(struct link *l, struct pcpu *c, uint64_t hpa, uint64_t now_ps)
{
    const struct link_send *d = (const void *)host_memory(c->host, hpa, sizeof *d);
    struct end *e = &l->ends[c->host];

    if (!l->up || !has_space(l, e) || d->header_bytes > LINK_HEADER_MAX ||
        d->segment_count > LINK_SEGMENTS_MAX)
        return;
    struct link_transfer *m = calloc(1, sizeof *m);

    assert(m);
    m->header = malloc(d->header_bytes + 1);
    m->segments = malloc((d->segment_count + 1) * sizeof *m->segments);
    assert(m->header && m->segments);
    memcpy(m->header, d->header, d->header_bytes);
    memcpy(m->segments, d->segments, d->segment_count * sizeof *m->segments);
    m->header_bytes = d->header_bytes;
    m->segment_count = d->segment_count;
    for (uint32_t i = 0; i < d->segment_count; i++)
        m->payload_bytes += (uint32_t)d->segments[i].bytes;
    assert(m->payload_bytes <= LINK_PAYLOAD_MAX);
    m->size_bytes = m->header_bytes + m->payload_bytes;
    m->queued_ps = now_ps;
    m->generation = l->generation;
    e->waiting_bytes += m->size_bytes;
    e->pending++;
    link_fifo_push(&e->waiting, m);
    pump(l, c->host, now_ps);
}

// --- Receiving. ---

static bool has_message(const struct end *e, uint64_t now_ps)
{
    return e->inbox.first && e->inbox.first->arrival_ps <= now_ps;
}

// The receiver is through with a message at `at_ps`.
static void release(struct link *l, unsigned host, const struct link_transfer *m, uint64_t at_ps,
                    uint64_t now_ps)
{
    struct end *from = &l->ends[1 - host];

    if (m->generation != l->generation)
        return;
    link_moments_push(&from->releases, at_ps + l->config.latency_ps, m->size_bytes);
    pump(l, 1 - host, now_ps);
}

static void drop_taken(struct link *l, unsigned host, uint64_t now_ps)
{
    struct end *e = &l->ends[host];

    if (!e->taken)
        return;
    release(l, host, e->taken, max64(now_ps, e->placing_until_ps), now_ps);
    link_transfer_free(e->taken);
    e->taken = NULL;
}

static void take(struct link *l, unsigned host, uint64_t hpa, uint64_t now_ps)
{
    struct link_message *to = (void *)host_memory(host, hpa, sizeof *to);
    struct end *e = &l->ends[host];

    drop_taken(l, host, now_ps);
    if (!has_message(e, now_ps))
        return;
    e->taken = link_fifo_pop(&e->inbox);
    to->header_bytes = e->taken->header_bytes;
    to->payload_bytes = e->taken->payload_bytes;
    memcpy(to->zero, e->taken->zero, sizeof to->zero);
    memcpy(to->header, e->taken->header, e->taken->header_bytes);
    if (!e->taken->payload_bytes)
        drop_taken(l, host, now_ps);
}

// A position in a list of segments.
struct cursor {
    const struct link_segment *segment;
    uint32_t left;
    uint64_t at;
};

static uint64_t cursor_room(const struct cursor *c)
{
    return c->left ? c->segment->bytes - c->at : 0;
}

static void cursor_advance(struct cursor *c, uint64_t bytes)
{
    c->at += bytes;
    if (c->left && c->at == c->segment->bytes) {
        c->segment++;
        c->left--;
        c->at = 0;
    }
}

static void place_part(unsigned host, uint64_t to_hpa, uint64_t from_hpa, uint64_t bytes, bool zero)
{
    unsigned char *to = host_memory(host, to_hpa, bytes);

    uint64_t untouched[8] = {0};

    if (zero && bytes == LINK_PAGE_BYTES && to_hpa % LINK_PAGE_BYTES == 0)
        mem_arena_untouched(host, to_hpa, 1, untouched);
    if (!zero)
        memcpy(to, host_memory(1 - host, from_hpa, bytes), bytes);
    else if (!untouched[0] && !is_zero(to, bytes))
        memset(to, 0, bytes);
}

// Moves the taken message's payload; the bytes that were written.
static uint64_t copy_payload(const struct link_transfer *m, unsigned host, const struct link_place *d)
{
    struct cursor from = {m->segments, m->segment_count, 0}, to = {d->segments, d->segment_count, 0};
    uint64_t done = 0, written = 0;

    while (cursor_room(&from) && cursor_room(&to)) {
        uint32_t page = (uint32_t)(done / LINK_PAGE_BYTES);
        uint64_t part =
            min64(LINK_PAGE_BYTES - done % LINK_PAGE_BYTES, min64(cursor_room(&from), cursor_room(&to)));

        if (to.segment->hpa != LINK_ADDRESS_NONE) {
            place_part(host, to.segment->hpa + to.at, from.segment->hpa + from.at, part,
                       m->zero[page / 64] >> page % 64 & 1);
            written += part;
        }
        done += part;
        cursor_advance(&from, part);
        cursor_advance(&to, part);
    }
    return written;
}

static void place(struct link *l, unsigned host, uint64_t hpa, uint64_t now_ps)
{
    struct end *e = &l->ends[host];
    uint64_t written = 0;

    if (!e->taken)
        return;
    if (hpa) {
        const struct link_place *d = (const void *)host_memory(host, hpa, sizeof *d);

        assert(d->segment_count <= LINK_SEGMENTS_MAX);
        written = copy_payload(e->taken, host, d);
    }
    e->placing_until_ps = max64(now_ps, e->placing_until_ps) + (written + 15) / 16 * DMA_PS_PER_16_BYTES;
    link_moments_push(&e->placements, e->placing_until_ps, 0);
    drop_taken(l, host, now_ps);
    arm(e, now_ps);
}

// --- The carrier. ---

// What is on its way is lost; what has arrived stays.
static void lose_messages(struct link *l, unsigned host, uint64_t now_ps)
{
    struct end *e = &l->ends[host];
    struct link_transfer **at = &e->inbox.first;

    while (*at && (*at)->arrival_ps <= now_ps)
        at = &(*at)->next;
    while (*at) {
        struct link_transfer *m = *at;

        *at = m->next;
        link_transfer_free(m);
    }
    e->inbox.end = at;
    drop_all(&e->waiting);
    e->waiting_bytes = e->wire_bytes = e->unreleased_bytes = 0;
    e->wire.count = e->releases.count = 0;
    e->pending = 0;
    e->wire_free_ps = now_ps;
}

static void set_carrier(struct link *l, bool up, uint64_t now_ps)
{
    if (l->up == up)
        return;
    l->up = up;
    if (!up)
        l->generation++;
    for (unsigned h = 0; h < ENDS; h++) {
        struct end *e = &l->ends[h];

        if (!up)
            lose_messages(l, h, now_ps);
        e->carrier_ps = now_ps;
        arm(e, now_ps);
    }
}

// --- Registers. ---

bool link_port(uint16_t port)
{
    return port >= LINK_PORT_STATUS && port <= LINK_PORT_LAST;
}

uint32_t link_in(struct pcpu *c, uint16_t port)
{
    struct link *l = c->machine->link;

    if (!l || c->host >= ENDS)
        return UINT32_MAX;
    struct end *e = &l->ends[c->host];
    uint64_t now_ps = pcpu_ticks_to_ps(c, c->now_ticks);
    uint32_t value = UINT32_MAX;

    look(e, now_ps);
    if (port == LINK_PORT_STATUS) {
        e->wants_space = !has_space(l, e);
        value = (l->up ? LINK_STATUS_UP : 0) | (has_message(e, now_ps) ? LINK_STATUS_MESSAGE : 0) |
                (e->wants_space ? 0 : LINK_STATUS_SPACE);
    } else if (port == LINK_PORT_PENDING) {
        value = e->pending;
    } else if (port == LINK_PORT_PLACED) {
        value = e->placed;
    } else if (port == LINK_PORT_BYTES_LOW) {
        e->wire_latched_bytes = e->wire_total_bytes;
        value = (uint32_t)e->wire_latched_bytes;
    } else if (port == LINK_PORT_BYTES_HIGH) {
        value = (uint32_t)(e->wire_latched_bytes >> 32);
    } else if (port == LINK_PORT_CARRIER) {
        value = (uint32_t)l->generation;
    }
    arm(e, now_ps);
    return value;
}

void link_out(struct pcpu *c, uint16_t port, uint32_t value)
{
    struct link *l = c->machine->link;

    if (!l || c->host >= ENDS)
        return;
    struct end *e = &l->ends[c->host];
    uint64_t now_ps = pcpu_ticks_to_ps(c, c->now_ticks), hpa = (uint64_t)value << 12;

    switch (port) {
    case LINK_PORT_SEND:
        send(l, c, hpa, now_ps);
        break;
    case LINK_PORT_TAKE:
        take(l, c->host, hpa, now_ps);
        break;
    case LINK_PORT_PLACE:
        place(l, c->host, hpa, now_ps);
        break;
    case LINK_PORT_CONTROL:
        if (value & LINK_CONTROL_ENABLE)
            e->irq_cpu = c;
        if (value & (LINK_CONTROL_DOWN | LINK_CONTROL_UP))
            set_carrier(l, !(value & LINK_CONTROL_DOWN), now_ps);
        arm(e, now_ps);
        break;
    default:
        break;
    }
}
