/* The process's pool of helper threads, which every parallel region shares.
 *
 * The calling thread leads: it opens a region, works, and closes it. Helpers enter an open region when they get a processor; those
 * that come too late never see its data. Closing waits for the helpers that have entered and for no others, so a helper that the
 * system does not run costs nothing. One region is open at a time: a second caller (another Python thread) gets no helpers and does
 * all of its work alone. As every result is computed by one thread in a fixed order, none of this shows in the bits.
 *
 * Helpers are created when a region first wants them, stay parked between regions, and never exit. If the system refuses a thread,
 * regions make do with those there are. A forked child starts with an empty pool. */
#ifndef NNCORE_POOL_H
#define NNCORE_POOL_H

#include <stdint.h>

enum { NN_POOL_MOST = 1024 }; /* threads in a region, the leader included */

typedef void (*nn_pool_work)(void *arg, int thread);             /* thread: 1, 2, ... */
typedef void (*nn_pool_piece)(void *arg, int piece, int thread); /* thread: 0 for the leader */

/* Prepare for forks. Call once, at import; starts no thread. */
void nn_pool_setup(void);

/* Open a region for up to `threads` threads: each helper that enters calls work(arg, thread) once. Return the helpers invited; if
 * there are any, nn_pool_close must follow, after `work` has been told to return. */
int nn_pool_open(int threads, nn_pool_work work, void *arg);
void nn_pool_close(int helpers);

/* Run `pieces` (< 65536) pieces of work on up to `threads` threads. */
void nn_pool_pieces(int pieces, int threads, nn_pool_piece work, void *arg);

/* Tests: helpers alive; pieces done by helpers; whether a region begins only when every helper invited has entered. */
__attribute__((visibility("default"))) int nncore_pool_helpers(void); /* threadpoolctl knows the library by this symbol */
void nn_pool_count(uint64_t pieces);
uint64_t nn_pool_counted(void);
void nn_pool_await(int on);

/* Number of forks between the first process and this one. */
uint64_t nn_pool_forks(void);

#endif
