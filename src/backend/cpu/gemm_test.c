/* gemm_test.c: gemm.h against a product in double, and the contract on bits. */
#include "backend/cpu/gemm.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"

#include <math.h>

enum { GUARD = 64, POOLS = 3 };

static Pool *pools[POOLS]; /* of 1, 2, 3 threads */
static uint8_t *scratch;   /* for 3 threads, with a guard behind */
static size_t scratch_bytes;

static int set_up(void **state)
{
    (void)state;
    Error err;
    for (uint32_t i = 0; i < POOLS; i++)
        if (!pool_new(&pools[i], i + 1, &err))
            return -1;
    scratch_bytes = gemm_scratch_bytes(POOLS);
    scratch = mem_alloc_aligned(scratch_bytes + GUARD, 64);
    if (!scratch)
        return -1;
    memset(scratch, 0xff, scratch_bytes); /* every float a NaN */
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

static float *new_floats(size_t count)
{
    float *x = mem_alloc(count, sizeof *x);
    assert_non_null(x);
    return x;
}

static float *random_floats(size_t count, const char *purpose)
{
    float *x = new_floats(count);
    RngKey key = rng_key(7, purpose);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(2 * rng_uniform(key, i) - 1);
    return x;
}

/* A matrix inside a larger memory: rows ld apart, everything outside it NaN. */
typedef struct {
    float *data;
    uint32_t rows, columns;
    size_t ld;
} Matrix;

static Matrix random_matrix(uint32_t rows, uint32_t columns, size_t ld, const char *purpose)
{
    Matrix x = {new_floats((rows + 1) * ld + 1), rows, columns, ld};
    RngKey key = rng_key(11, purpose);
    for (size_t i = 0; i < (rows + 1) * ld; i++)
        x.data[i] = NAN;
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t j = 0; j < columns; j++)
            x.data[i * ld + j] = (float)(2 * rng_uniform(key, (uint64_t)i * columns + j) - 1);
    return x;
}

static void use(const char *isa)
{
    assert_true(gemm_isa_use(isa));
    assert_string_equal(gemm_isa_name(), isa);
}

static bool is_amx(const char *isa)
{
    return strncmp(isa, "amx", 3) == 0;
}

static float at(const Matrix *x, bool transposed, uint32_t i, uint32_t j)
{
    return transposed ? x->data[j * x->ld + i] : x->data[i * x->ld + j];
}

typedef struct {
    uint32_t m, n, k;
    GemmFlags flags;
    uint32_t extra; /* ld beyond the row */
} Case;

/* C of a case on one pool; without accumulate it starts as NaN everywhere. */
static Matrix run_case(const Case *t, const Matrix *a, const Matrix *b, Pool *pool)
{
    Matrix c = random_matrix(t->m, t->n, t->n + t->extra, "c");
    if (!t->flags.accumulate)
        for (size_t i = 0; i < (t->m + 1) * c.ld; i++)
            c.data[i] = NAN;
    gemm(pool, scratch, t->flags, t->m, t->n, t->k, a->data, a->ld, b->data, b->ld, c.data, c.ld);
    return c;
}

static void check_against_double(const Case *t, const Matrix *a, const Matrix *b, const Matrix *c)
{
    Matrix old = random_matrix(t->m, t->n, t->n + t->extra, "c");
    for (uint32_t i = 0; i < t->m; i++)
        for (uint32_t j = 0; j < t->n; j++) {
            double want = t->flags.accumulate ? old.data[i * old.ld + j] : 0, size = fabs(want);
            for (uint32_t k = 0; k < t->k; k++) {
                double product = (double)at(a, t->flags.transpose_a, i, k) *
                                 at(b, t->flags.transpose_b, k, j);
                want += product;
                size += fabs(product);
            }
            double got = c->data[i * c->ld + j];
            if (!(fabs(got - want) <= (1e-6 + gemm_isa_error(gemm_isa_name())) * size + 1e-30))
                fail_test("%s %ux%ux%u a%d b%d +%d C[%u,%u] = %.9g, expected %.9g",
                          gemm_isa_name(), t->m, t->n, t->k, t->flags.transpose_a,
                          t->flags.transpose_b, t->flags.accumulate, i, j, got, want);
        }
    for (size_t i = 0; i < (t->m + 1) * c->ld; i++)
        if (i / c->ld >= t->m || i % c->ld >= t->n)
            if (!isnan(c->data[i]))
                fail_test("%s %ux%ux%u: wrote outside C, at %zu", gemm_isa_name(), t->m, t->n,
                          t->k, i);
    mem_free(old.data);
}

