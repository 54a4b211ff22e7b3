// SPDX-License-Identifier: Apache-2.0
#include "hv/core/link.h"

#include "hv/api.h"
#include "hv/core/cpu.h"
#include "hv/core/hostmm.h"
#include "hv/hw/link.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/lib/mutex.h"
#include "hv/lib/string.h"
#include "hv/lib/wait.h"

_Static_assert(sizeof(struct hv_link_message) == sizeof(struct link_message), "the card writes it");

// A page that a placement brings in; it is mapped once its content is there.
struct new_page {
    u64 hva;
    pfn_t pfn;
    unsigned order;
};

struct link_card {
    struct mutex send_lock, receive_lock;
    struct waitqueue wq;
    u32 events;             // Counts interrupts. Relaxed: what happened stands in the card's registers.
    pfn_t zero;             // 2 MiB of zeros: what pages hold that nobody has touched.
    u32 losses_seen;        // Of the carrier, told to a receiver.
    struct link_send *send; // Under send_lock.
    struct hv_link_iov *send_iov;
    struct link_place *place; // Under receive_lock, as the rest.
    struct hv_link_iov *iov;
    struct new_page *fresh;
    u32 fresh_count;
    struct link_message message; // The header's numbers of the message that was taken last.
};

static void link_interrupt(struct cpu *cpu, unsigned vector)
{
    struct link_card *card = cpu->host->link;
    (void)vector;
    __atomic_fetch_add(&card->events, 1, __ATOMIC_RELAXED);
    (void)wake_up_all(&card->wq);
}

static void *pages_or_panic(struct host *host, u64 bytes)
{
    unsigned order = 0;
    while ((PAGE_SIZE << order) < bytes)
        order++;
    pfn_t pfn = pages_alloc_zeroed(host, order, MEM_KERNEL);
    if (pfn == PFN_NONE)
        HV_PANIC("no memory for the network card's driver");
    return pfn_to_va(host, pfn);
}

void link_init(struct host *host)
{
    if ((host->bootinfo->devices & HW_BOOT_LINK) == 0)
        return;
    struct link_card *card = pages_or_panic(host, sizeof(*card));
    mutex_init(&card->send_lock, LOCK_RANK_LINK);
    mutex_init(&card->receive_lock, LOCK_RANK_LINK);
    waitqueue_init(&card->wq);
    card->send = pages_or_panic(host, sizeof(*card->send));
    card->place = pages_or_panic(host, sizeof(*card->place));
    card->send_iov = pages_or_panic(host, LINK_SEGMENTS_MAX * sizeof(*card->send_iov));
    card->iov = pages_or_panic(host, LINK_SEGMENTS_MAX * sizeof(*card->iov));
    card->fresh = pages_or_panic(host, LINK_SEGMENTS_MAX * sizeof(*card->fresh));
    card->zero = pages_alloc_zeroed(host, PAGE_ORDER_2M, MEM_KERNEL);
    if (card->zero == PFN_NONE || register_vector(host, LINK_VECTOR, link_interrupt) != 0)
        HV_PANIC("no memory or vector for the network card");
    host->link = card;
    hw_out(LINK_PORT_CONTROL, 4, LINK_CONTROL_ENABLE);
}

static u32 frame_of(struct host *host, const void *p)
{
    return (u32)(va_to_hpa(host, p).v >> PAGE_SHIFT);
}

// Waits for an interrupt after `events` was read. -EINTR: a signal came.
static int wait_for_card(struct link_card *card, u32 events)
{
    struct thread *self = current_thread();
    wait_event(&card->wq, READ_ONCE(card->events) != events || READ_ONCE(self->signal_pending) != 0);
    return READ_ONCE(card->events) == events ? -EINTR : 0;
}

// --- Lists of segments.

