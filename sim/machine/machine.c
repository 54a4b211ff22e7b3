// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/machine.h"
#include "models/apic/assigned_msi.h"
#include "models/apic/lapic.h"
#include "models/check/check.h"
#include "models/cpu/native/native.h"
#include "models/cpu/uarch/uarch.h"
#include "models/cpu/x86/replay_run.h"
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/trace_port.h"
#include "models/cpu/x86/x86.h"
#include "models/dev/link.h"
#include "models/mem/mem.h"
#include "models/memory/memory.h"
#include "models/mmu/check.h"
#include "sim/explore/explore.h"
#include "sim/machine/boot_info.h"
#include "sim/machine/guests.h"
#include "sim/machine/images.h"
#include "sim/machine/orders.h"
#include "sim/machine/uarchs.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct sim_machine {
    struct machine machine;
    const struct scenario *scenario;
    struct uarchs uarchs;
    struct native_image *image;
    struct guest_set guests; // Programs of every vCPU, in the order of VMs and vCPUs.
    struct image_set images; // Machine code, by VM.
    struct terminal_set terminals;
    struct orders *orders;
    struct check *check;  // NULL: no validators
    uint32_t guests_left; // Streams and native guests of vCPUs, images of VMs.
    uint64_t quantum_cycles;
    bool ran; // Since the last start-over.
    enum machine_end end;
    uint64_t end_cycles;
    struct machine_run *run; // In progress.
};

const char *machine_end_str(enum machine_end end)
{
    static const char *const words[] = {"guests done", "power off", "time limit", "idle", "interrupted"};

    return words[end];
}

// --- Building. ---

static int open_uarchs(struct sim_machine *m, const struct machine_options *o, struct user_error *e)
{
    char *folder = o->uarch_folder ? strdup(o->uarch_folder) : machine_installed_path("../share/hvsim/uarch");
    int result = uarchs_open(&m->uarchs, m->scenario, folder ? folder : ".", e);

    free(folder);
    return result;
}

static int open_image(struct sim_machine *m, const struct machine_options *o, struct user_error *e)
{
    char *path = o->hv_path ? strdup(o->hv_path) : machine_installed_path("../lib/libhv.so");
    char error[700];

    bool good = path && (m->image = native_image_open(path, m->uarchs.machine, error, sizeof error));

    for (uint32_t h = 0; good && h < m->scenario->host_count; h++)
        good = !m->uarchs.host[h] ||
               native_image_price(m->image, h, m->uarchs.host[h], error, sizeof error) == 0;
    if (!good)
        snprintf(e->text, sizeof e->text, "%s",
                 path ? error : "libhv.so: the executable's folder is unknown");
    free(path);
    m->machine.image = m->image;
    return good ? 0 : -1;
}

static struct pcpu *create_cpu(struct sim_machine *m, uint32_t index, uint32_t host)
{
    struct pcpu *c = aligned_alloc(64, (sizeof *c + 63) & ~63ul);

    if (!c)
        return NULL;
    memset(c, 0, sizeof *c);
    c->index = index;
    c->host = host;
    c->machine = &m->machine;
    c->uarch = uarchs_of(&m->uarchs, host);
    pcpu_set_clock(c);
    for (unsigned s = 0; s < PCPU_TIMER_COUNT; s++)
        c->timer_at_ticks[s] = TICKS_NEVER;
    char name[32];

    snprintf(name, sizeof name, "cpu%u.wake", index);
    c->wake = sim_event_create(name);
    snprintf(name, sizeof name, "cpu%u.mode", index);
    c->vcd_mode = sim_signal_create(name, 3, PCPU_OFF);
    snprintf(name, sizeof name, "cpu%u.irq", index);
    c->vcd_irq = sim_signal_create(name, 1, 0);
    c->mem = mem_core_create(c);
    c->native = native_state_create(c);
    c->lapic = lapic_create(c);
    c->x86 = x86_create(c);
    return c->mem && c->native && c->lapic && c->x86 ? c : NULL;
}

static int create_cpus(struct sim_machine *m, struct user_error *e)
{
    struct machine *hw = &m->machine;
    const struct scenario *s = m->scenario;
    uint32_t count = 0;

    for (uint32_t h = 0; h < s->host_count; h++)
        count += s->hosts[h].cpus;
    hw->cpus = calloc(count, sizeof *hw->cpus);
    for (uint32_t h = 0; hw->cpus && h < s->host_count; h++)
        for (uint32_t i = 0; i < s->hosts[h].cpus; i++) {
            struct pcpu *c = create_cpu(m, hw->cpu_count, h);

            if (!c)
                break;
            hw->cpus[hw->cpu_count++] = c;
        }
    if (hw->cpu_count != count)
        return user_error_at(e, s->path, 0, "machine.cpus", "out of memory");
    return 0;
}

