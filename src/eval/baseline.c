/* baseline.c: naive Bayes and the commonest label on a dataset's splits; see bayes.h. */
#include "eval/bayes.h"

#include "base/clock.h"

#include <assert.h>
#include <string.h>

/* From almost no smoothing to Laplace's. */
static const double alphas[] = {0.003, 0.01, 0.03, 0.1, 0.3, 1.0};

/* The labelled records of one split. */
typedef struct {
    BayesText *texts;
    uint32_t *labels;
    size_t *record;
    size_t count;
} Part;

static void part_done(Part *part)
{
    mem_free(part->texts);
    mem_free(part->labels);
    mem_free(part->record);
    *part = (Part){0};
}

static bool part_init(Part *part, const Dataset *dataset, Split split, BayesFields fields,
                      Error *err)
{
    size_t room = 0;
    *part = (Part){0};
    for (size_t i = 0; i < dataset->count; i++)
        room += dataset->records[i].split == split && dataset->records[i].label;
    if (!room)
        return fail(err, ERR_INPUT, "%s: no labelled record fell into the %s split: it needs more "
                    "records, or more groups", dataset->name, split_names[split]);
    part->texts = mem_alloc(room, sizeof *part->texts);
    part->labels = mem_alloc(room, sizeof *part->labels);
    part->record = mem_alloc(room, sizeof *part->record);
    if (!part->texts || !part->labels || !part->record) {
        part_done(part);
        return fail(err, ERR_MEMORY, "no memory for the baseline of %zu records", room);
    }
    for (size_t i = 0; i < dataset->count; i++) {
        const Record *record = &dataset->records[i];
        if (record->split != split || !record->label)
            continue;
        part->texts[part->count] = (BayesText){
            record->text, fields == BAYES_ALL_FIELDS ? record->context : NULL};
        part->labels[part->count] = dataset_label_index(dataset, record->label);
        part->record[part->count++] = i;
    }
    assert(part->count == room);
    return true;
}

/* Share of right answers; predicted may be NULL. scores: [classes] of scratch. */
static double measure(const Bayes *bayes, const Part *part, double *scores, uint32_t *predicted)
{
    size_t right = 0;
    for (size_t i = 0; i < part->count; i++) {
        uint32_t best = bayes_scores(bayes, part->texts[i], scores);
        right += best == part->labels[i];
        if (predicted)
            predicted[i] = best;
    }
    return (double)right / (double)part->count;
}

static void choose_alpha(Bayes *bayes, const Part *valid, double *scores, BayesRun *run)
{
    run->accuracy_valid = -1;
    for (size_t i = 0; i < sizeof alphas / sizeof *alphas; i++) {
        bayes_set_alpha(bayes, alphas[i]);
        double accuracy = measure(bayes, valid, scores, NULL);
        if (accuracy > run->accuracy_valid) {
            run->accuracy_valid = accuracy;
            run->alpha = alphas[i];
        }
    }
    bayes_set_alpha(bayes, run->alpha);
}

/* counts: [classes] of scratch, zeroed. */
static void measure_majority(const Part *train, const Part *test, uint32_t classes,
                             uint32_t *counts, BayesRun *run)
{
    size_t right = 0;
    for (size_t i = 0; i < train->count; i++)
        counts[train->labels[i]]++;
    for (uint32_t c = 0; c < classes; c++)
        run->majority = counts[c] > counts[run->majority] ? c : run->majority;
    for (size_t i = 0; i < test->count; i++)
        right += test->labels[i] == run->majority;
    run->accuracy_majority = (double)right / (double)test->count;
}

static bool run_parts(const Dataset *dataset, const Part parts[SPLIT_COUNT], BayesRun *run,
                      Error *err)
{
    uint32_t classes = dataset->label_count;
    const Part *test = &parts[SPLIT_TEST];
    Bayes *bayes = NULL;
    auto_free double *scores = mem_alloc(classes, sizeof *scores);
    auto_free uint32_t *counts = mem_alloc(classes, sizeof *counts);
    run->count = test->count;
    run->predicted = mem_alloc(test->count, sizeof *run->predicted);
    run->actual = mem_alloc(test->count, sizeof *run->actual);
    run->record = mem_alloc(test->count, sizeof *run->record);
    if (!scores || !counts || !run->predicted || !run->actual || !run->record)
        return fail(err, ERR_MEMORY, "no memory for the baseline of '%s'", dataset->name);
    const Part *train = &parts[SPLIT_TRAIN];
    if (!bayes_train(&bayes, train->texts, train->labels, train->count, classes, 1.0, err))
        return false;
    choose_alpha(bayes, &parts[SPLIT_VALID], scores, run);
    run->accuracy = measure(bayes, test, scores, run->predicted);
    measure_majority(train, test, classes, counts, run);
    memcpy(run->actual, test->labels, test->count * sizeof *run->actual);
    memcpy(run->record, test->record, test->count * sizeof *run->record);
    run->features = bayes_features(bayes);
    run->dropped_below = bayes_dropped_below(bayes);
    bayes_free(bayes);
    return true;
}

bool bayes_baseline(const Dataset *dataset, BayesFields fields, BayesRun *out, Error *err)
{
    double start = clock_seconds();
    Part parts[SPLIT_COUNT] = {0};
    BayesRun run = {0};
    bool ok = true;
    for (int s = 0; ok && s < SPLIT_COUNT; s++)
        ok = part_init(&parts[s], dataset, (Split)s, fields, err);
    ok = ok && run_parts(dataset, parts, &run, err);
    for (int s = 0; s < SPLIT_COUNT; s++)
        part_done(&parts[s]);
    if (!ok) {
        bayes_run_done(&run);
        return false;
    }
    run.seconds = clock_seconds() - start;
    *out = run;
    return true;
}

void bayes_run_done(BayesRun *run)
{
    mem_free(run->predicted);
    mem_free(run->actual);
    mem_free(run->record);
    *run = (BayesRun){0};
}
