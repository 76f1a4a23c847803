/* gguf_vocab.c: see gguf_vocab.h. Texts are built in one buffer, then pointed into. */
#include "quant/gguf_vocab.h"

#include "base/mem.h"

enum { VOCAB_BYTES_MAX = 512 << 20 };

/* llama.cpp's kinds of tokens (enum llama_token_type) that are needed here. */
enum { KIND_NORMAL = 1, KIND_CONTROL = 3, KIND_ADDED = 4, KIND_UNUSED = 5 };

/* Texts one after the other in `bytes`; ends[i] is where text i ends. */
typedef struct {
    Buf bytes;
    size_t *ends;
    GgufText *texts;
    uint32_t count;
} TextList;

static bool list_new(TextList *list, uint32_t room, Error *err)
{
    *list = (TextList){0};
    buf_init(&list->bytes, VOCAB_BYTES_MAX);
    list->ends = mem_alloc(room, sizeof *list->ends);
    list->texts = mem_alloc(room, sizeof *list->texts);
    if (!list->ends || !list->texts)
        return fail(err, ERR_MEMORY, "no memory for %u texts of a tokenizer", room);
    return true;
}

static void list_done(TextList *list)
{
    buf_done(&list->bytes);
    mem_free(list->ends);
    mem_free(list->texts);
}

static void list_end_text(TextList *list)
{
    list->ends[list->count++] = list->bytes.size;
}

static bool list_write(TextList *list, GgufWriter *w, const char *key, Error *err)
{
    if (!buf_ok(&list->bytes, key, err))
        return false;
    for (uint32_t i = 0; i < list->count; i++) {
        size_t start = i ? list->ends[i - 1] : 0;
        list->texts[i] = (GgufText){list->bytes.data ? list->bytes.data + start : "",
                                    list->ends[i] - start};
    }
    gguf_add_texts(w, key, list->texts, list->count);
    return true;
}

static int32_t kind_of(const Tokenizer *t, int32_t id)
{
    size_t size;
    if (!tokenizer_bytes(t, id, &size))
        return KIND_UNUSED;
    if (tokenizer_is_special(t, id))
        return KIND_CONTROL;
    return tokenizer_is_added_text(t, id) ? KIND_ADDED : KIND_NORMAL;
}

/* One text and one kind for every id below the model's vocabulary. */
static bool add_tokens(GgufWriter *w, const Tokenizer *t, uint32_t vocab, Error *err)
{
    TextList list;
    auto_free int32_t *kinds = mem_alloc(vocab, sizeof *kinds);
    bool ok = list_new(&list, vocab, err) && kinds;
    for (uint32_t id = 0; ok && id < vocab; id++) {
        kinds[id] = kind_of(t, (int32_t)id);
        if (kinds[id] == KIND_UNUSED)
            buf_format(&list.bytes, "[PAD%u]", id);
        else
            tokenizer_spell(t, (int32_t)id, &list.bytes);
        list_end_text(&list);
    }
    if (!kinds)
        ok = fail(err, ERR_MEMORY, "no memory for %u kinds of tokens", vocab);
    ok = ok && list_write(&list, w, "tokenizer.ggml.tokens", err);
    if (ok)
        gguf_add_array(w, "tokenizer.ggml.token_type", GGUF_I32, kinds, vocab);
    list_done(&list);
    return ok;
}

static bool add_merges(GgufWriter *w, const Tokenizer *t, Error *err)
{
    TextList list;
    uint32_t count = tokenizer_merges(t);
    bool ok = list_new(&list, count, err);
    for (uint32_t rank = 0; ok && rank < count; rank++) {
        int32_t left, right;
        tokenizer_merge_at(t, rank, &left, &right);
        tokenizer_spell(t, left, &list.bytes);
        buf_add_char(&list.bytes, ' ');
        tokenizer_spell(t, right, &list.bytes);
        list_end_text(&list);
    }
    ok = ok && list_write(&list, w, "tokenizer.ggml.merges", err);
    list_done(&list);
    return ok;
}

/* llama.cpp takes ids 11 for the begin and end tokens when the file names none, so a model with an
 * end token names it for both; the first is never added to a text. */
static void add_chat(GgufWriter *w, const Model *model)
{
    int32_t end;
    gguf_add_bool(w, "tokenizer.ggml.add_bos_token", false);
    if (!model->chat)
        return;
    if (tokenizer_special(model->tokenizer, model->chat->end_marker, &end)) {
        gguf_add_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)end);
        gguf_add_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)end);
        gguf_add_u32(w, "tokenizer.ggml.padding_token_id", (uint32_t)end);
    }
    gguf_add_text(w, "tokenizer.chat_template", model->chat->jinja);
}

bool gguf_vocab_add(GgufWriter *w, const Model *model, Error *err)
{
    const Tokenizer *t = model->tokenizer;
    if (!t) {
        gguf_add_text(w, "tokenizer.ggml.model", "none");
        return true;
    }
    if (!tokenizer_is_plain_gpt2(t))
        return fail(err, ERR_INPUT, "the tokenizer of '%s' does not cut text as GPT-2's does: this "
                                    "export has no name for its rule",
                    model->name);
    gguf_add_text(w, "tokenizer.ggml.model", "gpt2");
    gguf_add_text(w, "tokenizer.ggml.pre", "gpt-2");
    if (!add_tokens(w, t, model->config.vocab, err) || !add_merges(w, t, err))
        return false;
    add_chat(w, model);
    return true;
}
