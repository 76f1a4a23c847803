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
 *
 * A folder may carry another template, as Jinja text: chat_template_load gives it as a ChatTemplate
 * too, rendered by jinja.h and encoded by chat_encode.h, so that here as well no content forges a
 * marker. What its rendering is trained on is marked by its {% generation %} blocks; without them
 * the answers are found by rendering every prefix of the chat, which a template must then preserve.
 */
#pragma once
#include "text/tokenizer.h"

#include <jansson.h>

typedef enum { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_ROLE_COUNT } ChatRole;
extern const char *const chat_role_names[CHAT_ROLE_COUNT]; /* "system", "user", "assistant" */
typedef struct {
    ChatRole role;
    const char *content;
    size_t size;
    bool muted; /* assistant: not trained on */
} ChatMessage;

typedef struct {
    const char *name;                   /* "jinja" for one that a folder carries */
    const char *jinja;
    const char *end_marker;             /* ends a turn: "<|end|>"; "" when a folder names none */
    const char *const *specials;        /* tokens the tokenizer must hold, NULL-terminated */
    const char *role_markers[CHAT_ROLE_COUNT]; /* begin a turn */
    const struct ChatJinja *foreign;    /* NULL: rendered by construction, with the four above */
} ChatTemplate;
const ChatTemplate *chat_template_default(void);
const ChatTemplate *chat_template_named(const char *name);         /* NULL: unknown */
const ChatTemplate *chat_template_of_jinja(const char *jinja);     /* equal text; NULL: unknown */

/* The template of a model's folder: chat_template.jinja, else chat_template in
 * tokenizer_config.json (a text, or a list of {name, template}: "default", and "tool_use" when there
 * are tools). A text known here gives its row; else it is parsed. The variables bos_token,
 * eos_token ... are those of tokenizer_config.json, as text or object. *out is NULL when the folder
 * has none. The tokenizer must outlive it. A template that is not understood is no error yet:
 * rendering it is, and says line and reason. Errors: ERR_FORMAT naming file and key. */
bool chat_template_load(const ChatTemplate **out, const char *folder, const Tokenizer *tokenizer,
                        Error *err) MUST_CHECK;
/* The same from what such files hold: jinja, if not NULL, goes before the template in config, the
 * object of tokenizer_config.json or NULL. *out is NULL when neither has one. */
bool chat_template_find(const ChatTemplate **out, const char *jinja, size_t size, json_t *config,
                        const Tokenizer *tokenizer, Error *err) MUST_CHECK;
/* The template of this text, even of one that is known here. config as above. */
bool chat_template_make(const ChatTemplate **out, const char *jinja, size_t size, json_t *config,
                        const Tokenizer *tokenizer, Error *err) MUST_CHECK;
void chat_template_free(const ChatTemplate *t); /* NULL and rows of the table are no-ops */
/* Of its Jinja text, in hexadecimal: what a signed manifest can name. */
bool chat_template_sha256(const ChatTemplate *t, char hex[65], Error *err) MUST_CHECK;

/* Appends ids; when trained is not NULL, appends as many 0/1 marks to it (the same Tokens type).
 * The newline after <|end|> belongs to the template, is not trained. Errors: ERR_INPUT naming the
 * message ("message 3: ..."): roles must be [system] then user, assistant alternating; the last is
 * user when add_generation_prompt, assistant otherwise. */
bool chat_render(const ChatTemplate *t, const Tokenizer *tokenizer, const ChatMessage *messages,
                 size_t count, bool add_generation_prompt, Tokens *ids, Tokens *trained,
                 Error *err) MUST_CHECK;

/* A whole request, as clients send it. The messages are objects: role, content (a text, null, or
 * a list of {"type": "text", "text": ...}), and on where they belong tool_calls (whose arguments may
 * be JSON in a text), tool_call_id, name, reasoning_content; "weight": 0 mutes an answer.
 * NULL: not given. */
typedef struct {
    json_t *messages, *tools, *documents;
    json_t *variables; /* an object: further ones for the template, {"enable_thinking": false} */
    bool add_generation_prompt;
    int64_t now; /* what the template's clock says, seconds since 1970; 0: the real one */
} ChatRequest;

/* Appends ids and marks as chat_render does, for any template. Keys that are null count as absent,
 * reasoning_content, reasoning and thinking as one. A template that cannot take a list of parts is
 * given their text, joined by line ends; "bastide" takes no tools. Errors: ERR_INPUT with the
 * template's own words, or naming the message; also when marks are asked for and the template
 * rewrites what came before ("message 4: ..."). */
bool chat_render_request(const ChatTemplate *t, const Tokenizer *tokenizer,
                         const ChatRequest *request, Tokens *ids, Tokens *trained,
                         Error *err) MUST_CHECK;
/* The text itself, for people to look at. Of a foreign template only: ERR_INPUT otherwise. */
bool chat_render_text(const ChatTemplate *t, const ChatRequest *request, Buf *out,
                      Error *err) MUST_CHECK;

/* Writes tokenizer_config.json for a tokenizer saved beside it: template, end token, special
 * tokens; pad_token and bos_token when it has "<|pad|>" and "<|begin|>". length_max is
 * model_max_length. Hugging Face's AutoTokenizer reads the folder and renders the same ids. */
bool chat_write_config(const ChatTemplate *t, const Tokenizer *tokenizer, uint32_t length_max,
                       const char *path, Error *err) MUST_CHECK;
