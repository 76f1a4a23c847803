/* source.c: see source.h. Which layout it is, and what all layouts share; reading rows is in
 * source_read.c, each layout in a file of its own. */
#include "quant/source_parts.h"

#include "base/hash.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES_MAX = 256 << 20 };

/* ---- parts ---- */

bool source_fail_memory(const Source *s, Error *err)
{
    return fail(err, ERR_MEMORY, "no memory to open '%s'", s->path);
}

bool source_add_file(Source *s, const char *path, uint32_t *index, Error *err)
{
    if (s->file_count == SOURCE_FILES_MAX)
        return fail(err, ERR_LIMIT, "'%s' has over %d files of weights", s->path, SOURCE_FILES_MAX);
    FsFile *files = mem_resize(s->files, s->file_count + 1, sizeof *files);
    if (!files)
        return source_fail_memory(s, err);
    s->files = files;
    if (!fs_file_open(&files[s->file_count], path, err))
        return false;
    *index = s->file_count++;
    return true;
}

SourceTensor *source_add_tensor(Source *s, const char *name, Error *err)
{
    if (s->count == SOURCE_TENSORS_MAX) {
        fail(err, ERR_LIMIT, "'%s' has over %d tensors", s->path, SOURCE_TENSORS_MAX);
        return NULL;
    }
    if (s->count == s->room) {
        uint32_t room = s->room ? 2 * s->room : 64;
        SourceTensor *tensors = mem_resize(s->tensors, room, sizeof *tensors);
        if (!tensors) {
            source_fail_memory(s, err);
            return NULL;
        }
        s->tensors = tensors;
        s->room = room;
    }
    SourceTensor *t = &s->tensors[s->count];
    *t = (SourceTensor){.name = arena_copy_text(&s->arena, name, strlen(name))};
    if (!t->name) {
        source_fail_memory(s, err);
        return NULL;
    }
    s->count++;
    return t;
}

bool tensor_measure(SourceTensor *t, Error *err)
{
    uint64_t elements = 1;
    for (uint32_t d = 0; d < t->rank; d++) {
        if (__builtin_mul_overflow(elements, t->shape[d], &elements) || elements > INT64_MAX / 8)
            return fail(err, ERR_LIMIT, "tensor '%.80s': is over 2^60 values", t->name);
    }
    bool vector = t->rank < 2 && t->type->block == 1;
    t->columns = vector || t->rank == 0 ? 1 : t->shape[t->rank - 1];
    t->rows = t->columns ? elements / t->columns : 0;
    if (t->columns % t->type->block)
        return fail(err, ERR_FORMAT, "tensor '%.80s': rows are no whole blocks of %s", t->name,
                    t->type->name);
    t->bytes = stored_bytes(t->type, elements);
    return true;
}

bool source_add_made(Source *s, const char *name, const char *bytes, size_t size, Error *err)
{
    char *copy = arena_copy_text(&s->arena, bytes, size);
    if (!copy)
        return source_fail_memory(s, err);
    if (s->extra_count == SOURCE_EXTRAS_MAX)
        return fail(err, ERR_LIMIT, "'%s' has too many files beside its weights", s->path);
    s->extras[s->extra_count++] = (SourceFile){.name = name, .bytes = copy, .size = size};
    return true;
}

/* Files that make a checkpoint usable beside its weights; anything else stays where it is. */
static const char *const beside[] = {
    "tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "tekken.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
    "preprocessor_config.json", "processor_config.json", "README.md", "LICENSE", "LICENSE.md",
    "LICENSE.txt", "LICENCE", "NOTICE", "SYSTEM_PROMPT.txt", NULL};

bool source_add_beside(Source *s, const char *folder, Error *err)
{
    char path[1024];
    for (const char *const *name = beside; *name; name++) {
        if (!fs_join(path, sizeof path, folder, *name, err))
            return false;
        if (fs_size(path) < 0 || fs_is_dir(path) || s->extra_count == SOURCE_EXTRAS_MAX)
            continue;
        char *copy = arena_copy_text(&s->arena, path, strlen(path));
        if (!copy)
            return source_fail_memory(s, err);
        s->extras[s->extra_count++] = (SourceFile){.name = *name, .path = copy};
    }
    return true;
}

/* ---- finishing ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_there(const Source *s, const char *const *names, const char *name)
{
    const char **found = bsearch(&name, names, s->count, sizeof *names, by_name);
    return found != NULL;
}

/* One tensor that the model cannot do without, by the name it has alone; a text model inside of
 * another has it under one of two prefixes. */
