/* mainjob_text.c: how well the model predicts held-out text, in bits per byte, beside counts of
 * bytes. */
#include "forge/mainjob_state.h"

#include "eval/ngram.h"

#include <math.h>
#include <string.h>

enum { NGRAM_CONTEXT = 4 };

/* Calls each for the text of every record of a split, as pretraining sees it (no end marker). */
static bool each_text(const Dataset *dataset, Split split, Ngram *ngram, uint64_t *bytes,
                      double bits[2], Error *err)
{
    auto_buf Buf text;
    buf_init(&text, (size_t)1 << 26);
    for (size_t i = 0; i < dataset->count; i++) {
        const Record *r = &dataset->records[i];
        if (r->split != split)
            continue;
        buf_reset(&text);
        buf_add_text(&text, r->text);
        buf_add_text(&text, *r->context ? "\n" : "");
        buf_add_text(&text, r->context);
        if (!buf_ok(&text, "a record's text", err))
            return false;
        *bytes += text.size;
        if (!bits && !ngram_train(ngram, text.data, text.size, err))
            return false;
        for (uint32_t k = 0; k < 2 && bits; k++)
            bits[k] += ngram_bits(ngram, k ? NGRAM_CONTEXT : 0, text.data, text.size);
    }
    return true;
}

static bool measure_baselines(State *s, Error *err)
{
    Ngram *ngram;
    uint64_t train_bytes = 0;
    double bits[2] = {0, 0};
    if (!ngram_new(&ngram, NGRAM_CONTEXT, err))
        return false;
    bool ok = each_text(s->job->dataset, SPLIT_TRAIN, ngram, &train_bytes, NULL, err) &&
              each_text(s->job->dataset, SPLIT_TEST, ngram, &s->test_bytes, bits, err);
    ngram_free(ngram);
    for (uint32_t k = 0; k < 2 && ok && s->test_bytes; k++)
        s->baseline_bits[k] = bits[k] / (double)s->test_bytes;
    return ok;
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
    SampleSet samples = {0};
    double nats = 0;
    bool ok = lessons_pretrain(&samples, s->job->dataset, SPLIT_TEST, s->model->tokenizer, s->chat,
                               s->pool, err) &&
              sum_losses(s, &samples, &nats, err) && measure_baselines(s, err);
    sample_set_done(&samples);
    if (ok && s->test_bytes)
        s->bits_per_byte = nats / log(2) / (double)s->test_bytes;
    return ok;
}
