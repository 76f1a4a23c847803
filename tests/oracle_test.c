/* The trainer against a Llama block written out by hand (oracle_llama.h): loss and every gradient,
 * for grouped heads, tied and untied, packed documents with untrained tokens, sliding windows. And
 * the oracle against finite differences of itself. */
#include "oracle_llama.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "train/trainer.h"

#include <math.h>

enum { T = 21, VOCAB = 19 };

#define SHAPE(h, k, e, w, t)                                                                       \
    {.layers = 2, .width = 12, .heads = h, .kv_heads = k, .head_width = e, .ff_width = 20,         \
     .vocab = VOCAB, .window = w, .context = 64, .eps = 1e-5f, .theta = 10000, .tied = t}
static const ModelConfig configs[] = {SHAPE(3, 3, 4, 0, true), SHAPE(4, 2, 4, 0, false),
                                      SHAPE(6, 1, 2, 0, true), SHAPE(4, 2, 6, 5, false),
                                      SHAPE(2, 1, 6, 3, true)};
enum { CONFIGS = sizeof configs / sizeof *configs };

typedef struct {
    int32_t ids[T], pos[T], start[T], target[T];
    uint64_t targets;
} Row;

/* Three documents of 9, 1 and 8 tokens, a tail of 3, every third token untrained. */
static void fill_row(Row *r, uint64_t seed)
{
    static const uint32_t starts[] = {0, 9, 10, 18, 19, 20};
    RngKey key = rng_key(seed, "oracle");
    r->targets = 0;
    for (uint32_t i = 0, document = 0; i < T; i++) {
        while (document < 5 && i >= starts[document + 1])
            document++;
        r->ids[i] = i < 18 ? (int32_t)rng_below(key, i, VOCAB) : 0;
        r->start[i] = (int32_t)starts[document];
        r->pos[i] = (int32_t)(i - starts[document]);
        r->target[i] = i < 18 && i % 3 != 1 ? (int32_t)rng_below(key, 100 + i, VOCAB) : -1;
        r->targets += r->target[i] >= 0;
    }
}

static OracleRow oracle_row(const Row *r)
{
    return (OracleRow){T, r->ids, r->pos, r->start, r->target};
}

static uint64_t total_of(const ModelConfig *c)
{
    OraclePart part;
    uint64_t total = 0;
    for (uint32_t i = 0; oracle_part(c, i, &part); i++)
        total += part.count;
    return total;
}

/* Weights of a size at which nothing is nearly linear. */
static double weight(uint64_t i)
{
    return 0.4 * rng_normal(rng_key(11, "weights"), i);
}

static void test_trainer_equals_oracle(void **state)
{
    (void)state;
    for (int n = 0; n < CONFIGS; n++) {
        Error err;
        Model *model;
        Trainer *trainer;
        Row row;
        OraclePart part;
        double sum;
        const ModelConfig *c = &configs[n];
        TrainerOptions o = {.row_tokens = T, .threads = 1};
        auto_free double *w = mem_alloc(total_of(c), sizeof *w);
        auto_free double *g = mem_alloc(total_of(c), sizeof *g);
        fill_row(&row, (uint64_t)n);
        const Family *family = family_named(c->window ? "mistral" : "llama");
        assert_ok(model_new(&model, family, c, NULL, NULL, "test", 1, &err));
        assert_int_equal(model_parameters(model), total_of(c));
        for (uint32_t i = 0; oracle_part(c, i, &part); i++) {
            const ParamInfo *p = weights_find(&model->weights, part.name);
            assert_non_null(p);
            assert_int_equal(shape_count(p->shape), part.count);
            for (uint64_t k = 0; k < part.count; k++) {
                float value = (float)weight(part.offset + k);
                model->weights.slab[p->offset + k] = value;
                w[part.offset + k] = (double)value;
            }
        }
        TrainBatch batch = {1, T, row.ids, row.pos, row.start, row.target, row.targets};
        OracleRow given = oracle_row(&row);
        assert_ok(trainer_new(&trainer, model, &o, &err));
        assert_ok(trainer_gradients(trainer, &batch, &sum, &err));
        assert_near(sum, oracle_llama(c, &given, w, g), 1e-4);
        for (uint32_t i = 0; oracle_part(c, i, &part); i++) {
            const float *got = trainer_gradient(trainer, part.name);
            for (uint64_t k = 0; k < part.count; k++) {
                double want = g[part.offset + k] / (double)row.targets;
                if (fabs((double)got[k] - want) > 1e-4 * fmax(1, fabs(want)))
                    fail_test("model %d, %s[%d]: %.8g, expected %.8g", n, part.name, (int)k,
                              (double)got[k], want);
            }
        }
        trainer_free(trainer);
        model_free(model);
    }
}

static void test_oracle_equals_differences(void **state)
{
    (void)state;
    for (int n = 0; n < CONFIGS; n++) {
        Row row;
        const ModelConfig *c = &configs[n];
        uint64_t total = total_of(c);
        auto_free double *w = mem_alloc(total, sizeof *w), *g = mem_alloc(total, sizeof *g);
        fill_row(&row, (uint64_t)n);
        OracleRow given = oracle_row(&row);
        for (uint64_t i = 0; i < total; i++)
            w[i] = weight(i);
        oracle_llama(c, &given, w, g);
        for (uint64_t i = 0; i < total; i += 7) {
            double step = 1e-5, kept = w[i];
            w[i] = kept + step;
            double above = oracle_llama(c, &given, w, NULL);
            w[i] = kept - step;
            double below = oracle_llama(c, &given, w, NULL);
            w[i] = kept;
            assert_near(g[i], (above - below) / (2 * step), 1e-6 * fmax(1, fabs(g[i])));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_equals_oracle),
        cmocka_unit_test(test_oracle_equals_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
