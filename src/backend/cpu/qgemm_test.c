/* qgemm_test.c: qgemm.h against its formula spelled out, bit for bit on every instruction set, and
 * against dequantised weights in double. */
#include "backend/cpu/qgemm.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "tensor/block.h"
#include "tensor/block_form.h"

#include <math.h>

enum { GUARD = 64, POOLS = 3, M_MAX = 40, K_MAX = 2304, N_MAX = 70 };

static const DType types[] = {DT_Q8_0, DT_Q4_0, DT_Q4_K, DT_Q5_K, DT_Q6_K};
enum { TYPES = sizeof types / sizeof *types };

static Pool *pools[POOLS]; /* of 1, 2, 3 threads */
static uint8_t *scratch;   /* for all of them, with a guard behind */
static size_t scratch_bytes;

static int set_up(void **state)
{
    (void)state;
    Error err;
    for (uint32_t i = 0; i < POOLS; i++)
        if (!pool_new(&pools[i], i + 1, &err))
            return -1;
    scratch_bytes = qgemm_scratch_bytes(POOLS, M_MAX, K_MAX);
    scratch = mem_alloc_aligned(scratch_bytes + GUARD, 64);
    if (!scratch)
        return -1;
    memset(scratch, 0xff, scratch_bytes);
    memset(scratch + scratch_bytes, 0x5a, GUARD);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < GUARD; i++)
        if (scratch[scratch_bytes + i] != 0x5a)
            return -1;
    for (uint32_t i = 0; i < POOLS; i++)
        pool_free(pools[i]);
    mem_free(scratch);
    return 0;
}

/* ---- weights ---- */

static void put_half(uint8_t *to, RngKey key, uint64_t at, bool any_sign)
{
    uint16_t half = (uint16_t)((rng_below(key, at, 12) + 2) << 10 | rng_below(key, at + 1, 1024));
    if (rng_below(key, at + 2, 20) == 0)
        half = (uint16_t)rng_below(key, at + 3, 40); /* subnormal, or 0 */
    if (any_sign && rng_below(key, at + 4, 3) == 0)
        half |= 0x8000;
    memcpy(to, &half, 2);
}

/* Where the halves of a block lie: d, and e or none (0). */
static void places(DType type, uint32_t *d, uint32_t *e)
{
    *d = type == DT_Q6_K ? 208 : 0;
    *e = type == DT_Q4_K || type == DT_Q5_K ? 2 : 0;
}

/* Random bytes with scales that are finite. */
static uint8_t *random_blocks(DType type, uint32_t n, uint32_t k)
{
    uint32_t bytes = dtype_info[type].block_bytes, d, e;
    uint64_t blocks = (uint64_t)n * k / dtype_info[type].block_elems;
    uint8_t *w = mem_alloc(blocks + 1, bytes);
    assert_non_null(w);
    RngKey key = rng_key(17, "blocks");
    for (uint64_t i = 0; i < blocks * bytes; i++)
        w[i] = (uint8_t)rng_below(key, i, 256);
    places(type, &d, &e);
    key = rng_key(18, "scales");
    for (uint64_t i = 0; i < blocks; i++) {
        put_half(w + i * bytes + d, key, 16 * i, true);
        if (e)
            put_half(w + i * bytes + e, key, 16 * i + 8, true);
    }
    return w;
}

/* Every code, and every whole scale, at one end: 0xff or 0x00 (of q8_0 and scales of q6_k: -128). */
static void fill_blocks(DType type, uint8_t *w, uint64_t blocks, uint8_t byte)
{
    uint32_t bytes = dtype_info[type].block_bytes, d, e;
    const uint16_t one = 0x3c00;
    places(type, &d, &e);
    memset(w, byte, blocks * bytes);
    for (uint64_t i = 0; i < blocks; i++) {
        if (type == DT_Q8_0)
            memset(w + i * bytes, 0x80, bytes);
        if (type == DT_Q6_K)
            memset(w + i * bytes + 192, 0x80, 16);
        memcpy(w + i * bytes + d, &one, 2);
        if (e)
            memcpy(w + i * bytes + e, &one, 2);
    }
}

