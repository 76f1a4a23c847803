/* api_server.c: what the API tests run: a server with a tiny model made on the spot.
 *
 *     api_server model FOLDER CONTEXT  a random model of some hundred thousand parameters
 *     api_server init WORKSPACE        a workspace; prints its first key
 *     api_server revoke WORKSPACE ID   ends a key
 *     api_server serve WORKSPACE [--OPTION VALUE]... NAME=FOLDER...
 *     api_server worker ...            the hidden command of every server
 */
#include "base/fs.h"
#include "model/model.h"
#include "serve/serve.h"
#include "serve/worker.h"
#include "store/workspace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const documents[] = {
    "The quick brown fox jumps over the lazy dog while the town sleeps behind its walls.",
    "Bastides were founded as free towns: a square, an arcade, straight streets and a charter.",
    "Gr\xc3\xbc\xc3\x9f" "e aus der Stadt, \xe2\x82\xac 12.50 pro Tag, na\xc3\xafve caf\xc3\xa9s.",
};

static void document(void *user, size_t i, const char **text, size_t *size)
{
    (void)user;
    *text = documents[i % (sizeof documents / sizeof *documents)];
    *size = strlen(*text);
}

/* The rows of special tokens in the head become zero, so that none is ever the likeliest: an answer
 * at temperature 0 goes on to its length, as tests of interruptions need. */
static void never_end(Model *model)
{
    const ParamInfo *head = weights_find(&model->weights, "lm_head.weight");
    size_t width = model->config.width;
    for (uint32_t id = 0; head && id < model->config.vocab; id++)
        if (tokenizer_is_special(model->tokenizer, (int32_t)id))
            memset(model->weights.slab + head->offset + id * width, 0, width * sizeof(float));
}

static bool make_model(const char *folder, uint32_t context, Error *err)
{
    const ChatTemplate *chat = chat_template_default();
    uint32_t specials = 0;
    while (chat->specials[specials])
        specials++;
    TokenizerTraining training = {.vocab = 384, .special = chat->specials,
                                  .special_count = specials, .threads = 1};
    Tokenizer *tokenizer;
    if (!tokenizer_train(&tokenizer, &training, 30, document, NULL, err))
        return false;
    ModelConfig config = {.layers = 2, .width = 64, .heads = 4, .kv_heads = 2, .head_width = 16,
                          .ff_width = 128,
                          .vocab = tokenizer_vocab(tokenizer),
                          .context = context ? context : 512,
                          .eps = 1e-5f, .theta = 10000};
    Model *model;
    if (!model_new(&model, family_named("llama"), &config, tokenizer, chat, "tiny", 7, err)) {
        tokenizer_free(tokenizer);
        return false;
    }
    never_end(model);
    bool ok = fs_make_dirs(folder, err) && model_save(model, folder, err);
    model_free(model);
    return ok;
}

static bool init(const char *folder, Error *err)
{
    Workspace *ws;
    char key[KEY_TEXT_ROOM], id[KEY_ID_ROOM];
    if (!workspace_init(folder, err) || !workspace_open(&ws, folder, err))
        return false;
    bool ok = workspace_key_add(ws, "first", key, id, err);
    workspace_close(ws);
    if (ok)
        printf("%s %s\n", key, id);
    return ok;
}

static bool revoke(const char *folder, const char *id, Error *err)
{
    Workspace *ws;
    if (!workspace_open(&ws, folder, err))
        return false;
    bool ok = workspace_key_revoke(ws, id, err);
    workspace_close(ws);
    return ok;
}

/* Options are numbers, but for these three. */
static const char **text_option(ServeOptions *o, const char *name)
{
    return strcmp(name, "--cert") == 0   ? &o->certificate_file
           : strcmp(name, "--key") == 0  ? &o->key_file
           : strcmp(name, "--host") == 0 ? &o->host
                                         : NULL;
}

static bool take_option(ServeOptions *o, const char *name, const char *value, Error *err)
{
    const char **text = text_option(o, name);
    char *end;
    double number = strtod(value, &end);
    if (text)
        *text = value;
    else if (*end || number < 0)
        return fail(err, ERR_INPUT, "'%s' is no number", value);
    else if (strcmp(name, "--wait") == 0)
        o->wait_seconds = number;
    else if (strcmp(name, "--watchdog") == 0)
        o->progress_seconds = number;
    else if (strcmp(name, "--jobs") == 0)
        o->jobs_max = (uint32_t)number;
    else
        return fail(err, ERR_INPUT, "unknown option '%s'", name);
    return true;
}

static bool serve(int argc, char **argv, Error *err)
{
    enum { MODELS = 8 };
    ServeModel models[MODELS];
    ServeOptions options = {.workspace = argv[0], .models = models, .port_set = true,
                            .engine = {.threads = 1}, .access_log = true};
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (strncmp(argv[i], "--", 2) == 0 && i + 1 < argc) {
            if (!take_option(&options, argv[i], argv[i + 1], err))
                return false;
            i++;
        } else if (equals && options.model_count < MODELS) {
            *equals = 0;
            models[options.model_count++] = (ServeModel){.name = argv[i], .folder = equals + 1,
                                                         .digest = "fp_tiny"};
        }
    }
    return serve_run(&options, err);
}

int main(int argc, char **argv)
{
    Error err = {.text = "usage: see the head of api_server.c"};
    bool ok = false;
    if (argc > 2 && strcmp(argv[1], "worker") == 0)
        return worker_main(argc - 2, argv + 2, NULL);
    if (argc > 2 && strcmp(argv[1], "model") == 0)
        ok = make_model(argv[2], argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0, &err);
    if (argc > 2 && strcmp(argv[1], "init") == 0)
        ok = init(argv[2], &err);
    if (argc > 3 && strcmp(argv[1], "revoke") == 0)
        ok = revoke(argv[2], argv[3], &err);
    if (argc > 3 && strcmp(argv[1], "serve") == 0)
        ok = serve(argc - 2, argv + 2, &err);
    if (!ok)
        fprintf(stderr, "api_server: %s\n", err.text);
    return ok ? 0 : 1;
}
