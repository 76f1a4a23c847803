/* manifest.c: see manifest.h. Both sides use one walk of the folder, so that what signing states
 * and what verifying expects cannot drift apart. */
#include "trust/manifest.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "trust/signature.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char manifest_format[] = "bastide-manifest/1";

/* ---- the files of a folder ---- */

typedef struct {
    const char *root;
    Arena arena;
    const char **paths; /* relative to root */
    uint32_t count, room;
    /* of the folder being listed */
    const char *prefix; /* "" or "sub/" */
    uint32_t depth;
} Walk;

/* Names reach messages and other systems: no control characters, no backslash. */
static bool is_printable(const char *name)
{
    while ((unsigned char)*name >= ' ' && *name != 127 && *name != '\\')
        name++;
    return *name == 0;
}

static bool is_plain_name(const char *name)
{
    if (!is_printable(name))
        return false;
    auto_json json_t *text = json_string(name); /* NULL: not UTF-8 */
    return text != NULL;
}

static bool add_path(Walk *walk, const char *path, Error *err)
{
    if (walk->count == MANIFEST_FILES_MAX)
        return fail(err, ERR_LIMIT, "'%s' has more than %d files", walk->root, MANIFEST_FILES_MAX);
    if (walk->count == walk->room) {
        uint32_t room = walk->room ? 2 * walk->room : 64;
        const char **paths = mem_resize(walk->paths, room, sizeof *paths);
        if (!paths)
            return fail(err, ERR_MEMORY, "no memory to list '%s'", walk->root);
        walk->paths = paths;
        walk->room = room;
    }
    const char *copy = arena_copy_text(&walk->arena, path, strlen(path));
    if (!copy)
        return fail(err, ERR_MEMORY, "no memory to list '%s'", walk->root);
    walk->paths[walk->count++] = copy;
    return true;
}

static bool walk_folder(Walk *walk, const char *prefix, uint32_t depth, Error *err);

static bool walk_entry(void *user, const char *name, Error *err)
{
    Walk *walk = user;
    bool at_root = walk->prefix[0] == 0;
    if (at_root && (strcmp(name, "manifest.json") == 0 || strcmp(name, "manifest.sig") == 0))
        return true;
    if (!is_plain_name(name))
        return fail(err, ERR_INPUT, "'%s/%s' has a file whose name is not plain UTF-8", walk->root,
                    walk->prefix);
    char path[MANIFEST_PATH_MAX + 2], full[2048];
    if (strlen(walk->prefix) + strlen(name) > MANIFEST_PATH_MAX)
        return fail(err, ERR_LIMIT, "'%.100s...' has a path over %d bytes", walk->prefix,
                    MANIFEST_PATH_MAX);
    snprintf(path, sizeof path, "%s%s", walk->prefix, name);
    if (!fs_join(full, sizeof full, walk->root, path, err))
        return false;
    struct stat info; /* of the entry itself: a link must be seen as one */
    if (lstat(full, &info) != 0)
        return fail(err, ERR_IO, "cannot inspect '%s'", full);
    if (S_ISREG(info.st_mode))
        return add_path(walk, path, err);
    if (!S_ISDIR(info.st_mode))
        return fail(err, ERR_INPUT, "%s: is a symbolic link or a special file: only plain files "
                                    "can be signed", path);
    memcpy(path + strlen(path), "/", 2); /* joined above with room for it */
    return walk_folder(walk, path, walk->depth + 1, err);
}

