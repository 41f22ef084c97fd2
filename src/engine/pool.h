/* The process's pool of helper threads, used by every parallel region; POSIX threads or Windows
 * threads, no OpenMP.
 *
 * The calling thread leads: it opens a region, works, and closes it. Helpers enter an open region
 * as soon as the system runs them; a helper that arrives late never touches the region's data.
 * Closing waits for the helpers that have entered and for no others, so a helper that gets no
 * processor costs nothing. Only one region is open at a time: a second caller (another Python
 * thread) gets no helpers and does all of its work itself. Each result is computed by one thread in
 * a fixed order, so the bits do not depend on any of this.
 *
 * Helpers are created when a region first needs them, are parked between regions, and never exit.
 * If the system refuses a thread, regions run with fewer. A forked child starts with an empty pool.
 */
#ifndef NNCORE_POOL_H
#define NNCORE_POOL_H

#include <stdint.h>

enum { NN_POOL_MAX_THREADS = 1024 }; /* threads per region, including the leader */

typedef void (*nn_pool_work)(void *arg, int thread); /* thread: 1, 2, ... */
typedef void (*nn_pool_piece)(void *arg, int piece, int pieces, int thread); /* 0: the leader */

/* Register the fork handler. Called once, at import; starts no thread. */
void nn_pool_setup(void);

/* Open a region for up to `threads` threads; each helper that enters calls work(arg, thread) once.
 * Return the number of invited helpers. If it is not 0, make `work` return, then call
 * nn_pool_close. */
int nn_pool_open(int threads, nn_pool_work work, void *arg);
void nn_pool_close(int helpers);

/* The maximum number of threads, which callers apply; 0 until it is determined. */
int nn_pool_limit(void);
void nn_pool_set_limit(int threads);

/* Run `pieces` (< 65536) pieces of work on up to `threads` threads. 0: one piece per thread, so
 * that a caller without helpers does all work in one piece. */
void nn_pool_pieces(int pieces, int threads, nn_pool_piece work, void *arg);

/* Number of live helpers. Exported: threadpoolctl recognises the library by this symbol. */
#if defined(_WIN32)
#define NN_EXPORT __declspec(dllexport)
#else
#define NN_EXPORT __attribute__((visibility("default")))
#endif
NN_EXPORT int nncore_pool_helpers(void);

/* For tests: count the pieces done by helpers; leave all pieces to helpers, once they have
 * entered. */
void nn_pool_count(uint64_t pieces);
uint64_t nn_pool_counted(void);
void nn_pool_only_helpers(int on);
int nn_pool_leader_works(int helpers);

/* Seconds of a clock that never goes back; the core's only clock. */
double nn_seconds(void);

/* Number of forks between the first process and this one. */
uint64_t nn_pool_forks(void);

#endif
