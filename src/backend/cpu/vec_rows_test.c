/* vec_rows_test.c: the kernels of vec.h other than attention, on every instruction set of this
 * machine, against double loops; bounds in each test are a few times the errors seen. */
#include "backend/cpu/vec_reference.h"

#include "base/mem.h"
#include "base/rng.h"

#include <float.h>
#include <math.h>

static Pool *pools[3]; /* of 1, 2 and 3 threads */

static const size_t sizes[] = {1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 100, 1000, 16384, 40001};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Runs body once per instruction set, size and thread count. */
typedef void (*Body)(Pool *pool, size_t n);
static void everywhere(Body body)
{
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t i = 0; i < SIZES; i++)
            body(pools[i % 3], sizes[i]);
}

static void body_arithmetic(Pool *pool, size_t n)
{
    auto_free float *a = floats_random(1, n, 3), *b = floats_random(2, n, 3);
    auto_free float *y = floats_poisoned(n), *copy = floats_copy(a, n);
    vec_add(pool, y, a, b, n);
    for (size_t i = 0; i < n; i++)
        assert_true(y[i] == a[i] + b[i]);
    vec_mul(pool, y, a, b, n);
    for (size_t i = 0; i < n; i++)
        assert_true(y[i] == a[i] * b[i]);
    vec_scale(pool, y, a, 0.3f, n);
    for (size_t i = 0; i < n; i++)
        assert_true(y[i] == a[i] * 0.3f);
    vec_add(pool, copy, copy, b, n);
    vec_mul(pool, copy, copy, b, n);
    vec_scale(pool, copy, copy, 2, n);
    for (size_t i = 0; i < n; i++)
        assert_true(copy[i] == (a[i] + b[i]) * b[i] * 2);
}

static void test_arithmetic(void **state)
{
    (void)state;
    everywhere(body_arithmetic);
}

static double silu(double g)
{
    return g / (1 + exp(-g));
}

static void body_swiglu(Pool *pool, size_t n)
{
    auto_free float *g = floats_random(3, n, 4), *u = floats_random(4, n, 2);
    auto_free float *dy = floats_random(5, n, 1), *y = floats_poisoned(n);
    auto_free float *dg = floats_poisoned(n), *du = floats_poisoned(n);
    auto_free double *want = doubles_of(NULL, n), *want_dg = doubles_of(NULL, n);
    auto_free double *want_du = doubles_of(NULL, n);
    for (size_t i = 0; i < n; i++) {
        const double step = 1e-5; /* the slope by finite differences of the plain formula */
        want[i] = silu(g[i]) * u[i];
        want_du[i] = dy[i] * silu(g[i]);
        want_dg[i] = (double)dy[i] * u[i] * (silu(g[i] + step) - silu(g[i] - step)) / (2 * step);
    }
    vec_swiglu(pool, y, g, u, n);
    check_close("swiglu", y, want, n, 4e-7);
    vec_swiglu_back(pool, dg, du, g, u, dy, n);
    check_close("dg", dg, want_dg, n, 1e-6);
    check_close("du", du, want_du, n, 4e-7);
    auto_free float *in_dy = floats_copy(dy, n), *in_g = floats_copy(g, n);
    vec_swiglu_back(pool, in_dy, du, g, u, in_dy, n);
    check_same("dg in dy", dg, in_dy, n);
    vec_swiglu_back(pool, in_g, du, in_g, u, dy, n);
    check_same("dg in g", dg, in_g, n);
    vec_swiglu(pool, g, g, u, n);
    check_same("y in g", y, g, n);
}

static void test_swiglu(void **state)
{
    (void)state;
    everywhere(body_swiglu);
    for (uint32_t isa = 0; isa_at(isa); isa++) {
        const float g[] = {-1e30f, -200, -88, 0, 88, 200, 1e30f}, u[] = {1, 1, 1, 1, 1, 1, 1};
        float y[7], dg[7], du[7];
        vec_swiglu(pools[0], y, g, u, 7);
        vec_swiglu_back(pools[0], dg, du, g, u, u, 7);
        for (int i = 0; i < 7; i++) {
            assert_near(y[i], g[i] > 0 ? g[i] : 0, 1e-30);
            assert_near(dg[i], g[i] > 0 ? 1 : i == 3 ? 0.5 : 0, 1e-30);
        }
    }
}

