/* Zeroed memory for network programs. Fresh pages from the system cost a short training several per cent, so the blocks of the last
 * program, within SPARE_MOST, wait for the next. Call with the GIL held. */
#ifndef NNCORE_SPARE_H
#define NNCORE_SPARE_H
#include <stdlib.h>
#include <string.h>

enum { SPARES = 2, SPARE_LEAST = 1 << 16, SPARE_MOST = 1 << 22 };

/* Between the pieces of a block that a sanitizer watches, memory that nobody may touch. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { NN_FENCE = 64 };
static void nn_fence(char *at, size_t bytes) { __asan_poison_memory_region(at, bytes); }
#else
enum { NN_FENCE = 0 };
static void nn_fence(char *at, size_t bytes) { (void)at, (void)bytes; }
#endif

typedef struct {
    char *memory;
    size_t bytes;
} nn_block;

static nn_block nn_spare[SPARES];

/* A zeroed block of so many bytes or more; memory NULL where there is none. */
static nn_block nn_take(size_t bytes) {
    for (int i = 0; i < SPARES; i++)
        if (nn_spare[i].memory && nn_spare[i].bytes >= bytes && nn_spare[i].bytes / 4 <= bytes) {
            nn_block block = nn_spare[i];
            nn_spare[i] = (nn_block){NULL, 0};
            memset(block.memory, 0, bytes);
            return block;
        }
    char *memory = calloc(bytes, 1);
    return (nn_block){memory, memory ? bytes : 0};
}

/* Give a block back, or one whose memory is NULL. It takes an empty place, or that of a smaller one. */
static void nn_give(nn_block block) {
#if !defined(__SANITIZE_ADDRESS__) /* which finds what is written beyond a block's end only where the block is new */
    if (block.bytes >= SPARE_LEAST && block.bytes <= SPARE_MOST)
        for (int i = 0; i < SPARES && block.memory; i++)
            if (nn_spare[i].bytes < block.bytes) { /* an empty place has 0 */
                nn_block other = nn_spare[i];
                nn_spare[i] = block;
                block = other;
            }
#endif
    free(block.memory);
}
#endif
