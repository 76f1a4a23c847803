/* gemm_amx.c: the AMX rows of gemm's table: f32 products on the bf16 matrix unit, tiles of 32 x 32.
 *
 * Each f32 is split into bf16 parts, each the nearest to what the ones before have left:
 * x = high + middle + low + rest, |middle| <= 2^-8 |x|, |low| <= 2^-16 |x|, |rest| <= 2^-24 |x|.
 *   "amx"       three parts, six products: those of parts whose sizes multiply to 2^-16 or more.
 *               What is left out is at most 2^-22 of |a| |b|: as exact as f32 arithmetic is.
 *   "amx_high"  two parts, three products: what is left out is at most 3 * 2^-16 of |a| |b|,
 *               typically a tenth. Others call it "bf16x3"; PyTorch's word for the precision is
 *               "high". Only used when asked for.
 * Sums are f32. The unit does 15 times the multiply-adds of AVX-512 in a cycle, hence 2.5 and 5
 * times with six and three products, before packing and memory.
 *
 * What differs from f32 arithmetic besides: an infinite operand, or one beyond the largest bf16
 * (3.39e38), makes NaN; numbers below 2^-126 count as zero, and so do parts below it.
 *
 * The order of additions, a function of K alone: C is the accumulator from the start (or +0). K is
 * taken in groups of 32, zeros behind; per group the products of parts are added to C one after the
 * other (the order stands in multiply_*), each in the unit's own order (pairs of k ascending).
 *
 * A panel holds, for each group of 32 k and each part, two tiles of 1 KiB: its first 16 rows
 * (columns) and the other 16. A tile of op(A) has a row of C in each line, its 32 k one after the
 * other; a tile of op(B) has the two k of a pair in each line, column after column, as the unit
 * wants it.
 */
#include "backend/cpu/gemm_kernel.h"

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ROWS = 32,
    COLUMNS = 32,
    LANES = 16,
    GROUP = 32,          /* k that one instruction takes */
    TILE = 1024,         /* bytes */
    LINE = 64,
    PART = 2 * TILE,     /* from a part's tiles to the next part's */
    PARTS_MAX = 3,
    AHEAD = 8192,        /* bytes: prefetch distance where a panel streams from memory */
    PERMIT_TILES = 0x1023, /* arch_prctl: ask for a state component; that of the tiles is 18 */
    TILE_DATA = 18,
};

#define INLINE static inline __attribute__((always_inline))

/* Compilers do not know that tile instructions read memory: what was stored must be there. */
INLINE void settle_memory(const void *memory)
{
    __asm__ volatile("" : : "r"(memory) : "memory");
}

/* The processor has the unit, the system saves its registers and lets this process use them. */
static bool amx_supported(void)
{
    unsigned a, b, c, d, a1, b1, c1, d1;
    if (!gemm_isa_avx512.supported() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        !__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1))
        return false;
    bool tiles = d >> 24 & 1, products = d >> 22 & 1, rounding = a1 >> 5 & 1;
    return tiles && products && rounding && syscall(SYS_arch_prctl, PERMIT_TILES, TILE_DATA) == 0;
}

/* All eight registers hold 16 lines of 64 bytes. */
static void amx_enter(void)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t line_bytes[16];
        uint8_t lines[16];
    } config = {.palette = 1};
    for (uint32_t i = 0; i < 8; i++) {
        config.line_bytes[i] = LINE;
        config.lines[i] = LANES;
    }
    settle_memory(&config);
    _tile_loadconfig(&config);
}

static void amx_leave(void)
{
    _tile_release();
}

/* ---- tiles: registers 0-3 are C, 4 and 5 of op(A), 6 and 7 of op(B) ---- */

/* The lines of C that the tile below will write are asked for during this one. */
typedef struct {
    const float *c;
    size_t ldc;
    uint32_t line, some; /* how many a group */
} Coming;

