#include "cli/command.h"
bool command_data(int a, char **v, Error *err){(void)a;(void)v;return fail(err,ERR_INTERNAL,"x");}
bool command_model(int a, char **v, Error *err){(void)a;(void)v;return fail(err,ERR_INTERNAL,"x");}
bool command_doctor(int a, char **v, Error *err){(void)a;(void)v;return fail(err,ERR_INTERNAL,"x");}
