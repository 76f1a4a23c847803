/* cmd_doctor.c: what this machine can do, and what is wrong; one function per question. */
#include "cli/command.h"

#include "backend/cpu/gemm.h"
#include "backend/cpu/vec.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "format/json.h"
#include "store/workspace.h"
#include "trust/manifest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { PORT = 8080, PROC_BYTES_MAX = 1 << 16, REPORT_BYTES_MAX = 1 << 20 };
#define GIBI ((double)(1 << 30))
#define DISK_LOW (1ull << 30)   /* a default quickstart writes some hundred megabytes */
#define MEMORY_LOW (2ull << 30)

typedef enum { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL, DOCTOR_COUNT } DoctorState;
static const char *const state_names[DOCTOR_COUNT] = {"ok", "warn", "fail"};

typedef struct {
    const char *workspace;
    bool json;
    const char *subject; /* of the question at hand */
    json_t *findings;    /* --json */
    uint32_t counts[DOCTOR_COUNT];
    bool memory_failed;
} Doctor;

/* A finding, and what to do about it ("" when nothing is). */
static void finding(Doctor *d, DoctorState state, const char *fix, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void finding(Doctor *d, DoctorState state, const char *fix, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    d->counts[state]++;
    if (d->json) {
        json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "subject", d->subject, "state",
                                state_names[state], "text", text, "fix", fix);
        d->memory_failed |= json_array_append_new(d->findings, row) != 0;
        return;
    }
    printf("%-5s %-13s %s\n", state_names[state], d->subject, text);
    if (*fix)
        printf("%-5s %-13s   %s\n", "", "", fix);
}

/* ---- the machine ---- */

static void ask_system(Doctor *d)
{
    struct utsname name;
    if (uname(&name) != 0)
        finding(d, DOCTOR_WARN, "", "the system does not say what it is");
    else
        finding(d, DOCTOR_OK, "", "%s %s on %s", name.sysname, name.release, name.machine);
}

static void ask_cores(Doctor *d)
{
    Pool *pool;
    Error err;
    long present = sysconf(_SC_NPROCESSORS_ONLN);
    if (!pool_new(&pool, 0, &err)) {
        finding(d, DOCTOR_FAIL, "raise the limit of processes (ulimit -u)", "%s", err.text);
        return;
    }
    uint32_t usable = pool_threads(pool);
    pool_free(pool);
    if ((long)usable < present)
        finding(d, DOCTOR_OK, "", "%u of %ld cores may be used by this process", usable, present);
    else
        finding(d, DOCTOR_OK, "", "%u cores", usable);
}

/* The first line of a file of /proc or /sys, at most `room` - 1 bytes; false: there is none. */
static bool first_line(const char *path, char *out, size_t room)
{
    Error err;
    auto_buf Buf text;
    buf_init(&text, PROC_BYTES_MAX);
    if (!fs_read(path, &text, &err) || !text.size)
        return false;
    snprintf(out, room, "%.*s", (int)strcspn(text.data, "\n"), text.data);
    return true;
}

static uint64_t memory_available(void)
{
    Error err;
    auto_buf Buf text;
    buf_init(&text, PROC_BYTES_MAX);
    if (!fs_read("/proc/meminfo", &text, &err) || !text.size)
        return 0;
    const char *at = strstr(text.data, "MemAvailable:");
    return at ? strtoull(at + strlen("MemAvailable:"), NULL, 10) << 10 : 0;
}

static void ask_memory(Doctor *d)
{
    char line[64];
    uint64_t total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t available = memory_available();
    /* Within a container the group's limit counts, not what the machine has. */
    if (first_line("/sys/fs/cgroup/memory.max", line, sizeof line) && *line >= '0' &&
        *line <= '9' && strtoull(line, NULL, 10) < total)
        total = strtoull(line, NULL, 10);
    if (!available || available > total)
        available = total;
    finding(d, available < MEMORY_LOW ? DOCTOR_WARN : DOCTOR_OK,
            available < MEMORY_LOW ? "end other programs, or train with a smaller row_tokens" : "",
            "%.1f GiB, %.1f GiB of it available", (double)total / GIBI, (double)available / GIBI);
}

static void ask_instructions(Doctor *d)
{
    bool portable = strcmp(gemm_isa_name(), "portable") == 0;
    finding(d, portable ? DOCTOR_WARN : DOCTOR_OK,
            portable ? "a processor with AVX2, AVX-512 or NEON computes several times faster" : "",
            "matrix products by %s, other kernels by %s", gemm_isa_name(), vec_isa_name());
}

static void ask_speed(Doctor *d)
{
    double peak = terminal_peak_flops(0);
    if (peak <= 0)
        finding(d, DOCTOR_WARN, "", "the speed could not be measured: no memory");
    else
        finding(d, DOCTOR_OK, "", "%.1f GFLOP/s in f32, measured on all usable cores just now",
                peak / 1e9);
}

static void ask_huge_pages(Doctor *d)
{
    char line[64];
    if (!first_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line))
        finding(d, DOCTOR_OK, "", "the kernel has no setting for them");
    else if (strstr(line, "[never]"))
        finding(d, DOCTOR_WARN, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
                "switched off: large matrices run slower");
    else
        finding(d, DOCTOR_OK, "", "%s", strstr(line, "[always]") ? "always" : "on request");
}

/* ---- programs and the network ---- */

static bool on_path(const char *program)
{
    const char *at = getenv("PATH");
    while (at && *at) {
        char path[1100];
        int length = (int)strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s/%s", length, at, program);
        if (access(path, X_OK) == 0)
            return true;
        at += length + (at[length] == ':');
    }
    return false;
}