INLINE void ask_for(Coming *coming)
{
    uint32_t end = coming->line + coming->some;
    for (; coming->line < end; coming->line++)
        __builtin_prefetch(coming->c + coming->line / 2 * coming->ldc + coming->line % 2 * LANES, 1);
}

/* One product of parts in all four tiles. */
INLINE void products(void)
{
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
}

INLINE void products_half(void)
{
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
}

INLINE void load_a(const char *a, uint32_t part)
{
    _tile_loadd(4, a + part * PART, LINE);
    _tile_loadd(5, a + part * PART + TILE, LINE);
}

INLINE void load_b(const char *b, uint32_t part)
{
    _tile_loadd(6, b + part * PART, LINE);
    _tile_loadd(7, b + part * PART + TILE, LINE);
}

/* Up to 32 rows. Each product but the first changes one side only. */
INLINE void multiply_whole(uint32_t parts, uint32_t depth, const char *a, const char *b,
                           const char *next, Coming coming)
{
    for (uint32_t k = 0; k < depth; k += GROUP) {
        ask_for(&coming);
        load_b(b, parts - 1);
        load_a(a, 0);
        products(); /* high * low */
        for (uint32_t i = 0; i < GROUP * GEMM_NEXT_STEP * sizeof(float); i += LINE)
            _mm_prefetch(next + i, _MM_HINT_T1);
        if (parts == 3) {
            load_b(b, 1);
            products(); /* high * middle */
            load_a(a, 1);
            products(); /* middle * middle */
            load_b(b, 0);
            products(); /* middle * high */
            load_a(a, 2);
            products(); /* low * high */
            load_a(a, 0);
            products(); /* high * high */
        } else {
            load_b(b, 0);
            products(); /* high * high */
            load_a(a, 1);
            products(); /* low * high */
        }
        a += parts * PART;
        b += parts * PART;
        next += GROUP * GEMM_NEXT_STEP * sizeof(float);
    }
}

/* Up to 16 rows, the same order: the memory that b comes from is the bound. */
INLINE void multiply_half(uint32_t parts, uint32_t depth, const char *a, const char *b)
{
    for (uint32_t k = 0; k < depth; k += GROUP) {
        for (uint32_t i = 0; i < parts * PART; i += LINE)
            _mm_prefetch(b + AHEAD + i, _MM_HINT_T0);
        _tile_loadd(4, a, LINE);
        load_b(b, parts - 1);
        products_half();
        if (parts == 3) {
            load_b(b, 1);
            products_half();
            _tile_loadd(4, a + PART, LINE);
            products_half();
            load_b(b, 0);
            products_half();
            _tile_loadd(4, a + 2 * PART, LINE);
            products_half();
            _tile_loadd(4, a, LINE);
            products_half();
        } else {
            load_b(b, 0);
            products_half();
            _tile_loadd(4, a + PART, LINE);
            products_half();
        }
        a += parts * PART;
        b += parts * PART;
    }
}

INLINE void load_c(const float *c, size_t ldc, bool half)
{
    size_t stride = ldc * sizeof *c;
    _tile_loadd(0, c, stride);
    _tile_loadd(1, c + LANES, stride);
    if (half)
        return;
    _tile_loadd(2, c + LANES * ldc, stride);
    _tile_loadd(3, c + LANES * ldc + LANES, stride);
}

INLINE void store_c(float *c, size_t ldc, bool half)
{
    size_t stride = ldc * sizeof *c;
    _tile_stored(0, c, stride);
    _tile_stored(1, c + LANES, stride);
    if (half)
        return;
    _tile_stored(2, c + LANES * ldc, stride);
    _tile_stored(3, c + LANES * ldc + LANES, stride);
}

