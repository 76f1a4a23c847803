/* cmd_up.c: the server, and the hidden command of its workers. */
#include "cli/command.h"

#include "quant/source_model.h"
#include "serve/serve.h"
#include "serve/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS_MAX = 64 };

/* NAME=FOLDER; the words are cut in place. */
static bool split_models(const char **words, uint32_t count, ServeModel *models, Error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        char *equals = strchr(words[i], '=');
        if (!equals || equals == words[i] || !equals[1])
            return fail(err, ERR_INPUT, "'%.80s' is not of the form NAME=FOLDER", words[i]);
        *equals = 0;
        models[i] = (ServeModel){.name = words[i], .folder = equals + 1};
    }
    return true;
}

bool command_up(int argc, char **argv, Error *err)
{
    const char *words[MODELS_MAX];
    ServeModel models[MODELS_MAX];
    uint32_t found, port = UINT32_MAX;
    ServeOptions o = {0};
    const char *workspace = NULL;
    const ArgOption options[] = {
        {"workspace", ARG_TEXT, &workspace, "FOLDER", "where"},
        {"host", ARG_TEXT, &o.host, "ADDRESS", "to listen on"},
        {"port", ARG_U32, &port, "N", "to listen on"},
        {"threads", ARG_U32, &o.engine.threads, "N", "of each model"},
        {"context", ARG_U32, &o.engine.context, "N", "tokens of a sequence"},
        {"sequences", ARG_U32, &o.engine.sequences_max, "N", "answered at once"},
        {"weights", ARG_TEXT, &o.engine.weights, "TYPE", "as stored, or f32, q8_0, q6_k, q5_k, q4_k, q4_0"},
        {"certificate", ARG_TEXT, &o.certificate_file, "FILE", "PEM"},
        {"certificate-key", ARG_TEXT, &o.key_file, "FILE", "PEM"},
        {"plain-http", ARG_FLAG, &o.plain_allowed, NULL, "beyond this machine without TLS"},
        {"access-log", ARG_FLAG, &o.access_log, NULL, "a line per request"},
    };
    if (!args_parse(argc, argv, options, sizeof options / sizeof *options, words, MODELS_MAX,
                    &found, err) ||
        !split_models(words, found, models, err))
        return false;
    if (port != UINT32_MAX && port > 65535)
        return fail(err, ERR_INPUT, "--port must be at most 65535, is %u", port);
    o.workspace = terminal_workspace(workspace);
    o.models = models;
    o.model_count = found;
    o.port_set = port != UINT32_MAX;
    o.port = o.port_set ? (uint16_t)port : 0;
    return serve_run(&o, err);
}

bool command_worker(int argc, char **argv, Error *err)
{
    (void)err;
    exit(worker_main(argc - 1, argv + 1, source_model_load));
}
