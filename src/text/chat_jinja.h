/* chat_jinja.h: chat templates that a folder carries; between chat*.c only. See chat.h. */
#pragma once
#include "text/chat.h"
#include "text/chat_encode.h"
#include "text/jinja.h"

typedef struct ChatJinja {
    ChatTemplate shown; /* what the rest of the program holds */
    char *text, *tools_text, *end;
    Error problem; /* why it cannot be rendered: a template that is refused is kept to be shown */
    JinjaTemplate *usual, *tools; /* tools: for requests that have some, or NULL */
    ChatMarkers *usual_markers, *tool_markers;
    json_t *tokens; /* bos_token ...: text */
    bool takes_parts; /* it looks into lists of parts */
} ChatJinja;

/* messages: already normal (chat_normal_messages). */
bool chat_jinja_text(const ChatJinja *c, const ChatRequest *request, JinjaText *out,
                     Error *err) MUST_CHECK;
bool chat_jinja_render(const ChatJinja *c, const ChatRequest *request, Tokens *ids, Tokens *trained,
                       Error *err) MUST_CHECK;

/* A new list of messages in the form that templates expect; see chat_render_request. muted[i]: the
 * i-th is not trained; it has room for all. Errors name the message. */
bool chat_normal_messages(json_t *messages, bool keep_parts, json_t **out, bool *muted,
                          Error *err) MUST_CHECK;
/* The same from the small form. */
bool chat_messages_to_json(const ChatMessage *messages, size_t count, json_t **out,
                           Error *err) MUST_CHECK;