// Appends [hpa, hpa + bytes), to the last segment if it goes on there. False: the list is full.
static bool append(struct link_segment *segments, u32 *count, u64 hpa, u64 bytes)
{
    struct link_segment *last = *count != 0 ? &segments[*count - 1] : NULL;
    bool none = hpa == LINK_ADDRESS_NONE;
    if (last != NULL && (none ? last->hpa == LINK_ADDRESS_NONE
                              : last->hpa != LINK_ADDRESS_NONE && last->hpa + last->bytes == hpa)) {
        last->bytes += bytes;
        return true;
    }
    if (*count == LINK_SEGMENTS_MAX)
        return false;
    segments[(*count)++] = (struct link_segment){hpa, bytes};
    return true;
}

static int read_iov(struct hv_link_iov *to, u64 from, u32 count)
{
    u64 total = 0;
    if (count > LINK_SEGMENTS_MAX)
        return -EINVAL;
    if (copy_from_user(current_thread()->mm, to, from, count * sizeof(*to)) != 0)
        return -EFAULT;
    for (u32 i = 0; i < count; i++) {
        bool last = i + 1 == count;
        if (to[i].bytes == 0 || to[i].bytes > LINK_PAYLOAD_MAX || (!last && to[i].bytes % PAGE_SIZE != 0))
            return -EINVAL;
        total += to[i].bytes;
    }
    return total <= LINK_PAYLOAD_MAX ? 0 : -EINVAL;
}

// Part of [hva, hva + left) that lies in one host page.
static u64 part_of(u64 hva, u64 left, unsigned page_shift)
{
    return min_u64(left, (1ull << page_shift) - (hva & ((1ull << page_shift) - 1)));
}

// --- Sending.

// Memory of the process that the card can reach: its direct areas.
static bool is_direct(struct host *host, u64 va, u64 bytes)
{
    return va - host->direct_map < HW_ARENA_STRIDE && user_access_ok(current_thread()->mm, va, bytes);
}

// Guest memory that was never touched is zeros, without becoming memory by being looked at.
static int gather(struct host *host, struct link_card *card, const struct hv_link_iov *v)
{
    struct hostmm *mm = current_thread()->mm;
    u64 hva = v->address, left = v->bytes;
    struct link_send *d = card->send;
    if (is_direct(host, hva, left))
        return append(d->segments, &d->segment_count, hva - host->direct_map, left) ? 0 : -EINVAL;
    if (!hostmm_guest_range(mm, hva, left))
        return -EFAULT;
    while (left != 0) {
        struct user_page page;
        unsigned shift = PAGE_SHIFT;
        u64 hpa = card->zero << PAGE_SHIFT | (hva & ((1ull << 21) - 1));
        if (get_user_page_fast(mm, hva, false, &page)) {
            shift = page.page_shift;
            hpa = page.pfn << PAGE_SHIFT | (hva & ~PAGE_MASK);
        }
        u64 part = part_of(hva, left, shift);
        if (!append(d->segments, &d->segment_count, hpa, part))
            return -EINVAL;
        hva += part;
        left -= part;
    }
    return 0;
}

static int fill_send(struct host *host, struct link_card *card, const struct hv_link_send *in,
                     const struct hv_link_iov *iov)
{
    struct link_send *d = card->send;
    if (in->header_bytes > LINK_HEADER_MAX)
        return -EINVAL;
    if (copy_from_user(current_thread()->mm, d->header, in->header, in->header_bytes) != 0)
        return -EFAULT;
    d->header_bytes = in->header_bytes;
    d->segment_count = 0;
    for (u32 i = 0; i < in->iov_count; i++) {
        int result = gather(host, card, &iov[i]);
        if (result != 0)
            return result;
    }
    return 0;
}

static int wait_for_space(struct link_card *card)
{
    for (;;) {
        u32 events = READ_ONCE(card->events);
        u32 status = hw_in(LINK_PORT_STATUS, 4);
        if ((status & LINK_STATUS_UP) == 0)
            return -EPIPE;
        if ((status & LINK_STATUS_SPACE) != 0)
            return 0;
        int result = wait_for_card(card, events);
        if (result != 0)
            return result;
    }
}

