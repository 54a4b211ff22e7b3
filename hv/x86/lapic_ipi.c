// SPDX-License-Identifier: Apache-2.0
// Virtual local APIC: sending and accepting interrupts (SDM 10.6, 10.7, 10.11, 10.12.9).
#include "hv/lib/bitmap.h"
#include "hv/x86/apicv.h"
#include "hv/x86/lapic_state.h"

void lapic_error(struct lapic *a, u32 esr_bit)
{
    u32 before = __atomic_fetch_or(&a->esr_next, esr_bit, __ATOMIC_RELAXED);

    if ((before & esr_bit) == 0)
        lapic_local_deliver(a, APIC_LVT_ERROR);
}

// --- Accepting.

static int accept_fixed(struct lapic *a, const struct apic_interrupt *irq)
{
    struct x86_vcpu *v = a->v;

    if (!lapic_enabled(a) || !a->sw_enabled)
        return 0;
    if (irq->vector < 16) {
        lapic_error(a, APIC_ESR_RECEIVE_ILLEGAL_VECTOR); // SDM 10.5.2.
        return 0;
    }
    // TMR tells EOI what to do (SDM 10.8.4). Written only when it changes: it is almost always right already.
    if (lapic_test_vector(a, APIC_TMR0, irq->vector) != irq->level) {
        if (irq->level)
            lapic_set_vector(a, APIC_TMR0, irq->vector);
        else
            lapic_clear_vector(a, APIC_TMR0, irq->vector);
    }
    if (apicv_post(v, irq->vector)) {
        hw_trace(TP_KVM_APICV_ACCEPT_IRQ, lapic_id(a), irq->vector, irq->mode, irq->level, 0, 0);
        return 1;
    }
    lapic_set_irr(a, irq->vector);
    hw_trace(TP_KVM_APIC_ACCEPT_IRQ, lapic_id(a), irq->vector, irq->mode, irq->level, 0, 0);
    make_request(REQ_EVENT, &v->vcpu);
    vcpu_kick(&v->vcpu);
    return 1;
}

// The vCPU is to look at pending_events.
static int events_accepted(struct lapic *a)
{
    make_request_for_data(REQ_EVENT, &a->v->vcpu);
    vcpu_kick(&a->v->vcpu);
    return 1;
}

int lapic_accept(struct lapic *a, const struct apic_interrupt *irq)
{
    switch ((enum apic_delivery_mode)irq->mode) {
    case APIC_DM_FIXED:
    case APIC_DM_LOWEST:
        return accept_fixed(a, irq);
    case APIC_DM_NMI:
        inject_nmi(a->v);
        return 1;
    case APIC_DM_INIT:
        // Level de-assert only synchronises arbitration ids, long gone (SDM 10.6.1).
        if (irq->level && !irq->assert)
            return 0;
        // A new INIT forgets the SIPI before it.
        WRITE_ONCE(a->pending_events, LAPIC_EVENT_INIT);
        return events_accepted(a);
    case APIC_DM_STARTUP:
        WRITE_ONCE(a->sipi_vector, irq->vector);
        __atomic_fetch_or(&a->pending_events, LAPIC_EVENT_SIPI, __ATOMIC_RELEASE);
        return events_accepted(a);
    case APIC_DM_SMI:
        hw_trace(TP_NOT_MODELLED, APIC_DM_SMI, irq->vector, a->v->vcpu.id, 0, 0, 0);
        return 0;
    case APIC_DM_EXTINT: // The PIC's line; its vector comes from the INTA cycle.
        make_request(REQ_EVENT, &a->v->vcpu);
        vcpu_kick(&a->v->vcpu);
        return 1;
    case APIC_DM_RESERVED:
        break;
    }
    return 0;
}

int lapic_local_deliver(struct lapic *a, u32 offset)
{
    u32 lvt = lapic_reg(a, offset);
    struct apic_interrupt irq = {.vector = (u8)(lvt & APIC_LVT_VECTOR_MASK),
                                 .mode = (u8)((lvt & APIC_LVT_MODE_MASK) >> APIC_LVT_MODE_SHIFT),
                                 .level = (lvt & APIC_LVT_LEVEL) != 0,
                                 .assert = true};

    if (!lapic_enabled(a) || (lvt & APIC_LVT_MASKED) != 0)
        return 0;
    if (offset == APIC_LVT_TIMER || offset == APIC_LVT_ERROR) {
        irq.mode = APIC_DM_FIXED; // These entries have no mode field (SDM 10.5.1).
        irq.level = false;
    }
    return lapic_accept(a, &irq);
}

void lapic_post_vector(struct x86_vcpu *v, u8 vector)
{
    lapic_accept(v->apic, &(struct apic_interrupt){.vector = vector, .mode = APIC_DM_FIXED, .assert = true});
}