static void ask_programs(Doctor *d)
{
    static const struct {
        const char *name, *fix;
    } programs[] = {
        {"apt-cache", "without it give quickstart your own records: --data PATH"},
        {"curl", "apt-get install curl, to try the examples of the API"},
    };
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        bool there = on_path(programs[i].name);
        finding(d, there ? DOCTOR_OK : DOCTOR_WARN, there ? "" : programs[i].fix, "%s is %s",
                programs[i].name, there ? "present" : "absent");
    }
}

static void ask_port(Doctor *d)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        finding(d, DOCTOR_FAIL, "allow this process to open sockets", "no socket: %s",
                strerror(errno));
        return;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0)
        finding(d, DOCTOR_OK, "", "%d on 127.0.0.1 is free", PORT);
    else
        finding(d, DOCTOR_WARN, "it may be `bastide up` itself; else choose another: --port N",
                "%d on 127.0.0.1: %s", PORT, strerror(errno));
    close(fd);
}

/* ---- the workspace ---- */

/* The deepest folder of the path that exists: on whose disk the workspace lies, or will. */
static void existing_parent(const char *path, char out[1024])
{
    snprintf(out, 1024, "%s", path);
    while (!fs_is_dir(out)) {
        char *slash = strrchr(out, '/');
        if (!slash) {
            snprintf(out, 1024, ".");
            return;
        }
        if (slash == out) {
            out[1] = 0;
            return;
        }
        *slash = 0;
    }
}

static void ask_disk(Doctor *d)
{
    char folder[1024];
    uint64_t bytes;
    Error err;
    existing_parent(d->workspace, folder);
    if (!fs_free_bytes(folder, &bytes, &err))
        finding(d, DOCTOR_FAIL, "", "%s", err.text);
    else
        finding(d, bytes < DISK_LOW ? DOCTOR_WARN : DOCTOR_OK,
                bytes < DISK_LOW ? "make room, or put the workspace elsewhere: --workspace" : "",
                "%.1f GiB free where the workspace lies", (double)bytes / GIBI);
}

static bool verify_model(void *user, const WorkspaceModel *model, Error *err)
{
    Doctor *d = user;
    ManifestReport report;
    Error problem;
    char key[1024];
    (void)err;
    if (!fs_join(key, sizeof key, d->workspace, "keys/sign.pub", &problem) ||
        !manifest_verify(model->path, fs_exists(key) ? key : NULL, &report, &problem))
        finding(d, DOCTOR_FAIL, "restore its folder from a copy, or make the model again",
                "model %s: %s", model->name, problem.text);
    else
        finding(d, DOCTOR_OK, "", "model %s is whole: %u files, signed by key %s", model->name,
                report.files, report.key_id);
    return true;
}

static void ask_workspace(Doctor *d)
{
    Workspace *ws;
    Error err;
    if (!fs_exists(d->workspace)) {
        finding(d, DOCTOR_OK, "", "there is no '%s' yet; bastide init or quickstart makes it",
                d->workspace);
        return;
    }
    if (!workspace_open(&ws, d->workspace, &err)) {
        finding(d, DOCTOR_FAIL, "give another --workspace, or restore this one from a copy", "%s",
                err.text);
        return;
    }
    if (workspace_lock(ws, &err))
        finding(d, DOCTOR_OK, "", "'%s' opens; nobody serves it", d->workspace);
    else
        finding(d, err.code == ERR_CONFLICT ? DOCTOR_OK : DOCTOR_FAIL, "", "%s", err.text);
    if (!workspace_models(ws, NULL, verify_model, d, &err))
        finding(d, DOCTOR_FAIL, "restore the workspace from a copy", "%s", err.text);
    workspace_close(ws);
}

/* ---- the command ---- */

static const struct {
    const char *subject;
    void (*ask)(Doctor *d);
} questions[] = {
    {"system", ask_system},     {"cores", ask_cores},           {"memory", ask_memory},
    {"instructions", ask_instructions}, {"speed", ask_speed},   {"huge pages", ask_huge_pages},
    {"disk", ask_disk},         {"workspace", ask_workspace},   {"programs", ask_programs},
    {"port", ask_port},
};

static bool print_findings(const Doctor *d, Error *err)
{
    auto_buf Buf line;
    buf_init(&line, REPORT_BYTES_MAX);
    auto_json json_t *object = json_pack("{s:O, s:i, s:i, s:i}", "findings", d->findings, "ok",
                                         (int)d->counts[DOCTOR_OK], "warn",
                                         (int)d->counts[DOCTOR_WARN], "fail",
                                         (int)d->counts[DOCTOR_FAIL]);
    if (!object || d->memory_failed)
        return fail(err, ERR_MEMORY, "no memory for the findings");
    if (!json_dump(object, &line, err))
        return false;
    puts(line.data);
    return true;
}

bool command_doctor(int argc, char **argv, Error *err)
{
    Doctor d = {0};
    const char *workspace = NULL;
    uint32_t words;
    const ArgOption options[] = {{"workspace", ARG_TEXT, &workspace, "FOLDER", "where"},
                                 {"json", ARG_FLAG, &d.json, NULL, "for programs"}};
    if (!args_parse(argc, argv, options, 2, NULL, 0, &words, err))
        return false;
    d.workspace = terminal_workspace(workspace);
    auto_json json_t *findings = json_array();
    d.findings = findings;
    if (!findings)
        return fail(err, ERR_MEMORY, "no memory for the findings");
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        d.subject = questions[i].subject;
        questions[i].ask(&d);
    }
    if (d.json && !print_findings(&d, err))
        return false;
    if (d.counts[DOCTOR_FAIL])
        return fail(err, ERR_DEVICE, "the doctor found %u %s to repair, listed above",
                    d.counts[DOCTOR_FAIL], d.counts[DOCTOR_FAIL] == 1 ? "thing" : "things");
    return true;
}
