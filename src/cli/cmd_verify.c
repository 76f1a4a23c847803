/* cmd_verify.c: is a signed folder still what was signed? */
#include "cli/command.h"

#include "trust/manifest.h"

#include <stdio.h>

bool command_verify(int argc, char **argv, Error *err)
{
    const char *folder = NULL, *key = NULL;
    bool json = false;
    uint32_t found;
    ManifestReport report;
    const ArgOption options[] = {{"key", ARG_TEXT, &key, "SIGN.PUB", "that must have signed"},
                                 {"json", ARG_FLAG, &json, NULL, "for programs"}};
    if (!args_parse(argc, argv, options, 2, &folder, 1, &found, err))
        return false;
    if (!folder)
        return fail(err, ERR_INPUT, "say which folder: bastide verify FOLDER");
    if (!manifest_verify(folder, key, &report, err))
        return false;
    if (json)
        printf("{\"files\":%u,\"bytes\":%llu,\"key\":\"%s\",\"key_known\":%s}\n", report.files,
               (unsigned long long)report.bytes, report.key_id, key ? "true" : "false");
    else
        printf("Whole: %u files, %llu bytes, as signed by key %s%s.\n", report.files,
               (unsigned long long)report.bytes, report.key_id,
               key ? "" : " (give --key to say whose key that must be)");
    return true;
}
