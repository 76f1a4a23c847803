/* chat_config.c: tokenizer_config.json, by which others render our chat template. */
#include "format/json.h"
#include "text/chat_jinja.h"

#include <stdio.h>

/* The names under which Hugging Face knows special tokens, and ours, when the tokenizer has it. */
static const struct {
    const char *key, *token;
} roles[] = {
    {"bos_token", "<|begin|>"},
    {"pad_token", "<|pad|>"},
};

static json_t *make_added(const Tokenizer *tokenizer)
{
    json_t *all = json_object();
    bool good = all;
    for (int32_t id = 0; (uint32_t)id < tokenizer_vocab(tokenizer) && good; id++) {
        size_t size;
        const char *text = tokenizer_bytes(tokenizer, id, &size);
        if (!text || !tokenizer_is_special(tokenizer, id))
            continue;
        char key[12];
        snprintf(key, sizeof key, "%d", (int)id);
        json_t *token = json_pack("{s:s%,s:b,s:b,s:b,s:b,s:b}", "content", text, size, "lstrip", 0,
                                  "normalized", 0, "rstrip", 0, "single_word", 0, "special", 1);
        good = json_object_set_new(all, key, token) == 0;
    }
    if (good)
        return all;
    json_decref(all);
    return NULL;
}

/* The template's text, or the list of both that a folder may carry. */
static json_t *make_template(const ChatTemplate *t)
{
    if (!t->foreign || !t->foreign->tools_text)
        return json_string(t->jinja);
    return json_pack("[{s:s,s:s},{s:s,s:s}]", "name", "default", "template", t->jinja, "name",
                     "tool_use", "template", t->foreign->tools_text);
}

bool chat_write_config(const ChatTemplate *t, const Tokenizer *tokenizer, uint32_t length_max,
                       const char *path, Error *err)
{
    auto_json json_t *root = NULL;
    json_t *added = make_added(tokenizer);
    if (added)
        root = json_pack("{s:o,s:o,s:b,s:s,s:I,s:s}", "added_tokens_decoder", added,
                         "chat_template", make_template(t), "clean_up_tokenization_spaces", 0,
                         "eos_token", t->end_marker, "model_max_length", (json_int_t)length_max,
                         "tokenizer_class", "PreTrainedTokenizerFast");
    bool good = root;
    if (t->foreign && good) { /* it has its own names for them */
        if (!t->end_marker[0])
            json_object_del(root, "eos_token");
        good = json_object_update(root, t->foreign->tokens) == 0;
    }
    for (size_t i = 0; i < sizeof roles / sizeof roles[0] && good && !t->foreign; i++) {
        int32_t id;
        if (tokenizer_special(tokenizer, roles[i].token, &id))
            good = json_object_set_new(root, roles[i].key, json_string(roles[i].token)) == 0;
    }
    if (!good)
        return fail(err, ERR_MEMORY, "no memory to write %s", path);
    return json_write(root, path, err);
}
