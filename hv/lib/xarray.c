// SPDX-License-Identifier: Apache-2.0
#include "hv/lib/xarray.h"

#include "hv/core/host.h"
#include "hv/lib/errno.h"

#define FANOUT_SHIFT 6u
#define FANOUT (1u << FANOUT_SHIFT)
#define LEVELS_MAX 11u // 11 * 6 bits hold 64.

struct xa_node {
    void *slot[FANOUT];
};

// Root word: node address | number of levels (1: the root's slots are entries).
static struct xa_node *root_node(u64 root)
{
    return (struct xa_node *)(root & ~63ull);
}
static unsigned root_levels(u64 root)
{
    return (unsigned)(root & 63);
}
// First index that a tree of `levels` levels cannot hold is 2^(6 * levels); true if `index` fits.
static bool fits(u64 index, unsigned levels)
{
    return levels >= LEVELS_MAX || (levels > 0 && (index >> (FANOUT_SHIFT * levels)) == 0);
}
static unsigned slot_of(u64 index, unsigned level)
{
    return (unsigned)(index >> (FANOUT_SHIFT * (level - 1))) & (FANOUT - 1);
}

void xa_init(struct xarray *xa, struct host *host)
{
    xa->host = host;
    xa->root = NULL;
}

// Depth first with an explicit path: recursion depth is bounded by LEVELS_MAX, but stacks are small.
void xa_destroy(struct xarray *xa)
{
    struct xa_node *path[LEVELS_MAX + 1];
    unsigned next[LEVELS_MAX + 1];
    unsigned levels = root_levels((u64)xa->root), depth = 0;
    if (xa->root == NULL)
        return;
    path[0] = root_node((u64)xa->root);
    next[0] = 0;
    for (;;) {
        bool leaf = depth + 1 == levels;
        if (leaf || next[depth] == FANOUT) {
            kfree(xa->host, path[depth], sizeof(struct xa_node));
            if (depth-- == 0)
                break;
            continue;
        }
        struct xa_node *child = path[depth]->slot[next[depth]++];
        if (child != NULL) {
            path[++depth] = child;
            next[depth] = 0;
        }
    }
    xa->root = NULL;
}

void *xa_load(const struct xarray *xa, u64 index)
{
    u64 root = (u64)load_acquire(&xa->root);
    unsigned level = root_levels(root);
    if (!fits(index, level))
        return NULL;
    struct xa_node *node = root_node(root);
    for (; level > 1 && node != NULL; level--)
        node = load_acquire(&node->slot[slot_of(index, level)]);
    return node == NULL ? NULL : load_acquire(&node->slot[slot_of(index, 1)]);
}

// Adds levels on top until `index` fits.
static int grow(struct xarray *xa, u64 index)
{
    u64 root = (u64)xa->root;
    while (!fits(index, root_levels(root))) {
        struct xa_node *node = kzalloc(xa->host, sizeof(*node));
        if (node == NULL)
            return -ENOMEM;
        node->slot[0] = root_node(root);
        root = (u64)node | (root_levels(root) + 1);
        store_release(&xa->root, (struct xa_node *)root);
    }
    return 0;
}

int xa_store(struct xarray *xa, u64 index, void *entry)
{
    if (entry == NULL && !fits(index, root_levels((u64)xa->root)))
        return 0;
    if (grow(xa, index) != 0)
        return -ENOMEM;
    struct xa_node *node = root_node((u64)xa->root);
    for (unsigned level = root_levels((u64)xa->root); level > 1; level--) {
        void **slot = &node->slot[slot_of(index, level)];
        if (*slot == NULL) {
            if (entry == NULL)
                return 0;
            struct xa_node *child = kzalloc(xa->host, sizeof(*child));
            if (child == NULL)
                return -ENOMEM;
            store_release(slot, (void *)child);
        }
        node = *slot;
    }
    store_release(&node->slot[slot_of(index, 1)], entry);
    return 0;
}

// Descends to `index`; where a slot is empty, skips all that it would cover.
void *xa_find(const struct xarray *xa, u64 *index)
{
    u64 root = (u64)load_acquire(&xa->root);
    u64 at = *index;
    while (fits(at, root_levels(root))) {
        struct xa_node *node = root_node(root);
        unsigned level = root_levels(root);
        void *entry = NULL;
        for (; level >= 1; level--) {
            entry = load_acquire(&node->slot[slot_of(at, level)]);
            if (entry == NULL || level == 1)
                break;
            node = entry;
        }
        if (entry != NULL) {
            *index = at;
            return entry;
        }
        u64 span = 1ull << (FANOUT_SHIFT * (level - 1));
        u64 next = (at & ~(span - 1)) + span;
        if (next <= at)
            break;
        at = next;
    }
    return NULL;
}
