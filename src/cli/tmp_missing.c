#include "cli/command.h"
bool command_train(int a, char **v, Error *err){(void)a;(void)v;return fail(err,ERR_INTERNAL,"x");}