s64 link_send(struct host *host, u64 arg)
{
    struct link_card *card = host->link;
    struct hv_link_send in;
    if (card == NULL)
        return -ENODEV;
    if (copy_from_user(current_thread()->mm, &in, arg, sizeof(in)) != 0)
        return -EFAULT;
    mutex_lock(&card->send_lock);
    int result = read_iov(card->send_iov, in.iov, in.iov_count);
    if (result == 0)
        result = fill_send(host, card, &in, card->send_iov);
    if (result == 0)
        result = wait_for_space(card);
    if (result == 0)
        hw_out(LINK_PORT_SEND, 4, frame_of(host, card->send));
    mutex_unlock(&card->send_lock);
    return result;
}

// --- Receiving.

s64 link_receive(struct host *host, u64 page)
{
    struct link_card *card = host->link;
    s64 result = 0;
    if (card == NULL)
        return -ENODEV;
    if ((page & ~PAGE_MASK) != 0)
        return -EINVAL;
    if (!is_direct(host, page, PAGE_SIZE))
        return -EFAULT;
    mutex_lock(&card->receive_lock);
    for (;;) {
        u32 events = READ_ONCE(card->events);
        u32 status = hw_in(LINK_PORT_STATUS, 4);
        if ((status & LINK_STATUS_MESSAGE) != 0) {
            hw_out(LINK_PORT_TAKE, 4, (u32)((page - host->direct_map) >> PAGE_SHIFT));
            const struct link_message *m = (const struct link_message *)page;
            card->message.payload_bytes = m->payload_bytes;
            memcpy(card->message.zero, m->zero, sizeof(m->zero));
            break;
        }
        u32 losses = hw_in(LINK_PORT_CARRIER, 4);
        if (losses != card->losses_seen) {
            card->losses_seen = losses;
            result = -EPIPE;
            break;
        }
        result = wait_for_card(card, events);
        if (result != 0)
            break;
    }
    mutex_unlock(&card->receive_lock);
    return result;
}

static bool payload_page_is_zero(const struct link_card *card, u64 at)
{
    u64 page = at / PAGE_SIZE;
    return (card->message.zero[page / 64] >> (page % 64) & 1) != 0;
}

// A page of a missing one's size; its content is to come before anybody can see it.
static int target_fresh(struct host *host, struct link_card *card, u64 hva, u64 left, unsigned order,
                        bool zero)
{
    u64 bytes = PAGE_SIZE << order;
    if (!is_aligned(hva, bytes) || left < bytes)
        return -EINVAL;
    pfn_t pfn =
        order == 0 && !zero ? pages_alloc(host, 0, MEM_GUEST) : pages_alloc_zeroed(host, order, MEM_GUEST);
    if (pfn == PFN_NONE)
        return -ENOMEM;
    card->fresh[card->fresh_count++] = (struct new_page){hva, pfn, order};
    return 0;
}

// Where the next piece of the payload goes: memory that is there, a new page, or nowhere (zeros that would
// make no difference). *shift is the size of the host page around it.
static int target_of(struct host *host, struct link_card *card, u64 hva, u64 left, bool zero, u64 *hpa,
                     unsigned *shift)
{
    struct hostmm *mm = current_thread()->mm;
    struct user_page page;
    bool resident = get_user_page_fast(mm, hva, true, &page);
    unsigned order = 0;
    if (!resident) {
        bool missing = hostmm_missing(mm, hva, &order);
        if (zero && !missing) {
            *shift = PAGE_SHIFT;
            *hpa = LINK_ADDRESS_NONE;
            return 0;
        }
        if (order == 0 || missing) {
            int result = target_fresh(host, card, hva, left, order, zero);
            if (result != 0)
                return result;
            *shift = PAGE_SHIFT + order;
            *hpa = card->fresh[card->fresh_count - 1].pfn << PAGE_SHIFT;
            return 0;
        }
        int result = get_user_page(mm, hva, true, &page);
        if (result != 0)
            return result;
    }
    *shift = page.page_shift;
    *hpa = page.pfn << PAGE_SHIFT | (hva & ~PAGE_MASK);
    return 0;
}

