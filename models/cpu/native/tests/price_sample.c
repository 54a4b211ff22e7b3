// SPDX-License-Identifier: Apache-2.0
//
// Sample code for the tests of block pricing, in the manner of a hypervisor core and with its flags:
// freestanding, general registers only. Built twice: with the instrumentation hooks (the library that is
// priced) and without (what the prices should come near to). Functions whose names begin with leaf_ make no
// calls.

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

// What the outside world would be.
extern uint64_t hw_read(uint32_t field);
extern void hw_write(uint32_t field, uint64_t value);
extern void hw_panic(const char *why) __attribute__((noreturn));

struct list {
    struct list *next, *prev;
};

struct slot {
    uint64_t base_gfn;
    uint64_t pages;
    uint64_t host;
    uint32_t flags;
    uint32_t id;
};

struct vcpu {
    struct list link;
    uint64_t regs[16];
    uint64_t rip;
    uint32_t exit_reason;
    uint32_t requests;
    uint64_t exits[64];
    struct slot *slots;
    uint32_t slot_count;
    uint32_t last_slot;
    _Atomic uint64_t lock;
    _Atomic uint32_t users;
    uint8_t irr[32];
};

// ---- leaves

EXPORT uint64_t leaf_sum(const uint64_t *a, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i];
    return sum;
}

EXPORT size_t leaf_list_length(const struct list *head)
{
    size_t n = 0;
    for (const struct list *l = head->next; l != head; l = l->next)
        n++;
    return n;
}

EXPORT uint64_t leaf_field(uint64_t v, unsigned shift, unsigned width)
{
    return (v >> shift) & ((1ULL << width) - 1);
}

EXPORT int leaf_highest(const uint8_t irr[32])
{
    for (int i = 31; i >= 0; i--)
        if (irr[i])
            return i * 8 + 31 - __builtin_clz(irr[i]);
    return -1;
}

EXPORT uint64_t leaf_hash(uint64_t x, uint64_t buckets)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    return x % buckets;
}

EXPORT void leaf_write_protect(uint64_t *pt, uint64_t mask)
{
    for (unsigned i = 0; i < 512; i++)
        if (pt[i] & 1)
            pt[i] &= ~mask;
}

EXPORT unsigned leaf_bits(const uint64_t *map, unsigned words)
{
    unsigned n = 0;
    for (unsigned w = 0; w < words; w++)
        for (uint64_t b = map[w]; b != 0; b &= b - 1)
            n++;
    return n;
}

EXPORT void leaf_copy(uint8_t *to, const uint8_t *from, size_t n)
{
    while (n >= 8) {
        *(uint64_t *)(void *)to = *(const uint64_t *)(const void *)from;
        to += 8, from += 8, n -= 8;
    }
    while (n-- > 0)
        *to++ = *from++;
}

EXPORT int leaf_compare(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b)
        a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}

EXPORT uint64_t leaf_walk(uint64_t root, uint64_t address)
{
    uint64_t entry = root | 1;
    for (int shift = 39; shift >= 12; shift -= 9) {
        const uint64_t *table = (const uint64_t *)(uintptr_t)(entry & 0xffffffffff000ULL);
        entry = table[(address >> shift) & 511];
        if (!(entry & 7))
            return 0;
        if (shift < 39 && (entry & 0x80))
            return (entry & 0xffffffffff000ULL) + (address & ((1ULL << shift) - 1));
    }
    return (entry & 0xffffffffff000ULL) + (address & 4095);
}

// ---- functions that call

static struct slot *slot_find(struct vcpu *v, uint64_t gfn)
{
    struct slot *s = &v->slots[v->last_slot];
    if (gfn - s->base_gfn < s->pages)
        return s;
    uint32_t low = 0, high = v->slot_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        s = &v->slots[middle];
        if (gfn < s->base_gfn)
            high = middle;
        else if (gfn - s->base_gfn >= s->pages)
            low = middle + 1;
        else {
            v->last_slot = middle;
            return s;
        }
    }
    return NULL;
}

EXPORT bool translate(struct vcpu *v, uint64_t gpa, uint64_t *out)
{
    struct slot *s = slot_find(v, gpa >> 12);
    if (s == NULL || (s->flags & 4))
        return false;
    *out = s->host + ((gpa >> 12) - s->base_gfn) * 4096 + (gpa & 4095);
    return true;
}

EXPORT void lock(struct vcpu *v)
{
    while (atomic_exchange_explicit(&v->lock, 1, memory_order_acquire) != 0)
        hw_write(0, 0);
}

EXPORT void unlock(struct vcpu *v)
{
    atomic_store_explicit(&v->lock, 0, memory_order_release);
}

