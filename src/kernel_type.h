/* The table of one (level, real type): narrow vectors for networks that fit them, the widest for
 * everything. */
#if LEVEL_BYTES > 16
#define WIDTH 16
#include "vector.h"
#include "labels.h"
#include "sgd_small.h"
#include "batch_small.h"
#include "predict_small.h"
#include "vector_end.h"
#undef WIDTH
#endif
#if LEVEL_BYTES > 32
#define WIDTH 32
#include "vector.h"
#include "labels.h"
#include "sgd_small.h"
#include "batch_small.h"
#include "predict_small.h"
#include "vector_end.h"
#undef WIDTH
#endif
#define WIDTH LEVEL_BYTES
#include "vector.h"
#include "labels.h"
#include "sgd_small.h"
#include "batch_small.h"
#include "predict_small.h"
#include "kernel_body.h"
#include "vector_end.h"
#undef WIDTH