static void one_guest_done(struct sim_machine *m)
{
    if (m->guests_left && --m->guests_left == 0) {
        m->end = MACHINE_GUESTS_DONE;
        machine_stop_now(&m->machine);
    }
}

static void guest_done(void *ctx, uint64_t idtr_base)
{
    // Nested guests' programs have numbers above 0 in the low bits and are not waited for.
    if ((idtr_base >> 12) % 16 == 0)
        one_guest_done(ctx);
}

static void guest_end(struct machine *machine, uint32_t vm, enum guest_end how, uint32_t code)
{
    struct sim_machine *m = machine->owner;

    if (vm >= m->images.vm_count || !m->images.vms[vm].used || m->run->guest_ends[vm].how != GUEST_END_NONE)
        return;
    m->run->guest_ends[vm] = (struct machine_guest_end){how, code};
    one_guest_done(m);
}

static void console(struct machine *machine, uint32_t vm, uint8_t byte)
{
    struct sim_machine *m = machine->owner;

    terminals_show(&m->terminals, vm, byte);
    if (m->run->on_console)
        m->run->on_console(m->run->ctx, vm, byte);
}

static uint32_t console_input(struct machine *machine, uint32_t vm)
{
    struct sim_machine *m = machine->owner;

    return terminals_type(&m->terminals, vm);
}

// The run goes on while another host may have guests.
static void power_off(struct machine *machine, uint32_t host)
{
    struct sim_machine *m = machine->owner;

    machine_host_off(machine, host);
    if (machine->hosts_off + 1 == 1u << machine->host_count) {
        m->end = MACHINE_POWER_OFF;
        machine_stop_now(machine);
    }
}

static void attention(struct machine *machine, uint64_t now_ticks)
{
    struct sim_machine *m = machine->owner;

    if (m->run && m->run->on_attention)
        m->run->on_attention(m->run->ctx, now_ticks / TICKS_PER_CYCLE);
}

void machine_interrupt(struct sim_machine *m)
{
    m->end = MACHINE_INTERRUPTED;
    machine_stop_now(&m->machine);
}

static int register_programs(struct sim_machine *m, struct user_error *e)
{
    m->machine.assigned = assigned_msi_create();
    if (!m->machine.assigned)
        return user_error_at(e, m->scenario->path, 0, NULL, "out of memory");
    if (guests_register(&m->guests, m->scenario, &m->machine, e))
        return -1;
    replay_set_done_hook(&m->machine, guest_done, m);
    return 0;
}

static int create_arenas(const struct scenario *s, struct user_error *e)
{
    for (uint32_t h = 0; h < s->host_count; h++)
        if (mem_arena_create(h, s->hosts[h].memory_bytes))
            return user_error_at(e, s->path, 0, "machine.memory", "cannot reserve address space for it: %m");
    return 0;
}

static void create_link(struct sim_machine *m)
{
    const struct scenario_link *k = &m->scenario->link;
    const struct link_config config = {.bits_per_second = k->bits_per_second,
                                       .latency_ps = k->latency_ns * 1000,
                                       .packet_ps = k->packet_ns * 1000,
                                       .queue_bytes = k->queue_bytes,
                                       .mtu_bytes = k->mtu_bytes};

    if (m->scenario->host_count > 1)
        m->machine.link = link_create(&config);
}

