/* text_bench.c: speed of the tokenizer, and its ids for comparison with others.
 *
 *   text_bench train TEXT VOCAB THREADS TOKENIZER_JSON   trains and saves; prints MB/s
 *   text_bench encode TOKENIZER_JSON TEXT THREADS        encodes documents; prints MB/s
 *   text_bench ids TOKENIZER_JSON TEXT                   the ids of the whole text, one a line
 *   text_bench texts TOKENIZER TEXTS                     the ids of texts parted by NUL bytes, the
 *                                                        ids of each on one line
 *   text_bench folder TOKENIZER_JSON FOLDER              saves it again with a chat configuration
 *   text_bench chat TOKENIZER_JSON TEXT                  ids of one chat: messages are parted by
 *                                                        NUL bytes, each begins with s, u or a
 * A document is a run of whole lines of about 4 KiB. tools/peer_tokenizers.py does the same with
 * Hugging Face's tokenizers; bench/text_compare.py runs both in turn.
 */
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "text/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENT_BYTES = 4096, MESSAGES_MAX = 64 };

typedef struct {
    const char *text;
    size_t *starts; /* [count + 1] */
    size_t count;
} Documents;

static void document(void *user, size_t i, const char **text, size_t *size)
{
    const Documents *d = user;
    *text = d->text + d->starts[i];
    *size = d->starts[i + 1] - d->starts[i];
}

static bool cut(Documents *d, const FsMap *map, Error *err)
{
    d->text = (const char *)map->data;
    d->starts = mem_alloc(map->size / DOCUMENT_BYTES + 2, sizeof *d->starts);
    if (!d->starts)
        return fail(err, ERR_MEMORY, "no memory");
    for (size_t at = 0; at < map->size;) {
        size_t end = at + DOCUMENT_BYTES;
        const char *line = end < map->size ? memchr(d->text + end, '\n', map->size - end) : NULL;
        at = line ? (size_t)(line - d->text) + 1 : map->size;
        d->starts[++d->count] = at;
    }
    return true;
}

static bool train(const FsMap *map, char **argv, Error *err)
{
    static const char *const special[] = {"<|endoftext|>", "<|system|>", "<|user|>",
                                          "<|assistant|>", "<|end|>"};
    Documents d = {0};
    Tokenizer *t;
    TokenizerTraining options = {.vocab = (uint32_t)strtoul(argv[3], NULL, 10), .special = special,
                                 .special_count = 5, .threads = (uint32_t)strtoul(argv[4], NULL, 10)};
    if (!cut(&d, map, err))
        return false;
    double start = clock_seconds();
    bool done = tokenizer_train(&t, &options, d.count, document, &d, err);
    double seconds = clock_seconds() - start;
    mem_free(d.starts);
    if (!done)
        return false;
    printf("{\"seconds\": %.4f, \"mb_per_s\": %.3f, \"vocab\": %u}\n", seconds,
           (double)map->size / 1e6 / seconds, tokenizer_vocab(t));
    done = tokenizer_save(t, argv[5], err);
    tokenizer_free(t);
    return done;
}

static bool encode(const Tokenizer *t, const FsMap *map, uint32_t threads, Error *err)
{
    Documents d = {0};
    Pool *pool = NULL;
    auto_tokens Tokens out;
    tokens_init(&out, SIZE_MAX);
    if (!cut(&d, map, err) || !pool_new(&pool, threads, err))
        return false;
    size_t *offsets = mem_alloc(d.count + 1, sizeof *offsets);
    double start = clock_seconds();
    bool done = offsets &&
                tokenizer_encode_many(t, pool, d.count, document, &d, &out, offsets, err);
    double seconds = clock_seconds() - start;
    printf("{\"seconds\": %.4f, \"mb_per_s\": %.3f, \"tokens\": %zu}\n", seconds,
           (double)map->size / 1e6 / seconds, out.count);
    pool_free(pool);
    mem_free(offsets);
    mem_free(d.starts);
    return done;
}

