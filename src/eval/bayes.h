/* bayes.h: the baseline a model must beat: multinomial naive Bayes over words and pairs of words.
 *
 * A word is a run of at least two of [A-Za-z0-9] and characters beyond ASCII, A-Z made small; a
 * pair is two words that follow each other. Counts are those of scikit-learn's CountVectorizer
 * (ngram_range (1, 2)) with MultinomialNB: log P(c | d) = log prior(c) + sum over the features f of
 * d that were seen in training of log((n_cf + alpha) / (n_c + alpha V)). Features never seen are
 * passed over. A class without training records is never predicted.
 *
 * Memory: 14 bytes per (feature, class) seen, of which at most BAYES_ENTRIES_MAX are held; past
 * that the rarest are dropped until half are left, which a report must say (`dropped_below`).
 * Threads: read-only after training and bayes_set_alpha.
 */
#pragma once
#include "data/dataset.h"

enum { BAYES_ENTRIES_MAX = 1 << 26, BAYES_CLASSES_MAX = DATASET_LABELS_MAX };

typedef struct {
    const char *text, *context; /* read as one text; NULL is empty */
} BayesText;

typedef struct Bayes Bayes;

/* labels[count] in [0, classes). ERR_INPUT when count is 0 or holds no word at all. */
bool bayes_train(Bayes **out, const BayesText *texts, const uint32_t *labels, size_t count,
                 uint32_t classes, double alpha, Error *err) MUST_CHECK;
void bayes_free(Bayes *bayes); /* NULL is a no-op */
void bayes_set_alpha(Bayes *bayes, double alpha); /* > 0; the counts stay */
uint64_t bayes_features(const Bayes *bayes);
uint32_t bayes_dropped_below(const Bayes *bayes); /* 0: every count was kept */

/* scores[classes]: log P(c | text), normalised; -infinity for a class never seen. Returns the best
 * class, of equals the first. Allocates nothing. */
uint32_t bayes_scores(const Bayes *bayes, BayesText text, double *scores);

/* ---- a whole baseline ---- */

typedef enum { BAYES_TEXT, BAYES_ALL_FIELDS } BayesFields; /* text alone; text and context */

typedef struct {
    size_t count;            /* labelled records of the test split, in dataset order */
    uint32_t *predicted;     /* [count] label index */
    uint32_t *actual;        /* [count] label index */
    size_t *record;          /* [count] position in dataset->records */
    double alpha;            /* chosen on the validation split */
    double accuracy_valid;   /* with it */
    double accuracy;         /* on the test split */
    double accuracy_majority; /* always the commonest label of the training split */
    uint32_t majority;       /* that label */
    uint64_t features;
    uint32_t dropped_below;  /* (feature, class) pairs seen less often were dropped; 0: none */
    double seconds;
} BayesRun;

/* Trains on the train split, chooses alpha on valid, predicts test. ERR_INPUT when a split holds no
 * labelled record. */
bool bayes_baseline(const Dataset *dataset, BayesFields fields, BayesRun *out,
                    Error *err) MUST_CHECK;
void bayes_run_done(BayesRun *run);
