/* model_files.c: a model folder in Hugging Face layout, in and out; see model.h. */
#include "model/model.h"

#include "base/mem.h"
#include "format/safetensors.h"
#include "model/llama.h"

#include <stdio.h>

enum { CONFIG_BYTES_MAX = 1 << 20 };

/* ---- saving ---- */

static bool set_u32(json_t *object, const char *key, uint64_t value)
{
    return json_object_set_new(object, key, json_integer((json_int_t)value)) == 0;
}

static bool set_end_token(json_t *object, const Model *model)
{
    int32_t id;
    if (!model->chat || !model->tokenizer ||
        !tokenizer_special(model->tokenizer, model->chat->end_marker, &id))
        return json_object_set_new(object, "eos_token_id", json_null()) == 0;
    return set_u32(object, "eos_token_id", (uint64_t)id) &&
           set_u32(object, "pad_token_id", (uint64_t)id) &&
           json_object_set_new(object, "bos_token_id", json_null()) == 0;
}

static bool fill_config(const Model *model, json_t *out)
{
    const ModelConfig *c = &model->config;
    json_t *names = json_array();
    if (!names || json_object_set_new(out, "architectures", names) != 0 ||
        json_array_append_new(names, json_string(model->family->architecture)) != 0)
        return false;
    return json_object_set_new(out, "model_type", json_string(model->family->name)) == 0 &&
           json_object_set_new(out, "_name_or_path", json_string(model->name)) == 0 &&
           set_u32(out, "hidden_size", c->width) && set_u32(out, "intermediate_size", c->ff_width) &&
           set_u32(out, "num_hidden_layers", c->layers) &&
           set_u32(out, "num_attention_heads", c->heads) &&
           set_u32(out, "num_key_value_heads", c->kv_heads) &&
           set_u32(out, "head_dim", c->head_width) && set_u32(out, "vocab_size", c->vocab) &&
           set_u32(out, "max_position_embeddings", c->context) &&
           json_object_set_new(out, "rms_norm_eps", json_real((double)c->eps)) == 0 &&
           json_object_set_new(out, "rope_theta", json_real((double)c->theta)) == 0 &&
           json_object_set_new(out, "rope_scaling", json_null()) == 0 &&
           json_object_set_new(out, "hidden_act", json_string("silu")) == 0 &&
           json_object_set_new(out, "tie_word_embeddings", json_boolean(c->tied)) == 0 &&
           json_object_set_new(out, "torch_dtype", json_string("float32")) == 0 &&
           json_object_set_new(out, "use_cache", json_true()) == 0 && set_end_token(out, model) &&
           model->family->write(c, out);
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

static bool save_weights(const Model *model, const char *folder, Error *err)
{
    char path[1024];
    const Weights *w = &model->weights;
    auto_free StTensor *tensors = mem_alloc(w->count, sizeof *tensors);
    if (!tensors)
        return fail(err, ERR_MEMORY, "no memory to save %u tensors", w->count);
    for (uint32_t i = 0; i < w->count; i++) {
        const ParamInfo *param = &w->params[i];
        StTensor *tensor = &tensors[i];
        tensor->name = param->name;
        tensor->dtype = ST_F32;
        tensor->rank = param->shape.rank;
        for (uint32_t d = 0; d < param->shape.rank; d++)
            tensor->shape[d] = param->shape.dim[d];
        tensor->data = (const uint8_t *)(w->slab + param->offset);
        tensor->bytes = shape_count(param->shape) * sizeof(float);
    }
    return fs_join(path, sizeof path, folder, "model.safetensors", err) &&
           safetensors_write(path, tensors, w->count, err);
}

bool model_save(const Model *model, const char *folder, Error *err)
{
    char path[1024];
    if (!fs_make_dirs(folder, err) || !save_weights(model, folder, err) ||
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

static bool load_config(const char *folder, const Family **family, ModelConfig *config,
                        char name[128], Error *err)
{
    char path[1024];
    auto_json json_t *object = NULL;
    const char *type, *given;
    if (!fs_join(path, sizeof path, folder, "config.json", err) ||
        !json_read(&object, path, CONFIG_BYTES_MAX, err) ||
        !json_get_text(object, "model_type", "", &type, "config.json", err) ||
        !json_get_text(object, "_name_or_path", "", &given, "config.json", err))
        return false;
    *family = family_named(type);
    if (!*family)
        return fail(err, ERR_FORMAT, "config.json: model_type '%.40s' is not a family known here",
                    type);
    const char *slash = strrchr(folder, '/');
    snprintf(name, 128, "%s", *given ? given : slash && slash[1] ? slash + 1 : folder);
    return (*family)->read(object, "config.json", config, err) && model_check_config(config, err);
}

static bool load_tensor(const Safetensors *st, const ParamInfo *param, float *to, Error *err)
{
    const StTensor *tensor = safetensors_find(st, param->name);
    if (!tensor)
        return fail(err, ERR_FORMAT, "model.safetensors: tensor '%s' is missing", param->name);
    bool same = tensor->rank == param->shape.rank;
    for (uint32_t d = 0; same && d < tensor->rank; d++)
        same = tensor->shape[d] == param->shape.dim[d];
    if (!same)
        return fail(err, ERR_FORMAT, "model.safetensors: '%s' has another shape than config.json "
                                     "gives it",
                    param->name);
    return safetensors_to_f32(tensor, to, shape_count(param->shape), err);
}

static bool load_weights(Model *model, const char *folder, Error *err)
{
    char path[1024];
    Safetensors *st;
    if (!fs_join(path, sizeof path, folder, "model.safetensors", err) ||
        !safetensors_open(&st, path, err))
        return false;
    bool ok = true;
    uint32_t expected = model->weights.count;
    for (uint32_t i = 0; ok && i < model->weights.count; i++) {
        const ParamInfo *param = &model->weights.params[i];
        ok = load_tensor(st, param, model->weights.slab + param->offset, err);
    }
    for (uint32_t i = 0; ok && safetensors_count(st) > expected && i < safetensors_count(st); i++) {
        const char *name = safetensors_at(st, i)->name;
        bool tied_head = model->config.tied && strcmp(name, "lm_head.weight") == 0;
        if (!weights_find(&model->weights, name) && !tied_head)
            ok = fail(err, ERR_FORMAT, "model.safetensors: tensor '%s' belongs to no part of a %s "
                                       "model",
                      name, model->family->name);
    }
    safetensors_close(st);
    return ok;
}

static bool load_tokenizer(Model *model, const char *folder, Error *err)
{
    char path[1024];
    if (!fs_join(path, sizeof path, folder, "tokenizer.json", err))
        return false;
    if (!fs_exists(path))
        return true;
    if (!tokenizer_load(&model->tokenizer, path, err))
        return false;
    if (tokenizer_vocab(model->tokenizer) > model->config.vocab)
        return fail(err, ERR_FORMAT, "tokenizer.json has %u tokens, the model only %u",
                    tokenizer_vocab(model->tokenizer), model->config.vocab);
    return chat_template_load(&model->chat, folder, model->tokenizer, err);
}

/* A configuration cannot ask for memory that its weights do not fill: refused by the file's size,
 * before anything is laid out. Stored elements take 2 bytes at least. */
static bool check_size(const ModelConfig *c, const char *folder, Error *err)
{
    char path[1024];
    uint64_t heads = 2 * ((uint64_t)c->heads + c->kv_heads) * c->head_width;
    uint64_t matrices = c->layers * c->width * (heads + 3 * (uint64_t)c->ff_width) +
                        (uint64_t)c->vocab * c->width;
    if (!fs_join(path, sizeof path, folder, "model.safetensors", err))
        return false;
    int64_t size = fs_size(path);
    if (size < 0)
        return fail(err, ERR_NOT_FOUND, "'%s' has no model.safetensors", folder);
    /* a few bytes (a Git LFS pointer) are told what they are when they are read */
    uint64_t most = size > 4096 ? (uint64_t)size / 2 : 1 << 20;
    if (matrices > most)
        return fail(err, ERR_FORMAT, "config.json describes %llu parameters, model.safetensors has "
                                     "only %lld bytes",
                    (unsigned long long)matrices, (long long)size);
    return true;
}

bool model_load(Model **out, const char *folder, Error *err)
{
    const Family *family;
    ModelConfig config;
    char name[128];
    Model *model;
    if (!fs_is_dir(folder))
        return fail(err, ERR_NOT_FOUND, "there is no model folder '%s'", folder);
    if (!load_config(folder, &family, &config, name, err) ||
        !check_size(&config, folder, err) || !model_shell(&model, family, &config, name, err))
        return false;
    if (!load_weights(model, folder, err) || !load_tokenizer(model, folder, err)) {
        model_free(model);
        return false;
    }
    *out = model;
    return true;
}