static float *random_rows(uint32_t m, uint32_t k, size_t ld)
{
    float *x = mem_alloc(m * ld + 1, sizeof *x);
    assert_non_null(x);
    RngKey key = rng_key(19, "rows");
    for (uint32_t i = 0; i < m; i++) {
        for (uint32_t at = 0; at < k; at++) {
            uint64_t draw = (uint64_t)i * k + at;
            int exponent = (int)rng_below(key, (draw / 32) << 20, 40) - 20;
            x[i * ld + at] = (float)ldexp(2 * rng_uniform(key, draw) - 1, exponent);
        }
    }
    return x;
}

/* ---- the formula of qgemm.h ---- */

/* A block of weights: whole numbers v, s and m for each k, d and e. */
typedef struct {
    int v[256], s[256], m[256];
    float d, e;
} Weights;

static void read_block(DType type, const uint8_t *block, Weights *w)
{
    memset(w, 0, sizeof *w);
    if (type == DT_Q8_0) {
        uint16_t half;
        memcpy(&half, block, 2);
        w->d = dtype_f32_of_f16(half);
        for (uint32_t i = 0; i < 32; i++) {
            w->v[i] = (int8_t)block[2 + i];
            w->s[i] = 1;
        }
        return;
    }
    const BlockForm *form = &block_forms[type];
    BlockParts p = {0};
    form->unpack(block, &p);
    w->d = dtype_f32_of_f16(p.d);
    w->e = form->affine ? dtype_f32_of_f16(p.e) : 0;
    for (uint32_t i = 0; i < form->elems; i++) {
        w->v[i] = form->low + p.code[i];
        w->s[i] = p.scale[i / form->part];
        w->m[i] = form->affine ? p.min[i / form->part] : 0;
    }
}

/* Step 1; x is one block. */
static float quantise(const float *x, uint32_t count, int *q)
{
    float top = 0;
    bool wild = false;
    for (uint32_t i = 0; i < count; i++) {
        wild |= !isfinite(x[i]);
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    }
    bool zero = wild || top < 0x1p-119f;
    float by = 127 / top;
    for (uint32_t i = 0; i < count; i++)
        q[i] = zero ? 0 : (int)nearbyintf(x[i] * by);
    return wild ? NAN : zero ? 0 : top / 127;
}

static float element(DType type, uint32_t k, const float *x, const uint8_t *blocks)
{
    uint32_t count = dtype_info[type].block_elems;
    float chain = 0;
    for (uint32_t at = 0; at < k; at += count, blocks += dtype_info[type].block_bytes) {
        Weights w;
        int q[256], s = 0, t = 0;
        float a = quantise(x + at, count, q);
        read_block(type, blocks, &w);
        for (uint32_t i = 0; i < count; i++) {
            s += w.s[i] * w.v[i] * q[i];
            t += w.m[i] * q[i];
        }
        bool affine = type == DT_Q4_K || type == DT_Q5_K;
        float term = affine ? fmaf((float)s, w.d, -((float)t * w.e)) : (float)s * w.d;
        chain = fmaf(term, a, chain);
    }
    return chain;
}

static bool same_bits(float x, float y)
{
    return memcmp(&x, &y, sizeof x) == 0 || (isnan(x) && isnan(y));
}

/* ---- every way to one product ---- */

typedef struct {
    DType type;
    uint32_t m, n, k;
    size_t lda, ldc;
    float *x, *want; /* [m][lda], [m][n] */
    uint8_t *blocks, *packed;
} Case;

static void *new_packed(DType type, uint32_t n, uint32_t k)
{
    size_t bytes = qgemm_packed_bytes(type, n, k);
    uint8_t *packed = mem_alloc_aligned(bytes + GUARD, 64);
    assert_non_null(packed);
    memset(packed, 0xff, bytes);
    memset(packed + bytes, 0x5a, GUARD);
    return packed;
}

