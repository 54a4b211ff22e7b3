// SPDX-License-Identifier: Apache-2.0
// libhv.so as the image that the modelled processors run: mapping, prices, function names.
#include "models/cpu/native/hooks.h"
#include "traces/trace.h"
#include <assert.h>
#include <dlfcn.h>
#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Extent and build id from the program headers of the mapped file.
static void read_headers(struct native_image *image, const char *base)
{
    const Elf64_Ehdr *eh = (const void *)base;
    const Elf64_Phdr *ph = (const void *)(base + eh->e_phoff);

    image->base = (uint64_t)(uintptr_t)base;
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        if (ph[i].p_type == PT_LOAD && ph[i].p_vaddr + ph[i].p_memsz - HW_IMAGE_BASE > image->bytes)
            image->bytes = ph[i].p_vaddr + ph[i].p_memsz - HW_IMAGE_BASE;
        if (ph[i].p_type != PT_NOTE)
            continue;
        const char *at = base + (ph[i].p_vaddr - HW_IMAGE_BASE), *end = at + ph[i].p_memsz;

        while (at + sizeof(Elf64_Nhdr) <= end) {
            const Elf64_Nhdr *note = (const void *)at;
            const unsigned char *id = (const void *)(at + sizeof *note + ((note->n_namesz + 3) & ~3u));

            if (note->n_type == NT_GNU_BUILD_ID)
                for (unsigned b = 0; b < note->n_descsz && b < 20; b++)
                    snprintf(image->build_id + b * 2, 3, "%02x", id[b]);
            at = (const char *)id + ((note->n_descsz + 3) & ~3u);
        }
    }
}

// Index of the function that holds each byte of the text.
static int map_functions(struct native_image *image)
{
    size_t count = price_symbol_count(image->prices);

    image->function_at = calloc(image->map.text_bytes, sizeof *image->function_at);
    image->function_text = calloc(count + 1, sizeof *image->function_text);
    if (!image->function_at || !image->function_text || count >= UINT16_MAX)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct price_symbol *s = price_symbol_at(image->prices, i);

        for (uint64_t pc = s->start; pc < s->start + s->size; pc++)
            if (pc - image->map.text_base < image->map.text_bytes)
                image->function_at[pc - image->map.text_base] = (uint16_t)(i + 1);
    }
    return 0;
}

struct native_image *native_image_open(const char *path, const struct uarch *u, char *error,
                                       size_t error_size)
{
    struct native_image *image = calloc(1, sizeof *image);
    struct link_map *map = NULL;
    char real[PATH_MAX];

    if (!image)
        return NULL;
    if (!realpath(path, real)) {
        snprintf(error, error_size, "%s: %m", path);
        goto fail;
    }
    image->path = strdup(real);
    image->handle = dlopen(real, RTLD_NOW | RTLD_LOCAL);
    if (!image->handle) {
        snprintf(error, error_size, "%s: %s", path, dlerror());
        goto fail;
    }
    void *boot = dlsym(image->handle, HW_BOOT_ENTRY_NAME);

    memcpy(&image->boot, &boot, sizeof boot);
    if (!boot || dlinfo(image->handle, RTLD_DI_LINKMAP, &map)) {
        snprintf(error, error_size, "%s: has no %s, so it is not a hypervisor core", path,
                 HW_BOOT_ENTRY_NAME);
        goto fail;
    }
    if (map->l_addr != 0) {
        snprintf(error, error_size,
                 "%s: could not be loaded at its link address %#llx (taken by something else)", path,
                 HW_IMAGE_BASE);
        goto fail;
    }
    read_headers(image, (const char *)(uintptr_t)HW_IMAGE_BASE);
    image->prices = price_open(real, map->l_addr, u, error, error_size);
    if (!image->prices)
        goto fail;
    image->map = *price_map(image->prices);
    if (map_functions(image)) {
        snprintf(error, error_size, "%s: no memory for its function map", path);
        goto fail;
    }
    native_hot.map = image->map;
    for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++)
        native_hot.of_host[h] = image->map;
    native_hot.image_bytes = image->bytes;
    native_hot.function_at = image->function_at;
    native_hot.function_text = image->function_text;
    return image;
fail:
    native_image_close(image);
    return NULL;
}

int native_image_price(struct native_image *image, uint32_t host, const struct uarch *u, char *error,
                       size_t error_size)
{
    assert(host < HW_ARENA_HOSTS_MAX && !image->host_prices[host]);
    image->host_prices[host] = price_open(image->path, 0, u, error, error_size); // As it was mapped.
    if (!image->host_prices[host])
        return -1;
    native_hot.of_host[host] = *price_map(image->host_prices[host]);
    return 0;
}

void native_image_close(struct native_image *image)
{
    if (!image)
        return;
    native_hot = (struct native_hot){0};
    price_close(image->prices);
    for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++)
        price_close(image->host_prices[h]);
    free(image->function_at);
    free(image->function_text);
    free(image->path);
    if (image->handle)
        dlclose(image->handle);
    free(image);
}

void native_calls_unseen(void)
{
    native_hot.calls = false;
}

void native_image_intern(struct native_image *image, struct trace *trace)
{
    native_hot.calls = trace != NULL;
    memset(native_hot.functions, 0xff, sizeof native_hot.functions);
    for (size_t i = 0; trace && i < price_symbol_count(image->prices); i++)
        image->function_text[i + 1] = trace_text(trace, price_symbol_at(image->prices, i)->name);
}
