/* chat.h: messages to token ids, one code path for training and serving.
 *
 * A template is a row: its name, its special tokens, its Jinja text (what is written into
 * tokenizer_config.json for others to use) and its rendering here, by construction. Both give the
 * same string for every list of messages; a test holds them together.
 * Rendering yields ids directly: markers enter as special ids, contents through tokenizer_encode,
 * so no text of a user can forge a marker. The newline after a role marker is encoded together with
 * its content, so that ids equal those of Hugging Face's apply_chat_template (which would obey a
 * marker written in a content). The answer span of every assistant message (content and its end
 * marker, not its header) is marked trained; a token that begins in the header's newline is not.
 *
 * "bastide":              <|system|>\n{content}<|end|>\n  <|user|>\n{content}<|end|>\n
 *             <|assistant|>\n{content}<|end|>\n   generation prompt: <|assistant|>\n
 */
#pragma once
#include "text/tokenizer.h"

typedef enum { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_ROLE_COUNT } ChatRole;
extern const char *const chat_role_names[CHAT_ROLE_COUNT]; /* "system", "user", "assistant" */
typedef struct {
    ChatRole role;
    const char *content;
    size_t size;
    bool muted; /* assistant: not trained on */
} ChatMessage;

typedef struct {
    const char *name;
    const char *jinja;
    const char *end_marker;             /* ends a turn: "<|end|>" */
    const char *const *specials;        /* tokens the tokenizer must hold, NULL-terminated */
    const char *role_markers[CHAT_ROLE_COUNT]; /* begin a turn */
} ChatTemplate;
const ChatTemplate *chat_template_default(void);
const ChatTemplate *chat_template_named(const char *name);         /* NULL: unknown */
const ChatTemplate *chat_template_of_jinja(const char *jinja);     /* equal text; NULL: unknown */

/* Appends ids; when trained is not NULL, appends as many 0/1 marks to it (the same Tokens type).
 * The newline after <|end|> belongs to the template, is not trained. Errors: ERR_INPUT naming the
 * message ("message 3: ..."): roles must be [system] then user, assistant alternating; the last is
 * user when add_generation_prompt, assistant otherwise. */
bool chat_render(const ChatTemplate *t, const Tokenizer *tokenizer, const ChatMessage *messages,
                 size_t count, bool add_generation_prompt, Tokens *ids, Tokens *trained,
                 Error *err) MUST_CHECK;

/* Writes tokenizer_config.json for a tokenizer saved beside it: template, end token, special
 * tokens; pad_token and bos_token when it has "<|pad|>" and "<|begin|>". length_max is
 * model_max_length. Hugging Face's AutoTokenizer reads the folder and renders the same ids. */
bool chat_write_config(const ChatTemplate *t, const Tokenizer *tokenizer, uint32_t length_max,
                       const char *path, Error *err) MUST_CHECK;