static void check_guard(const Case *t)
{
    const uint8_t *guard = t->packed + qgemm_packed_bytes(t->type, t->n, t->k);
    for (uint32_t i = 0; i < GUARD; i++)
        assert_int_equal(guard[i], 0x5a);
}

static Case new_case(DType type, uint32_t m, uint32_t n, uint32_t k)
{
    Case t = {.type = type, .m = m, .n = n, .k = k, .lda = k + 3, .ldc = n + 5};
    t.x = random_rows(m, k, t.lda);
    t.blocks = random_blocks(type, n, k);
    t.want = mem_alloc((size_t)m * n, sizeof *t.want);
    assert_non_null(t.want);
    return t;
}

static void end_case(Case *t)
{
    mem_free(t->x);
    mem_free(t->blocks);
    mem_free(t->want);
    mem_free(t->packed);
}

/* Packs, and computes what is wanted. */
static void prepare(Case *t)
{
    size_t row = dtype_bytes(t->type, t->k);
    for (uint32_t i = 0; i < t->m; i++)
        for (uint32_t j = 0; j < t->n; j++)
            t->want[i * t->n + j] =
                element(t->type, t->k, t->x + i * t->lda, t->blocks + j * row);
    t->packed = new_packed(t->type, t->n, t->k);
    qgemm_pack(pools[1], t->type, t->packed, t->blocks, t->n, t->k);
    check_guard(t);
}

/* Rows [first, first + rows) at once. */
static void check_rows(const Case *t, uint32_t first, uint32_t rows, Pool *pool, bool accumulate)
{
    size_t count = rows * t->ldc + 1;
    float *c = mem_alloc(count, sizeof *c);
    assert_non_null(c);
    for (size_t i = 0; i < count; i++)
        c[i] = accumulate ? (float)i : NAN;
    qgemm(pool, scratch, t->type, accumulate, rows, t->n, t->k, t->x + first * t->lda, t->lda,
          t->packed, c, t->ldc);
    for (size_t i = 0; i < count; i++) {
        uint32_t row = (uint32_t)(i / t->ldc), column = (uint32_t)(i % t->ldc);
        float old = accumulate ? (float)i : NAN, want = old;
        if (row < rows && column < t->n) {
            float chain = t->want[(first + row) * t->n + column];
            want = accumulate ? old + chain : chain;
        }
        if (!same_bits(c[i], want))
            fail_test("%s %s %ux%ux%u (rows from %u, %u threads) C[%u,%u] = %.9g, expected %.9g",
                      qgemm_isa_name(), dtype_info[t->type].name, rows, t->n, t->k, first,
                      pool_threads(pool), row, column, c[i], want);
    }
    mem_free(c);
}

static void check_everywhere(const Case *t)
{
    const char *isa;
    for (uint32_t row = 0; (isa = qgemm_isa_at(row)); row++) {
        assert_true(qgemm_isa_use(isa));
        bool all = strcmp(isa, "portable") != 0;
        for (uint32_t rows = 1; rows <= t->m; rows += all ? 1 : 13)
            check_rows(t, (t->m - rows) / 2, rows, pools[rows % POOLS], rows % 5 == 4);
        check_rows(t, 0, t->m, pools[2], false);
    }
}

static void follows_the_formula_bit_for_bit(void **state)
{
    (void)state;
    /* Odd N, halves of groups, and more K than a matrix unit takes at once. */
    static const uint32_t sizes[][2] = {{37, 512}, {1, 256},   {70, 768}, {17, 96},
                                        {16, 32},  {5, 1056},  {3, 2304}};
    for (uint32_t i = 0; i < TYPES; i++) {
        for (uint32_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            if (sizes[s][1] % dtype_info[types[i]].block_elems)
                continue;
            Case t = new_case(types[i], M_MAX, sizes[s][0], sizes[s][1]);
            prepare(&t);
            check_everywhere(&t);
            end_case(&t);
        }
    }
}

