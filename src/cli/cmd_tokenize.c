/* cmd_tokenize.c: text to token ids and back, with any tokenizer there is a reader for. */
#include "cli/command.h"

#include "format/json.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <string.h>

enum { INPUT_BYTES_MAX = 256 << 20, IDS_MAX = 64 << 20 };

typedef struct {
    const char *model;
    bool special, decode, json;
} Tokenize;

static bool read_input(Buf *out, Error *err)
{
    char step[1 << 16];
    for (size_t got; (got = fread(step, 1, sizeof step, stdin)) > 0;)
        buf_add(out, step, got);
    if (ferror(stdin))
        return fail(err, ERR_IO, "standard input cannot be read");
    return buf_ok(out, "standard input", err);
}

/* ---- text to ids ---- */

static void add_ids(Tokens *out, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tokens_add(out, ids[i]);
}

static bool print_ids(const Tokens *ids, bool json, Error *err)
{
    auto_buf Buf line;
    buf_init(&line, (size_t)IDS_MAX * 12);
    buf_add_text(&line, json ? "{\"ids\": [" : "");
    for (size_t i = 0; i < ids->count; i++)
        buf_format(&line, "%s%d", !i ? "" : json ? ", " : " ", (int)ids->ids[i]);
    buf_add_text(&line, json ? "]}\n" : "\n");
    if (!buf_ok(&line, "the list of ids", err))
        return false;
    if (fwrite(line.data, 1, line.size, stdout) != line.size)
        return fail(err, ERR_IO, "the ids cannot be written");
    return true;
}

static bool encode(const Tokenize *options, const Tokenizer *tokenizer, const Buf *text, Error *err)
{
    const int32_t *before, *after;
    size_t before_count, after_count;
    auto_tokens Tokens ids;
    tokens_init(&ids, IDS_MAX);
    tokenizer_frame(tokenizer, &before, &before_count, &after, &after_count);
    if (options->special)
        add_ids(&ids, before, before_count);
    if (!tokenizer_encode(tokenizer, text->data ? text->data : "", text->size, &ids, err))
        return false;
    if (options->special)
        add_ids(&ids, after, after_count);
    if (ids.failed)
        return fail(err, ERR_LIMIT, "the text has more than %d tokens", IDS_MAX);
    return print_ids(&ids, options->json, err);
}

/* ---- ids to text ---- */

static bool ids_of_json(const Buf *text, Tokens *ids, Error *err)
{
    auto_json json_t *root = NULL;
    size_t i;
    json_t *value;
    if (!json_parse(&root, text->data, text->size, "standard input", err))
        return false;
    const json_t *list = json_is_object(root) ? json_object_get(root, "ids") : root;
    if (!json_is_array(list))
        return fail(err, ERR_INPUT, "standard input: neither a list of ids nor {\"ids\": [...]}");
    json_array_foreach(list, i, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id > INT32_MAX)
            return fail(err, ERR_INPUT, "standard input: entry %zu is no token id", i);
        tokens_add(ids, (int32_t)id);
    }
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == ',' || (c >= '\t' && c <= '\r');
}

static bool ids_of_words(const Buf *text, Tokens *ids, Error *err)
{
    for (size_t at = 0; at < text->size;) {
        int64_t id = 0;
        size_t start = at;
        while (at < text->size && text->data[at] >= '0' && text->data[at] <= '9' && id <= INT32_MAX)
            id = id * 10 + (text->data[at++] - '0');
        if (at < text->size && (!is_blank(text->data[at]) || id > INT32_MAX))
            return fail(err, ERR_INPUT, "standard input: byte %zu is not part of a token id", at);
        if (at > start && id <= INT32_MAX)
            tokens_add(ids, (int32_t)id);
        else if (at > start)
            return fail(err, ERR_INPUT, "standard input: the id at byte %zu is too large", start);
        at += at < text->size;
    }
    return true;
}

static bool decode(const Tokenize *options, const Tokenizer *tokenizer, const Buf *text, Error *err)
{
    auto_tokens Tokens ids;
    auto_buf Buf out;
    size_t at = 0;
    tokens_init(&ids, IDS_MAX);
    buf_init(&out, (size_t)INPUT_BYTES_MAX * 4);
    while (at < text->size && is_blank(text->data[at]))
        at++;
    bool json = at < text->size && (text->data[at] == '{' || text->data[at] == '[');
    if (!(json ? ids_of_json(text, &ids, err) : ids_of_words(text, &ids, err)))
        return false;
    if (ids.failed)
        return fail(err, ERR_LIMIT, "standard input: more than %d ids", IDS_MAX);
    if (!tokenizer_decode(tokenizer, ids.ids, ids.count, options->special, &out, err))
        return false;
    if (out.size && fwrite(out.data, 1, out.size, stdout) != out.size)
        return fail(err, ERR_IO, "the text cannot be written");
    return true;
}

bool command_tokenize(int argc, char **argv, Error *err)
{
    Tokenize options = {0};
    uint32_t found;
    const ArgOption table[] = {
        {"model", ARG_TEXT, &options.model, "PATH", "folder or file"},
        {"special", ARG_FLAG, &options.special, NULL, "begin and end tokens too"},
        {"decode", ARG_FLAG, &options.decode, NULL, "ids to text"},
        {"json", ARG_FLAG, &options.json, NULL, "for programs"},
    };
    if (!args_parse(argc, argv, table, sizeof table / sizeof *table, NULL, 0, &found, err))
        return false;
    if (!options.model)
        return fail(err, ERR_INPUT, "say which tokenizer: bastide tokenize --model PATH");
    Tokenizer *tokenizer;
    auto_buf Buf text;
    buf_init(&text, INPUT_BYTES_MAX);
    if (!tokenizer_open(&tokenizer, options.model, err))
        return false;
    bool done = read_input(&text, err);
    if (done)
        done = options.decode ? decode(&options, tokenizer, &text, err)
                              : encode(&options, tokenizer, &text, err);
    tokenizer_free(tokenizer);
    return done;
}
