/* keyring.c: see keyring.h. */
#include "serve/keyring.h"

#include "base/clock.h"
#include "base/mem.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

enum { FLUSH_SECONDS = 60 };

typedef struct {
    uint8_t hash[KEY_HASH_BYTES];
    char id[KEY_ID_ROOM];
    int64_t used; /* since the last flush; 0: not */
} Entry;

struct Keyring {
    Workspace *ws;
    pthread_mutex_t lock; /* of entries and count */
    Entry *entries;
    size_t count;
    int64_t version;
    double flushed_at;
};

typedef struct {
    Entry *entries;
    size_t count;
} Loading;

static bool add_key(void *user, const WorkspaceKey *key, Error *err)
{
    Loading *loading = user;
    if (key->revoked)
        return true;
    if (loading->count == KEYRING_KEYS_MAX)
        return fail(err, ERR_LIMIT, "there are more than %d valid keys: revoke unused ones",
                    KEYRING_KEYS_MAX);
    Entry *entry = &loading->entries[loading->count++];
    *entry = (Entry){0};
    memcpy(entry->hash, key->hash, sizeof entry->hash);
    strncpy(entry->id, key->id, sizeof entry->id - 1);
    return true;
}

static bool load(Keyring *ring, Error *err)
{
    int64_t version;
    Loading loading = {mem_alloc(KEYRING_KEYS_MAX, sizeof *loading.entries), 0};
    if (!loading.entries)
        return fail(err, ERR_MEMORY, "no memory for the keys");
    /* The version first: a write in between is then seen at the next refresh. */
    if (!workspace_version(ring->ws, &version, err) ||
        !workspace_keys(ring->ws, add_key, &loading, err)) {
        mem_free(loading.entries);
        return false;
    }
    pthread_mutex_lock(&ring->lock);
    Entry *old = ring->entries;
    ring->entries = loading.entries;
    ring->count = loading.count;
    ring->version = version;
    pthread_mutex_unlock(&ring->lock);
    mem_free(old);
    return true;
}

bool keyring_open(Keyring **out, Workspace *ws, Error *err)
{
    Keyring *ring = mem_alloc(1, sizeof *ring);
    if (!ring)
        return fail(err, ERR_MEMORY, "no memory for the keys");
    ring->ws = ws;
    pthread_mutex_init(&ring->lock, NULL);
    if (!load(ring, err)) {
        keyring_close(ring);
        return false;
    }
    *out = ring;
    return true;
}

void keyring_close(Keyring *ring)
{
    if (!ring)
        return;
    pthread_mutex_destroy(&ring->lock);
    mem_free(ring->entries);
    mem_free(ring);
}

bool keyring_find(Keyring *ring, const char *key, size_t size, char id[KEY_ID_ROOM])
{
    uint8_t hash[KEY_HASH_BYTES];
    workspace_key_hash(key, size, hash);
    Entry *found = NULL;
    pthread_mutex_lock(&ring->lock);
    for (size_t i = 0; i < ring->count; i++)
        found = sodium_memcmp(ring->entries[i].hash, hash, sizeof hash) == 0 ? &ring->entries[i]
                                                                            : found;
    if (found) {
        found->used = clock_unix();
        memcpy(id, found->id, KEY_ID_ROOM);
    }
    pthread_mutex_unlock(&ring->lock);
    return found != NULL;
}

/* Writes the times of use down. The database is slow, so it is not written under the lock; only
 * this thread replaces entries, so their places hold. */
static bool write_uses(Keyring *ring, Error *err)
{
    for (size_t i = 0; i < ring->count; i++) {
        pthread_mutex_lock(&ring->lock);
        int64_t used = ring->entries[i].used;
        ring->entries[i].used = 0;
        pthread_mutex_unlock(&ring->lock);
        if (used && !workspace_key_used(ring->ws, ring->entries[i].id, used, err))
            return false;
    }
    return true;
}

bool keyring_refresh(Keyring *ring, bool flush, Error *err)
{
    double now = clock_seconds();
    if (flush || now - ring->flushed_at > FLUSH_SECONDS) {
        ring->flushed_at = now;
        if (!write_uses(ring, err))
            return false;
    }
    int64_t version;
    return workspace_version(ring->ws, &version, err) &&
           (version == ring->version || load(ring, err));
}