static void check_case(const Case *t, bool slow_check)
{
    uint32_t ar = t->flags.transpose_a ? t->k : t->m, ac = t->flags.transpose_a ? t->m : t->k;
    uint32_t br = t->flags.transpose_b ? t->n : t->k, bc = t->flags.transpose_b ? t->k : t->n;
    Matrix a = random_matrix(ar, ac, ac + t->extra, "a");
    Matrix b = random_matrix(br, bc, bc + t->extra, "b");
    Matrix c = run_case(t, &a, &b, pools[0]);
    if (slow_check)
        check_against_double(t, &a, &b, &c);
    for (uint32_t i = 1; i < POOLS; i++) {
        Matrix d = run_case(t, &a, &b, pools[i]);
        assert_memory_equal(c.data, d.data, t->m * c.ld * sizeof(float));
        mem_free(d.data);
    }
    mem_free(a.data);
    mem_free(b.data);
    mem_free(c.data);
}

static GemmFlags flags_of(uint32_t bits)
{
    return (GemmFlags){.transpose_a = bits & 1, .transpose_b = bits & 2, .accumulate = bits & 4};
}

static void agrees_with_double_on_odd_shapes(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 2, 3, 5, 7, 8, 15, 17, 31, 33, 64, 65, 100, 257};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    RngKey key = rng_key(3, "shapes");
    const char *isa;
    for (uint32_t row = 0; (isa = gemm_isa_at(row)); row++) {
        use(isa);
        for (uint32_t i = 0; i < 400; i++) {
            Case t = {.flags = flags_of(i), .extra = i / 8 % 3 * 5};
            t.m = sizes[rng_below(key, 3 * i, SIZES)];
            t.n = sizes[rng_below(key, 3 * i + 1, SIZES)];
            t.k = sizes[rng_below(key, 3 * i + 2, SIZES)];
            check_case(&t, true);
        }
    }
}

/* Several K blocks, several blocks of rows, several tiles, wide and narrow. */
static void agrees_with_double_on_large_shapes(void **state)
{
    (void)state;
    static const Case cases[] = {{.m = 5, .n = 40, .k = 1537}, {.m = 400, .n = 37, .k = 513},
                                 {.m = 30, .n = 1100, .k = 600}, {.m = 211, .n = 300, .k = 1025},
                                 {.m = 3, .n = 2050, .k = 1100} /* op(B) in four pieces */};
    const char *isa;
    for (uint32_t row = 0; (isa = gemm_isa_at(row)); row++) {
        use(isa);
        for (uint32_t i = 0; i < 5; i++)
            for (uint32_t bits = 0; bits < 8; bits++) {
                Case t = cases[i];
                t.flags = flags_of(bits);
                t.extra = bits == 3 ? 3 : 0;
                check_case(&t, bits % 4 == i % 4);
            }
    }
}

/* ---- one element, many ways ---- */

static uint16_t half_of_power(int exponent) /* 2^exponent times 1.5 as f16 */
{
    return (uint16_t)((exponent + 15) << 10 | 0x200);
}

/* W[N,K] in Q8_0 and the f32 weights that it stands for. */
static void make_q8(uint8_t *q8, float *w, uint32_t n, uint32_t k)
{
    RngKey key = rng_key(5, "q8");
    for (uint32_t block = 0; block < n * k / 32; block++) {
        int exponent = (int)rng_below(key, block, 9) - 8;
        uint16_t half = half_of_power(exponent);
        if (block % 97 == 0)
            half = 3; /* a subnormal */
        if (block % 101 == 0)
            half |= 0x8000;
        double scale = block % 97 == 0 ? 3 * ldexp(1, -24) : 1.5 * ldexp(1, exponent);
        if (block % 101 == 0)
            scale = -scale;
        uint8_t *out = q8 + (size_t)block * 34;
        memcpy(out, &half, 2);
        for (uint32_t i = 0; i < 32; i++) {
            int8_t q = (int8_t)((int)rng_below(key, 1000000 + block * 32ull + i, 256) - 128);
            out[2 + i] = (uint8_t)q;
            w[block * 32 + i] = (float)(q * scale);
        }
    }
}