static void test_exp_accuracy(void **state)
{
    (void)state;
    /* exp is seen through softmax of two logits {0, x}: the second gradient is e^x / (1 + e^x). */
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (int i = -86000; i <= 0; i += 7) {
            float logits[2] = {0, (float)i / 1000}, x = logits[1];
            double loss, want = exp(x) / (1 + exp(x));
            int32_t target = 0;
            vec_xent_rows(pools[0], logits, 2, &target, &loss, true, 1, 1, 2);
            assert_near(logits[1], want, 3 * FLT_EPSILON / 2 * want);
        }
}

static void test_embed(void **state)
{
    (void)state;
    enum { T = 300, V = 40 };
    const uint32_t widths[] = {1, 5, 64, 130, 576};
    int32_t id[T];
    for (uint32_t t = 0; t < T; t++)
        id[t] = (int32_t)rng_below(rng_key(1, "id"), t, V);
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t n = 0; n < 5; n++) {
            uint32_t d = widths[n];
            auto_free float *table = floats_random(1, V * d, 1), *y = floats_poisoned(T * d);
            auto_free float *want = floats_copy(table, V * d);
            vec_embed(pools[n % 3], y, table, id, T, d);
            for (uint32_t t = 0; t < T; t++)
                check_same("row", y + t * d, table + (uint32_t)id[t] * d, d);
            for (uint32_t i = 0; i < T * d; i++)
                want[(uint32_t)id[i / d] * d + i % d] += y[i];
            vec_embed_back(pools[n % 3], table, y, id, T, d, V);
            check_same("table", table, want, V * d);
        }
}

/* y of one row in double. */
static void norm_row(double *y, const double *x, const float *w, double eps, uint32_t d)
{
    double sum = 0;
    for (uint32_t i = 0; i < d; i++)
        sum += x[i] * x[i];
    for (uint32_t i = 0; i < d; i++)
        y[i] = x[i] * w[i] / sqrt(sum / d + eps);
}