static int build(struct sim_machine *m, const struct machine_options *o, struct user_error *e)
{
    if (sim_init())
        return user_error_at(e, "SystemC", 0, NULL, "could not be started");
    if (open_uarchs(m, o, e) || guests_load(&m->guests, m->scenario, &m->uarchs, e) ||
        images_load(&m->images, m->scenario, e) || terminals_load(&m->terminals, m->scenario, e) ||
        open_image(m, o, e))
        return -1;
    if (create_arenas(m->scenario, e))
        return -1;
    if (o->vcd_path && sim_vcd_open(o->vcd_path))
        return user_error_at(e, o->vcd_path, 0, NULL,
                             "is no place for a value change dump; name a file that can be written");
    m->quantum_cycles = o->quantum_cycles;
    m->machine.exact = o->quantum_cycles == 0;
    m->machine.quantum_ticks = o->quantum_cycles * TICKS_PER_CYCLE;
    m->machine.host_count = m->scenario->host_count;
    m->machine.uarch = m->uarchs.machine;
    m->machine.owner = m;
    m->machine.power_off = power_off;
    m->machine.console = console;
    m->machine.console_input = console_input;
    m->machine.guest_end = guest_end;
    m->machine.on_attention = attention;
    create_link(m);
    if (o->check_tlb || m->scenario->check_tlb)
        m->machine.tlb_check = mmu_check_create(trace_guest_violation);
    if (create_cpus(m, e) || register_programs(m, e))
        return -1;
    if (o->validate | m->scenario->validate)
        m->check = check_create(&m->machine, o->validate | m->scenario->validate);
    if (m->scenario->memory == MEMORY_C11 && !(m->machine.memory = memory_create(m->machine.cpu_count)))
        return user_error_at(e, m->scenario->path, 0, "run.memory", "out of memory");
    return orders_create(m->scenario, &m->machine, &m->orders, e);
}

struct sim_machine *machine_create(const struct scenario *s, const struct machine_options *options,
                                   struct user_error *e)
{
    struct sim_machine *m = calloc(1, sizeof *m);

    if (!m)
        abort();
    m->scenario = s;
    if (build(m, options, e)) {
        machine_destroy(m);
        return NULL;
    }
    return m;
}

void machine_destroy(struct sim_machine *m)
{
    if (!m)
        return;
    if (m->ran) { // What the last run left in the OS process must not meet another machine.
        native_reset();
        sim_start_over();
    }
    for (uint32_t i = 0; i < m->machine.cpu_count; i++) {
        struct pcpu *c = m->machine.cpus[i];

        x86_destroy(c->x86);
        lapic_destroy(c->lapic);
        native_state_destroy(c->native);
        mem_core_destroy(c->mem);
        sim_event_destroy(c->wake);
        free(c);
    }
    free(m->machine.cpus);
    link_destroy(m->machine.link);
    orders_destroy(m->orders);
    check_destroy(m->check);
    replay_forget(&m->machine);
    trace_port_destroy(&m->machine);
    assigned_msi_destroy(m->machine.assigned);
    mmu_check_destroy(m->machine.tlb_check);
    memory_destroy(m->machine.memory);
    guests_free(&m->guests);
    images_free(&m->images);
    terminals_free(&m->terminals);
    sim_vcd_close();
    native_image_close(m->image);
    uarchs_close(&m->uarchs);
    mem_arena_destroy();
    free(m);
}

// --- Running. ---

static void reset_cpu(struct sim_machine *m, struct pcpu *c)
{
    struct trace *trace = m->run->trace;

    c->now_ticks = c->limit_ticks = c->mode_since_ticks = 0;
    c->mode = PCPU_OFF;
    c->irqs_enabled = c->irq_pending = c->nmi_pending = c->nmi_blocked = c->init_pending = c->sipi_pending =
        c->sleeps = c->held = false;
    c->untimed = false;
    c->vectors = NULL;
    c->trace = trace;
    for (unsigned s = 0; s < PCPU_TIMER_COUNT; s++)
        c->timer_at_ticks[s] = TICKS_NEVER;
    c->vcd_late = false;
    c->inbox_count = 0;
    c->next_local_ticks = TICKS_NEVER;
    c->note_vm = c->note_vcpu = UINT32_MAX;
    c->note_level = 0;
    memset(c->mode_ticks, 0, sizeof c->mode_ticks);
    c->native->current = NULL;
    mem_core_reset(c->mem);
    mem_store_set_mode(c, m->scenario->memory == MEMORY_TSO ? MEM_STORES_BY_TIME : MEM_STORES_AT_ONCE);
    lapic_reset(c);
    x86_reset(c);
    x86_observe(c, m->run->observer);
}

// The micro-architectures of the variant. -1 with `e`.
static int choose_uarchs(struct sim_machine *m, struct user_error *e)
{
    if (uarchs_choose(&m->uarchs, m->scenario, m->run->variant, e))
        return -1;
    m->machine.uarch = &m->uarchs.in_run[0];
    for (uint32_t i = 0; i < m->machine.cpu_count; i++)
        m->machine.cpus[i]->uarch = &m->uarchs.in_run[m->machine.cpus[i]->host];
    return 0;
}

static uint64_t cycles_to_ticks(uint64_t cycles)
{
    return cycles < TICKS_NEVER / TICKS_PER_CYCLE ? cycles * TICKS_PER_CYCLE : TICKS_NEVER;
}