/* Whole numbers as large as they get: 16 bits and 24 must not be what sums are kept in. */
static void extremes_are_exact(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0xff, 0x00};
    for (uint32_t i = 0; i < TYPES * 2; i++) {
        Case t = new_case(types[i / 2], 33, 18, 256);
        fill_blocks(t.type, t.blocks, 18u * 256 / dtype_info[t.type].block_elems, bytes[i % 2]);
        for (uint32_t row = 0; row < t.m; row++)
            for (uint32_t k = 0; k < t.k; k++)
                t.x[row * t.lda + k] = row % 3 == 2 ? (k % 2 ? 1.0f : -1.0f) : row % 3 ? 1 : -1;
        prepare(&t);
        check_everywhere(&t);
        end_case(&t);
    }
}

static void strange_numbers_are_as_documented(void **state)
{
    (void)state;
    static const float strange[] = {0.0f, -0.0f, 0x1p-149f, 0x1.8p-120f, 0x1p-119f, 0x1p-126f,
                                    INFINITY, -INFINITY, NAN, 0x1.fffffep127f, 0.5f, 1.5f};
    enum { STRANGE = sizeof strange / sizeof *strange };
    for (uint32_t i = 0; i < TYPES; i++) {
        Case t = new_case(types[i], STRANGE + 6, 19, 512);
        for (uint32_t row = 0; row < STRANGE; row++) {
            for (uint32_t k = 0; k < 256; k++)
                t.x[row * t.lda + k] = k % 32 == row ? strange[row] : 0;
        }
        for (uint32_t k = 0; k < t.k; k++) /* ties: 127 x / 127 = k + 1/2 */
            t.x[STRANGE * t.lda + k] = k % 32 == 0 ? 127.0f : (float)(k % 120) + 0.5f;
        uint32_t d, e;
        const uint16_t halves[] = {0x7c00, 0xfc00, 0x7e00, 0x0000, 0x8000, 0x0001, 0x7bff};
        places(t.type, &d, &e);
        for (uint32_t j = 0; j < 7; j++)
            memcpy(t.blocks + j * dtype_bytes(t.type, t.k) + d, &halves[j], 2);
        prepare(&t);
        for (uint32_t j = 7; j < t.n; j++) { /* of a row with something undefined, all is */
            assert_true(isnan(t.want[6 * t.n + j]) && isnan(t.want[8 * t.n + j]));
            assert_false(isnan(t.want[10 * t.n + j]));
        }
        check_everywhere(&t);
        end_case(&t);
    }
}

/* ---- against what is meant ---- */

static void is_near_the_dequantised_product(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < TYPES; i++) {
        Case t = new_case(types[i], 21, 33, 768);
        float *w = mem_alloc((size_t)t.n * t.k, sizeof *w), *c = mem_alloc(21 * 33, sizeof *c);
        assert_non_null(w);
        assert_non_null(c);
        block_dequantise(t.type, t.blocks, w, (uint64_t)t.n * t.k);
        prepare(&t);
        assert_true(qgemm_isa_use(qgemm_isa_at(0)));
        qgemm(pools[1], scratch, t.type, false, t.m, t.n, t.k, t.x, t.lda, t.packed, c, t.n);
        uint32_t block = dtype_info[t.type].block_elems;
        for (uint32_t at = 0; at < t.m * t.n; at++) {
            const float *x = t.x + at / t.n * t.lda, *y = w + (size_t)(at % t.n) * t.k;
            double want = 0, bound = 0, size = 0;
            for (uint32_t b = 0; b < t.k; b += block) {
                double top = 0, sum = 0;
                for (uint32_t k = b; k < b + block; k++) {
                    top = fmax(top, fabs((double)x[k]));
                    sum += fabs((double)y[k]);
                    want += (double)x[k] * (double)y[k];
                }
                bound += top / 254 * sum;
                size += top * sum;
            }
            assert_near(c[at], want, bound + 1e-6 * size);
        }
        mem_free(w);
        mem_free(c);
        end_case(&t);
    }
}

