/* cmd_ops.c: the op table, for people and programs. */
#include "cli/command.h"

#include "format/json.h"
#include "tensor/ops.h"

#include <stdio.h>

static bool print_json(Error *err)
{
    auto_json json_t *list = json_array();
    for (OpCode op = OP_NONE + 1; list && op < OP_COUNT; op++) {
        json_t *row = json_pack("{s:s, s:s, s:b}", "name", op_info[op].name, "meaning",
                                op_info[op].meaning, "differentiable", op_info[op].grad != NULL);
        if (!row || json_array_append_new(list, row) != 0)
            return fail(err, ERR_MEMORY, "no memory for the list of ops");
    }
    auto_buf Buf text;
    buf_init(&text, 1 << 20);
    if (!list || !json_dump(list, &text, err))
        return false;
    puts(text.data);
    return true;
}

bool command_ops(int argc, char **argv, Error *err)
{
    bool json = false;
    uint32_t found;
    const ArgOption options[] = {{"json", ARG_FLAG, &json, NULL, "for programs"}};
    if (!args_parse(argc, argv, options, 1, NULL, 0, &found, err))
        return false;
    if (json)
        return print_json(err);
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++)
        printf("%-17s %s  %s\n", op_info[op].name, op_info[op].grad ? "grad" : "    ",
               op_info[op].meaning);
    return true;
}
