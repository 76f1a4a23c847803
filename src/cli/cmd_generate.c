/* cmd_generate.c: one answer at the terminal, through the engine that serves. */
#include "cli/command.h"

#include "base/clock.h"
#include "base/fs.h"
#include "format/json.h"
#include "infer/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 1 << 20 };

typedef struct {
    const char *system, *weights, *temperature;
    uint32_t tokens, threads;
    uint64_t seed;
    bool plain, json;
} Generate;

typedef struct {
    Buf text; /* --json: all of it */
    bool json;
    EngineEnd end;
    uint32_t prompt_tokens, answer_tokens;
} Answering;

static void show(Answering *a, const char *text, size_t size)
{
    if (a->json) {
        buf_add(&a->text, text, size);
        return;
    }
    fwrite(text, 1, size, stdout);
    fflush(stdout);
}

static void on_token(void *user, int32_t id, const char *text, size_t size, float logprob,
                     const EngineAlternative *alternatives, uint32_t count)
{
    (void)id;
    (void)logprob;
    (void)alternatives;
    (void)count;
    show(user, text, size);
}

static void on_end(void *user, EngineEnd end, const char *text, size_t size,
                   uint32_t prompt_tokens, uint32_t answer_tokens)
{
    Answering *a = user;
    show(a, text, size);
    a->end = end;
    a->prompt_tokens = prompt_tokens;
    a->answer_tokens = answer_tokens;
}

static bool read_question(Buf *out, Error *err)
{
    char step[4096];
    for (size_t got; (got = fread(step, 1, sizeof step, stdin)) > 0;)
        buf_add(out, step, got);
    while (out->size && out->data[out->size - 1] == '\n')
        out->data[--out->size] = 0;
    return buf_ok(out, "the question", err);
}

static bool encode(const Generate *g, const Engine *engine, const char *question, Tokens *ids,
                   Error *err)
{
    const ChatTemplate *chat = engine_template(engine);
    ChatMessage messages[2];
    uint32_t count = 0;
    if (g->plain)
        return tokenizer_encode_prompt(engine_tokenizer(engine), question, strlen(question), ids,
                                       err);
    if (!chat)
        return fail(err, ERR_INPUT, "this model carries no template known here: use --plain");
    if (g->system)
        messages[count++] = (ChatMessage){CHAT_SYSTEM, g->system, strlen(g->system), false};
    messages[count++] = (ChatMessage){CHAT_USER, question, strlen(question), false};
    return chat_render(chat, engine_tokenizer(engine), messages, count, true, ids, NULL, err);
}

static bool print_json(const Answering *a, double seconds, Error *err)
{
    auto_buf Buf line;
    buf_init(&line, 2 * TEXT_BYTES_MAX);
    auto_json json_t *object = json_pack(
        "{s:s%, s:s, s:i, s:i, s:f}", "text", a->text.data ? a->text.data : "", a->text.size,
        "finish_reason", a->end == ENGINE_LENGTH ? "length" : "stop", "prompt_tokens",
        (int)a->prompt_tokens, "completion_tokens", (int)a->answer_tokens, "seconds", seconds);
    if (!object)
        return fail(err, ERR_MEMORY, "no memory for the answer");
    if (!json_dump(object, &line, err))
        return false;
    puts(line.data);
    return true;
}

static bool answer(const Generate *g, Engine *engine, Answering *a, const char *question,
                   float temperature, Error *err)
{
    auto_tokens Tokens ids;
    uint64_t handle;
    double begin = clock_seconds();
    tokens_init(&ids, 1 << 20);
    if (!encode(g, engine, question, &ids, err))
        return false;
    EngineRequest request = {.prompt = ids.ids, .prompt_count = (uint32_t)ids.count,
                             .tokens_max = g->tokens, .temperature = temperature, .top_p = 1,
                             .seed = g->seed, .user = a};
    if (!engine_submit(engine, &request, &handle, err))
        return false;
    while (engine_busy(engine)) {
        if (!engine_step(engine, err))
            return false;
    }
    if (a->json)
        return print_json(a, clock_seconds() - begin, err);
    putchar('\n');
    return true;
}

static bool parse_temperature(const char *text, float *out, Error *err)
{
    char *end;
    *out = text ? strtof(text, &end) : 0;
    if (text && (*end || end == text || !(*out >= 0 && *out <= 100)))
        return fail(err, ERR_INPUT, "--temperature must be a number from 0 to 100, is '%.40s'",
                    text);
    return true;
}

bool command_generate(int argc, char **argv, Error *err)
{
    Generate g = {.tokens = 256};
    const char *words[2] = {NULL, NULL};
    uint32_t found;
    float temperature;
    const ArgOption options[] = {
        {"system", ARG_TEXT, &g.system, "TEXT", "instruction"},
        {"tokens", ARG_U32, &g.tokens, "N", "at most"},
        {"temperature", ARG_TEXT, &g.temperature, "T", "0: the most probable"},
        {"seed", ARG_U64, &g.seed, "N", "of the draw"},
        {"threads", ARG_U32, &g.threads, "N", "to use"},
        {"weights", ARG_TEXT, &g.weights, "TYPE", "f32 or q8_0"},
        {"plain", ARG_FLAG, &g.plain, NULL, "continue the text"},
        {"json", ARG_FLAG, &g.json, NULL, "for programs"},
    };
    if (!args_parse(argc, argv, options, sizeof options / sizeof *options, words, 2, &found, err))
        return false;
    if (!found)
        return fail(err, ERR_INPUT, "say which model: bastide generate FOLDER TEXT");
    auto_buf Buf question;
    buf_init(&question, TEXT_BYTES_MAX);
    if (found > 1)
        buf_add_text(&question, words[1]);
    if (!parse_temperature(g.temperature, &temperature, err) ||
        (found == 1 && !read_question(&question, err)) || !buf_ok(&question, "the question", err))
        return false;
    Engine *engine;
    EngineOptions open = {.model = words[0], .threads = g.threads, .weights = g.weights,
                          .sequences_max = 1};
    if (!engine_open(&engine, &open, (EngineEvents){on_token, on_end}, err))
        return false;
    Answering a = {.json = g.json};
    buf_init(&a.text, TEXT_BYTES_MAX);
    bool ok = answer(&g, engine, &a, question.data ? question.data : "", temperature, err);
    buf_done(&a.text);
    engine_close(engine);
    return ok;
}
