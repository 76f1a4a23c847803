/* bayes.c: see bayes.h.
 *
 * Training collects (feature, class, count) entries, and sorts and merges them whenever the buffer
 * is full. A feature is a 64-bit hash of its words: among 2^26 of them the chance that any two
 * collide is 1 in 8,000, and a collision costs a count, not correctness. The result is one row of
 * (class, count) per feature, found by the top 16 bits of its hash and a binary search. */
#include "eval/bayes.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t feature;
    uint32_t count;
    uint32_t label;
} Entry;

typedef struct {
    Entry *entries;
    size_t count, room;
    uint32_t threshold; /* entries seen less often were dropped */
    bool failed;        /* no memory */
} Counter;

enum { BUCKETS = 1 << 16, COUNTER_ROOM_MIN = 1 << 16 };

struct Bayes {
    uint32_t classes, dropped_below;
    double alpha;
    size_t features, entries;
    uint64_t *feature;        /* [features] sorted */
    uint32_t *row;            /* [features + 1] where its entries begin */
    uint16_t *label;          /* [entries] */
    uint32_t *count;          /* [entries] */
    double *seen;             /* [classes] occurrences of all features; n_c */
    double *log_prior;        /* [classes]; -infinity: no record */
    double *log_total;        /* [classes] log(n_c + alpha V) */
    uint32_t bucket[BUCKETS + 1]; /* first feature with these top bits */
};

/* ---- words ---- */

/* Calls each(ctx, feature) for the words and pairs of a text. previous: hash of the word before, 0
 * when there is none; carried from text to context. */
typedef void (*EachFeature)(void *ctx, uint64_t feature);

static uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static bool is_word(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

static void each_feature(const char *text, uint64_t *previous, EachFeature each, void *ctx)
{
    const unsigned char *at = (const unsigned char *)(text ? text : "");
    while (*at) {
        uint64_t hash = 0xcbf29ce484222325u;
        size_t characters = 0;
        for (; is_word(*at); at++) {
            unsigned char c = *at >= 'A' && *at <= 'Z' ? *at + ('a' - 'A') : *at;
            characters += (c & 0xc0) != 0x80;
            hash = (hash ^ c) * 0x100000001b3u;
        }
        if (characters >= 2) {
            each(ctx, mix(hash));
            if (*previous)
                each(ctx, mix(*previous * 0x9e3779b97f4a7c15u + hash));
            *previous = hash;
        }
        at += *at != 0 && !is_word(*at);
    }
}

static void each_feature_of(BayesText text, EachFeature each, void *ctx)
{
    uint64_t previous = 0;
    each_feature(text.text, &previous, each, ctx);
    each_feature(text.context, &previous, each, ctx);
}

/* ---- counting ---- */

static int by_feature(const void *left, const void *right)
{
    const Entry *a = left, *b = right;
    if (a->feature != b->feature)
        return a->feature < b->feature ? -1 : 1;
    return (a->label > b->label) - (a->label < b->label);
}

static void merge(Counter *counter)
{
    if (!counter->count)
        return;
    qsort(counter->entries, counter->count, sizeof *counter->entries, by_feature);
    size_t kept = 0;
    for (size_t i = 1; i < counter->count; i++) {
        if (by_feature(&counter->entries[kept], &counter->entries[i]) == 0)
            counter->entries[kept].count += counter->entries[i].count;
        else
            counter->entries[++kept] = counter->entries[i];
    }
    counter->count = kept + 1;
}

/* Drops the rarest entries until at most half the maximum are left. */
static void prune(Counter *counter)
{
    while (counter->count > BAYES_ENTRIES_MAX / 2) {
        size_t kept = 0;
        counter->threshold = counter->threshold ? 2 * counter->threshold : 2;
        for (size_t i = 0; i < counter->count; i++) {
            if (counter->entries[i].count >= counter->threshold)
                counter->entries[kept++] = counter->entries[i];
        }
        counter->count = kept;
    }
}

static void make_room(Counter *counter)
{
    merge(counter);
    if (counter->count <= counter->room / 2 && counter->room)
        return;
    if (counter->room == BAYES_ENTRIES_MAX) {
        prune(counter);
        return;
    }
    size_t room = counter->room ? 2 * counter->room : COUNTER_ROOM_MIN;
    Entry *entries = mem_resize(counter->entries, room, sizeof *entries);
    counter->failed = !entries;
    if (entries) {
        counter->entries = entries;
        counter->room = room;
    }
}

typedef struct {
    Counter counter;
    uint32_t label;
} Counting;

static void count_feature(void *ctx, uint64_t feature)
{
    Counting *counting = ctx;
    Counter *counter = &counting->counter;
    if (counter->count == counter->room && !counter->failed)
        make_room(counter);
    if (!counter->failed)
        counter->entries[counter->count++] = (Entry){feature, 1, counting->label};
}

/* ---- the table ---- */

static bool allocate(Bayes *bayes, const Counter *counter)
{
    bayes->features = counter->count > 0;
    for (size_t i = 1; i < counter->count; i++)
        bayes->features += counter->entries[i].feature != counter->entries[i - 1].feature;
    bayes->entries = counter->count;
    bayes->feature = mem_alloc(bayes->features, sizeof *bayes->feature);
    bayes->row = mem_alloc(bayes->features + 1, sizeof *bayes->row);
    bayes->label = mem_alloc(bayes->entries, sizeof *bayes->label);
    bayes->count = mem_alloc(bayes->entries, sizeof *bayes->count);
    bayes->seen = mem_alloc(bayes->classes, sizeof *bayes->seen);
    bayes->log_prior = mem_alloc(bayes->classes, sizeof *bayes->log_prior);
    bayes->log_total = mem_alloc(bayes->classes, sizeof *bayes->log_total);
    return bayes->feature && bayes->row && bayes->label && bayes->count && bayes->seen &&
           bayes->log_prior && bayes->log_total;
}

static void fill(Bayes *bayes, const Counter *counter)
{
    size_t row = 0, bucket = 0;
    for (size_t i = 0; i < counter->count; i++) {
        Entry entry = counter->entries[i];
        if (i == 0 || entry.feature != counter->entries[i - 1].feature) {
            for (; bucket <= entry.feature >> 48; bucket++)
                bayes->bucket[bucket] = (uint32_t)row;
            bayes->feature[row] = entry.feature;
            bayes->row[row++] = (uint32_t)i;
        }
        bayes->label[i] = (uint16_t)entry.label;
        bayes->count[i] = entry.count;
        bayes->seen[entry.label] += entry.count;
    }
    assert(row == bayes->features);
    bayes->row[row] = (uint32_t)counter->count;
    for (; bucket <= BUCKETS; bucket++)
        bayes->bucket[bucket] = (uint32_t)row;
}

static void set_priors(Bayes *bayes, const uint32_t *labels, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bayes->log_prior[labels[i]] += 1;
    for (uint32_t c = 0; c < bayes->classes; c++)
        bayes->log_prior[c] = log(bayes->log_prior[c] / (double)count); /* log 0 is -infinity */
}

bool bayes_train(Bayes **out, const BayesText *texts, const uint32_t *labels, size_t count,
                 uint32_t classes, double alpha, Error *err)
{
    assert(classes > 0 && classes <= BAYES_CLASSES_MAX);
    Counting counting = {0};
    for (size_t i = 0; i < count && !counting.counter.failed; i++) {
        assert(labels[i] < classes);
        counting.label = labels[i];
        each_feature_of(texts[i], count_feature, &counting);
    }
    merge(&counting.counter);
    Bayes *bayes = mem_alloc(1, sizeof *bayes);
    bool ok = bayes && !counting.counter.failed;
    if (ok) {
        bayes->classes = classes;
        bayes->dropped_below = counting.counter.threshold;
        ok = allocate(bayes, &counting.counter);
    }
    if (!ok) {
        fail(err, ERR_MEMORY, "no memory to train naive Bayes on %zu records", count);
    } else if (bayes->features == 0) {
        ok = fail(err, ERR_INPUT, "naive Bayes: there is no word in the %zu training records",
                  count);
    } else {
        fill(bayes, &counting.counter);
        set_priors(bayes, labels, count);
        bayes_set_alpha(bayes, alpha);
        *out = bayes;
    }
    if (!ok)
        bayes_free(bayes);
    mem_free(counting.counter.entries);
    return ok;
}

void bayes_free(Bayes *bayes)
{
    if (!bayes)
        return;
    mem_free(bayes->feature);
    mem_free(bayes->row);
    mem_free(bayes->label);
    mem_free(bayes->count);
    mem_free(bayes->seen);
    mem_free(bayes->log_prior);
    mem_free(bayes->log_total);
    mem_free(bayes);
}

void bayes_set_alpha(Bayes *bayes, double alpha)
{
    assert(alpha > 0);
    bayes->alpha = alpha;
    for (uint32_t c = 0; c < bayes->classes; c++)
        bayes->log_total[c] = log(bayes->seen[c] + alpha * (double)bayes->features);
}

uint64_t bayes_features(const Bayes *bayes)
{
    return bayes->features;
}

uint32_t bayes_dropped_below(const Bayes *bayes)
{
    return bayes->dropped_below;
}

/* ---- scores ---- */

typedef struct {
    const Bayes *bayes;
    double *scores;
    double known; /* occurrences of features seen in training */
} Scoring;

/* Adds only what a class gained over a count of zero; what is common to all comes once at the end:
 * a feature is seen in few of the classes. */
static void score_feature(void *ctx, uint64_t feature)
{
    Scoring *scoring = ctx;
    const Bayes *bayes = scoring->bayes;
    size_t low = bayes->bucket[feature >> 48], high = bayes->bucket[(feature >> 48) + 1];
    size_t end = high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bayes->feature[middle] < feature)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == end || bayes->feature[low] != feature)
        return;
    scoring->known += 1;
    for (size_t i = bayes->row[low]; i < bayes->row[low + 1]; i++)
        scoring->scores[bayes->label[i]] += log1p(bayes->count[i] / bayes->alpha);
}

uint32_t bayes_scores(const Bayes *bayes, BayesText text, double *scores)
{
    Scoring scoring = {.bayes = bayes, .scores = scores};
    memset(scores, 0, bayes->classes * sizeof *scores);
    each_feature_of(text, score_feature, &scoring);
    double log_alpha = log(bayes->alpha);
    uint32_t best = 0;
    for (uint32_t c = 0; c < bayes->classes; c++) {
        scores[c] += bayes->log_prior[c] + scoring.known * (log_alpha - bayes->log_total[c]);
        best = scores[c] > scores[best] ? c : best;
    }
    double top = scores[best], sum = 0;
    for (uint32_t c = 0; c < bayes->classes; c++)
        sum += exp(scores[c] - top);
    for (uint32_t c = 0; c < bayes->classes; c++)
        scores[c] -= top + log(sum);
    return best;
}
