/* folder.c: see folder.h. Files are taken in byte order of their names, so the dataset does not
 * depend on the order a disk lists them in. */
#include "data/folder.h"

#include "base/fs.h"
#include "data/builder.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    Builder *builder;
    const char *folder; /* the one being listed */
    const char *label;  /* NULL: files without labels */
    size_t files, folders;
    Buf text;           /* the file or piece at hand, NUL-terminated */
} Walk;

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n\f\v")] == 0;
}

/* Adds walk->text as one record. */
static bool add_text(Walk *walk, const char *id, const char *path, Error *err)
{
    if (is_blank(walk->text.data)) {
        builder_skip(walk->builder);
        return true;
    }
    Record draft = {.text = walk->text.data, .label = walk->label, .id = id};
    return builder_add(walk->builder, &draft, err) || fail_within(err, "%s", path);
}

/* Length of the next piece of a long text: it ends behind the last blank line of the window, else
 * behind its last line, else at a character's start. */
static size_t piece_length(const uint8_t *text, size_t size)
{
    if (size <= DATASET_PIECE_BYTES)
        return size;
    size_t line_end = 0;
    for (size_t i = DATASET_PIECE_BYTES; i > DATASET_PIECE_BYTES / 2; i--) {
        if (text[i - 1] != '\n')
            continue;
        if (text[i - 2] == '\n')
            return i;
        if (!line_end)
            line_end = i;
    }
    if (line_end)
        return line_end;
    size_t end = DATASET_PIECE_BYTES;
    while ((text[end] & 0xc0) == 0x80)
        end--;
    return end;
}

static bool add_pieces(Walk *walk, const FsMap *map, const char *name, const char *path, Error *err)
{
    bool whole = map->size <= DATASET_PIECE_BYTES || walk->label;
    size_t number = 0;
    for (size_t at = 0, length; at < map->size; at += length) {
        char id[640];
        length = whole ? map->size : piece_length(map->data + at, map->size - at);
        if (whole)
            snprintf(id, sizeof id, "%s%s%s", walk->label ? walk->label : "",
                     walk->label ? "/" : "", name);
        else
            snprintf(id, sizeof id, "%s#%zu", name, ++number);
        buf_reset(&walk->text);
        buf_add(&walk->text, map->data + at, length);
        if (!buf_ok(&walk->text, path, err) || !add_text(walk, id, path, err))
            return false;
    }
    return true;
}

static bool add_file(Walk *walk, const char *name, const char *path, Error *err)
{
    FsMap map;
    bool ok;
    if (!builder_is_text(name, strlen(name)))
        return fail(err, ERR_FORMAT, "'%s': the name of a file must be UTF-8", path);
    if (!fs_map(path, &map, err))
        return false;
    if (map.size == 0) {
        builder_skip(walk->builder);
        ok = true;
    } else if (walk->label && map.size > DATASET_LINE_MAX) {
        ok = fail(err, ERR_LIMIT, "'%s' has %zu bytes, a record has at most %d", path, map.size,
                  DATASET_LINE_MAX);
    } else if (!builder_is_text(map.data, map.size)) {
        ok = fail(err, ERR_FORMAT, "'%s' is not UTF-8 text, or holds a NUL", path);
    } else {
        ok = add_pieces(walk, &map, name, path, err);
    }
    fs_unmap(&map);
    return ok;
}

static bool add_label_entry(void *user, const char *name, Error *err)
{
    Walk *walk = user;
    char path[1024];
    if (name[0] == '.')
        return true;
    if (!fs_join(path, sizeof path, walk->folder, name, err))
        return false;
    if (fs_is_dir(path))
        return fail(err, ERR_INPUT, "'%s' is a folder inside the label '%.80s'", path, walk->label);
    return add_file(walk, name, path, err);
}

/* Top level: label folders or files, never both. */
static bool add_top_entry(void *user, const char *name, Error *err)
{
    Walk *walk = user;
    char path[1024];
    if (name[0] == '.')
        return true;
    if (!fs_join(path, sizeof path, walk->folder, name, err))
        return false;
    bool is_folder = fs_is_dir(path);
    *(is_folder ? &walk->folders : &walk->files) += 1;
    if (walk->folders && walk->files)
        return fail(err, ERR_INPUT, "'%s' holds both folders (labels) and files, such as '%.80s'",
                    walk->folder, name);
    if (!is_folder)
        return add_file(walk, name, path, err);
    if (!builder_is_text(name, strlen(name)))
        return fail(err, ERR_FORMAT, "'%s': the name of a label must be UTF-8", path);
    Walk inner = {.builder = walk->builder, .folder = path, .label = name, .text = walk->text};
    bool ok = fs_list(path, add_label_entry, &inner, err);
    walk->text = inner.text; /* the buffer may have moved as it grew */
    return ok;
}

static bool fill(Walk *walk, const char *path, Error *err)
{
    if (fs_is_dir(path))
        return fs_list(path, add_top_entry, walk, err);
    const char *slash = strrchr(path, '/');
    return add_file(walk, slash ? slash + 1 : path, path, err);
}

bool folder_load(Dataset **out, const char *path, uint64_t seed, Error *err)
{
    Walk walk = {.folder = path};
    if (!builder_new(&walk.builder, path, err))
        return false;
    buf_init(&walk.text, DATASET_LINE_MAX);
    bool ok = fill(&walk, path, err);
    if (ok && !builder_finish(walk.builder, seed, out, err))
        ok = fail_within(err, "%s", path);
    if (!ok)
        builder_free(walk.builder);
    buf_done(&walk.text);
    return ok;
}
