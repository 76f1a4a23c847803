/* unigram_json.c: the model "Unigram" of tokenizer.json: vocab is a list of [piece, score]. */
#include "base/mem.h"
#include "format/json.h"
#include "text/tokenizer_formats.h"

enum { UNKNOWN_PENALTY = 10 }; /* below the lowest score: what it costs to have no piece */

bool unigram_open(const json_t *model, const char *name, Error *err)
{
    static const char *const keys[] = {"type", "unk_id", "vocab", "byte_fallback", NULL};
    const json_t *vocab = json_object_get(model, "vocab");
    size_t i;
    json_t *entry;
    if (!json_only_keys(model, keys, name, err))
        return fail_within(err, "model");
    if (!json_is_array(vocab) || !json_array_size(vocab))
        return fail(err, ERR_FORMAT, "%s: model.vocab: missing, or not a list", name);
    if (json_array_size(vocab) > TOKENIZER_VOCAB_MAX)
        return fail(err, ERR_LIMIT, "%s: model.vocab: %zu pieces, %d are the most", name,
                    json_array_size(vocab), TOKENIZER_VOCAB_MAX);
    json_array_foreach(vocab, i, entry)
        if (json_array_size(entry) != 2 || !json_is_string(json_array_get(entry, 0)) ||
            !json_is_number(json_array_get(entry, 1)))
            return fail(err, ERR_FORMAT, "%s: model.vocab: entry %zu is no [piece, score]", name, i);
    return true;
}

bool unigram_read(Tokenizer *t, const json_t *model, const char *name, Error *err)
{
    const json_t *vocab = json_object_get(model, "vocab");
    uint32_t unknown, count = (uint32_t)json_array_size(vocab);
    if (!json_need_u32(model, "unk_id", 0, count - 1, &unknown, name, err))
        return false;
    t->scores = mem_alloc(t->vocab, sizeof *t->scores);
    if (!t->scores)
        return fail(err, ERR_MEMORY, "no memory for a tokenizer");
    double lowest = 0;
    for (uint32_t i = 0; i < count; i++) {
        t->scores[i] = json_number_value(json_array_get(json_array_get(vocab, i), 1));
        if (!i || t->scores[i] < lowest)
            lowest = t->scores[i];
    }
    t->unknown = (int32_t)unknown;
    t->kinds[unknown] |= TOKEN_SPECIAL;
    t->unknown_score = lowest - UNKNOWN_PENALTY;
    t->fuse_unknown = true;
    return true;
}
