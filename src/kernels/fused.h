/* What there is for every width of vectors: the fused kernels of small networks. */
#include "vector.h"
#include "activation.h"
#include "nonzero.h"
#include "labels.h"
#include "fused_sgd.h"
#include "fused_minibatch.h"
#include "fused_predict.h"
