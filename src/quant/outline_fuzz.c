/* The configurations of the layouts from any text: config.json, params.json, adapter_config.json. */
#include "quant/rope_rules.h"
#include "quant/source_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    Rope rope;
    bool pictures;
    auto_json json_t *object = NULL, *config = NULL, *params = NULL;
    Source source = {0};
    if (!json_parse(&object, (const char *)data, size, "fuzz", &err) || !json_is_object(object))
        return 0;
    if (outline_read(&source.outline, object, "config.json", &err) &&
        rope_read(&rope, source.outline.text, "config.json", &err)) {
        source.config = object;
        if (native_of_config(&source, &params, &err) &&
            native_to_config(params, &config, &pictures, &err))
            json_release(&config);
    }
    if (native_to_config(object, &config, &pictures, &err)) {
        Outline outline;
        if (outline_read(&outline, config, "config.json", &err))
            return 0;
    }
    return 0;
}