static void print(const Tokens *tokens)
{
    for (size_t i = 0; i < tokens->count; i++)
        printf("%d\n", (int)tokens->ids[i]);
}

static bool print_ids(const Tokenizer *t, const FsMap *map, Error *err)
{
    auto_tokens Tokens out;
    tokens_init(&out, SIZE_MAX);
    if (!tokenizer_encode(t, (const char *)map->data, map->size, &out, err))
        return false;
    print(&out);
    return true;
}

static bool print_texts(const Tokenizer *t, const FsMap *map, Error *err)
{
    const char *text = (const char *)map->data;
    for (size_t at = 0; at < map->size;) {
        const char *end = memchr(text + at, 0, map->size - at);
        size_t size = (end ? (size_t)(end - text) : map->size) - at;
        auto_tokens Tokens out;
        tokens_init(&out, SIZE_MAX);
        if (!tokenizer_encode(t, text + at, size, &out, err))
            return false;
        for (size_t i = 0; i < out.count; i++)
            printf("%d ", (int)out.ids[i]);
        putchar('\n');
        at += size + 1;
    }
    return true;
}

static bool print_chat(const Tokenizer *t, const FsMap *map, Error *err)
{
    ChatMessage messages[MESSAGES_MAX];
    size_t count = 0;
    const char *text = (const char *)map->data;
    for (size_t at = 0; at < map->size && count < MESSAGES_MAX;) {
        const char *end = memchr(text + at, 0, map->size - at);
        size_t size = (end ? (size_t)(end - text) : map->size) - at;
        ChatRole role = text[at] == 's' ? CHAT_SYSTEM : text[at] == 'u' ? CHAT_USER
                                                                        : CHAT_ASSISTANT;
        messages[count++] = (ChatMessage){role, text + at + 1, size ? size - 1 : 0, false};
        at += size + 1;
    }
    auto_tokens Tokens out;
    tokens_init(&out, SIZE_MAX);
    bool prompt = count && messages[count - 1].role == CHAT_USER;
    if (!chat_render(chat_template_default(), t, messages, count, prompt, &out, NULL, err))
        return false;
    print(&out);
    return true;
}

static bool save_folder(const Tokenizer *t, const char *folder, Error *err)
{
    char path[1024];
    return fs_make_dirs(folder, err) &&
           fs_join(path, sizeof path, folder, "tokenizer.json", err) &&
           tokenizer_save(t, path, err) &&
           fs_join(path, sizeof path, folder, "tokenizer_config.json", err) &&
           chat_write_config(chat_template_default(), t, 4096, path, err);
}

static bool run(int argc, char **argv, Error *err)
{
    const char *verb = argc > 3 ? argv[1] : "";
    FsMap map = {0};
    Tokenizer *t = NULL;
    bool done = false;
    if (argc == 6 && !strcmp(verb, "train"))
        done = fs_map(argv[2], &map, err) && train(&map, argv, err);
    else if (argc == 4 && !strcmp(verb, "folder"))
        done = tokenizer_open(&t, argv[2], err) && save_folder(t, argv[3], err);
    else if (argc < 4 || !tokenizer_open(&t, argv[2], err) || !fs_map(argv[3], &map, err))
        done = argc >= 4 ? false : fail(err, ERR_INPUT, "usage: see the head of text_bench.c");
    else if (argc == 5 && !strcmp(verb, "encode"))
        done = encode(t, &map, (uint32_t)strtoul(argv[4], NULL, 10), err);
    else if (!strcmp(verb, "ids"))
        done = print_ids(t, &map, err);
    else if (!strcmp(verb, "texts"))
        done = print_texts(t, &map, err);
    else if (!strcmp(verb, "chat"))
        done = print_chat(t, &map, err);
    else
        fail(err, ERR_INPUT, "usage: see the head of text_bench.c");
    tokenizer_free(t);
    fs_unmap(&map);
    return done;
}

int main(int argc, char **argv)
{
    Error err = {0};
    if (run(argc, argv, &err))
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return error_info(err.code)->exit_status;
}
