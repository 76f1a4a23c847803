/* model_files.c: a model folder in Hugging Face layout, in and out; see model.h. */
#include "model/model.h"

#include "base/mem.h"
#include "model/family.h"
#include "model/weight_files.h"

#include <stdio.h>

enum { CONFIG_BYTES_MAX = 1 << 20 };

/* ---- saving ---- */

static bool set_end_token(json_t *object, const Model *model)
{
    int32_t id;
    if (!model->chat || !model->tokenizer ||
        !tokenizer_special(model->tokenizer, model->chat->end_marker, &id))
        return json_object_set_new(object, "eos_token_id", json_null()) == 0;
    return config_set_u32(object, "eos_token_id", (uint64_t)id) &&
           config_set_u32(object, "pad_token_id", (uint64_t)id) &&
           json_object_set_new(object, "bos_token_id", json_null()) == 0;
}

static bool fill_config(const Model *model, json_t *out)
{
    return json_object_set_new(out, "_name_or_path", json_string(model->name)) == 0 &&
           config_write(model->family, &model->config, out) && set_end_token(out, model);
}

static bool save_json(const Model *model, const char *folder, const char *file,
                      bool (*fill)(const Model *model, json_t *out), Error *err)
{
    char path[1024];
    auto_json json_t *object = json_object();
    if (!object || !fill(model, object))
        return fail(err, ERR_MEMORY, "no memory to write %s of '%s'", file, model->name);
    return fs_join(path, sizeof path, folder, file, err) && json_write(object, path, err);
}

static bool fill_generation(const Model *model, json_t *out)
{
    return json_object_set_new(out, "do_sample", json_true()) == 0 &&
           json_object_set_new(out, "temperature", json_real(1.0)) == 0 &&
           set_end_token(out, model);
}

bool model_save(const Model *model, const char *folder, Error *err)
{
    char path[1024];
    if (!fs_make_dirs(folder, err) || !weight_files_save(&model->weights, folder, err) ||
        !save_json(model, folder, "config.json", fill_config, err) ||
        !save_json(model, folder, "generation_config.json", fill_generation, err))
        return false;
    if (!model->tokenizer)
        return true;
    if (!fs_join(path, sizeof path, folder, "tokenizer.json", err) ||
        !tokenizer_save(model->tokenizer, path, err))
        return false;
    return !model->chat || (fs_join(path, sizeof path, folder, "tokenizer_config.json", err) &&
                            chat_write_config(model->chat, model->tokenizer,
                                              model->config.context, path, err));
}

/* ---- loading ---- */

static bool load_config(const char *folder, ConfigFile *out, char name[128], Error *err)
{
    char path[1024];
    auto_json json_t *object = NULL;
    const char *given;
    if (!fs_join(path, sizeof path, folder, "config.json", err) ||
        !json_read(&object, path, CONFIG_BYTES_MAX, err) ||
        !json_get_text(object, "_name_or_path", "", &given, "config.json", err) ||
        !config_read(object, "config.json", out, err))
        return false;
    const char *slash = strrchr(folder, '/');
    snprintf(name, 128, "%s", *given ? given : slash && slash[1] ? slash + 1 : folder);
    return model_check_config(&out->config, err);
}

static bool load_tokenizer(Model *model, const char *folder, Error *err)
{
    if (!tokenizer_open(&model->tokenizer, folder, err))
        return err->code == ERR_NOT_FOUND; /* a model without text */
    if (tokenizer_vocab(model->tokenizer) > model->config.vocab)
        return fail(err, ERR_FORMAT, "%s: the model has only %u tokens",
                    tokenizer_source(model->tokenizer), model->config.vocab);
    return chat_template_load(&model->chat, folder, model->tokenizer, err);
}

/* A configuration cannot ask for memory that its weights do not fill: refused by the files' size,
 * before anything is laid out. Stored elements take 2 bytes at least, those of f8 one. */
static bool check_size(const ConfigFile *config, const WeightFiles *files, Error *err)
{
    const ModelConfig *c = &config->config;
    uint64_t heads = 2 * ((uint64_t)c->heads + c->kv_heads) * c->head_width;
    uint64_t inner = c->experts ? (uint64_t)c->experts * c->expert_width : c->ff_width;
    uint64_t matrices = c->layers * c->width * (heads + 3 * inner) + (uint64_t)c->vocab * c->width;
    uint64_t size = weight_files_bytes(files);
    if (matrices > size / (config->fp8 ? 1 : 2))
        return fail(err, ERR_FORMAT, "config.json describes %llu parameters, %s has only %llu bytes",
                    (unsigned long long)matrices, weight_files_name(files),
                    (unsigned long long)size);
    return true;
}

/* What was left out, as a sentence. */
static void note_left_out(Model *model, const ConfigFile *config, const WeightCounts *counts)
{
    const char *f8 = counts->f8 ? "; f8 weights were widened to f32 by their scales, activations "
                                  "stay f32" : "";
    if (config->wrapped)
        snprintf(model->note, sizeof model->note,
                 "this is a model of text and images: its text part is loaded, %u tensors of the "
                 "other parts are left out%s",
                 counts->left_out, f8);
    else if (counts->f8)
        snprintf(model->note, sizeof model->note, "%s", f8 + 2);
}

/* A wrapper that does not say whether the head is the embedding has a head or has none. */
static void settle_head(ConfigFile *config, const WeightFiles *files)
{
    if (config->wrapped && !config->tied_given)
        config->config.tied = !weight_files_has(files, "lm_head.weight");
}

static bool load_parts(Model **out, const char *folder, const WeightFiles *files,
                       ConfigFile *config, const char *name, Error *err)
{
    Model *model;
    WeightCounts counts;
    settle_head(config, files);
    if (!check_size(config, files, err) ||
        !model_shell(&model, config->family, &config->config, name, err))
        return false;
    WeightRules rules = {.family = config->family->name, .tied = config->config.tied,
                         .wrapped = config->wrapped, .f8 = config->fp8};
    if (!weight_files_load(files, &model->weights, rules, &counts, err) ||
        !load_tokenizer(model, folder, err)) {
        model_free(model);
        return false;
    }
    note_left_out(model, config, &counts);
    *out = model;
    return true;
}

bool model_load(Model **out, const char *folder, Error *err)
{
    ConfigFile config;
    WeightFiles *files;
    char name[128];
    if (!fs_is_dir(folder))
        return fail(err, ERR_NOT_FOUND, "there is no model folder '%s'", folder);
    if (!load_config(folder, &config, name, err) || !weight_files_open(&files, folder, err))
        return false;
    bool ok = load_parts(out, folder, files, &config, name, err);
    weight_files_close(files);
    return ok;
}
