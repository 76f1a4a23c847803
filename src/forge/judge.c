/* judge.c: see judge.h. */
#include "forge/judge.h"

#include "base/clock.h"
#include "forge/lessons.h"

#include <string.h>

enum { SEQUENCES = 64, BATCH_TOKENS = 1024, GROUP = 256, ANSWER_TOKENS = 48 };

void judged_done(Judged *j)
{
    mem_free(j->record);
    mem_free(j->actual);
    mem_free(j->predicted);
    mem_free(j->probability);
    *j = (Judged){0};
}

static bool allocate(Judged *j, const Dataset *dataset, Split split, Error *err)
{
    for (size_t i = 0; i < dataset->count; i++)
        j->count += dataset->records[i].split == split && dataset->records[i].label != NULL;
    j->record = mem_alloc(j->count, sizeof *j->record);
    j->actual = mem_alloc(j->count, sizeof *j->actual);
    j->predicted = mem_alloc(j->count, sizeof *j->predicted);
    j->probability = mem_alloc(j->count, dataset->label_count * sizeof *j->probability);
    if (!j->record || !j->actual || !j->predicted || !j->probability)
        return fail(err, ERR_MEMORY, "no memory for %zu answers", j->count);
    if (j->count == 0)
        return fail(err, ERR_INPUT, "the %s split of '%s' has no labelled record",
                    split_names[split], dataset->name);
    for (size_t i = 0, n = 0; i < dataset->count; i++) {
        const Record *record = &dataset->records[i];
        if (record->split != split || !record->label)
            continue;
        j->record[n] = i;
        j->actual[n++] = dataset_label_index(dataset, record->label);
    }
    return true;
}

/* Records [first, first + count) of the judged ones. */
static bool ask_group(Judged *j, const Dataset *dataset, Engine *engine, const ChoiceSet *set,
                      size_t first, uint32_t count, double *probability, Error *err)
{
    uint32_t lengths[GROUP], labels = dataset->label_count;
    uint32_t context = engine_info(engine).context, answer = choices_tokens_max(set);
    uint32_t limit = context > answer ? context - answer : 0;
    auto_tokens Tokens ids;
    tokens_init(&ids, (size_t)1 << 24);
    for (uint32_t i = 0; i < count; i++) {
        size_t before = ids.count;
        if (!lessons_question(&dataset->records[j->record[first + i]], engine_tokenizer(engine),
                              engine_template(engine), limit, &ids, err))
            return false;
        lengths[i] = (uint32_t)(ids.count - before);
    }
    if (!engine_choose(engine, set, ids.ids, lengths, count, probability, err))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t best = 0;
        for (uint32_t c = 0; c < labels; c++) {
            double p = probability[(size_t)i * labels + c];
            j->probability[(first + i) * labels + c] = (float)p;
            best = p > probability[(size_t)i * labels + best] ? c : best;
        }
        j->predicted[first + i] = best;
    }
    return true;
}

static bool ask_all(Judged *j, const Dataset *dataset, Engine *engine, Error *err)
{
    ChoiceSet *set;
    auto_free double *probability = mem_alloc(GROUP, dataset->label_count * sizeof *probability);
    if (!probability)
        return fail(err, ERR_MEMORY, "no memory for %u probabilities", dataset->label_count);
    if (!choices_new(&set, engine, dataset->labels, dataset->label_count, err))
        return false;
    bool ok = true;
    for (size_t done = 0; ok && done < j->count; done += GROUP) {
        uint32_t count = j->count - done < GROUP ? (uint32_t)(j->count - done) : GROUP;
        ok = ask_group(j, dataset, engine, set, done, count, probability, err);
    }
    choices_free(set);
    return ok;
}

bool judge_labels(Judged *out, const Dataset *dataset, Split split, const char *model_folder,
                  const char *weights, uint32_t threads, Error *err)
{
    Judged judged = {0};
    Engine *engine;
    EngineOptions options = {.model = model_folder, .threads = threads, .weights = weights,
                             .sequences_max = SEQUENCES, .batch_tokens = BATCH_TOKENS};
    double begin = clock_seconds();
    if (!engine_open(&engine, &options, (EngineEvents){0}, err))
        return false;
    bool ok = allocate(&judged, dataset, split, err) && ask_all(&judged, dataset, engine, err);
    engine_close(engine);
    if (!ok) {
        judged_done(&judged);
        return false;
    }
    judged.seconds = clock_seconds() - begin;
    *out = judged;
    return true;
}

/* ---- free answers ---- */

static void on_token(void *user, int32_t id, const char *text, size_t size, float logprob,
                     const EngineAlternative *alternatives, uint32_t count)
{
    (void)id;
    (void)logprob;
    (void)alternatives;
    (void)count;
    buf_add(user, text, size);
}

static void on_end(void *user, EngineEnd end, const char *text, size_t size, uint32_t prompt_tokens,
                   uint32_t answer_tokens)
{
    (void)end;
    (void)prompt_tokens;
    (void)answer_tokens;
    buf_add(user, text, size);
}

/* out->prompt stays NULL when the message leaves no room for an answer. */
static bool answer_one(JudgedAnswer *out, Arena *arena, const Record *record, Engine *engine,
                       Error *err)
{
    auto_buf Buf text;
    auto_tokens Tokens ids;
    buf_init(&text, 1 << 16);
    tokens_init(&ids, 1 << 16);
    const ChatMessage *ask = &record->messages[0], *reply = &record->messages[1];
    EngineRequest request = {.tokens_max = ANSWER_TOKENS, .user = &text};
    uint64_t handle;
    if (!chat_render(engine_template(engine), engine_tokenizer(engine), ask, 1, true, &ids, NULL,
                     err))
        return false;
    *out = (JudgedAnswer){0};
    if (ids.count + ANSWER_TOKENS > engine_info(engine).context)
        return true;
    request.prompt = ids.ids;
    request.prompt_count = (uint32_t)ids.count;
    if (!engine_submit(engine, &request, &handle, err))
        return false;
    while (engine_busy(engine)) {
        if (!engine_step(engine, err))
            return false;
    }
    *out = (JudgedAnswer){arena_copy_text(arena, ask->content, ask->size),
                          arena_copy_text(arena, text.data ? text.data : "", text.size),
                          arena_copy_text(arena, reply->content, reply->size)};
    return (out->prompt && out->output && out->reference) ||
           fail(err, ERR_MEMORY, "no memory for an answer");
}

bool judge_answers(JudgedAnswer *out, uint32_t *count, Arena *arena, const Dataset *dataset,
                   const char *model_folder, uint32_t threads, Error *err)
{
    Engine *engine;
    EngineOptions options = {.model = model_folder, .threads = threads, .sequences_max = 1};
    uint32_t found = 0;
    if (!engine_open(&engine, &options, (EngineEvents){on_token, on_end}, err))
        return false;
    bool ok = true;
    size_t stride = dataset->count / (*count * 20 + 1) + 1; /* spread over the whole dataset */
    for (size_t i = 0; ok && i < dataset->count && found < *count; i++) {
        const Record *record = &dataset->records[i];
        bool fit = record->split == SPLIT_TEST && record->message_count == 2 &&
                   record->messages[0].role == CHAT_USER && record->messages[0].size < 2000;
        if (!fit)
            continue;
        ok = answer_one(&out[found], arena, record, engine, err);
        if (out[found].prompt) {
            found++;
            i += stride;
        }
    }
    engine_close(engine);
    *count = found;
    return ok;
}