// --- Destinations.

static bool is_broadcast(const struct apic_interrupt *irq)
{
    return irq->wide_dest ? irq->dest == APIC_DEST_BROADCAST_X2APIC : irq->dest == APIC_DEST_BROADCAST_XAPIC;
}

static bool matches_logical(const struct lapic *a, u32 dest)
{
    u32 ldr = lapic_reg(a, APIC_LDR);

    if (a->mode == LAPIC_X2APIC)
        return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff) != 0;
    ldr >>= APIC_LDR_SHIFT;
    if (lapic_reg(a, APIC_DFR) == APIC_DFR_FLAT)
        return (ldr & dest & 0xff) != 0;
    return ldr >> 4 == (dest & 0xff) >> 4 && (ldr & dest & 0xf) != 0;
}

bool lapic_matches(const struct lapic *a, const struct apic_interrupt *irq)
{
    if (!lapic_enabled(a))
        return false;
    if (is_broadcast(irq))
        return true;
    return irq->logical ? matches_logical(a, irq->dest) : lapic_id(a) == irq->dest;
}

static void map_logical(struct apic_map *map, struct lapic *a, struct lapic *logical[APIC_MAP_CLUSTERS][16],
                        u32 *mode)
{
    u32 ldr = lapic_reg(a, APIC_LDR), cluster = 0, bits, kind;

    if (!lapic_enabled(a))
        return;
    if (a->mode == LAPIC_X2APIC) {
        kind = APIC_LOGICAL_X2APIC;
        cluster = ldr >> 16;
        bits = ldr & 0xffff;
    } else {
        bits = ldr >> APIC_LDR_SHIFT;
        kind = lapic_reg(a, APIC_DFR) == APIC_DFR_FLAT ? APIC_LOGICAL_FLAT : APIC_LOGICAL_CLUSTER;
        if (kind == APIC_LOGICAL_CLUSTER) {
            cluster = bits >> 4;
            bits &= 0xf;
        }
    }
    if (bits == 0)
        return;
    (void)map;
    // Models mixed among processors, a bit shared by two, or a cluster beyond the table: compare one by one.
    if ((*mode != APIC_LOGICAL_NONE && *mode != kind) || cluster >= APIC_MAP_CLUSTERS ||
        (bits & (bits - 1)) != 0 || logical[cluster][ffs64(bits)] != NULL) {
        *mode = APIC_LOGICAL_MIXED;
        return;
    }
    *mode = kind;
    logical[cluster][ffs64(bits)] = a;
}

// False: it is not in the table, for its ID is beyond it or another's too. In xAPIC mode software may give
// several processors the same one (SDM 10.4.6); `shared` has those.
static bool map_id(struct lapic *by_id[APIC_MAP_IDS], u64 *shared, struct lapic *a)
{
    u32 id = lapic_id(a);

    if (id >= APIC_MAP_IDS)
        return false;
    if (by_id[id] == NULL && !bitmap_test(shared, id)) {
        by_id[id] = a;
        return true;
    }
    by_id[id] = NULL;
    bitmap_set(shared, id);
    return false;
}

static void publish(struct lapic **to, struct lapic *const *from, u32 count)
{
    for (u32 i = 0; i < count; i++)
        if (to[i] != from[i])
            store_release(&to[i], from[i]);
}

void apic_map_rebuild(struct vm *vm)
{
    struct apic_map *map = to_x86_vm(vm)->apic_map;
    struct lapic *by_id[APIC_MAP_IDS] = {NULL}, *logical[APIC_MAP_CLUSTERS][16] = {{NULL}};
    u64 shared[APIC_MAP_IDS / 64] = {0};
    u32 mode = APIC_LOGICAL_NONE, ids_incomplete = 0;
    struct vcpu *vcpu;

    if (map == NULL)
        return;
    spin_lock(&map->lock);
    vm_for_each_vcpu(i, vcpu, vm)
    {
        struct lapic *a = to_x86(vcpu)->apic;
        if (a == NULL || !lapic_enabled(a))
            continue;
        if (!map_id(by_id, shared, a))
            ids_incomplete = 1;
        if (mode != APIC_LOGICAL_MIXED)
            map_logical(map, a, logical, &mode);
    }
    publish(map->by_id, by_id, APIC_MAP_IDS);
    publish(&map->logical[0][0], &logical[0][0], APIC_MAP_CLUSTERS * 16);
    WRITE_ONCE(map->logical_mode, mode);
    WRITE_ONCE(map->ids_incomplete, ids_incomplete);
    spin_unlock(&map->lock);
}