INLINE void multiply(uint32_t parts, bool half, uint32_t depth, const float *a, const float *b,
                     const float *next, float *c, size_t ldc, bool add)
{
    settle_memory(c);
    if (add) {
        load_c(c, ldc, half);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    if (half)
        multiply_half(parts, depth, (const char *)a, (const char *)b);
    else
        multiply_whole(parts, depth, (const char *)a, (const char *)b, (const char *)next,
                       (Coming){c + ROWS * ldc, ldc, 0, 2 * ROWS * GROUP / (depth + GROUP - 1) + 1});
    store_c(c, ldc, half);
}

INLINE void copy_rows(float *to, size_t to_ld, const float *from, size_t from_ld, uint32_t rows)
{
    for (uint32_t i = 0; i < rows; i++) {
        _mm512_storeu_ps(to + i * to_ld, _mm512_loadu_ps(from + i * from_ld));
        _mm512_storeu_ps(to + i * to_ld + LANES, _mm512_loadu_ps(from + i * from_ld + LANES));
    }
}

INLINE void tile(uint32_t parts, uint32_t rows, uint32_t depth, const float *a, const float *b,
                 const float *next, float *c, size_t ldc, bool add)
{
    if (rows == ROWS) {
        multiply(parts, false, depth, a, b, next, c, ldc, add);
        return;
    }
    if (rows == LANES) {
        multiply(parts, true, depth, a, b, next, c, ldc, add);
        return;
    }
    float aside[ROWS * COLUMNS]; /* rows beyond stay in it */
    if (add)
        copy_rows(aside, COLUMNS, c, ldc, rows);
    multiply(parts, rows < LANES, depth, a, b, next, aside, COLUMNS, add);
    copy_rows(c, ldc, aside, COLUMNS, rows);
}

/* ---- splitting and packing ---- */

INLINE __m512 of_bits(__m512i bits)
{
    return _mm512_castsi512_ps(bits);
}

/* 32 numbers as they lie, first 16 and last 16: their parts in the same order. */
INLINE void split(uint32_t parts, __m512 first, __m512 last, __m512i part[PARTS_MAX])
{
#pragma GCC unroll 3
    for (uint32_t i = 0; i < parts; i++) {
        __m512i p = part[i] = (__m512i)_mm512_cvtne2ps_pbh(last, first);
        __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(p));
        __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(p, 1));
        first = _mm512_sub_ps(first, of_bits(_mm512_slli_epi32(low, 16)));
        last = _mm512_sub_ps(last, of_bits(_mm512_slli_epi32(high, 16)));
    }
}

