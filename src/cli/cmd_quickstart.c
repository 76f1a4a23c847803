/* cmd_quickstart.c: the main job from the command line. */
#include "cli/command.h"

#include "base/fs.h"
#include "base/mem.h"
#include "forge/mainjob.h"
#include "store/workspace.h"
#include "trust/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    const char *workspace, *data, *name;
    bool full, json;
    uint32_t threads;
    uint64_t seed;
} Quickstart;

/* Everything that comes through a pipe, into a file. */
static bool copy_to_file(int from, const char *path, Error *err)
{
    auto_free FsWriter *w = mem_alloc(1, sizeof *w);
    char step[1 << 16];
    if (!w)
        return fail(err, ERR_MEMORY, "no memory to write '%s'", path);
    if (!fs_writer_open(w, path, err))
        return false;
    for (ssize_t got; (got = read(from, step, sizeof step)) > 0;) {
        if (!fs_writer_add(w, step, (size_t)got, err))
            return false;
    }
    return fs_writer_commit(w, err);
}

/* Runs `apt-cache dumpavail` into a file: the one program that knows this machine's catalogue. */
static bool dump_catalogue(const char *path, Error *err)
{
    int ends[2], status = -1;
    if (pipe(ends) != 0)
        return fail(err, ERR_IO, "cannot make a pipe");
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execlp("apt-cache", "apt-cache", "dumpavail", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    bool kept = copy_to_file(ends[0], path, err);
    close(ends[0]);
    bool ran = child > 0 && waitpid(child, &status, 0) == child;
    if (!kept)
        return false;
    if (!ran || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fail(err, ERR_NOT_FOUND, "`apt-cache dumpavail` failed: this machine has no Debian "
                                        "package catalogue; give your own records with --data");
    return true;
}

static bool load_dataset(const Quickstart *q, Dataset **out, Error *err)
{
    char path[1024];
    if (q->data)
        return dataset_load(out, q->data, q->seed, err);
    terminal_phase(NULL, "Reading the package catalogue of this machine");
    if (!fs_join(path, sizeof path, q->workspace, "datasets/catalogue.dump", err) ||
        !dump_catalogue(path, err))
        return false;
    bool ok = dataset_import_catalogue(out, path, q->seed, err);
    Error ignored;
    (void)!fs_remove(path, &ignored);
    return ok;
}

static bool keep_dataset(const Quickstart *q, const Dataset *dataset, Error *err)
{
    char folder[1024], path[1100], name[160];
    snprintf(name, sizeof name, "%s.jsonl", q->name);
    return fs_join(folder, sizeof folder, q->workspace, "datasets", err) &&
           fs_join(path, sizeof path, folder, name, err) && dataset_save(dataset, path, err);
}

/* True when the model is there, whole and signed: a second run has nothing to do. */
static bool is_done(const char *folder, const char *report)
{
    Error err;
    ManifestReport whole;
    char page[1100];
    return fs_is_dir(folder) && manifest_verify(folder, NULL, &whole, &err) &&
           fs_join(page, sizeof page, report, "report.json", &err) && fs_exists(page);
}

static void print_result(const Quickstart *q, const MainJobResult *r, bool labelled)
{
    if (q->json) {
        printf("{\"model\":\"%s\",\"report\":\"%s/report.html\",\"accuracy\":%.6f,"
               "\"baseline_naive_bayes\":%.6f,\"seconds\":%.1f,\"tokens_per_second\":%.0f}\n",
               r->model_folder, r->report_folder, r->accuracy, r->baseline, r->seconds,
               r->tokens_per_second);
        return;
    }
    if (labelled)
        printf("The model is right on %.1f %% of the held-out records; naive Bayes on %.1f %%, "
               "the commonest answer on %.1f %%.\n",
               100 * r->accuracy, 100 * r->baseline, 100 * r->majority);
    else
        printf("The model needs %.3f bits per byte of held-out text.\n", r->bits_per_byte);
    printf("Model:  %s\nReport: %s/report.html\n", r->model_folder, r->report_folder);
}

static bool run_job(const Quickstart *q, Error *err)
{
    Dataset *dataset;
    char command[200];
    MainJobResult result;
    if (!load_dataset(q, &dataset, err))
        return false;
    snprintf(command, sizeof command, "./quickstart%s%s%s", q->full ? " --full" : "",
             q->data ? " --data " : "", q->data ? q->data : "");
    MainJob job = {.workspace = q->workspace, .name = q->name, .dataset = dataset,
                   .records_noun = q->data ? NULL : "packages",
                   .label_noun = q->data ? NULL : "section", .command = command,
                   .size = q->full ? &mainjob_full : &mainjob_default, .threads = q->threads,
                   .seed = q->seed, .peak_flops = terminal_peak_flops(q->threads),
                   .stop = &terminal_stop, .phase = terminal_phase,
                   .progress = terminal_progress};
    terminal_catch_signals();
    bool labelled = dataset->label_count > 1;
    bool ok = keep_dataset(q, dataset, err) && mainjob_run(&job, &result, err);
    dataset_free(dataset);
    if (ok)
        print_result(q, &result, labelled);
    return ok;
}

bool command_quickstart(int argc, char **argv, Error *err)
{
    Quickstart q = {.seed = 1};
    uint32_t found;
    const ArgOption options[] = {
        {"workspace", ARG_TEXT, &q.workspace, "FOLDER", "where"},
        {"data", ARG_TEXT, &q.data, "PATH", "your own records"},
        {"name", ARG_TEXT, &q.name, "NAME", "of the model"},
        {"threads", ARG_U32, &q.threads, "N", "to use"},
        {"seed", ARG_U64, &q.seed, "N", "of splits, weights and order"},
        {"full", ARG_FLAG, &q.full, NULL, "train longer"},
        {"json", ARG_FLAG, &q.json, NULL, "for programs"},
    };
    char folder[1200], report[1200], relative[200];
    if (!args_parse(argc, argv, options, sizeof options / sizeof *options, NULL, 0, &found, err))
        return false;
    q.workspace = terminal_workspace(q.workspace);
    if (!q.name)
        q.name = q.data ? "custom" : q.full ? "catalogue-full" : "catalogue";
    if (strchr(q.name, '/') || *q.name == '.' || strlen(q.name) > 100)
        return fail(err, ERR_INPUT, "--name must be a plain word of at most 100 bytes");
    Workspace *ws;
    if (!workspace_open(&ws, q.workspace, err)) {
        if (err->code != ERR_NOT_FOUND || !workspace_init(q.workspace, err) ||
            !workspace_open(&ws, q.workspace, err))
            return false;
    }
    workspace_close(ws);
    snprintf(relative, sizeof relative, "models/%s", q.name);
    if (!fs_join(folder, sizeof folder, q.workspace, relative, err))
        return false;
    snprintf(relative, sizeof relative, "runs/%s", q.name);
    if (!fs_join(report, sizeof report, q.workspace, relative, err))
        return false;
    if (!is_done(folder, report))
        return run_job(&q, err);
    fprintf(stderr, "The model '%s' is there, whole and signed: nothing to do.\n", q.name);
    return true;
}