static void assert_same_bits(const char *what, const float *got, const float *want, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_test("%s, %s: element %zu is %.9g, expected %.9g", gemm_isa_name(), what, i,
                      got[i], want[i]);
}

typedef struct {
    uint32_t m, n, k;
    float *x, *w, *want, *c;
    const void *packed;
    GemmType type;
} Ways;

/* Rows [0, rows) of the product by gemm_packed, with each pool, plain and accumulating. */
static void check_packed_rows(const Ways *t, uint32_t first, uint32_t rows)
{
    size_t count = (size_t)rows * t->n;
    const float *x = t->x + (size_t)first * t->k, *want = t->want + (size_t)first * t->n;
    for (uint32_t i = 0; i < POOLS; i++) {
        memset(t->c, 0xff, (count + 1) * sizeof(float));
        gemm_packed(pools[i], scratch, t->type, false, rows, t->n, t->k, x, t->k, t->packed, t->c,
                    t->n);
        assert_same_bits("packed", t->c, want, count);
        assert_true(isnan(t->c[count]));
    }
    /* Accumulating: against gemm accumulating. */
    float *old = random_floats(count, "old"), *want_sum = random_floats(count, "old");
    gemm(pools[0], scratch, (GemmFlags){.transpose_b = true, .accumulate = true}, rows, t->n, t->k,
         x, t->k, t->w, t->k, want_sum, t->n);
    gemm_packed(pools[1], scratch, t->type, true, rows, t->n, t->k, x, t->k, t->packed, old, t->n);
    assert_same_bits("packed sum", old, want_sum, count);
    mem_free(old);
    mem_free(want_sum);
}

/* The same element through gemm with other transposes and one row at a time. */
static void check_gemm_ways(const Ways *t)
{
    float *xt = new_floats((size_t)t->m * t->k), *wt = new_floats((size_t)t->n * t->k);
    for (uint32_t k = 0; k < t->k; k++) {
        for (uint32_t i = 0; i < t->m; i++)
            xt[(size_t)k * t->m + i] = t->x[(size_t)i * t->k + k];
        for (uint32_t j = 0; j < t->n; j++)
            wt[(size_t)k * t->n + j] = t->w[(size_t)j * t->k + k];
    }
    gemm(pools[1], scratch, (GemmFlags){0}, t->m, t->n, t->k, t->x, t->k, wt, t->n, t->c, t->n);
    assert_same_bits("plain", t->c, t->want, (size_t)t->m * t->n);
    gemm(pools[2], scratch, (GemmFlags){.transpose_a = true}, t->m, t->n, t->k, xt, t->m, wt, t->n,
         t->c, t->n);
    assert_same_bits("transposed a", t->c, t->want, (size_t)t->m * t->n);
    for (uint32_t i = 0; i < t->m; i += 7) {
        gemm(pools[i % POOLS], scratch, (GemmFlags){.transpose_b = true}, 1, t->n, t->k,
             t->x + (size_t)i * t->k, t->k, t->w, t->k, t->c, t->n);
        assert_same_bits("one row", t->c, t->want + (size_t)i * t->n, t->n);
    }
    for (uint32_t j = 0; j < t->n; j += 11) { /* one column */
        gemm(pools[0], scratch, (GemmFlags){.transpose_b = true}, t->m, 1, t->k, t->x, t->k,
             t->w + (size_t)j * t->k, t->k, t->c, 1);
        for (uint32_t i = 0; i < t->m; i++)
            assert_same_bits("one column", t->c + i, t->want + (size_t)i * t->n + j, 1);
    }
    mem_free(xt);
    mem_free(wt);
}

