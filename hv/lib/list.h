// SPDX-License-Identifier: Apache-2.0
// Intrusive doubly linked lists (struct list) and hash chains with one-pointer heads (struct hlist).
#ifndef HV_LIB_LIST_H
#define HV_LIB_LIST_H

#include "hv/lib/compiler.h"

// Head and member are the same type; an empty head points at itself. `next` may be looked at without the lock
// (is anybody there?), so it is stored in one piece.
struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    WRITE_ONCE(l->next, l);
    l->prev = l;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
static inline void list_insert_between(struct list *node, struct list *prev, struct list *next)
{
    next->prev = node;
    node->next = next;
    node->prev = prev;
    WRITE_ONCE(prev->next, node);
}
// Inserts right after / right before `at` (first / last of a list when `at` is its head).
static inline void list_add(struct list *node, struct list *at)
{
    list_insert_between(node, at, at->next);
}
static inline void list_add_tail(struct list *node, struct list *at)
{
    list_insert_between(node, at->prev, at);
}
static inline void list_unlink(struct list *node)
{
    node->next->prev = node->prev;
    WRITE_ONCE(node->prev->next, node->next);
}
// Removes and leaves the node an empty list: a second removal is harmless, list_empty(node) tells.
static inline void list_del(struct list *node)
{
    list_unlink(node);
    list_init(node);
}
static inline void list_move(struct list *node, struct list *at)
{
    list_unlink(node);
    list_add(node, at);
}
static inline void list_move_tail(struct list *node, struct list *at)
{
    list_unlink(node);
    list_add_tail(node, at);
}
// Moves all of `from` to the front of `to`; `from` becomes empty.
static inline void list_splice(struct list *from, struct list *to)
{
    if (list_empty(from))
        return;
    from->next->prev = to;
    from->prev->next = to->next;
    to->next->prev = from->prev;
    to->next = from->next;
    list_init(from);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)
#define list_last(head, type, member) list_entry((head)->prev, type, member)
// By address, not through `pos`: at the end of the walk there is no object around the head.
#define list_node_of(pos, type, member) ((struct list *)((u64)(pos) + offsetof(type, member)))
#define list_for_each(pos, head, type, member)                                                               \
    for (type *pos = list_first(head, type, member); list_node_of(pos, type, member) != (head);              \
         pos = list_entry(list_node_of(pos, type, member)->next, type, member))
// As above, but `pos` may be removed in the body.
#define list_for_each_safe(pos, head, type, member)                                                          \
    for (type *pos = list_first(head, type, member),                                                         \
              *pos##_next = list_entry(list_node_of(pos, type, member)->next, type, member);                 \
         list_node_of(pos, type, member) != (head);                                                          \
         pos = pos##_next, pos##_next = list_entry(list_node_of(pos, type, member)->next, type, member))

struct hlist_node {
    struct hlist_node *next, **pprev;
};
struct hlist {
    struct hlist_node *first;
};

static inline bool hlist_empty(const struct hlist *h)
{
    return h->first == NULL;
}
static inline bool hlist_unhashed(const struct hlist_node *n)
{
    return n->pprev == NULL;
}
static inline void hlist_add(struct hlist_node *n, struct hlist *h)
{
    n->next = h->first;
    if (h->first != NULL)
        h->first->pprev = &n->next;
    h->first = n;
    n->pprev = &h->first;
}
static inline void hlist_del(struct hlist_node *n)
{
    if (n->pprev == NULL)
        return;
    *n->pprev = n->next;
    if (n->next != NULL)
        n->next->pprev = n->pprev;
    n->next = NULL;
    n->pprev = NULL;
}

#define hlist_for_each(pos, head, type, member)                                                              \
    for (struct hlist_node *pos##_node = (head)->first; pos##_node != NULL; pos##_node = NULL)               \
        for (type *pos = container_of(pos##_node, type, member); pos != NULL;                                \
             pos = pos->member.next == NULL ? NULL : container_of(pos->member.next, type, member))

#endif