static bool need(const Source *s, const char *const *names, const char *name, Error *err)
{
    char inner[NAME_ROOM + 24];
    bool found = is_there(s, names, name);
    if (s->outline.wrapped && !found) {
        snprintf(inner, sizeof inner, "language_model.%s", name);
        found = is_there(s, names, inner);
        bool part = strncmp(name, "model.", 6) == 0;
        snprintf(inner, sizeof inner, "model.language_model.%s", part ? name + 6 : name);
        found = found || is_there(s, names, inner);
    }
    return found || fail(err, ERR_FORMAT, "'%.120s': tensor '%.80s' is missing", s->path, name);
}

static bool check_whole(const Source *s, const char *const *names, Error *err)
{
    const Outline *o = &s->outline;
    const NameRow *row;
    for (uint32_t i = 0; (row = name_row(i)); i++) {
        bool layered = strstr(row->name[NAMES_HF], "%l");
        char text[NAME_ROOM];
        if (!name_is_needed(row))
            continue;
        for (uint32_t layer = 0; layer < (layered ? o->layers : 1); layer++) {
            Name name = {row, layer, 0};
            if (name_write(NAMES_HF, &name, text) && !need(s, names, text, err))
                return false;
        }
    }
    return o->tied || need(s, names, "lm_head.weight", err);
}

static bool check_names(const Source *s, Error *err)
{
    auto_free const char **names = mem_alloc(s->count, sizeof *names);
    if (!names)
        return source_fail_memory(s, err);
    for (uint32_t i = 0; i < s->count; i++)
        names[i] = s->tensors[i].name;
    if (s->count)
        qsort(names, s->count, sizeof *names, by_name);
    for (uint32_t i = 1; i < s->count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            return fail(err, ERR_FORMAT, "'%.120s': tensor '%.80s' is there twice", s->path,
                        names[i]);
    }
    return check_whole(s, names, err);
}

static bool check_tensor(const Source *s, SourceTensor *t, bool neighbours, Error *err)
{
    Name name;
    char alone[NAME_ROOM];
    bool inner = s->outline.wrapped && name_unwrap(t->name, alone);
    if (!name_parse(NAMES_HF, inner ? alone : t->name, MIX_ANY, &name))
        return true;
    if (!outline_check(&s->outline, &name, t->rank, t->shape, t->name, err))
        return false;
    if (!t->type->to_f32)
        return fail(err, ERR_FORMAT, "tensor '%.80s': is %s, a floating-point type is needed",
                    t->name, t->type->name);
    t->turned = name.row->turn == TURNED_NOT ? 0 : s->outline.head_width;
    t->neighbours = neighbours ? t->turned : 0;
    return true;
}

bool source_finish(Source *s, bool neighbours, Error *err)
{
    if (!outline_read(&s->outline, s->config, "config.json", err))
        return false;
    for (uint32_t i = 0; i < s->count; i++) {
        if (!check_tensor(s, &s->tensors[i], neighbours, err))
            return false;
    }
    if (s->count == 0)
        return fail(err, ERR_FORMAT, "'%.120s' holds no tensors", s->path);
    return check_names(s, err);
}

/* ---- which layout ---- */

static bool fail_pickle(const char *path, Error *err)
{
    return fail(err, ERR_FORMAT, "'%.100s' is a pickle, which can run code and is never read: save "
                                 "the model as safetensors where it came from", path);
}

static bool is_pickle_name(const char *name)
{
    static const char *const ends[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl"};
    size_t size = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (size > end && strcmp(name + size - end, ends[i]) == 0)
            return true;
    }
    return false;
}

typedef struct {
    bool safetensors, pickle;
    char pickle_name[128], gguf_name[128];
} FolderContents;

static bool note_entry(void *user, const char *name, Error *err)
{
    FolderContents *found = user;
    size_t size = strlen(name);
    (void)err;
    if (size > 12 && strcmp(name + size - 12, ".safetensors") == 0)
        found->safetensors = true;
    if (size > 5 && strcmp(name + size - 5, ".gguf") == 0)
        snprintf(found->gguf_name, sizeof found->gguf_name, "%s", name);
    if (!is_pickle_name(name))
        return true;
    found->pickle = true;
    snprintf(found->pickle_name, sizeof found->pickle_name, "%s", name);
    return true;
}

static bool has(const char *folder, const char *name)
{
    char path[1024];
    Error ignored;
    return fs_join(path, sizeof path, folder, name, &ignored) && fs_exists(path);
}

