// SPDX-License-Identifier: Apache-2.0
// Opening a native guest's program: its table, what it may not have, its blocks' prices.
#include "models/cpu/x86/native_guest_run.h"

#include <assert.h>
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Writable bytes that the loader does not seal would be state which no start-over resets and which vCPUs
// share behind the back of guest memory.
static int look_at_segments(struct dl_phdr_info *info, size_t size, void *result)
{
    const struct native_program *p = result;
    uint64_t sealed_from = 0, sealed_to = 0;

    (void)size;
    if (info->dlpi_addr != p->bias)
        return 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_GNU_RELRO) {
            sealed_from = info->dlpi_phdr[i].p_vaddr;
            sealed_to = sealed_from + info->dlpi_phdr[i].p_memsz;
        }
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];

        if (h->p_type == PT_LOAD && (h->p_flags & PF_W) &&
            (h->p_vaddr < sealed_from || h->p_vaddr + h->p_memsz > sealed_to))
            return 1;
    }
    return 2;
}

static bool check(struct native_program *p, const char *path, char *error, size_t error_size)
{
    struct link_map *map = NULL;

    p->info = dlsym(p->handle, GUEST_PROGRAM_SYMBOL);
    if (!p->info || p->info->abi != GUEST_ABI || p->info->arg_count > GUEST_ARGS_MAX ||
        dlinfo(p->handle, RTLD_DI_LINKMAP, &map)) {
        snprintf(error, error_size, "%s: is not a guest program of this version", path);
        return false;
    }
    p->bias = map->l_addr;
    if (dl_iterate_phdr(look_at_segments, p) != 2) {
        snprintf(error, error_size, "%s: has variables outside of its stack", path);
        return false;
    }
    return true;
}

struct native_program *native_program_open(const char *path, const struct uarch *u, char *error,
                                           size_t error_size)
{
    struct native_program *p = calloc(1, sizeof *p);
    char real[PATH_MAX];

    if (!p || !realpath(path, real)) {
        snprintf(error, error_size, "%s: %m", path);
        free(p);
        return NULL;
    }
    p->path = strdup(real);
    p->handle = dlopen(real, RTLD_NOW | RTLD_LOCAL);
    if (!p->handle)
        snprintf(error, error_size, "%s: %s", path, dlerror());
    if (!p->handle || !check(p, path, error, error_size)) {
        native_program_close(p);
        return NULL;
    }
    if (u) {
        p->prices[0] = price_open(real, p->bias, u, error, error_size);
        if (!p->prices[0]) {
            native_program_close(p);
            return NULL;
        }
        for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++)
            p->maps[h] = *price_map(p->prices[0]);
    }
    return p;
}

int native_program_price(struct native_program *p, uint32_t host, const struct uarch *u, char *error,
                         size_t error_size)
{
    assert(host > 0 && host < HW_ARENA_HOSTS_MAX && !p->prices[host]);
    p->prices[host] = price_open(p->path, p->bias, u, error, error_size);
    if (!p->prices[host])
        return -1;
    p->maps[host] = *price_map(p->prices[host]);
    return 0;
}

void native_program_close(struct native_program *p)
{
    if (!p)
        return;
    for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++)
        price_close(p->prices[h]);
    if (p->handle)
        dlclose(p->handle);
    free(p->path);
    free(p);
}

const struct guest_program *native_program_info(const struct native_program *p)
{
    return p->info;
}

uint64_t native_program_entry(const struct native_program *p)
{
    void (*entry)(const struct guest_env *, const uint64_t *) = p->info->main;
    uint64_t at;

    memcpy(&at, &entry, sizeof at);
    return at - p->bias + NATIVE_TEXT_BASE;
}
