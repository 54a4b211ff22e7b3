// SPDX-License-Identifier: Apache-2.0
//
// The text of a library, cut into regions: from one function symbol to the next. Capstone decodes a region
// when somebody asks for it. Until then the instructions' layout (insn_layout.h) suffices: it says where the
// hooks are, and where jumps go, from whatever function.

#include "models/cpu/native/insn_layout.h"
#include "models/cpu/native/price_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_BITS 11u
// What an instruction was when it was decoded first (insn_key_of()).
struct price_known {
    struct insn_key key;
    struct price_insn insn;
};

static void *grow(void *p, size_t count, size_t size)
{
    p = realloc(p, count * size);
    if (p == NULL)
        abort();
    return p;
}

static bool disassemble(struct price_code *c, const uint8_t *code, uint64_t left, uint64_t address)
{
    size_t size = left < INSN_BYTES_MAX ? (size_t)left : INSN_BYTES_MAX;
    return cs_disasm_iter(c->handle, &code, &size, &address, c->insn);
}

// -------------------------------------------------------------------------------------------------------------------
// The first look at all of the text.

static void note_target(struct price_code *c, const uint8_t *code, const struct insn_layout *l,
                        uint64_t address)
{
    uint64_t target = address + l->length + (uint64_t)insn_layout_value(code + l->imm_at, l->imm_bytes) -
                      c->elf->text_address;
    if (code[l->opcode_at] == 0xe8) { // CALL
        if (!price_elf_is_block_hook(c->elf, target + c->elf->text_address))
            return;
        if (c->start_count % 256 == 0)
            c->starts = grow(c->starts, c->start_count + 256, sizeof *c->starts);
        c->starts[c->start_count++] = address + l->length;
    } else if ((code[l->opcode_at] & 0xfc) != 0xe0 && target < c->elf->text_bytes) { // But LOOP and JRCXZ
        c->jumped_to[target / 8] |= (uint8_t)(1u << target % 8);
    }
}

// A symbol that lies within an instruction begins no region.
static void begin_region(struct price_code *c, uint64_t address, size_t *symbol)
{
    const struct price_elf *elf = c->elf;
    while (*symbol < elf->symbol_count && elf->symbols[*symbol].start < address)
        ++*symbol;
    bool starts = *symbol < elf->symbol_count && elf->symbols[*symbol].start == address;
    if (starts || address == elf->text_address)
        c->regions[c->region_count++] = (struct price_region){.start = address, .function = starts};
}

static bool scan(struct price_code *c, char *error, size_t error_size)
{
    const struct price_elf *elf = c->elf;
    size_t symbol = 0;
    for (uint64_t at = 0; at < elf->text_bytes;) {
        const uint8_t *code = elf->text + at;
        uint64_t left = elf->text_bytes - at, address = elf->text_address + at;
        struct insn_layout l;
        begin_region(c, address, &symbol);
        if (!insn_layout(&l, code, left < INSN_BYTES_MAX ? (unsigned)left : INSN_BYTES_MAX, INSN_64)) {
            if (!disassemble(c, code, left, address)) {
                snprintf(error, error_size, "undecodable bytes in .text at 0x%llx",
                         (unsigned long long)address);
                return false;
            }
            l = (struct insn_layout){.length = (uint8_t)c->insn->size};
        }
        if (l.relative)
            note_target(c, code, &l, address);
        at += l.length;
    }
    for (size_t i = 0; i < c->region_count; i++)
        c->regions[i].end =
            i + 1 < c->region_count ? c->regions[i + 1].start : elf->text_address + elf->text_bytes;
    return true;
}

bool price_code_open(struct price_code *c, const struct price_elf *elf, const struct price_classes *classes,
                     char *error, size_t error_size)
{
    *c = (struct price_code){.elf = elf, .classes = classes};
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &c->handle) != CS_ERR_OK)
        abort();
    cs_option(c->handle, CS_OPT_DETAIL, CS_OPT_ON);
    c->insn = cs_malloc(c->handle);
    c->known = calloc(1u << KNOWN_BITS, sizeof *c->known);
    c->jumped_to = calloc(elf->text_bytes / 8 + 1, 1);
    c->regions = calloc(elf->symbol_count + 1, sizeof *c->regions);
    if (c->insn == NULL || c->known == NULL || c->jumped_to == NULL || c->regions == NULL)
        abort();
    if (scan(c, error, error_size))
        return true;
    price_code_close(c);
    return false;
}