EXPORT bool get_unless_zero(struct vcpu *v)
{
    uint32_t n = atomic_load_explicit(&v->users, memory_order_relaxed);
    do {
        if (n == 0)
            return false;
    } while (!atomic_compare_exchange_weak(&v->users, &n, n + 1));
    return true;
}

typedef int handler(struct vcpu *v);

static int handle_cpuid(struct vcpu *v)
{
    uint32_t leaf = (uint32_t)v->regs[0];
    v->regs[0] = leaf == 0 ? 0x16 : leaf * 3;
    v->regs[3] = 0x756e6547;
    v->regs[1] = leaf > 4 ? 0 : 0x6c65746e;
    v->regs[2] = 0x49656e69;
    v->rip = hw_read(0x681e) + hw_read(0x440c);
    hw_write(0x681e, v->rip);
    return 1;
}

static int handle_msr(struct vcpu *v)
{
    switch ((uint32_t)v->regs[1]) {
    case 0x10:
        v->regs[0] = hw_read(0x10);
        break;
    case 0x1b:
        v->regs[0] = 0xfee00900;
        break;
    case 0x3a:
        v->regs[0] = 5;
        break;
    case 0x80b:
        v->irr[0] = 0;
        break;
    case 0x830:
        v->requests |= 4;
        break;
    case 0x6e0:
        hw_write(0x482e, v->regs[0] / 128);
        break;
    default:
        return -1;
    }
    return 1;
}

static int handle_io(struct vcpu *v)
{
    uint64_t q = hw_read(0x6400);
    unsigned size = (unsigned)(q & 7) + 1, port = (unsigned)(q >> 16);
    if (q & 8)
        v->regs[0] = (v->regs[0] & ~((1ULL << (size * 8)) - 1)) | port;
    else
        hw_write(port, v->regs[0]);
    return size <= 4;
}

static int handle_halt(struct vcpu *v)
{
    int vector = leaf_highest(v->irr);
    if (vector < 0)
        return 0;
    v->irr[vector / 8] = (uint8_t)(v->irr[vector / 8] & ~(1u << (vector % 8)));
    hw_write(0x4016, 0x80000000u | (unsigned)vector);
    return 1;
}

static int handle_unknown(struct vcpu *v)
{
    v->requests |= 0x80000000u;
    return -1;
}

static handler *const handlers[64] = {
    [10] = handle_cpuid, [12] = handle_halt, [30] = handle_io, [31] = handle_msr, [32] = handle_msr,
};

EXPORT int dispatch(struct vcpu *v)
{
    uint32_t reason = v->exit_reason & 0xffff;
    if (reason >= 64)
        hw_panic("exit reason");
    v->exits[reason]++;
    handler *handle = handlers[reason] != NULL ? handlers[reason] : handle_unknown;
    return handle(v);
}

EXPORT void vcpu_init(struct vcpu *v, struct slot *slots, uint32_t count)
{
    *v = (struct vcpu){.slots = slots, .slot_count = count};
    v->link.next = v->link.prev = &v->link;
}

EXPORT int run(struct vcpu *v, uint64_t budget)
{
    int result = 1;
    while (result > 0 && budget-- > 0) {
        if (v->requests & 1)
            v->requests &= ~1u;
        v->exit_reason = (uint32_t)hw_read(0x4402);
        lock(v);
        result = dispatch(v);
        unlock(v);
    }
    return result;
}

// ---- a red-black-like tree: rotations and a search

struct node {
    struct node *child[2];
    struct node *parent;
    uint64_t key;
    uint32_t priority;
};

static void rotate(struct node **root, struct node *n, int side)
{
    struct node *up = n->child[!side];
    n->child[!side] = up->child[side];
    if (up->child[side] != NULL)
        up->child[side]->parent = n;
    up->parent = n->parent;
    if (n->parent == NULL)
        *root = up;
    else
        n->parent->child[n->parent->child[1] == n] = up;
    up->child[side] = n;
    n->parent = up;
}

EXPORT void tree_insert(struct node **root, struct node *n)
{
    struct node **at = root, *parent = NULL;
    while (*at != NULL) {
        parent = *at;
        at = &parent->child[n->key > parent->key];
    }
    n->parent = parent;
    n->child[0] = n->child[1] = NULL;
    *at = n;
    while (n->parent != NULL && n->parent->priority < n->priority)
        rotate(root, n->parent, n->parent->child[0] == n);
}

EXPORT void format_hex(char *to, uint64_t value)
{
    for (int i = 15; i >= 0; i--, value >>= 4)
        to[i] = "0123456789abcdef"[value & 15];
    to[16] = '\0';
}

EXPORT unsigned format_decimal(char *to, uint32_t value)
{
    char digits[10];
    unsigned n = 0, length;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (length = 0; n > 0;)
        to[length++] = digits[--n];
    to[length] = '\0';
    return length;
}