static void *new_packed(GemmType type, uint32_t n, uint32_t k)
{
    size_t bytes = gemm_packed_bytes(type, n, k);
    uint8_t *packed = mem_alloc_aligned(bytes + GUARD, 64);
    assert_non_null(packed);
    memset(packed, 0xff, bytes);
    memset(packed + bytes, 0x5a, GUARD);
    return packed;
}

static void check_guard(const void *packed, GemmType type, uint32_t n, uint32_t k)
{
    const uint8_t *guard = (const uint8_t *)packed + gemm_packed_bytes(type, n, k);
    for (uint32_t i = 0; i < GUARD; i++)
        assert_int_equal(guard[i], 0x5a);
}

static void check_ways(uint32_t m, uint32_t n, uint32_t k)
{
    Ways t = {.m = m, .n = n, .k = k};
    t.x = random_floats((size_t)m * k, "x");
    t.w = new_floats((size_t)n * k);
    t.want = new_floats((size_t)m * n);
    t.c = new_floats((size_t)m * n + 1);
    uint8_t *q8 = mem_alloc((size_t)n * k / 32, 34);
    assert_non_null(q8);
    make_q8(q8, t.w, n, k);
    gemm(pools[0], scratch, (GemmFlags){.transpose_b = true}, m, n, k, t.x, k, t.w, k, t.want, n);
    check_gemm_ways(&t);
    /* The AMX sets leave Q8_0 to "avx512": their f32 product is another. */
    uint32_t last = is_amx(gemm_isa_name()) ? GEMM_F32 : GEMM_Q8_0;
    for (uint32_t type = GEMM_F32; type <= last; type++) {
        void *packed = new_packed((GemmType)type, n, k);
        t.type = (GemmType)type;
        t.packed = packed;
        if (type == GEMM_F32)
            gemm_pack_f32(packed, t.w, n, k);
        else
            gemm_pack_q8_0(packed, q8, n, k);
        check_guard(packed, t.type, n, k);
        for (uint32_t rows = 1; rows <= m; rows += rows < 20 ? 1 : 61)
            check_packed_rows(&t, (m - rows) / 2, rows);
        check_packed_rows(&t, 0, m);
        mem_free(packed);
    }
    mem_free(t.x);
    mem_free(t.w);
    mem_free(t.want);
    mem_free(t.c);
    mem_free(q8);
}

static void bits_do_not_depend_on_the_way(void **state)
{
    (void)state;
    const char *isa;
    for (uint32_t row = 0; (isa = gemm_isa_at(row)); row++) {
        use(isa);
        check_ways(205, 129, 96);
        check_ways(33, 290, 1056);
        check_ways(4, 31, 32);
        check_ways(3, 96, 544);
    }
}

static bool is_fused(const char *isa)
{
    return !is_amx(isa) && strcmp(isa, "portable") != 0;
}

/* avx512, avx2 and neon fuse alike: one machine's model answers as another's. */
static void fused_sets_agree(void **state)
{
    (void)state;
    Case t = {.m = 61, .n = 75, .k = 1300, .flags = {.transpose_b = true}};
    Matrix a = random_matrix(t.m, t.k, t.k, "a"), b = random_matrix(t.n, t.k, t.k, "b");
    Matrix first = {0};
    const char *isa;
    for (uint32_t row = 0; (isa = gemm_isa_at(row)); row++) {
        if (!is_fused(isa))
            continue;
        use(isa);
        Matrix c = run_case(&t, &a, &b, pools[0]);
        if (first.data)
            assert_same_bits("fused sets", c.data, first.data, (size_t)t.m * t.n);
        mem_free(first.data);
        first = c;
    }
    mem_free(first.data);
    mem_free(a.data);
    mem_free(b.data);
}

