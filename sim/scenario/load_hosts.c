// SPDX-License-Identifier: Apache-2.0
// hosts and link: the machines of a run, and the network between them.
#include "sim/scenario/load.h"
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX 31u

static int load_host(struct loader *l, struct scenario *s, const struct raw_host *raw, const char *base)
{
    const struct raw_machine *m = l->raw->machine;
    struct scenario_host *h = &s->hosts[s->host_count++];
    char field[64];

    h->name = load_copy(raw->name ? raw->name : "host");
    h->cpus = 1;
    h->memory_bytes = 4ull << 30;
    h->knobs = load_array(KNOB_COUNT, sizeof *h->knobs);
    if (m && (load_u32(l, "machine.cpus", m->cpus, 1, SCENARIO_CPUS_MAX, &h->cpus) ||
              load_bytes(l, "machine.memory", m->memory, 64u << 20, SCENARIO_MEMORY_MAX, &h->memory_bytes)))
        return -1;
    if (h->memory_bytes % 4096)
        return load_error(l, "machine.memory", "is not a multiple of 4KiB");
    if (!base)
        return 0;
    snprintf(field, sizeof field, "%s.name", base);
    if (!raw->name || !*raw->name || strlen(raw->name) > NAME_BYTES_MAX)
        return load_error(l, raw->name ? field : base, "a host needs a `name` of 1 to %u characters",
                          NAME_BYTES_MAX);
    for (uint32_t i = 0; i + 1 < s->host_count; i++)
        if (strcmp(s->hosts[i].name, h->name) == 0)
            return load_error(l, field, "there is a host `%s` already", h->name);
    snprintf(field, sizeof field, "%s.cpus", base);
    if (load_u32(l, field, raw->cpus, 1, SCENARIO_CPUS_MAX, &h->cpus))
        return -1;
    snprintf(field, sizeof field, "%s.memory", base);
    if (load_bytes(l, field, raw->memory, 64u << 20, SCENARIO_MEMORY_MAX, &h->memory_bytes))
        return -1;
    if (h->memory_bytes % 4096)
        return load_error(l, field, "is not a multiple of 4KiB");
    snprintf(field, sizeof field, "%s.uarch", base);
    if (raw->uarch && load_uarch_name(l, field, raw->uarch))
        return -1;
    h->uarch = raw->uarch ? load_copy(raw->uarch) : NULL;
    h->uarch_line = yaml_line(&l->y, field);
    snprintf(field, sizeof field, "%s.replace", base);
    if (load_uarch(l, raw->replace, field, &h->replace))
        return -1;
    snprintf(field, sizeof field, "%s.knobs", base);
    return load_knobs(l, raw->knobs, field, h->knobs, &h->knob_count);
}

static int load_link(struct loader *l, struct scenario *s)
{
    const struct raw_link *raw = l->raw->link;
    struct scenario_link *k = &s->link;
    uint64_t mtu = 9000;

    *k = (struct scenario_link){
        .bits_per_second = 10000000000ull, .latency_ns = 50000, .packet_ns = 0, .queue_bytes = 4u << 20};
    if (raw && s->host_count < 2)
        return load_error(l, "link", "a link joins two `hosts`; this scenario has one");
    if (raw && (load_rate(l, "link.bandwidth", raw->bandwidth, &k->bits_per_second) ||
                load_time(l, "link.latency", raw->latency, &k->latency_ns) ||
                load_number(l, "link.mtu", raw->mtu, 576, 65535, &mtu) ||
                load_time(l, "link.packet", raw->packet, &k->packet_ns) ||
                load_bytes(l, "link.queue", raw->queue, 64u << 10, 1ull << 30, &k->queue_bytes)))
        return -1;
    if (k->bits_per_second < 1000000 || k->bits_per_second > 10000000000000ull)
        return load_error(l, "link.bandwidth", "is out of range; expected 1Mbit/s to 10Tbit/s");
    if (k->latency_ns > 10000000000ull)
        return load_error(l, "link.latency", "is out of range; expected at most 10s");
    if (k->packet_ns > 1000000)
        return load_error(l, "link.packet", "is out of range; expected at most 1ms");
    k->mtu_bytes = (uint32_t)mtu;
    return 0;
}

int load_hosts(struct loader *l, struct scenario *s)
{
    const struct raw_host none = {0};
    char base[32];
    uint32_t cpus = 0;

    if (l->raw->machine && load_flag(l, "machine.overcommit", l->raw->machine->overcommit, 1, &s->overcommit))
        return -1;
    if (l->raw->hosts_count > SCENARIO_HOSTS_MAX)
        return load_error(l, "hosts", "more than %u hosts", SCENARIO_HOSTS_MAX);
    s->hosts = load_array(SCENARIO_HOSTS_MAX, sizeof *s->hosts);
    if (l->raw->hosts_count == 0 && load_host(l, s, &none, NULL))
        return -1;
    for (unsigned i = 0; i < l->raw->hosts_count; i++) {
        snprintf(base, sizeof base, "hosts[%u]", i);
        if (load_host(l, s, &l->raw->hosts[i], base))
            return -1;
        cpus += s->hosts[i].cpus;
    }
    if (cpus > SCENARIO_CPUS_MAX)
        return load_error(l, "hosts", "the hosts together have %u CPUs; at most %u can be simulated", cpus,
                          SCENARIO_CPUS_MAX);
    return load_link(l, s);
}
