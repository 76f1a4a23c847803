/* pretokens.h: how a byte-level tokenizer cuts text, by the names that GGUF gives the rules.
 * A rule is the pattern of the Split stage of tokenizer.json; GPT-2's is ByteLevel's own.
 * Threads: any.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>

typedef struct {
    const char *name;     /* tokenizer.ggml.pre */
    const char *pattern;  /* NULL: ByteLevel with use_regex */
    bool whole_tokens;    /* a piece that is a token is not merged (ignore_merges) */
    bool nfc;
} PretokenRule;
extern const PretokenRule pretoken_rules[]; /* ended by a row without name */

const PretokenRule *pretoken_named(const char *name); /* aliases too; NULL: unknown */
/* The rule that a tokenizer.json follows; NULL: none of the table. */
const PretokenRule *pretoken_of_json(const json_t *tokenizer);
/* The pre_tokenizer of a tokenizer.json; NULL: no memory. */
json_t *pretoken_to_json(const PretokenRule *rule);