// The one LAPIC of a physical destination through the map; NULL: none, or look one by one (*known false).
static struct lapic *find_physical(const struct apic_map *map, u32 dest, bool *known)
{
    struct lapic *a = dest < APIC_MAP_IDS ? load_acquire(&map->by_id[dest]) : NULL;

    *known = a != NULL || READ_ONCE(map->ids_incomplete) == 0;
    return a;
}

// Cluster and bits of a logical destination under the map's model. False: the map cannot say.
static bool find_logical(const struct apic_map *map, const struct apic_interrupt *irq, u32 *cluster,
                         u32 *bits)
{
    switch ((enum apic_logical_mode)READ_ONCE(map->logical_mode)) {
    case APIC_LOGICAL_X2APIC:
        *cluster = irq->dest >> 16;
        *bits = irq->dest & 0xffff;
        break;
    case APIC_LOGICAL_CLUSTER:
        *cluster = (irq->dest & 0xff) >> 4;
        *bits = irq->dest & 0xf;
        break;
    case APIC_LOGICAL_FLAT:
        *cluster = 0;
        *bits = irq->dest & 0xff;
        break;
    case APIC_LOGICAL_NONE:
        *cluster = 0;
        *bits = 0;
        break;
    case APIC_LOGICAL_MIXED:
    default:
        return false;
    }
    if (*cluster >= APIC_MAP_CLUSTERS)
        *bits = 0;
    return true;
}

static struct lapic *choose_lowest(struct lapic *best, struct lapic *a)
{
    // SDM 10.6.2.4: any arbitration will do; the lowest processor priority, then the first.
    if (!a->sw_enabled)
        return best;
    return best == NULL || lapic_update_ppr(a) < lapic_reg(best, APIC_PPR) ? a : best;
}

static int deliver_logical(const struct apic_map *map, const struct apic_interrupt *irq, u32 cluster,
                           u32 bits)
{
    struct lapic *best = NULL;
    int count = 0;

    for (; bits != 0; bits &= bits - 1) {
        struct lapic *a = load_acquire(&map->logical[cluster][ffs64(bits)]);
        if (a == NULL)
            continue;
        if (irq->mode == APIC_DM_LOWEST || irq->lowest_hint)
            best = choose_lowest(best, a);
        else
            count += lapic_accept(a, irq);
    }
    if (best != NULL)
        count = lapic_accept(best, irq);
    return count > 0 ? count : -1;
}

// Every vCPU is compared. Broadcasts, mixed logical models, IDs beyond the map.
static int deliver_scan(struct vm *vm, const struct lapic *source, const struct apic_interrupt *irq)
{
    bool lowest = irq->mode == APIC_DM_LOWEST || (irq->lowest_hint && irq->logical);
    struct lapic *best = NULL;
    struct vcpu *vcpu;
    int count = 0;

    vm_for_each_vcpu(i, vcpu, vm)
    {
        struct lapic *a = to_x86(vcpu)->apic;
        if (a == NULL || !lapic_enabled(a) || (irq->shorthand == APIC_ICR_OTHERS && a == source))
            continue;
        if (irq->shorthand == 0 && !lapic_matches(a, irq))
            continue;
        if (lowest)
            best = choose_lowest(best, a);
        else
            count += lapic_accept(a, irq);
    }
    if (best != NULL)
        count = lapic_accept(best, irq);
    return count > 0 ? count : -1;
}

int apic_deliver(struct vm *vm, struct lapic *source, const struct apic_interrupt *irq)
{
    const struct apic_map *map = to_x86_vm(vm)->apic_map;
    u32 cluster, bits;
    bool known;

    if (irq->shorthand == APIC_ICR_SELF)
        return lapic_accept(source, irq) ? 1 : -1;
    if (irq->shorthand != 0 || map == NULL || is_broadcast(irq))
        return deliver_scan(vm, source, irq);
    if (!irq->logical) {
        struct lapic *a = find_physical(map, irq->dest, &known);
        if (a != NULL)
            return lapic_accept(a, irq) ? 1 : -1;
        return known ? -1 : deliver_scan(vm, source, irq);
    }
    if (!find_logical(map, irq, &cluster, &bits))
        return deliver_scan(vm, source, irq);
    return deliver_logical(map, irq, cluster, bits);
}

// --- Sources: ICR, MSI, paravirtual IPIs.