void price_code_close(struct price_code *c)
{
    for (size_t i = 0; i < c->region_count; i++) {
        free(c->regions[i].insns);
        free(c->regions[i].machine);
    }
    free(c->regions);
    free(c->starts);
    free(c->jumped_to);
    free(c->known);
    cs_free(c->insn, 1);
    cs_close(&c->handle);
}

// -------------------------------------------------------------------------------------------------------------------
// A region.

// What Capstone does not know has no class, and the length that it seems to have.
static void decode_new(struct price_code *c, struct price_insn *p, const uint8_t *code, uint64_t left,
                       uint64_t address, unsigned length)
{
    if (disassemble(c, code, left, address)) {
        price_insn_decode(p, c->handle, c->insn, c->classes);
        return;
    }
    *p = (struct price_insn){.address = address,
                             .size = (uint8_t)length,
                             .class = c->classes->by_id[PRICE_CLASS_unknown],
                             .unknown = true};
}

static void decode_one(struct price_code *c, struct price_insn *p, uint64_t address)
{
    const uint8_t *code = c->elf->text + (address - c->elf->text_address);
    uint64_t left = c->elf->text_address + c->elf->text_bytes - address;
    struct insn_layout l;
    struct insn_key key;
    bool varies;
    bool known_form = insn_layout(&l, code, left < INSN_BYTES_MAX ? (unsigned)left : INSN_BYTES_MAX, INSN_64);
    if (!known_form || !insn_key_of(&key, &l, code, INSN_64, 0, &varies)) {
        decode_new(c, p, code, left, address, known_form ? l.length : 1);
        return;
    }
    struct price_known *known = &c->known[insn_key_slot(&key, KNOWN_BITS)];
    if (!insn_key_equal(&known->key, &key)) {
        known->key = key;
        decode_new(c, &known->insn, code, left, address, l.length);
    }
    *p = known->insn;
    p->address = address;
    if (l.relative && (p->jump || p->call))
        p->target = address + l.length + (uint64_t)insn_layout_value(code + l.imm_at, l.imm_bytes);
}

static void cut_machine_blocks(struct price_code *c, struct price_region *r)
{
    r->machine = grow(NULL, r->count, sizeof *r->machine);
    for (uint32_t i = 0; i < r->count; i++) {
        const struct price_insn *p = &r->insns[i];
        uint64_t offset = p->address - c->elf->text_address;
        if (i == 0 || p[-1].jump || p[-1].ends || (c->jumped_to[offset / 8] >> offset % 8 & 1))
            r->machine[r->machine_count++] = (struct price_machine){i, 0, PRICE_NONE, 0};
        struct price_machine *m = &r->machine[r->machine_count - 1];
        m->count++;
        if (p->hook == PRICE_HOOK_BLOCK) {
            m->hooks++;
            if (m->first_hook == PRICE_NONE)
                m->first_hook = i;
        }
    }
    for (uint32_t m = 0; m < r->machine_count; m++)
        price_slice(r->insns + r->machine[m].first, r->machine[m].count);
}

static void decode_region(struct price_code *c, struct price_region *r)
{
    uint32_t room = (uint32_t)((r->end - r->start) / 3 + 16);
    uint64_t at = r->start;
    r->insns = grow(NULL, room, sizeof *r->insns);
    while (at < r->end) {
        if (r->count == room)
            r->insns = grow(r->insns, room *= 2, sizeof *r->insns);
        struct price_insn *p = &r->insns[r->count++];
        decode_one(c, p, at);
        price_insn_hook(p, c->elf, c->classes);
        at += p->size;
    }
    cut_machine_blocks(c, r);
    price_frame(r->insns, r->count);
}

struct price_region *price_code_region(struct price_code *c, uint64_t address)
{
    size_t low = 0, high = c->region_count;
    if (address - c->elf->text_address >= c->elf->text_bytes)
        return NULL;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->regions[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    struct price_region *r = &c->regions[low - 1];
    if (r->insns == NULL)
        decode_region(c, r);
    return r;
}

uint32_t price_region_insn(const struct price_region *r, uint64_t address)
{
    uint32_t low = 0, high = r->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (r->insns[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->count && r->insns[low].address == address ? low : PRICE_NONE;
}

uint32_t price_region_machine(const struct price_region *r, uint32_t insn)
{
    uint32_t low = 0, high = r->machine_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (r->machine[middle].first <= insn)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}