static void zero_sizes_are_legal(void **state)
{
    (void)state;
    float c[4] = {1, 2, 3, 4}, x[64] = {0};
    for (uint32_t i = 0; i < TYPES; i++) {
        assert_true(qgemm_takes(types[i]));
        assert_int_equal(qgemm_packed_bytes(types[i], 0, 256), 0);
        assert_int_equal(qgemm_packed_bytes(types[i], 9, 0), 0);
        qgemm_pack(NULL, types[i], c, c, 0, 256);
        qgemm(pools[1], scratch, types[i], false, 0, 2, 0, x, 0, c, c, 2);
        qgemm(pools[1], scratch, types[i], false, 2, 0, 256, x, 0, c, c, 2);
        qgemm(pools[1], scratch, types[i], true, 2, 2, 0, x, 0, c, c, 2);
        for (uint32_t j = 0; j < 4; j++)
            assert_near(c[j], j + 1, 0);
    }
    qgemm(pools[1], scratch, DT_Q4_K, false, 2, 1, 0, x, 0, c, c, 2);
    assert_near(c[0], 0, 0);
    assert_near(c[1], 2, 0);
    assert_near(c[2], 0, 0);
    assert_false(qgemm_takes(DT_F32));
    assert_false(qgemm_takes(DT_I32));
}

/* More rows than are quantised at once, and more threads than there is work. */
static void many_rows_are_cut(void **state)
{
    (void)state;
    enum { M = 1030, N = 34, K = 64 };
    Case t = new_case(DT_Q4_0, M, N, K);
    void *before = scratch;
    size_t bytes = qgemm_scratch_bytes(POOLS, M, K);
    scratch = mem_alloc_aligned(bytes + GUARD, 64);
    assert_non_null(scratch);
    memset(scratch, 0x5a, bytes + GUARD);
    prepare(&t);
    assert_true(qgemm_isa_use(qgemm_isa_at(0)));
    for (uint32_t i = 0; i < POOLS; i++)
        check_rows(&t, 0, M, pools[i], i == 1);
    for (uint32_t i = 0; i < GUARD; i++)
        assert_int_equal(scratch[bytes + i], 0x5a);
    mem_free(scratch);
    scratch = before;
    end_case(&t);
}

static void packing_does_not_depend_on_threads(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < TYPES; i++) {
        Case t = new_case(types[i], 1, N_MAX, 512);
        prepare(&t);
        uint8_t *other = new_packed(t.type, t.n, t.k);
        qgemm_pack(NULL, t.type, other, t.blocks, t.n, t.k);
        assert_memory_equal(other, t.packed, qgemm_packed_bytes(t.type, t.n, t.k));
        mem_free(other);
        end_case(&t);
    }
}

static void nothing_is_allocated(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < TYPES; i++) {
        Case t = new_case(types[i], M_MAX, 33, 512);
        prepare(&t);
        float *c = mem_alloc(M_MAX * 33, sizeof *c);
        assert_non_null(c);
        uint64_t before = mem_count();
        for (uint32_t m = 1; m <= M_MAX; m += 13)
            qgemm(pools[2], scratch, t.type, false, m, t.n, t.k, t.x, t.lda, t.packed, c, t.n);
        assert_int_equal(mem_count(), before);
        mem_free(c);
        end_case(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_formula_bit_for_bit),
        cmocka_unit_test(extremes_are_exact),
        cmocka_unit_test(strange_numbers_are_as_documented),
        cmocka_unit_test(is_near_the_dequantised_product),
        cmocka_unit_test(zero_sizes_are_legal),
        cmocka_unit_test(many_rows_are_cut),
        cmocka_unit_test(packing_does_not_depend_on_threads),
        cmocka_unit_test(nothing_is_allocated),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
