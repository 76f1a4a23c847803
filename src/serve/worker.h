/* worker.h: the process that holds one model and answers for it.
 *
 * It knows an Engine and one socket (wire.h), and nothing else: no database, no keys, no network.
 * Its command line carries names and numbers only. Life: parse the arguments, open the engine,
 * report READY, then step the engine and carry frames until the socket closes.
 * Exit status: 0 the gateway left, 1 the model or the engine failed (an ERROR frame says why),
 * 2 wrong arguments. SIGINT and SIGTERM are ignored: the gateway decides when its workers end.
 */
#pragma once
#include "infer/engine.h"

enum { WORKER_WORDS_MAX = 20 };

/* argv of a worker with these options: argv[0], the word `command`, then options. The texts live in
 * here and in *options, which must outlive it. */
typedef struct {
    const char *words[WORKER_WORDS_MAX];
    char numbers[8][12];
} WorkerArguments;
void worker_arguments(WorkerArguments *out, const char *argv0, const char *command,
                      const EngineOptions *options);

/* The hidden command: takes what worker_arguments made, without argv[0] and the command's word; load:
 * see EngineOptions. Returns the exit status. */
int worker_main(int argc, char **argv, EngineLoad *load);

/* The same on an open descriptor. */
int worker_run(int fd, const EngineOptions *options);
