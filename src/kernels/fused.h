/* The kernels that exist for every vector width of a level: the fused kernels of small networks, on
 * the vectors of vector.h. Included by table.h once per width; vector_end.h undoes the macros. */
#include "vector.h"
#include "sums.h"
#include "activation.h"
#include "nonzero.h"
#include "labels.h"
#include "loss.h"
#include "optimizer.h"
#include "fused_rows.h"
#include "fused_steps.h"
#include "fused_sgd.h"
#include "fused_minibatch.h"
#include "fused_predict.h"