// Which instructions of guests are recorded.
static void choose_window(struct sim_machine *m)
{
    const struct machine_run *run = m->run;
    bool stored = run->trace && (trace_stored(run->trace) & TRACE_INSTRUCTIONS);

    m->machine.instructions_from_ticks = cycles_to_ticks(run->instructions_from);
    m->machine.instructions_to_ticks = stored ? cycles_to_ticks(run->instructions_to) : 0;
}

// Brings everything back to reset. A run after it cannot tell whether there was one before.
static void reset(struct sim_machine *m)
{
    struct machine *hw = &m->machine;

    if (m->ran) {
        native_reset();
        sim_start_over();
        mem_arena_reset();
    }
    m->ran = true;
    hw->stopping = false;
    hw->hosts_off = 0;
    hw->trace = m->run->trace;
    hw->seed = m->run->seed;
    hw->attention = m->run->attention;
    choose_window(m);
    hw->end_ticks = TICKS_NEVER;
    uint64_t until_ns = m->run->until_ns ? m->run->until_ns : m->scenario->until_ns;

    if (until_ns)
        hw->end_ticks = pcpu_ps_to_ticks(hw->cpus[0], until_ns * 1000);
    m->guests_left = m->images.image_count;
    for (uint32_t i = 0; i < m->scenario->vm_count; i++)
        m->guests_left += m->scenario->vms[i].program ? 0 : m->scenario->vms[i].vcpu_count;
    memset(m->run->guest_ends, 0, sizeof m->run->guest_ends);
    m->end = MACHINE_IDLE;
    replay_reset(hw);
    if (hw->link)
        link_reset(hw->link);
    terminals_reset(&m->terminals);
    trace_port_begin(hw);
    assigned_msi_reset(hw->assigned);
    if (hw->tlb_check)
        mmu_check_reset(hw->tlb_check);
    if (hw->memory)
        memory_reset(hw->memory);
    for (uint32_t i = 0; i < hw->cpu_count; i++)
        reset_cpu(m, hw->cpus[i]);
}

static void knob_values(const struct machine_run *run, struct knobs *values)
{
    knobs_defaults(values);
    for (uint32_t i = 0; i < run->variant->knob_count; i++)
        values->v[run->variant->knobs[i].knob] = run->variant->knobs[i].value;
    for (uint32_t i = 0; i < run->knob_count; i++)
        values->v[run->knobs[i].knob] = run->knobs[i].value;
}

// "name=value" lines of every knob that is not at its default, "uarch group.name=value" of what the variant
// replaces.
static char *knob_text(const struct sim_machine *m, const struct knobs *values)
{
    static const char *const names[] = {
#define KNOB(id, name, type, values, def, about, source) name,
#include "hv/knobs.def"
#undef KNOB
    };
    struct knobs defaults;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    knobs_defaults(&defaults);
    for (uint32_t i = 0; out && i < KNOB_COUNT; i++)
        if (values->v[i] != defaults.v[i])
            fprintf(out, "%s=%llu\n", names[i], (unsigned long long)values->v[i]);
    if (out) {
        uarchs_print(&m->uarchs, m->scenario, m->run->variant, out);
        fclose(out);
    }
    return text;
}

static int begin_trace(struct sim_machine *m, const struct knobs *values, struct user_error *e)
{
    struct machine_run *run = m->run;
    char *knobs = knob_text(m, values), *setup = images_setup_text(&m->images, &m->terminals, m->scenario);
    struct trace_swept swept[SCENARIO_AXES_MAX];

    for (uint32_t i = 0; i < m->scenario->swept_count; i++) {
        const struct scenario_swept *from = &m->scenario->swept[i];

        swept[i] = (struct trace_swept){from->path, from->value, from->is_number, from->number};
    }
    struct trace_run_info info = {
        .scenario = m->scenario->name,
        .variant = run->variant->name,
        .seed = run->seed,
        .knobs = knobs,
        .uarch = m->uarchs.machine->name,
        .hv_build_id = m->image->build_id,
        .quantum_cycles = m->quantum_cycles,
        .memory = m->scenario->memory == MEMORY_TSO ? NULL : memory_kind_names[m->scenario->memory],
        .clock_khz = m->uarchs.machine->clock.core_khz,
        .resolved = run->resolved,
        .setup = setup,
        .swept = swept,
        .swept_count = m->scenario->swept_count};
    struct trace_error error;
    int result = 0;

    if (trace_run_begin(run->trace, &info, &run->run_id, &error) != TRACE_OK)
        result = user_error_at(e, "database", 0, NULL, "%s; %s", error.message, error.hint);
    free(knobs);
    free(setup);
    return result;
}

