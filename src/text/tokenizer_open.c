/* tokenizer_open.c: which format a file has, and which file of a folder is taken. */
#include "base/mem.h"
#include "format/json.h"
#include "text/tokenizer_formats.h"

#include <string.h>

enum { TOKENIZER_FILE_MAX = JSON_BYTES_MAX, PATH_ROOM = 1100 };

static bool begins(const uint8_t *bytes, size_t size, const char *with)
{
    size_t length = strlen(with);
    return size >= length && !memcmp(bytes, with, length);
}

static bool ends(const char *name, const char *with)
{
    size_t size = strlen(name), length = strlen(with);
    return size >= length && !strcmp(name + size - length, with);
}

/* The first byte that is neither a byte order mark nor a blank. */
static uint8_t first_byte(const uint8_t *bytes, size_t size)
{
    size_t at = begins(bytes, size, "\xef\xbb\xbf") ? 3 : 0;
    while (at < size && (bytes[at] == ' ' || (bytes[at] >= '\t' && bytes[at] <= '\r')))
        at++;
    return at < size ? bytes[at] : 0;
}

static bool read_json(Tokenizer **out, const uint8_t *bytes, size_t size, const char *name,
                      Error *err)
{
    auto_json json_t *root = NULL;
    if (!json_parse(&root, (const char *)bytes, size, name, err))
        return false;
    bool tekken = !json_object_get(root, "model") && json_object_get(root, "config") &&
                  json_is_array(json_object_get(root, "vocab"));
    return tekken ? tokenizer_tekken_read(out, root, name, err)
                  : tokenizer_json_read(out, root, name, err);
}

static bool read_gguf(Tokenizer **out, const uint8_t *bytes, size_t size, const char *name,
                      Error *err)
{
    Gguf *gguf;
    if (!gguf_parse(&gguf, bytes, size, name, err))
        return false;
    bool done = tokenizer_gguf_read(out, gguf, err);
    gguf_close(gguf);
    return done;
}

/* A line of a rank file: base64, a blank, a digit. */
static bool looks_like_ranks(const uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (at < size && at < 200 && bytes[at] > ' ' && bytes[at] < 0x7f)
        at++;
    return at && at + 1 < size && bytes[at] == ' ' && bytes[at + 1] >= '0' && bytes[at + 1] <= '9';
}

bool tokenizer_read(Tokenizer **out, const uint8_t *bytes, size_t size, const char *name,
                    Error *err)
{
    if (begins(bytes, size, "version https://git-lfs"))
        return fail(err, ERR_FORMAT, "%s: a pointer of Git LFS, not the file itself: fetch it with "
                    "git lfs pull", name);
    if (begins(bytes, size, "GGUF"))
        return read_gguf(out, bytes, size, name, err);
    if (size > TOKENIZER_FILE_MAX)
        return fail(err, ERR_LIMIT, "%s: %zu bytes, %d are the most of a tokenizer", name, size,
                    TOKENIZER_FILE_MAX);
    if (first_byte(bytes, size) == '{')
        return read_json(out, bytes, size, name, err);
    if (ends(name, ".tiktoken") || looks_like_ranks(bytes, size))
        return tokenizer_tiktoken_read(out, (const char *)bytes, size, name, err);
    if (size && bytes[0] == 0x0a) /* field 1, bytes: the first piece */
        return tokenizer_spm_read(out, bytes, size, name, err);
    return fail(err, ERR_FORMAT, "%s: it is none of tokenizer.json, tekken.json, a SentencePiece "
                "model, GGUF and .tiktoken", name);
}

/* ---- folders ---- */

typedef enum { FOUND_JSON, FOUND_TEKKEN, FOUND_PIECES, FOUND_RANKS, FOUND_GGUF,
               FOUND_KINDS } FoundKind;

typedef struct {
    char names[FOUND_KINDS][256];
    uint32_t counts[FOUND_KINDS];
} Found;

static bool look(void *user, const char *name, Error *err)
{
    Found *found = user;
    (void)err;
    FoundKind kind = !strcmp(name, "tokenizer.json") ? FOUND_JSON
                     : !strcmp(name, "tekken.json")  ? FOUND_TEKKEN
                     : ends(name, ".tiktoken")       ? FOUND_RANKS
                     : ends(name, ".gguf")           ? FOUND_GGUF
                     : strstr(name, "tokenizer") && strstr(name, ".model") ? FOUND_PIECES
                                                                           : FOUND_KINDS;
    if (kind == FOUND_KINDS || strlen(name) >= sizeof found->names[kind])
        return true;
    /* tokenizer.model itself goes before tokenizer.model.v3 and the like. */
    if (!found->counts[kind]++ || !strcmp(name, "tokenizer.model"))
        memcpy(found->names[kind], name, strlen(name) + 1);
    return true;
}

static bool find_file(const char *folder, char *path, size_t room, Error *err)
{
    Found found = {0};
    if (!fs_list(folder, look, &found, err))
        return false;
    for (int kind = 0; kind < FOUND_KINDS; kind++) {
        bool one = found.counts[kind] == 1 || !strcmp(found.names[kind], "tokenizer.model");
        if (!found.counts[kind])
            continue;
        if (!one)
            return fail(err, ERR_INPUT, "%s: %u files could be the tokenizer ('%.60s' is one): "
                        "name the file", folder, found.counts[kind], found.names[kind]);
        return fs_join(path, room, folder, found.names[kind], err);
    }
    return fail(err, ERR_NOT_FOUND, "%s: no tokenizer.json, tekken.json, tokenizer.model, .tiktoken "
                "or .gguf in it", folder);
}

bool tokenizer_open(Tokenizer **out, const char *path, Error *err)
{
    char inside[PATH_ROOM];
    FsMap map = {0};
    if (fs_is_dir(path)) {
        if (!find_file(path, inside, sizeof inside, err))
            return false;
        path = inside;
    }
    if (!fs_map(path, &map, err))
        return false;
    const char *slash = strrchr(path, '/');
    bool done = tokenizer_read(out, map.data, map.size, slash ? slash + 1 : path, err);
    fs_unmap(&map);
    return done;
}
