/* plan.h: a frozen graph and a device give one arena size and a straight line of kernel calls.
 *
 * Temporaries are placed by liveness, in place where the op's row allows it. The arena's size is
 * known before anything runs: it is the number a dry run prints. program_run allocates nothing.
 * The graph must outlive the program. Threads: one.
 */
#pragma once
#include "backend/backend.h"

typedef struct Program Program;

/* Errors: ERR_INTERNAL naming an op the device has no kernel for, ERR_MEMORY. */
bool program_plan(Program **out, const Graph *g, Device *device, Error *err) MUST_CHECK;
void program_free(Program *p); /* NULL is a no-op; an arena given by use_arena stays the caller's */

uint64_t program_arena_bytes(const Program *p); /* temporaries and scratch */
uint64_t program_flops(const Program *p);       /* of one run, by the rows of the op table */

/* Memory for temporaries: `arena` holds at least program_arena_bytes and may be shared by programs
 * that do not run at once; NULL: the program allocates its own. */
bool program_use_arena(Program *p, void *arena, Error *err) MUST_CHECK;

void program_bind(Program *p, ValueId leaf, void *memory); /* parameter, input, state, gradient */
void *program_data(const Program *p, ValueId value);       /* of a leaf or a kept temporary */

/* Errors: ERR_INTERNAL naming a leaf without memory. */
bool program_run(Program *p, Error *err) MUST_CHECK;

/* One line per step: label, shapes, bytes, in-place marks. */
void program_explain(const Program *p, void (*line)(void *user, const char *text), void *user);
