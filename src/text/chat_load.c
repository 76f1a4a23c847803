/* chat_load.c: finding the template of a folder; see chat.h. */
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "format/json.h"
#include "text/chat_jinja.h"

#include <stdio.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 16 << 20 };

/* ---- making ---- */

/* bos_token and its kind: a text, or an object with its content. */
static bool collect_tokens(json_t *config, json_t **out)
{
    const char *key;
    json_t *value;
    *out = json_object();
    if (!*out)
        return false;
    json_object_foreach(config, key, value)
    {
        size_t size = strlen(key);
        json_t *text = json_is_object(value) ? json_object_get(value, "content") : value;
        if (size < 6 || strcmp(key + size - 6, "_token") || !json_is_string(text))
            continue;
        if (json_object_set(*out, key, text))
            return false;
    }
    return true;
}

/* What is refused is remembered, and said when somebody wants to render; only a lack of memory
 * fails here. */
static bool parse_or_remember(ChatJinja *c, const char *jinja, size_t size, const char *name,
                              const Tokenizer *tokenizer, JinjaTemplate **out,
                              ChatMarkers **markers, Error *err)
{
    Error problem;
    if (!jinja_parse(out, jinja, size, name, &problem)) {
        if (problem.code == ERR_MEMORY)
            return fail(err, ERR_MEMORY, "%s", problem.text);
        c->problem = problem;
        return true;
    }
    return chat_markers_new(markers, tokenizer, *out, err);
}

static bool fill(ChatJinja *c, const char *jinja, size_t size, json_t *config,
                 const Tokenizer *tokenizer, Error *err)
{
    c->text = mem_copy_text(jinja, size);
    if (!c->text || !collect_tokens(config, &c->tokens))
        return fail(err, ERR_MEMORY, "no memory for the chat template");
    const char *end = json_string_value(json_object_get(c->tokens, "eos_token"));
    end = end ? end : "";
    c->end = mem_copy_text(end, strlen(end));
    if (!c->end)
        return fail(err, ERR_MEMORY, "no memory for the chat template");
    if (!parse_or_remember(c, jinja, size, "chat template", tokenizer, &c->usual,
                           &c->usual_markers, err))
        return false;
    c->takes_parts = c->usual && jinja_writes(c->usual, "text", 4);
    c->shown = (ChatTemplate){.name = "jinja", .jinja = c->text, .end_marker = c->end,
                              .foreign = c};
    return true;
}

static void free_foreign(ChatJinja *c)
{
    chat_markers_free(c->usual_markers);
    chat_markers_free(c->tool_markers);
    jinja_free(c->usual);
    jinja_free(c->tools);
    json_decref(c->tokens);
    mem_free(c->text);
    mem_free(c->tools_text);
    mem_free(c->end);
    mem_free(c);
}

bool chat_template_make(const ChatTemplate **out, const char *jinja, size_t size, json_t *config,
                        const Tokenizer *tokenizer, Error *err)
{
    if (memchr(jinja, 0, size))
        return fail(err, ERR_FORMAT, "chat template: a NUL is in it");
    ChatJinja *c = mem_alloc(1, sizeof *c);
    if (!c)
        return fail(err, ERR_MEMORY, "no memory for the chat template");
    if (!fill(c, jinja, size, config, tokenizer, err)) {
        free_foreign(c);
        return false;
    }
    *out = &c->shown;
    return true;
}

void chat_template_free(const ChatTemplate *t)
{
    if (t && t->foreign)
        free_foreign((ChatJinja *)t->foreign);
}

bool chat_template_sha256(const ChatTemplate *t, char hex[65], Error *err)
{
    uint8_t digest[SHA256_BYTES];
    if (!sha256_bytes(t->jinja, strlen(t->jinja), digest, err))
        return false;
    sha256_hex(digest, hex);
    return true;
}

/* ---- looking ---- */