static void norm_case(uint32_t t, uint32_t d)
{
    const float eps = 1e-5f;
    size_t n = (size_t)t * d;
    auto_free float *x = floats_random(1, n, 2), *w = floats_random(2, d, 1);
    auto_free float *dy = floats_random(3, n, 1), *y = floats_poisoned(n), *dx = floats_poisoned(n);
    auto_free float *dw = floats_random(4, d, 1), *dw_first = floats_copy(dw, d);
    auto_free float *dx_first = NULL, *dw_kept = NULL;
    auto_free double *want = doubles_of(x, n), *want_dx = doubles_of(NULL, n);
    auto_free double *want_dw = doubles_of(dw, d), *xd = doubles_of(x, n);
    for (uint32_t row = 0; row < t; row++) {
        double sum = 0, along = 0;
        for (uint32_t i = 0; i < d; i++) {
            sum += xd[row * d + i] * xd[row * d + i];
            along += (double)dy[row * d + i] * w[i] * xd[row * d + i];
        }
        double r = 1 / sqrt(sum / d + eps);
        norm_row(want + row * d, xd + row * d, w, eps, d);
        for (uint32_t i = 0; i < d; i++) {
            want_dx[row * d + i] =
                r * w[i] * dy[row * d + i] - xd[row * d + i] * r * r * r / d * along;
            want_dw[i] += dy[row * d + i] * xd[row * d + i] * r;
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        auto_free void *scratch = bytes_poisoned(vec_rms_norm_back_scratch(t, d));
        memcpy(dw, dw_first, d * sizeof *dw);
        memcpy(dx, dy, n * sizeof *dx); /* in place over dy */
        vec_rms_norm(pools[i], y, x, w, eps, t, d);
        vec_rms_norm_back(pools[i], scratch, dx, dw, x, w, dx, eps, t, d);
        check_close("norm", y, want, n, 1e-6);
        check_close("dx", dx, want_dx, n, 2e-6);
        check_close("dw", dw, want_dw, d, 4e-6);
        if (i) {
            check_same("dx threads", dx, dx_first, n);
            check_same("dw threads", dw, dw_kept, d);
        } else {
            dx_first = floats_copy(dx, n);
            dw_kept = floats_copy(dw, d);
        }
    }
}

static void test_rms_norm(void **state)
{
    (void)state;
    const uint32_t shapes[][2] = {{1, 1},    {3, 5},     {31, 16},  {33, 63},
                                  {65, 100}, {100, 576}, {7, 2049}};
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            norm_case(shapes[i][0], shapes[i][1]);
}

/* The double formula for dx above, against differences. */
static void test_norm_formula(void **state)
{
    (void)state;
    enum { D = 7 };
    const double eps = 1e-5, step = 1e-5;
    auto_free float *xf = floats_random(8, D, 1), *w = floats_random(9, D, 1);
    auto_free float *dy = floats_random(10, D, 1);
    auto_free float *dx = floats_poisoned(D), *dw = floats_random(11, D, 0);
    auto_free double *x = doubles_of(xf, D);
    auto_free void *scratch = bytes_poisoned(vec_rms_norm_back_scratch(1, D));
    vec_rms_norm_back(pools[0], scratch, dx, dw, xf, w, dy, (float)eps, 1, D);
    for (uint32_t i = 0; i < D; i++) {
        double kept = x[i], y[D], sum[2] = {0, 0};
        for (uint32_t side = 0; side < 2; side++) {
            x[i] = kept + (side ? step : -step);
            norm_row(y, x, w, eps, D);
            for (uint32_t j = 0; j < D; j++)
                sum[side] += dy[j] * y[j];
        }
        x[i] = kept;
        assert_near(dx[i], (sum[1] - sum[0]) / (2 * step), 2e-6);
    }
}

static void test_rope(void **state)
{
    (void)state;
    enum { T = 70 };
    const uint32_t shapes[][2] = {{1, 2}, {3, 6}, {2, 32}, {9, 64}, {2, 80}, {4, 128}, {1, 1024}};
    const float thetas[] = {10000, 100000, 1000000};
    int32_t pos[T];
    for (uint32_t t = 0; t < T; t++)
        pos[t] = t < 35 ? (int32_t)t : (int32_t)rng_below(rng_key(1, "pos"), t, 1000000);
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            uint32_t heads = shapes[s][0], e = shapes[s][1];
            size_t n = (size_t)T * heads * e;
            auto_free float *x = floats_random(s, n, 1), *first = floats_copy(x, n);
            auto_free double *want = doubles_of(x, n), *back = doubles_of(x, n);
            float theta = thetas[s % 3];
            for (size_t row = 0; row < (size_t)T * heads; row++)
                for (uint32_t i = 0; i < e / 2; i++) {
                    double a = first[row * e + i], b = first[row * e + i + e / 2];
                    double angle = pos[row / heads] * pow(theta, -2.0 * i / e);
                    want[row * e + i] = a * cos(angle) - b * sin(angle);
                    want[row * e + i + e / 2] = b * cos(angle) + a * sin(angle);
                }
            vec_rope(pools[s % 3], x, pos, theta, false, T, heads, e);
            check_close("rope", x, want, n, 6e-7);
            vec_rope(pools[s % 3], x, pos, theta, true, T, heads, e);
            check_close("rope and back", x, back, n, 1.2e-6);
        }
}

static void test_xent(void **state)
{
    (void)state;
    enum { R = 5 };
    const uint32_t widths[] = {1, 2, 17, 130, 4096, 5000, 49152};
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t n = 0; n < sizeof widths / sizeof *widths; n++) {
            uint32_t v = widths[n], ld = v + 3;
            auto_free float *x = floats_random(n, R * ld, 4), *first = floats_copy(x, R * ld);
            auto_free double *want = doubles_of(x, R * ld);
            int32_t target[R];
            double loss[R], only[R];
            vec_xent_rows(pools[n % 3], x, ld, (int32_t[R]){0}, only, false, 1, R, v);
            check_same("no gradient", x, first, R * ld);
            for (uint32_t r = 0; r < R; r++)
                target[r] = (int32_t)rng_below(rng_key(n, "target"), r, v);
            vec_xent_rows(pools[(n + 1) % 3], x, ld, target, loss, true, 0.25f, R, v);
            for (uint32_t r = 0; r < R; r++) {
                double sum = 0;
                for (uint32_t i = 0; i < v; i++)
                    sum += exp(first[r * ld + i]);
                assert_near(loss[r], log(sum) - first[r * ld + (uint32_t)target[r]], 2e-6);
                assert_near(only[r], log(sum) - first[r * ld], 2e-6);
                for (uint32_t i = 0; i < v; i++)
                    want[r * ld + i] =
                        0.25 * (exp(first[r * ld + i]) / sum - (i == (uint32_t)target[r]));
            }
            check_close("gradient", x, want, R * ld, 1e-6);
        }
}

