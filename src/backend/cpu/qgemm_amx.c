/* qgemm_amx.c: the AMX row of qgemm's table: strips of rows on the int8 matrix unit.
 *
 * The unit multiplies 16 rows of A by 64 k of 16 columns in 16 cycles, 8 times what VPDPBUSD does. The
 * bound is elsewhere:
 *   - q8_0, q4_0: scales change every 32 k, so that half of the unit's k are used, and each 32 k
 *     leave 16 x 16 whole numbers in memory, to become f32 and be scaled: three operations a row, 24
 *     cycles on two ports.
 *   - q4_k, q5_k, q6_k: the whole scale is multiplied into the weight when the panel is unpacked:
 *     s v = 2^shift high + low, both of 8 bits, and the unit adds up 256 k of each. The f32 work is an
 *     eighth of the above.
 * What a block left is scaled while the unit works on the next: hence two buffers, used in turn.
 * With few rows, "avx512" does the same.
 */
#include "backend/cpu/qgemm_simd_avx512.h"

#include "backend/cpu/qgemm_weights.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    TILE_ROWS = 9,         /* below, passes are cheaper */
    PART_CODES = 512,      /* bytes of 32 k, 16 columns */
    PERMIT_TILES = 0x1023, /* arch_prctl: ask for a state component; that of the tiles is 18 */
    TILE_DATA = 18,
    CHAINS = QGEMM_STRIP * QGEMM_COLUMNS,
    SHIFT = 6,             /* of high codes of q4_k, q5_k; of q6_k one more */
};

typedef struct {
    _Alignas(64) int32_t low[QGEMM_STRIP][QGEMM_COLUMNS], high[QGEMM_STRIP][QGEMM_COLUMNS];
} Left;

/* Compilers do not know that tile instructions read memory: what was stored must be there. */
INLINE void settle_memory(const void *memory)
{
    __asm__ volatile("" : : "r"(memory) : "memory");
}

/* The processor has the unit, the system saves its registers and lets this process use them. */
static bool amx_supported(void)
{
    unsigned a, b, c, d;
    if (!qgemm_isa_avx512.supported() || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return false;
    bool tiles = d >> 24 & 1, products = d >> 25 & 1;
    return tiles && products && syscall(SYS_arch_prctl, PERMIT_TILES, TILE_DATA) == 0;
}

/* Registers 0 to 3 are sums, 4 and 5 rows of A, 6 and 7 weights: 32 k of a line of A and of 8 lines
 * of weights where scales change so often, else 64. */
static void amx_enter(QgemmKind kind, uint32_t height)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t line_bytes[16];
        uint8_t lines[16];
    } config = {.palette = 1};
    bool half = qgemm_forms[kind].block == 32;
    for (uint32_t i = 0; i < 8; i++) {
        bool of_a = i == 4 || i == 5, of_weights = i >= 6;
        config.line_bytes[i] = of_a && half ? QGEMM_LINE / 2 : QGEMM_LINE;
        config.lines[i] = (uint8_t)(!of_weights ? height : half ? 8 : 16);
    }
    settle_memory(&config);
    _tile_loadconfig(&config);
}

static void amx_leave(void)
{
    _tile_release();
}

/* ---- blocks of 32: codes are the weights themselves, signed, 8 lines for each block ---- */

INLINE void unpack_small(QgemmKind kind, const uint8_t *panel, uint32_t k, uint8_t *codes)
{
    const QgemmForm *form = &qgemm_forms[kind];
    const Bytes zero = _mm512_set1_epi8((char)form->zero);
    for (uint32_t b = 0; b < k / 32; b++, codes += PART_CODES) {
        const uint8_t *lines = panel + (size_t)(b / 2) * form->group_bytes + QGEMM_LINE +
                               b % 2 * form->part_bytes;
        Bytes w[QGEMM_QUADS];
        for (uint32_t i = 0; i < form->part_bytes; i += QGEMM_LINE)
            __builtin_prefetch(lines + 8192 + i);
        load_part(kind, lines, w);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < QGEMM_QUADS; i++)
            bytes_store(codes + i * QGEMM_LINE, _mm512_sub_epi8(w[i], zero));
    }
    settle_memory(codes);
}