static bool read_file(const char *folder, const char *name, Buf *out, bool *found, Error *err)
{
    char path[1024];
    if (!fs_join(path, sizeof path, folder, name, err))
        return false;
    *found = fs_exists(path);
    return !*found || fs_read(path, out, err);
}

/* The template of that name in a list of {name, template}. */
static const json_t *named_template(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *own = json_string_value(json_object_get(item, "name"));
        if (own && !strcmp(own, name))
            return json_object_get(item, "template");
    }
    return NULL;
}

static bool add_tool_template(const ChatTemplate *t, const char *jinja, size_t size,
                              const Tokenizer *tokenizer, Error *err)
{
    ChatJinja *c = (ChatJinja *)t->foreign;
    if (!c)
        return true;
    c->tools_text = mem_copy_text(jinja, size);
    if (!c->tools_text)
        return fail(err, ERR_MEMORY, "no memory for the chat template");
    return parse_or_remember(c, jinja, size, "chat template tool_use", tokenizer, &c->tools,
                             &c->tool_markers, err);
}

static bool make_or_find(const ChatTemplate **out, const char *jinja, size_t size, json_t *config,
                         const Tokenizer *tokenizer, Error *err)
{
    *out = chat_template_of_jinja(jinja);
    return *out || chat_template_make(out, jinja, size, config, tokenizer, err);
}

static bool load_from_config(const ChatTemplate **out, json_t *config, const Tokenizer *tokenizer,
                             Error *err)
{
    const json_t *given = json_object_get(config, "chat_template"), *tools = NULL;
    const ChatTemplate *made;
    if (json_is_array(given)) {
        const json_t *list = given;
        tools = named_template(list, "tool_use");
        given = named_template(list, "default");
        if (!given)
            return fail(err, ERR_FORMAT, "tokenizer_config.json: chat_template has no template "
                        "named 'default'");
    }
    if (!given || json_is_null(given))
        return true;
    if (!json_is_string(given) || (tools && !json_is_string(tools)))
        return fail(err, ERR_FORMAT, "tokenizer_config.json: chat_template is no text");
    if (!make_or_find(&made, json_string_value(given), json_string_length(given), config,
                      tokenizer, err))
        return false;
    if (tools && !add_tool_template(made, json_string_value(tools), json_string_length(tools),
                                    tokenizer, err)) {
        chat_template_free(made);
        return false;
    }
    *out = made;
    return true;
}

bool chat_template_find(const ChatTemplate **out, const char *jinja, size_t size, json_t *config,
                        const Tokenizer *tokenizer, Error *err)
{
    *out = NULL;
    return jinja ? make_or_find(out, jinja, size, config, tokenizer, err)
                 : load_from_config(out, config, tokenizer, err);
}

static bool load_tool_file(const ChatTemplate *made, const char *folder,
                           const Tokenizer *tokenizer, Error *err)
{
    auto_buf Buf text;
    bool found;
    buf_init(&text, JINJA_BYTES_MAX);
    return read_file(folder, "additional_chat_templates/tool_use.jinja", &text, &found, err) &&
           (!found || add_tool_template(made, text.data ? text.data : "", text.size, tokenizer,
                                        err));
}

bool chat_template_load(const ChatTemplate **out, const char *folder, const Tokenizer *tokenizer,
                        Error *err)
{
    char path[1024];
    auto_buf Buf text;
    auto_json json_t *config = NULL;
    bool found;
    const ChatTemplate *made = NULL;
    buf_init(&text, JINJA_BYTES_MAX);
    if (!fs_join(path, sizeof path, folder, "tokenizer_config.json", err) ||
        (fs_exists(path) && !json_read(&config, path, CONFIG_BYTES_MAX, err)) ||
        !read_file(folder, "chat_template.jinja", &text, &found, err))
        return false;
    if (!chat_template_find(&made, found ? text.data ? text.data : "" : NULL, text.size, config,
                            tokenizer, err))
        return false;
    if (found && !load_tool_file(made, folder, tokenizer, err)) {
        chat_template_free(made);
        return false;
    }
    *out = made;
    return true;
}
