/* recipe.c: see recipe.h. From YAML to the tree; recipe_bind.c goes on from there.
 *
 * libyaml gives events; this file keeps the open maps and lists on a stack of fixed depth, so that
 * a hostile recipe costs no more than its limits. Nothing of YAML that makes text mean something
 * elsewhere (aliases, merges, tags) is let through. */
#include "format/recipe.h"

#include "base/fs.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { ARENA_BYTES_MAX = 16 << 20 };

typedef struct {
    Recipe *recipe;
    RecipeNode *open[RECIPE_DEPTH_MAX];
    uint32_t depth, nodes;
    const char *key; /* of the value to come, when the innermost open node is a map */
    uint32_t key_line;
    Error *err;
} Builder;

bool recipe_fail(const Recipe *recipe, const RecipeNode *node, Error *err, const char *format, ...)
{
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(err, ERR_INPUT, "%s:%u: %s", recipe->name, node->line, text);
}

__attribute__((format(printf, 4, 5))) static bool fail_mark(Builder *b, yaml_mark_t mark,
                                                            ErrCode code, const char *format, ...)
{
    char text[sizeof b->err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(b->err, code, "%s:%zu: %s", b->recipe->name, mark.line + 1, text);
}

static bool fail_memory(Builder *b)
{
    return fail(b->err, ERR_MEMORY, "%s: no memory for its values", b->recipe->name);
}

/* Appends a node to the innermost open one, or makes it the root. */
static RecipeNode *add_node(Builder *b, RecipeKind kind, yaml_mark_t mark)
{
    if (++b->nodes > RECIPE_NODES_MAX) {
        fail_mark(b, mark, ERR_LIMIT, "more than %d values", RECIPE_NODES_MAX);
        return NULL;
    }
    RecipeNode *node = arena_alloc(&b->recipe->arena, 1, sizeof *node);
    if (!node) {
        fail_memory(b);
        return NULL;
    }
    uint32_t line = b->key ? b->key_line : (uint32_t)mark.line + 1;
    *node = (RecipeNode){.kind = kind, .line = line, .key = b->key};
    b->key = NULL;
    if (b->depth == 0) {
        b->recipe->root = node;
        return node;
    }
    RecipeNode *parent = b->open[b->depth - 1];
    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->count++;
    return node;
}

static bool is_word(const char *text, size_t length)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-";
    return length > 0 && length <= RECIPE_KEY_BYTES_MAX && strspn(text, letters) == length;
}

static bool take_key(Builder *b, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    const RecipeNode *map = b->open[b->depth - 1];
    if (length == 2 && memcmp(text, "<<", 2) == 0)
        return fail_mark(b, event->start_mark, ERR_FORMAT, "merge keys are not allowed");
    if (!is_word(text, length))
        return fail_mark(b, event->start_mark, ERR_FORMAT, "a key must be a word of at most %d "
                         "letters, digits, '_' and '-'", RECIPE_KEY_BYTES_MAX);
    if (map->count >= RECIPE_KEYS_MAX)
        return fail_mark(b, event->start_mark, ERR_LIMIT, "more than %d keys", RECIPE_KEYS_MAX);
    for (const RecipeNode *child = map->first; child; child = child->next) {
        if (strcmp(child->key, text) == 0)
            return fail_mark(b, event->start_mark, ERR_FORMAT,
                             "key '%s' stands here and on line %u", text, child->line);
    }
    b->key_line = (uint32_t)event->start_mark.line + 1;
    b->key = arena_copy_text(&b->recipe->arena, text, length);
    return b->key || fail_memory(b);
}

static bool wants_key(const Builder *b)
{
    return b->depth && b->open[b->depth - 1]->kind == RECIPE_NODE_MAP && !b->key;
}

static bool take_scalar(Builder *b, const yaml_event_t *event)
{
    if (event->data.scalar.anchor || event->data.scalar.tag)
        return fail_mark(b, event->start_mark, ERR_FORMAT, "anchors and tags are not allowed");
    if (wants_key(b))
        return take_key(b, event);
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (strlen(text) != length)
        return fail_mark(b, event->start_mark, ERR_FORMAT, "a text has a NUL");
    RecipeNode *node = add_node(b, RECIPE_NODE_SCALAR, event->start_mark);
    if (!node)
        return false;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = arena_copy_text(&b->recipe->arena, text, length);
    return node->text || fail_memory(b);
}

