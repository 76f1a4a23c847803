/* keyring.h: the API keys of a workspace, in memory, for the gateway.
 *
 * A presented key is hashed and compared with every stored hash, each in constant time and without
 * an early end: neither the time nor the order tells how close a guess was, and no query language
 * is ever given a stranger's bytes. Changes made by other processes (`bastide key`) arrive at the
 * next refresh. Threads: keyring_find from any; open, refresh and close from one.
 */
#pragma once
#include "store/workspace.h"

enum { KEYRING_KEYS_MAX = 4096 };

typedef struct Keyring Keyring;

/* Reads the valid keys of ws, which must outlive the ring. ERR_LIMIT over KEYRING_KEYS_MAX. */
bool keyring_open(Keyring **out, Workspace *ws, Error *err) MUST_CHECK;
void keyring_close(Keyring *ring); /* NULL is a no-op */

/* True when the key is valid; id is then its id, and it counts as used now. */
bool keyring_find(Keyring *ring, const char *key, size_t size, char id[KEY_ID_ROOM]);

/* Reads again when another process has written; writes down when keys were used, at most once a
 * minute unless `flush`. On failure the keys known so far stay. */
bool keyring_refresh(Keyring *ring, bool flush, Error *err) MUST_CHECK;
