// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/uarchs.h"
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

// The file `name`, which field `field` in `line` asks for.
static struct uarch *load(const struct scenario *s, const char *folder, const char *name, uint32_t line,
                          const char *field, struct user_error *e)
{
    char path[PATH_MAX], error[700];

    snprintf(path, sizeof path, "%s/%s.yaml", folder, name);
    if (access(path, R_OK) != 0) {
        user_error_at(e, s->path, line, field,
                      "there is no micro-architecture `%s`; known are skylake-sp and sandybridge-ep", name);
        return NULL;
    }
    struct uarch *u = uarch_load(path, error, sizeof error);

    if (!u)
        snprintf(e->text, sizeof e->text, "%s", error);
    return u;
}

int uarchs_open(struct uarchs *u, const struct scenario *s, const char *folder, struct user_error *e)
{
    char field[32];

    u->machine = load(s, folder, s->uarch, s->uarch_line, "machine.uarch", e);
    for (uint32_t h = 0; u->machine && h < s->host_count; h++) {
        if (!s->hosts[h].uarch)
            continue;
        snprintf(field, sizeof field, "hosts[%u].uarch", h);
        u->host[h] = load(s, folder, s->hosts[h].uarch, s->hosts[h].uarch_line, field, e);
        if (!u->host[h])
            return -1;
        u->host[h]->clock = u->machine->clock;
    }
    return u->machine ? 0 : -1;
}

void uarchs_close(struct uarchs *u)
{
    uarch_free(u->machine);
    for (uint32_t h = 0; h < SCENARIO_HOSTS_MAX; h++)
        uarch_free(u->host[h]);
}

const struct uarch *uarchs_of(const struct uarchs *u, uint32_t h)
{
    return u->host[h] ? u->host[h] : u->machine;
}

static void replace(struct uarch *u, const struct scenario_uarch_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        uarch_replace(u, list->rows[i].param, list->rows[i].value);
}

int uarchs_choose(struct uarchs *u, const struct scenario *s, const struct scenario_variant *v,
                  struct user_error *e)
{
    char error[700];

    for (uint32_t h = 0; h < s->host_count; h++) {
        struct uarch *to = &u->in_run[h];

        *to = *uarchs_of(u, h);
        replace(to, &v->uarch);
        replace(to, &s->hosts[h].replace);
        replace(to, &v->replace[h]);
        if (!uarch_sound(to, error, sizeof error)) {
            snprintf(e->text, sizeof e->text, "%s: variant %s, host %s: what is replaced does not fit: %s",
                     s->path, v->name, s->hosts[h].name, error);
            return -1;
        }
    }
    for (uint32_t i = 0; i < s->vm_count; i++) {
        const struct scenario_vm *vm = &s->vms[i];

        if (vm->paging_levels == 5 && u->in_run[vm->host].address.linear_bits < 57)
            return user_error_at(
                e, s->path, vm->line, "vms.paging",
                "5 levels need 57 linear address bits, and %s has %u (uarch address.linear_bits)",
                uarchs_of(u, vm->host)->name, (unsigned)u->in_run[vm->host].address.linear_bits);
    }
    return 0;
}

static void print(const struct uarchs *u, const struct scenario_uarch_list *list, const char *host, FILE *out)
{
    for (uint32_t i = 0; i < list->count; i++) {
        struct uarch_param p = uarch_param_at(u->machine, list->rows[i].param);

        fprintf(out, "uarch %s.%s=%llu%s%s\n", p.group, p.name, (unsigned long long)list->rows[i].value,
                host ? " on " : "", host ? host : "");
    }
}

void uarchs_print(const struct uarchs *u, const struct scenario *s, const struct scenario_variant *v,
                  FILE *out)
{
    print(u, &v->uarch, NULL, out);
    for (uint32_t h = 0; h < s->host_count; h++) {
        if (s->hosts[h].uarch)
            fprintf(out, "uarch %s on %s\n", s->hosts[h].uarch, s->hosts[h].name);
        print(u, &s->hosts[h].replace, s->hosts[h].name, out);
        print(u, &v->replace[h], s->hosts[h].name, out);
    }
}