static uint64_t latest_ticks(const struct machine *hw)
{
    uint64_t latest = 0;

    for (uint32_t i = 0; i < hw->cpu_count; i++)
        if (hw->cpus[i]->now_ticks > latest)
            latest = hw->cpus[i]->now_ticks;
    return latest;
}

static struct pcpu *boot_processor(const struct machine *hw, uint32_t host)
{
    uint32_t i = 0;

    while (hw->cpus[i]->host != host)
        i++;
    return hw->cpus[i];
}

static void simulate(struct sim_machine *m, const struct hw_bootinfo *const *info)
{
    struct machine *hw = &m->machine;
    sim_ps_t until =
        hw->end_ticks == TICKS_NEVER ? SIM_PS_NEVER : pcpu_ticks_to_ps(hw->cpus[0], hw->end_ticks);
    struct schedule *order = orders_of(m->orders, m->scenario, m->run->variant);

    schedule_begin(order, hw);
    check_begin(m->check);
    for (uint32_t h = 0; h < hw->host_count; h++)
        native_boot(boot_processor(hw, h), info[h]);
    if (m->run->explore)
        explore_arm(m->run->explore);
    enum sim_run_result result = sim_run(until);

    if (result == SIM_RUN_IDLE && hw->hosts_off) // The hosts that are left have nothing to do.
        m->end = MACHINE_POWER_OFF;
    if (result == SIM_RUN_LIMIT || (hw->stopping && m->end == MACHINE_IDLE))
        m->end = MACHINE_TIME_LIMIT;
    m->end_cycles = latest_ticks(hw) / TICKS_PER_CYCLE;
    if (m->end == MACHINE_TIME_LIMIT)
        m->end_cycles = hw->end_ticks / TICKS_PER_CYCLE;
    if (m->run->on_end)
        m->run->on_end(m->run->ctx, m->end);
    m->run->steps = order ? schedule_count(order) : 0;
    m->run->steps_passed = order ? schedule_passed(order) : 0;
    schedule_end(order, hw);
    check_end(m->check, m->end == MACHINE_IDLE);
    hw->stopping = true;
    native_stop(hw);
}

int machine_run(struct sim_machine *m, struct machine_run *run, struct user_error *e)
{
    struct knobs values;
    struct trace_error error;
    int result = 0;

    m->run = run;
    if (choose_uarchs(m, e))
        return -1;
    reset(m);
    knob_values(run, &values);
    const struct hw_bootinfo *info[SCENARIO_HOSTS_MAX];

    for (uint32_t h = 0; h < m->scenario->host_count; h++) {
        const struct boot_host host = {m->scenario, h, m->guests.streams, &m->images};

        info[h] = boot_info_write(&host, &values, m->uarchs.machine->clock.tsc_khz, e);
        if (!info[h])
            return -1;
    }
    if (run->trace && begin_trace(m, &values, e))
        return -1;
    native_image_intern(m->image, run->trace);
    if (run->explore && !(trace_stored(run->trace) & TRACE_CALLS))
        native_calls_unseen(); // An explorer has no digest.
    simulate(m, info);
    run->end = m->end;
    run->cycles = m->end_cycles;
    trace_port_end(&m->machine);
    if (run->trace) {
        enum trace_run_state state = m->end == MACHINE_INTERRUPTED ? TRACE_INTERRUPTED : TRACE_COMPLETE;

        if (trace_run_end(run->trace, state, m->end_cycles * TICKS_PER_CYCLE, &run->digest, &error) !=
            TRACE_OK)
            result = user_error_at(e, "database", 0, NULL, "%s; %s", error.message, error.hint);
    }
    m->run = NULL;
    return result;
}

const char *machine_build_id(const struct sim_machine *m)
{
    return m->image->build_id;
}

const struct machine *machine_hardware(const struct sim_machine *m)
{
    return &m->machine;
}

bool machine_typing_left(const struct sim_machine *m, uint32_t vm, char *text, size_t size)
{
    return terminals_left(&m->terminals, vm, text, size);
}

bool machine_loaded(const struct sim_machine *m, uint32_t vm, uint64_t gpa, void *to, uint64_t size)
{
    return images_read(&m->images, vm, gpa, to, size);
}

const struct uarch *machine_uarch(const struct sim_machine *m)
{
    return m->uarchs.machine;
}

const struct native_image *machine_image(const struct sim_machine *m)
{
    return m->image;
}
