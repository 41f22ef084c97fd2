/* A flag that one Python thread at a time takes, without waiting: whoever finds it taken goes another
 * way. Used by buffer_pool.h and, in python/, by snapshot.pxi, ready.pxi, learner.pxi and
 * draws.pxi.
 *
 * With the GIL held nothing comes between test and assignment. A free-threaded Python has no GIL, and
 * needs an atomic exchange. */
#ifndef NNCORE_TURN_H
#define NNCORE_TURN_H

#if defined(Py_GIL_DISABLED)
static inline int nn_take_turn(int *taken) {
    return !__atomic_exchange_n(taken, 1, __ATOMIC_ACQUIRE);
}
static inline void nn_end_turn(int *taken) { __atomic_store_n(taken, 0, __ATOMIC_RELEASE); }
#else
static inline int nn_take_turn(int *taken) { return *taken ? 0 : (*taken = 1); }
static inline void nn_end_turn(int *taken) { *taken = 0; }
#endif

#endif