/* A block's sums, scaled, to the chains of 16 rows (those beyond the height do not matter). */
INLINE void scale_small(const Left *left, const uint8_t *halves, const float *scale,
                        Floats acc[QGEMM_STRIP])
{
    Floats d = floats_of_halves(halves);
#pragma GCC unroll 16
    for (uint32_t i = 0; i < QGEMM_STRIP; i++)
        acc[i] = floats_fma(floats_mul(ints_float(_mm512_load_si512(left->low[i])), d),
                            floats_splat(scale + i), acc[i]);
}

INLINE void tile_small(QgemmKind kind, uint32_t strips, uint32_t k, const QgemmStrip *strip,
                       const uint8_t *panel, const uint8_t *codes, float *chain)
{
    (void)strips; /* one */
    const uint32_t group_bytes = qgemm_forms[kind].group_bytes;
    const size_t step = (size_t)strip->height * QGEMM_LINE;
    const int8_t *q = strip->q;
    const float *scale = strip->scale;
    Left left[2];
    Floats acc[QGEMM_STRIP];
#pragma GCC unroll 16
    for (uint32_t i = 0; i < QGEMM_STRIP; i++)
        acc[i] = _mm512_loadu_ps(chain + i * QGEMM_COLUMNS);
    for (uint32_t b = 0; b < k / 32; b++) {
        _tile_loadd(4, q + b % 2 * 32, QGEMM_LINE);
        _tile_loadd(6, codes, QGEMM_LINE);
        _tile_zero(0);
        _tile_dpbssd(0, 4, 6);
        _tile_stored(0, left[b % 2].low, QGEMM_LINE);
        codes += PART_CODES;
        q += b % 2 * step;
        if (b > 0) {
            scale_small(&left[(b - 1) % 2], panel + (b - 1) % 2 * 32, scale, acc);
            scale += strip->height;
            panel += (b - 1) % 2 * group_bytes;
        }
    }
    uint32_t last = k / 32 - 1;
    scale_small(&left[last % 2], panel + last % 2 * 32, scale, acc);
#pragma GCC unroll 16
    for (uint32_t i = 0; i < QGEMM_STRIP; i++)
        floats_store(chain + i * QGEMM_COLUMNS, acc[i]);
}

/* ---- blocks of 256: each 64 k are 16 lines of low codes, then 16 of high ones ---- */

/* v of even and odd bytes, times s, 16 bits each: their low and high codes. */
INLINE void split_affine(Bytes v, Ints s, Bytes *low, Bytes *high)
{
    const Ints mask = _mm512_set1_epi16((1 << SHIFT) - 1);
    Ints even = _mm512_mullo_epi16(_mm512_and_si512(v, _mm512_set1_epi16(0xff)), s);
    Ints odd = _mm512_mullo_epi16(_mm512_srli_epi16(v, 8), s);
    *low = _mm512_or_si512(_mm512_and_si512(even, mask),
                           _mm512_slli_epi16(_mm512_and_si512(odd, mask), 8));
    *high = _mm512_or_si512(_mm512_srli_epi16(even, SHIFT),
                            _mm512_slli_epi16(_mm512_srli_epi16(odd, SHIFT), 8));
}

/* The same of v - 32 and a signed s: the low code is in [-64, 64). */
INLINE void split_signed(Bytes v, Ints s, Bytes *low, Bytes *high)
{
    const Ints zero = _mm512_set1_epi16(32), half = _mm512_set1_epi16(1 << SHIFT);
    const Ints first = _mm512_set1_epi16(0xff);
    Ints even = _mm512_and_si512(v, first), odd = _mm512_srli_epi16(v, 8);
    even = _mm512_mullo_epi16(_mm512_sub_epi16(even, zero), s);
    odd = _mm512_mullo_epi16(_mm512_sub_epi16(odd, zero), s);
    Ints even_high = _mm512_srai_epi16(_mm512_add_epi16(even, half), SHIFT + 1);
    Ints odd_high = _mm512_srai_epi16(_mm512_add_epi16(odd, half), SHIFT + 1);
    even = _mm512_sub_epi16(even, _mm512_slli_epi16(even_high, SHIFT + 1));
    odd = _mm512_sub_epi16(odd, _mm512_slli_epi16(odd_high, SHIFT + 1));
    *low = _mm512_or_si512(_mm512_and_si512(even, first), _mm512_slli_epi16(odd, 8));
    *high = _mm512_or_si512(_mm512_and_si512(even_high, first), _mm512_slli_epi16(odd_high, 8));
}

/* A column's scale in both halves of its 32 bits. */
INLINE Ints both_halves(Ints s)
{
    return _mm512_or_si512(_mm512_slli_epi32(s, 16),
                           _mm512_and_si512(s, _mm512_set1_epi32(0xffff)));
}