static int scatter(struct host *host, struct link_card *card, const struct hv_link_iov *v, u64 *at)
{
    struct link_place *d = card->place;
    u64 hva = v->address, left = v->bytes;
    if (hva == 0) {
        *at += left;
        return append(d->segments, &d->segment_count, LINK_ADDRESS_NONE, left) ? 0 : -EINVAL;
    }
    if (is_direct(host, hva, left)) {
        *at += left;
        return append(d->segments, &d->segment_count, hva - host->direct_map, left) ? 0 : -EINVAL;
    }
    if (!hostmm_guest_range(current_thread()->mm, hva, left))
        return -EFAULT;
    while (left != 0) {
        unsigned shift;
        u64 hpa;
        int result = target_of(host, card, hva, left, payload_page_is_zero(card, *at), &hpa, &shift);
        if (result != 0)
            return result;
        u64 part = part_of(hva, left, shift);
        if (!append(d->segments, &d->segment_count, hpa, part))
            return -EINVAL;
        hva += part;
        *at += part;
        left -= part;
    }
    return 0;
}

// The new pages become the process' memory, or free memory again.
static int map_fresh(struct host *host, struct link_card *card, bool keep)
{
    int result = 0;
    for (u32 i = 0; i < card->fresh_count; i++) {
        const struct new_page *p = &card->fresh[i];
        int mapped = keep ? hostmm_install(current_thread()->mm, p->hva, p->pfn, p->order) : -EEXIST;
        if (mapped != 0) {
            pages_free(host, p->pfn, p->order, MEM_GUEST);
            result = mapped;
        }
    }
    card->fresh_count = 0;
    return keep ? result : 0;
}

static int run_placement(struct host *host, struct link_card *card)
{
    u32 before = hw_in(LINK_PORT_PLACED, 4);
    hw_out(LINK_PORT_PLACE, 4, frame_of(host, card->place));
    for (;;) {
        u32 events = READ_ONCE(card->events);
        if (hw_in(LINK_PORT_PLACED, 4) != before)
            return 0;
        // Not given up for a signal: the card writes into these pages.
        wait_event(&card->wq, READ_ONCE(card->events) != events);
    }
}

s64 link_place(struct host *host, u64 arg)
{
    struct link_card *card = host->link;
    struct hv_link_place in;
    u64 at = 0;
    if (card == NULL)
        return -ENODEV;
    if (copy_from_user(current_thread()->mm, &in, arg, sizeof(in)) != 0)
        return -EFAULT;
    mutex_lock(&card->receive_lock);
    card->place->segment_count = 0;
    int result = read_iov(card->iov, in.iov, in.iov_count);
    for (u32 i = 0; result == 0 && i < in.iov_count; i++)
        result = scatter(host, card, &card->iov[i], &at);
    if (result == 0 && in.iov_count != 0)
        result = run_placement(host, card);
    int mapped = map_fresh(host, card, result == 0);
    mutex_unlock(&card->receive_lock);
    return result != 0 ? result : mapped;
}

s64 link_drain(struct host *host, u64 max)
{
    struct link_card *card = host->link;
    if (card == NULL)
        return -ENODEV;
    for (;;) {
        u32 events = READ_ONCE(card->events);
        if (hw_in(LINK_PORT_PENDING, 4) <= max)
            return 0;
        int result = wait_for_card(card, events);
        if (result != 0)
            return result;
    }
}

s64 link_bytes(struct host *host)
{
    if (host->link == NULL)
        return -ENODEV;
    mutex_lock(&host->link->send_lock);
    u64 low = hw_in(LINK_PORT_BYTES_LOW, 4);
    u64 high = hw_in(LINK_PORT_BYTES_HIGH, 4);
    mutex_unlock(&host->link->send_lock);
    return (s64)(high << 32 | low);
}

s64 link_control(struct host *host, u64 up)
{
    if (host->link == NULL)
        return -ENODEV;
    if (up > 1)
        return -EINVAL;
    hw_out(LINK_PORT_CONTROL, 4, up != 0 ? LINK_CONTROL_UP : LINK_CONTROL_DOWN);
    return 0;
}
