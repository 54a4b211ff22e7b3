// SPDX-License-Identifier: Apache-2.0
// Handles: what file descriptors are to KVM.
#include "hv/core/api.h"
#include "hv/core/host.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"

int handle_alloc(struct host *host, enum handle_kind kind, void *object)
{
    int found = -EMFILE;
    mutex_lock(&host->handles_lock);
    for (int i = 1; i < (int)HOST_HANDLES_MAX; i++) {
        struct handle *h = &host->handles[i];
        if (load_acquire(&h->kind) != HANDLE_FREE)
            continue;
        h->object = object;
        WRITE_ONCE(h->kind, kind);
        store_release(&h->users, 1); // From here on whoever guesses the number may use it.
        found = i;
        break;
    }
    mutex_unlock(&host->handles_lock);
    return found;
}

static struct handle *handle_at(struct host *host, s64 handle)
{
    return (u64)handle < HOST_HANDLES_MAX ? &host->handles[handle] : NULL;
}

enum handle_kind handle_kind_of(struct host *host, s64 handle)
{
    struct handle *h = handle_at(host, handle);
    // handle_get() looks again.
    return h == NULL ? HANDLE_FREE : (enum handle_kind)READ_ONCE(h->kind);
}

void *handle_get(struct host *host, s64 handle, enum handle_kind kind)
{
    struct handle *h = handle_at(host, handle);
    if (h == NULL)
        return NULL;
    u32 users = READ_ONCE(h->users);
    do {
        if (users == 0)
            return NULL;
    } while (
        !__atomic_compare_exchange_n(&h->users, &users, users + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
    // Held: kind and object can no longer change but for HANDLE_CLOSING.
    if (READ_ONCE(h->kind) == (u32)kind)
        return h->object;
    handle_put(host, handle);
    return NULL;
}

void handle_put(struct host *host, s64 handle)
{
    struct handle *h = &host->handles[handle];
    if (__atomic_sub_fetch(&h->users, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    void *object = h->object;
    u32 released = h->released_kind;
    h->object = NULL;
    store_release(&h->kind, HANDLE_FREE);
    object_release(released, object);
}

int handle_close(struct host *host, s64 handle)
{
    struct handle *h = handle_at(host, handle);
    if (h == NULL)
        return -EBADF;
    if (handle == HV_HANDLE_SYSTEM)
        return -EINVAL;
    int result = -EBADF;
    mutex_lock(&host->handles_lock);
    u32 kind = READ_ONCE(h->kind);
    if (kind != HANDLE_FREE && kind != HANDLE_CLOSING) {
        h->released_kind = kind;
        WRITE_ONCE(h->kind, HANDLE_CLOSING);
        result = 0;
    }
    mutex_unlock(&host->handles_lock);
    if (result == 0)
        handle_put(host, handle);
    return result;
}
