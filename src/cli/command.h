/* command.h: the command table: one row per command, one file per command.
 * A command prints to stdout what was asked for (--json: one JSON value), to stderr what happens.
 * It returns false with an Error; main prints the sentence and exits with the status of its code.
 * This layer alone prints, reads the environment and exits.
 */
#pragma once
#include "base/error.h"
#include "cli/args.h"
#include "train/progress.h"

typedef struct {
    const char *name;
    const char *summary; /* one line of `bastide --help` */
    const char *help;    /* usage, options and an example */
    bool (*run)(int argc, char **argv, Error *err); /* argv[0] is the command's name */
    bool hidden;
} Command;
extern const Command commands[]; /* ended by a row without name */

bool command_init(int argc, char **argv, Error *err);
bool command_data(int argc, char **argv, Error *err);
bool command_train(int argc, char **argv, Error *err);
bool command_model(int argc, char **argv, Error *err);
bool command_verify(int argc, char **argv, Error *err);
bool command_generate(int argc, char **argv, Error *err);
bool command_quantise(int argc, char **argv, Error *err);
bool command_quickstart(int argc, char **argv, Error *err);
bool command_tokenize(int argc, char **argv, Error *err);
bool command_up(int argc, char **argv, Error *err);
bool command_key(int argc, char **argv, Error *err);
bool command_doctor(int argc, char **argv, Error *err);
bool command_ops(int argc, char **argv, Error *err);
bool command_worker(int argc, char **argv, Error *err);

/* ---- shared by commands (terminal.c) ---- */

/* The workspace: --workspace, else BASTIDE_WORKSPACE, else "bastide-workspace". */
const char *terminal_workspace(const char *given);

/* A step begins: one line on stderr. user: ignored. */
void terminal_phase(void *user, const char *sentence);
/* Progress within a step: a moving line on a terminal, a plain line every 10 s otherwise. */
void terminal_progress(void *user, const ProgressView *view);
void terminal_progress_end(void); /* the moving line is left standing */

/* Set by SIGINT and SIGTERM once terminal_catch_signals was called. */
#include <signal.h>
extern volatile sig_atomic_t terminal_stop;
void terminal_catch_signals(void);

/* Most multiply-adds per second of the machine in f32, times two, measured in about 50 ms. */
double terminal_peak_flops(uint32_t threads);
