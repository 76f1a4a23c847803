/* cmd_workspace.c: init and key: the workspace and who may use it. */
#include "cli/command.h"

#include "base/clock.h"
#include "store/workspace.h"

#include <stdio.h>
#include <string.h>

static bool add_key(Workspace *ws, const char *name, bool json, Error *err)
{
    char key[KEY_TEXT_ROOM], id[KEY_ID_ROOM];
    if (!workspace_key_add(ws, name, key, id, err))
        return false;
    if (json)
        printf("{\"id\":\"%s\",\"key\":\"%s\"}\n", id, key);
    else
        printf("%s\nThis is key %s. It is shown this once; keep it safe.\n", key, id);
    memset(key, 0, sizeof key);
    return true;
}

bool command_init(int argc, char **argv, Error *err)
{
    const char *folder = NULL;
    bool json = false;
    uint32_t words;
    const ArgOption options[] = {{"workspace", ARG_TEXT, &folder, "FOLDER", "where"},
                                 {"json", ARG_FLAG, &json, NULL, "for programs"}};
    Workspace *ws;
    if (!args_parse(argc, argv, options, 2, NULL, 0, &words, err))
        return false;
    folder = terminal_workspace(folder);
    if (!workspace_init(folder, err) || !workspace_open(&ws, folder, err))
        return false;
    if (!json)
        fprintf(stderr, "Made the workspace '%s'. Its first API key:\n", folder);
    bool ok = add_key(ws, "first", json, err);
    workspace_close(ws);
    return ok;
}

static bool print_key(void *json, const WorkspaceKey *key, Error *err)
{
    char made[21], used[21] = "never";
    (void)err;
    clock_iso(key->created, made);
    if (key->last_used)
        clock_iso(key->last_used, used);
    if (*(bool *)json)
        printf("{\"id\":\"%s\",\"created\":%lld,\"revoked\":%lld,\"last_used\":%lld}\n", key->id,
               (long long)key->created, (long long)key->revoked, (long long)key->last_used);
    else
        printf("%s  made %s  used %-20s  %s  %s\n", key->id, made, used,
               key->revoked ? "revoked" : "valid  ", key->name);
    return true;
}

bool command_key(int argc, char **argv, Error *err)
{
    const char *folder = NULL, *words[2] = {NULL, NULL};
    bool json = false, ok;
    uint32_t found;
    const ArgOption options[] = {{"workspace", ARG_TEXT, &folder, "FOLDER", "where"},
                                 {"json", ARG_FLAG, &json, NULL, "for programs"}};
    Workspace *ws;
    if (!args_parse(argc, argv, options, 2, words, 2, &found, err))
        return false;
    bool add = found == 2 && strcmp(words[0], "add") == 0;
    bool revoke = found == 2 && strcmp(words[0], "revoke") == 0;
    bool list = found == 1 && strcmp(words[0], "list") == 0;
    if (!add && !revoke && !list)
        return fail(err, ERR_INPUT, "say: bastide key add NAME, list, or revoke ID");
    if (!workspace_open(&ws, terminal_workspace(folder), err))
        return false;
    if (add)
        ok = add_key(ws, words[1], json, err);
    else if (revoke)
        ok = workspace_key_revoke(ws, words[1], err);
    else
        ok = workspace_keys(ws, print_key, &json, err);
    workspace_close(ws);
    return ok;
}
