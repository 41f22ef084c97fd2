/* Every threshold of the engine, each with the measurement behind it. Included by the C kernels
 * and, through tuning.pxd, by the engine, so that two places that must agree read the same name.
 * Unless a comment says otherwise the machine was an AMD EPYC (Zen 4, AVX-512, 2 cores); sizes like
 * 784-128-10 are layer widths. */
#ifndef NNCORE_TUNING_H
#define NNCORE_TUNING_H

/* --------------------------------------------------------------------------- where weights live */

/* Weights of at least this many bytes are updated in the user's memory instead of on packed copies.
 * Single-sample SGD gains more from the copies' alignment, so it switches at four times as many
 * bytes (784-2048-10, 2000-3000-500-10, 1024-4096-4096-1000). */
enum { IN_PLACE_BYTES = 1 << 22, IN_PLACE_BYTES_SGD = 4 * IN_PLACE_BYTES };

/* A weight bound below these cannot overflow its type in one more step's rounding. */
#define FLOAT_LIMIT 8e37
#define DOUBLE_LIMIT 4e307

/* ----------------------------------------------------------------- chunks between signal checks */

#define CHUNK_SECONDS 0.04
/* Per vector lane: a first chunk of a few milliseconds, a tenth of a second on slow processors. */
#define FIRST_FLOPS 5e7
/* The fused kernels' steps per chunk. Fixed, because the place of a call's first step shows in the
 * last bits; a few milliseconds. */
enum { FUSED_CHUNK = 8192 };

/* -------------------------------------------------------------------------------------- threads */

/* The least work per thread, so that small networks are never split. */
enum { ROWS_PER_THREAD = 8 };
#define FLOPS_PER_THREAD 1e6
/* If the OS preempts a helper thread, the region's barrier can stall for milliseconds, so smaller
 * chunks are not parallelised. */
#define FLOPS_PER_REGION 1e8
/* A second thread gains on a mini-batch step if SPLIT_BATCH / batch + SPLIT_INPUTS * inputs /
 * weights < 1: arithmetic saved grows as weights * batch, traffic between the cores' caches as
 * weights + batch * inputs. Beyond, it cost up to a quarter of the speed (two cores of a Xeon,
 * Sapphire Rapids, float32 and float64). */
#define SPLIT_BATCH 40.0
#define SPLIT_INPUTS 80.0

/* ------------------------------------------------------------- fused kernels for small networks */

/* Layers of up to this many of the level's widest vectors, with a first layer that stays in the L1
 * cache. */
enum { FUSED_VECTORS = 4, FUSED_BYTES = 1 << 15 };
/* Samples converted or gathered at a time where the data cannot be read in place. */
enum { FUSED_BLOCK = 128 };
/* Samples whose addresses the fused mini-batch kernels hold at a time. */
enum { FUSED_SLICE = 64 };

/* ------------------------------------------------------ the lookahead path of single-sample SGD */

/* Steps that share a pass over W: more would save less memory traffic than their Gram products
 * cost. */
enum { LOOKAHEAD_STEPS = 8 };
/* A shorter block at the end of a call takes longer than its steps one by one. */
enum { LOOKAHEAD_LEAST = 4 };
/* Above this many weights a block takes so long that signals would wait for it. */
enum { LOOKAHEAD_WEIGHTS = 1 << 23 };

/* ----------------------------------------------------------------------- zeros among the inputs */

/* Single-sample SGD: a sample is read through the index of its non-zeros up to this density; a
 * lookahead block is abandoned for that below this one (784-128-10). */
#define NONZERO_DENSITY 0.6
#define LOOKAHEAD_DENSITY 0.25
/* The fused kernel: the two ways take equal time at density 0.5 with AVX-512, which can compress
 * vectors, and at 0.25 to 0.4 without (64-32-10, 64-10). Below FUSED_NONZERO_INPUTS inputs the
 * index never pays (16-4-3). */
#define FUSED_DENSITY 0.25
#define FUSED_DENSITY_COMPRESS 0.4
enum { FUSED_NONZERO_INPUTS = 32 };
/* Batches: CSR pays up to this density for layers of 8 vectors and more, in proportion for narrower
 * ones (equal time at 0.5 to 0.6 with 784-256, 0.4 with 784-100, 0.25 with 97-40), from CSR_BATCH
 * samples on, while the index fits CSR_CAPACITY entries. */
#define CSR_DENSITY 0.35
enum { CSR_BATCH = 16, CSR_CAPACITY = 1 << 22, CSR_PROBES = 64 };

/* --------------------------------------------------------------------------------------- layers */

/* Layers of up to this many vectors hold W transposed at batch size 1: no horizontal sums in the
 * backward pass, no half-empty vectors (784-128-10 takes 0.96 of the time dense, 0.9 on MNIST,
 * 20-200-200-3 0.92; wider layers take up to 1.4). */
enum { TRANSPOSED_VECTORS = 3 };
/* A block of gradient rows stays in the cache until the optimizer has used it. */
enum { GRADIENT_BYTES = 1 << 16 };

/* ----------------------------------------------------------------------------------------- data */

/* A strided sample costs one cache miss per feature; transposing all N columns costs about as much
 * as reading N / TRANSPOSE_SHARE of them one by one (784 x 10 000, float32 and float64). */
enum { TRANSPOSE_SHARE = 4 };
/* Samples that pass through the layers together in prediction. */
enum { PREDICT_BLOCK = 128 };
/* A predictor of a small network takes up to this many samples one by one rather than by matrix
 * products. */
enum { PREDICT_SINGLES = 16 };

/* Reasons that a plan remembers. */
enum { MAX_REASONS = 8 };

/* --------------------------------------------------------------------- the boundary with Python */

/* Work below these sizes takes less time than releasing the interpreter lock: elements, and
 * multiplications of a product. */
enum { GIL_ELEMENTS = 1024, GIL_PRODUCT = 1 << 14 };
/* Elements whose copy takes less than a millisecond in any layout. Next to a thread that computes
 * in Python, each release of the lock costs up to 5 ms, so what a training copies at every chunk is
 * kept under the lock when it is short. */
enum { GIL_COPY = 1 << 16 };

#endif