/* The order that gemm.h states, spelled out with fmaf. */
static void order_is_as_documented(void **state)
{
    (void)state;
    enum { K = 1100, BLOCK = 384 }; /* three blocks of at most 512: 367 rounded up to 384 */
    uint32_t row = 0;
    while (gemm_isa_at(row) && !is_fused(gemm_isa_at(row)))
        row++;
    if (!gemm_isa_at(row))
        skip();
    use(gemm_isa_at(row));
    float *x = random_floats(K, "x"), *w = random_floats(K, "w"), c = 0.25f, want = 0.25f;
    for (uint32_t k = 0; k < K; k += BLOCK) {
        float chain = 0;
        for (uint32_t i = k; i < k + BLOCK && i < K; i++)
            chain = fmaf(x[i], w[i], chain);
        want += chain;
    }
    gemm(pools[0], scratch, (GemmFlags){.accumulate = true}, 1, 1, K, x, K, w, 1, &c, 1);
    assert_same_bits("order", &c, &want, 1);
    mem_free(x);
    mem_free(w);
}

static float rounded_to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* What gemm_amx.c states, spelled out for a single product: products of parts in their order (they
 * are exact in f32), and Q8_0 weights are the affair of "avx512". */
static void check_split(uint32_t parts, const uint8_t (*order)[2], uint32_t products)
{
    RngKey key = rng_key(9, "split");
    for (uint32_t i = 0; i < 1000; i++) {
        float x = (float)(2 * rng_uniform(key, 2 * i) - 1), c, want = 0;
        float w = (float)(2 * rng_uniform(key, 2 * i + 1) - 1), xs[3], ws[3], xr = x, wr = w;
        for (uint32_t p = 0; p < parts; p++) {
            xs[p] = rounded_to_bf16(xr);
            ws[p] = rounded_to_bf16(wr);
            xr -= xs[p];
            wr -= ws[p];
        }
        for (uint32_t p = 0; p < products; p++)
            want = fmaf(xs[order[p][0]], ws[order[p][1]], want);
        gemm(pools[0], scratch, (GemmFlags){0}, 1, 1, 1, &x, 1, &w, 1, &c, 1);
        assert_same_bits("split", &c, &want, 1);
    }
}

static void amx_splits_as_documented(void **state)
{
    (void)state;
    static const uint8_t six[][2] = {{0, 2}, {0, 1}, {1, 1}, {1, 0}, {2, 0}, {0, 0}};
    static const uint8_t three[][2] = {{0, 1}, {0, 0}, {1, 0}};
    if (!gemm_isa_use("amx"))
        skip();
    check_split(3, six, 6);
    use("amx_high");
    check_split(2, three, 3);
}

static void amx_leaves_q8_alone(void **state)
{
    (void)state;
    enum { M = 19, N = 70, K = 96 };
    static const char *const sets[] = {"amx", "amx_high", "avx512"};
    if (!gemm_isa_use("amx"))
        skip();
    uint8_t q8[N * K / 32 * 34];
    float *w = new_floats(N * K), *x = random_floats(M * K, "x"), c[3][M * N];
    make_q8(q8, w, N, K);
    for (uint32_t i = 0; i < 3; i++) {
        use(sets[i]);
        void *packed = new_packed(GEMM_Q8_0, N, K);
        gemm_pack_q8_0(packed, q8, N, K);
        gemm_packed(pools[1], scratch, GEMM_Q8_0, false, M, N, K, x, K, packed, c[i], N);
        mem_free(packed);
        assert_same_bits("q8", c[i], c[0], M * N);
    }
    mem_free(w);
    mem_free(x);
}

static void a_product_allocates_nothing(void **state)
{
    (void)state;
    use(gemm_isa_at(0));
    float x[64] = {1}, c[4];
    uint64_t before = mem_count();
    gemm(pools[2], scratch, (GemmFlags){0}, 2, 2, 32, x, 32, x, 2, c, 2);
    assert_int_equal(mem_count(), before);
    assert_false(gemm_isa_use("no such set"));
    assert_null(gemm_isa_at(100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_double_on_odd_shapes),
        cmocka_unit_test(agrees_with_double_on_large_shapes),
        cmocka_unit_test(bits_do_not_depend_on_the_way),
        cmocka_unit_test(fused_sets_agree),
        cmocka_unit_test(order_is_as_documented),
        cmocka_unit_test(amx_splits_as_documented),
        cmocka_unit_test(amx_leaves_q8_alone),
        cmocka_unit_test(a_product_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
