// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/native/insn_layout.h"

#include <string.h>

// What follows the opcode, a character each: . nothing, m ModRM, b ModRM and imm8, z ModRM and imm16/32, 1
// imm8, 2 imm16, 3 imm16 and imm8, i imm16/32, v imm16/32/64, a an address, f a far pointer, r rel8, R
// rel16/32, t ModRM and imm8 if it is TEST, T the same with imm16/32, g as b and G as z if the ModRM byte's
// reg field is 0, M as m if it is, c ModRM of two registers whatever its mod field, p a prefix, x another
// map, ? not known here.
static const char one_byte[256 + 1] = "mmmm1i..mmmm1i.x"  // 00
                                      "mmmm1i..mmmm1i.."  // 10
                                      "mmmm1ip.mmmm1ip."  // 20
                                      "mmmm1ip.mmmm1ip."  // 30
                                      "................"  // 40
                                      "................"  // 50
                                      "..?mppppiz1b...."  // 60
                                      "rrrrrrrrrrrrrrrr"  // 70
                                      "bzbbmmmmmmmmmmmM"  // 80
                                      "..........f....."  // 90
                                      "aaaa....1i......"  // A0
                                      "11111111vvvvvvvv"  // B0
                                      "bb2.??gG3.2..1.."  // C0
                                      "mmmm11..mmmmmmmm"  // D0
                                      "rrrr1111RRfr...."  // E0
                                      "p.pp..tT......mm"; // F0
static const char two_byte[256 + 1] = "mmmm?.....?.?m.?"  // 00
                                      "mmmmmmmmmmmmmmmm"  // 10
                                      "cccc????mmmmmmmm"  // 20
                                      "......?.x?x?????"  // 30
                                      "mmmmmmmmmmmmmmmm"  // 40
                                      "mmmmmmmmmmmmmmmm"  // 50
                                      "mmmmmmmmmmmmmmmm"  // 60
                                      "bbbbmmm.?m??mmmm"  // 70
                                      "RRRRRRRRRRRRRRRR"  // 80
                                      "mmmmmmmmmmmmmmmm"  // 90
                                      "...mbm??...mbmmm"  // A0
                                      "mmmmmmmmm?bmmmmm"  // B0, without UD1
                                      "mmbmbbbm........"  // C0
                                      "mmmmmmmmmmmmmmmm"  // D0
                                      "mmmmmmmmmmmmmmmm"  // E0
                                      "mmmmmmmmmmmmmmm?"; // F0, without UD0

// While it is being read.
struct reading {
    const uint8_t *bytes;
    unsigned at, count;
    bool sized, operand_16, wide; // Prefix 66H; 16-bit operands; REX.W
};

static bool read_prefixes(struct insn_layout *l, struct reading *r, enum insn_mode mode)
{
    bool address = false;

    while (r->at < r->count && one_byte[r->bytes[r->at]] == 'p') {
        r->sized |= r->bytes[r->at] == 0x66;
        address |= r->bytes[r->at] == 0x67;
        r->at++;
    }
    while (mode == INSN_64 && r->at < r->count && (r->bytes[r->at] & 0xf0) == 0x40)
        r->wide = r->bytes[r->at++] & 8; // The last REX prefix counts.
    r->operand_16 = r->sized != (mode == INSN_16) && !r->wide;
    if (mode == INSN_64)
        l->address_bytes = address ? 4 : 8;
    else
        l->address_bytes = address != (mode == INSN_16) ? 2 : 4;
    return r->at < r->count;
}

// ModRM, SIB and displacement. SDM vol. 2 tables 2-1 to 2-3.
static bool read_modrm(struct insn_layout *l, struct reading *r, enum insn_mode mode)
{
    if (r->at >= r->count)
        return false;
    unsigned mod = r->bytes[r->at] >> 6, rm = r->bytes[r->at] & 7, base = rm;

    r->at++;
    if (mod == 3)
        return true;
    if (l->address_bytes == 2) {
        l->disp_bytes = mod == 0 ? (rm == 6 ? 2 : 0) : (uint8_t)mod;
    } else {
        if (rm == 4) {
            if (r->at >= r->count)
                return false;
            base = r->bytes[r->at++] & 7;
        }
        l->disp_bytes = mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0;
        l->rip = mode == INSN_64 && mod == 0 && rm == 5;
    }
    l->disp_at = (uint8_t)r->at;
    r->at += l->disp_bytes;
    return true;
}