/* 16 pairs (even[i], odd[i]): their parts, even before odd. */
INLINE void split_pairs(uint32_t parts, __m512 even, __m512 odd, __m512i part[PARTS_MAX])
{
    const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                           8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
#pragma GCC unroll 3
    for (uint32_t i = 0; i < parts; i++) {
        __m512i p = _mm512_permutexvar_epi16(turns, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
        part[i] = p;
        even = _mm512_sub_ps(even, of_bits(_mm512_slli_epi32(p, 16)));
        odd = _mm512_sub_ps(odd, of_bits(_mm512_and_si512(p, _mm512_set1_epi32((int)0xffff0000))));
    }
}

/* 16 x 16 words, in four rounds. */
INLINE void transpose16(__m512i r[LANES])
{
    __m512i t[LANES];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < LANES; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (uint32_t i = 0; i < LANES; i += 4) {
        for (uint32_t half = 0; half < 2; half++) {
            r[i + 2 * half] = _mm512_unpacklo_epi64(t[i + half], t[i + 2 + half]);
            r[i + 2 * half + 1] = _mm512_unpackhi_epi64(t[i + half], t[i + 2 + half]);
        }
    }
    /* r[4g + c] now holds, in its quarter q, rows 4g..4g+3 of column 4q + c. */
#pragma GCC unroll 4
    for (uint32_t column = 0; column < 4; column++) {
        __m512i a = _mm512_shuffle_i32x4(r[column], r[4 + column], 0x88);
        __m512i b = _mm512_shuffle_i32x4(r[column], r[4 + column], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(r[8 + column], r[12 + column], 0x88);
        __m512i d = _mm512_shuffle_i32x4(r[8 + column], r[12 + column], 0xdd);
        t[column] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[8 + column] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[4 + column] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[12 + column] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
#pragma GCC unroll 16
    for (uint32_t i = 0; i < LANES; i++)
        r[i] = t[i];
}

/* 16 lines in registers, line after line at `to`. */
INLINE void store_lines(char *to, const __m512i r[LANES])
{
#pragma GCC unroll 16
    for (uint32_t i = 0; i < LANES; i++)
        _mm512_storeu_si512(to + i * LINE, r[i]);
}

INLINE void load_lines(__m512i r[LANES], const char *from)
{
#pragma GCC unroll 16
    for (uint32_t i = 0; i < LANES; i++)
        r[i] = _mm512_loadu_si512(from + i * LINE);
}

INLINE __mmask16 first_lanes(uint32_t count)
{
    return (__mmask16)(count >= LANES ? 0xffff : (1u << count) - 1);
}

INLINE void store_parts(uint32_t parts, char *line, const __m512i part[PARTS_MAX])
{
#pragma GCC unroll 3
    for (uint32_t i = 0; i < parts; i++)
        _mm512_storeu_si512(line + i * PART, part[i]);
}

/* Up to 16 lines of x, 32 k each from `x` on: the tiles that have a line of x in each line. */
INLINE void lines_of_k(uint32_t parts, char *tile, const float *x, size_t ld, uint32_t lines,
                       uint32_t steps)
{
    __mmask16 first = first_lanes(steps), last = first_lanes(steps > LANES ? steps - LANES : 0);
    for (uint32_t i = 0; i < lines; i++) {
        __m512i part[PARTS_MAX];
        split(parts, _mm512_maskz_loadu_ps(first, x + i * ld),
              _mm512_maskz_loadu_ps(last, x + i * ld + LANES), part);
        store_parts(parts, tile + i * LINE, part);
    }
}

/* The pairs of k of 16 numbers that lie side by side: 16 lines of pairs. */
INLINE void lines_of_pairs(uint32_t parts, char *tile, const float *x, size_t ld, uint32_t lines,
                           uint32_t steps)
{
    __mmask16 load = first_lanes(lines);
    for (uint32_t i = 0; i < LANES; i++) {
        __m512i part[PARTS_MAX];
        split_pairs(parts, _mm512_maskz_loadu_ps(2 * i < steps ? load : 0, x + 2 * i * ld),
                    _mm512_maskz_loadu_ps(2 * i + 1 < steps ? load : 0, x + (2 * i + 1) * ld),
                    part);
        store_parts(parts, tile + i * LINE, part);
    }
}

INLINE void turn_tiles(uint32_t parts, char *tile)
{
    for (uint32_t i = 0; i < parts; i++, tile += PART) {
        __m512i r[LANES];
        load_lines(r, tile);
        transpose16(r);
        store_lines(tile, r);
    }
}

INLINE uint32_t some_of(uint32_t count, uint32_t from, uint32_t most)
{
    return from >= count ? 0 : count - from < most ? count - from : most;
}

INLINE void rows_transpose(uint32_t parts, char *group, const float *x, size_t ld, uint32_t lines,
                           uint32_t depth)
{
    for (uint32_t k = 0; k < depth; k += GROUP, group += parts * PART)
        for (uint32_t i = 0; i < lines; i += LANES)
            lines_of_k(parts, group + i / LANES * TILE, x + i * ld + k, ld,
                       some_of(lines, i, LANES), depth - k);
}

INLINE void rows_copy(uint32_t parts, char *group, const float *x, size_t ld, uint32_t lines,
                      uint32_t depth)
{
    for (uint32_t k = 0; k < depth; k += GROUP, group += parts * PART)
        for (uint32_t i = 0; i < lines; i += LANES) {
            char *tile = group + i / LANES * TILE;
            lines_of_pairs(parts, tile, x + k * ld + i, ld, some_of(lines, i, LANES), depth - k);
            turn_tiles(parts, tile);
        }
}

INLINE void columns_transpose(uint32_t parts, char *group, const float *x, size_t ld,
                              uint32_t lines, uint32_t depth)
{
    for (uint32_t k = 0; k < depth; k += GROUP, group += parts * PART)
        for (uint32_t j = 0; j < COLUMNS; j += LANES) {
            char *tile = group + j / LANES * TILE;
            uint32_t have = some_of(lines, j, LANES);
            const __m512i zero[PARTS_MAX] = {_mm512_setzero_si512()};
            for (uint32_t i = have; i < LANES; i++)
                store_parts(parts, tile + i * LINE, zero);
            if (have)
                lines_of_k(parts, tile, x + j * ld + k, ld, have, depth - k);
            turn_tiles(parts, tile);
        }
}

INLINE void columns_copy(uint32_t parts, char *group, const float *x, size_t ld, uint32_t lines,
                         uint32_t depth)
{
    for (uint32_t k = 0; k < depth; k += GROUP, group += parts * PART)
        for (uint32_t j = 0; j < COLUMNS; j += LANES)
            lines_of_pairs(parts, group + j / LANES * TILE, j < lines ? x + k * ld + j : x, ld,
                           some_of(lines, j, LANES), depth - k);
}

/* ---- the rows of the table: the same functions with the number of parts made constant ---- */

#define PACKER(name, parts)                                                                        \
    static void name##_##parts(float *panel, uint32_t width, const float *x, size_t ld,            \
                               uint32_t lines, uint32_t depth)                                     \
    {                                                                                              \
        (void)width;                                                                               \
        name(parts, (char *)panel, x, ld, lines, depth);                                           \
    }
#define ROW(name_, parts, error_, pack_work_)                                                      \
    PACKER(rows_transpose, parts)                                                                  \
    PACKER(rows_copy, parts)                                                                       \
    PACKER(columns_transpose, parts)                                                               \
    PACKER(columns_copy, parts)                                                                    \
    static void tile_##parts(uint32_t rows, uint32_t depth, const float *a, size_t a_row,          \
                             size_t a_step, const float *b, const float *next, float *c,           \
                             size_t ldc, bool add)                                                 \
    {                                                                                              \
        (void)a_row;                                                                               \
        (void)a_step;                                                                              \
        tile(parts, rows, depth, a, b, next, c, ldc, add);                                         \
    }                                                                                              \
    const GemmIsa gemm_isa_##name_ = {                                                             \
        .name = #name_,                                                                            \
        .supported = amx_supported,                                                                \
        .error = error_,                                                                           \
        .rows = ROWS,                                                                              \
        .columns = COLUMNS,                                                                        \
        .depth = GEMM_KC,                                                                          \
        .depth_many = GEMM_KC / 2,                                                                 \
        .block_rows = 12 * ROWS,                                                                   \
        .unit = GROUP,                                                                             \
        .halves = parts,                                                                           \
        .copy_step = GROUP,                                                                        \
        .pack_work = pack_work_,                                                                   \
        .packs_always = true,                                                                      \
        .q8 = &gemm_isa_avx512,                                                                    \
        .enter = amx_enter,                                                                        \
        .leave = amx_leave,                                                                        \
        .tile = tile_##parts,                                                                      \
        .rows_transpose = rows_transpose_##parts,                                                  \
        .rows_copy = rows_copy_##parts,                                                            \
        .columns_transpose = columns_transpose_##parts,                                            \
        .columns_copy = columns_copy_##parts,                                                      \
    }

ROW(amx, 3, 0x1p-22, 60);
ROW(amx_high, 2, 3 * 0x1p-16, 80);