INLINE void unpack_large(QgemmKind kind, const uint8_t *panel, uint32_t k, uint8_t *codes)
{
    const QgemmForm *form = &qgemm_forms[kind];
    const uint32_t quads_at = kind == QGEMM_Q6_K ? QGEMM_SIX_QUADS_AT : QGEMM_K_QUADS_AT;
    for (uint32_t b = 0; b < k / 256; b++, panel += form->group_bytes) {
        uint8_t sixes[128], min[128];
        if (kind != QGEMM_Q6_K)
            load_sixes(panel, sixes, min);
        for (uint32_t part = 0; part < QGEMM_PARTS; part++) {
            Bytes w[QGEMM_QUADS];
            const uint8_t *signed_scales = panel + QGEMM_SCALES_AT + part * 2 * QGEMM_COLUMNS;
            const uint8_t *lines = panel + quads_at + part * form->part_bytes;
            for (uint32_t i = 0; i < form->part_bytes; i += QGEMM_LINE)
                __builtin_prefetch(lines + 8192 + i);
            load_part(kind, lines, w);
            Ints scale[2];
            if (kind == QGEMM_Q6_K) {
                scale[0] = both_halves(ints_of_signed_bytes(signed_scales));
                scale[1] = both_halves(ints_of_signed_bytes(signed_scales + QGEMM_COLUMNS));
            } else {
                scale[0] = scale[1] = both_halves(ints_of_bytes(sixes + part * QGEMM_COLUMNS));
            }
            uint8_t *to = codes + part / 2 * 4 * PART_CODES + part % 2 * PART_CODES;
#pragma GCC unroll 8
            for (uint32_t i = 0; i < QGEMM_QUADS; i++) {
                Bytes low, high;
                if (kind == QGEMM_Q6_K)
                    split_signed(w[i], scale[i / 4], &low, &high);
                else
                    split_affine(w[i], scale[0], &low, &high);
                bytes_store(to + i * QGEMM_LINE, low);
                bytes_store(to + 2 * PART_CODES + i * QGEMM_LINE, high);
            }
        }
        codes += 16 * PART_CODES;
    }
    settle_memory(codes);
}

/* What a block of weights adds to the chains, besides its sums. */
typedef struct {
    Floats d, e;
    Ints min[4]; /* pairs of 16 bits */
} Scales;

INLINE void load_scales(QgemmKind kind, const uint8_t *group, Scales *s)
{
    s->d = floats_of_halves(group);
    if (kind == QGEMM_Q6_K)
        return;
    uint8_t sixes[128], min[128];
    s->e = floats_of_halves(group + 32);
    load_sixes(group, sixes, min);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++)
        s->min[i] = _mm512_cvtepu8_epi16(load32(min + 32 * i));
}

/* What blocks left of some rows of a strip, scaled, to their chains. */
INLINE void scale_large(QgemmKind kind, uint32_t first, uint32_t rows, const Left *left,
                        const Scales *s, const int32_t *offset, const float *scale, float *chain)
{
#pragma GCC unroll 8
    for (uint32_t i = first; i < first + rows; i++) {
        Ints high = _mm512_slli_epi32(_mm512_load_si512(left->high[i]),
                                      kind == QGEMM_Q6_K ? SHIFT + 1 : SHIFT);
        Floats sum = ints_float(ints_add(high, _mm512_load_si512(left->low[i]))), term;
        if (kind == QGEMM_Q6_K) {
            term = floats_mul(sum, s->d);
        } else {
            Ints t = ints_zero();
#pragma GCC unroll 4
            for (uint32_t p = 0; p < 4; p++)
                t = _mm512_dpwssd_epi32(t, s->min[p],
                                        ints_splat(offset + i * (QGEMM_OFFSETS / 4) + p));
            term = floats_fms(sum, s->d, floats_mul(ints_float(t), s->e));
        }
        Floats old = _mm512_loadu_ps(chain + i * QGEMM_COLUMNS);
        floats_store(chain + i * QGEMM_COLUMNS, floats_fma(term, floats_splat(scale + i), old));
    }
}

/* 64 k of one or two strips, to sums in registers 0 and 1, 2 and 3. */
INLINE void sum_large(uint32_t strips, const int8_t *const q[2], const uint8_t *codes)
{
    _tile_loadd(6, codes, QGEMM_LINE);
    _tile_loadd(4, q[0], QGEMM_LINE);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, codes + 2 * PART_CODES, QGEMM_LINE);
    _tile_dpbssd(1, 4, 7);
    if (strips > 1) {
        _tile_loadd(5, q[1], QGEMM_LINE);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
}