static void test_sum_squares(void **state)
{
    (void)state;
    const size_t counts[] = {0, 1, 100, 4095, 4096, 4097, 100003, 2048 * 4096 + 5};
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t n = 0; n < sizeof counts / sizeof *counts; n++) {
            auto_free float *x = floats_random(n, counts[n] < 99999 ? counts[n] : 99999, 1);
            auto_free float *all = floats_poisoned(counts[n]);
            double want = 0, got[3];
            for (size_t i = 0; i < counts[n]; i++) {
                all[i] = x[i % 99999];
                want += (double)all[i] * all[i];
            }
            for (uint32_t i = 0; i < 3; i++) {
                got[i] = vec_sum_squares(pools[i], all, counts[n]);
                assert_near(got[i], want, 1e-11 * want); /* `want` is one long chain */
                assert_true(got[i] == got[0]);
            }
        }
}

static void body_adamw(Pool *pool, size_t n)
{
    auto_free float *p = floats_random(1, n, 1), *g = floats_random(2, n, 1);
    auto_free float *m = floats_random(3, n, 0.1), *v = floats_random(4, n, 0.1);
    VecAdam options = {.rate = 0.01f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .decay = 0.1f,
                       .gradient_scale = 0.5f, .step = 1};
    for (size_t i = 0; i < n; i++)
        v[i] *= v[i];
    auto_free double *pd = doubles_of(p, n), *md = doubles_of(m, n), *vd = doubles_of(v, n);
    for (options.step = 1; options.step <= 3; options.step++) {
        options.clear = options.step == 3;
        double one = 1 - pow(options.beta1, (double)options.step);
        double two = 1 - pow(options.beta2, (double)options.step);
        for (size_t i = 0; i < n; i++) {
            double grad = (double)g[i] * options.gradient_scale;
            md[i] = options.beta1 * md[i] + (1 - (double)options.beta1) * grad;
            vd[i] = options.beta2 * vd[i] + (1 - (double)options.beta2) * grad * grad;
            pd[i] -= options.rate * (md[i] / one / (sqrt(vd[i] / two) + options.eps) +
                                     options.decay * pd[i]);
        }
        vec_adamw(pool, p, g, m, v, options, n);
        check_close("p", p, pd, n, 1e-6);
        check_close("m", m, md, n, 1e-6);
        check_close("v", v, vd, n, 1e-6);
    }
    for (size_t i = 0; i < n; i++)
        assert_true(g[i] == 0);
}

static void test_adamw(void **state)
{
    (void)state;
    everywhere(body_adamw);
}

/* An element's bits are the same wherever it stands in a run, however many threads there are. */
static void test_elements_stand_alone(void **state)
{
    (void)state;
    enum { N = 40001 };
    for (uint32_t isa = 0; isa_at(isa); isa++) {
        auto_free float *g = floats_random(3, N, 4), *u = floats_random(4, N, 2);
        auto_free float *y = floats_poisoned(N), *part = floats_poisoned(N);
        vec_swiglu(pools[0], y, g, u, N);
        for (size_t at = 0; at < 40; at++)
            for (size_t n = 1; n < N - at; n = n * 3 + 1) {
                vec_swiglu(pools[2], part, g + at, u + at, n);
                check_same("part", part, y + at, n);
            }
    }
}

static void test_isa_names(void **state)
{
    (void)state;
    assert_false(vec_isa_use("none"));
    assert_true(vec_isa_use("portable"));
    assert_string_equal(vec_isa_name(), "portable");
    const char *best = isa_at(0);
    assert_string_equal(vec_isa_name(), best);
}

static int pools_open(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        pools[i] = pool_of(i + 1);
    return 0;
}

static int pools_close(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        pool_free(pools[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic),     cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_exp_accuracy),   cmocka_unit_test(test_embed),
        cmocka_unit_test(test_rms_norm),       cmocka_unit_test(test_norm_formula),
        cmocka_unit_test(test_rope),           cmocka_unit_test(test_xent),
        cmocka_unit_test(test_sum_squares),    cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_elements_stand_alone), cmocka_unit_test(test_isa_names),
    };
    return cmocka_run_group_tests(tests, pools_open, pools_close);
}