void lapic_write_icr(struct lapic *a, u32 low, u32 dest)
{
    struct apic_interrupt irq = {.dest = dest,
                                 .vector = (u8)(low & APIC_ICR_VECTOR_MASK),
                                 .mode = (u8)((low & APIC_ICR_MODE_MASK) >> APIC_ICR_MODE_SHIFT),
                                 .logical = (low & APIC_ICR_LOGICAL) != 0,
                                 .level = (low & APIC_ICR_LEVEL) != 0,
                                 .assert = (low & APIC_ICR_ASSERT) != 0,
                                 .wide_dest = a->mode == LAPIC_X2APIC,
                                 .shorthand = low & (u32)APIC_ICR_SHORTHAND_MASK};

    lapic_set_reg(a, APIC_ICR, low & ~(u32)APIC_ICR_PENDING);
    hw_trace(TP_KVM_APIC_IPI, low, dest, 0, 0, 0, 0);
    if ((irq.mode == APIC_DM_FIXED || irq.mode == APIC_DM_LOWEST) && irq.vector < 16) {
        lapic_error(a, APIC_ESR_SEND_ILLEGAL_VECTOR); // SDM 10.5.3.
        return;
    }
    // Only INIT knows a level here; everything else is edge (SDM 10.6.1).
    if (irq.mode != APIC_DM_INIT)
        irq.level = false;
    apic_deliver(a->v->vcpu.vm, a, &irq);
}

bool lapic_fast_icr(struct x86_vcpu *v, u64 icr)
{
    struct lapic *a = v->apic;
    u32 low = (u32)icr, dest = (u32)(icr >> 32);
    bool known;

    // The common IPI: one fixed vector to one processor (SDM 10.12.9).
    if (a == NULL || a->mode != LAPIC_X2APIC || (low & (APIC_ICR_RESERVED_LOW | APIC_ICR_PENDING)) != 0 ||
        (low & (APIC_ICR_MODE_MASK | APIC_ICR_LOGICAL | APIC_ICR_SHORTHAND_MASK)) != 0 || (low & 0xf0) == 0 ||
        dest == APIC_DEST_BROADCAST_X2APIC)
        return false;
    struct lapic *to = find_physical(x86_vm_of(v)->apic_map, dest, &known);
    if (to == NULL)
        return false;
    lapic_set_reg(a, APIC_ICR2, dest);
    lapic_set_reg(a, APIC_ICR, low);
    hw_trace(TP_KVM_APIC_IPI, low, dest, 0, 0, 0, 0);
    lapic_accept(to, &(struct apic_interrupt){.vector = (u8)low, .mode = APIC_DM_FIXED, .assert = true});
    return true;
}

s64 lapic_pv_send_ipi(struct vm *vm, u64 bitmap_low, u64 bitmap_high, u64 min_apic_id, u64 icr, bool wide)
{
    const u64 words[2] = {wide ? bitmap_low : bitmap_low & 0xffffffff,
                          wide ? bitmap_high : bitmap_high & 0xffffffff};
    const u32 width = wide ? 64 : 32;
    struct apic_interrupt irq = {.vector = (u8)icr,
                                 .mode = (u8)((icr & APIC_ICR_MODE_MASK) >> APIC_ICR_MODE_SHIFT),
                                 .assert = true,
                                 .wide_dest = true};
    s64 count = 0;

    // The call's ABI: fixed and NMI only, no shorthand, no logical destination.
    if ((icr & (APIC_ICR_LOGICAL | APIC_ICR_SHORTHAND_MASK)) != 0 ||
        (irq.mode != APIC_DM_FIXED && irq.mode != APIC_DM_NMI))
        return -EINVAL;
    // IDs beyond all processors', the broadcast's among them, are nobody's.
    for (u32 w = 0; w < 2 && min_apic_id < APIC_DEST_BROADCAST_X2APIC; w++)
        for (u64 bits = words[w]; bits != 0; bits &= bits - 1) {
            u64 dest = min_apic_id + w * width + ffs64(bits);

            irq.dest = (u32)dest;
            if (dest < APIC_DEST_BROADCAST_X2APIC && apic_deliver(vm, NULL, &irq) > 0)
                count++;
        }
    return count;
}

void apic_interrupt_from_msi(u64 address, u32 data, struct apic_interrupt *out)
{
    *out = (struct apic_interrupt){
        .dest = (u32)((address & MSI_ADDR_DEST_MASK) >> MSI_ADDR_DEST_SHIFT),
        .vector = (u8)(data & MSI_DATA_VECTOR_MASK),
        .mode = (u8)((data & MSI_DATA_MODE_MASK) >> MSI_DATA_MODE_SHIFT),
        .logical = (address & MSI_ADDR_LOGICAL) != 0,
        .level = (data & MSI_DATA_LEVEL) != 0,
        .assert = (data & MSI_DATA_ASSERT) != 0 || (data & MSI_DATA_LEVEL) == 0,
        .lowest_hint = (address & MSI_ADDR_REDIRECTION_HINT) != 0,
    };
}
