/* Any config.json gives a configuration whose graph can be recorded, or a sentence; what is accepted
 * comes back equal from what is written. */
#include "model/family.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_graph(const ConfigFile *file)
{
    Error err;
    Graph *g;
    ModelPorts ports;
    BuildSpec spec = {.mode = BUILD_TRAIN, .tokens = 1};
    if (!graph_new(&g, &err))
        return;
    if (model_build(g, file->family, &file->config, &spec, &ports, &err) &&
        !graph_finish(g, &err))
        abort();
    graph_free(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err = {0};
    ConfigFile file, again;
    auto_json json_t *object = NULL, *written = json_object();
    if (!json_parse(&object, (const char *)data, size, "config.json", &err))
        return 0;
    if (!config_read(object, "config.json", &file, &err) ||
        !model_check_config(&file.config, &err)) {
        if (err.code == ERR_NONE || !*err.text)
            abort();
        return 0;
    }
    if (file.config.layers <= 8)
        check_graph(&file);
    if (!config_write(file.family, &file.config, written) ||
        !config_read(written, "config.json", &again, &err) ||
        memcmp(&again.config, &file.config, sizeof again.config) != 0)
        abort();
    return 0;
}
