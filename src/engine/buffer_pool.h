/* Zeroed buffers for arena.pxi. Fresh pages from the system cost a short training several per cent,
 * so the last POOLED_BUFFERS buffers of POOLED_MIN_BYTES to POOLED_MAX_BYTES are reused. Call with
 * the GIL held, or in a free-threaded Python; a thread that finds the pool in use does without. */
#ifndef NNCORE_BUFFER_POOL_H
#define NNCORE_BUFFER_POOL_H
#include <stdlib.h>
#include <string.h>
#include "tuning.h"
#include "turn.h"

/* AddressSanitizer: poisoned redzones separate the allocations of a buffer. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { NN_REDZONE = 64 };
static void nn_redzone(char *at, size_t bytes) { __asan_poison_memory_region(at, bytes); }
#else
enum { NN_REDZONE = 0 };
static void nn_redzone(char *at, size_t bytes) { (void)at, (void)bytes; }
#endif

typedef struct {
    char *memory;
    size_t bytes;
} nn_buffer;

static nn_buffer nn_buffer_pool[POOLED_BUFFERS];
static int nn_buffer_pool_turn;

/* Take a buffer of at least `bytes`, and not much more, out of the pool; its memory is NULL if there
 * is none. */
static nn_buffer nn_buffer_reuse(size_t bytes) {
    nn_buffer found = {NULL, 0};
    if (!nn_take_turn(&nn_buffer_pool_turn)) return found;
    for (int i = 0; i < POOLED_BUFFERS && !found.memory; i++)
        if (nn_buffer_pool[i].memory && nn_buffer_pool[i].bytes >= bytes &&
            nn_buffer_pool[i].bytes / 4 <= bytes) {
            found = nn_buffer_pool[i];
            nn_buffer_pool[i] = (nn_buffer){NULL, 0};
        }
    nn_end_turn(&nn_buffer_pool_turn);
    return found;
}

/* A zeroed buffer of at least `bytes`; its memory is NULL if the system has none. */
static nn_buffer nn_buffer_acquire(size_t bytes) {
    nn_buffer block = nn_buffer_reuse(bytes);
    if (block.memory) {
        memset(block.memory, 0, bytes);
        return block;
    }
    char *memory = calloc(bytes, 1);
    return (nn_buffer){memory, memory ? bytes : 0};
}

/* Release a buffer, whose memory may be NULL: keep it in an empty slot or in that of a smaller
 * buffer, or free it. */
static void nn_buffer_release(nn_buffer block) {
#if !defined(__SANITIZE_ADDRESS__) /* detects overruns of fresh blocks only */
    if (block.bytes >= POOLED_MIN_BYTES && block.bytes <= POOLED_MAX_BYTES &&
        nn_take_turn(&nn_buffer_pool_turn)) {
        for (int i = 0; i < POOLED_BUFFERS && block.memory; i++)
            if (nn_buffer_pool[i].bytes < block.bytes) { /* 0 if empty */
                nn_buffer other = nn_buffer_pool[i];
                nn_buffer_pool[i] = block;
                block = other;
            }
        nn_end_turn(&nn_buffer_pool_turn);
    }
#endif
    free(block.memory);
}
#endif