static bool walk_folder(Walk *walk, const char *prefix, uint32_t depth, Error *err)
{
    char full[2048];
    if (depth > MANIFEST_DEPTH_MAX)
        return fail(err, ERR_LIMIT, "'%s' is nested deeper than %d", walk->root,
                    MANIFEST_DEPTH_MAX);
    if (!fs_join(full, sizeof full, walk->root, prefix, err))
        return false;
    const char *outer_prefix = walk->prefix;
    uint32_t outer_depth = walk->depth;
    walk->prefix = prefix;
    walk->depth = depth;
    bool ok = fs_list(full, walk_entry, walk, err);
    walk->prefix = outer_prefix;
    walk->depth = outer_depth;
    return ok;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All files, sorted; release with walk_done, also after a failure. */
static bool walk_all(Walk *walk, const char *root, Error *err)
{
    *walk = (Walk){.root = root, .prefix = ""};
    arena_init(&walk->arena, (size_t)MANIFEST_FILES_MAX * (MANIFEST_PATH_MAX + 64));
    if (!walk_folder(walk, "", 1, err))
        return false;
    if (walk->count)
        qsort(walk->paths, walk->count, sizeof *walk->paths, by_path);
    return true;
}

static void walk_done(Walk *walk)
{
    arena_done(&walk->arena);
    mem_free(walk->paths);
}

/* ---- signing ---- */

static json_t *describe_file(const char *root, const char *path, Error *err)
{
    char full[2048], hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    uint64_t bytes;
    if (!fs_join(full, sizeof full, root, path, err) || !sha256_file(full, digest, &bytes, err))
        return NULL;
    sha256_hex(digest, hex);
    json_t *entry = json_pack("{s:s, s:I, s:s}", "path", path, "bytes", (json_int_t)bytes,
                              "sha256", hex);
    if (!entry)
        fail(err, ERR_MEMORY, "no memory for the manifest");
    return entry;
}

static bool build_manifest(const char *folder, const char *name, const json_t *statement,
                           Buf *out, Error *err)
{
    Walk walk;
    auto_json json_t *files = json_array();
    bool ok = files || fail(err, ERR_MEMORY, "no memory for the manifest");
    ok = walk_all(&walk, folder, err) && ok;
    for (uint32_t i = 0; ok && i < walk.count; i++) {
        json_t *entry = describe_file(folder, walk.paths[i], err);
        ok = entry != NULL;
        if (ok && json_array_append_new(files, entry) != 0)
            ok = fail(err, ERR_MEMORY, "no memory for the manifest");
    }
    walk_done(&walk);
    if (!ok)
        return false;
    char created[21];
    clock_iso(clock_unix(), created);
    /* a copy, since packing takes a reference to what the caller may go on changing */
    auto_json json_t *said = statement ? json_deep_copy(statement) : json_object();
    auto_json json_t *manifest =
        said ? json_pack("{s:s, s:s, s:s, s:O, s:O}", "format", manifest_format, "name", name,
                         "created", created, "files", files, "statement", said)
             : NULL;
    if (!manifest)
        return fail(err, ERR_MEMORY, "no memory for the manifest, or its name is not UTF-8");
    return json_dump(manifest, out, err);
}

bool manifest_sign(const char *folder, const char *name, const json_t *statement,
                   const SignKey *key, Error *err)
{
    char manifest_path[1024], signature_path[1024], text[SIGNATURE_TEXT_MAX];
    auto_buf Buf manifest;
    buf_init(&manifest, JSON_BYTES_MAX);
    if (statement && !json_is_object(statement))
        return fail(err, ERR_INPUT, "the statement of a manifest must be an object");
    if (!signature_start(err) ||
        !fs_join(manifest_path, sizeof manifest_path, folder, "manifest.json", err) ||
        !fs_join(signature_path, sizeof signature_path, folder, "manifest.sig", err) ||
        !build_manifest(folder, name, statement, &manifest, err))
        return false;
    uint8_t signature[64];
    crypto_sign_detached(signature, NULL, (const uint8_t *)manifest.data, manifest.size,
                         key->secret_key);
    signature_print(key->public_key, key->id, signature, text);
    return fs_remove(signature_path, err) &&
           fs_write(manifest_path, manifest.data, manifest.size, err) &&
           fs_write(signature_path, text, strlen(text), err);
}

/* ---- verifying ---- */

static bool read_part(const char *folder, const char *name, size_t limit, Buf *out, Error *err)
{
    char path[1024];
    buf_init(out, limit);
    if (!fs_join(path, sizeof path, folder, name, err))
        return false;
    if (fs_read(path, out, err))
        return true;
    if (err && err->code == ERR_NOT_FOUND)
        fail(err, ERR_NOT_FOUND, "'%s' is not signed: %s is missing", folder, name);
    return false;
}

static bool check_signature(const Buf *manifest, const Buf *text, const char *key_path,
                            char key_id[17], Error *err)
{
    uint8_t key[32], trusted[32], signature[64];
    if (!signature_read(text->data, text->size, key, key_id, signature, err))
        return false;
    if (key_path && !signature_read_public(key_path, trusted, err))
        return false;
    if (key_path && memcmp(key, trusted, sizeof key) != 0)
        return fail(err, ERR_DENIED, "manifest.sig: signed by key %s, not by the key in '%s'",
                    key_id, key_path);
    if (crypto_sign_verify_detached(signature, (const uint8_t *)manifest->data, manifest->size,
                                    key) != 0)
        return fail(err, ERR_DENIED, "manifest.json: was changed after key %s signed it", key_id);
    return true;
}

static bool is_digest(const char *text)
{
    return text && strlen(text) == SHA256_HEX - 1 &&
           strspn(text, "0123456789abcdef") == SHA256_HEX - 1;
}

/* Relative, below the folder, each part a real name. */
static bool is_safe_path(const char *path)
{
    if (!*path || strlen(path) > MANIFEST_PATH_MAX || !is_printable(path))
        return false;
    for (const char *part = path;;) {
        size_t length = strcspn(part, "/");
        if (length == 0 || (length <= 2 && strspn(part, ".") >= length))
            return false;
        if (!part[length])
            return true;
        part += length + 1;
    }
}

/* One stated file against the one at the same place of the folder's own list. */
static bool check_file(const char *folder, const json_t *entry, uint64_t *bytes, Error *err)
{
    const char *path = json_string_value(json_object_get(entry, "path"));
    const char *digest_text = json_string_value(json_object_get(entry, "sha256"));
    const json_t *size = json_object_get(entry, "bytes");
    if (!is_digest(digest_text) || !json_is_integer(size))
        return fail(err, ERR_FORMAT, "manifest.json: entry of '%s' lacks bytes or sha256", path);
    char full[2048], hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    uint64_t actual;
    if (!fs_join(full, sizeof full, folder, path, err))
        return false;
    int64_t now = fs_size(full);
    if (now != json_integer_value(size))
        return fail(err, ERR_DENIED, "%s: has %" PRId64 " bytes, %lld were signed", path, now,
                    (long long)json_integer_value(size));
    if (!sha256_file(full, digest, &actual, err))
        return false;
    sha256_hex(digest, hex);
    if (strcmp(hex, digest_text) != 0)
        return fail(err, ERR_DENIED, "%s: digest differs from the signed one", path);
    *bytes += actual;
    return true;
}

/* Both lists are sorted: the first difference is a file that is missing or was added. Names are
 * compared before contents, since an added file needs no reading. */
static bool check_names(const json_t *files, const Walk *walk, Error *err)
{
    const char *last = "";
    size_t count = json_array_size(files);
    for (size_t i = 0; i < count || i < walk->count; i++) {
        const char *have = i < walk->count ? walk->paths[i] : NULL, *stated = NULL;
        if (i < count) {
            stated = json_string_value(json_object_get(json_array_get(files, i), "path"));
            if (!stated || !is_safe_path(stated) || strcmp(last, stated) >= 0)
                return fail(err, ERR_FORMAT, "manifest.json: entry %zu has no path, an unsafe "
                                             "one, or is out of order", i);
            last = stated;
        }
        int order = !have ? 1 : !stated ? -1 : strcmp(have, stated);
        if (order > 0)
            return fail(err, ERR_DENIED, "%s: is missing, it was signed", stated);
        if (order < 0)
            return fail(err, ERR_DENIED, "%s: was added after signing", have);
    }
    return true;
}

static bool check_files(const char *folder, const json_t *manifest, ManifestReport *report,
                        Error *err)
{
    const json_t *files = json_object_get(manifest, "files");
    const char *format = json_string_value(json_object_get(manifest, "format"));
    if (!format || strcmp(format, manifest_format) != 0 || !json_is_array(files))
        return fail(err, ERR_FORMAT, "manifest.json: is not of format %s", manifest_format);
    Walk walk;
    bool ok = walk_all(&walk, folder, err) && check_names(files, &walk, err);
    walk_done(&walk);
    for (size_t i = 0; ok && i < json_array_size(files); i++)
        ok = check_file(folder, json_array_get(files, i), &report->bytes, err);
    report->files = (uint32_t)json_array_size(files);
    return ok;
}

bool manifest_verify(const char *folder, const char *key_path, ManifestReport *out, Error *err)
{
    auto_buf Buf manifest = {0}, signature = {0};
    ManifestReport report = {0};
    auto_json json_t *value = NULL;
    if (!read_part(folder, "manifest.json", JSON_BYTES_MAX, &manifest, err) ||
        !read_part(folder, "manifest.sig", SIGNATURE_TEXT_MAX, &signature, err) ||
        !signature_start(err) ||
        !check_signature(&manifest, &signature, key_path, report.key_id, err) ||
        !json_parse(&value, manifest.data, manifest.size, "manifest.json", err) ||
        !check_files(folder, value, &report, err))
        return false;
    *out = report;
    return true;
}
