/* Pieces of work in a parallel region (pool.h), claimed by whichever thread comes first.
 *
 * The leader posts jobs of a few pieces each and takes part itself; helpers wait in the region for
 * many jobs. The leader waits for pieces that were claimed, never for a helper that has not come:
 * if the system runs something else on a helper's processor, the leader does the work alone instead
 * of losing a time slice at every barrier. */
#ifndef NNCORE_TEAM_H
#define NNCORE_TEAM_H

#include <stdint.h>
#include "tuning.h"
#if defined(__linux__) || defined(__APPLE__)
#include <sched.h>
#define NN_YIELD() sched_yield()
#else
#define NN_YIELD() ((void)0)
#endif
#if defined(__x86_64__)
#define NN_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define NN_PAUSE() __asm__ volatile("yield")
#else
#define NN_PAUSE() ((void)0)
#endif

typedef struct {
    uint64_t state; /* number of the job << 32 | its pieces << 16 | pieces claimed: one word, so
                       that no piece of another job is taken */
    char apart[56];
    int64_t done;   /* pieces finished of this job */
    int closed;
} nn_team;


static inline void nn_wait(int *spins) {
    if (++*spins < TEAM_SPINS) NN_PAUSE(); else NN_YIELD();
}

static inline void nn_team_open(nn_team *team) { *team = (nn_team){0}; }

/* The leader: a new job of so many pieces, fewer than 65536; what describes it has been written
 * before. */
static inline void nn_team_post(nn_team *team, int pieces) {
    uint64_t job = (__atomic_load_n(&team->state, __ATOMIC_RELAXED) >> 32) + 1;
    __atomic_store_n(&team->done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&team->state, job << 32 | (uint64_t)pieces << 16, __ATOMIC_RELEASE);
}

/* A piece to do, or -1 when all are claimed. */
static inline int nn_team_claim(nn_team *team) {
    uint64_t state = __atomic_load_n(&team->state, __ATOMIC_ACQUIRE);
    while ((state & 0xffff) < (state >> 16 & 0xffff))
        if (__atomic_compare_exchange_n(&team->state, &state, state + 1, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return (int)(state & 0xffff);
    return -1;
}

static inline void nn_team_finish(nn_team *team) {
    __atomic_fetch_add(&team->done, 1, __ATOMIC_ACQ_REL);
}

/* The leader, once nothing is left to claim: until every piece is finished. */
static inline void nn_team_join(nn_team *team, int pieces) {
    int spins = 0;
    while (__atomic_load_n(&team->done, __ATOMIC_ACQUIRE) < pieces) nn_wait(&spins);
}

/* flags |= more, from any thread */
static inline void nn_team_flag(int *flags, int more) {
    __atomic_fetch_or(flags, more, __ATOMIC_RELAXED);
}

static inline void nn_team_close(nn_team *team) {
    __atomic_store_n(&team->closed, 1, __ATOMIC_RELEASE);
}

/* A helper: the next piece, once there is one, or -1 after the end. */
static inline int nn_team_next(nn_team *team) {
    int spins = 0;
    for (;;) {
        int closed = __atomic_load_n(
            &team->closed, __ATOMIC_ACQUIRE); /* before: a last job may just have been posted */
        int piece = nn_team_claim(team);
        if (piece >= 0) return piece;
        if (closed) return -1;
        nn_wait(&spins);
    }
}

#endif