static bool take_start(Builder *b, const yaml_event_t *event, RecipeKind kind)
{
    bool is_map = kind == RECIPE_NODE_MAP;
    if (is_map ? event->data.mapping_start.anchor || event->data.mapping_start.tag
               : event->data.sequence_start.anchor || event->data.sequence_start.tag)
        return fail_mark(b, event->start_mark, ERR_FORMAT, "anchors and tags are not allowed");
    if (wants_key(b))
        return fail_mark(b, event->start_mark, ERR_FORMAT, "a key must be a word");
    if (b->depth == RECIPE_DEPTH_MAX)
        return fail_mark(b, event->start_mark, ERR_LIMIT, "nested deeper than %d levels",
                         RECIPE_DEPTH_MAX);
    RecipeNode *node = add_node(b, kind, event->start_mark);
    if (!node)
        return false;
    b->open[b->depth++] = node;
    return true;
}

static bool take_document(Builder *b, const yaml_event_t *event)
{
    if (b->recipe->root)
        return fail_mark(b, event->start_mark, ERR_FORMAT, "a second document starts");
    if (event->data.document_start.version_directive ||
        event->data.document_start.tag_directives.start !=
            event->data.document_start.tag_directives.end)
        return fail_mark(b, event->start_mark, ERR_FORMAT, "directives are not allowed");
    return true;
}

static bool take_event(Builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return take_document(b, event);
    case YAML_SCALAR_EVENT:
        return take_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return take_start(b, event, RECIPE_NODE_LIST);
    case YAML_MAPPING_START_EVENT:
        return take_start(b, event, RECIPE_NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return true;
    case YAML_ALIAS_EVENT:
        return fail_mark(b, event->start_mark, ERR_FORMAT, "aliases are not allowed");
    default:
        return true;
    }
}

static bool take_events(Builder *b, yaml_parser_t *parser)
{
    for (bool end = false; !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            if (parser->error == YAML_MEMORY_ERROR)
                return fail_memory(b);
            yaml_mark_t mark = parser->problem_mark;
            if (parser->error == YAML_READER_ERROR)
                mark = parser->mark; /* the reader runs ahead: the line is near this one */
            return fail_mark(b, mark, ERR_FORMAT, "%s",
                             parser->problem ? parser->problem : "not YAML");
        }
        end = event.type == YAML_STREAM_END_EVENT;
        bool taken = take_event(b, &event);
        yaml_event_delete(&event);
        if (!taken)
            return false;
    }
    if (!b->recipe->root || b->recipe->root->kind != RECIPE_NODE_MAP)
        return fail(b->err, ERR_FORMAT, "%s: must have lines of the form 'key: value'",
                    b->recipe->name);
    return true;
}

bool recipe_parse(Recipe *out, const char *text, size_t size, const char *name, Error *err)
{
    *out = (Recipe){0};
    if (size > RECIPE_BYTES_MAX)
        return fail(err, ERR_LIMIT, "%s: %zu bytes, a recipe has at most %d", name, size,
                    RECIPE_BYTES_MAX);
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return fail(err, ERR_MEMORY, "%s: no memory to read it", name);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    arena_init(&out->arena, ARENA_BYTES_MAX);
    snprintf(out->name, sizeof out->name, "%s", name);
    Builder builder = {.recipe = out, .err = err};
    bool ok = take_events(&builder, &parser);
    yaml_parser_delete(&parser);
    if (!ok)
        recipe_done(out);
    return ok;
}

bool recipe_read(Recipe *out, const char *path, Error *err)
{
    *out = (Recipe){0};
    auto_buf Buf text;
    buf_init(&text, RECIPE_BYTES_MAX);
    return fs_read(path, &text, err) && recipe_parse(out, text.data, text.size, path, err);
}

void recipe_done(Recipe *recipe)
{
    arena_done(&recipe->arena);
    recipe->root = NULL;
}

const RecipeNode *recipe_find(const RecipeNode *node, const char *path)
{
    while (node) {
        size_t length = strcspn(path, ".");
        const RecipeNode *child = node->kind == RECIPE_NODE_MAP ? node->first : NULL;
        while (child && (strncmp(child->key, path, length) != 0 || child->key[length]))
            child = child->next;
        if (!child || !path[length])
            return child;
        node = child;
        path += length + 1;
    }
    return NULL;
}