INLINE void begin_sums(uint32_t strips)
{
    _tile_zero(0);
    _tile_zero(1);
    if (strips > 1) {
        _tile_zero(2);
        _tile_zero(3);
    }
}

INLINE void leave_sums(uint32_t strips, Left left[2])
{
    _tile_stored(0, left[0].low, QGEMM_LINE);
    _tile_stored(1, left[0].high, QGEMM_LINE);
    if (strips > 1) {
        _tile_stored(2, left[1].low, QGEMM_LINE);
        _tile_stored(3, left[1].high, QGEMM_LINE);
    }
}

/* Two strips share the loads of the weights, which would else take as long as the products. While a
 * block's 64 k are summed, a quarter of the rows of the block before is scaled. */
INLINE void tiles_large(QgemmKind kind, uint32_t strips, uint32_t k, const QgemmStrip *strip,
                        const uint8_t *panel, const uint8_t *codes, float *chain)
{
    const uint32_t group_bytes = qgemm_forms[kind].group_bytes, blocks = k / 256;
    const uint32_t height = strip->height, some = 4 * strips;
    const size_t step = (size_t)height * QGEMM_LINE;
    const int8_t *q[2] = {strip[0].q, strip[strips - 1].q};
    Left left[2][2];
    Scales s = {.d = floats_zero()};
    for (uint32_t b = 0; b <= blocks; b++) {
        if (b < blocks)
            begin_sums(strips);
        if (b > 0)
            load_scales(kind, panel + (b - 1) * (size_t)group_bytes, &s);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++) {
            if (b < blocks) {
                sum_large(strips, q, codes);
                codes += 4 * PART_CODES;
                q[0] += step;
                q[1] += step;
            }
            if (b > 0) {
                uint32_t which = i * some / QGEMM_STRIP, at = (b - 1) * height;
                const int32_t *offset = (const int32_t *)(const void *)strip[which].offset;
                scale_large(kind, i * some % QGEMM_STRIP, some, &left[(b - 1) % 2][which], &s,
                            offset + (size_t)at * (QGEMM_OFFSETS / 4), strip[which].scale + at,
                            chain + which * CHAINS);
            }
        }
        if (b < blocks)
            leave_sums(strips, left[b % 2]);
    }
}

INLINE void tile_large(QgemmKind kind, uint32_t strips, uint32_t k, const QgemmStrip *strip,
                       const uint8_t *panel, const uint8_t *codes, float *chain)
{
    if (strips > 1)
        tiles_large(kind, 2, k, strip, panel, codes, chain);
    else
        tiles_large(kind, 1, k, strip, panel, codes, chain);
}

/* ---- the kind becomes a constant ---- */

#define TILE(name, size, kind)                                                                     \
    static void unpack_##name(const uint8_t *panel, uint32_t k, uint8_t *codes)                    \
    {                                                                                              \
        unpack_##size(kind, panel, k, codes);                                                      \
    }                                                                                              \
    static void tile_##name(uint32_t strips, uint32_t k, const QgemmStrip *strip,                  \
                            const uint8_t *panel, const uint8_t *codes, float *chain)              \
    {                                                                                              \
        tile_##size(kind, strips, k, strip, panel, codes, chain);                                  \
    }
TILE(q8_0, small, QGEMM_Q8_0)
TILE(q4_0, small, QGEMM_Q4_0)
TILE(q4_k, large, QGEMM_Q4_K)
TILE(q5_k, large, QGEMM_Q5_K)
TILE(q6_k, large, QGEMM_Q6_K)

const QgemmIsa qgemm_isa_amx = {
    .name = "amx",
    .supported = amx_supported,
    .few = &qgemm_isa_avx512,
    .tile_rows = TILE_ROWS,
    .codes_bytes = {PART_CODES, PART_CODES, 2 * PART_CODES, 2 * PART_CODES, 2 * PART_CODES},
    .tile_strips = {1, 1, 2, 2, 2},
    .enter = amx_enter,
    .leave = amx_leave,
    .unpack = {unpack_q8_0, unpack_q4_0, unpack_q4_k, unpack_q5_k, unpack_q6_k},
    .tile = {tile_q8_0, tile_q4_0, tile_q4_k, tile_q5_k, tile_q6_k},
};
