/* mainjob_text.c: how well the model predicts held-out text, in bits per byte, beside the simplest
 * model of bytes. */
#include "forge/mainjob_state.h"

#include "base/hash.h"
#include "train/run.h"

#include <math.h>
#include <string.h>

/* Bytes of a split's texts as pretraining sees them (without the end marker). */
static uint64_t count_bytes(const Dataset *dataset, Split split, uint64_t histogram[256])
{
    uint64_t total = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        const Record *r = &dataset->records[i];
        if (r->split != split)
            continue;
        const char *parts[] = {r->text, *r->context ? "\n" : "", r->context};
        for (int p = 0; p < 3; p++) {
            for (const char *c = parts[p]; *c; c++, total++)
                histogram[(unsigned char)*c]++;
        }
    }
    return total;
}

/* Cross-entropy of the test bytes under frequencies of the training bytes, one added to each. */
static double unigram_bits(const uint64_t train[256], const uint64_t test[256], uint64_t total)
{
    double all = 256, bits = 0;
    for (int i = 0; i < 256; i++)
        all += (double)train[i];
    for (int i = 0; i < 256; i++)
        bits -= (double)test[i] * log2(((double)train[i] + 1) / all);
    return total ? bits / (double)total : 0;
}

static bool sum_losses(State *s, const SampleSet *samples, double *nats, Error *err)
{
    Trainer *trainer = NULL;
    Packer *packer = NULL;
    uint32_t t = s->job->size->row_tokens;
    PackOptions pack = {.row_tokens = t, .too_long = PACK_SPLIT, .seed = s->job->seed};
    TrainerOptions options = {.row_tokens = t, .threads = s->job->threads};
    auto_free int32_t *rows = mem_alloc(4 * (size_t)t, sizeof *rows);
    bool ok = rows ? trainer_new(&trainer, s->model, &options, err) &&
                         packing_new(&packer, samples, &pack, err)
                   : fail(err, ERR_MEMORY, "no memory for a row of %u tokens", t);
    *nats = 0;
    uint64_t count = ok ? packing_stats(packer).rows : 0;
    for (uint64_t i = 0; ok && i < count; i++) {
        PackRows out = {rows, rows + t, rows + 2 * (size_t)t, rows + 3 * (size_t)t};
        PackCounts counts;
        double sum;
        packing_next(packer, 1, &out, &counts);
        TrainBatch batch = {1, t, out.ids, out.positions, out.starts, out.targets, counts.trained};
        ok = trainer_loss(trainer, &batch, &sum, err);
        *nats += ok ? sum : 0;
    }
    packing_free(packer);
    trainer_free(trainer);
    return ok;
}

bool mainjob_measure_text(State *s, Error *err)
{
    uint64_t train[256] = {0}, test[256] = {0};
    SampleSet samples = {0};
    double nats = 0;
    bool ok = lessons_pretrain(&samples, s->job->dataset, SPLIT_TEST, s->model->tokenizer, s->chat,
                               s->pool, err) &&
              sum_losses(s, &samples, &nats, err);
    sample_set_done(&samples);
    if (!ok)
        return false;
    count_bytes(s->job->dataset, SPLIT_TRAIN, train);
    s->test_bytes = count_bytes(s->job->dataset, SPLIT_TEST, test);
    s->unigram_bits = unigram_bits(train, test, s->test_bytes);
    s->bits_per_byte = s->test_bytes ? nats / log(2) / (double)s->test_bytes : 0;
    return true;
}