static unsigned immediate_bytes(const struct insn_layout *l, const struct reading *r, char form)
{
    unsigned z = r->operand_16 ? 2 : 4;

    switch (form) {
    case 'b':
    case '1':
    case 'r':
        return 1;
    case '2':
        return 2;
    case '3':
        return 3;
    case 'z':
    case 'i':
    case 'R':
        return z;
    case 'v':
        return r->wide ? 8 : z;
    case 'a':
        return l->address_bytes;
    case 'f':
        return z + 2;
    default:
        return 0;
    }
}

// Of a form with ModRM, as what it is by that byte's reg field; 0: the form has none.
static char settle(char form, unsigned reg)
{
    switch (form) {
    case 'm':
    case 'b':
    case 'z':
        return form;
    case 't':
        return reg < 2 ? 'b' : 'm';
    case 'T':
        return reg < 2 ? 'z' : 'm';
    case 'g':
        return reg == 0 ? 'b' : '?';
    case 'G':
        return reg == 0 ? 'z' : '?';
    case 'M':
        return reg == 0 ? 'm' : '?';
    default:
        return 0;
    }
}

static char read_opcode(struct reading *r)
{
    char form = one_byte[r->bytes[r->at++]];

    if (form != 'x')
        return form;
    if (r->at >= r->count)
        return '?';
    form = two_byte[r->bytes[r->at++]];
    if (form != 'x')
        return form;
    bool immediate = r->bytes[r->at - 1] == 0x3a;

    return r->at++ < r->count ? (immediate ? 'b' : 'm') : '?';
}

bool insn_layout(struct insn_layout *l, const uint8_t *bytes, unsigned count, enum insn_mode mode)
{
    struct reading r = {bytes, 0, count < INSN_BYTES_MAX ? count : INSN_BYTES_MAX, false, false, false};

    memset(l, 0, sizeof *l);
    if (!read_prefixes(l, &r, mode))
        return false;
    l->opcode_at = (uint8_t)r.at;
    char form = read_opcode(&r), settled = settle(form, r.at < r.count ? bytes[r.at] >> 3 & 7 : 0);

    form = settled ? settled : form;
    if (form == '?' || form == 'p' || (settled && !read_modrm(l, &r, mode)))
        return false;
    r.at += form == 'c';
    l->relative = form == 'r' || form == 'R';
    // Intel's processors, AMD's and Capstone differ in these.
    if (form == 'R' && r.sized)
        return false;
    l->imm_at = (uint8_t)r.at;
    l->imm_bytes = (uint8_t)immediate_bytes(l, &r, form);
    r.at += l->imm_bytes;
    l->length = (uint8_t)r.at;
    return r.at <= r.count;
}

int64_t insn_layout_value(const uint8_t *bytes, unsigned count)
{
    int16_t two;
    int32_t four;

    switch (count) {
    case 1:
        return (int8_t)bytes[0];
    case 2:
        memcpy(&two, bytes, 2);
        return two;
    case 4:
        memcpy(&four, bytes, 4);
        return four;
    default:
        return 0;
    }
}

bool insn_key_of(struct insn_key *key, const struct insn_layout *l, const uint8_t *bytes, enum insn_mode mode,
                 unsigned context, bool *varies)
{
    uint8_t copy[16] = {0};
    bool flat = mode == INSN_64 && l->address_bytes == 8;

    if ((l->relative || l->rip) && !flat)
        return false;
    *varies = l->relative;
    memcpy(copy, bytes, l->length);
    // A displacement of 0 has a meaning of its own: LEA is cheaper.
    if (flat && l->disp_bytes > 0 && insn_layout_value(bytes + l->disp_at, l->disp_bytes) != 0) {
        memset(copy + l->disp_at, 0, l->disp_bytes);
        *varies = true;
    }
    if (l->relative)
        memset(copy + l->imm_at, 0, l->imm_bytes);
    copy[15] = (uint8_t)(l->length | (unsigned)mode << 4 | context << 6 | (*varies ? 0x80u : 0));
    memcpy(&key->low, copy, 8);
    memcpy(&key->high, copy + 8, 8);
    return true;
}