static bool open_folder(Source *s, Error *err)
{
    FolderContents found = {0};
    bool hf = has(s->path, "model.safetensors") || has(s->path, "model.safetensors.index.json");
    bool native = has(s->path, "params.json");
    if (!fs_list(s->path, note_entry, &found, err))
        return false;
    if (has(s->path, "config.json") && (hf || !native)) {
        if (!hf && found.pickle)
            return fail_pickle(found.pickle_name, err);
        if (!hf && !found.safetensors)
            return fail(err, ERR_NOT_FOUND, "'%.120s' has no model.safetensors", s->path);
        s->layout = "hf";
        return source_open_hf(s, err);
    }
    if (native && !found.safetensors && found.pickle)
        return fail_pickle(found.pickle_name, err);
    if (native) {
        s->layout = "mistral";
        return source_open_native(s, err);
    }
    if (*found.gguf_name)
        return fail(err, ERR_INPUT, "'%.120s' is a folder: name the file in it, %.80s", s->path,
                    found.gguf_name);
    return fail(err, ERR_NOT_FOUND, "'%.120s' is no checkpoint: it has neither config.json nor "
                                    "params.json", s->path);
}

static bool open_file(Source *s, Error *err)
{
    static const char lfs[] = "version https://git-lfs";
    uint8_t start[32] = {0};
    uint32_t index = 0;
    if (!source_add_file(s, s->path, &index, err))
        return false;
    const FsFile *file = &s->files[index];
    size_t size = file->size < sizeof start ? (size_t)file->size : sizeof start;
    if (!fs_file_read(file, 0, start, size, err))
        return false;
    if (memcmp(start, lfs, sizeof lfs - 1) == 0)
        return fail(err, ERR_FORMAT, "'%.120s' is a Git LFS pointer, not the model: fetch it with "
                                     "'git lfs pull'", s->path);
    /* a zip archive, or the protocol mark of a pickle before its first opcode */
    if (memcmp(start, "PK\3\4", 4) == 0 || (start[0] == 0x80 && start[1] >= 2 && start[1] <= 5))
        return fail_pickle(s->path, err);
    if (memcmp(start, "GGUF", 4) == 0) {
        s->layout = "gguf";
        return source_open_gguf(s, err);
    }
    if (size > 8 && start[8] == '{' && strstr(s->path, ".safetensors"))
        return fail(err, ERR_INPUT, "'%.120s' holds tensors alone: name its folder, which has the "
                                    "configuration", s->path);
    s->layout = "llama2.c";
    return source_open_llama2c(s, err);
}

bool source_open(Source **out, const char *path, Error *err)
{
    if (!fs_exists(path))
        return fail(err, ERR_NOT_FOUND, "there is no model folder '%.160s'", path);
    Source *s = mem_alloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "no memory to open '%.120s'", path);
    arena_init(&s->arena, ARENA_BYTES_MAX);
    bool ok = snprintf(s->path, sizeof s->path, "%s", path) < (int)sizeof s->path ||
              fail(err, ERR_LIMIT, "path of %zu bytes is too long", strlen(path));
    ok = ok && (fs_is_dir(path) ? open_folder(s, err) : open_file(s, err));
    if (!ok) {
        source_close(s);
        return false;
    }
    *out = s;
    return true;
}

void source_close(Source *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->file_count; i++)
        fs_file_close(&s->files[i]);
    mem_free(s->files);
    mem_free(s->tensors);
    json_decref(s->config);
    arena_done(&s->arena);
    mem_free(s);
}

/* ---- access ---- */

const SourceTensor *source_find(const Source *s, const char *name)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (strcmp(s->tensors[i].name, name) == 0)
            return &s->tensors[i];
    }
    return NULL;
}

const SourceFile *source_extra(const Source *s, const char *name)
{
    for (uint32_t i = 0; i < s->extra_count; i++) {
        if (strcmp(s->extras[i].name, name) == 0)
            return &s->extras[i];
    }
    return NULL;
}

bool source_read_extra(const SourceFile *extra, Buf *out, Error *err)
{
    if (extra->path)
        return fs_read(extra->path, out, err);
    buf_add(out, extra->bytes, extra->size);
    return buf_ok(out, extra->name, err);
}

uint64_t tensor_elements(const SourceTensor *t)
{
    return t->rows * t->columns;
}

uint64_t source_parameters(const Source *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->tensors[i].type->to_f32)
            sum += tensor_elements(&s->tensors[i]);
    }
    return sum;
}
